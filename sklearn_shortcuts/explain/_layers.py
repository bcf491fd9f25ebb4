"""Which layer of a network is explained."""

import threading

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from ..neural._modes import explaining
from ..neural._structure import find_head, main_output
from ._formulas import as_map

_WITHOUT_CONTENT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Flatten, nn.Identity)


def find_layer(module, example):
    """Find the last layer whose output is still a map over the image.

    Of the layers that run before the head, this is the one that finishes last and gives a map with more than one
    position. Pooling, dropout and identity layers by themselves do not count, whole blocks that end in them do: the
    rule finds ``layer4`` of ResNets, ``features`` of VGG, DenseNet and MobileNet, ``stage4`` of
    :class:`~sklearn_shortcuts.neural.ECGResNet`. Of vision transformers, whose last tokens but one have no say in the
    class, it takes the last layer at which the image's tokens have a gradient: the first normalization of the last
    block. Layers that give the parts of a signal before their channels, as transformers do, do not count.

    Parameters
    ----------
    module : torch.nn.Module
        Network; it is left as it was.
    example : Tensor of shape (n, C, H, W) or (n, C, T)
        Images as the network takes them; only the first is used.

    Returns
    -------
    str
        Name of the layer.

    Raises
    ------
    ValueError
        If no layer gives a map.
    """
    example = example[:1].detach().clone().requires_grad_()
    spatial = example.shape[2:]
    caller = threading.get_ident()
    finished = []

    def keep(name):
        def hook(layer, inputs, output):
            if threading.get_ident() == caller:  # others may predict with the same network meanwhile
                finished.append((name, layer, output))

        return hook

    hooks = [part.register_forward_hook(keep(name)) for name, part in module.named_modules() if name]
    try:
        with explaining(module), torch.enable_grad():
            outputs = module(example.clone())  # the first layer may overwrite its input, which a leaf forbids
    finally:
        for hook in hooks:
            hook.remove()
    outputs = main_output(outputs)
    candidates = [
        (name, output)
        for name, layer, output in _channels_first(_before_head(module, finished), spatial)
        if not _is_pooling(layer) and _is_map(output, spatial)
    ]
    if not candidates:
        raise ValueError(
            f"layer='auto': no layer of {type(module).__name__} gives a map with more than one position for images "
            f"of shape {tuple(example.shape[1:])}; name a layer"
        )
    if len(spatial) == 1 or candidates[-1][1].ndim == 4:
        return candidates[-1][0]
    tokens = [output for _, output in candidates]
    gradients = torch.autograd.grad(outputs.sum(), tokens, allow_unused=True)
    for (name, _), gradient in zip(reversed(candidates), reversed(gradients)):
        if gradient is not None and as_map(gradient, spatial).any():
            return name
    return candidates[-1][0]


def _before_head(module, finished):
    try:
        _, head = find_head(module)
    except ValueError:
        return finished
    last = max((place for place, (_, layer, _) in enumerate(finished) if layer is head), default=len(finished))
    return finished[:last]


def _channels_first(finished, spatial):
    """Leave out what gives the parts of a signal before their channels, which no shape tells.

    Linear layers and layer normalizations compute on the last axis. What has the shape of their output until the next
    convolution is arranged like it. Of images the shapes tell.
    """
    if len(spatial) == 2:
        return finished
    kept, tokens = [], None
    for name, layer, output in finished:
        if isinstance(layer, (nn.Linear, nn.LayerNorm)):
            tokens = output.shape
        elif isinstance(layer, (_ConvNd, _BatchNorm)):
            tokens = None
        if tokens is None or getattr(output, "shape", None) != tokens:
            kept.append((name, layer, output))
    return kept


def _is_pooling(layer):
    # Pooling layers of torch have no base class of their own across dimensions; their module does.
    return isinstance(layer, _WITHOUT_CONTENT) or type(layer).__module__ == "torch.nn.modules.pooling"


def _is_map(output, spatial):
    if not isinstance(output, torch.Tensor) or not output.is_floating_point():
        return False
    try:
        return as_map(output, spatial)[0, 0].numel() > 1
    except ValueError:
        return False
