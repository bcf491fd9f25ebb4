"""What is known of rows, such as their scanner: from an argument, a column or field of a bunch, or a function."""

from numbers import Integral

import numpy as np
import pandas as pd

from ..images import ImageBunch
from ..images._fields import refuse_patients


def row_columns(X, wanted, given, argument, *, owner):
    """Find what is known of the rows beside their images: passed, by its names, or made from the rows.

    Parameters
    ----------
    X : ImageBunch, DataFrame or array-like
        Rows.
    wanted : str, list of str, int, callable or None
        The estimator's parameter: fields of the bunch or columns of its metadata or of the table, or ``wanted(X)``.
        The number of a column is its owner's to look up.
    given : array-like, DataFrame or None
        The argument of ``fit`` or ``transform``, which goes first. Of a table the columns that ``wanted`` names are
        taken.
    argument : str
        What both are called, for error messages.
    owner : str
        Name of the estimator, for error messages.

    Returns
    -------
    DataFrame, array-like or None
        Values of the rows; None where they are neither passed nor named.

    Raises
    ------
    ValueError
        If a name is not known, or one of patients.
    """
    names = None if callable(wanted) else [wanted] if isinstance(wanted, (str, Integral)) else wanted
    refuse_patients(names or (), argument)
    if given is not None:
        given = pd.DataFrame(given) if isinstance(given, dict) else given
        if names is None or isinstance(wanted, Integral) or not hasattr(given, "columns"):
            return given
        return _chosen(given, names, argument)
    if callable(wanted):
        return wanted(X)
    if names is None:
        return None
    if not (isinstance(X, ImageBunch) or hasattr(X, "columns")):
        raise ValueError(
            f"{argument}={wanted!r} names fields or columns, which rows of type {type(X).__name__} do not have: give "
            f"{owner} an ImageBunch(images, metadata=...), or pass {argument} as an argument"
        )
    return _chosen(X, names, argument)


def require_given(values, argument, owner):
    """Raise if something that is needed of the rows is neither passed nor named."""
    if values is None:
        raise ValueError(
            f"{owner} knows no {argument} of the rows: name a field or a column of the rows' metadata "
            f"({argument}='manufacturer'), set a callable that gives it, or pass it as fit(X, ..., {argument}=...)"
        )
    return values


def _chosen(rows, names, argument):
    """Columns or fields by their names, without the index of a table."""
    if isinstance(rows, ImageBunch):
        return pd.DataFrame({name: rows.column(name, argument) for name in names})
    absent = [name for name in names if name not in rows.columns]
    if absent:
        raise ValueError(f"{argument}={absent[0]!r} is no column of the table; it has {list(rows.columns)}")
    return rows[list(names)].reset_index(drop=True)


def row_labels(X, name, given, argument, *, owner):
    """Find the labels of rows.

    Parameters
    ----------
    X : ImageBunch or ndarray
        Rows.
    name : str, callable or None
        The estimator's parameter: a field of the bunch or a column of its metadata, or ``name(X)`` gives the labels.
    given : array-like of shape (n,) or None
        The argument of ``fit`` or ``transform``, which goes first.
    argument : str
        What both are called, for error messages.
    owner : str
        Name of the estimator, for error messages.

    Returns
    -------
    ndarray of object of shape (n,)
        Labels; ``None`` where a row has none.

    Raises
    ------
    ValueError
        If there are no labels, or not one per row.
    """
    labels = require_given(row_columns(X, name, given, argument, owner=owner), argument, owner)
    return as_labels(labels, len(X), argument)


def as_labels(labels, n_rows, argument):
    """Check one label per row.

    Parameters
    ----------
    labels : array-like of shape (n,)
        Texts, numbers or anything else that can be compared.
    n_rows : int
        Number of rows.
    argument : str
        Name of the argument, for error messages.

    Returns
    -------
    ndarray of object of shape (n,)
        Labels; ``None`` where they are missing.
    """
    labels = labels.to_numpy() if hasattr(labels, "to_numpy") else np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (n_rows,):
        raise ValueError(f"{argument} must have shape ({n_rows},), one per row, got {labels.shape}")
    labels = labels.astype(object)
    labels[pd.isna(labels)] = None
    return labels


def learn_labels(labels, argument):
    """Give the distinct labels and which of them each row has.

    Parameters
    ----------
    labels : ndarray of object of shape (n,)
        Labels.
    argument : str
        Name of the argument, for error messages.

    Returns
    -------
    classes : Index of shape (n_classes,)
        Distinct labels, sorted.
    codes : ndarray of int of shape (n,)
        Places in ``classes``.

    Raises
    ------
    ValueError
        If a row has no label.
    """
    missing = np.flatnonzero(pd.isna(labels))
    if len(missing):
        raise ValueError(
            f"{argument}: row {missing[0]} has none ({len(missing)} such rows); fill it in, or leave the "
            "rows out of fit"
        )
    codes, classes = pd.factorize(labels, sort=True)
    return pd.Index(classes), codes


def known_codes(labels, classes):
    """Look labels up.

    Parameters
    ----------
    labels : ndarray of object of shape (n,)
        Labels.
    classes : Index
        Known labels.

    Returns
    -------
    ndarray of int of shape (n,)
        Places in ``classes``, -1 for labels that are missing or unknown.
    """
    codes = classes.get_indexer(pd.Index(labels, dtype=object))
    return np.where(pd.isna(labels), -1, codes)


def shown_rows(rows):
    """Name some rows for a message."""
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"row{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:5]))}{more}"
