"""Labels of rows, such as their scanner: from an argument, a column or field of a bunch, or a function."""

import numpy as np
import pandas as pd

from ..images import ImageBunch


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
    if given is not None:
        labels = given
    elif callable(name):
        labels = name(X)
    elif name is None:
        raise ValueError(
            f"{owner} does not know the {argument} of the rows: name the column that tells it as "
            f"{argument}=..., or pass it as fit(X, {argument}=...)"
        )
    elif isinstance(X, ImageBunch):
        labels = X.column(name, argument)
    else:
        raise ValueError(
            f"{argument}={name!r} names a column of metadata, but X is no ImageBunch; give "
            f"ImageBunch(X, metadata=...), or fit(X, {argument}=...)"
        )
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
