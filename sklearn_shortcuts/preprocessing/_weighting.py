"""Weights under which the acquisition is independent of label or covariates."""

import numpy as np

from ._acquisition_columns import joint_column
from ._cohort import complete_strata
from ._propensity import check_overlap, common_support, design_matrix, propensity

_RAKING_STEPS = 1000
_RAKING_TOLERANCE = 1e-9  # relative error of every margin


def balancing_weights(cohort, *, method, n_bins=6, max_weight=None, trim=None, on_empty="raise"):
    """Weigh units.

    Parameters
    ----------
    cohort : Cohort
        Units.
    method : {"auto", "strata", "ipw", "overlap", "rake"}
        How; "auto" is "overlap" where there are covariates, and "strata" where there are none.
    n_bins : int, default=6
        Quantile bins of numbers.
    max_weight : float, default=None
        Largest weight in units of the mean.
    trim : float, default=None
        Units with an acquisition that is less probable are left out.
    on_empty : {"raise", "drop"}, default="raise"
        What to do about units without counterparts.

    Returns
    -------
    factors : ndarray of shape (n_units,)
        Factors of the given weights; the weighted sum of all units stays what it was for those that are kept.
    probabilities : ndarray of shape (n_units, n_levels) or None
        Propensities of the acquisitions, NaN for units left out before, if they were estimated.
    """
    if method == "auto":
        method = "overlap" if cohort.covariates else "strata"
    kept, probabilities = np.arange(len(cohort)), None
    if method in ("ipw", "overlap"):
        checked = [column for column in cohort.columns if not column.is_continuous]
        kept = _complete(cohort, checked, on_empty)
        part = cohort.take(kept)
        factors, some, inside = _by_propensity(part, method == "overlap", trim, on_empty)
        kept = kept[inside]
        probabilities = np.full((len(cohort), cohort.n_levels), np.nan)
        probabilities[kept] = some
    elif method == "strata":
        strata = cohort.strata(n_bins)
        kept = np.flatnonzero(complete_strata(strata, cohort, on_empty))
        factors = _by_strata(cohort.take(kept), n_bins)
    else:
        checked = [column.bins(n_bins) for column in cohort.columns]
        kept = _complete(cohort, checked, on_empty)
        factors = _by_raking(cohort.take(kept), [column.take(kept) for column in checked])
    weights = cohort.weights[kept]
    factors = _capped(factors / np.average(factors, weights=weights), weights, max_weight)
    result = np.zeros(len(cohort))
    result[kept] = factors
    return result, probabilities


def _complete(cohort, columns, on_empty):
    """Find the units whose category of each column occurs in every acquisition."""
    kept = np.arange(len(cohort))
    before = -1
    while len(kept) != before:  # units left out for one column may empty a cell of another
        before = len(kept)
        for column in columns:
            part = cohort.take(kept)
            kept = kept[complete_strata(column.take(kept), part, on_empty)]
    return kept


def _by_strata(cohort, n_bins):
    """P(a) P(s) / P(a, s); with the label as target P(a | c) P(y | c) / P(a, y | c)."""
    bins = [column.bins(n_bins) for column in cohort.covariates]
    if cohort.target == "label":
        within, balanced = joint_column(bins, "stratum", len(cohort)), cohort.label
    else:
        within, balanced = joint_column([], "stratum", len(cohort)), cohort.strata(n_bins)
    a, n_levels, n_balanced = cohort.acquisition.values, cohort.n_levels, len(balanced.levels)

    def total(codes):
        return np.bincount(codes, cohort.weights)[codes]

    by_a, by_s = within.values * n_levels + a, within.values * n_balanced + balanced.values
    return total(by_a) * total(by_s) / (total(within.values) * total(by_s * n_levels + a))


def _by_propensity(cohort, overlap, trim, on_empty):
    """Weights tilt(x) P(a | given) / P(a | x); the tilt is 1, or for overlap weights 1 / sum_k 1 / P(k | x)."""
    a, weights = cohort.acquisition.values, cohort.weights
    matrix, owners = design_matrix(cohort.columns, len(cohort))
    probabilities = propensity(matrix, a, cohort.n_levels, weights)
    inside = np.arange(len(cohort))
    if on_empty == "raise":
        check_overlap(probabilities, cohort.acquisition, matrix, owners)
    else:
        inside = np.flatnonzero(common_support(probabilities, a))
    if trim is not None:
        inside = inside[probabilities[inside].min(axis=1) >= trim]
    if len(np.unique(a[inside])) < cohort.n_levels:
        raise ValueError(
            "no overlap: an acquisition has no row whose probability given the covariates "
            + ("occurs in all acquisitions" if trim is None else f"lies within trim={trim} and 1 - trim")
            + "; leave out the covariates that tell it"
            + ("" if trim is None else ", or lower trim")
        )
    own = probabilities[inside, a[inside]]
    if cohort.target == "label" and cohort.covariates:
        given = propensity(design_matrix(cohort.covariates, len(cohort))[0], a, cohort.n_levels, weights)[
            inside, a[inside]
        ]
    elif overlap:
        given = 1.0
    else:
        given = (np.bincount(a, weights, minlength=cohort.n_levels) / weights.sum())[a[inside]]
    tilt = 1 / (1 / probabilities[inside]).sum(axis=1) if overlap else 1.0
    return tilt * given / own, probabilities[inside], inside


def _by_raking(cohort, columns):
    """Iterative proportional fitting to tables of acquisition and each column in turn."""
    a, n_levels, weights = cohort.acquisition.values, cohort.n_levels, cohort.weights
    shares = np.bincount(a, weights) / weights.sum()
    margins = []
    for number, column in enumerate(columns):
        cells = column.values * n_levels + a
        table = np.bincount(cells, weights, minlength=len(column.levels) * n_levels)
        if cohort.target != "label" or number == 0:  # the label stands first
            table = np.outer(np.bincount(column.values, weights, minlength=len(column.levels)), shares).ravel()
        margins.append((cells, table))
    factors = np.ones(len(cohort))
    for _ in range(_RAKING_STEPS):
        error = 0.0
        for cells, wanted in margins:
            found = np.bincount(cells, weights * factors, minlength=len(wanted))
            ratio = np.divide(wanted, found, out=np.ones(len(wanted)), where=found > 0)
            error = max(error, np.abs(ratio[found > 0] - 1).max())
            factors = factors * ratio[cells]
        if error < _RAKING_TOLERANCE:
            return factors
    raise ValueError(
        f"raking has not met the margins within {_RAKING_STEPS} steps: they contradict each other in these rows; lower "
        "n_bins or leave out a covariate"
    )


def _capped(factors, weights, max_weight):
    if max_weight is None:
        return factors
    for _ in range(1000):  # a cap lowers the mean, and with it the cap
        if factors.max() <= max_weight * (1 + 1e-9):
            break
        factors = np.minimum(factors, max_weight)
        factors = factors / np.average(factors, weights=weights)
    return factors
