"""Gradients of scores with respect to the images: what the methods built on them share."""

import contextlib
from numbers import Integral, Real

import torch
from sklearn.utils._param_validation import Interval, StrOptions

from ..neural._net import ordered
from ._stem_gradient import fast_stem_gradient
from ._targets import predicted_positions, select_scores

REDUCTIONS = {
    "sum": lambda values: values.sum(1),
    "abs_sum": lambda values: values.abs().sum(1),
    "abs_max": lambda values: values.abs().amax(1),
    "l2": lambda values: torch.linalg.vector_norm(values, dim=1),
}
REDUCTION_CONSTRAINT = {"reduction": [StrOptions(set(REDUCTIONS))]}
POSITIVE_INTEGER = Interval(Integral, 1, None, closed="left")
NON_NEGATIVE = Interval(Real, 0, None, closed="left")


def reduce_channels(values, reduction):
    """Make one map per row of one value per channel and position.

    Parameters
    ----------
    values : Tensor of shape (n, C, H, W) or (n, C, T)
        Attributions.
    reduction : {"sum", "abs_sum", "abs_max", "l2"}
        How channels are combined.

    Returns
    -------
    Tensor of shape (n, H, W) or (n, T)
        Maps.
    """
    return REDUCTIONS[reduction](values)


def score_gradients(subject, X, target, *, fast_stem=True):
    """Differentiate the score of every row with respect to its image.

    Parameters
    ----------
    subject : Subject
        Network.
    X : Tensor of shape (n, C, H, W) or (n, C, T)
        Images; not changed.
    target : str or Tensor
        What :func:`select_scores` takes.
    fast_stem : bool, default=True
        Whether the backward pass through the first convolution may be replaced by a faster one. Not where others have
        changed it already.

    Returns
    -------
    scores : Tensor of shape (n,)
        Scores.
    gradients : Tensor like X
        Their gradients.

    Raises
    ------
    ValueError
        If the outputs of the network cannot be differentiated.
    """
    images = ordered(X.detach(), torch.channels_last).requires_grad_()
    faster = fast_stem_gradient(subject.module) if fast_stem else contextlib.nullcontext()
    with torch.enable_grad(), faster:
        # The network may overwrite its input, which a leaf does not allow.
        scores = select_scores(subject.infer(images.clone()), target, subject.kind)
        if not scores.requires_grad:
            raise ValueError("the outputs of the network do not depend on the images in a way torch can differentiate")
        (gradients,) = torch.autograd.grad(scores.sum(), images)
    return scores.detach(), gradients


def score_relevances(subject, X, target, *, method, network=None):
    """Propagate the score of every row back to its image, by whatever the network's backward pass has become.

    Parameters
    ----------
    subject : Subject
        Network.
    X : Tensor of shape (n, C, H, W) or (n, C, T)
        Images; not changed.
    target : str or Tensor
        What :func:`select_scores` takes; not ``"sum_log_prob"``.
    method : str
        Name of the method, for error messages.
    network : callable, default=None
        What to run in the network's place.

    Returns
    -------
    scores : Tensor of shape (n,)
        Scores.
    relevances : Tensor like X
        Relevances of the pixels, where the relevance of the logits is the score.

    Raises
    ------
    ValueError
        If the target is no logit, or the outputs of the network do not depend on the images.
    """
    refuse_log_prob(target, method)
    images = ordered(X.detach(), torch.channels_last).requires_grad_()
    with torch.enable_grad():
        # The network may overwrite its input, which a leaf does not allow.
        logits = subject.infer(images.clone(), network)
    scores, start = score_start(subject, logits, target)
    (relevances,) = torch.autograd.grad(logits, images, start)
    return scores, relevances


def refuse_log_prob(target, method):
    """Raise a ValueError if the target is no logit, which is all that relevance propagation starts from."""
    if isinstance(target, str) and target == "sum_log_prob":
        raise ValueError(f"target='sum_log_prob': method={method!r} propagates logits only; give a class")


def score_start(subject, logits, target):
    """Give the scores, and what propagation starts from.

    Parameters
    ----------
    subject : Subject
        Network.
    logits : Tensor of shape (n, n_outputs)
        Its outputs, in a graph.
    target : str or Tensor
        What :func:`select_scores` takes; not ``"sum_log_prob"``.

    Returns
    -------
    scores : Tensor of shape (n,)
        Scores.
    start : Tensor like logits
        Relevances of the logits: the score at the logit that is explained, 0 elsewhere.

    Raises
    ------
    ValueError
        If the outputs do not depend on the images.
    """
    if not logits.requires_grad:
        raise ValueError("the outputs of the network do not depend on the images in a way torch can follow")
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        scores = select_scores(leaf, target, subject.kind)
        # 1 at the logit that is explained, -1 where its negative is the score of the class.
        (chosen,) = torch.autograd.grad(scores.sum(), leaf)
    return scores.detach(), chosen * leaf.detach()


def predict_target(subject, X, target):
    """Fix the target of a batch before its images are changed, and give the scores of the unchanged images.

    Parameters
    ----------
    subject : Subject
        Network.
    X : Tensor of shape (n, C, H, W) or (n, C, T)
        Images.
    target : str or Tensor
        What :func:`select_scores` takes.

    Returns
    -------
    target : str or Tensor
        The same, with positions in place of ``"predicted"``.
    scores : Tensor of shape (n,)
        Scores.
    """
    with torch.no_grad():
        logits = subject.infer(X.clone())
        if isinstance(target, str) and target == "predicted":
            target = predicted_positions(logits, subject.kind)
        return target, select_scores(logits, target, subject.kind)


def variant_parts(subject, n_variants, n_rows):
    """Split variants of the rows of a batch into parts that together have no more rows than a batch.

    Parameters
    ----------
    subject : Subject
        Network.
    n_variants : int
        Variants of each row.
    n_rows : int
        Rows of the batch.

    Yields
    ------
    slice
        Which variants, of all rows, are to be computed at once.
    """
    at_once = max(1, subject.rows_per_pass // n_rows)
    for first in range(0, n_variants, at_once):
        yield slice(first, min(first + at_once, n_variants))


def repeat_target(target, n_variants):
    """Give the target of ``n_variants`` copies of a batch, one after the other."""
    return target if isinstance(target, str) else target.repeat(n_variants, *[1] * (target.ndim - 1))
