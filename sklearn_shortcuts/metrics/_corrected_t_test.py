"""Comparison of two estimators by the scores of the same cross-validation folds."""

import math
import warnings
from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy.stats import t as student_t
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from sklearn.utils.validation import column_or_1d


@dataclass(frozen=True)
class CorrectedTResult:
    """Comparison of two estimators over the same folds.

    Attributes
    ----------
    difference : float
        Mean difference of the scores.
    standard_error : float
        Of the mean difference, enlarged for the overlap of the training sets.
    statistic : float
        ``difference / standard_error``.
    df : int
        Degrees of freedom: number of folds less one.
    pvalue : float
        In the direction of the alternative.
    interval : tuple of float
        Two-sided confidence limits of the difference.
    """

    difference: float
    standard_error: float
    statistic: float
    df: int
    pvalue: float
    interval: tuple[float, float]


@validate_params(
    {
        "scores_a": ["array-like"],
        "scores_b": ["array-like"],
        "n_train": [Interval(Real, 0, None, closed="neither")],
        "n_test": [Interval(Real, 0, None, closed="neither")],
        "alternative": [StrOptions({"two-sided", "greater", "less"})],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
    },
    prefer_skip_nested_validation=True,
)
def corrected_t_test(scores_a, scores_b, *, n_train, n_test, alternative="two-sided", confidence_level=0.95):
    """Test whether two estimators differ over the folds of one cross-validation.

    Training sets of different folds overlap, so the scores vary less over the folds than over new samples, and the
    usual paired t-test rejects far too often. The variance is enlarged by ``n_test / n_train`` for it [1]_.

    Parameters
    ----------
    scores_a, scores_b : array-like of shape (n_folds,)
        Scores of both estimators on the same folds.
    n_train, n_test : float
        Rows (better: patients) in the training and the test part of a fold, on average.
    alternative : {"two-sided", "greater", "less"}, default="two-sided"
        Direction in which ``scores_a`` differ from ``scores_b``.
    confidence_level : float, default=0.95
        Of the interval of the difference.

    Returns
    -------
    CorrectedTResult
        Mean difference, standard error, statistic, degrees of freedom, p-value and interval.

    Raises
    ------
    ValueError
        If there are fewer than two folds, or a score is not finite.

    Warns
    -----
    RuntimeWarning
        If all folds differ by the same amount other than zero, so that there is no p-value (NaN). Folds that do not
        differ at all have the p-value 1.

    References
    ----------
    .. [1] Nadeau and Bengio (2003). Inference for the generalization error. Machine Learning 52, 239-281, section 3.

    Examples
    --------
    >>> from sklearn_shortcuts.metrics import corrected_t_test
    >>> corrected_t_test([0.81, 0.84, 0.80, 0.86, 0.83], [0.78, 0.80, 0.79, 0.81, 0.80], n_train=80, n_test=20).pvalue
    0.032
    """
    scores_a = column_or_1d(scores_a, dtype=np.float64)
    scores_b = column_or_1d(scores_b, dtype=np.float64)
    if len(scores_a) != len(scores_b) or len(scores_a) < 2:
        raise ValueError(f"needs the scores of at least two shared folds, got {len(scores_a)} and {len(scores_b)}")
    differences = scores_a - scores_b
    if not np.isfinite(differences).all():
        raise ValueError(f"the scores of fold {int(np.flatnonzero(~np.isfinite(differences))[0])} are not finite")
    n_folds = len(differences)
    mean = float(differences.mean())
    spread = float(differences.std(ddof=1))
    if spread <= 1e-14 * max(abs(scores_a).max(), abs(scores_b).max()):  # equal but for rounding
        spread = 0.0
    standard_error = math.sqrt(1 / n_folds + n_test / n_train) * spread
    df = n_folds - 1
    if standard_error > 0:
        statistic = mean / standard_error
        pvalue = _pvalue(statistic, df, alternative)
    elif mean == 0:
        statistic, pvalue = 0.0, 1.0
    else:
        warnings.warn(
            f"all folds differ by the same amount ({mean:.3g}), which leaves no variance to judge it by: "
            "there is no p-value; use more folds or repeats",
            RuntimeWarning,
            stacklevel=2,
        )
        statistic, pvalue = math.nan, math.nan
    reach = float(student_t.isf((1 - confidence_level) / 2, df)) * standard_error
    return CorrectedTResult(mean, standard_error, statistic, df, pvalue, (mean - reach, mean + reach))


def _pvalue(statistic, df, alternative):
    if alternative == "two-sided":
        return float(2 * student_t.sf(abs(statistic), df))
    return float(student_t.sf(statistic if alternative == "greater" else -statistic, df))
