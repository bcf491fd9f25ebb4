"""Images of any rank: what comes in as X, checked, as rows of one shape."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.validation import validate_data

from ..images import ImageBunch

_KEPT_DTYPES = (np.uint8, np.uint16, np.int8, np.int16, np.float32, np.float64)


@dataclass(frozen=True)
class Rows:
    """Images ready to be read in batches.

    Attributes
    ----------
    images : row source or ndarray
        ``images[rows]`` gives an array whose rows have as many values as ``image_shape``.
    image_shape : tuple of int
        ``(C, H, W)`` or ``(C, T)``.
    checked : bool
        Whether all values are known to be finite; otherwise batches are checked when they are read.
    bunch : ImageBunch or None
        What the rows came with.
    """

    images: object
    image_shape: tuple
    checked: bool
    bunch: object

    def __len__(self):
        return len(self.images)


def check_images(estimator, X, *, image_shape, precision, reset):
    """Check X and record, or compare with, the shape that the estimator was fitted on.

    Sets ``n_features_in_``, ``feature_names_in_`` and ``image_shape_`` if ``reset``.

    Parameters
    ----------
    estimator : estimator
        Whose attributes and name are used.
    X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
        Images. The rows of a bunch are not read.
    image_shape : tuple of int or None
        The estimator's parameter of that name.
    precision : str
        The estimator's parameter of that name; other data types than those of images are converted accordingly.
    reset : bool
        Whether this is a new fit.

    Returns
    -------
    Rows
        Checked rows.

    Raises
    ------
    ValueError
        If X has no rows, another shape or number of features than expected, or non-finite values.
    """
    if isinstance(X, ImageBunch):
        rows, row_shape, checked = X.images, X.image_shape, False
        if len(X) == 0:
            raise ValueError("X: the ImageBunch has 0 rows, at least one is needed")
        _check_features(estimator, len(X), row_shape, reset)
    else:
        rows, row_shape = _check_array(estimator, X, precision, reset)
        checked = True
    if reset and image_shape is None and len(rows.shape) == 4:
        _check_channels(rows.shape)
    if reset:
        estimator.image_shape_ = _resolve_shape(image_shape, row_shape, rows.shape[1:])
    elif (
        row_shape is not None
        and tuple(row_shape) != estimator.image_shape_
        and rows.shape[1:] != (estimator.image_shape_)
    ):
        raise ValueError(
            f"X has images of shape {tuple(row_shape)}, but {type(estimator).__name__} was fitted on "
            f"{estimator.image_shape_}"
        )
    return Rows(rows, estimator.image_shape_, checked, X if isinstance(X, ImageBunch) else None)


def _check_array(estimator, X, precision, reset):
    """Give the array, and the shape of its rows as images if it has more than two axes."""
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu()
        X = (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    elif isinstance(X, (list, tuple)) and len(X) and np.ndim(X[0]) >= 2:
        X = _stack(X)
    elif isinstance(X, np.ndarray) and not X.dtype.isnative:
        X = X.astype(X.dtype.newbyteorder("="))
    dtype = [np.float64 if precision == "float64" else np.float32, *_KEPT_DTYPES]
    n_axes = len(X.shape) if hasattr(X, "shape") else 2
    if n_axes <= 2:
        try:
            return validate_data(estimator, X, dtype=dtype, reset=reset), None
        except ValueError as error:
            if "could not convert string" in str(error):
                error.add_note("X holds text; for the paths of image files see ImageFiles and ImageLoader")
            raise
    if n_axes > 4:
        raise ValueError(
            f"X must have shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W), got {tuple(X.shape)}; give the "
            f"slices of a volume as channels"
        )
    X = check_array(X, dtype=dtype, allow_nd=True, input_name="X", estimator=estimator, ensure_all_finite=False)
    try:
        assert_all_finite(X, input_name="X")
    except ValueError as error:
        row = int(np.flatnonzero(~np.isfinite(X).reshape(len(X), -1).all(axis=1))[0])
        raise ValueError(
            f"{error.args[0].splitlines()[0]} Row {row} is the first such image; repair or leave it out"
        ) from None
    row_shape = X.shape[1:] if n_axes == 4 else (1, *X.shape[1:])
    _check_features(estimator, len(X), row_shape, reset)
    return X, row_shape


def check_finite(images, rows):
    """Refuse images with values that are not finite.

    Parameters
    ----------
    images : ndarray of shape (n, ...)
        A batch.
    rows : ndarray of int of shape (n,)
        The numbers that the user knows its rows by.

    Raises
    ------
    ValueError
        Naming the first such row.
    """
    if images.dtype.kind != "f" or np.isfinite(images).all():
        return
    first = np.flatnonzero(~np.isfinite(images).reshape(len(images), -1).all(axis=1))[0]
    what = "NaN" if np.isnan(images[first]).any() else "infinity"
    raise ValueError(
        f"Input X contains {what}: row {rows[first]} has values that are not finite; repair or leave out the image"
    )


def _check_channels(shape):
    """Refuse images whose last axis looks like that of the colors, which most other libraries put there."""
    n_channels, height, width = shape[1:]
    if width in (1, 3, 4) and min(n_channels, height) > 4:
        raise ValueError(
            f"X has shape {tuple(shape)}: {n_channels} channels of {height} x {width} pixels. If the last axis holds "
            f"the channels, give np.moveaxis(X, -1, 1); if not, set image_shape={(n_channels, height, width)}"
        )


def is_scaled(dtype):
    """Whether images of a type are divided by the largest value of the type: unsigned integers up to 16 bits."""
    return dtype.kind == "u" and dtype.itemsize <= 2


def _stack(images):
    shapes = [np.shape(image) for image in images]
    odd = next((row for row, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        raise ValueError(
            f"X: image {odd} has shape {shapes[odd]}, but image 0 has {shapes[0]}; resize them to one shape first"
        )
    return np.stack([np.asarray(image) for image in images])


def _check_features(estimator, n_rows, row_shape, reset):
    # scikit-learn counts the second axis as features; this stand-in has one column per value and takes no memory.
    stand_in = np.broadcast_to(np.float32(0), (n_rows, int(np.prod(row_shape))))
    validate_data(estimator, stand_in, skip_check_array=True, reset=reset)


def _resolve_shape(wanted, row_shape, given):
    """Shape of one row as the network sees it."""
    if wanted is None:
        return tuple(int(size) for size in (row_shape or (1, 1, given[0])))
    wanted = tuple(int(size) for size in wanted)
    if len(wanted) not in (2, 3) or min(wanted) < 1:
        raise ValueError(f"image_shape must be (C, H, W) or, for signals, (C, T), got {wanted}")
    n_values = int(np.prod(wanted))
    if row_shape is None and n_values != given[0]:
        raise ValueError(f"image_shape={wanted} needs {n_values} features, but X has {given[0]} features")
    if row_shape is not None and wanted not in (tuple(row_shape), tuple(given)):
        raise ValueError(f"image_shape={wanted}, but X has images of shape {tuple(row_shape)}")
    return wanted
