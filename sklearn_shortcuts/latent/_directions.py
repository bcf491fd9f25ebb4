"""Directions of a concept among features: what separates it, and what it changes."""

import numpy as np
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.svm import LinearSVC


def pattern(X, t, weights, estimator):
    """Covariance of each feature with the label, divided by the variance of the label."""
    centered = t - np.average(t, weights=weights)
    scaled = weights * centered
    return scaled @ (X - np.average(X, axis=0, weights=weights)) / (scaled @ centered), None, 1


def neuron(X, t, weights, estimator):
    """The one channel that ranks the rows best, with the sign that the concept gives it."""
    rows, labels, shares = as_hard_labels(t, weights)
    aurocs = [roc_auc_score(labels, column, sample_weight=shares) for column in X[rows].T]
    # Rounding of the weights must not decide between channels that rank equally well.
    gains = np.round(np.abs(np.asarray(aurocs) - 0.5), 10)
    best = int(np.argmax(gains))
    direction = np.zeros(X.shape[1])
    if gains[best] > 0:
        direction[best] = np.sign(aurocs[best] - 0.5)
    return direction, None, 1


def ridge(X, t, weights, estimator):
    """Least squares on labels of -1 and 1 with a penalty on the square of the coefficients."""
    alpha = 1.0 if estimator.alpha is None else estimator.alpha
    return _coefficients(Ridge(alpha=alpha), X, 2 * t - 1, weights)


def lasso(X, t, weights, estimator):
    """Least squares on labels of -1 and 1 with a penalty on the absolute coefficients."""
    alpha = estimator.alpha
    if alpha is None:
        centered = t - np.average(t, weights=weights)
        alpha = 0.1 * 2 * np.abs((weights * centered) @ X).max() / weights.sum()
        if alpha == 0:  # no feature goes with the label
            return np.zeros(X.shape[1]), None, 1
    solver = Lasso(alpha=alpha, tol=estimator.tol, max_iter=estimator.max_iter)
    return _coefficients(solver, X, 2 * t - 1, weights)


def logistic(X, t, weights, estimator):
    """Logistic regression."""
    rows, labels, shares = as_hard_labels(t, weights)
    solver = LogisticRegression(C=estimator.C, tol=estimator.tol, max_iter=estimator.max_iter)
    return _coefficients(solver, X[rows], labels, shares)


def svm(X, t, weights, estimator):
    """Linear support vector machine with squared hinge loss."""
    rows, labels, shares = as_hard_labels(t, weights)
    # The primal problem needs no random numbers.
    solver = LinearSVC(C=estimator.C, dual=False, tol=estimator.tol, max_iter=estimator.max_iter)
    return _coefficients(solver, X[rows], labels, shares)


DIRECTIONS = {
    "pattern": pattern,
    "svm": svm,
    "ridge": ridge,
    "lasso": lasso,
    "logistic": logistic,
    "neuron": neuron,
}


def as_hard_labels(t, weights):
    """Count a row with a soft label as two, with and without the concept.

    Parameters
    ----------
    t : ndarray of shape (n,)
        Labels in [0, 1].
    weights : ndarray of shape (n,)
        Positive weights.

    Returns
    -------
    rows : ndarray of int of shape (m,)
        Rows, those with soft labels twice.
    labels : ndarray of int of shape (m,)
        0 or 1.
    weights : ndarray of shape (m,)
        The rows' weights times the share of the label.
    """
    absent, present = np.flatnonzero(t < 1), np.flatnonzero(t > 0)
    return (
        np.concatenate([absent, present]),
        np.repeat([0, 1], [len(absent), len(present)]),
        np.concatenate([(weights * (1 - t))[absent], (weights * t)[present]]),
    )


def _coefficients(solver, X, targets, weights):
    solver.fit(X, targets, sample_weight=weights)
    n_iter = 1 if solver.n_iter_ is None else int(np.max(solver.n_iter_))
    return np.ravel(solver.coef_), float(np.ravel(solver.intercept_)[0]), n_iter
