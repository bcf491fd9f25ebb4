"""Rows, or patients, with their acquisition, label and covariates: what balancing is about."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d

from ..images._fields import refuse_wrong_weights
from ..metrics._inputs import check_groups
from ._acquisition_columns import Column, as_frame, categories, covariate_columns, joint_column


@dataclass(frozen=True)
class Cohort:
    """Units that are balanced: rows, or with patients all rows of a patient of the same acquisition and label.

    Parameters
    ----------
    acquisition : Column
        Acquisition of every unit.
    label : Column or None
        Label of every unit, if it is to be balanced.
    covariates : list of Column
        Covariates of every unit: those of its first row.
    exact : tuple of str
        Covariates that must be equal.
    target : {"label", "covariates", "both"}
        What is to be independent of the acquisition.
    weights : ndarray of shape (n_units,)
        Given weights: the mean of a unit's rows.
    first_rows : ndarray of int of shape (n_units,)
        Position of the first row of every unit.
    unit_of_row : ndarray of int of shape (n_rows,)
        Unit of every row, -1 for rows that were given the weight 0.
    """

    acquisition: Column
    label: Column | None
    covariates: list
    exact: tuple
    target: str
    weights: np.ndarray
    first_rows: np.ndarray
    unit_of_row: np.ndarray

    def __len__(self):
        return len(self.weights)

    @property
    def n_levels(self):
        """Number of acquisitions."""
        return len(self.acquisition.levels)

    @property
    def columns(self):
        """Label and covariates."""
        return [*([] if self.label is None else [self.label]), *self.covariates]

    def take(self, units):
        """Give some units, by their positions; the rows of the others belong to none."""
        places = np.full(len(self) + 1, -1)
        places[units] = np.arange(len(units))
        return replace(
            self,
            acquisition=self.acquisition.take(units),
            label=None if self.label is None else self.label.take(units),
            covariates=[column.take(units) for column in self.covariates],
            weights=self.weights[units],
            first_rows=self.first_rows[units],
            unit_of_row=places[self.unit_of_row],
        )

    def strata(self, n_bins):
        """Give the combinations of label and covariates, numbers in quantile bins."""
        return joint_column([column.bins(n_bins) for column in self.columns], "stratum", len(self))

    def to_rows(self, values):
        """Give every row the value of its unit, and 0 to rows of none."""
        return np.append(values, 0)[self.unit_of_row]


def read_cohort(acquisition, y=None, *, covariates=None, exact=(), target="label", groups=None, sample_weight=None):
    """Check what is known of the rows.

    Parameters
    ----------
    acquisition : array-like of shape (n,) or (n, k)
        Acquisition of every row; several columns are crossed.
    y : array-like of shape (n,) or (n, k), default=None
        Labels; several are crossed.
    covariates : DataFrame or array-like of shape (n,) or (n, k), default=None
        Covariates.
    exact : sequence of str, default=()
        Covariates that must be equal.
    target : {"label", "covariates", "both"}, default="label"
        What is to be independent of the acquisition.
    groups : array-like of shape (n,), default=None
        Patient of every row.
    sample_weight : array-like of shape (n,), default=None
        Given weights.

    Returns
    -------
    Cohort
        Units of positive weight.

    Raises
    ------
    ValueError
        If something is missing for the target, has another number of rows, or leaves one acquisition only.
    """
    acquisition = categories(acquisition, "acquisition")
    n_rows = len(acquisition.values)
    label = None
    if target != "covariates":
        if y is None:
            raise ValueError(
                f'target="{target}" requires y to be passed, but the target y is None; pass labels, or set '
                'target="covariates"'
            )
        y = as_frame(y, "y", n_rows)
        missing = np.flatnonzero(y.isna().any(axis=1))
        if len(missing):
            raise ValueError(f"y: row {missing[0]} has no label ({len(missing)} such rows); leave them out")
        label = replace(categories(y, "y", n_rows), name="y")
        if len(label.levels) < 2:
            raise ValueError(f"y has one class only, {label.levels[0]!r}; an acquisition can tell nothing about it")
    if target != "label" and covariates is None:
        raise ValueError(f'target="{target}" balances covariates, but there are none; name or pass them')
    columns = covariate_columns(covariates, exact, n_rows)
    taken = [column.name for column in columns if column.name in ("y", "acquisition")]
    if taken:
        raise ValueError(
            f"covariates: no column can be called {taken[0]!r}; rename it, and leave out label and acquisition"
        )
    weights = _check_weights(sample_weight, n_rows)
    unit_of_row, first_rows = _units(groups, acquisition, label, weights > 0)
    n_units = len(first_rows)
    counted = unit_of_row >= 0
    sums = np.bincount(unit_of_row[counted], weights[counted], minlength=n_units)
    cohort = Cohort(
        acquisition=_without_empty(acquisition.take(first_rows)),
        label=None if label is None else _without_empty(label.take(first_rows)),
        covariates=[_without_empty(column.take(first_rows)) for column in columns],
        exact=tuple(map(str, exact)),
        target=target,
        weights=sums / np.bincount(unit_of_row[counted], minlength=n_units),
        first_rows=first_rows,
        unit_of_row=unit_of_row,
    )
    if cohort.n_levels < 2:
        found = f"only {cohort.acquisition.levels[0]!r}" if cohort.n_levels else "none"
        raise ValueError(
            f"balancing needs rows of two or more acquisitions, found {found} in n_samples={n_rows}; give rows of "
            "several scanners or sites, or another acquisition"
        )
    return cohort


def complete_strata(strata, cohort, on_empty):
    """Find the units in strata that hold every acquisition.

    Parameters
    ----------
    strata : Column
        Stratum of every unit.
    cohort : Cohort
        Units.
    on_empty : {"raise", "drop"}
        What to do about others.

    Returns
    -------
    ndarray of bool of shape (n_units,)
        Units to keep.

    Raises
    ------
    ValueError
        If a stratum lacks an acquisition and ``on_empty="raise"``, or if all of them do.
    """
    counts = np.zeros((len(strata.levels), cohort.n_levels), dtype=np.intp)
    np.add.at(counts, (strata.values, cohort.acquisition.values), 1)
    occurs = counts.any(axis=1)
    complete = (counts > 0).all(axis=1)
    lacking = np.argwhere((counts == 0) & occurs[:, None])
    if len(lacking) and (on_empty == "raise" or not complete.any()):
        shown = "; ".join(
            f"{cohort.acquisition.levels[level]!r} in {strata.name} {strata.levels[stratum]!r}"
            for stratum, level in lacking[:3]
        )
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        if complete.any():
            remedy = 'combine categories, lower n_bins, leave out a covariate, or set on_empty="drop" to leave them out'
        else:
            remedy = "no stratum holds every acquisition: combine categories, lower n_bins or leave out a covariate"
        raise ValueError(f"no overlap: there are no rows of acquisition {shown}{more}; {remedy}")
    return complete[strata.values]


def _check_weights(sample_weight, n_rows):
    if sample_weight is None:
        return np.ones(n_rows)
    weights = column_or_1d(sample_weight, dtype=np.float64)
    if len(weights) != n_rows:
        raise ValueError(f"sample_weight has {len(weights)} rows, but acquisition has {n_rows}")
    refuse_wrong_weights(weights)
    if not weights.any():
        raise ValueError("sample_weight is zero in all rows")
    return weights


def _units(groups, acquisition, label, counted):
    """Number the units in the order of their first rows; -1 for rows that do not count."""
    n_rows = len(counted)
    if groups is None:
        codes = np.arange(n_rows)
    else:
        groups = _check_groups(groups, n_rows)
        codes = groups * len(acquisition.levels) + acquisition.values
        if label is not None:
            codes = codes * len(label.levels) + label.values
    rows = np.flatnonzero(counted)
    numbers, kinds = pd.factorize(codes[rows])
    unit_of_row = np.full(n_rows, -1)
    unit_of_row[rows] = numbers
    first_rows = np.full(len(kinds), n_rows)
    np.minimum.at(first_rows, numbers, rows)
    return unit_of_row, first_rows


def _check_groups(groups, n_rows):
    """Number the patients of the rows."""
    if len(groups) != n_rows:
        raise ValueError(f"groups has {len(groups)} rows, but acquisition has {n_rows}")
    return check_groups(groups, n_rows)


def _without_empty(column):
    """Leave out categories that no unit has."""
    if column.is_continuous:
        return column
    kept, codes = np.unique(column.values, return_inverse=True)
    return Column(column.name, codes, tuple(column.levels[code] for code in kept))
