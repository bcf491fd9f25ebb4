"""How alike are the rows of different acquisitions, before and after balancing?"""

from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.utils._param_validation import validate_params

from ..images._fields import refuse_wrong_weights
from ..metrics import cramers_v
from ..metrics._inputs import UnmeasurableError
from ._acquisition_columns import MISSING
from ._cohort import read_cohort
from ._propensity import design_matrix, propensity, separation


@validate_params(
    {
        "acquisition": ["array-like"],
        "y": ["array-like", None],
        "covariates": ["array-like", dict, None],
        "sample_weight": ["array-like", None],
        "sample_weight_before": ["array-like", None],
        "groups": ["array-like", None],
    },
    prefer_skip_nested_validation=True,
)
def balance_table(
    acquisition,
    y=None,
    *,
    covariates=None,
    sample_weight=None,
    sample_weight_before=None,
    groups=None,
):
    """Compare acquisitions in label and covariates, before and after balancing.

    Parameters
    ----------
    acquisition : array-like of shape (n,) or DataFrame of shape (n, k)
        Manufacturer, site, protocol of every row, as in :func:`acquisition_weights`.
    y : array-like of shape (n,) or (n, n_labels), default=None
        Labels.
    covariates : DataFrame, dict of columns or array-like of shape (n,) or (n, k), default=None
        Age, sex and the like, as in :func:`acquisition_weights`.
    sample_weight : array-like of shape (n,), default=None
        Weights after balancing, 0 for rows that were left out. Without them there is no column "after".
    sample_weight_before : array-like of shape (n,), default=None
        Weights before balancing.
    groups : array-like of shape (n,), default=None
        Patient of every row; then patients are compared, as in :func:`acquisition_weights`, not rows.

    Returns
    -------
    DataFrame
        Columns ``before`` and ``after``, indexed by ``variable`` and ``statistic``. Of label and covariates:

        - "smd": standardized mean difference, absolute, between the two acquisitions that differ most. Its denominator
          is the standard deviation within acquisitions *before* balancing, so that both columns are in the same units.
          Of categories it is Yang and Dalton's [1]_. More than 0.1 is commonly called imbalance [2]_;
        - "variance_ratio" of numbers: larger by smaller, at most; more than 2 is imbalance [2]_;
        - "ks" of numbers: largest distance of distribution functions (Kolmogorov-Smirnov);
        - "cramers_v" of categories: association with the acquisition, bias-corrected.

        Numbers that are missing in some rows have a further variable, whether they are. Of the variable "acquisition":
        "n_rows" of positive weight, in all and of each acquisition; "share_dropped" of the rows before; the
        "effective_sample_size" ``sum(w)^2 / sum(w^2)``; "design_effect", the number of rows by it; "max_weight_share"
        of one row; "propensity_auc", how well label and covariates tell the acquisition: the area under the ROC curve
        of a logistic regression in these same rows, mean over acquisitions against the rest; 0.5 is nothing.

    Raises
    ------
    ValueError
        If there is neither label nor covariate, one acquisition only, or malformed input.

    References
    ----------
    .. [1] Yang and Dalton (2012). A unified approach to measuring the effect size between two groups using SAS. SAS
       Global Forum, paper 335.
    .. [2] Austin (2009). Balance diagnostics for comparing the distribution of baseline covariates between treatment
       groups in propensity-score matched samples. Statistics in Medicine 28(25), 3083-3107.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_shortcuts.preprocessing import acquisition_weights, balance_table
    >>> scanner, label = ["GE", "GE", "GE", "Siemens", "Siemens", "Siemens"], [1, 1, 0, 0, 0, 1]
    >>> table = balance_table(scanner, label, sample_weight=acquisition_weights(scanner, label))
    >>> table.loc["y"].round(2)
               before  after
    statistic
    smd          0.71    0.0
    cramers_v    0.00    0.0
    """
    if y is None and covariates is None:
        raise ValueError("balance_table compares acquisitions in labels or covariates: pass y, covariates or both")
    target = "covariates" if y is None else "label" if covariates is None else "both"
    cohort = read_cohort(
        acquisition, y, covariates=covariates, target=target, groups=groups, sample_weight=sample_weight_before
    )
    after = None
    if sample_weight is not None:
        after = np.asarray(sample_weight, dtype=np.float64)
        if after.shape != cohort.unit_of_row.shape:
            raise ValueError(f"sample_weight has shape {after.shape}, but there are {len(cohort.unit_of_row)} rows")
        refuse_wrong_weights(after)
        counted = cohort.unit_of_row >= 0
        units = cohort.unit_of_row[counted]
        after = np.bincount(units, after[counted], minlength=len(cohort)) / np.bincount(units)
    return table_of(cohort, after)


def table_of(cohort, after=None):
    """Make the table of units.

    Parameters
    ----------
    cohort : Cohort
        Units, with their weights before.
    after : ndarray of shape (n_units,), default=None
        Their weights after balancing.

    Returns
    -------
    DataFrame
        As of :func:`balance_table`.
    """
    variables = [part for column in cohort.columns for part in _with_missing(column)]
    columns = {"before": cohort.weights} if after is None else {"before": cohort.weights, "after": after}
    records = {}
    for moment, weights in columns.items():
        record = {}
        for column in variables:
            record.update(
                {(column.name, name): value for name, value in _compared(column, cohort.acquisition, weights).items()}
            )
        record.update({("acquisition", name): value for name, value in _overall(cohort, weights).items()})
        records[moment] = record
    table = pd.DataFrame(records)
    table.index.names = ["variable", "statistic"]
    return table


def _with_missing(column):
    """Give a column and, if numbers are missing, whether they are."""
    if not column.is_continuous or not np.isnan(column.values).any():
        return [column]
    indicator = type(column)(f"{column.name} ({MISSING})", np.isnan(column.values).astype(np.intp), ("no", "yes"))
    return [column, indicator]


def _compared(column, acquisition, weights):
    codes, n_levels = acquisition.values, len(acquisition.levels)
    if column.is_continuous:
        known = np.isfinite(column.values)
        parts = [
            (column.values[rows], weights[rows]) for rows in (known & (codes == level) for level in range(n_levels))
        ]
        pairs = list(combinations(parts, 2))
        return {
            "smd": _largest(_smd_of_numbers(*pair) for pair in pairs),
            "variance_ratio": _largest(_variance_ratio(*pair) for pair in pairs),
            "ks": _largest(_ks(*pair) for pair in pairs),
        }
    one_hot = column.values[:, None] == np.arange(len(column.levels))
    shares = []
    for level in range(n_levels):
        rows = codes == level
        total = weights[rows].sum()
        after = (weights[rows] @ one_hot[rows]) / total if total > 0 else np.full(len(column.levels), np.nan)
        shares.append((one_hot[rows].mean(axis=0), after))
    try:
        association = cramers_v(codes, column.values, sample_weight=weights)
    except UnmeasurableError:  # weights may leave one category only
        association = np.nan
    return {"smd": _largest(_smd_of_shares(*pair) for pair in combinations(shares, 2)), "cramers_v": association}


def _largest(values):
    """Largest value; NaN if one cannot be told."""
    return float(np.max([*values]))


def _smd_of_numbers(first, second):
    """Difference of weighted means by the unweighted standard deviation within."""
    if any(len(values) < 2 or weights.sum() == 0 for values, weights in (first, second)):
        return np.nan
    means = [np.average(values, weights=weights) for values, weights in (first, second)]
    spread = np.sqrt((first[0].var(ddof=1) + second[0].var(ddof=1)) / 2)
    difference = abs(means[0] - means[1])
    return difference / spread if spread > 0 else (np.inf if difference > 0 else 0.0)


def _smd_of_shares(first, second):
    """Mahalanobis length of the difference of all shares but one, by the covariance of unweighted shares."""
    difference = (first[1] - second[1])[1:]
    if np.isnan(difference).any():
        return np.nan
    covariance = sum(np.diag(before[1:]) - np.outer(before[1:], before[1:]) for before, _ in (first, second)) / 2
    inverse = np.linalg.pinv(covariance, hermitian=True)
    if not np.allclose(covariance @ (inverse @ difference), difference, atol=1e-9):
        return np.inf  # of a category that acquisition alone decides
    return float(np.sqrt(max(0.0, difference @ inverse @ difference)))


def _variance_ratio(first, second):
    variances = []
    for values, weights in (first, second):
        if weights.sum() == 0:
            return np.nan
        variances.append(np.average((values - np.average(values, weights=weights)) ** 2, weights=weights))
    low, high = sorted(variances)
    return high / low if low > 0 else (np.inf if high > 0 else 1.0)


def _ks(first, second):
    values = np.concatenate([first[0], second[0]])
    if 0 in (first[1].sum(), second[1].sum()):
        return np.nan
    steps = np.concatenate([first[1] / first[1].sum(), -second[1] / second[1].sum()])
    order = np.argsort(values, kind="stable")
    last = np.append(np.diff(values[order]) > 0, True)  # of equal numbers all steps are made at once
    return float(np.abs(np.cumsum(steps[order])[last]).max())


def _overall(cohort, weights):
    kept = weights > 0
    codes = cohort.acquisition.values
    effective = weights.sum() ** 2 / (weights**2).sum()
    auc = np.nan
    matrix = design_matrix(cohort.columns, len(cohort))[0][kept]
    if len(np.unique(codes[kept])) == cohort.n_levels:
        probabilities = propensity(matrix, codes[kept], cohort.n_levels, weights[kept])
        auc = float(np.mean(separation(probabilities, codes[kept], weights[kept])))
    return {
        "n_rows": int(kept.sum()),
        **{
            f"n_rows, {level}": int((kept & (codes == code)).sum())
            for code, level in enumerate(cohort.acquisition.levels)
        },
        "share_dropped": 1 - kept.mean(),
        "effective_sample_size": effective,
        "design_effect": kept.sum() / effective,
        "max_weight_share": weights.max() / weights.sum(),
        "propensity_auc": auc,
    }
