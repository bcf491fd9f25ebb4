"""Weights from local files: read safely, fitted to the network, accounted for."""

import math
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn import functional as F

from ._stem import spread_kernel
from ._structure import find_head_block, find_stem

_INSIDE = ("state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.", "model.")
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
# Files published before torchvision renamed these layers are still the current ones.
_RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
_REMOTE = re.compile(r"DEFAULT|IMAGENET\w*|\w+_Weights(\.\w+)?|https?://.*|imagenet|pretrained", re.IGNORECASE)
_POSITIONS = ("pos_embedding", "pos_embed")
_ENOUGH = 0.5  # share of a network's names that its own file has at least


@dataclass(frozen=True)
class WeightsReport:
    """What became of the tensors of a weights file.

    Parameters
    ----------
    path : str
        The file.
    loaded : tuple of str
        Names of the network's tensors that were copied as they are.
    adapted : dict of str to str
        Names of those that were converted first, and how.
    skipped : dict of str to str
        Names that only the network or only the file has, or that differ in shape, and why this was accepted.

    Examples
    --------
    >>> from sklearn_shortcuts.neural import WeightsReport
    >>> print(WeightsReport("net.pth", loaded=("conv1.bias",), skipped={"fc.bias": "head: (1000,) in the file"}))
    net.pth: 1 tensor loaded, 0 adapted, 1 skipped (fc.bias: head: (1000,) in the file)
    """

    path: str
    loaded: tuple = ()
    adapted: dict = field(default_factory=dict)
    skipped: dict = field(default_factory=dict)

    def __str__(self):
        counts = f"{_tensors(len(self.loaded))} loaded, {_listed('adapted', self.adapted)}"
        return f"{self.path}: {counts}, {_listed('skipped', self.skipped)}"


def load_weights(module, path, *, strict=False):
    """Load the weights of a local file into a network, in place.

    Nothing is downloaded and no code of the file is run. Three differences are bridged and reported: a head for
    another number of outputs keeps its initial weights; the kernels of the first convolution are spread over another
    number of channels, so that gray images give what they give when repeated as color images; and the position
    embedding of a vision transformer is interpolated to another image size. Any other difference is an error, and
    the network is then left as it was.

    Parameters
    ----------
    module : torch.nn.Module
        Network to load into.
    path : str or path
        ``.pt`` or ``.pth`` file with a ``state_dict``, at the top or under ``"state_dict"``, ``"model_state_dict"``
        or ``"model"``; or a ``.safetensors`` file (needs the package ``safetensors``). Prefixes that wrappers add
        to all names (``module.``, ``_orig_mod.``, ``model.``) are removed.
    strict : bool, default=False
        Refuse the three differences too.

    Returns
    -------
    WeightsReport
        Names of the tensors loaded, adapted and skipped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file asks for a download, holds anything but tensors, or does not fit the network.
    ImportError
        If the file is a ``.safetensors`` file and ``safetensors`` is not installed.

    Examples
    --------
    >>> import os, tempfile, torch
    >>> from sklearn_shortcuts.neural import SmallCNN, load_weights
    >>> with torch.random.fork_rng(devices=[]):
    ...     color, gray = SmallCNN().build((3, 32, 32), 14), SmallCNN().build((1, 32, 32), 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "color.pth")
    ...     torch.save(color.state_dict(), path)
    ...     report = load_weights(gray, path)
    >>> list(report.adapted), list(report.skipped)
    (['features.0.0.weight'], ['head.weight', 'head.bias'])
    """
    path = _local_path(path)
    state = _read(path)
    target = module.state_dict()
    state = _with_names_of(target, state)
    loaded, adapted, skipped = _fit(module, target, state, path, strict)
    for name, (value, _) in {**loaded, **adapted}.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"the weights in {path} are broken: {name} holds values that are not finite")
    target.update({name: value for name, (value, _) in {**loaded, **adapted}.items()})
    module.load_state_dict(target)
    return WeightsReport(str(path), tuple(loaded), {name: how for name, (_, how) in adapted.items()}, skipped)


def _local_path(path):
    remote = hasattr(path, "url") or isinstance(path, bool)
    if remote or (isinstance(path, str) and _REMOTE.fullmatch(path) and not os.path.exists(path)):
        raise ValueError(
            f"weights={path!r} would have to be downloaded, which this library never does; give the path of a local "
            f"file instead. With torchvision, on a machine with network access: "
            f'torch.save(torchvision.models.get_model("resnet18", weights="DEFAULT").state_dict(), "resnet18.pth")'
        )
    try:
        path = Path(os.fspath(path))
    except TypeError:
        raise TypeError(f"weights must be the path of a local file, got {path!r}") from None
    if not path.is_file():
        raise FileNotFoundError(f"weights: there is no file {path}")
    return path


def _read(path):
    """Tensors of a file, by name."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # what cannot be read raises as well
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"the weights in {path} were refused: the file is damaged, or holds more than tensors in torch's default "
            f"format, and loading anything else could run code hidden in it. If you trust its source, keep the "
            f"tensors only: torch.save(model.state_dict(), ...)"
        ) from error
    candidates = [content]
    if isinstance(content, Mapping):
        candidates += [content[key] for key in _INSIDE if key in content]
    for state in candidates:
        if isinstance(state, Mapping) and state and all(isinstance(value, torch.Tensor) for value in state.values()):
            return dict(state)
    held = ", ".join(map(str, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
    raise ValueError(
        f"the weights in {path} are no state_dict: expected tensors by name, at the top or under "
        f"{', '.join(_INSIDE)}; the file holds {held}"
    )


def _read_safetensors(path):
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(f"weights: reading {path} needs the package safetensors") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"the weights in {path} were refused: the file is damaged ({error})") from error


def _with_names_of(target, state):
    """Remove what wrappers put before the names, and update names of layers renamed since."""
    for prefix in _WRAPPERS * 2:  # wrappers nest
        if all(name.startswith(prefix) for name in state) and not any(name.startswith(prefix) for name in target):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    renamed = {}
    for name, value in state.items():
        new = name
        for pattern, replacement in _RENAMED:
            new = pattern.sub(replacement, new)
        renamed[new if name not in target and new in target else name] = value
    return renamed


def _fit(module, target, state, path, strict):
    """Sort the tensors into those to load, to adapt and to skip; raise if any is left over."""
    head = f"{find_head_block(module)}."
    name, convolution = find_stem(module)
    stem = f"{name}.weight" if convolution is not None and convolution.groups == 1 else None
    loaded, adapted, skipped, missing, mismatched = {}, {}, {}, [], []
    for name, own in target.items():
        given = state.get(name)
        if not isinstance(own, torch.Tensor):  # extra state of a layer: no weights
            continue
        shapes = "not in the file" if given is None else f"{tuple(given.shape)} in the file, {tuple(own.shape)} here"
        if given is not None and given.shape == own.shape:
            loaded[name] = (given, "")
        elif given is None and name.endswith("num_batches_tracked"):
            skipped[name] = "not in the file; it only counts batches"
        elif not strict and name.startswith(head):
            skipped[name] = f"head: {shapes}"
        elif given is None:
            missing.append(name)
        elif not strict and (converted := _convert(name, given, own, stem)):
            adapted[name] = converted
        else:
            mismatched.append(f"{name}: {shapes}")
    # A layer of the head is loaded whole or not at all: the bias of a replaced layer says nothing.
    replaced = {name.rpartition(".")[0] for name in skipped if name.startswith(head)}
    for name in [name for name in loaded if name.rpartition(".")[0] in replaced]:
        del loaded[name]
        skipped[name] = "head: belongs to a layer of another shape"
    foreign = [name for name in state if name not in target]
    spare = [] if strict else [name for name in foreign if name.startswith((head, *_AUXILIARY))]
    skipped.update(dict.fromkeys(spare, "head or auxiliary output of the file only"))
    unexpected = [name for name in foreign if name not in skipped]
    if missing or unexpected or mismatched or not (loaded or adapted):
        body = [name for name in target if not name.startswith(head)]
        foreign_file = sum(name in state for name in body) < _ENOUGH * len(body)
        kinds = {"missing in the file": missing, "not in the network": unexpected, "of another shape": mismatched}
        problems = [f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds.items() if names]
        raise ValueError(
            f"the weights in {path} do not fit {type(module).__name__}: {', '.join(problems) or 'no tensor fits'}"
            + ("; is this the file of another architecture?" if foreign_file else "")
        )
    return loaded, adapted, skipped


def _convert(name, given, own, stem):
    """Give a tensor of the network's shape and how it was made, or None if that cannot be done."""
    if name == stem and given.ndim == own.ndim and given[:, 0].shape == own[:, 0].shape:
        return spread_kernel(given, own.shape[1]), f"kernels for {given.shape[1]} channels spread over {own.shape[1]}"
    if name.endswith(_POSITIONS) and given.ndim == own.ndim == 3 and given.shape[2] == own.shape[2]:
        sides = [math.isqrt(tensor.shape[1] - 1) for tensor in (given, own)]
        if all(side**2 + 1 == tensor.shape[1] for side, tensor in zip(sides, (given, own))):
            how = f"interpolated from {sides[0]} x {sides[0]} to {sides[1]} x {sides[1]} patches"
            return _interpolate_positions(given, *sides), how
    return None


def _interpolate_positions(embedding, old_side, new_side):
    """Resize the grid of position embeddings; the class token's, which comes first, stays."""
    token, grid = embedding[:, :1], embedding[:, 1:]
    grid = grid.transpose(1, 2).unflatten(2, (old_side, old_side))
    grid = F.interpolate(grid.float(), size=(new_side, new_side), mode="bicubic", align_corners=True)
    return torch.cat([token, grid.flatten(2).transpose(1, 2).to(token.dtype)], dim=1)


def _tensors(count):
    return f"{count} tensor" if count == 1 else f"{count} tensors"


def _listed(verb, reasons):
    if not reasons:
        return f"0 {verb}"
    return f"{len(reasons)} {verb} ({_first([f'{name}: {reason}' for name, reason in reasons.items()])})"


def _first(names, count=3):
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
