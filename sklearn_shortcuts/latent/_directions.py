"""Directions of a concept among features: what separates it, and what it changes.

All are called as ``direction(X, t, present, absent, estimator)``, with labels ``t`` in [0, 1] and the weights of each
row as one with and as one without the concept. They give the direction, the intercept of the boundary (None if the kind
has none) and the number of iterations. ``X`` is centered, but for "nmf".
"""

import warnings

import numpy as np
from sklearn import config_context
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.svm import LinearSVC

from .._random_state import draw_seed, make_random_state

_HELD_OUT = 4  # one of so many parts of the rows decides between the factors of "nmf"
_MOST_UPDATES = 400  # of a factorization; as many factors as features would go on for very long


class NoDirectionError(ValueError):
    """Nothing in the features goes with the labels."""


def pattern(X, t, present, absent, estimator):
    """Covariance of each feature with the label, divided by the variance of the label."""
    weights = present + absent
    centered = t - np.average(t, weights=weights)
    scaled = weights * centered
    return scaled @ (X - np.average(X, axis=0, weights=weights)) / (scaled @ centered), None, 1


def neuron(X, t, present, absent, estimator):
    """The one channel that ranks the rows best, with the sign that the concept gives it."""
    best, sign = _best_column(X, present, absent)
    direction = np.zeros(X.shape[1])
    direction[best] = sign
    return direction, None, 1


def nmf(X, t, present, absent, estimator, groups=None):
    """The factor of a non-negative factorization that ranks held-out rows best, with the concept's sign."""
    wrong = np.flatnonzero((X < 0).any(axis=1))
    if len(wrong):
        raise ValueError(
            f"Negative values in data: row {wrong[0]} of X has some, but kind='nmf' needs features from 0 on, such as "
            "pooled outputs of a ReLU; name such a layer, or choose another kind"
        )
    rng = make_random_state(estimator.random_state)
    train, held_out = _split(t >= 0.5, groups, draw_seed(rng))
    rows = np.sqrt(present + absent)[train, None] * X[train]  # weights count in the squared error
    n_components = min(estimator.n_components, *rows.shape)
    n_iter = min(estimator.max_iter, _MOST_UPDATES)
    factorization = NMF(n_components, init="nndsvda", max_iter=n_iter, random_state=draw_seed(rng))
    with config_context(array_api_dispatch=False), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # factors are judged by how they rank
        factorization.fit(rows)
    factors = factorization.components_
    best, sign = _best_column(X[held_out] @ factors.T, present[held_out], absent[held_out])
    if sign == 0:  # as of very few rows
        best, sign = _best_column(X @ factors.T, present, absent)
    return sign * factors[best], None, int(factorization.n_iter_)


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
    "nmf": nmf,
}


def _best_column(values, present, absent):
    """Number and sign (0 if it ranks no better than chance) of the column that ranks the rows best."""
    rows, labels, shares = _as_hard_labels(present, absent)
    aurocs = [roc_auc_score(labels, column, sample_weight=shares) for column in values[rows].T]
    # Rounding of the weights must not decide between columns that rank equally well.
    gains = np.round(np.abs(np.asarray(aurocs) - 0.5), 10)
    best = int(np.argmax(gains))
    return best, np.sign(aurocs[best] - 0.5) if gains[best] > 0 else 0.0


def _split(positive, groups, seed):
    """Training and held-out rows, with both classes in both."""
    units = np.arange(len(positive)) if groups is None else groups
    n_parts = min(_HELD_OUT, *(len(np.unique(units[side])) for side in (positive, ~positive)))
    if n_parts >= 2:
        splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
        parts = splitter(n_parts, shuffle=True, random_state=seed)
        for train, held_out in parts.split(positive, positive, groups):
            if all(0 < positive[rows].sum() < len(rows) for rows in (train, held_out)):
                return train, held_out
    raise ValueError(
        "kind='nmf' chooses its direction on held-out rows, and needs at least two rows (of several patients, if "
        "groups are given) with and two without the concept; choose another kind"
    )


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
