"""The rows of a region audit: one bunch with masks, decoded once."""

import numpy as np
import pandas as pd

from ..images import ImageBunch, cache_bunch
from ..images._sources import MemmapRows, RowView
from ..neural._inputs import check_finite, check_images

_ROWS_AT_ONCE = 256


def gather_rows(X, *, estimator=None, masks=None, groups=None, metadata=None, sample_weight=None):
    """Put the rows and what was given beside them into one bunch.

    Parameters
    ----------
    X : ImageBunch or array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
        Images; a row of a table is an image of one line.
    estimator : estimator, default=None
        Records the shape of the rows.
    masks, groups, metadata, sample_weight : array-like, default=None
        In place of the fields of these names.

    Returns
    -------
    bunch : ImageBunch
        Rows.
    array_shape : tuple of int or None
        Shape of a row as given; None for a bunch.
    """
    if estimator is not None:
        rows = check_images(estimator, X, image_shape=None, precision="float32", reset=True)
        images, image_shape = rows.images, rows.image_shape
    elif not isinstance(X, ImageBunch):
        images = np.asarray(X)
        image_shape = {2: (1, 1, *images.shape[1:]), 3: (1, *images.shape[1:])}.get(images.ndim, images.shape[1:])
    array_shape = None
    if isinstance(X, ImageBunch):
        bunch = X
    else:
        array_shape = tuple(images.shape[1:])
        bunch = ImageBunch(np.reshape(images, (len(images), *image_shape)))
        if masks is not None and len(array_shape) == 1:
            masks = [None if mask is None else np.reshape(mask, image_shape[1:]) for mask in masks]
    fields = {"masks": masks, "groups": groups, "metadata": metadata, "sample_weight": sample_weight}
    fields = {name: value for name, value in fields.items() if value is not None}
    if "metadata" in fields:
        fields["metadata"] = pd.DataFrame(fields["metadata"])
    return (bunch.with_fields(**fields) if fields else bunch), array_shape


def decoded_rows(bunch, folder, n_workers):
    """Decode the rows once for all trainings, into files that all workers can map.

    Rows that are in memory already are left there if there is one worker.

    Parameters
    ----------
    bunch : ImageBunch
        Rows with masks.
    folder : path-like or None
        Where the files are kept; None for a temporary folder that goes when the rows do.
    n_workers : int
        Number of processes that read the rows.

    Returns
    -------
    ImageBunch
        The same rows.

    Raises
    ------
    ValueError
        If an image has values that are not finite.
    """
    if not (n_workers == 1 and in_memory(bunch.images) and in_memory(bunch.masks)):
        bunch = cache_bunch(bunch, folder)
    _require_finite(bunch)
    return bunch


def _require_finite(bunch):
    """Refuse values that are not finite here, where a row still has the number that the user knows it by."""
    if bunch.dtype.kind != "f":
        return
    for start in range(0, len(bunch), _ROWS_AT_ONCE):
        images = np.asarray(bunch[start : start + _ROWS_AT_ONCE])
        check_finite(images, np.arange(start, start + len(images)))


def in_memory(source):
    """Tell whether rows are arrays or mapped files, which need not be decoded."""
    while isinstance(source, RowView):
        source = source.source
    return isinstance(source, (np.ndarray, MemmapRows))
