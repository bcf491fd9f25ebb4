"""The network of an acquisition probe, cross-fitted."""

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone

from ..neural import ECGResNet, ManufacturerCNN, NeuralImageClassifier, RandomGeometry
from ._acquisition_rows import as_given


def default_network(bunch):
    """Give the network of the study for images, and a residual network for signals.

    Parameters
    ----------
    bunch : ImageBunch
        Rows.

    Returns
    -------
    NeuralImageClassifier
        Not fitted.
    """
    settings = {
        "optimizer": "adam",
        "lr": 1e-3,
        "max_epochs": 30,
        "batch_size": 32,
        "class_weight": "balanced",
        "normalize": "channel",
    }
    if bunch.signal:
        return NeuralImageClassifier(ECGResNet(), **settings)
    return NeuralImageClassifier(ManufacturerCNN(), augmentation=RandomGeometry(hflip=0.5, vflip=0.5), **settings)


def cross_fit_network(estimator, bunch, array_shape, target, folds, fit_parameters, n_jobs):
    """Fit a clone on the training part of every fold, and one on all rows.

    Parameters
    ----------
    estimator : classifier
        What is cloned.
    bunch : ImageBunch
        Rows.
    array_shape : tuple of int or None
        Shape of a row if the classifier gets arrays; None if it gets bunches.
    target : Target
        Acquisition.
    folds : Folds
        Splits.
    fit_parameters : dict of str to ndarray
        Further arguments of ``fit``, one value per row.
    n_jobs : int or None
        Trainings at a time.

    Returns
    -------
    probabilities : ndarray of shape (n, n_acquisitions)
        Out of fold; NaN for rows that are never tested.
    fitted : classifier
        Fitted on all rows.
    """
    everything = np.arange(len(bunch))
    plan = [*folds.splits, (everything, everything[:0])]
    results = Parallel(n_jobs=n_jobs)(
        delayed(_fit_and_predict)(
            clone(estimator), bunch, array_shape, target, train, test, fit_parameters, None if len(test) == 0 else fold
        )
        for fold, (train, test) in enumerate(plan)
    )
    probabilities = np.full((len(bunch), len(target.classes)), np.nan)
    for (_, test), (values, _) in zip(folds.splits, results):
        probabilities[test] = values
    return probabilities, results[-1][1]


def _fit_and_predict(estimator, bunch, array_shape, target, train, test, fit_parameters, fold):
    """Probabilities of the test rows, and the classifier where there are none."""
    try:
        options = {name: values[train] for name, values in fit_parameters.items()}
        estimator.fit(as_given(bunch[train], array_shape), target.y[train], **options)
        if fold is None:
            return None, estimator
        values = np.asarray(estimator.predict_proba(as_given(bunch[test], array_shape)), dtype=np.float64)
    except Exception as error:
        error.add_note("(in the probe of all rows)" if fold is None else f"(in fold {fold} of the network probe)")
        raise
    if values.shape != (len(test), len(estimator.classes_)) or not np.isfinite(values).all():
        raise ValueError(
            f"{type(estimator).__name__} gives probabilities of shape {values.shape} for {len(test)} rows of fold "
            f"{fold}, or some that are not finite; training probably diverged"
        )
    probabilities = np.zeros((len(test), len(target.classes)))
    probabilities[:, np.searchsorted(target.classes, estimator.classes_)] = values
    return probabilities, None
