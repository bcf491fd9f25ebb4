"""Rules of layer-wise relevance propagation, in the place of derivatives.

The backward pass of each function here takes the relevance of its output and gives that of its inputs, so that torch's
own backward pass through a graph of them propagates relevance. Where a tensor is used several times, what comes back
adds up, as gradients do.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.autograd.function import once_differentiable

_STABILIZER = 1e-6  # added to denominators, away from zero


def stabilized(values):
    """Move values away from zero, for divisions."""
    return values + torch.where(values < 0, -_STABILIZER, _STABILIZER)


class Ledger:
    """What the biases of the layers took of the relevance of each row, and what did not arrive.

    Parameters
    ----------
    n_rows : int
        Rows of the batch.
    audits : bool, default=False
        Whether it is noted what each function hands on of what it gets. In the middle of a network, where relevance
        also takes other ways, no sum tells.

    Attributes
    ----------
    taken : Tensor of shape (n_rows,) or 0
        Relevance that the biases took.
    missing : Tensor of shape (n_rows,) or 0
        Relevance that functions got and did not hand on; what the biases took if all is well.
    """

    def __init__(self, n_rows, audits=False):
        self.n_rows = n_rows
        self.audits = audits
        self.taken = 0
        self.missing = 0

    def add(self, shares, bias):
        """Add the products of shares and biases; the first axis is that of the rows or can be split into rows."""
        if bias.ndim > 2 and bias.shape[2:].numel() == 1:  # one per channel
            shares, bias = shares.flatten(2).sum(2), bias.flatten(1)
        self.taken = self.taken + (shares * bias).reshape(self.n_rows, -1).sum(1)

    def balance(self, relevance, *parts):
        """Note what a function got and, if it is audited, what it hands on."""
        if self.audits:
            got, *handed_on = (values.reshape(self.n_rows, -1).sum(1) for values in (relevance, *parts))
            self.missing = self.missing + got - sum(handed_on)


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer or convolution, with the affine maps directly before and after it folded in.

    It gives ``scale * (apply(x * input_scale + input_shift, weight) + bias) + shift``.

    Attributes
    ----------
    apply : callable
        ``apply(x, weight)``, without bias.
    weight : Tensor
        Weights, output channels first.
    bias : Tensor or None
        Bias, in a shape that fits the output.
    rule : {"flat", "plus", "epsilon"}
        How relevance is distributed.
    groups : int, default=1
        Groups of a convolution.
    scale, shift : Tensor, default=None
        Normalization of the output.
    sign : Tensor of shape (n_out,), default=None
        Sign of ``scale`` in each channel.
    input_scale, input_shift : Tensor, default=None
        Normalization of the input.
    ledger : Ledger, default=None
        Where to note what the bias takes.
    """

    apply: Any
    weight: torch.Tensor
    bias: torch.Tensor | None
    rule: str
    groups: int = 1
    scale: torch.Tensor | None = None
    shift: torch.Tensor | None = None
    sign: torch.Tensor | None = None
    input_scale: torch.Tensor | None = None
    input_shift: torch.Tensor | None = None
    ledger: Ledger | None = None

    def followed_by(self, scale, shift, sign):
        """Give the layer with a normalization of its output folded in."""
        return replace(self, scale=scale, shift=shift, sign=sign)

    def propagate(self, x, relevance):
        """Distribute the relevance of the output over the input.

        Parameters
        ----------
        x : Tensor
            Input of the layer, or of the normalization before it.
        relevance : Tensor
            Relevance of the output.

        Returns
        -------
        Tensor like x
            Relevance of the input.
        """
        if self.rule == "flat":
            return self._flat(x, relevance)
        parts = self._parts(x if self.input_scale is None else x * self.input_scale)
        leaves = [values.detach().requires_grad_() for values, _ in parts]
        with torch.enable_grad():
            outputs = sum(self.apply(leaf, weight) for leaf, (_, weight) in zip(leaves, parts))
        scale = self.scale.abs() if self.scale is not None and self.rule == "plus" else self.scale
        bias = self._bias(x)
        total = outputs.detach()  # no backward pass of a linear function needs its output: it may be overwritten
        total = total if scale is None else total.mul_(scale)
        total = total if bias is None else total.add_(bias)
        shares = relevance / (total.add_(_STABILIZER) if self.rule == "plus" else stabilized(total))
        if bias is not None and self.ledger is not None:
            self.ledger.add(shares, bias)
        gradients = torch.autograd.grad(outputs, leaves, shares if scale is None else shares.mul_(scale))
        return sum(gradient.mul_(leaf.detach()) for leaf, gradient in zip(leaves, gradients))

    def _parts(self, inputs):
        """Inputs and weights whose products are what the rule distributes relevance over."""
        weight = self.weight
        if self.rule == "epsilon":
            return [(inputs, weight)]
        if self.sign is not None and (self.sign < 0).any():
            weight = weight * self.sign.reshape(-1, *[1] * (weight.ndim - 1))
        if inputs.min() >= 0:
            return [(inputs, weight.clamp(min=0))]
        return [(inputs.clamp(min=0), weight.clamp(min=0)), (inputs.clamp(max=0), weight.clamp(max=0))]

    def _bias(self, x):
        """What does not depend on the input; by the rule z+ only where it is positive."""
        bias = self.bias
        if self.input_shift is not None:
            # Where a convolution pads with zeros, less of the shift arrives at its output.
            shifted = self.apply(self.input_shift.expand(len(self.input_shift), *x.shape[1:]), self.weight)
            bias = shifted if bias is None else shifted + bias
        if self.scale is not None:
            bias = self.shift if bias is None else bias * self.scale + self.shift
        return bias.clamp(min=0) if bias is not None and self.rule == "plus" else bias

    def _flat(self, x, relevance):
        if self.weight.ndim == 2:
            n_inputs = self.weight.shape[1]
            return (relevance.sum(-1, keepdim=True) / n_inputs).expand(*relevance.shape[:-1], n_inputs)
        # All channels of a group are treated alike, so one of each is enough.
        n_inputs, sizes = self.weight.shape[1], self.weight.shape[2:]
        summed = relevance.unflatten(1, (self.groups, -1)).sum(2)
        leaf = torch.ones_like(x[:, : self.groups]).requires_grad_()
        with torch.enable_grad():
            counts = self.apply(leaf, torch.ones(self.groups, 1, *sizes, dtype=x.dtype, device=x.device))
        # Where a kernel covers nothing but padding there are no inputs, and no relevance arrives.
        (gradient,) = torch.autograd.grad(counts, leaf, summed / (counts.detach().clamp(min=1) * n_inputs))
        return gradient.repeat_interleave(n_inputs, dim=1)


class Linear(torch.autograd.Function):
    """``Linear.apply(x, [outputs], layer)``: outputs whose relevance is propagated by a :class:`LinearLayer`."""

    @staticmethod
    def forward(ctx, x, outputs, layer):
        ctx.save_for_backward(x)
        ctx.layer = layer
        return outputs[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, relevance):
        (x,) = ctx.saved_tensors
        result = ctx.layer.propagate(x, relevance)
        ctx.layer.ledger.balance(relevance, result)
        return result, None, None


class Pass(torch.autograd.Function):
    """``Pass.apply(x, [outputs])``: outputs whose relevance is passed on unchanged; x may have been broadcast."""

    @staticmethod
    def forward(ctx, x, outputs):
        ctx.shape = x.shape
        return outputs[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, relevance):
        return relevance.sum_to_size(ctx.shape), None


class PassInPlace(torch.autograd.Function):
    """``PassInPlace.apply(x)``: the same for x that was just overwritten by the outputs."""

    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx, relevance):
        return relevance


class Overwrite(torch.autograd.Function):
    """``Overwrite.apply(target, values)``: write into a tensor; its relevance is that of what is written."""

    @staticmethod
    def forward(ctx, target, values):
        target.copy_(values)
        ctx.mark_dirty(target)
        return target

    @staticmethod
    @once_differentiable
    def backward(ctx, relevance):
        return None, relevance


class Sum(torch.autograd.Function):
    """``Sum.apply(a, b, sign, [outputs], ledger)``: relevance of a sum, in proportion to ``a`` and ``sign * b``."""

    @staticmethod
    def forward(ctx, a, b, sign, outputs, ledger):
        ctx.save_for_backward(a, b)
        ctx.sign, ctx.ledger = sign, ledger
        return outputs[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, relevance):
        a, b = ctx.saved_tensors
        signed = b * ctx.sign
        shares = relevance / stabilized(a + signed)
        parts = a * shares, signed * shares
        ctx.ledger.balance(relevance, *parts)
        return *(part.sum_to_size(like.shape) for part, like in zip(parts, (a, b))), None, None, None


class Average(torch.autograd.Function):
    """``Average.apply(x, [outputs], function, ledger)``: relevance of an average or sum, in proportion to its parts."""

    @staticmethod
    def forward(ctx, x, outputs, function, ledger):
        ctx.save_for_backward(x)
        ctx.function, ctx.ledger = function, ledger
        return outputs[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, relevance):
        leaf = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            outputs = ctx.function(leaf)
        (gradient,) = torch.autograd.grad(outputs, leaf, relevance / stabilized(outputs.detach()))
        result = leaf.detach() * gradient
        ctx.ledger.balance(relevance, result)
        return result, None, None, None
