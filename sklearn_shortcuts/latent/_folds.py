"""Folds of rows that are some of those that the caller knows."""

from numbers import Integral

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold


def folds_of(cv, rows, labels, groups):
    """Split rows for cross-fitting.

    Parameters
    ----------
    cv : int, splitter or iterable
        Number of folds, with labels in equal shares and groups on one side; how to split; or pairs of training and test
        rows by the numbers that the caller has for them.
    rows : ndarray of int of shape (n,)
        These numbers.
    labels : ndarray of shape (n,)
        Classes.
    groups : ndarray of shape (n,) or None
        Patients.

    Returns
    -------
    list of tuple of ndarray of int
        Training and test rows, by their positions in ``rows``.
    """
    if isinstance(cv, Integral):
        cv = StratifiedKFold(cv) if groups is None else StratifiedGroupKFold(cv)
    if hasattr(cv, "split"):
        return list(cv.split(rows, labels, groups))
    return [tuple(np.flatnonzero(np.isin(rows, side)) for side in sides) for sides in cv]
