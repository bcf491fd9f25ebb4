"""How much a label is worth, by probabilities of a model that has not seen its row."""

import numpy as np
from scipy.special import entr


def self_confidence(probabilities, codes):
    """Probability of the label, shape (n,)."""
    return probabilities[np.arange(len(codes)), codes]


def normalized_margin(probabilities, codes):
    """Half of one plus half the lead of the label over the most probable other class, shape (n,)."""
    others = probabilities.copy()
    others[np.arange(len(codes)), codes] = -np.inf
    return (1 + self_confidence(probabilities, codes) - others.max(axis=1)) / 2


def confidence_weighted_entropy(probabilities, codes):
    """``log(1 + s) / s`` of the entropy ``s``, as a share of the largest, over the label's probability, shape (n,)."""
    own = self_confidence(probabilities, codes)
    entropy = entr(probabilities).sum(axis=1) / np.log(probabilities.shape[1])
    ratio = np.divide(entropy, own, out=np.zeros_like(own), where=own > 0)
    # A model that is sure of the label has no entropy, and the ratio tends to 1 there.
    score = np.divide(np.log1p(ratio), ratio, out=np.ones_like(own), where=ratio > 0)
    return np.where(own > 0, score, 0.0)


METHODS = {
    "self_confidence": self_confidence,
    "normalized_margin": normalized_margin,
    "confidence_weighted_entropy": confidence_weighted_entropy,
}


def find_label_issues(probabilities, codes):
    """Tell which rows are confidently of another class than their label.

    A row is confidently of class j if its probability of j is at least the mean of that probability over all rows
    labeled j; of several such classes it belongs to the most probable one.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes)
        Of a model that has not seen the row.
    codes : ndarray of int of shape (n,)
        Position of the label; no row is confidently of a class that no row is labeled as.

    Returns
    -------
    ndarray of bool of shape (n,)
        Rows outside the diagonal of the confident joint whose label is not the most probable class either.
    """
    thresholds = np.full(probabilities.shape[1], np.inf)
    for code in np.unique(codes):
        thresholds[code] = probabilities[codes == code, code].mean()
    # A mean of equal numbers may exceed them by rounding.
    confident = probabilities >= thresholds - 1e-6
    likely = np.where(confident, probabilities, -np.inf).argmax(axis=1)
    return confident.any(axis=1) & (likely != codes) & (probabilities.argmax(axis=1) != codes)
