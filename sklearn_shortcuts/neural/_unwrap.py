"""The network within pipelines, searches and meta-estimators."""

from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import nn

_FITTED = ("best_estimator_", "estimator_")


def unwrap(estimator, X):
    """Go through pipelines and meta-estimators down to the classifier or network.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted. The earlier steps of a pipeline transform ``X``; of searches and meta-estimators ``best_estimator_`` or
        ``estimator_`` is taken.
    X : object
        Rows.

    Returns
    -------
    estimator : NeuralImageClassifier or torch.nn.Module
        What was found.
    X : object
        Rows as it takes them.

    Raises
    ------
    TypeError
        If there is no network in the estimator.
    NotFittedError
        If the estimator is not fitted.
    """
    outer = type(estimator).__name__
    while not isinstance(estimator, nn.Module):
        if isinstance(estimator, Pipeline):
            for step in estimator.steps[:-1]:
                if step[1] is not None and step[1] != "passthrough":
                    X = step[1].transform(X)
            estimator = estimator.steps[-1][1]
            continue
        if hasattr(estimator, "iter_batches"):
            return estimator, X
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
            continue
        inner = next((name for name in _FITTED if hasattr(estimator, name)), None)
        if inner is None:
            if isinstance(estimator, BaseEstimator):
                check_is_fitted(estimator)
            raise TypeError(
                f"estimator must be a fitted NeuralImageClassifier, something fitted that contains one, or a "
                f"torch.nn.Module; {outer} holds none"
            )
        estimator = getattr(estimator, inner)
    return estimator, X
