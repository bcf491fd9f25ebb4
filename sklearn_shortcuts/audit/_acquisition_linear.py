"""The fast acquisition probe: a linear classifier on features, cross-fitted, and fitted again for every permutation."""

import warnings

import numpy as np
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ..metrics._auc_interval import _weighted_auc

_ROUNDING = 1e-10


def fit_linear(features, codes, weights=None):
    """Fit logistic regression on standardized features; all acquisitions have the same total weight.

    Parameters
    ----------
    features : ndarray of shape (n, k)
        Features.
    codes : ndarray of shape (n,)
        Acquisitions.
    weights : ndarray of shape (n,), default=None
        Weights of the rows.

    Returns
    -------
    Pipeline
        Fitted.
    """
    weights = even_weights(codes, weights)
    # The penalty suits about as many features as rows; what is tested is that they tell anything, not how much at most.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-3, max_iter=300))
    with config_context(assume_finite=True, skip_parameter_validation=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that ranks well enough will do
        return model.fit(features, codes, logisticregression__sample_weight=weights)


def even_weights(codes, weights=None):
    """Weigh rows so that every class has the same total weight, the mean weight being 1.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        Classes.
    weights : ndarray of shape (n,), default=None
        Weights to start from.

    Returns
    -------
    ndarray of shape (n,)
        Weights.
    """
    classes, places = np.unique(codes, return_inverse=True)
    weights = np.ones(len(codes)) if weights is None else weights
    totals = np.bincount(places, weights)
    return weights * (len(codes) / (len(classes) * totals[places]))


def cross_fit(features, codes, weights, n_classes, train, test):
    """Predict the rows of every fold by a probe fitted without them.

    Parameters
    ----------
    features : ndarray of shape (n, k)
        Features.
    codes : ndarray of int of shape (n,)
        Acquisitions.
    weights : ndarray of shape (n,) or None
        Weights of the rows.
    n_classes : int
        Number of acquisitions.
    train, test : ndarray of bool of shape (n_folds, n)
        Rows of the folds.

    Returns
    -------
    ndarray of shape (n, n_classes)
        Probabilities; NaN for rows that are never tested.
    """
    probabilities = np.full((len(codes), n_classes), np.nan)
    for trained, tested in zip(train, test):
        rows = np.flatnonzero(trained)
        own = None if weights is None else weights[rows]
        if own is not None:
            rows, own = rows[own > 0], own[own > 0]
        probabilities[tested] = 0.0
        present = np.unique(codes[rows])
        if len(present) < 2:  # permutations of few patients with rows of several acquisitions may come to that
            probabilities[tested, present[0]] = 1.0
            continue
        model = fit_linear(features[rows], codes[rows], own)
        rows = np.flatnonzero(tested)
        probabilities[np.ix_(rows, model.classes_)] = model.predict_proba(features[rows])
    return probabilities


def mean_auc(probabilities, codes, weights, test):
    """Average over folds and classes of the areas of each class against the rest, of two classes of one.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes)
        Predictions.
    codes : ndarray of int of shape (n,)
        Acquisitions.
    weights : ndarray of shape (n,) or None
        Weights of the rows.
    test : ndarray of bool of shape (n_folds, n)
        Rows that are tested in each fold.

    Returns
    -------
    float
        Area.
    """
    n_classes = probabilities.shape[1]
    areas = []
    for tested in test:
        own = np.ones(tested.sum()) if weights is None else weights[tested]
        for column in range(1 if n_classes == 2 else 0, n_classes):
            scores = probabilities[tested, column]
            order = np.argsort(scores, kind="stable")
            starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
            positive = (codes[tested] == column)[order]
            ordered = own[order][None]
            with np.errstate(invalid="ignore"):  # weights of 0 may leave out a class
                areas.append(_weighted_auc(np.where(positive, ordered, 0), np.where(positive, 0, ordered), starts)[0])
    return float(np.mean(areas))


def null_areas(features, sets, profiles, weigh, n_classes):
    """Areas of probes fitted on permuted acquisitions.

    Parameters
    ----------
    features : ndarray of shape (n, k)
        Features.
    sets : list of ndarray of int
        Columns of each probe.
    profiles : list of (codes, train, test)
        Acquisitions and folds of every permutation.
    weigh : callable
        Gives the weights of the rows for acquisitions, or None.
    n_classes : int
        Number of acquisitions.

    Returns
    -------
    ndarray of shape (n_permutations, n_sets)
        Areas.
    """
    areas = np.empty((len(profiles), len(sets)))
    with threadpool_limits(1, user_api="blas"):  # in worker processes too
        for number, (codes, train, test) in enumerate(profiles):
            weights = weigh(codes)
            for place, columns in enumerate(sets):
                predicted = cross_fit(features[:, columns], codes, weights, n_classes, train, test)
                areas[number, place] = mean_auc(predicted, codes, weights, test)
    return areas


def permutation_pvalue(observed, permuted):
    """Share of the permutations, the truth being one of them, that reach the observed values.

    A permutation without a value (NaN), where weights leave a fold without an acquisition, counts as reaching them.

    Parameters
    ----------
    observed : float or ndarray of shape (k,)
        Values.
    permuted : ndarray of shape (n_permutations,) or (n_permutations, k)
        Values of the permutations.

    Returns
    -------
    float or ndarray of shape (k,)
        P-values, at least one over one more than the number of permutations.
    """
    return (1 + (~(permuted < observed - _ROUNDING)).sum(axis=0)) / (1 + len(permuted))
