"""Directions of a concept among features: what separates it, and what it changes.

All are called as ``direction(X, t, present, absent, estimator)``, with labels ``t`` in [0, 1] and the weights of each
row as one with and as one without the concept. They give the direction, the intercept of the boundary (None if the kind
has none) and the number of iterations.
"""

import numpy as np
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.svm import LinearSVC


def pattern(X, t, present, absent, estimator):
    """Covariance of each feature with the label, divided by the variance of the label."""
    weights = present + absent
    centered = t - np.average(t, weights=weights)
    scaled = weights * centered
    return scaled @ (X - np.average(X, axis=0, weights=weights)) / (scaled @ centered), None, 1


def neuron(X, t, present, absent, estimator):
    """The one channel that ranks the rows best, with the sign that the concept gives it."""
    rows, labels, shares = _as_hard_labels(present, absent)
    aurocs = [roc_auc_score(labels, column, sample_weight=shares) for column in X[rows].T]
    # Rounding of the weights must not decide between channels that rank equally well.
    gains = np.round(np.abs(np.asarray(aurocs) - 0.5), 10)
    best = int(np.argmax(gains))
    direction = np.zeros(X.shape[1])
    if gains[best] > 0:
        direction[best] = np.sign(aurocs[best] - 0.5)
    return direction, None, 1


def ridge(X, t, present, absent, estimator):
    """Least squares on labels of -1 and 1 with a penalty on the square of the coefficients."""
    alpha = 1.0 if estimator.alpha is None else estimator.alpha
    return _coefficients(Ridge(alpha=alpha), X, 2 * t - 1, present + absent)


def lasso(X, t, present, absent, estimator):
    """Least squares on labels of -1 and 1 with a penalty on the absolute coefficients."""
    alpha = estimator.alpha
    if alpha is None:
        weights = present + absent
        centered = t - np.average(t, weights=weights)
        alpha = 0.1 * 2 * np.abs((weights * centered) @ X).max() / weights.sum()
        if alpha == 0:  # no feature goes with the label
            return np.zeros(X.shape[1]), None, 1
    # Nothing is drawn, but for a seed that the global random state would give.
    solver = Lasso(alpha=alpha, tol=estimator.tol, max_iter=estimator.max_iter, random_state=0)
    return _coefficients(solver, X, 2 * t - 1, present + absent)


def logistic(X, t, present, absent, estimator):
    """Logistic regression."""
    rows, labels, shares = _as_hard_labels(present, absent)
    solver = LogisticRegression(C=estimator.C, tol=estimator.tol, max_iter=estimator.max_iter)
    return _coefficients(solver, X[rows], labels, shares)


def svm(X, t, present, absent, estimator):
    """Linear support vector machine with squared hinge loss."""
    rows, labels, shares = _as_hard_labels(present, absent)
    # The primal problem needs no random numbers, but liblinear draws a seed.
    solver = LinearSVC(C=estimator.C, dual=False, tol=estimator.tol, max_iter=estimator.max_iter, random_state=0)
    return _coefficients(solver, X[rows], labels, shares)


DIRECTIONS = {
    "pattern": pattern,
    "svm": svm,
    "ridge": ridge,
    "lasso": lasso,
    "logistic": logistic,
    "neuron": neuron,
}


def _as_hard_labels(present, absent):
    """Count a row with a soft label as two, with and without the concept: rows, labels of 0 or 1, weights."""
    rows_without, rows_with = np.flatnonzero(absent > 0), np.flatnonzero(present > 0)
    return (
        np.concatenate([rows_without, rows_with]),
        np.repeat([0, 1], [len(rows_without), len(rows_with)]),
        np.concatenate([absent[rows_without], present[rows_with]]),
    )


def _coefficients(solver, X, targets, weights):
    solver.fit(X, targets, sample_weight=weights)
    n_iter = 1 if solver.n_iter_ is None else int(np.max(solver.n_iter_))
    return np.ravel(solver.coef_), float(np.ravel(solver.intercept_)[0]), n_iter
