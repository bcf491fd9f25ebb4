"""What is known of the rows' acquisition, labels and covariates, as codes and numbers; missing values have a place."""

import contextlib
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real

import numpy as np
import pandas as pd

from ..images._fields import refuse_patients

MISSING = "missing"
_MOST_LEVELS = 20  # of an acquisition or label given in numbers with decimals, and of categories of about a row each


@dataclass(frozen=True)
class Column:
    """One covariate.

    Parameters
    ----------
    name : str
        Its name.
    values : ndarray of shape (n,)
        Numbers, NaN where missing, or codes of categories.
    levels : tuple of str or None
        Names of the categories, the last one "missing" if there are such rows; None for numbers.
    """

    name: str
    values: np.ndarray
    levels: tuple | None = None

    @property
    def is_continuous(self):
        """Whether it holds numbers."""
        return self.levels is None

    def take(self, rows):
        """Give the column of some rows."""
        return Column(self.name, self.values[rows], self.levels)

    def bins(self, n_bins):
        """Give the categories, or quantile bins of the numbers with a further bin of the missing ones."""
        if not self.is_continuous:
            return self
        present = np.isfinite(self.values)
        edges = np.unique(np.quantile(self.values[present], np.arange(1, n_bins) / n_bins)) if present.any() else []
        codes = np.searchsorted(edges, self.values, side="right")
        limits = ["-inf", *(f"{edge:.3g}" for edge in edges), "inf"]
        levels = tuple(f"{low} to {high}" for low, high in pairwise(limits))
        if not present.all():
            codes = np.where(present, codes, len(levels))
            levels = (*levels, MISSING)
        return Column(self.name, codes, levels)


def categories(values, name, n_rows=None):
    """Give one or several columns of categories as one: every combination that occurs.

    Parameters
    ----------
    values : array-like of shape (n,) or (n, k)
        Categories; missing ones are a category of their own.
    name : str
        What they are, for messages.
    n_rows : int, default=None
        How many rows there must be.

    Returns
    -------
    Column
        Codes in the order of the categories' names.

    Raises
    ------
    ValueError
        If there are other rows, or more values than categories have.
    """
    frame = as_frame(values, name, n_rows)
    refuse_patients(frame.columns, name)
    parts = []
    for label, column in frame.items():
        kind = getattr(column.dtype, "kind", "O")
        if kind == "M" or (kind == "f" and (column.dropna() % 1 != 0).any() and column.nunique() > _MOST_LEVELS):
            raise ValueError(
                f"{name}: column {label!r} has {column.nunique()} values and is no category; bin it, for example with "
                "pandas.cut"
            )
        parts.append(_coded(column, str(label)))
    joint = joint_column(parts, name)
    _check_repeated(joint, len(frame))
    return joint


def covariate_columns(covariates, exact=(), n_rows=None):
    """Give covariates as columns of numbers or categories.

    Parameters
    ----------
    covariates : DataFrame, Series, dict or array-like of shape (n,) or (n, k), or None
        Numbers with more than two values are continuous, all else is categories.
    exact : sequence of str
        Columns that are categories in any case.
    n_rows : int, default=None
        How many rows there must be.

    Returns
    -------
    list of Column
        Constant columns are left out: they are balanced as they are.

    Raises
    ------
    ValueError
        If there are other rows, infinite numbers, dates, or categories of about a row each.
    """
    if covariates is None:
        if len(exact):
            raise ValueError(f"exact={list(exact)} names covariates, but there are none")
        return []
    frame = as_frame(covariates, "covariates", n_rows)
    refuse_patients(frame.columns, "covariates")
    unknown = [name for name in exact if name not in frame.columns]
    if unknown:
        raise ValueError(f"exact: {unknown[0]!r} is not among the covariates {list(frame.columns)}")
    columns = []
    for label, column in frame.items():
        numbers = None if label in exact else _as_numbers(column)
        if numbers is not None and np.isinf(numbers).any():
            raise ValueError(
                f"covariates: column {label!r} is infinite in row {int(np.flatnonzero(np.isinf(numbers))[0])}"
            )
        if numbers is not None and len(np.unique(numbers[~np.isnan(numbers)])) > 2:
            columns.append(Column(str(label), numbers))
            continue
        if getattr(column.dtype, "kind", "O") == "M":
            raise ValueError(f"covariates: column {label!r} holds dates; give a number instead, such as years")
        coded = _coded(column, str(label))
        _check_repeated(coded, len(frame))
        if len(coded.levels) > 1:
            columns.append(coded)
    return columns


def joint_column(columns, name, n_rows=None):
    """Give every combination of categories that occurs as a category.

    Parameters
    ----------
    columns : list of Column
        Categories.
    name : str
        Name of the result where there is not exactly one column.
    n_rows : int, default=None
        Number of rows; needed where there may be no column.

    Returns
    -------
    Column
        Combinations; all rows are one where there is no column.
    """
    if not columns:
        return Column(name, np.zeros(n_rows, dtype=np.intp), ("all rows",))
    if len(columns) == 1:
        return columns[0]
    codes = np.zeros(len(columns[0].values), dtype=np.int64)
    names = [""]
    for column in columns:  # renumbered at each step, so that products of many columns do not overflow
        n_levels = len(column.levels)
        codes, kept = pd.factorize(codes * n_levels + column.values, sort=True)
        names = [
            f"{names[code // n_levels]}, {column.name}={column.levels[code % n_levels]}".removeprefix(", ")
            for code in kept
        ]
    return Column(name, codes, tuple(names))


def as_frame(values, name, n_rows=None):
    """Give one or several columns as a DataFrame of ``n_rows`` rows; raise if they are none."""
    if isinstance(values, pd.Series):
        frame = values.to_frame(name if values.name is None else values.name)
    elif isinstance(values, pd.DataFrame):
        frame = values
    elif isinstance(values, dict):
        frame = pd.DataFrame(values)
    else:
        if not isinstance(values, list):  # of a list pandas tells missing from text better than NumPy does
            values = np.asarray(values)
        if np.ndim(values) not in (1, 2):
            raise ValueError(f"{name} must have shape (n,) or (n, k), got {np.shape(values)}")
        frame = pd.DataFrame(values)
        frame.columns = [name] if frame.shape[1] == 1 else [f"{name}_{number}" for number in range(frame.shape[1])]
    if n_rows is not None and len(frame) != n_rows:
        raise ValueError(f"{name} has {len(frame)} rows, but there are {n_rows}: inconsistent numbers of samples")
    if frame.shape[1] == 0:
        raise ValueError(f"{name} has no columns")
    if frame.columns.map(str).has_duplicates:
        raise ValueError(f"{name} has columns of the same name: {list(frame.columns)}")
    return frame


def _as_numbers(column):
    """Give a column of numbers as such, and None for another."""
    if pd.api.types.is_bool_dtype(column.dtype):
        return None
    if pd.api.types.is_numeric_dtype(column.dtype):
        return None if np.iscomplexobj(column) else column.to_numpy(dtype=np.float64, na_value=np.nan)
    present = column.dropna()
    if (
        column.dtype == object
        and len(present)
        and all(isinstance(value, Real) and not isinstance(value, (bool, np.bool_)) for value in present)
    ):
        return pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    return None


def _coded(column, name):
    codes, values = pd.factorize(column)
    names = [str(value) for value in values]
    if len(set(names)) < len(names):
        raise ValueError(
            f"column {name!r} has different values that read the same, such as 1 and '1'; make them one type"
        )
    order = np.argsort(names, kind="stable")
    with contextlib.suppress(TypeError):
        order = np.argsort(np.asarray(values), kind="stable")  # numbers by size
    places = np.empty(len(order) + 1, dtype=np.intp)
    places[order] = np.arange(len(order))
    places[-1] = len(order)  # code -1: missing
    levels = [names[place] for place in order]
    if (codes < 0).any():
        while MISSING in levels:
            levels[levels.index(MISSING)] = f"{MISSING!r}"
        levels.append(MISSING)
    return Column(name, places[codes], tuple(levels))


def _check_repeated(column, n_rows):
    if len(column.levels) > max(_MOST_LEVELS, n_rows // 2):
        raise ValueError(
            f"column {column.name!r} has {len(column.levels)} categories in {n_rows} rows, about one for each; leave "
            "it out, or combine categories"
        )
