"""Images as different scanners would have taken them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real

import cv2
import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import validate_params

from ..images import ImageBunch
from ._planters import read_rows, read_value_range
from ._seeds import base_seed, generator


@validate_params(
    {
        "X": "no_validation",
        "scanner": ["array-like", str],
        "settings": [Mapping],
        "value_range": [tuple, list, None],
        "random_state": ["random_state", np.random.Generator],
    },
    prefer_skip_nested_validation=True,
)
def apply_scanner(X, scanner, settings, *, value_range=None, random_state=None):
    """Let every image pass through a model of the scanner that took it, to make a study whose scanners are known.

    The model has, in this order, a point spread function, a gray-value curve, noise with a texture, and a border.
    Row ``i`` draws its noise from a generator of its own: it is the same whatever the other rows and their scanners
    are, and two scanners that differ only in the amount of noise give the same pattern.

    Parameters
    ----------
    X : ImageBunch or array-like of shape (n, H, W) or (n, C, H, W)
        Images of at least 16 x 16 pixels; not changed.
    scanner : array-like of shape (n,) or str
        Name of every row's scanner, or the name of a field of the bunch or of a column of its metadata.
    settings : dict of dict
        By scanner, what it does; an empty dict does nothing, and settings left out do nothing.

        - ``blur``: standard deviation of the point spread function, in pixels (0);
        - ``gamma``: exponent of the gray-value curve (1);
        - ``gain``, ``offset``: factor and shift of the gray values, of which black is 0 and white 1 (1 and 0);
        - ``noise``: standard deviation of the noise, in such gray values (0);
        - ``grain``: standard deviation in pixels of the kernel that correlates the noise; 0 is white noise (0);
        - ``border``: width of the frame as a share of the shorter side, below 0.5 (0);
        - ``border_value``: its gray value (0).
    value_range : tuple of float, default=None
        Black and white. By default the range of the data type for uint8 and uint16, and (0, 1) for floating point;
        other data types need it. What scanners make of the images is limited to it.
    random_state : int, RandomState instance, Generator or None, default=None
        Decides the noise.

    Returns
    -------
    ImageBunch or ndarray
        For a bunch the same rows and fields with other images, lazy where they are lazy, and with the metadata column
        ``scanner`` if the names were given as an array; an array of the same shape and type for an array.

    Raises
    ------
    ValueError
        If a scanner or setting is not known, a setting is out of its range, lengths differ, or images have values
        outside the value range; of lazy rows the last is told when they are read.

    See Also
    --------
    ArtifactInjector : Plants drains, markers and other objects.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.datasets import apply_scanner, make_chest_phantoms
    >>> study = make_chest_phantoms(6, random_state=0)
    >>> names = np.array(["old", "new"] * 3)
    >>> study = apply_scanner(study, names, {"old": {"blur": 1.0, "noise": 0.03}, "new": {}}, random_state=0)
    >>> study.metadata["scanner"].tolist()
    ['old', 'new', 'old', 'new', 'old', 'new']
    """
    bunch = read_rows(X, False, "a scanner takes")
    names = _scanner_names(bunch, scanner)
    models = {name: _read_model(name, model) for name, model in settings.items()}
    unknown = np.flatnonzero([name not in models for name in names])
    if len(unknown):
        raise ValueError(
            f"scanner: row {unknown[0]} has {names[unknown[0]]!r}, for which there are no settings; there are settings "
            f"for {list(models)}"
        )
    black, white = read_value_range(value_range, bunch.dtype)
    device = _Scanners([models[name] for name in names], base_seed(random_state), black, white)
    if not isinstance(X, ImageBunch):
        return device(np.asarray(bunch), rows=np.arange(len(bunch)))
    in_memory = isinstance(bunch.images.source, np.ndarray)
    result = bunch.map_images(device, with_rows=True)
    if in_memory:
        result = bunch.with_images(np.asarray(result))
    if isinstance(scanner, str):
        return result
    table = bunch.get("metadata") if "metadata" in bunch.fields else pd.DataFrame(index=range(len(bunch)))
    return result.with_fields(metadata=table.assign(scanner=names))


@dataclass(frozen=True)
class _Model:
    """What one scanner does."""

    blur: float = 0.0
    gamma: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    noise: float = 0.0
    grain: float = 0.0
    border: float = 0.0
    border_value: float = 0.0

    def take(self, gray, rng):
        """Give the image (C, H, W) of gray values from 0 to 1 as the scanner shows it."""
        if self.blur:
            gray = np.stack([_blurred(plane, self.blur) for plane in gray])
        gray = self.gain * np.clip(gray, 0, None) ** self.gamma + self.offset
        if self.noise:
            noise = rng.standard_normal(gray.shape, dtype=np.float32)
            if self.grain:
                # The kernel's weights shrink white noise by the root of the sum of their squares.
                noise = np.stack([_blurred(plane, self.grain) for plane in noise]) / _shrinkage(self.grain)
            gray = gray + self.noise * noise
        width = round(self.border * min(gray.shape[-2:]))
        if width:
            inside = gray[:, width:-width, width:-width]
            gray = np.full_like(gray, self.border_value)
            gray[:, width:-width, width:-width] = inside
        return gray


class _Scanners:
    """What happens to a batch of rows; picklable, and the same for a row in whatever batch it is read."""

    def __init__(self, models, seed, black, white):
        self.models, self.seed, self.black, self.white = models, seed, black, white

    def __call__(self, images, *, rows):
        span = self.white - self.black
        taken = np.empty_like(images)
        for place, row in enumerate(rows):
            if not ((images[place] >= self.black) & (images[place] <= self.white)).all():
                raise ValueError(
                    f"X: row {row} has values from {images[place].min()} to {images[place].max()}, outside the value "
                    f"range from {self.black} to {self.white}; give the range as value_range=(black, white)"
                )
            gray = ((images[place] - self.black) / span).astype(np.float32)
            planes = gray.reshape(-1, *gray.shape[-2:])
            shown = self.models[row].take(planes, generator(self.seed, int(row))).reshape(gray.shape)
            shown = np.clip(shown, 0, 1).astype(np.float64) * span + self.black
            taken[place] = np.rint(shown) if images.dtype.kind in "iu" else shown
        return taken


def _scanner_names(bunch, scanner):
    if isinstance(scanner, str):
        scanner = bunch.column(scanner, "scanner")
    names = column_or_1d(scanner)
    if len(names) != len(bunch):
        raise ValueError(f"scanner has {len(names)} rows, but X has {len(bunch)}")
    return names.tolist()


def _read_model(name, model):
    if not isinstance(model, Mapping):
        raise TypeError(f"settings of scanner {name!r} must be a dict, got {type(model).__name__}")
    known = [field.name for field in fields(_Model)]
    for key, value in model.items():
        if key not in known:
            raise ValueError(f"scanner {name!r} has no setting {key!r}; it has {known}")
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError(f"scanner {name!r}: {key} must be a number, got {value!r}")
        if (key in ("blur", "noise", "grain", "border") and value < 0) or (key in ("gamma", "gain") and value <= 0):
            raise ValueError(f"scanner {name!r}: {key} is {value}, which is too small")
        if key == "border" and value >= 0.5:
            raise ValueError(f"scanner {name!r}: border must be a share below 0.5 of the shorter side, got {value}")
    return _Model(**{key: float(value) for key, value in model.items()})


def _blurred(plane, sigma):
    return cv2.GaussianBlur(plane, _kernel_size(sigma), sigma, borderType=cv2.BORDER_REFLECT_101)


def _kernel_size(sigma):
    return (2 * math.ceil(4 * sigma) + 1,) * 2


def _shrinkage(sigma):
    kernel = cv2.getGaussianKernel(_kernel_size(sigma)[0], sigma)
    return float((kernel**2).sum())  # root of the sum of squares in each direction, hence no root of the product
