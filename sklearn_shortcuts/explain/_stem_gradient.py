"""Gradient of the first convolution with respect to the images, where torch's own is slow."""

import contextlib
import threading

import torch
import torch.nn.functional as F
from torch import nn

from ..neural._structure import find_stem


@contextlib.contextmanager
def fast_stem_gradient(module):
    """Let the gradient with respect to gray images be computed by a matrix product inside the block.

    On the CPU the input gradient of a convolution with one input channel takes several times as long as a matrix
    product and a sum over overlapping patches. Other networks and devices are left as they are. The outputs are the
    same; the parameters of the convolution get no gradient.

    Parameters
    ----------
    module : torch.nn.Module
        Network.

    Yields
    ------
    None
        While a hook is on the first convolution; only forward passes of this thread see it.
    """
    _, stem = find_stem(module)
    if not _is_eligible(stem):
        yield
        return
    caller = threading.get_ident()

    def replace(layer, inputs, output):
        (images,) = inputs
        if threading.get_ident() != caller or not images.requires_grad:
            return None
        if {images.dtype, output.dtype} != {layer.weight.dtype}:  # autocast
            return None
        # The list keeps autograd from taking the output for an input that is passed through.
        return _PatchGradient.apply(images, [output.detach()], layer.weight.detach(), layer)

    # What other hooks make of the output is differentiated as always.
    handle = stem.register_forward_hook(replace, prepend=True)
    try:
        yield
    finally:
        handle.remove()


def _is_eligible(stem):
    return (
        type(stem) is nn.Conv2d
        and stem.weight.device.type == "cpu"
        and stem.in_channels == 1  # with colors little is gained
        and stem.padding_mode == "zeros"
        and not isinstance(stem.padding, str)
    )


class _PatchGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, outputs, weight, layer):
        ctx.save_for_backward(weight)
        ctx.size = images.shape[2:]
        ctx.geometry = {
            "kernel_size": layer.kernel_size,
            "dilation": layer.dilation,
            "padding": layer.padding,
            "stride": layer.stride,
        }
        return outputs[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (weight,) = ctx.saved_tensors
        patches = torch.matmul(weight.flatten(1).T, gradient.flatten(2))
        return F.fold(patches, ctx.size, **ctx.geometry), None, None, None
