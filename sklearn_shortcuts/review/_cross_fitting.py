"""Scores of rows by concepts that were fitted without them."""

import hashlib

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import average_precision_score, roc_auc_score

_MEASURES = {"auroc": roc_auc_score, "average_precision": average_precision_score}


def order_by_content(X):
    """Sort rows by what is in them, so that the order in which they came decides nothing.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Features.

    Returns
    -------
    order : ndarray of int of shape (n,)
        Rows in their new order.
    digest : str
        Tells these rows, in the order given, from others.
    """
    codes = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(X) + 0.0]
    halves = np.frombuffer(b"".join(codes), dtype=">u8").reshape(-1, 2)
    return np.lexsort((halves[:, 1], halves[:, 0])), hashlib.sha256(b"".join(codes)).hexdigest()


def deal_into_folds(labels, groups, n_folds, generator):
    """Deal patients out to folds, with labels in about equal shares.

    Parameters
    ----------
    labels : ndarray of int of shape (n,)
        1 artifact, 0 none, -1 unknown.
    groups : ndarray of shape (n,)
        Patients.
    n_folds : int
        At most the number of patients.
    generator : numpy.random.RandomState
        Breaks ties.

    Returns
    -------
    ndarray of int of shape (n,)
        Fold of each row.
    """
    # Patients by their first row: their names decide nothing.
    _, first, code = np.unique(groups, return_index=True, return_inverse=True)
    patient = np.argsort(np.argsort(first))[code]
    n_positive, n_negative, n_rows = (
        np.bincount(patient, weights=part) for part in (labels == 1, labels == 0, np.ones(len(labels)))
    )
    ranked = np.lexsort((generator.permutation(len(first)), -n_rows, -n_negative, -n_positive))
    places = np.arange(len(first)) % (2 * n_folds)  # to and fro, so that no fold always comes first
    fold = np.empty(len(first), dtype=int)
    fold[ranked] = np.minimum(places, 2 * n_folds - 1 - places)
    return fold[patient]


def fit_concept(concept, X, labels, used, seed):
    """Fit a concept on the rows used, of which those of unknown label count as rows without the artifact."""
    vector = clone(concept)
    states = {
        name: seed
        for name, value in vector.get_params().items()
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    }
    return vector.set_params(**states).fit(X[used], (labels[used] == 1).astype(int))


def scores_of(concept, X):
    """Give the decision function of a fitted concept, or the log-odds of its probabilities."""
    if hasattr(concept, "decision_function"):
        return np.asarray(concept.decision_function(X), dtype=np.float64)
    probability = np.clip(concept.predict_proba(X)[:, 1], 1e-12, 1 - 1e-12)
    return np.log(probability) - np.log1p(-probability)


def cross_fit(concept, fitted, X, labels, used, fold, seed):
    """Score every row by the concept of the other folds.

    Parameters
    ----------
    concept : classifier
        To be cloned.
    fitted : classifier
        The concept fitted on all rows; scores the rows of folds without which there is no artifact or nothing else.
    X : ndarray of shape (n, n_features)
        Features.
    labels : ndarray of int of shape (n,)
        1 artifact, 0 none, -1 unknown.
    used : ndarray of bool of shape (n,)
        Rows to fit on.
    fold : ndarray of int of shape (n,)
        Fold of each row.
    seed : int
        For concepts that draw random numbers.

    Returns
    -------
    scores : ndarray of shape (n,)
        Positive for the artifact.
    measures : DataFrame
        Rows "labeled" and "pool": the artifact rows against the rows known to have none, and against all others that
        are used.
    """
    scores = np.empty(len(X))
    found = {"labeled": [], "pool": []}
    for number in range(fold.max() + 1):
        test = fold == number
        train = used & ~test
        apart = 0 < np.sum(labels[train] == 1) < np.sum(train)
        vector = fit_concept(concept, X, labels, train, seed) if apart else fitted
        scores[test] = scores_of(vector, X[test])
        for name, rows in (("labeled", test & used & (labels >= 0)), ("pool", test & used)):
            present = labels[rows] == 1
            if not apart:
                found[name].append(dict.fromkeys(_MEASURES, np.nan))
            elif 0 < present.sum() < len(present):
                found[name].append({key: measure(present, scores[rows]) for key, measure in _MEASURES.items()})
    records = {}
    for name, folds in found.items():
        table = pd.DataFrame(folds, columns=list(_MEASURES), dtype=float)
        record = {}
        for key in _MEASURES:
            record[key] = table[key].mean(skipna=False)
            record[f"{key}_std"] = table[key].std(ddof=1, skipna=False)
        negatives = (labels == 0) if name == "labeled" else (labels != 1)
        records[name] = {**record, "n_positive": int(np.sum(used & (labels == 1)))}
        records[name]["n_negative"] = int(np.sum(used & negatives))
    return scores, pd.DataFrame.from_dict(records, orient="index")
