"""Weights that go with the rows from one step of a pipeline to the next."""

import warnings

import numpy as np

from ._bunch import ImageBunch


def attach_weights(X, sample_weight, owner):
    """Give rows with weights, as far as they can carry any.

    Parameters
    ----------
    X : ImageBunch, DataFrame or ndarray
        Rows.
    sample_weight : ndarray of shape (n,)
        Weights.
    owner : str
        Name of the transformer, whose ``fit_transform`` calls this function.

    Returns
    -------
    ImageBunch, DataFrame or ndarray
        A bunch with the field ``sample_weight``, which images become; a table as it is.

    Warns
    -----
    UserWarning
        If the weights stay behind.
    """
    if isinstance(X, ImageBunch):
        return X.with_fields(sample_weight=sample_weight)
    if np.ndim(X) > 2:
        return ImageBunch(X, sample_weight=sample_weight)
    warnings.warn(
        f"{owner}: a table cannot carry the weights to the next step: give images or an ImageBunch, or pass "
        f"sample_weight_ to its fit",
        UserWarning,
        stacklevel=3,
    )
    return X
