"""Rules of relevance propagation for attention: products of activations, softmax, and what torch computes in one call.

Attention is taken apart into products and softmax, which have rules of their own.
"""

import inspect
import math

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from ._relevance_rules import stabilized

_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)
_ATTENTION = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


class Product(torch.autograd.Function):
    """``Product.apply([outputs], function, ledger, *factors)``: relevance of a product, in equal parts to its factors.

    ``function(*factors)`` is linear in each of them; within a factor relevance is distributed in proportion to what it
    contributes.
    """

    @staticmethod
    def forward(ctx, outputs, function, ledger, *factors):
        ctx.save_for_backward(*factors)
        ctx.function, ctx.ledger = function, ledger
        return outputs[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, relevance):
        leaves = [factor.detach().requires_grad_() for factor in ctx.saved_tensors]
        with torch.enable_grad():
            outputs = ctx.function(*leaves)
        shares = relevance / (len(leaves) * stabilized(outputs.detach()))
        gradients = torch.autograd.grad(outputs, leaves, shares)
        parts = [leaf.detach() * gradient for leaf, gradient in zip(leaves, gradients)]
        ctx.ledger.balance(relevance, *parts)
        return None, None, None, *parts


class Softmax(torch.autograd.Function):
    """``Softmax.apply(x, [outputs], axis, ledger)``: relevance by the first-order expansion of softmax at ``x``.

    What the expansion leaves to its constant term is noted as taken by a bias.
    """

    @staticmethod
    def forward(ctx, x, outputs, axis, ledger):
        ctx.save_for_backward(x, outputs[0])
        ctx.axis, ctx.ledger = axis, ledger
        return outputs[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, relevance):
        x, weights = ctx.saved_tensors
        result = relevance - weights * relevance.sum(ctx.axis, keepdim=True)
        result = torch.where(torch.isfinite(x), x * result, 0)  # masked positions are minus infinity
        ctx.ledger.balance(relevance, result)
        ctx.ledger.take(relevance - result)
        return result, None, None, None


class Join(torch.autograd.Function):
    """``Join.apply([outputs], axis, ledger, *parts)``: concatenation; what arrives at constants, they keep."""

    @staticmethod
    def forward(ctx, outputs, axis, ledger, *parts):
        ctx.sizes, ctx.axis, ctx.ledger = [part.shape[axis] for part in parts], axis, ledger
        return outputs[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, relevance):
        parts = relevance.split(ctx.sizes, ctx.axis)
        needed = ctx.needs_input_grad[3:]
        ctx.ledger.balance(relevance, *(part for part, arrives in zip(parts, needed) if arrives))
        for part, arrives in zip(parts, needed):
            if not arrives:
                ctx.ledger.take(part)
        return None, None, None, *(part if arrives else None for part, arrives in zip(parts, needed))


def product(rules, func, args, kwargs):
    """Rule of matrix products and of Einstein sums."""
    values = [value for arg in args for value in (arg if isinstance(arg, (tuple, list)) else [arg])]
    values += kwargs.values()  # of matrix products, in the order of their arguments
    varying = [place for place, value in enumerate(values) if rules.depends(value)]

    def function(*factors):
        given = list(values)
        for place, factor in zip(varying, factors):
            given[place] = factor
        return func(*given)

    factors = [values[place] for place in varying]
    with torch.no_grad():
        outputs = func(*(value.detach() if isinstance(value, torch.Tensor) else value for value in values))
    return Product.apply([outputs], function, rules.ledger, *factors)


def added_product(multiply):
    """Make the rule of a product that a matrix is added to."""

    def rule(rules, func, args, kwargs):
        named = [kwargs[name] for name in ("input", "batch1", "batch2") if name in kwargs]
        added, left, right = list(args) + named
        with rules:
            result = multiply(left, right) * kwargs.get("alpha", 1)
            return result if kwargs.get("beta", 1) == 0 else result + added * kwargs.get("beta", 1)

    return rule


def softmax(rules, func, args, kwargs):
    """Rule of softmax."""
    x = args[0] if args else kwargs["input"]
    with torch.no_grad():
        outputs = func(x.detach(), *args[1:], **{name: value for name, value in kwargs.items() if name != "input"})
    axis = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis"))
    if axis is None:
        raise rules.missing_rule(func.__name__)
    return Softmax.apply(x.to(outputs.dtype), [outputs], axis, rules.ledger)


def concatenation(rules, func, args, kwargs):
    """Rule of the concatenation of channels or tokens, of which some may be constants."""
    parts = args[0] if args else kwargs.get("tensors", ())
    axis = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0))
    if all(map(rules.depends, parts)) or axis % parts[0].ndim == 0:
        return func(*args, **kwargs)
    with torch.no_grad():
        outputs = func(*args, **kwargs)
    return Join.apply([outputs], axis, rules.ledger, *parts)


def attention(rules, func, args, kwargs):
    """Rule of scaled dot-product attention."""
    given = dict(zip(_ATTENTION, args)) | kwargs
    query, key, value = given["query"], given["key"], given["value"]
    mask = given.get("attn_mask")
    with rules:
        if given.get("enable_gqa"):
            key, value = (part.repeat_interleave(query.shape[-3] // part.shape[-3], -3) for part in (key, value))
        if given.get("is_causal"):
            mask = query.new_ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
        if mask is not None and mask.dtype == torch.bool:
            mask = _as_summand(~mask, query)
        return _attend(query, key, value, mask, given.get("scale"))[0]


def multi_head_attention(rules, func, args, kwargs):
    """Rule of the function behind ``torch.nn.MultiheadAttention``; inside, rows come first."""
    bound = _MULTI_HEAD.bind(*args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    if given["static_k"] is not None or given["static_v"] is not None:
        raise rules.missing_rule(func.__name__)
    with rules:
        batched = given["query"].ndim == 3
        inputs = [given[name] for name in ("query", "key", "value")]
        inputs = [values.transpose(0, 1) if batched else values[None] for values in inputs]
        query, key, value = map(F.linear, inputs, *_projections(given))
        mask = _merged_mask(given, query, key.shape[1])
        for extra in ([given["bias_k"], given["bias_v"]], [0, 0] if given["add_zero_attn"] else [None, None]):
            if extra[0] is not None:
                key, value = (
                    torch.cat([values, torch.as_tensor(more).to(values).expand(len(values), 1, values.shape[-1])], 1)
                    for values, more in zip((key, value), extra)
                )
                mask = None if mask is None else F.pad(mask, (0, 1))
        query, key, value = (
            values.unflatten(-1, (given["num_heads"], -1)).transpose(1, 2) for values in (query, key, value)
        )
        outputs, weights = _attend(query, key, value, mask)
        outputs = F.linear(outputs.transpose(1, 2).flatten(2), given["out_proj_weight"], given["out_proj_bias"])
        outputs = outputs.transpose(0, 1) if batched else outputs[0]
        if not given["need_weights"]:
            return outputs, None
        weights = weights.mean(1) if given["average_attn_weights"] else weights
        return outputs, weights if batched else weights[0]


def _attend(query, key, value, mask, scale=None):
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    weights = (query * scale) @ key.transpose(-2, -1)
    weights = torch.softmax(weights if mask is None else weights + mask, -1)
    return weights @ value, weights


def _projections(given):
    """Weights and biases for query, key and value."""
    bias = given["in_proj_bias"]
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    if given["use_separate_proj_weight"]:
        return [given[f"{name}_proj_weight"] for name in "qkv"], biases
    return given["in_proj_weight"].chunk(3), biases


def _merged_mask(given, query, n_keys):
    """Both masks as one that is added, for rows, heads, queries and keys."""
    merged = None
    for name, shape in (
        ("attn_mask", (-1, given["num_heads"], query.shape[1], n_keys)),
        ("key_padding_mask", (len(query), 1, 1, n_keys)),
    ):
        mask = given[name]
        if mask is None:
            continue
        mask = _as_summand(mask, query) if mask.dtype == torch.bool else mask
        mask = mask[None, None] if name == "attn_mask" and mask.ndim == 2 else mask.reshape(shape)
        merged = mask if merged is None else merged + mask
    return merged


def _as_summand(left_out, like):
    return torch.zeros(left_out.shape, dtype=like.dtype, device=like.device).masked_fill(left_out, -math.inf)
