"""Which layer of a network a name means."""

from difflib import get_close_matches

from torch import nn


def resolve_layer(module, layer):
    """Give the name of a layer.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    layer : str or torch.nn.Module
        Name as in ``module.named_modules()``, or the layer itself.

    Returns
    -------
    str
        Its name.

    Raises
    ------
    ValueError
        If the network has no such layer.
    """
    names = {name: part for name, part in module.named_modules(remove_duplicate=False) if name}
    if isinstance(layer, nn.Module):
        found = next((name for name, part in names.items() if part is layer), None)
        if found is None:
            raise ValueError(f"layer: this {type(layer).__name__} is no part of the network {type(module).__name__}")
        return found
    if layer not in names:
        near = get_close_matches(layer, names, n=3)
        hint = f"near names are {near}, " if near else ""
        raise ValueError(
            f"layer={layer!r} is no layer of {type(module).__name__}; {hint}its outermost layers are "
            f"{[name for name, _ in module.named_children()]}, all are in dict(module.named_modules())"
        )
    return layer
