"""Convolution whose derivatives of every order are three convolutions.

The sum of ``g * convolution(x, w)`` is linear in the gradient ``g``, in the input ``x`` and in the kernel ``w``. Its
derivatives with respect to the three are convolution, input gradient and kernel gradient, each linear in the other
two, so that differentiating any of them again gives nothing but these three.
"""

import torch
from torch.autograd import Function
from torch.nn import functional as F
from torch.nn.modules.utils import _ntuple


def convolution(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Compute what ``torch.conv1d``, ``conv2d`` and ``conv3d`` do, with second derivatives in few passes.

    Parameters
    ----------
    input : Tensor of shape (n, C, *sizes) or (C, *sizes)
        Rows.
    weight : Tensor of shape (n_out, C / groups, *kernel_sizes)
        Kernel.
    bias : Tensor of shape (n_out,), default=None
        Added to the outputs.
    stride, dilation : int or tuple of int, default=1
        As torch has them.
    padding : int, tuple of int or {"valid", "same"}, default=0
        As torch has it.
    groups : int, default=1
        As torch has it.

    Returns
    -------
    Tensor
        Maps.
    """
    n_axes = weight.ndim - 2
    if input.ndim == n_axes + 1:
        return convolution(input[None], weight, bias, stride, padding, dilation, groups)[0]
    per_axis = _ntuple(n_axes)
    stride, dilation = per_axis(stride), per_axis(dilation)
    if padding == "same":
        input, padding = F.pad(input, _same_padding(weight.shape[2:], dilation)), 0
    padding = per_axis(0 if padding == "valid" else padding)
    device = input.device.type
    if torch.is_autocast_enabled(device) and input.dtype != torch.float64:
        # Under autocast torch converts what its own convolution is given; here that must be part of the graph.
        dtype = torch.get_autocast_dtype(device)
        input, weight, bias = (None if part is None else part.to(dtype) for part in (input, weight, bias))
    options = (stride, padding, dilation, groups)
    # A Function is asked for all of its gradients if one is wanted. The gradients of the parameters therefore hang on a
    # branch of their own, so that autograd skips them where only gradients of the images are wanted, and the other way
    # round. What a branch needs without leading there comes in a tuple.
    outputs = _Convolution.apply(input, (weight, bias), options)
    if torch.is_grad_enabled() and (weight.requires_grad or (bias is not None and bias.requires_grad)):
        outputs = _Join.apply(outputs, _Parameters.apply(weight, bias, (input,), outputs.shape, options))
    return outputs


def _same_padding(kernel_sizes, dilation):
    """What F.pad takes, last axis first; an odd rest goes to the end."""
    totals = [d * (size - 1) for size, d in zip(kernel_sizes, dilation)]
    return [side for total in reversed(totals) for side in (total // 2, total - total // 2)]


def _convolve(x, w, bias, options):
    stride, padding, dilation, groups = options
    return torch.ops.aten.convolution(x, w, bias, stride, padding, dilation, False, [0] * len(stride), groups)


def _gradient(g, x, w, options, which):
    """Gradient of the sum of ``g * convolution(x, w)`` by ``x`` (0) or ``w`` (1), whose values play no role then."""
    stride, padding, dilation, groups = options
    if which == 0 and x.shape[1] == 1 and len(stride) == 2 and g.device.type == "cpu" and g.dtype != torch.bfloat16:
        # Three times as fast as torch's own for gray images, which it treats like maps with many channels.
        patches = torch.matmul(w.flatten(1).T, g.flatten(2))
        return F.fold(patches, x.shape[2:], w.shape[2:], dilation=dilation, padding=padding, stride=stride)
    mask = [which == 0, which == 1, False]
    transposed, output_padding = False, [0] * len(stride)
    return torch.ops.aten.convolution_backward(
        g, x, w, None, stride, padding, dilation, transposed, output_padding, groups, mask
    )[which]


class _Convolution(Function):
    """Outputs, with the gradient of the input."""

    @staticmethod
    def forward(ctx, x, parameters, options):
        w, bias = parameters
        ctx.save_for_backward(x, w)
        ctx.options = options
        return _convolve(x, w, bias, options)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return _InputGradient.apply(g, w, (x,), ctx.options), None, None


class _Parameters(Function):
    """Zeros in the shape of the outputs, which take no memory, with the gradients of the parameters."""

    @staticmethod
    def forward(ctx, w, bias, inputs, shape, options):
        (x,) = inputs
        ctx.save_for_backward(x, w)
        ctx.options = options
        return w.new_zeros(()).expand(shape)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        for_weight, for_bias, *_ = ctx.needs_input_grad
        weight = _KernelGradient.apply(g, x, (w,), ctx.options) if for_weight else None
        return weight, g.sum((0, *range(2, g.ndim))) if for_bias else None, None, None, None


class _Join(Function):
    """Hands the outputs on as they are, and their gradient to both branches."""

    @staticmethod
    def forward(ctx, outputs, zeros):
        ctx.mark_dirty(outputs)
        return outputs

    @staticmethod
    def backward(ctx, g):
        return g, g


class _InputGradient(Function):
    @staticmethod
    def forward(ctx, g, w, inputs, options):
        ctx.save_for_backward(g, w)
        ctx.options = options
        return _gradient(g, *inputs, w, options, 0)

    @staticmethod
    def backward(ctx, v):
        g, w = ctx.saved_tensors
        for_g, for_w, *_ = ctx.needs_input_grad
        return (
            convolution(v, w, None, *ctx.options) if for_g else None,
            _KernelGradient.apply(g, v, (w,), ctx.options) if for_w else None,
            None,
            None,
        )


class _KernelGradient(Function):
    @staticmethod
    def forward(ctx, g, x, kernels, options):
        ctx.save_for_backward(g, x)
        ctx.options = options
        return _gradient(g, x, *kernels, options, 1)

    @staticmethod
    def backward(ctx, v):
        g, x = ctx.saved_tensors
        for_g, for_x, *_ = ctx.needs_input_grad
        return (
            convolution(x, v, None, *ctx.options) if for_g else None,
            _InputGradient.apply(g, v, (x,), ctx.options) if for_x else None,
            None,
            None,
        )
