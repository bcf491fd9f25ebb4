"""Labels as one yes-or-no question each, and the score that an estimator gives to each of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d


@dataclass(frozen=True)
class Target:
    """A checked target.

    Attributes
    ----------
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted.
    y : ndarray of shape (n,) or (n, n_labels)
        What estimators are fitted on.
    classes : ndarray of shape (n_classes,) or None
        Sorted classes; None for several labels.
    label_names : list
        One name per question: the positive class, every class against the rest, or the labels.
    positive : ndarray of bool of shape (n, n_labels)
        Answers.
    codes : ndarray of int of shape (n,) or None
        Positions in ``classes``; None for several labels.
    """

    kind: str
    y: np.ndarray
    classes: np.ndarray | None
    label_names: list
    positive: np.ndarray
    codes: np.ndarray | None


def evaluation_target(y, estimator):
    """Turn the labels of rows to be scored into questions.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, n_labels)
        Classes, or one 0/1 column per label; need not hold all classes.
    estimator : fitted classifier
        Knows the classes by its ``classes_``.

    Returns
    -------
    Target
        Labels.

    Raises
    ------
    ValueError
        If labels are missing, or a class was not learned.
    """
    check_label_names(estimator, y)
    names = list(y.columns) if isinstance(y, pd.DataFrame) else None
    y = np.asarray(y)
    missing = pd.isna(y).reshape(len(y), -1).any(axis=1)
    if missing.any():
        raise ValueError(f"row {np.flatnonzero(missing)[0]} has no label ({missing.sum()} such rows); leave them out")
    if y.ndim == 2 and y.shape[1] > 1:
        if not np.isin(y, (0, 1)).all():
            raise ValueError("y with several columns must hold one 0/1 column per label")
        y = y.astype(np.int64)
        return Target("multilabel", y, None, names or list(range(y.shape[1])), y.astype(bool), None)
    y = column_or_1d(y)
    classes = np.asarray(getattr(estimator, "classes_", np.unique(y)))
    if classes.ndim != 1:
        raise ValueError(f"the estimator was fitted on {len(classes)} labels, but y has one column")
    positive = np.asarray([y == name for name in classes]).T
    unknown = ~positive.any(axis=1)
    if unknown.any():
        raise ValueError(
            f"y has the class {y[unknown].tolist()[0]!r}, but the estimator knows the classes {classes.tolist()}"
        )
    codes = positive.argmax(axis=1)
    if len(classes) == 2:
        return Target("binary", y, classes, classes[1:].tolist(), positive[:, 1:], codes)
    return Target("multiclass", y, classes, classes.tolist(), positive, codes)


def check_label_names(estimator, y):
    """Refuse a table of labels in another order than that of an estimator that was fitted on a table."""
    known = getattr(estimator, "label_names_", None)
    if known is None or not isinstance(y, pd.DataFrame) or np.asarray(known).dtype.kind in "iu":
        return
    if list(y.columns) != list(known):
        raise ValueError(
            f"y has the labels {list(y.columns)}, but the estimator knows {list(known)}; give these columns in this "
            "order"
        )


def equal_labels(predicted, expected, found="the estimator predicts", wanted="y"):
    """Compare labels, but not words with numbers, of which none would ever be right.

    Parameters
    ----------
    predicted, expected : array-like of shape (n,) or (n, n_labels)
        Labels.
    found, wanted : str
        What they are called in messages.

    Returns
    -------
    ndarray of bool of the same shape
        Where they are equal.
    """
    predicted, expected = _with_own_type(predicted), _with_own_type(expected)
    if predicted.shape != expected.shape:
        raise ValueError(f"{found} labels of shape {predicted.shape}, but {wanted} has shape {expected.shape}")
    if (predicted.dtype.kind in "OUST") != (expected.dtype.kind in "OUST"):
        raise ValueError(
            f"{found} labels of type {predicted.dtype}, but {wanted} is of type {expected.dtype}; give both alike"
        )
    return predicted == expected


def label_scores(estimator, X, target):
    """Score rows for every label by probability, or by decision function where there is none.

    Parameters
    ----------
    estimator : fitted classifier
        What is asked.
    X : rows
        What it is asked about.
    target : Target
        Questions.

    Returns
    -------
    ndarray of shape (n, n_labels)
        Scores, higher for "yes".
    """
    probability = hasattr(estimator, "predict_proba")
    scores = estimator.predict_proba(X) if probability else estimator.decision_function(X)
    if target.kind == "multilabel":
        if isinstance(scores, list):  # forests and MultiOutputClassifier: one array per label
            known = getattr(estimator, "classes_", [np.array([0, 1])] * len(scores))
            scores = np.column_stack([_column(part, classes, 1) for part, classes in zip(scores, known)])
        scores = np.asarray(scores)
        if scores.shape != (len(X), len(target.label_names)):
            raise ValueError(
                f"{type(estimator).__name__} gives scores of shape {scores.shape} for {len(X)} rows and "
                f"{len(target.label_names)} labels; it must give one column per label"
            )
        return scores.astype(np.float64)
    scores = np.asarray(scores)
    known = np.asarray(getattr(estimator, "classes_", target.classes))
    if scores.ndim == 1:
        return scores[:, None].astype(np.float64)
    if scores.shape[1] != len(known):  # such as one score per pair of classes
        raise ValueError(
            f"{type(estimator).__name__} gives scores of shape {scores.shape} for {len(known)} classes; it must give "
            'one column per class (a support vector machine by decision_function_shape="ovr")'
        )
    wanted = target.classes[1:] if target.kind == "binary" else target.classes
    return np.column_stack([_column(scores, known, name) for name in wanted]).astype(np.float64)


def _column(scores, classes, wanted):
    """Scores of one class; zero where the estimator never met it."""
    place = np.flatnonzero(np.asarray(classes) == wanted)
    return scores[:, place[0]] if len(place) else np.zeros(len(scores))


def _with_own_type(labels):
    """Give an array; what pandas holds as objects, such as a table of booleans and integers, in the type it has."""
    labels = np.asarray(labels)
    return np.array(labels.tolist()) if labels.dtype == object else labels
