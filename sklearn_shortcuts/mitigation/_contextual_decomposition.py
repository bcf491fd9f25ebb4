"""Contextual decomposition: what of a network's outputs comes from one part of the image.

Every operation gets two tensors that add up to its input, what comes from the part and what comes from the rest, and
gives two that add up to its output. There is one rule per kind of operation.
"""

import torch
import torch.nn.functional as F

from ..neural._structure import main_output
from ._batch_statistics import running_statistics


def decompose(module, part, rest):
    """Decompose the outputs of a network that applies one layer after the other.

    Parameters
    ----------
    module : torch.nn.Module
        Network. Dropout is as its mode says, the same for both; batch normalization uses its running statistics.
    part, rest : Tensor of shape (n, C, *sizes)
        Two images that add up to the image.

    Returns
    -------
    part, rest : Tensor of shape (n, n_outputs)
        What of the outputs comes from each; they add up to the outputs.

    Raises
    ------
    ValueError
        If the network does something that there is no rule for; the first layer that does so is named.

    Examples
    --------
    >>> import torch
    >>> from sklearn_shortcuts.mitigation._contextual_decomposition import decompose
    >>> from sklearn_shortcuts.neural import SmallCNN
    >>> with torch.random.fork_rng(devices=[]):
    ...     network = SmallCNN(4).build((1, 16, 16), 3)
    >>> image = torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16)
    >>> mask = torch.zeros(1, 1, 16, 16)
    >>> mask[..., :8] = 1
    >>> part, rest = decompose(network, image * mask, image * (1 - mask))
    >>> torch.allclose(part + rest, network(image), atol=1e-5)
    True
    """
    try:
        with running_statistics(module):
            outputs = main_output(module(_Sum.of(part, rest)))
    except _NoRule as error:
        raise ValueError(
            f"contextual decomposition has no rule for {error}{_where(error, module)}; known are convolution, linear, "
            f"ReLU, pooling, dropout, flatten, batch and group normalization, one after the other. Use "
            f"InputGradientPenalty for other networks"
        ) from error
    return outputs.part, outputs.rest


class _NoRule(Exception):
    """Says what there is no rule for."""


def _where(error, module):
    """Name of the innermost layer that was at work."""
    names = {id(layer): name for name, layer in module.named_modules()}
    found, step = "", error.__traceback__
    while step is not None:
        layer = step.tb_frame.f_locals.get("self")
        if names.get(id(layer)):
            found = f" in the layer {names[id(layer)]!r} ({type(layer).__name__})"
        step = step.tb_next
    return f"{found} of {type(module).__name__}"


class _Sum(torch.Tensor):
    """A tensor that is known to be the sum of two: whatever is done with it is done by the rules."""

    part: torch.Tensor
    rest: torch.Tensor

    @staticmethod
    def of(part, rest):
        self = part.detach().as_subclass(_Sum)  # what it holds itself only lends its shape and type
        self.part = part
        self.rest = rest
        return self

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if func in _QUERIES:
                return func(*args, **kwargs)
            rule = _RULES.get(func)
            first, *others = args or (None,)
            if rule is None or not isinstance(first, _Sum) or any(isinstance(other, _Sum) for other in others):
                raise _NoRule(f"the operation {getattr(func, '__name__', func)!r}")
            return _Sum.of(*rule(func, first.part, first.rest, *others, **kwargs))


def _linear(function, part, rest, *arguments, **options):
    return function(part, *arguments, **options), function(rest, *arguments, **options)


def _affine(function, part, rest, weight, bias=None, *arguments, **options):
    if bias is None:
        return _linear(function, part, rest, weight, None, *arguments, **options)
    # Twice the rows in one go, and the shift left out rather than subtracted again, which would leave rounding errors.
    part, rest = function(torch.cat([part, rest]), weight, None, *arguments, **options).chunk(2)
    return _with_shift(part, rest, bias if function is F.linear else _per_channel(bias, part))


def _with_shift(part, rest, shift):
    """Distribute what is added to each output over both, in proportion to their sizes."""
    if shift is None:
        return part, rest
    sizes = part.abs()
    total = sizes + rest.abs()
    share = sizes / torch.where(total > 0, total, 1)  # where there is nothing, all of it goes to the rest
    return part + share * shift, rest + (1 - share) * shift


def _per_channel(values, like):
    return None if values is None else values.reshape(-1, *[1] * (like.ndim - 2))


def _batch_norm(function, part, rest, running_mean, running_var, weight=None, bias=None, training=False, *_, **options):
    if training:
        raise _NoRule("normalization by statistics of the batch")
    scale = torch.rsqrt(running_var + options.get("eps", 1e-5))
    if weight is not None:
        scale = scale * weight
    shift = -running_mean * scale if bias is None else bias - running_mean * scale
    scale, shift = _per_channel(scale, part), _per_channel(shift, part)
    return _with_shift(part * scale, rest * scale, shift)


def _group_norm(function, part, rest, num_groups, weight=None, bias=None, eps=1e-5):
    # Linear but for the deviation, which is that of the sum.
    part_groups, rest_groups = (values.unflatten(1, (num_groups, -1)).flatten(2) for values in (part, rest))
    part_groups = part_groups - part_groups.mean(2, keepdim=True)
    rest_groups = rest_groups - rest_groups.mean(2, keepdim=True)
    scale = torch.rsqrt((part_groups + rest_groups).square().mean(2, keepdim=True) + eps)
    part, rest = ((values * scale).reshape(part.shape) for values in (part_groups, rest_groups))
    if weight is not None:
        part, rest = part * _per_channel(weight, part), rest * _per_channel(weight, part)
    return _with_shift(part, rest, _per_channel(bias, part))


def _relu(function, part, rest, inplace=False):
    positive = torch.relu(part)
    return positive, torch.relu(part + rest) - positive


def _max_pool(function, part, rest, *arguments, **options):
    _, places = function(part + rest, *arguments, **{**options, "return_indices": True})
    flat = places.flatten(2)
    return tuple(values.flatten(2).gather(2, flat).reshape(places.shape) for values in (part, rest))


def _dropout(function, part, rest, p=0.5, training=True, inplace=False):
    kept = function(torch.ones_like(part), p, training)
    return part * kept, rest * kept


_RULES: dict = {
    **dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d, F.linear), _affine),
    **dict.fromkeys((torch.relu, torch.relu_, F.relu, torch.Tensor.relu, torch.Tensor.relu_), _relu),
    **dict.fromkeys((F.max_pool1d, F.max_pool2d, F.max_pool3d), _max_pool),
    **dict.fromkeys((F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d), _max_pool),
    **dict.fromkeys((F.avg_pool1d, F.avg_pool2d, F.avg_pool3d), _linear),
    **dict.fromkeys((F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d), _linear),
    **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, F.dropout3d), _dropout),
    **dict.fromkeys((torch.flatten, torch.mean, torch.squeeze, torch.reshape), _linear),
    **dict.fromkeys((torch.Tensor.flatten, torch.Tensor.mean, torch.Tensor.squeeze), _linear),
    **dict.fromkeys((torch.Tensor.view, torch.Tensor.reshape, torch.Tensor.expand), _linear),
    F.batch_norm: _batch_norm,
    F.group_norm: _group_norm,
}
_QUERIES = {
    *(torch.Tensor.size, torch.Tensor.dim, torch.Tensor.numel, torch.Tensor.__len__),
    *(torch.Tensor.is_floating_point, torch.Tensor.is_contiguous),
    *(getattr(torch.Tensor, name).__get__ for name in ("shape", "ndim", "dtype", "device", "requires_grad")),
}
