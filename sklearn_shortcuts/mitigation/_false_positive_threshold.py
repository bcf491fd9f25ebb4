"""How large the score of a row without the concept may become: a threshold with a known rate of false alarms."""

from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from .._random_state import draw_seed, make_random_state
from ..neural._split import hold_out
from ._concept_directions import prepare_concept


def conformal_threshold(scores, rate, groups=None):
    """Give the threshold that a fresh row without the concept exceeds with at most a given probability.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Scores of rows without the concept that the detector was not fitted on.
    rate : float
        Probability, in (0, 1).
    groups : ndarray of int of shape (n,), default=None
        Patients, who count the same however many rows they have; by default every row is one of its own.

    Returns
    -------
    float
        One of the scores.

    Raises
    ------
    ValueError
        If there are too few rows or patients for the rate.

    Notes
    -----
    With one row per patient this is the order statistic of split conformal prediction, the smallest score with at
    least ``(n + 1) * (1 - rate)`` scores up to it, which a fresh row exceeds with a probability of at most ``rate``,
    whatever the distribution. With several, the rows of each of the G patients share the mass ``1 / (G + 1)`` and the
    rest is at infinity, which gives the same promise for a row of a fresh patient.

    References
    ----------
    Y. Lee, R. F. Barber and R. Willett, "Distribution-free inference with hierarchical data", arXiv:2306.06342 (2023).
    """
    _check_enough(rate, np.ones(len(scores), dtype=bool), groups)
    groups = np.arange(len(scores)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(groups)
    n_groups = len(sizes)
    order = np.argsort(scores, kind="stable")
    mass = np.cumsum(1 / ((n_groups + 1) * sizes[groups[order]]))
    # Sums of fractions round; one row more or less decides.
    return float(scores[order][np.flatnonzero(mass >= 1 - rate - 1e-9)[0]])


def fit_detector(detector, rows, *, rate, calibration, random_state, layer=None):
    """Fit a detector and find its threshold by rows that it, or its like, was not fitted on.

    Parameters
    ----------
    detector : estimator, FrozenEstimator or None
        With ``decision_function``; a copy is fitted. One in a FrozenEstimator is taken as it is, and all rows tell the
        threshold. None means ``ConceptVector("svm")``.
    rows : ConceptRows
        Rows.
    rate : float
        Share of fresh rows without the artifact that may exceed the threshold.
    calibration : int or float
        Number of folds, each of which is scored by a detector fitted on the others; or share of the rows that is kept
        from the detector.
    random_state : int, RandomState instance or None
        Decides about the rows.
    layer : str, default=None
        Name of the layer, for detectors that can tell it.

    Returns
    -------
    detector : estimator
        Fitted on all rows, or on those that were not kept from it.
    threshold : float
        Of its ``decision_function``.

    Raises
    ------
    ValueError
        If there are too few rows.
    """
    positive = rows.labels >= 0.5
    _check_enough(rate, ~positive, rows.groups)
    if isinstance(detector, FrozenEstimator):
        detector = detector.estimator
        scores = detector.decision_function(rows.features)
    else:
        detector = prepare_concept(detector, "svm", layer)
        seed = draw_seed(make_random_state(random_state))
        if isinstance(calibration, Integral):
            scores = _cross_fitted(detector, rows, positive, calibration, seed)
            rows.fit(detector)
        else:
            scores = _held_out(detector, rows, positive, calibration, seed)
    clean = ~positive & np.isfinite(scores)
    return detector, conformal_threshold(scores[clean], rate, None if rows.groups is None else rows.groups[clean])


def _cross_fitted(detector, rows, positive, n_folds, seed):
    """Scores of all rows, each by a detector fitted on the other folds."""
    unit = "rows" if rows.groups is None else "patients"
    counts = [_n_units(part, rows.groups) for part in (positive, ~positive)]
    if min(counts) < n_folds:
        raise ValueError(
            f"calibration={n_folds} needs as many {unit} with and without the artifact, but there are {counts[0]} with "
            f"it and {counts[1]} without; give more rows, or a lower number"
        )
    splitter = StratifiedKFold if rows.groups is None else StratifiedGroupKFold
    scores = np.empty(len(positive))
    for train, rest in splitter(n_folds, shuffle=True, random_state=seed).split(positive, positive, rows.groups):
        _check_both(positive[train])
        scores[rest] = rows.fit(clone(detector), train).decision_function(rows.features[rest])
    return scores


def _held_out(detector, rows, positive, fraction, seed):
    """Fit the detector; scores of the rows that are kept from it, NaN for the others."""
    train, rest = hold_out(positive.astype(np.int64), rows.groups, fraction, seed, "calibration")
    _check_both(positive[train])
    rows.fit(detector, train)
    scores = np.full(len(positive), np.nan)
    if rest is not None:
        scores[rest] = detector.decision_function(rows.features[rest])
    return scores


def _check_both(positive):
    if positive.all() or not positive.any():
        raise ValueError(
            "calibration: there are too few rows or patients with the artifact, or without, to fit a detector to some "
            "and find its threshold by others; give more"
        )


def _check_enough(rate, clean, groups):
    needed, n_units = int(np.ceil(round(1 / rate - 1, 9))), _n_units(clean, groups)
    if n_units < needed:
        unit = "rows" if groups is None else "patients"
        raise ValueError(
            f"false_positive_rate={rate} needs at least {needed} {unit} without the artifact to find the threshold by, "
            f"but there are {n_units}; give more, or raise false_positive_rate"
        )


def _n_units(rows, groups):
    return int(rows.sum()) if groups is None else len(np.unique(groups[rows]))
