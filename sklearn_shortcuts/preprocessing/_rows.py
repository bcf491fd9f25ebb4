"""Rows as transformers take them: checked, and of the shape that was seen in ``fit``."""

import math

import numpy as np
from sklearn.utils.validation import validate_data

from ..images import ImageBunch
from ._masking import check_finite

_ROWS_AT_ONCE = 256


def read_rows(estimator, X, *, reset):
    """Check rows; record their shape, or compare it with that of ``fit``.

    Sets ``n_features_in_``, ``feature_names_in_`` and ``image_shape_`` if ``reset``.

    Parameters
    ----------
    estimator : estimator
        Whose attributes and name are used.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
        Images, signals or tables.
    reset : bool
        Whether this is a new fit.

    Returns
    -------
    ImageBunch or ndarray
        The bunch itself, of which nothing was read, or an array without a copy.

    Raises
    ------
    ValueError
        If there are no rows, or their shape is another one.
    """
    if isinstance(X, ImageBunch):
        _check_bunch(estimator, X, reset)
        return X
    return _check_array(estimator, X, reset)


def check_values(images):
    """Raise if an image of an array holds a value that is not finite."""
    for first in range(0, len(images), _ROWS_AT_ONCE):
        rows = np.arange(first, min(first + _ROWS_AT_ONCE, len(images)))
        check_finite(images[rows[0] : rows[-1] + 1], rows)


def _check_bunch(estimator, bunch, reset):
    name, n_features = type(estimator).__name__, math.prod(bunch.shape[1:])
    if reset:
        if len(bunch) == 0:
            raise ValueError(f"Found an ImageBunch with 0 rows while a minimum of 1 is required by {name}.")
        estimator.n_features_in_, estimator.image_shape_ = n_features, bunch.shape[1:]
        vars(estimator).pop("feature_names_in_", None)
    elif n_features != estimator.n_features_in_:
        raise ValueError(
            f"X has {n_features} features, but {name} is expecting {estimator.n_features_in_} features as input"
        )
    else:
        _check_shape(estimator, bunch.shape[1:])


def _check_array(estimator, X, reset):
    if not hasattr(X, "ndim"):
        X = np.asarray(X)
    if X.ndim > 4:
        raise ValueError(f"Found array with dim {X.ndim}, while dim <= 4 is required by {type(estimator).__name__}.")
    shape = X.shape
    if X.ndim > 2:
        X = np.asarray(X).reshape(len(X), math.prod(shape[1:]))
    X = validate_data(estimator, X, reset=reset, ensure_all_finite=False).reshape(shape)
    if reset:
        estimator.image_shape_ = shape[1:]
    else:
        _check_shape(estimator, shape[1:])
    return X


def _check_shape(estimator, shape):
    # One channel may be written out or not; anything else with as many values is turned or of another kind.
    fitted = estimator.image_shape_
    if math.prod(shape) and shape[shape[0] == 1 :] != fitted[fitted[0] == 1 :]:
        raise ValueError(
            f"X has rows of shape {shape}, but {type(estimator).__name__} was fitted on rows of shape {fitted}"
        )
