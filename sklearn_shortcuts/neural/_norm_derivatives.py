"""Batch and group normalization with second derivatives in few passes over the activations.

Both normalize sets of N values, a channel of all rows or a group of channels of one row. With the mean and the inverse
standard deviation r of the set, z = (x - mean) r, and the gradient g of the outputs times their scale s, the gradient
of the inputs is r (sg - <sg> - z <sg z>), where <> is the mean over the set. For a cotangent v of that gradient the
derivatives of the sum of v * gradient are

    with respect to sg:  u = r (v - <v> - z <v z>)
    with respect to x:   -r <sg z> u - r <v z> gradient - r z <v gradient>

so that u is one more call of the first backward pass, and the second line is a sum of three arrays.
"""

import torch
from torch.autograd import Function
from torch.nn import functional as F


def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """Compute what ``torch.nn.functional.batch_norm`` does, with second derivatives in few passes.

    Parameters
    ----------
    input : Tensor of shape (n, C, *sizes)
        Activations.
    running_mean, running_var : Tensor of shape (C,) or None
        Updated if ``training``, otherwise what is normalized with.
    weight, bias : Tensor of shape (C,), default=None
        Scale and shift.
    training : bool, default=False
        Whether to normalize with the statistics of the batch.
    momentum : float, default=0.1
        Share of the batch in the update.
    eps : float, default=1e-5
        Added to the variance.

    Returns
    -------
    Tensor of shape (n, C, *sizes)
        Normalized activations.

    Raises
    ------
    ValueError
        If ``training`` and there is one value per channel.
    """
    if not training:
        scale = torch.rsqrt(running_var + eps) if weight is None else weight * torch.rsqrt(running_var + eps)
        shift = -running_mean * scale if bias is None else bias - running_mean * scale
        axes = (-1, *[1] * (input.ndim - 2))
        return torch.addcmul(shift.reshape(axes), input, scale.reshape(axes)).to(input.dtype)
    if input.numel() <= input.shape[1]:
        raise ValueError(f"batch normalization needs more than 1 value per channel, got shape {tuple(input.shape)}")
    return _Normalization.apply(input, weight, bias, _Channels(running_mean, running_var, momentum, eps))


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Compute what ``torch.nn.functional.group_norm`` does, with second derivatives in few passes.

    Parameters
    ----------
    input : Tensor of shape (n, C, *sizes)
        Activations.
    num_groups : int
        Groups of channels.
    weight, bias : Tensor of shape (C,), default=None
        Scale and shift.
    eps : float, default=1e-5
        Added to the variance.

    Returns
    -------
    Tensor of shape (n, C, *sizes)
        Normalized activations.
    """
    mixed = weight is not None and weight.dtype != input.dtype  # how autocast treats that depends on the device
    if mixed or input.numel() == 0 or input.shape[1] % num_groups:
        return F.group_norm(input, num_groups, weight, bias, eps)
    return _Normalization.apply(_dense(input), weight, bias, _Groups(num_groups, eps))


def _dense(values):
    """The kernels of group normalization take no gaps; those of the CPU take either order of the axes."""
    return values.contiguous(memory_format=_memory_format(values))


def _memory_format(values):
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(values.ndim)
    if values.device.type == "cpu" and last is not None and values.is_contiguous(memory_format=last):
        return last
    return torch.contiguous_format


class _Channels:
    """Sets of batch normalization: the channels, each over all rows. A plane is a set."""

    def __init__(self, running_mean, running_var, momentum, eps):
        self.running = running_mean, running_var, momentum
        self.eps = eps

    def normalize(self, x, weight, bias):
        running_mean, running_var, momentum = self.running
        return torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, self.eps)

    def reference(self, x, weight, bias):
        return F.batch_norm(x, None, None, weight, bias, True, 0.0, self.eps)

    def gradients(self, g, x, weight, mean, r, mask=(True, True, True)):
        return torch.ops.aten.native_batch_norm_backward(g, x, weight, None, None, mean, r, True, self.eps, list(mask))

    def plane_sums(self, a, b, mean, r):
        # The gradient of the scale is the sum of two factors' products in one pass, whatever they are.
        return self.gradients(a, b, None, torch.zeros_like(mean), torch.ones_like(r), (False, True, False))[1]

    def normalized_sums(self, g, x, mean, r, weight_gradient):
        return weight_gradient

    def over_sets(self, planes):
        return planes

    def spread(self, values, x):
        return values.to(x.dtype).reshape(-1, *[1] * (x.ndim - 2))


class _Groups:
    """Sets of group normalization: groups of channels of one row. A plane is one channel of one row."""

    def __init__(self, n_groups, eps):
        self.n_groups = n_groups
        self.eps = eps

    def normalize(self, x, weight, bias):
        return torch.native_group_norm(x, weight, bias, *self._sizes(x), self.n_groups, self.eps)

    def reference(self, x, weight, bias):
        return F.group_norm(x, self.n_groups, weight, bias, self.eps)

    def gradients(self, g, x, weight, mean, r):
        g = g.contiguous(memory_format=_memory_format(x))
        return torch.ops.aten.native_group_norm_backward(
            g, x, mean, r, weight, *self._sizes(x), self.n_groups, [True, True, True]
        )

    def plane_sums(self, a, b, mean, r):
        return (a * b).flatten(2).sum(2)

    def normalized_sums(self, g, x, mean, r, weight_gradient):
        shape = x.shape[:2]
        mean, r = (values.repeat_interleave(shape[1] // self.n_groups, 1) for values in (mean, r))
        return r * (self.plane_sums(g, x, mean, r) - mean * g.flatten(2).sum(2))

    def over_sets(self, planes):
        return planes.unflatten(1, (self.n_groups, -1)).sum(2)

    def spread(self, values, x):
        planes = values.to(x.dtype).repeat_interleave(x.shape[1] // self.n_groups, 1)
        return planes.reshape(*x.shape[:2], *[1] * (x.ndim - 2))

    def _sizes(self, x):
        n, n_channels = x.shape[:2]
        return n, n_channels, x.numel() // (n * n_channels)


class _Normalization(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, sets):
        outputs, mean, r = sets.normalize(x, weight, bias)
        ctx.save_for_backward(x, weight, mean, r)
        ctx.sets = sets
        return outputs

    @staticmethod
    def backward(ctx, g):
        x, weight, mean, r = ctx.saved_tensors
        for_x, for_weight, for_bias, _ = ctx.needs_input_grad
        gradient, of_weight, of_bias = _Gradient.apply(g, x, weight, mean, r, ctx.sets)
        return gradient if for_x else None, of_weight if for_weight else None, of_bias if for_bias else None, None


class _Gradient(Function):
    @staticmethod
    def forward(ctx, g, x, weight, mean, r, sets):
        ctx.set_materialize_grads(False)
        gradient, of_weight, of_bias = sets.gradients(g, x, weight, mean, r)
        ctx.save_for_backward(g, x, weight, mean, r, gradient, of_weight)
        ctx.sets = sets
        return gradient, of_weight, of_bias

    @staticmethod
    def backward(ctx, v, for_weight, for_bias):
        if torch.is_grad_enabled():
            return (*_differentiable(ctx, v, for_weight, for_bias), None, None, None)
        g, x, weight, mean, r, gradient, of_weight = ctx.saved_tensors
        sets = ctx.sets
        of_g, of_x, scale_gradient = None, None, None
        if v is not None:
            of_g, of_x, scale_gradient = _second(sets, v, g, x, weight, mean, r, gradient, of_weight)
        if for_weight is not None:  # the gradient of the scale is the sum of g z
            of_x = _add(of_x, sets.gradients(g, x, for_weight, mean, r)[0])
            z = (x - sets.spread(mean, x)) * sets.spread(r, x)
            of_g = _add(of_g, z * _per_channel(for_weight, x))
        if for_bias is not None:
            of_g = _add(of_g, _per_channel(for_bias, x).expand_as(x))
        return of_g, of_x, scale_gradient, None, None, None


def _second(sets, v, g, x, weight, mean, r, gradient, of_weight):
    """Derivatives of the sum of ``v * gradient`` with respect to ``g``, ``x`` and ``weight``."""
    u, along_z, _ = sets.gradients(v, x, None, mean, r)
    products = sets.plane_sums(g, u, mean, r)
    g_z = sets.normalized_sums(g, x, mean, r, of_weight)
    v_z = sets.normalized_sums(v, x, mean, r, along_z)
    v_gradient = products
    if weight is not None:
        g_z, v_gradient = g_z * weight, v_gradient * weight
    n_values = x.numel() // r.numel()
    factor_u, factor_gradient, factor_x = (
        -factor * sets.over_sets(planes) / n_values for factor, planes in ((r, g_z), (r, v_z), (r * r, v_gradient))
    )
    of_x = torch.addcmul(sets.spread(-factor_x * mean, x), x, sets.spread(factor_x, x))
    of_x.addcmul_(gradient, sets.spread(factor_gradient, x)).addcmul_(u, sets.spread(factor_u, x))
    if weight is None:
        return u, of_x, None
    return u.mul_(_per_channel(weight, x)), of_x, products.reshape(-1, x.shape[1]).sum(0)


def _per_channel(values, x):
    return values.to(x.dtype).reshape(-1, *[1] * (x.ndim - 2))


def _add(total, part):
    return part if total is None else total + part


def _differentiable(ctx, v, for_weight, for_bias):
    """The same derivatives by torch, which can be differentiated further where torch can do that."""
    g, x, weight, *_ = ctx.saved_tensors
    # Views, because g may itself have been computed from x and weight, and only the direct dependence is wanted.
    g, x, weight = (None if part is None else part.view_as(part) for part in (g, x, weight))
    bias = None if weight is None else torch.zeros_like(weight, requires_grad=True)
    parts = [part for part in (x, weight, bias) if _is_variable(part)]
    firsts = torch.autograd.grad(ctx.sets.reference(x, weight, bias), parts, g, create_graph=True)
    cotangents = [c for c, part in zip((v, for_weight, for_bias), (x, weight, bias)) if _is_variable(part)]
    pairs = [pair for pair in zip(firsts, cotangents) if pair[1] is not None and pair[0].requires_grad]
    wanted = [part for part in (g, x, weight) if _is_variable(part)]
    outputs, cotangents = zip(*pairs)
    found = iter(torch.autograd.grad(outputs, wanted, cotangents, create_graph=True, allow_unused=True))
    return tuple(next(found) if _is_variable(part) else None for part in (g, x, weight))


def _is_variable(part):
    return part is not None and part.requires_grad
