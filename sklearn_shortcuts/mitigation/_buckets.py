"""Which rows a network gets right, which wrong, and of which it is not sure."""

import numpy as np
from scipy.special import expit, log_softmax

BUCKETS = ("TP", "TN", "FP", "FN")


def label_probabilities(logits, codes, kind, loss):
    """Give the probability of every row's own label.

    Parameters
    ----------
    logits : ndarray of shape (n, n_outputs)
        What the network gives.
    codes : ndarray of shape (n,) or (n, n_labels)
        Class positions, or 0/1.
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted.
    loss : {"cross_entropy", "squared"}
        What the network was trained by. Logits that were fitted to 0 and 1 are no logarithms of odds: half of one plus
        half the lead over the best other class, at most 1 and at least 0, takes the place of their softmax, which
        never exceeds 0.731 with two classes.

    Returns
    -------
    ndarray of shape (n, n_decisions)
        One column, or one per label.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if kind == "multilabel" or logits.shape[1] == 1:
        lead = logits * (2 * codes.reshape(len(codes), -1) - 1)
        return expit(lead) if loss == "cross_entropy" else np.clip(0.5 + 0.5 * lead, 0, 1)
    own = np.arange(len(codes)), codes
    if loss == "cross_entropy":
        return np.exp(log_softmax(logits, axis=1)[own])[:, None]
    others = logits.copy()
    others[own] = -np.inf
    return np.clip(0.5 + 0.5 * (logits[own] - others.max(axis=1)), 0, 1)[:, None]


def sort_into_buckets(probabilities, codes, kind, low, high):
    """Sort rows by the probability of their own label.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_decisions)
        What :func:`label_probabilities` gives.
    codes : ndarray of shape (n,) or (n, n_labels)
        Class positions, or 0/1.
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted.
    low, high : float
        A row is hard if the probability of its label (of any of its labels) is at most ``low``, easy if it is (all are)
        at least ``high``, and ambiguous otherwise.

    Returns
    -------
    bucket : ndarray of str of shape (n,)
        "TP", "TN", "FP", "FN" or "ambiguous" with two classes, otherwise "easy", "hard" or "ambiguous".
    """
    smallest = probabilities.min(axis=1)
    easy, hard = smallest >= high, smallest <= low
    if kind != "binary":
        return np.select([hard, easy], ["hard", "easy"], "ambiguous")
    positive = codes == 1
    return np.select([easy & positive, easy & ~positive, hard & ~positive, hard & positive], BUCKETS, "ambiguous")
