"""Relevance of what layers hold for a score, and relevance of the pixels for what a layer holds."""

import contextlib
from dataclasses import dataclass

import torch
from torch import nn

from ..neural._channel_axis import has_channels_last
from ..neural._net import ordered
from ._gradients import predict_target, refuse_log_prob, repeat_target, score_start, variant_parts
from ._integrated_gradients import quadrature
from ._propagation import Rules, precise_subject
from ._taps import tapped
from ._targets import select_scores
from ._zennit import noting_missing_rules, zennit_copy


@dataclass
class LayerRelevances:
    """Relevance in layers.

    Attributes
    ----------
    scores : Tensor of shape (n,)
        Scores that are explained.
    layers : dict of str to tuple of torch.nn.Module and Tensor
        Of each name the layer and the relevance, in the shape of what the layer gives; of ``"last"``, the head and the
        relevance of what it gets.
    lost : Tensor of shape (n,) or None
        Relevance that went astray, in logits; None where that is not known.
    """

    scores: torch.Tensor
    layers: dict[str, tuple[nn.Module, torch.Tensor]]
    lost: torch.Tensor | None


@contextlib.contextmanager
def layer_relevance(subject, layers, method, *, steps=32, example=None):
    r"""Find the relevance of what layers hold for the score of a class.

    Of a layer that is used several times in a forward pass the last use counts; of one that gives several tensors, the
    first.

    Parameters
    ----------
    subject : Subject
        Network, in evaluation mode (:meth:`Subject.explaining`).
    layers : sequence of str
        Names as in ``module.named_modules()``, or ``"last"``: what the network makes its logits from.
    method : {"gradient_x_activation", "integrated_gradients", "lrp", "zennit"}
        - ``"gradient_x_activation"``: derivative of the score by the activation, times the activation. One forward
          pass, and one backward pass down to the lowest of the layers.
        - ``"integrated_gradients"``: the derivative, averaged over the straight line from the activation that images
          of zeros (as the network gets them) have to that of the given image, times the difference of the two. All
          that does not run through the layer stays as the given image makes it. It adds up to the difference that the
          layer makes for the score. ``steps`` forward and backward passes per layer.
        - ``"lrp"``: the relevance that arrives at the layer by the rules of :func:`relevance`. A convolution's own
          output has no relevance where a normalization follows directly and is part of it: it is then given that of
          the normalization's output.
        - ``"zennit"``: the same by the package zennit.
    steps : int, default=32
        Nodes of the Gauss-Legendre quadrature of ``"integrated_gradients"``.
    example : Tensor of shape (n, C, H, W) or (n, C, T), default=None
        Some images, for ``"zennit"``.

    Yields
    ------
    callable
        ``propagate(X, target) -> LayerRelevances`` for a batch as :meth:`Subject.batches` gives it and what
        :func:`select_scores` takes.

    Raises
    ------
    ImportError
        If ``method="zennit"`` and zennit is not installed.
    ValueError
        If a layer takes no part in the pass or the score does not depend on it, or ``"lrp"`` lacks a rule.
    """
    if method == "integrated_gradients":
        yield lambda X, target: _integrated(subject, layers, X, target, steps)
    elif method == "gradient_x_activation":
        yield lambda X, target: _gradient_x_activation(subject, layers, X, target)
    elif method == "lrp":
        precise = precise_subject(subject)
        yield lambda X, target: _propagated(precise, layers, X, target)
    else:
        with zennit_copy(subject, example) as copied:
            yield lambda X, target: _by_zennit(copied, layers, X, target)


def propagate_from_layer(subject, X, layer, start, *, channel_axis=None):
    """Propagate relevance from a layer to the images, by the rules of ``relevance(method="lrp")``.

    Parameters
    ----------
    subject : Subject
        Network, in evaluation mode (:meth:`Subject.explaining`).
    X : Tensor of shape (n, C, H, W) or (n, C, T)
        Images as :meth:`Subject.batches` gives them.
    layer : str
        Name of a layer, or ``"last"``.
    start : callable
        ``start(activation) -> Tensor``: the relevances to start from, for the layer's output, both of shape
        (n, n_channels, n_positions); one position for layers without any.
    channel_axis : {1, -1}, default=None
        Axis of the channels in the layer's output; None tells it from the layer and the number of axes.

    Returns
    -------
    start : Tensor of shape (n,)
        Sums of the relevances that it began with.
    relevances : Tensor like X
        Relevances of the pixels.
    taken : Tensor of shape (n,)
        Relevance that the biases of the layers below took. Without losses it and the relevances of the pixels add up
        to ``start``.

    Raises
    ------
    ValueError
        If the layer takes no part in the pass, does not depend on the images, or there is no rule for what lies below.
    """
    precise = precise_subject(subject)
    rules, found = Rules(precise.module, len(X)), {}

    def keep(name, part, values):
        found["layer"], found["values"] = part, values.clone()

    images = ordered(X.detach(), torch.channels_last).requires_grad_()
    with torch.enable_grad(), tapped(precise.module, [layer], keep):
        rules.forward(images.clone())
    if not found:
        raise _no_part(layer)
    values = found["values"]
    if not values.requires_grad:
        raise ValueError(f"layer: {layer!r} does not depend on the images in a way torch can follow; name another")
    last = has_channels_last(found["layer"], values, X.ndim, channel_axis)
    moved = values.detach().movedim(-1, 1) if last else values.detach()
    given = start(moved.flatten(2) if moved.ndim > 2 else moved[:, :, None])
    relevance = given.to(values.dtype).reshape(moved.shape)
    relevance = relevance.movedim(1, -1) if last else relevance
    (relevances,) = torch.autograd.grad(values, images, relevance)
    sums = relevance.flatten(1).sum(1)
    return sums, relevances, rules.ledger.taken + torch.zeros_like(sums)


def _gradient_x_activation(subject, layers, X, target):
    found = {}

    def cut(name, layer, values):
        # The graph of the pass begins at the lowest layers.
        kept = values.clone() if values.requires_grad else values.detach().clone().requires_grad_()
        found[name] = layer, kept
        return kept.clone()

    with torch.enable_grad(), tapped(subject.module, layers, cut):
        scores = select_scores(subject.infer(X.detach().clone()), target, subject.kind)
    _check_part(layers, found)
    gradients = _gradients(scores.sum(), {name: [values] for name, (_, values) in found.items()})
    relevances = {
        name: (layer, gradients[name].to(scores.dtype) * values.detach().to(scores.dtype))
        for name, (layer, values) in found.items()
    }
    return LayerRelevances(scores.detach(), relevances, None)


def _integrated(subject, layers, X, target, steps):
    wanted, scores = predict_target(subject, X, target)
    ends = _outputs(subject, layers, X)
    starts = _outputs(subject, layers, torch.zeros_like(X[:1]))
    places, weights = (torch.from_numpy(values).to(scores) for values in quadrature(steps, "gauss_legendre"))
    relevances, lost = {}, torch.zeros_like(scores)
    for name in layers:
        layer, last_use, end = ends[name]
        start = starts[name][2].to(scores.dtype)
        difference = end.to(scores.dtype) - start
        mean = torch.zeros_like(difference)
        for part in variant_parts(subject, steps, len(X)):
            at = places[part].reshape(-1, *[1] * difference.ndim)
            points = (start + at * difference).flatten(0, 1).to(end.dtype).requires_grad_()
            images = X.detach().repeat(len(at), *[1] * (X.ndim - 1))
            with torch.enable_grad():
                outputs = _scores_with(subject, name, last_use, points, images, repeat_target(wanted, len(at)))
            gradients = _gradients(outputs.sum(), {name: [points]})[name].to(mean.dtype)
            share = weights[part].reshape(-1, *[1] * difference.ndim)
            mean += (share * gradients.unflatten(0, (-1, len(X)))).sum(0)
        relevance = mean * difference
        with torch.no_grad():
            without = _scores_with(subject, name, last_use, start.to(end.dtype).expand_as(end), X, wanted)
        gap = relevance.flatten(1).sum(1) - (scores - without)
        lost = torch.where(gap.abs() > lost.abs(), gap, lost)
        relevances[name] = layer, relevance
    return LayerRelevances(scores, relevances, lost)


def _outputs(subject, layers, X):
    """Of each layer itself, how often it was used, and what it gave at last."""
    found = {}

    def keep(name, layer, values):
        found[name] = layer, found.get(name, (None, 0))[1] + 1, values.detach().clone()

    with torch.no_grad(), tapped(subject.module, layers, keep):
        subject.infer(X.clone())
    _check_part(layers, found)
    return found


def _scores_with(subject, name, last_use, values, X, target):
    """Scores where a layer gives something else in its last use."""
    uses = 0

    def replace(name, layer, outputs):
        nonlocal uses
        uses += 1
        return values.clone() if uses == last_use else None

    with tapped(subject.module, [name], replace):
        return select_scores(subject.infer(X.clone()), target, subject.kind)


def _propagated(precise, layers, X, target):
    refuse_log_prob(target, "lrp")
    rules = Rules(precise.module, len(X), audits=True)
    found, places = {}, {}

    def tap(name, layer, values):
        going_on, places[name] = rules.tap(values)
        found[name] = layer, None
        return going_on

    images = ordered(X.detach(), torch.channels_last).requires_grad_()
    with torch.enable_grad(), tapped(precise.module, layers, tap):
        logits = precise.infer(images.clone(), rules.forward)
    _check_part(layers, found)
    scores, start = score_start(precise, logits, target)
    relevances = _gradients(logits, places, start)
    lost = rules.ledger.missing - rules.ledger.taken + torch.zeros_like(scores)
    return LayerRelevances(scores, {name: (found[name][0], relevances[name]) for name in layers}, lost)


def _by_zennit(copied, layers, X, target):
    refuse_log_prob(target, "zennit")
    found = {}

    def keep(name, layer, values):
        found[name] = layer, values.clone()
        return found[name][1].clone()

    images = ordered(X.detach(), torch.channels_last).requires_grad_()
    with torch.enable_grad(), tapped(copied.module, layers, keep):
        logits = copied.infer(images.clone())
    _check_part(layers, found)
    scores, start = score_start(copied, logits, target)
    with noting_missing_rules(copied):
        relevances = _gradients(logits, {name: [values] for name, (_, values) in found.items()}, start)
    return LayerRelevances(scores, {name: (found[name][0], relevances[name]) for name in layers}, None)


def _gradients(outputs, places, start=None):
    """What arrives at the places of each layer."""
    asked = [place for several in places.values() for place in several if place.requires_grad]
    arrived = {}
    if outputs.requires_grad and asked:
        gradients = torch.autograd.grad(outputs, asked, start, allow_unused=True)
        arrived = {id(place): gradient for place, gradient in zip(asked, gradients) if gradient is not None}
    found = {}
    for name, several in places.items():
        parts = [arrived[id(place)] for place in several if id(place) in arrived]
        if not parts:
            raise ValueError(f"layers: the score does not depend on {name!r}; name another layer")
        found[name] = sum(parts)
    return found


def _check_part(layers, found):
    for name in layers:
        if name not in found:
            raise _no_part(name)


def _no_part(name):
    return ValueError(f"layers: {name!r} took no part in the forward pass; name another layer")
