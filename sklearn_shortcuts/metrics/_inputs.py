"""What every score of this folder asks of its labels, scores and groups."""

from numbers import Real

import numpy as np
import pandas as pd
from sklearn.utils.validation import column_or_1d

SCORE_CONSTRAINTS = {
    "y_true": ["array-like"],
    "groups": ["array-like", None],
    "pos_label": [Real, str, "boolean", None],
}


class UnmeasurableError(ValueError):
    """These rows do not allow the measure, whatever the model; raised for well-formed input only."""


def check_scores(y_true, y_score, groups=None, pos_label=None):
    """Check the input of a measure of ranking.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels with two values.
    y_score : array-like of shape (n,) or (n, k)
        Scores, higher for the positive class; one column per classifier.
    groups : array-like of shape (n,), default=None
        Patient (or other cluster) of every row.
    pos_label : int, float, bool or str, default=None
        Label of the positive class; may be left out for labels 0/1, -1/1 and False/True.

    Returns
    -------
    positive : ndarray of bool of shape (n,)
        Rows of the positive class.
    scores : ndarray of float64 of shape (n, k)
        Scores.
    group_index : ndarray of int of shape (n,)
        Number of the group of every row; every row its own group without ``groups``.
    """
    positive = check_labels(y_true, pos_label)
    return positive, check_values(y_score, len(positive)), check_groups(groups, len(positive))


def check_labels(y_true, pos_label=None, *, needs_both=True):
    """Check labels of two classes.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels.
    pos_label : int, float, bool or str, default=None
        Label of the positive class; may be left out for labels 0/1, -1/1 and False/True.
    needs_both : bool, default=True
        Whether there must be rows of both classes.

    Returns
    -------
    ndarray of bool of shape (n,)
        Rows of the positive class.
    """
    y_true = column_or_1d(y_true)
    missing = pd.isna(y_true)
    if missing.any():
        raise ValueError(f"y_true: row {int(np.flatnonzero(missing)[0])} has no label ({missing.sum()} such rows)")
    classes = pd.unique(pd.Series(y_true)).tolist()
    if not (2 if needs_both else 1) <= len(classes) <= 2:
        shown = ", ".join(map(repr, classes[:5]))
        found = "is empty" if not classes else f"has {len(classes)} class{'es' * (len(classes) > 1)} ({shown})"
        wanted = "exactly two" if needs_both else "one or two"
        raise ValueError(f"y_true {found}, but {wanted} are needed; compare one class with the rest")
    if pos_label is None:
        numbers = all(isinstance(label, (Real, np.bool_)) for label in classes)
        if not numbers or not (set(classes) <= {0, 1} or set(classes) <= {-1, 1}):
            raise ValueError(f"y_true has the classes {classes}: name the positive one by pos_label")
        pos_label = 1
    elif pos_label not in classes and len(classes) == 2:
        raise ValueError(f"pos_label={pos_label!r} is not among the classes {classes} of y_true")
    return np.asarray(y_true == pos_label)


def check_values(y_score, n_rows):
    """Check scores of rows.

    Parameters
    ----------
    y_score : array-like of shape (n,) or (n, k)
        Scores.
    n_rows : int
        How many rows there must be.

    Returns
    -------
    ndarray of float64 of shape (n, k)
        Scores, all finite.
    """
    scores = np.asarray(y_score)
    if scores.dtype.kind not in "biuf":
        try:
            scores = scores.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"scores must be numbers, got dtype {scores.dtype}") from error
    scores = scores.astype(np.float64, copy=False)
    if scores.ndim == 1:
        scores = scores[:, None]
    if scores.ndim != 2:
        raise ValueError(f"scores must have shape (n,) or (n, n_classifiers), got {scores.shape}")
    if len(scores) != n_rows:
        raise ValueError(f"there are {len(scores)} scores, but {n_rows} labels: inconsistent numbers of samples")
    wrong = ~np.isfinite(scores).all(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"the score of row {row} is {scores[row][~np.isfinite(scores[row])][0]} ({wrong.sum()} such rows); "
            "leave these rows out of labels, scores and groups alike"
        )
    return scores


def only_column(scores, name):
    """Give the scores of the one classifier that there must be.

    Parameters
    ----------
    scores : ndarray of shape (n, k)
        Checked scores.
    name : str
        What the caller named them.

    Returns
    -------
    ndarray of shape (n,)
        Scores.
    """
    if scores.shape[1] != 1:
        raise ValueError(
            f"{name} must be one score per row, got {scores.shape[1]} columns; give the column of the positive class, "
            "such as predict_proba(X)[:, 1]"
        )
    return scores[:, 0]


def check_probabilities(values, n_rows, name):
    """Check probabilities of the positive class.

    Parameters
    ----------
    values : array-like of shape (n,)
        Probabilities.
    n_rows : int
        How many rows there must be.
    name : str
        What the caller named them.

    Returns
    -------
    ndarray of float64 of shape (n,)
        Probabilities, all in [0, 1].
    """
    values = only_column(check_values(values, n_rows), name)
    outside = np.flatnonzero((values < 0) | (values > 1))
    if len(outside):
        raise ValueError(f"{name}: row {outside[0]} has {values[outside[0]]}, which is no probability")
    return values


def check_groups(groups, n_rows):
    """Check which rows belong together.

    Parameters
    ----------
    groups : array-like of shape (n,) or None
        Patient (or other cluster) of every row.
    n_rows : int
        How many rows there must be.

    Returns
    -------
    ndarray of int of shape (n,)
        Number of the group of every row, in order of appearance; every row its own group without ``groups``.
    """
    if groups is None:
        return np.arange(n_rows)
    groups = column_or_1d(groups)
    if len(groups) != n_rows:
        raise ValueError(f"groups has {len(groups)} rows, but there are {n_rows} labels")
    index = pd.factorize(groups)[0]
    if (index < 0).any():
        raise ValueError(f"groups: row {int(np.flatnonzero(index < 0)[0])} has no group; give it one of its own")
    return index
