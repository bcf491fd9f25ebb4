"""A copy of a network for evaluation only, in the form in which it runs fastest."""

import copy

import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_weights

from ..neural._structure import main_output
from ._capture import LayerRecorder


def working_copy(module, example, layer):
    """Copy a network so that it computes the same in less time.

    The copy shares its weights with the network as far as they stay as they are; kernels of convolutions have their
    channels last, and batch normalizations are folded into the convolutions before them. Whether that is right is
    tried out on the example: a network that uses a convolution's output elsewhere too is not folded.

    Parameters
    ----------
    module : torch.nn.Module
        Network; it is not changed.
    example : Tensor of shape (n, C, H, W) or (n, C, T)
        Images as the network takes them; only the first is used.
    layer : str
        Name of the layer whose output must stay what it is.

    Returns
    -------
    torch.nn.Module
        Copy in evaluation mode whose parameters ask for no gradient; the network itself if it cannot be copied.
    """
    try:
        copied = _shared_copy(module)
    except Exception:  # whatever keeps a network from being copied, it can be explained as it is
        return module
    pairs, expected = _trace(copied, example[:1], layer)
    if pairs:
        for convolution, normalization in pairs:
            _fold(copied, convolution, normalization)
        _, values = _trace(copied, example[:1], layer)
        if not all(map(_agree, values, expected)):
            copied = _shared_copy(module)
    for part in copied.modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last)
    return copied


def _shared_copy(module):
    """Copy a network without its weights, which both use from then on."""
    memo = {id(buffer): buffer for buffer in module.buffers()}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    return copy.deepcopy(module, memo).eval()


def _trace(network, example, layer):
    """Give the pairs of a convolution and the normalization that takes its output, and what layer and network give."""
    pairs, uses, outputs = [], {}, {}

    def keep(name):
        def hook(part, inputs, output):
            uses[name] = uses.get(name, 0) + 1
            # A weight that is no parameter is computed anew in each pass, as by pruning and normalization of weights.
            if isinstance(part, nn.Conv2d) and "weight" in part._parameters:
                outputs[id(output)] = name, output  # the tensor is kept, or its id could be given to another
            elif inputs and id(inputs[0]) in outputs and part.running_mean is not None:
                pairs.append((outputs[id(inputs[0])][0], name))

        return hook

    parts = [(name, part) for name, part in network.named_modules() if type(part) in (nn.Conv2d, nn.BatchNorm2d)]
    hooks = [part.register_forward_hook(keep(name)) for name, part in parts]
    # The recorder hands a copy of the layer's output on, so that a convolution that ends there makes no pair.
    recorder = LayerRecorder(layer, cut=True)
    try:
        with torch.no_grad(), recorder.watch(network):
            logits = network(example.clone())
    finally:
        for hook in hooks:
            hook.remove()
    logits = main_output(logits)
    once = [pair for pair in pairs if uses[pair[0]] == uses[pair[1]] == 1]
    return once, (logits, recorder.activation.detach())


def _fold(network, convolution, normalization):
    layer, norm = network.get_submodule(convolution), network.get_submodule(normalization)
    weight, bias = fuse_conv_bn_weights(
        layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    layer.weight, layer.bias = (nn.Parameter(part.detach(), requires_grad=False) for part in (weight, bias))
    network.set_submodule(normalization, nn.Identity())


def _agree(values, expected):
    if not torch.isfinite(expected).all():
        return False
    return bool((values - expected).abs().max() <= 1e-4 * expected.abs().max())
