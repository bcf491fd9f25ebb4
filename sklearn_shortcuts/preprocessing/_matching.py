"""Sets of like units, one or more of every acquisition."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import logit

from ._acquisition_columns import Column, joint_column
from ._cohort import complete_strata
from ._matching_algorithms import match_greedily, match_optimally
from ._propensity import check_overlap, common_support, design_matrix, propensity


@dataclass(frozen=True)
class Matching:
    """What a unit of the smallest acquisition is matched with.

    Parameters
    ----------
    factors : ndarray of shape (n_units,)
        Weights: 1 for a unit of the smallest acquisition with partners in all others, for partners their share.
    pairs : DataFrame
        Columns ``reference``, ``partner`` (units), ``acquisition`` of the partner, ``distance``.
    probabilities : ndarray of shape (n_units, n_levels) or None
        Propensities of the acquisitions, if there are covariates to match by; NaN for units left out before.
    """

    factors: np.ndarray
    pairs: pd.DataFrame
    probabilities: np.ndarray | None


def match_units(cohort, *, method, distance, caliper, ratio, replacement, on_empty, rng):
    """Match the units of the smallest acquisition with those of each other one.

    Parameters
    ----------
    cohort : Cohort
        Units.
    method : {"greedy", "optimal"}
        Nearest free partner in turn, or least total distance.
    distance : {"propensity", "mahalanobis"}
        Difference of the logit propensity, or Mahalanobis distance of the covariates.
    caliper : float or None
        Largest difference of the logit in units of its standard deviation, or largest Mahalanobis distance.
    ratio : int
        Partners in each other acquisition.
    replacement : bool
        Whether units may be partners several times.
    on_empty : {"raise", "drop"}
        What to do about units without counterparts.
    rng : RandomState
        Decides between units that are alike.

    Returns
    -------
    Matching
        Weights and pairs.

    Raises
    ------
    ValueError
        If acquisitions do not overlap, or no unit has partners.
    """
    equal = [column for column in cohort.columns if column is cohort.label or column.name in cohort.exact]
    strata = joint_column(equal, "stratum", len(cohort))
    kept = rng.permutation(np.flatnonzero(complete_strata(strata, cohort, on_empty)))
    compared = [column for column in cohort.covariates if column.name not in cohort.exact]
    levels = cohort.acquisition.values
    reference = int(np.argmin(np.bincount(levels[kept], minlength=cohort.n_levels)))
    found = []
    for level in range(cohort.n_levels):
        if level == reference:
            continue
        units = kept[np.isin(levels[kept], [reference, level])]
        units, positions, limit = _positions(cohort, units, compared, equal, distance, caliper, on_empty)
        is_reference = levels[units] == reference
        for stratum in np.unique(strata.values[units[is_reference]]):
            inside = strata.values[units] == stratum
            own, others = np.flatnonzero(inside & is_reference), np.flatnonzero(inside & ~is_reference)
            if len(others) == 0:
                continue
            queries, points = positions[own], positions[others]
            if method == "optimal" and not replacement:
                query, point, far = match_optimally(queries, points, limit=limit, ratio=ratio)
            else:
                query, point, far = match_greedily(queries, points, limit=limit, ratio=ratio, replacement=replacement)
            found.append(
                pd.DataFrame(
                    {
                        "reference": units[own[query]],
                        "partner": units[others[point]],
                        "level": np.full(len(query), level),
                        "distance": far,
                    }
                )
            )
    pairs = _complete_sets(found, cohort, caliper)
    factors = np.zeros(len(cohort))
    factors[pairs["reference"]] = 1.0
    n_sets = pairs["reference"].nunique()
    for _, part in pairs.groupby("level"):
        shares = 1 / part.groupby("reference")["partner"].transform("size")
        np.add.at(factors, part["partner"], shares * part["partner"].nunique() / n_sets)
    pairs["acquisition"] = np.asarray(cohort.acquisition.levels, dtype=object)[pairs["level"]]
    probabilities = None
    if compared:
        probabilities = np.full((len(cohort), cohort.n_levels), np.nan)
        part = cohort.take(kept)
        matrix = design_matrix(part.columns)[0]
        probabilities[kept] = propensity(matrix, part.acquisition.values, cohort.n_levels, part.weights)
    return Matching(factors, pairs[["reference", "partner", "acquisition", "distance"]], probabilities)


def _complete_sets(found, cohort, caliper):
    """Keep the sets with partners in all other acquisitions, in the order of the reference units."""
    pairs = pd.concat(found, ignore_index=True) if found else pd.DataFrame({"reference": []})
    if len(pairs):
        complete = pairs.groupby("reference")["level"].transform("nunique") == cohort.n_levels - 1
        pairs = pairs[complete].sort_values(["reference", "level", "distance"], kind="stable", ignore_index=True)
    if len(pairs) == 0:
        within = "" if caliper is None else f" within the caliper of {caliper:g}"
        raise ValueError(
            f"no overlap: no row has a partner in every other acquisition{within}; widen the caliper, compare fewer "
            "acquisitions at a time, or leave out a covariate"
        )
    return pairs


def _positions(cohort, units, compared, equal, distance, caliper, on_empty):
    """Give the units of two acquisitions that may be matched, where they stand, and how far apart they may be."""
    if not compared:
        return units, np.zeros(len(units)), np.inf
    codes, weights = cohort.acquisition.values[units], cohort.weights[units]
    levels, codes = np.unique(codes, return_inverse=True)
    matrix, owners = design_matrix([column.take(units) for column in compared])
    # What is equal within a pair belongs into the model, on which the others' share depends, but not into the score.
    given = design_matrix([column.take(units) for column in equal])[0] if equal else np.empty((len(units), 0))
    probabilities = propensity(
        np.hstack([matrix, given]), codes, 2, weights, at=np.hstack([matrix, np.zeros_like(given)])
    )
    if on_empty == "raise":
        names = tuple(cohort.acquisition.levels[level] for level in levels)
        check_overlap(probabilities, Column("acquisition", codes, names), matrix, owners)
    smaller = int(np.argmin(np.bincount(codes)))
    is_smaller = codes == smaller
    if distance == "propensity":
        positions = logit(np.clip(probabilities[:, smaller], 1e-15, 1 - 1e-15))
        spread = np.sqrt((positions[is_smaller].var(ddof=1) + positions[~is_smaller].var(ddof=1)) / 2)
        limit = np.inf if caliper is None else caliper * spread
    else:
        positions = matrix @ _whitening(matrix, is_smaller)
        limit = np.inf if caliper is None else caliper
    if on_empty == "drop":
        inside = common_support(probabilities, codes)
        units, positions = units[inside], positions[inside]
    return units, positions, limit


def _whitening(matrix, is_first):
    """Transformation that turns Mahalanobis distances, by the covariance within acquisitions, into Euclidean ones."""
    parts = [part - part.mean(axis=0) for part in (matrix[is_first], matrix[~is_first])]
    covariance = sum(part.T @ part for part in parts) / max(1, len(matrix) - 2)
    values, vectors = np.linalg.eigh(covariance)
    kept = values > values.max() * len(values) * np.finfo(np.float64).eps
    return vectors[:, kept] / np.sqrt(values[kept])
