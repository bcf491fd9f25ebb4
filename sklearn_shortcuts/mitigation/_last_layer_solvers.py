"""Regressions that give a last layer new weights on features that stay."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.preprocessing import StandardScaler

from ._buckets import label_probabilities

C_GRID = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


def balanced_regression(features, codes, subgroups, weight, *, C, n_draws, intercept, rng):
    """Fit sparse logistic regressions to samples with as many rows of every subgroup, and average them.

    Parameters
    ----------
    features : ndarray of shape (n, n_features)
        What the last layer gets.
    codes : ndarray of int of shape (n,)
        Class positions; every class has a row.
    subgroups : ndarray of int of shape (n,)
        Subgroup of every row; each has one class.
    weight : ndarray of shape (n,)
        Weights of the rows.
    C : float
        Inverse strength of the L1 penalty, for standardized features.
    n_draws : int
        Samples.
    intercept : bool
        Whether the layer has a bias; without one, features are scaled but not centered.
    rng : numpy.random.Generator
        Draws.

    Returns
    -------
    coef : ndarray of shape (n_classes, n_features)
        Weights for the features as they are; of two classes they are opposite.
    bias : ndarray of shape (n_classes,)
        Biases.
    drawn : ndarray of int of shape (n,)
        How often each row was drawn.
    """
    scaler = StandardScaler(with_mean=intercept).fit(features)
    scaled = scaler.transform(features)
    members = [np.flatnonzero(subgroups == subgroup) for subgroup in np.unique(subgroups)]
    size = min(map(len, members))
    inputs = np.column_stack([scaled, np.ones(len(scaled))]) if intercept else scaled
    drawn, layers = np.zeros(len(features), dtype=np.int64), []
    for _ in range(n_draws):
        rows = np.concatenate([rng.choice(member, size, replace=False) for member in members])
        drawn[rows] += 1
        layers.append(_sparse_layer(inputs[rows], codes[rows], weight[rows], C=C, intercept=intercept))
    layer = np.mean(layers, axis=0)
    coef = layer[:, : features.shape[1]] / scaler.scale_
    bias = layer[:, -1] - coef @ scaler.mean_ if intercept else np.zeros(len(coef))
    return coef, bias, drawn


def _sparse_layer(inputs, codes, weight, *, C, intercept):
    """Logistic regression with L1 penalty; of two classes with opposite weights.

    Of scikit-learn's solvers that know this penalty one is for two classes only, and one takes long.
    """
    two = codes.max() == 1
    shape = 1 if two else codes.max() + 1, inputs.shape[1]
    wanted = codes[:, None] if two else np.eye(shape[0])[codes]
    penalized = np.ones(shape)
    if intercept:
        penalized[:, -1] = 0

    def objective(flat):
        positive, negative = flat.reshape(2, *shape)
        value, slope = _cross_entropy(inputs, positive - negative, wanted, weight[:, None], of_classes=not two)
        value = C * value + (penalized * (positive + negative)).sum()
        return value, np.concatenate([penalized + C * slope, penalized - C * slope]).ravel()

    # With a positive and a negative part, the absolute value is smooth.
    start = np.zeros(2 * np.prod(shape))
    options = {"maxiter": 5000, "maxfun": 10000, "ftol": 1e-10, "gtol": 1e-4}
    solution = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(start), options=options)
    positive, negative = solution.x.reshape(2, *shape)
    layer = positive - negative
    return np.concatenate([-layer / 2, layer / 2]) if two else layer


def _cross_entropy(inputs, layer, wanted, weight, *, of_classes):
    """Weighted cross-entropy, of classes or of one logit per column of what is wanted, and its gradient."""
    logits = inputs @ layer.T
    if of_classes:
        value = -(weight * log_softmax(logits, axis=1) * wanted).sum()
        return value, (weight * (softmax(logits, axis=1) - wanted)).T @ inputs
    value = (weight * np.logaddexp(0, -logits * (2 * wanted - 1))).sum()
    return value, (weight * (expit(logits) - wanted)).T @ inputs


def choose_strength(features, codes, subgroups, weight, halves, **options):
    """Choose the strength of the penalty by the worst subgroup of rows that the regression has not seen.

    Parameters
    ----------
    features, codes, subgroups, weight : ndarray
        As in :func:`balanced_regression`.
    halves : pair of ndarray of int
        Rows to fit to, and rows to score.
    **options
        ``n_draws`` and ``intercept`` as there; ``seed`` of the draws, which are the same for every strength.

    Returns
    -------
    float
        The C with the best accuracy in the worst subgroup; among equals the best mean, then the smallest.
    """
    first, second = halves
    seed = options.pop("seed")

    def score(C):
        coef, bias, _ = balanced_regression(
            features[first],
            codes[first],
            subgroups[first],
            weight[first],
            C=C,
            **options,
            rng=np.random.default_rng(seed),
        )
        correct = (features[second] @ coef.T + bias).argmax(axis=1) == codes[second]
        accuracy = [correct[subgroups[second] == subgroup].mean() for subgroup in np.unique(subgroups[second])]
        return min(accuracy), np.mean(accuracy), -C

    return max(C_GRID, key=score)


def pulled_regression(features, codes, weight, coef, bias, *, pull):
    """Minimize a weighted cross-entropy plus the squared distance from given weights.

    Parameters
    ----------
    features : ndarray of shape (n, n_features)
        What the last layer gets.
    codes : ndarray of int of shape (n, 1) or (n, n_labels)
        Class positions, or 0/1.
    weight : ndarray of shape (n, 1) or (n, n_labels)
        Weight of every decision.
    coef : ndarray of shape (n_outputs, n_features)
        Given weights. One output per column of ``codes`` is a logit of 1 against 0, more are the classes' logits.
    bias : ndarray of shape (n_outputs,) or None
        Given biases; None if the layer has none.
    pull : float
        Factor of the squared distance.

    Returns
    -------
    coef, bias : ndarray or None
        New weights.
    """
    inputs = features if bias is None else np.column_stack([features, np.ones(len(features))])
    start = coef if bias is None else np.column_stack([coef, bias])
    of_classes = len(coef) > codes.shape[1]
    wanted = np.eye(len(coef))[codes[:, 0]] if of_classes else codes

    def objective(flat):
        layer = flat.reshape(start.shape)
        value, slope = _cross_entropy(inputs, layer, wanted, weight, of_classes=of_classes)
        away = layer - start
        return value + pull * (away**2).sum(), (slope + 2 * pull * away).ravel()

    options = {"maxiter": 5000, "maxfun": 10000, "ftol": 1e-14, "gtol": 1e-7}
    result = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    layer = result.x.reshape(start.shape)
    return (layer, None) if bias is None else (layer[:, :-1], layer[:, -1])


def difficulty_weights(logits, codes, kind, gamma, weight):
    """Weights of automatic feature reweighting: rows count by how improbable their label is.

    Parameters
    ----------
    logits : ndarray of shape (n, n_outputs)
        Of the network before.
    codes : ndarray of int of shape (n, 1) or (n, n_labels)
        Class positions, or 0/1.
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted.
    gamma : float
        The weight is ``exp(-gamma * p)`` for the probability ``p`` of the label, over the size of the class.
    weight : ndarray of shape (n,)
        Given weights.

    Returns
    -------
    ndarray of shape (n, 1) or (n, n_labels)
        Weights whose sum is 1, of each label by itself.
    """
    target = codes if kind == "multilabel" else codes[:, 0]
    values = np.exp(-gamma * label_probabilities(logits, target, kind, "cross_entropy"))
    for column, decisions in enumerate(codes.T):
        values[:, column] *= weight / np.bincount(decisions, weight)[decisions]
    return values / values.sum(axis=0)


def disagreement_weights(logits, early_logits, codes, kind, share, weight):
    """Weights of selective last-layer finetuning: rows count whose prediction training has changed most.

    Parameters
    ----------
    logits, early_logits : ndarray of shape (n, n_outputs)
        Of the network and of what it was early in training.
    codes : ndarray of int of shape (n, 1) or (n, n_labels)
        Class positions, or 0/1.
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted.
    share : float
        Share of the rows of each class that is taken, at least one row.
    weight : ndarray of shape (n,)
        Given weights.

    Returns
    -------
    ndarray of shape (n, 1) or (n, n_labels)
        Weights whose sum is 1, of each label by itself, and the same for all classes; 0 for rows that are not taken.
    """
    divergence = _divergences(logits, early_logits, softmaxed=kind != "multilabel" and logits.shape[1] > 1)
    values = np.zeros(divergence.shape)
    for column, decisions in enumerate(codes.T):
        for label in np.unique(decisions):
            rows = np.flatnonzero(decisions == label)
            n_taken = max(1, round(share * len(rows)))
            taken = rows[np.argsort(-divergence[rows, column], kind="stable")[:n_taken]]
            values[taken, column] = weight[taken] / weight[taken].sum()
    return values / values.sum(axis=0)


def _divergences(logits, early_logits, softmaxed):
    """Kullback-Leibler divergence of the early from the last probabilities, of every decision."""
    pair = []
    for values in (logits, early_logits):
        values = np.asarray(values, dtype=np.float64)
        values = values[:, None] if softmaxed else np.stack([np.zeros_like(values), values], axis=-1)
        pair.append(log_softmax(values, axis=-1))
    last, early = pair
    return (np.exp(last) * (last - early)).sum(axis=-1)
