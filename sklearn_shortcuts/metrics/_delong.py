"""Uncertainty of areas under ROC curves measured on the same rows."""

import math
import warnings
from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ._inputs import SCORE_CONSTRAINTS, UnmeasurableError, check_scores, check_values, only_column

# Below this a standard error is rounding: a single pair of 10^5 x 10^5 rows already moves an AUC by 1e-10.
_ZERO = 1e-13


@dataclass(frozen=True)
class DeLongResult:
    """Comparison of two areas under the ROC curve, or of one with a fixed value.

    Attributes
    ----------
    auc_a, auc_b : float
        The areas; ``auc_b`` is the fixed value where only one classifier was given.
    difference : float
        ``auc_a - auc_b``.
    standard_error : float
        Of the difference.
    statistic : float
        ``difference / standard_error``, standard normal under the null hypothesis.
    pvalue : float
        In the direction of the alternative.
    interval : tuple of float
        Confidence limits of the difference, within [-1, 1]; one-sided for a one-sided alternative.
    """

    auc_a: float
    auc_b: float
    difference: float
    standard_error: float
    statistic: float
    pvalue: float
    interval: tuple[float, float]


class AUCComponents:
    """Areas under the ROC curve as sums over independent units.

    Parameters
    ----------
    positive : ndarray of bool of shape (n,)
        Rows of the positive class.
    scores : ndarray of shape (n, k)
        One column per classifier.
    group_index : ndarray of int of shape (n,)
        Which rows belong together.
    weights : ndarray of shape (n,), default=None
        Weights of the rows, from 0 on, taken as fixed; by default all are 1.

    Attributes
    ----------
    auc : ndarray of shape (k,)
        Areas.
    influence : ndarray of shape (n_groups, k)
        How much each group moves the areas; sums to zero.
    n_groups_positive, n_groups_negative, n_groups : int
        Groups with a positive row, with a negative row, and in all.
    """

    def __init__(self, positive, scores, group_index, weights=None):
        self.n_groups = int(group_index.max()) + 1
        if weights is None:
            m, n = int(positive.sum()), int((~positive).sum())
            # Average ranks count ties as one half. The share of negatives below a positive is its rank among all rows
            # minus its rank among the positives.
            overall = rankdata(scores, axis=0)
            above = (overall[positive] - rankdata(scores[positive], axis=0)) / n
            below = 1 - (overall[~positive] - rankdata(scores[~positive], axis=0)) / m
            self.auc = above.mean(axis=0)
            self._above = _sum_by(group_index[positive], above - self.auc, self.n_groups) / m
            self._below = _sum_by(group_index[~positive], below - self.auc, self.n_groups) / n
        else:
            counted = weights > 0
            positive, scores, group_index = positive[counted], scores[counted], group_index[counted]
            weights = weights[counted, None]
            own, other = weights[positive] / weights[positive].sum(), weights[~positive] / weights[~positive].sum()
            above = _weighted_share_below(scores[positive], scores[~positive], other[:, 0])
            below = 1 - _weighted_share_below(scores[~positive], scores[positive], own[:, 0])
            self.auc = (own * above).sum(axis=0)
            self._above = _sum_by(group_index[positive], own * (above - self.auc), self.n_groups)
            self._below = _sum_by(group_index[~positive], other * (below - self.auc), self.n_groups)
        self.has_positive = np.bincount(group_index[positive], minlength=self.n_groups) > 0
        self.has_negative = np.bincount(group_index[~positive], minlength=self.n_groups) > 0
        self.n_groups_positive = int(self.has_positive.sum())
        self.n_groups_negative = int(self.has_negative.sum())

    @property
    def influence(self):
        return self._above + self._below

    def covariance(self, contrasts=None):
        """Give the covariance matrix of the areas or of linear contrasts of them, of shape (n_contrasts, k).

        The contrasts are taken before squaring: identical classifiers then differ by exactly zero.
        """
        if min(self.n_groups_positive, self.n_groups_negative) < 2:
            raise UnmeasurableError(
                "the variance of an AUC needs at least two independent rows (or groups) of each class, got "
                f"{self.n_groups_positive} with the positive and {self.n_groups_negative} with the negative class"
            )
        above, below = self._above, self._below
        if contrasts is not None:
            above, below = above @ contrasts.T, below @ contrasts.T
        crossed = _unbiased(self.n_groups) * above.T @ below
        return (
            _unbiased(self.n_groups_positive) * above.T @ above
            + _unbiased(self.n_groups_negative) * below.T @ below
            + crossed
            + crossed.T
        )

    def n_disjoint_pairs(self):
        """Count the pairs of a positive and a negative row that can be formed when each group is used once."""
        return min(self.n_groups_positive, self.n_groups_negative, self.n_groups // 2)


@validate_params({"y_score": ["array-like"], **SCORE_CONSTRAINTS}, prefer_skip_nested_validation=True)
def auc_covariance(y_true, y_score, *, groups=None, pos_label=None):
    """Estimate areas under ROC curves measured on the same rows, with their covariance matrix.

    The building block of tests on more than two classifiers: for contrasts ``L`` of the areas, ``L @ aucs`` has
    the covariance ``L @ covariance @ L.T``.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels with two values.
    y_score : array-like of shape (n,) or (n, k)
        Scores, higher for the positive class; one column per classifier.
    groups : array-like of shape (n,), default=None
        Patient (or other cluster) of every row. Pass it whenever a patient has several rows: images of one patient
        are alike, and counting them as independent makes the variance several times too small.
    pos_label : int, float, bool or str, default=None
        Label of the positive class; needed unless the labels are 0/1, -1/1 or booleans.

    Returns
    -------
    aucs : ndarray of shape (k,)
        Areas under the ROC curves; ties count one half.
    covariance : ndarray of shape (k, k)
        DeLong's estimate [1]_ (computed from ranks [2]_), or Obuchowski's [3]_ with ``groups``.

    Raises
    ------
    ValueError
        If a class has fewer than two independent rows (groups), or the input is malformed.

    References
    ----------
    .. [1] DeLong, DeLong and Clarke-Pearson (1988). Comparing the areas under two or more correlated receiver
       operating characteristic curves: a nonparametric approach. Biometrics 44, 837-845, equations 4-6.
    .. [2] Sun and Xu (2014). Fast implementation of DeLong's algorithm for comparing the areas under correlated
       receiver operating characteristic curves. IEEE Signal Processing Letters 21, 1389-1393.
    .. [3] Obuchowski (1997). Nonparametric analysis of clustered ROC curve data. Biometrics 53, 567-578.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.metrics import auc_covariance
    >>> y = np.array([0, 0, 0, 1, 1, 1])
    >>> scores = np.array([[1, 3], [2, 1], [4, 2], [3, 5], [5, 6], [6, 4]])
    >>> aucs, covariance = auc_covariance(y, scores)
    >>> aucs
    array([0.889, 1.   ])
    >>> np.sqrt(np.diag(covariance))
    array([0.157, 0.   ])
    """
    components = AUCComponents(*check_scores(y_true, y_score, groups, pos_label))
    return components.auc, components.covariance()


@validate_params(
    {
        "scores_a": ["array-like"],
        "scores_b": ["array-like", None],
        **SCORE_CONSTRAINTS,
        "null": [Interval(Real, 0, 1, closed="neither"), None],
        "alternative": [StrOptions({"two-sided", "greater", "less"})],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
    },
    prefer_skip_nested_validation=True,
)
def delong_roc_test(
    y_true,
    scores_a,
    scores_b=None,
    *,
    groups=None,
    null=None,
    alternative="two-sided",
    confidence_level=0.95,
    pos_label=None,
):
    """Test whether two classifiers rank the same rows equally well, or one better than chance.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels with two values.
    scores_a : array-like of shape (n,)
        Scores of the first classifier, higher for the positive class.
    scores_b : array-like of shape (n,), default=None
        Scores of the second classifier on the same rows. Without it the first is compared with ``null``.
    groups : array-like of shape (n,), default=None
        Patient (or other cluster) of every row. Pass it whenever a patient has several rows: with four alike images
        per patient a test at level 0.05 that takes them for independent rejects a true null hypothesis one time in
        three.
    null : float, default=None
        Area in (0, 1) that ``scores_a`` is compared with when there is no ``scores_b``; None means 0.5.
    alternative : {"two-sided", "greater", "less"}, default="two-sided"
        Direction in which ``auc_a`` differs from ``auc_b`` (or ``null``).
    confidence_level : float, default=0.95
        Of the interval of the difference.
    pos_label : int, float, bool or str, default=None
        Label of the positive class; needed unless the labels are 0/1, -1/1 or booleans.

    Returns
    -------
    DeLongResult
        Areas, difference, standard error, statistic, p-value and interval.

    Warns
    -----
    RuntimeWarning
        If the areas differ but the estimated variance of their difference is zero, so that there is no p-value.

    Notes
    -----
    Where the estimated variance is zero, equal areas give a p-value of 1 and unequal ones NaN with a warning. There
    is one exception: a single classifier that separates the classes perfectly, tested against 0.5. Its p-value is
    the exact probability of that ordering when labels are exchangeable, counting each group once per class.

    References
    ----------
    .. [1] DeLong, DeLong and Clarke-Pearson (1988). Comparing the areas under two or more correlated receiver
       operating characteristic curves: a nonparametric approach. Biometrics 44, 837-845.
    .. [2] Obuchowski (1997). Nonparametric analysis of clustered ROC curve data. Biometrics 53, 567-578.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.metrics import delong_roc_test
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 200)
    >>> good, poor = y + rng.normal(size=200), 0.3 * y + rng.normal(size=200)
    >>> result = delong_roc_test(y, good, poor)
    >>> result.pvalue < 0.05
    True
    """
    positive, scores, group_index = check_scores(y_true, scores_a, groups, pos_label)
    only_column(scores, "scores_a")
    contrast = np.ones((1, 1))
    if scores_b is not None:
        if null is not None:
            raise ValueError("null is what scores_a is compared with when there is no scores_b; leave one of them out")
        others = check_values(scores_b, len(positive))
        scores = np.column_stack([scores, only_column(others, "scores_b")])
        contrast = np.array([[1.0, -1.0]])
    components = AUCComponents(positive, scores, group_index)
    auc_a = float(components.auc[0])
    auc_b = float(components.auc[1]) if scores_b is not None else 0.5 if null is None else float(null)
    difference = auc_a - auc_b
    standard_error = math.sqrt(max(components.covariance(contrast).item(), 0.0))
    if standard_error > _ZERO:
        statistic = difference / standard_error
        pvalue = _normal_pvalue(statistic, alternative)
    elif abs(difference) <= _ZERO:
        standard_error, statistic, pvalue = 0.0, 0.0, 1.0
    elif scores_b is None and auc_b == 0.5 and auc_a in (0.0, 1.0):
        standard_error, statistic = 0.0, math.copysign(math.inf, difference)
        pvalue = _separation_pvalue(components, difference, alternative)
    else:
        warnings.warn(
            f"the areas {auc_a:.3g} and {auc_b:.3g} differ, but the estimated variance of their difference is zero: "
            "there is no p-value; collect more rows, or compare by a permutation test",
            RuntimeWarning,
            stacklevel=2,
        )
        standard_error, statistic, pvalue = 0.0, math.nan, math.nan
    return DeLongResult(
        auc_a=auc_a,
        auc_b=auc_b,
        difference=difference,
        standard_error=standard_error,
        statistic=statistic,
        pvalue=pvalue,
        interval=_difference_interval(difference, standard_error, alternative, confidence_level),
    )


def _weighted_share_below(scores, others, weights):
    """Weighted share of the others that lie below each score, ties counting one half, column by column."""
    shares = np.empty(scores.shape)
    for column, (own, compared) in enumerate(zip(scores.T, others.T)):
        order = np.argsort(compared, kind="stable")
        total = np.concatenate([[0.0], np.cumsum(weights[order])])
        places = [np.searchsorted(compared[order], own, side=side) for side in ("left", "right")]
        shares[:, column] = (total[places[0]] + total[places[1]]) / 2
    return shares


def _sum_by(index, values, n_groups):
    return np.stack([np.bincount(index, column, minlength=n_groups) for column in values.T], axis=1)


def _unbiased(count):
    return count / (count - 1)


def _normal_pvalue(statistic, alternative):
    if alternative == "two-sided":
        return float(2 * norm.sf(abs(statistic)))
    return float(norm.sf(statistic) if alternative == "greater" else norm.cdf(statistic))


def _separation_pvalue(components, difference, alternative):
    m, n = components.n_groups_positive, components.n_groups_negative
    one_sided = 1 / math.comb(m + n, m)
    if alternative == "two-sided":
        return min(2 * one_sided, 1.0)
    return one_sided if (alternative == "greater") == (difference > 0) else 1.0


def _difference_interval(difference, standard_error, alternative, confidence_level):
    tail = (1 - confidence_level) / (2 if alternative == "two-sided" else 1)
    reach = float(norm.isf(tail)) * standard_error
    low = -1.0 if alternative == "less" else max(difference - reach, -1.0)
    high = 1.0 if alternative == "greater" else min(difference + reach, 1.0)
    return low, high
