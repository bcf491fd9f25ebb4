"""How much of an artifact's effect a repair took away, on rows with the artifact and their twins without it."""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, validate_params

from ._inputs import check_values
from ._label_scores import equal_labels
from ._row_means import RowMeans

_PAIRS = {
    "before": ["array-like"],
    "before_twin": ["array-like"],
    "after": ["array-like"],
    "after_twin": ["array-like"],
    "groups": ["array-like", None],
    "confidence_level": [Interval(Real, 0, 1, closed="neither")],
    "n_resamples": [Interval(Integral, 2, None, closed="left")],
    "random_state": ["random_state"],
}


@dataclass(frozen=True, eq=False)
class PairedRecovery:
    """How much of an artifact's effect on the scores of a model a repair took away; ``float(recovery)`` is ``value``.

    Attributes
    ----------
    value : float
        1 if the artifact no longer changes the scores, 0 if it changes them as before, negative if by more; NaN if it
        never changed them.
    low, high : float
        Confidence limits; NaN with one patient, or where too many resamples have no effect to take away.
    effect_before, effect_after : float
        Mean absolute change of the score by the artifact.
    off_target : float
        Mean absolute change of the score by the repair on rows without the artifact, where nothing should change.
    off_target_low, off_target_high : float
        Its confidence limits; NaN with one patient.
    n_used : int
        Pairs.
    n_unaffected : int
        Pairs whose score the artifact did not change before the repair; they count in ``value``.
    n_groups : int
        Patients; ``n_used`` where none are known.
    scores : ndarray of shape (n,)
        The same for every pair; NaN for those that were not affected before.
    """

    value: float
    low: float
    high: float
    effect_before: float
    effect_after: float
    off_target: float
    off_target_low: float
    off_target_high: float
    n_used: int
    n_unaffected: int
    n_groups: int
    scores: np.ndarray

    def __float__(self):
        return self.value


@dataclass(frozen=True, eq=False)
class GapClosed:
    """What share of the accuracy lost to an artifact a repair gave back; ``float(closed)`` is its ``value``.

    Attributes
    ----------
    value : float
        1 if rows with the artifact are classified as well as their twins, 0 if the gap is as before, negative if it
        is wider; NaN if there was no gap.
    low, high : float
        Confidence limits; NaN with one patient, or where the gap before the repair cannot be told from none.
    gap_before, gap_after : float
        Accuracy on the twins minus accuracy on the rows with the artifact.
    n_used : int
        Pairs.
    n_groups : int
        Patients; ``n_used`` where none are known.
    """

    value: float
    low: float
    high: float
    gap_before: float
    gap_after: float
    n_used: int
    n_groups: int

    def __float__(self):
        return self.value


@validate_params(_PAIRS, prefer_skip_nested_validation=True)
def paired_recovery(
    before,
    before_twin,
    after,
    after_twin,
    *,
    groups=None,
    confidence_level=0.95,
    n_resamples=2000,
    random_state=None,
):
    r"""Measure how much of an artifact's effect on the scores of a model a repair took away.

    It is :math:`1 - \sum_i |g(x_i^a) - g(x_i)| / \sum_i |f(x_i^a) - f(x_i)|` over pairs of a row :math:`x_i^a` with the
    artifact and its twin :math:`x_i` without it, for a model :math:`f` before and :math:`g` after the repair. A model
    that finds an artifact is not yet one that disregards it: only the effect on the scores tells.

    Parameters
    ----------
    before, before_twin : array-like of shape (n,) or (n, k)
        Scores of the model before the repair, of rows with the artifact and of the same rows without it: probabilities
        or values of the decision function. Changes are averaged over the columns.
    after, after_twin : array-like of shape (n,) or (n, k)
        Scores of the repaired model of the same rows.
    groups : array-like of shape (n,), default=None
        Patients, who are resampled as a whole.
    confidence_level : float, default=0.95
        Of the intervals.
    n_resamples : int, default=2000
        Bootstrap samples.
    random_state : int, RandomState instance or None, default=None
        Decides them.

    Returns
    -------
    PairedRecovery
        Recovery with its interval, and the change on rows without the artifact.

    Raises
    ------
    ValueError
        If shapes differ, or a score is not finite.

    See Also
    --------
    gap_closed : The same for accuracies.
    flip_rate : How many predictions change.

    Notes
    -----
    The ratio of sums weights rows by how much the artifact changed them. The mean of the rows' own ratios, in
    ``scores``, would be ruled by rows that it hardly changed. Scores on different scales, such as those of a model
    whose logits were shrunk, are not comparable: prefer probabilities.

    Examples
    --------
    >>> from sklearn_shortcuts.metrics import paired_recovery
    >>> recovery = paired_recovery([0.9, 0.8], [0.1, 0.4], [0.3, 0.5], [0.2, 0.3], random_state=0)
    >>> round(recovery.value, 2), round(recovery.off_target, 2)
    (0.75, 0.1)
    """
    names = ("before", "before_twin", "after", "after_twin")
    given = _same_shape(dict(zip(names, (before, before_twin, after, after_twin))))
    old = np.abs(given["before"] - given["before_twin"]).mean(axis=1)
    new = np.abs(given["after"] - given["after_twin"]).mean(axis=1)
    side = np.abs(given["after_twin"] - given["before_twin"]).mean(axis=1)
    means = RowMeans(np.column_stack([old, new, side]), groups)
    value, low, high = _one_minus_ratio(means, confidence_level, n_resamples, random_state)
    limits = RowMeans(side[:, None], groups).intervals(confidence_level, n_resamples, random_state, shares=False)[:, 0]
    affected = old > 0
    return PairedRecovery(
        value=value,
        low=low,
        high=high,
        effect_before=float(means.mean[0]),
        effect_after=float(means.mean[1]),
        off_target=float(means.mean[2]),
        off_target_low=float(limits[0]),
        off_target_high=float(limits[1]),
        n_used=len(old),
        n_unaffected=int((~affected).sum()),
        n_groups=means.n_groups,
        scores=1 - np.divide(new, old, out=np.full(len(old), np.nan), where=affected),
    )


@validate_params({"y": ["array-like"], **_PAIRS}, prefer_skip_nested_validation=True)
def gap_closed(
    y,
    before,
    before_twin,
    after,
    after_twin,
    *,
    groups=None,
    confidence_level=0.95,
    n_resamples=2000,
    random_state=None,
):
    """Measure what share of the accuracy that an artifact costs a repair gave back.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, n_labels)
        Labels.
    before, before_twin : array-like of shape (n,) or (n, n_labels)
        Labels that the model predicts before the repair, for rows with the artifact and for the same rows without it.
    after, after_twin : array-like of shape (n,) or (n, n_labels)
        Labels that the repaired model predicts for the same rows.
    groups : array-like of shape (n,), default=None
        Patients, who are resampled as a whole.
    confidence_level : float, default=0.95
        Of the interval.
    n_resamples : int, default=2000
        Bootstrap samples.
    random_state : int, RandomState instance or None, default=None
        Decides them.

    Returns
    -------
    GapClosed
        ``(gap_before - gap_after) / gap_before`` of the gaps between the accuracy without and with the artifact; of
        several labels the share of them that is right takes the place of the accuracy.

    Raises
    ------
    ValueError
        If shapes or kinds of labels differ.

    See Also
    --------
    paired_recovery : The same for scores.

    Examples
    --------
    >>> from sklearn_shortcuts.metrics import gap_closed
    >>> y = [0, 0, 1, 1]
    >>> closed = gap_closed(y, [1, 1, 1, 1], y, [0, 1, 1, 1], y, random_state=0)
    >>> closed.gap_before, closed.gap_after, closed.value
    (0.5, 0.25, 0.5)
    """
    right = {}
    for name, predicted in zip(
        ("before", "before_twin", "after", "after_twin"), (before, before_twin, after, after_twin)
    ):
        equal = equal_labels(predicted, y, f"{name} has", "y")
        right[name] = equal.reshape(len(equal), -1).mean(axis=1)
    old, new = (right[f"{name}_twin"] - right[name] for name in ("before", "after"))
    means = RowMeans(np.column_stack([old, new]), groups)
    value, low, high = _one_minus_ratio(means, confidence_level, n_resamples, random_state)
    return GapClosed(
        value=value,
        low=low,
        high=high,
        gap_before=float(means.mean[0]),
        gap_after=float(means.mean[1]),
        n_used=len(old),
        n_groups=means.n_groups,
    )


def _same_shape(given):
    """Give scores as finite numbers of shape (n, k)."""
    n_rows = len(given["before"])
    for name, values in given.items():
        if np.shape(values) != np.shape(given["before"]):
            raise ValueError(f"{name} has shape {np.shape(values)}, but before has {np.shape(given['before'])}")
    if n_rows == 0:
        raise ValueError("before is empty: there is no pair to compare")
    return {name: check_values(values, n_rows) for name, values in given.items()}


def _one_minus_ratio(means, confidence_level, n_resamples, random_state):
    """Give 1 minus the second mean per first mean, with limits from resampled patients."""
    if not means.mean[0] > 0:
        return np.nan, np.nan, np.nan
    value = float(1 - means.mean[1] / means.mean[0])
    if means.n_groups < 2:
        return value, np.nan, np.nan
    drawn = means.replicates(n_resamples, random_state)
    outer = means.outer_percentile(confidence_level)
    some = drawn[:, 0] > 0
    if (~some).mean() > outer:  # the first mean cannot be told from zero: the ratio may be anything
        return value, np.nan, np.nan
    low, high = np.quantile(1 - drawn[some, 1] / drawn[some, 0], [outer, 1 - outer])
    return value, float(low), float(high)
