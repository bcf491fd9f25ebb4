"""Keep the early part of a network as it is while the rest is trained."""

from difflib import get_close_matches
from functools import cache
from numbers import Integral

from ._structure import feature_blocks


def apply_freeze(module, freeze):
    """Exclude the layers next to the input from training, in place.

    Their parameters no longer ask for gradients, and their normalization layers with running statistics stay in
    evaluation mode whatever ``module.train()`` says: statistics that go on moving change the output of "frozen"
    layers just as weights do. Dropout in the frozen part still follows ``module.train()``. Copies, pickles and
    ``state_dict`` keep all of it; the names of the parameters do not change.

    Parameters
    ----------
    module : torch.nn.Module
        Network whose layers are defined in the order in which they are used.
    freeze : str or int
        Name of the last frozen layer, as in ``module.named_modules()`` (``"layer3"``,
        ``"features.denseblock4.denselayer15"``): it and everything defined before it are frozen. Or how many of the
        network's feature blocks (see Notes) are frozen, counted from the input.

    Returns
    -------
    tuple of str
        Names of the frozen parameters.

    Raises
    ------
    ValueError
        If there is no such layer, there are fewer blocks, or nothing would be left to train.

    Notes
    -----
    Blocks are the children of the network that have parameters, without its head; children called ``features``,
    ``encoder`` or ``layers`` are opened. ResNet: ``conv1, bn1, layer1, ..., layer4``. DenseNet:
    ``features.conv0, features.norm0, features.denseblock1, ...``. ViT: ``conv_proj``, then the encoder's layers.

    Examples
    --------
    >>> import torch
    >>> from sklearn_shortcuts.neural import SmallCNN, apply_freeze
    >>> with torch.random.fork_rng(devices=[]):
    ...     network = SmallCNN(width=4).build((1, 32, 32), 2)
    >>> apply_freeze(network, 1)
    ('features.0.0.weight', 'features.0.0.bias', 'features.0.1.weight', 'features.0.1.bias')
    """
    last = _last_layer(module, freeze)
    layers = dict(module.named_modules())
    names = list(layers)
    end = max(position for position, name in enumerate(names) if name == last or name.startswith(last + "."))
    # A container precedes its layers in this order, so that a class token or position embedding it holds is frozen
    # with the first of them.
    parts = names[: end + 1]
    frozen = [
        f"{part}.{name}" if part else name for part in parts for name, _ in layers[part].named_parameters(recurse=False)
    ]
    parameters = dict(module.named_parameters(remove_duplicate=False))
    kept = {id(parameters[name]) for name in frozen}
    if not any(parameter.requires_grad and id(parameter) not in kept for parameter in parameters.values()):
        raise ValueError(f"freeze={freeze!r} leaves no parameter of the network to train")
    for name in frozen:
        parameters[name].requires_grad_(False)
    for part in parts:
        layer = layers[part]
        if getattr(layer, "running_mean", None) is not None and not isinstance(layer, _StaysInEvaluation):
            layer.__class__ = _frozen_class(type(layer))
            layer.eval()
    return tuple(frozen)


def set_freeze(module, freeze):
    """Freeze as :func:`apply_freeze` does, in place of what the last call of this function froze.

    Parameters
    ----------
    module : torch.nn.Module
        Network, changed in place.
    freeze : str, int or None
        As in :func:`apply_freeze`; None only undoes the last call.
    """
    before = getattr(module, "_set_frozen", ((), ()))
    _switch(module, before, frozen=False)
    others = _frozen_parts(module)
    if freeze is not None:
        try:
            apply_freeze(module, freeze)
        except ValueError:
            _switch(module, before, frozen=True)
            raise
    module._set_frozen = tuple(sorted(new - old) for new, old in zip(_frozen_parts(module), others))


def _frozen_parts(module):
    """Names of the parameters and of the normalization layers that are frozen."""
    parameters = module.named_parameters(remove_duplicate=False)
    return (
        {name for name, parameter in parameters if not parameter.requires_grad},
        {name for name, layer in module.named_modules() if isinstance(layer, _StaysInEvaluation)},
    )


def _switch(module, names, *, frozen):
    parameters, layers = names
    for name in parameters:
        module.get_parameter(name).requires_grad_(not frozen)
    for name in layers:
        layer = module.get_submodule(name)
        layer.__class__ = _frozen_class(type(layer)) if frozen else type(layer).__mro__[2]
        layer.train(not frozen)


def _last_layer(module, freeze):
    """Name of the last layer to freeze."""
    if isinstance(freeze, Integral) and not isinstance(freeze, bool):
        blocks = feature_blocks(module)
        if not 1 <= freeze <= len(blocks):
            raise ValueError(f"freeze={freeze} must be between 1 and {len(blocks)}, the blocks are {', '.join(blocks)}")
        return blocks[freeze - 1]
    names = [name for name, _ in module.named_modules() if name]
    if freeze not in names:
        close = get_close_matches(str(freeze), names, n=3) or [name for name, _ in module.named_children()]
        raise ValueError(f"freeze={freeze!r} names no layer of the network; did you mean one of {', '.join(close)}?")
    return freeze


class _StaysInEvaluation:
    """Layer that ``train()`` does not switch back."""

    def train(self, mode=True):
        return super().train(False)

    def __reduce_ex__(self, protocol):
        # The class is made at run time and has no importable name: copies and pickles make it again.
        base = type(self).__mro__[2]
        return _new_frozen, (base,), super().__reduce_ex__(protocol)[2]


@cache
def _frozen_class(base):
    return type(f"Frozen{base.__name__}", (_StaysInEvaluation, base), {"__module__": __name__})


def _new_frozen(base):
    return object.__new__(_frozen_class(base))
