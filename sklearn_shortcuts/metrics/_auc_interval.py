"""Confidence interval of an area under the ROC curve."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from .._random_state import make_random_state
from ._delong import AUCComponents
from ._inputs import SCORE_CONSTRAINTS, check_scores, only_column

_CELLS_AT_ONCE = 4_000_000  # replicates x rows held in memory at a time: 32 MB per work array


class AUCInterval(NamedTuple):
    """Area under the ROC curve with its confidence limits; unpacks as ``auc, low, high, standard_error``.

    Attributes
    ----------
    auc : float
        Area under the ROC curve.
    low, high : float
        Confidence limits, within [0, 1].
    standard_error : float
        Standard error of the area.
    """

    auc: float
    low: float
    high: float
    standard_error: float


@validate_params(
    {
        "y_score": ["array-like"],
        **SCORE_CONSTRAINTS,
        "method": [StrOptions({"delong", "bootstrap", "bca"})],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_resamples": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def auc_interval(
    y_true,
    y_score,
    *,
    method="delong",
    confidence_level=0.95,
    groups=None,
    n_resamples=2000,
    random_state=None,
    pos_label=None,
):
    """Estimate an area under the ROC curve with a confidence interval that respects patients.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels with two values.
    y_score : array-like of shape (n,)
        Scores, higher for the positive class.
    method : {"delong", "bootstrap", "bca"}, default="delong"
        "delong" takes the variance of DeLong, with ``groups`` that of Obuchowski, on the logit scale, where the
        limits stay inside (0, 1) and are asymmetric near 1 as they should be. "bootstrap" takes percentiles over
        resampled patients, "bca" corrects these for bias and skewness [1]_.
    confidence_level : float, default=0.95
        Wanted coverage.
    groups : array-like of shape (n,), default=None
        Patient (or other cluster) of every row. Pass it whenever a patient has several rows.
    n_resamples : int, default=2000
        Bootstrap samples; not used by "delong".
    random_state : int, RandomState instance or None, default=None
        Decides the bootstrap samples; not used by "delong".
    pos_label : int, float, bool or str, default=None
        Label of the positive class; needed unless the labels are 0/1, -1/1 or booleans.

    Returns
    -------
    AUCInterval
        ``auc, low, high, standard_error``.

    Raises
    ------
    ValueError
        If a class has fewer than two independent rows (groups), or the input is malformed.

    Notes
    -----
    The bootstrap draws whole groups, separately among those with positive rows only, negative rows only and both, so
    that every sample holds both classes.

    An area of exactly 1 has no estimated variance, and resampling never leaves it. Its lower limit then is the exact
    (Clopper-Pearson) one of the k disjoint pairs of a positive and a negative row that can be formed from different
    groups: with an area ``A`` all of them are in order with probability ``A ** k``. It is conservative. The same
    goes for the upper limit of an area of 0. Scores that are all equal have the area 0.5 by definition and an interval
    of no width.

    References
    ----------
    .. [1] Efron and Tibshirani (1993). An introduction to the bootstrap. Chapman & Hall, section 14.3; the
       acceleration is taken from the influence of each group.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.metrics import auc_interval
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 100)
    >>> auc, low, high, standard_error = auc_interval(y, y + rng.normal(size=100))
    >>> low < auc < high
    True
    >>> auc_interval([0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6])
    AUCInterval(auc=1.0, low=0.29..., high=1.0, standard_error=0.0)
    """
    positive, scores, group_index = check_scores(y_true, y_score, groups, pos_label)
    only_column(scores, "y_score")
    components = AUCComponents(positive, scores, group_index)
    auc = float(components.auc[0])
    standard_error = float(np.sqrt(max(components.covariance().item(), 0.0)))
    if method == "delong" or auc in (0.0, 1.0):
        low, high = auc_limits(auc, standard_error, components.n_disjoint_pairs(), confidence_level)
        return AUCInterval(auc, low, high, standard_error)
    tail = (1 - confidence_level) / 2
    replicates = _bootstrap(positive, scores[:, 0], group_index, components, n_resamples, random_state)
    levels = np.array([tail, 1 - tail])
    if method == "bca":
        levels = _bca_levels(levels, replicates, auc, components.influence[:, 0])
    low, high = np.quantile(replicates, levels)
    return AUCInterval(auc, float(low), float(high), float(replicates.std(ddof=1)))


def auc_limits(auc, standard_error, n_pairs, confidence_level):
    """Give the confidence limits of an area from its standard error.

    Parameters
    ----------
    auc : float
        Area under the ROC curve.
    standard_error : float
        Its standard error.
    n_pairs : int
        Number of pairs of a positive and a negative row that can be formed when each group is used once.
    confidence_level : float
        Wanted coverage.

    Returns
    -------
    low, high : float
        On the logit scale; at an area of 0 or 1 the exact limits of so many independent pairs.
    """
    tail = (1 - confidence_level) / 2
    if auc in (0.0, 1.0):
        bound = tail ** (1 / n_pairs)
        return (bound, 1.0) if auc == 1 else (0.0, 1 - bound)
    reach = norm.isf(tail) * standard_error / (auc * (1 - auc))
    low, high = expit(logit(auc) + np.array([-reach, reach]))
    return float(low), float(high)


def _bootstrap(positive, scores, group_index, components, n_resamples, random_state):
    """Areas of samples of groups, drawn with replacement within the strata of groups."""
    rng = make_random_state(random_state)
    kind = components.has_positive + 2 * components.has_negative
    strata = [groups for label in (1, 2, 3) if len(groups := np.flatnonzero(kind == label))]
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])  # first row of every run of tied scores
    group_index, positive = group_index[order], positive[order]
    areas = []
    at_once = max(1, _CELLS_AT_ONCE // len(scores))
    for first in range(0, n_resamples, at_once):
        size = min(at_once, n_resamples - first)
        counts = np.zeros((size, components.n_groups))
        for groups in strata:
            drawn = rng.randint(len(groups), size=(size, len(groups))) + np.arange(size)[:, None] * len(groups)
            counts[:, groups] = np.bincount(drawn.ravel(), minlength=size * len(groups)).reshape(size, -1)
        weights = counts[:, group_index]
        areas.append(_weighted_auc(np.where(positive, weights, 0), np.where(positive, 0, weights), starts))
    return np.concatenate(areas)


def _weighted_auc(positive, negative, starts):
    """Areas from row weights of shape (n_samples, n) in the order of the scores."""
    positive = np.add.reduceat(positive, starts, axis=1)
    negative = np.add.reduceat(negative, starts, axis=1)
    below = np.cumsum(negative, axis=1)
    in_order = (positive * (below - negative / 2)).sum(axis=1)
    return in_order / (positive.sum(axis=1) * below[:, -1])


def _bca_levels(levels, replicates, auc, influence):
    share_below = np.mean(replicates < auc) + np.mean(replicates == auc) / 2
    # A share of 0 or 1 would send the correction to infinity: half a replicate is the least that is resolved.
    bias = norm.ppf(np.clip(share_below, 0.5 / len(replicates), 1 - 0.5 / len(replicates)))
    squared = (influence**2).sum()
    acceleration = (influence**3).sum() / (6 * squared**1.5) if squared > 0 else 0.0
    shifted = bias + norm.ppf(levels)
    return norm.cdf(bias + shifted / (1 - acceleration * shifted))
