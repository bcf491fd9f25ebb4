"""Columns of metadata as a few values each: categories, and bands of numbers and dates."""

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype, is_datetime64_any_dtype, is_numeric_dtype

MISSING = "missing"
_MOST_VALUES = 20  # of a column with fewer rows per value than the next number
_ROWS_PER_VALUE = 10
_NUMBERS = ("integer", "floating", "mixed-integer-float")


def column_values(frame, columns, n_bands):
    """Give the values of columns as text.

    Parameters
    ----------
    frame : DataFrame of n rows
        Any columns.
    columns : sequence
        Names of those to give.
    n_bands : int
        Numbers and dates with more values than this are cut into so many bands of about equal size.

    Returns
    -------
    dict of ndarray of object of shape (n,)
        Missing values are a value of their own.

    Raises
    ------
    ValueError
        If a column is missing, there twice, or has few rows per value, as names of patients and files have.
    """
    missing = [name for name in columns if name not in frame]
    if missing:
        raise ValueError(f"there is no column {missing[0]!r}; there are {list(frame.columns)}")
    twice = frame.columns[frame.columns.duplicated()].intersection(columns)
    if len(twice):
        raise ValueError(f"there are several columns {twice[0]!r}; give each a name of its own")
    return {name: _as_text(frame[name].reset_index(drop=True), name, n_bands) for name in columns}


def _as_text(values, name, n_bands):
    known = values.notna().to_numpy()
    present = values[known]
    text = np.full(len(values), MISSING, dtype=object)
    if len(present) == 0:
        return text
    if _is_ordered(values) and present.nunique() > n_bands:
        text[known] = _bands(present, n_bands)
        return text
    text[known] = [str(value) for value in present.tolist()]
    if (n_values := len(set(text[known]))) > max(_MOST_VALUES, len(values) // _ROWS_PER_VALUE):
        raise ValueError(
            f"column {name!r} has {n_values} values in {len(values)} rows, as names of patients and files have: leave "
            f"it out by columns=..., combine values, or make numbers of text that holds numbers"
        )
    if not known.all():  # the word is another value than none
        text[known & (text == MISSING)] = repr(MISSING)
    return text


def _is_ordered(values):
    """Whether values are numbers, in a column of objects too, or dates."""
    if is_datetime64_any_dtype(values):
        return True
    if values.dtype == object:
        return infer_dtype(values, skipna=True) in _NUMBERS
    return is_numeric_dtype(values) and not is_bool_dtype(values)


def _bands(values, n_bands):
    """Names of the bands: their smallest and largest value, in as many digits as tell them apart."""
    dates = is_datetime64_any_dtype(values)
    numbers = values.to_numpy("datetime64[ns]").astype(np.int64) if dates else values.to_numpy(np.float64)
    largest = numbers.max()
    cuts = np.unique(np.quantile(numbers, np.arange(1, n_bands) / n_bands, method="inverted_cdf"))
    cuts = cuts[cuts < largest]
    if len(cuts) == 0:  # most values are the largest one
        cuts = np.array([numbers[numbers < largest].max()])
    codes = np.searchsorted(cuts, numbers)
    limits = [(numbers[codes == code].min(), numbers[codes == code].max()) for code in range(len(cuts) + 1)]
    for write in _date_formats() if dates else _number_formats():
        names = [write(low) if low == high else f"{write(low)} to {write(high)}" for low, high in limits]
        if len({write(limit) for limit in np.unique(limits)}) == len(np.unique(limits)):
            break
    return np.array(names, dtype=object)[codes]


def _number_formats():
    return [lambda value, digits=digits: f"{value:.{digits}g}" for digits in range(4, 18)]


def _date_formats():
    return [lambda value: f"{pd.Timestamp(value):%Y-%m-%d}", lambda value: str(pd.Timestamp(value))]
