"""Gradients added up along the way from a baseline to the image."""

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions, validate_params

from ._baselines import make_baseline
from ._collect import collect_maps
from ._gradients import (
    POSITIVE_INTEGER,
    REDUCTION_CONSTRAINT,
    predict_target,
    reduce_channels,
    repeat_target,
    score_gradients,
    variant_parts,
)
from ._subject import resolve_subject

_RULES = ("gauss_legendre", "left", "middle", "right")


@validate_params(
    {"steps": [POSITIVE_INTEGER], "rule": [StrOptions(set(_RULES))], **REDUCTION_CONSTRAINT},
    prefer_skip_nested_validation=True,
)
def integrated_gradients(
    estimator,
    X,
    target="predicted",
    *,
    y=None,
    baseline=0.0,
    steps=32,
    rule="gauss_legendre",
    reduction="sum",
    batch_size=None,
    precision=None,
    out=None,
):
    """Distribute the difference in score between an image and a baseline over the pixels.

    The gradient is averaged over the images on the straight line from the baseline to the image and multiplied by the
    difference of the two [1]_. The values add up to the difference in score, as far as the sum approximates the
    integral. It takes ``steps`` forward and backward passes and two forward passes per row.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted classifier, something fitted that ends in one, or a network.
    X : ImageBunch, Tensor or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Images or signals.
    target : {"predicted", "true", "sum_log_prob"}, class, or array-like of shape (n,), default="predicted"
        Whose score is explained: the logit of the predicted or the true class, of a given class (name of a label;
        position of an output for a bare network), of one class per row, or the sum of all log-probabilities. What is
        predicted for the image itself stays the target along the whole line.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    baseline : {"zero", "mean", "blur"}, float or array-like, default=0.0
        What is taken for an image without content: a number is the value of all pixels, in units of the images, so
        that 0 is usually black; ``"mean"`` is the mean of each channel of the image; ``"blur"`` the
        image behind a Gaussian blur whose standard deviation is 0.0625 times the longer side; an array is one image
        for all rows, or one per row, in the form of the rows (of a pipeline those that its classifier gets). Pixels
        that equal the baseline receive nothing, whatever they mean: look at more than one baseline.
    steps : int, default=32
        Images on the line, at least 1. See ``details`` of the result for whether they suffice.
    rule : {"gauss_legendre", "middle", "left", "right"}, default="gauss_legendre"
        Where they are: at the nodes of Gauss-Legendre quadrature, or in the middle, at the left or the right end of
        equal steps (Riemann sums).
    reduction : {"sum", "abs_sum", "abs_max", "l2"}, default="sum"
        How the channels of a pixel are combined: sum, sum or maximum of absolute values, or Euclidean norm. Only
        ``"sum"`` keeps the sign, and the total.
    batch_size : int, default=None
        Rows per pass; by default the estimator's, 32 for a bare network. Steps times rows are split into parts of
        this size.
    precision : {"float32", "bfloat16"}, default=None
        Numbers that the network computes with; by default the estimator's.
    out : ndarray of shape (n, H, W) or (n, T), dtype float32, default=None
        Where to write the maps, for instance a memory map.

    Returns
    -------
    SaliencyMaps of shape (n, H, W) or (n, T)
        Contributions in logits. ``details["completeness_gap"]``, of shape (n,), is the sum of the contributions (of
        all channels) minus the difference in score that they should add up to, ``details["score_difference"]``; more
        steps make it smaller.

    Raises
    ------
    ValueError
        If rows, target, baseline or another parameter do not fit.

    References
    ----------
    .. [1] Sundararajan, Taly and Yan (2017). Axiomatic attribution for deep networks. arXiv:1703.01365, equations 1
       and 3.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_shortcuts.explain import integrated_gradients
    >>> with torch.random.fork_rng(devices=[]):
    ...     network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2), torch.nn.Tanh())
    >>> maps = integrated_gradients(network, np.ones((3, 2, 2)), target=1, steps=20)
    >>> maps.shape
    (3, 2, 2)
    >>> bool(np.all(np.abs(maps.details["completeness_gap"]) < 1e-5))
    True
    """
    subject = resolve_subject(estimator, X, batch_size=batch_size, precision=precision)
    reference = make_baseline(subject, baseline, "baseline")
    places, weights = quadrature(steps, rule)
    details = {"completeness_gap": [], "score_difference": []}

    def explain(batch):
        images = batch["X"]
        wanted, scores = predict_target(subject, images, batch["target"])
        start = reference(images, batch["index"]).expand_as(images)
        _, start_scores = predict_target(subject, start, wanted)
        difference = images - start
        mean = torch.zeros_like(difference, dtype=scores.dtype)  # sums need more digits than bfloat16 has
        at, share = (
            torch.from_numpy(values).to(like).reshape(-1, *[1] * images.ndim)
            for values, like in ((places, images), (weights, mean))
        )
        for part in variant_parts(subject, steps, len(images)):
            points = (start + at[part] * difference).flatten(0, 1)
            _, gradients = score_gradients(subject, points, repeat_target(wanted, len(at[part])))
            mean += (share[part] * gradients.to(mean.dtype).unflatten(0, (-1, len(images)))).sum(0)
        contributions = mean * difference
        result = reduce_channels(contributions, reduction)
        details["score_difference"].append(scores - start_scores)
        details["completeness_gap"].append(contributions.flatten(1).sum(1) - (scores - start_scores))
        return result

    return collect_maps(subject, explain, target=target, method="integrated_gradients", y=y, details=details, out=out)


def quadrature(steps, rule):
    """Give places in [0, 1] and weights that add up to 1.

    Parameters
    ----------
    steps : int
        Their number.
    rule : {"gauss_legendre", "middle", "left", "right"}
        As in :func:`integrated_gradients`.

    Returns
    -------
    places, weights : ndarray of shape (steps,)
        So that the sum of weights times values at the places approximates the integral from 0 to 1.
    """
    if rule == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return (nodes + 1) / 2, weights / 2
    shift = {"left": 0.0, "middle": 0.5, "right": 1.0}[rule]
    return (np.arange(steps) + shift) / steps, np.full(steps, 1 / steps)
