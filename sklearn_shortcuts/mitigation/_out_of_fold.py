"""Probabilities of every row by a model that was trained on other patients."""

import warnings

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, check_cv
from sklearn.utils import _safe_indexing, column_or_1d
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import has_fit_parameter

from ..images import ImageBunch
from ..neural._split import rarest_label


def out_of_fold_probabilities(estimator, X, labels, encoding, *, weights, groups, cv, n_jobs, seed):
    """Train on the other folds and predict the rows of each.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Clones of it are trained.
    X : ImageBunch or array-like of n rows
        Whatever the estimator takes.
    labels : ndarray of shape (n,) or (n, n_labels)
        Labels, checked.
    encoding : TargetEncoding
        Of the rows that are used.
    weights : Weights
        Rows of weight 0 are neither trained on nor predicted.
    groups : array-like of shape (n,) or None
        Patients.
    cv : int, splitter or iterable of (train, test)
        How to split the rows that are used.
    n_jobs : int or None
        Folds at the same time.
    seed : int
        Shuffles the rows where ``cv`` is a number.

    Returns
    -------
    ndarray of shape (n, n_outputs)
        Mean over the folds that predict the row; NaN where none does.

    Raises
    ------
    ValueError
        If a patient is on both sides of a fold, or the training part of a fold lacks a class.
    """
    if isinstance(estimator, FrozenEstimator):
        raise ValueError("estimator is frozen and would not be trained on the other folds: give it unfitted")
    used, weight = weights.used, weights.sample_weight
    codes = encoding.encode(labels[used])
    _check_values(codes, encoding)
    groups = None if groups is None else _number_groups(groups, len(labels))[used]
    splits = _split(cv, codes, groups, encoding, used, seed)
    options = {}
    if weight is not None:
        if has_fit_parameter(estimator, "sample_weight"):
            options["sample_weight"] = weight[used]
        elif isinstance(X, ImageBunch):
            X = X.with_fields(sample_weight=weight)
        elif np.ptp(weight[used]) > 0:
            raise ValueError(
                f"sample_weight cannot be handed to {type(estimator).__name__}, whose fit has no such argument: give "
                "the rows as an ImageBunch with the field 'sample_weight', or weights of 0 and 1 only"
            )
    rows, y = _safe_indexing(X, used), labels[used]
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_fit_and_predict)(clone(estimator), rows, y, train, test, options, encoding) for train, test in splits
    )
    sums, counts = np.zeros((len(labels), encoding.n_outputs)), np.zeros(len(labels))
    for (_, test), part in zip(splits, parts):
        sums[used[test]] += part
        counts[used[test]] += 1
    return np.divide(sums, counts[:, None], out=np.full_like(sums, np.nan), where=counts[:, None] > 0)


def _fit_and_predict(estimator, X, y, train, test, options, encoding):
    options = {name: values[train] for name, values in options.items()}
    estimator.fit(_safe_indexing(X, train), y[train], **options)
    given = estimator.predict_proba(_safe_indexing(X, test))
    if isinstance(given, list):  # one table per label, as forests and nearest neighbors give
        given = np.column_stack([table[:, 1] for table in given])
    given = np.asarray(given, dtype=np.float64)
    if given.shape != (len(test), encoding.n_outputs) or not ((given >= 0) & (given <= 1)).all():
        raise ValueError(
            f"predict_proba of {type(estimator).__name__} must give probabilities of shape "
            f"({len(test)}, {encoding.n_outputs}), one column per class or label, but gave {given.shape} with values "
            f"from {given.min()} to {given.max()}"
        )
    return given


def _number_groups(groups, n_rows):
    groups = column_or_1d(groups)
    if len(groups) != n_rows:
        raise ValueError(f"groups has {len(groups)} rows, but X has {n_rows}")
    numbers = pd.factorize(groups)[0]
    if (numbers < 0).any():
        raise ValueError(f"groups: row {np.flatnonzero(numbers < 0)[0]} has no group; give it one of its own")
    return numbers


def _check_values(codes, encoding):
    if encoding.kind != "multilabel":
        return
    for column, name in enumerate(encoding.label_names.tolist()):
        if len(np.unique(codes[:, column])) < 2:
            raise ValueError(f"y: the label {name!r} has the same value in all rows; leave it out")


def _split(cv, codes, groups, encoding, used, seed):
    """Train and test rows of all folds, checked."""
    strata = codes if codes.ndim == 1 else rarest_label(codes)
    if isinstance(cv, (int, np.integer)):
        n_units = len(codes) if groups is None else len(np.unique(groups))
        if not 2 <= cv <= n_units:
            raise ValueError(f"cv={cv} must be from 2 to the number of {_units(groups)}, {n_units}")
        splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
        splitter = splitter(cv, shuffle=True, random_state=seed)
        if groups is None and np.unique(strata, return_counts=True)[1].max() < cv:
            raise ValueError(f"cv={cv} is more than the rows of any class; use fewer folds")
    else:
        splitter = check_cv(cv)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer members than folds, looked at below
        splits = [_as_rows(part) for part in splitter.split(np.zeros((len(codes), 1)), strata, groups)]
    wanted = codes.reshape(len(codes), -1)
    for fold, (train, test) in enumerate(splits):
        if groups is not None and len(both := np.intersect1d(groups[train], groups[test])):
            row = int(used[test[np.isin(groups[test], both)][0]])
            raise ValueError(
                f"cv puts the patient (group) of row {row} into both the training and the test part of fold {fold}; "
                f"give a splitter that respects groups, such as StratifiedGroupKFold"
            )
        for column in range(wanted.shape[1]):
            lacking = np.setdiff1d(wanted[:, column], wanted[train, column])
            if len(lacking):
                what = (
                    f"label {encoding.label_names.tolist()[column]!r}, value {int(lacking[0])}"
                    if encoding.kind == "multilabel"
                    else f"class {encoding.classes.tolist()[int(lacking[0])]!r}"
                )
                raise ValueError(
                    f"the training part of fold {fold} has no {_units(groups)} of {what}; use another random_state or "
                    f"number of folds, or give more of them"
                )
    return splits


def _as_rows(part):
    return tuple(np.flatnonzero(side) if np.asarray(side).dtype == bool else np.asarray(side) for side in part)


def _units(groups):
    return "rows" if groups is None else "patients (groups)"
