"""Where the masks of the rows come from when they do not come with a bunch."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from ..images import ImageBunch
from ._regions import as_boolean


class Segmentation:
    """Function that asks a segmenter for the masks of a batch.

    Parameters
    ----------
    segmenter : callable or estimator with ``predict``
        Makes masks from images.
    spatial : tuple of int, default=None
        Shape every mask must have; by default whatever fits the images.
    """

    def __init__(self, segmenter, spatial=None):
        self.segmenter = segmenter
        self.spatial = spatial

    def __call__(self, images):
        masks = np.asarray(
            self.segmenter.predict(images) if hasattr(self.segmenter, "predict") else self.segmenter(images)
        )
        accepted = [self.spatial] if self.spatial else _spatial_shapes(images.shape)
        for spatial in accepted:
            if masks.shape in ((len(images), *spatial), (len(images), 1, *spatial)):
                return as_boolean(masks.reshape(len(images), *spatial), np.arange(len(images)))
        wanted = " or ".join(str((len(images), *spatial)) for spatial in accepted)
        raise ValueError(f"the segmenter gave masks of shape {masks.shape} for images {images.shape}, not {wanted}")


def check_segmenter(segmenter):
    """Raise if a segmenter is a scikit-learn estimator that is not fitted, as after cloning."""
    if isinstance(segmenter, BaseEstimator):
        try:
            check_is_fitted(segmenter)
        except NotFittedError as error:
            raise NotFittedError(
                f"the segmenter {type(segmenter).__name__} is not fitted; fit it and pass "
                "sklearn.frozen.FrozenEstimator(segmenter), which stays fitted when a pipeline or a search clones it"
            ) from error


def bunch_of_arrays(images, masks):
    """Make a bunch of plain arrays, which checks that they belong together.

    Parameters
    ----------
    images : ndarray of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
        Images, signals or tables.
    masks : array-like of shape (n, *spatial), list with None, or None
        Regions of interest; their dimensions tell images from signals.

    Returns
    -------
    bunch : ImageBunch
        The rows of a table are signals with one channel.
    masks : array-like
        The masks without a copy where every row has one, None otherwise: then take them from the bunch.
    """
    if isinstance(masks, (list, tuple)):
        masks = _check_list(masks, images.shape)
    elif masks is not None and (hasattr(masks, "iloc") or not hasattr(masks, "ndim")):
        masks = np.asarray(masks)
    if masks is None:
        signal = images.ndim == 2
    else:
        n_axes = (
            np.ndim(next(mask for mask in masks if mask is not None)) if isinstance(masks, list) else masks.ndim - 1
        )
        if n_axes == 3 and masks.shape[1] == 1:
            masks, n_axes = np.asarray(masks)[:, 0], 2
        if n_axes not in (1, 2) or images.ndim - 1 - n_axes not in (0, 1):
            wanted = " or ".join(str((len(images), *spatial)) for spatial in _spatial_shapes(images.shape))
            raise ValueError(f"masks must have shape {wanted} for X of shape {images.shape}, got {np.shape(masks)}")
        signal = n_axes == 1
    bunch = ImageBunch(images[:, None] if images.ndim == 2 else images, masks=masks, signal=signal)
    return bunch, masks if bunch.has_mask.all() else None


def _check_list(masks, shape):
    """Stack a list of masks, or leave it as it is where some are None; None where all are."""
    given = [row for row, mask in enumerate(masks) if mask is not None]
    if not given:
        return None
    first = np.shape(masks[given[0]])
    accepted = [spatial for spatial in _spatial_shapes(shape) if len(spatial) == len(first)] or _spatial_shapes(shape)
    for row in given:
        if np.shape(masks[row]) != accepted[0]:
            raise ValueError(
                f"the mask of row {row} has shape {np.shape(masks[row])}, but its image {accepted[0]}; "
                "resize every mask to its image"
            )
    return np.stack(masks) if len(given) == len(masks) else list(masks)


def _spatial_shapes(shape):
    """What the shape of one mask can be: of images first, then of signals."""
    return [tuple(shape[1:])] * (len(shape) < 4) + [tuple(shape[2:])] * (len(shape) > 2)
