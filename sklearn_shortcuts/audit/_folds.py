"""Folds that keep patients together and have both classes on both sides."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, check_cv

from ..images._fields import PATIENT_NAMES, plain_name


@dataclass(frozen=True)
class Folds:
    """Train and test rows of every fold.

    Attributes
    ----------
    splits : list of (ndarray of int, ndarray of int)
        Train and test rows.
    number : ndarray of int of shape (n,)
        Fold in which a row is tested; -1 for rows that never are.
    test_share : float
        Test patients per training patient, on average (rows where there are no groups).
    reciprocal : bool
        Whether any two folds train on each other's test rows.
    """

    splits: list
    number: np.ndarray
    test_share: float
    reciprocal: bool

    def __len__(self):
        return len(self.splits)


def make_folds(cv, positive, codes, groups, label_names, random_state):
    """Split the rows and check that every fold can be trained and tested.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, test)
        Number of folds, or how to split.
    positive : ndarray of bool of shape (n, n_labels)
        Rows that have each label.
    codes : ndarray of int of shape (n,) or None
        Classes; None where rows may have several labels.
    groups : ndarray of int of shape (n,) or None
        Patients.
    label_names : sequence
        For messages.
    random_state : int
        Shuffles the rows where ``cv`` is an integer.

    Returns
    -------
    Folds
        The splits.

    Raises
    ------
    ValueError
        If a row is tested twice, a patient stands on both sides, or a side lacks a class.
    """
    if isinstance(cv, (int, np.integer)):
        _check_enough(cv, positive, groups, label_names)
    splits = [
        (np.asarray(train), np.asarray(test)) for train, test in _split(cv, positive, codes, groups, random_state)
    ]
    number = np.full(len(positive), -1)
    shares = []
    for fold, (train, test) in enumerate(splits):
        if train.dtype == bool:
            train, test = np.flatnonzero(train), np.flatnonzero(test)
            splits[fold] = (train, test)
        twice = test[number[test] >= 0]
        if len(twice):
            raise ValueError(
                f"cv tests row {twice[0]} in the folds {number[twice[0]]} and {fold}; the intervals need folds that "
                "test every row at most once, so give a splitter without repeats"
            )
        number[test] = fold
        units = np.arange(len(positive)) if groups is None else groups
        both = np.intersect1d(units[train], units[test])
        if len(both):
            row = int(test[np.isin(units[test], both)][0])
            raise ValueError(
                f"cv puts the patient (group) of row {row} into both the training and the test part of fold {fold}; "
                "give a splitter that respects groups, such as StratifiedGroupKFold"
            )
        shares.append(len(np.unique(units[test])) / max(len(np.unique(units[train])), 1))
        _check_classes(positive, train, test, groups, fold, label_names)
    return Folds(splits, number, float(np.mean(shares)), _is_reciprocal(splits, number))


def number_patients(bunch):
    """Number the groups of a bunch; None without them, with a warning if a column or field names repeated patients.

    Parameters
    ----------
    bunch : ImageBunch
        Rows.

    Returns
    -------
    ndarray of int of shape (n,) or None
        Patient of every row.
    """
    if "groups" in bunch.fields:
        return pd.factorize(np.asarray(bunch.get("groups")))[0]
    column = _repeated_patient_column(bunch)
    if column is not None:
        warnings.warn(
            f"{column!r} has several rows per patient, but there are no groups: images of one patient can stand in "
            "the training and the test part of a fold, and intervals are too narrow; give fit(groups=...) or the "
            "bunch's field 'groups'",
            UserWarning,
            stacklevel=4,
        )
    return None


def _split(cv, positive, codes, groups, random_state):
    if not isinstance(cv, (int, np.integer)):
        y = positive.astype(int) if codes is None else codes
        return check_cv(cv).split(np.zeros((len(positive), 1)), y, groups)
    if codes is None:
        return _multilabel_folds(positive, groups, int(cv), random_state)
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    return splitter(int(cv), shuffle=True, random_state=random_state).split(np.zeros((len(codes), 1)), codes, groups)


def _repeated_patient_column(bunch):
    """Name of a metadata column that looks like a patient with several rows, or None."""
    table = bunch.get("metadata") if "metadata" in bunch.fields else pd.DataFrame(index=range(len(bunch)))
    columns = {column: table[column] for column in table.columns}
    columns.update({name: pd.Series(bunch.get(name)) for name in bunch.fields if plain_name(name) in PATIENT_NAMES})
    for column, values in columns.items():
        if plain_name(column) in PATIENT_NAMES and values.dropna().duplicated().any():
            return column
    return None


def _multilabel_folds(positive, groups, n_splits, random_state):
    """Deal patients out to the folds so that every fold gets its share of every label and of the rows.

    Patients with rare labels are dealt first; each goes to the fold that then is most even.
    """
    unit = np.arange(len(positive)) if groups is None else groups
    counted = np.column_stack([positive, np.ones(len(positive), bool)]).astype(float)
    counts = np.zeros((unit.max() + 1, counted.shape[1]))
    np.add.at(counts, unit, counted)
    share = counts / np.maximum(counts.sum(axis=0), 1)
    order = np.random.RandomState(random_state).permutation(len(counts))
    order = order[np.argsort(-share[order].max(axis=1), kind="stable")]
    filled = np.zeros((n_splits, counts.shape[1]))
    fold_of_unit = np.empty(len(counts), dtype=int)
    for number in order:
        # The sum of squares grows least in the fold that has least of what this patient brings.
        growth = ((filled + share[number]) ** 2 - filled**2).sum(axis=1)
        fold_of_unit[number] = growth.argmin()
        filled[fold_of_unit[number]] += share[number]
    fold = fold_of_unit[unit]
    return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(n_splits)]


def _check_enough(cv, positive, groups, label_names):
    """Refuse a number of folds that cannot give each test part two patients of every kind."""
    for label, name in enumerate(label_names):
        for has, kind in ((True, "with"), (False, "without")):
            rows = positive[:, label] == has
            n_units = int(rows.sum()) if groups is None else len(np.unique(groups[rows]))
            if n_units < 2 * cv:
                remedy = f"use cv={n_units // 2}" if n_units >= 4 else "collect more of them"
                raise ValueError(
                    f"cv={cv} needs {2 * cv} {_units(groups)} {kind} {name!r}, two for each test part, but there "
                    f"{'is' if n_units == 1 else 'are'} {n_units}; {remedy}"
                )


def _check_classes(positive, train, test, groups, fold, label_names):
    for side, rows, least in (("training", train, 1), ("test", test, 2)):
        for label, name in enumerate(label_names):
            for has, kind in ((True, "with"), (False, "without")):
                chosen = rows[positive[rows, label] == has]
                n_units = len(chosen) if groups is None else len(np.unique(groups[chosen]))
                if n_units < least:
                    raise ValueError(
                        f"the {side} part of fold {fold} has {n_units} {_units(groups)} {kind} {name!r}, at least "
                        f"{least} {'is' if least == 1 else 'are'} needed; use fewer folds, a stratified splitter, "
                        "or another random_state"
                    )


def _units(groups):
    return "rows" if groups is None else "patients (groups)"


def _is_reciprocal(splits, number):
    trained_by = np.zeros((len(splits), len(splits)), dtype=bool)  # [f, g]: fold f trains on test rows of fold g
    for fold, (train, _) in enumerate(splits):
        tested_in = np.unique(number[train])
        trained_by[fold, tested_in[tested_in >= 0]] = True
    return bool((trained_by & trained_by.T).any())
