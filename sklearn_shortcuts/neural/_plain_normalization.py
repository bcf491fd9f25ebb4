"""Forward passes whose derivatives along a direction can be differentiated in turn."""

import contextlib

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def plain_normalization():
    """Have normalization by a row's own statistics, and softmax, written out in simple operations in this block.

    torch's derivatives of layer, group and instance normalization along a direction take mean and deviation for
    constants when they are differentiated again, and gradients of the weights that come through them are silently
    wrong. Those of softmax overwrite what the backward pass over them needs. Only the thread that enters the block is
    concerned, and no module is changed.

    Examples
    --------
    >>> import torch
    >>> from sklearn_shortcuts.neural._plain_normalization import plain_normalization
    >>> layer, rows = torch.nn.LayerNorm(4), torch.rand(2, 4, generator=torch.Generator().manual_seed(0))
    >>> with plain_normalization():
    ...     torch.testing.assert_close(layer(rows), torch.nn.functional.layer_norm(rows, (4,)))
    """
    with _Replacing():
        yield


def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """As :func:`torch.nn.functional.layer_norm`."""
    axes = tuple(range(-len(normalized_shape), 0))
    return _scaled(_standardized(input, axes, eps), weight, bias)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """As :func:`torch.nn.functional.group_norm`."""
    grouped = input.reshape(len(input), num_groups, -1)
    return _per_channel(_standardized(grouped, (-1,), eps).reshape(input.shape), weight, bias)


def instance_norm(
    input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    """As :func:`torch.nn.functional.instance_norm`, for rows' own statistics without running ones."""
    if running_mean is not None or not use_input_stats:
        return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    return _per_channel(_standardized(input, tuple(range(2, input.ndim)), eps), weight, bias)


def softmax(input, dim=None, _stacklevel=3, dtype=None):
    """As :func:`torch.nn.functional.softmax`."""
    input = input if dtype is None else input.to(dtype)
    powers = (input - input.detach().amax(dim, keepdim=True)).exp()
    return powers / powers.sum(dim, keepdim=True)


def _standardized(values, axes, eps):
    centered = values - values.mean(axes, keepdim=True)
    return centered * torch.rsqrt(centered.square().mean(axes, keepdim=True) + eps)


def _per_channel(values, weight, bias):
    shape = (-1, *[1] * (values.ndim - 2))
    return _scaled(values, *(None if part is None else part.reshape(shape) for part in (weight, bias)))


def _scaled(values, weight, bias):
    values = values if weight is None else values * weight
    return values if bias is None else values + bias


_REPLACEMENTS = {
    F.layer_norm: layer_norm,
    F.group_norm: group_norm,
    F.instance_norm: instance_norm,
    F.softmax: softmax,
}


class _Replacing(TorchFunctionMode):
    """Calls other functions in the place of torch's."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return _REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))
