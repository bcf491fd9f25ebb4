"""Where the parts of a network are: its head and its feature blocks, found by structure, not by class."""

from torch import nn
from torch.nn.modules.conv import _ConvNd

_CONTAINERS = ("features", "encoder", "layers", "blocks", "trunk_output")


def main_output(outputs):
    """Give the logits among what a network returns: networks with auxiliary heads give the main one first."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def find_head(module):
    """Find the layer that gives the outputs.

    Parameters
    ----------
    module : torch.nn.Module
        Network whose layers are defined in the order in which they are used.

    Returns
    -------
    name : str
        Its name in ``module.named_modules()``.
    layer : torch.nn.Linear or convolution
        The last linear layer, or the last convolution of a network that has no linear layer.

    Raises
    ------
    ValueError
        If the network has neither.
    """
    for kind in (nn.Linear, _ConvNd):
        found = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kind)]
        if found:
            return found[-1]
    raise ValueError(f"{type(module).__name__} has neither a linear layer nor a convolution that could be its head")


def find_head_block(module):
    """Name of the layers that turn features into outputs.

    Parameters
    ----------
    module : torch.nn.Module
        Network.

    Returns
    -------
    str or None
        Name of the ``Sequential`` around the head if that holds no convolution (VGG: ``classifier``), otherwise the
        name of the head itself (ResNet: ``fc``); ``None`` if there is no head.
    """
    try:
        name, _ = find_head(module)
    except ValueError:
        return None
    block = name.rpartition(".")[0]
    while block:
        layer = module.get_submodule(block)
        if not isinstance(layer, nn.Sequential) or any(isinstance(part, _ConvNd) for part in layer.modules()):
            break
        name, block = block, block.rpartition(".")[0]
    return name


def find_stem(module):
    """Find the convolution that reads the rows.

    Parameters
    ----------
    module : torch.nn.Module
        Network whose layers are defined in the order in which they are used.

    Returns
    -------
    name : str or None
        Name of the first convolution, ``None`` if there is none.
    layer : convolution or None
        The layer.
    """
    return next(((name, part) for name, part in module.named_modules() if isinstance(part, _ConvNd)), (None, None))


def feature_blocks(module):
    """Names of the blocks between input and head, as :func:`apply_freeze` counts them.

    Parameters
    ----------
    module : torch.nn.Module
        Network.

    Returns
    -------
    list of str
        Children that have parameters, in order, without the head; the usual containers (``features``, ``encoder``,
        ``layers``, ``blocks``) and whatever holds the head among other layers are opened.
    """
    head = f"{find_head_block(module)}."
    blocks = []

    def collect(parent, prefix):
        for name, child in parent.named_children():
            path = prefix + name
            parameters = [f"{path}.{parameter}" for parameter, _ in child.named_parameters()]
            in_head = [parameter.startswith(head) for parameter in parameters]
            if all(in_head):  # the head, or a layer without parameters
                continue
            if any(in_head) or name in _CONTAINERS:
                collect(child, path + ".")
            else:
                blocks.append(path)

    collect(module, "")
    return blocks
