"""Bunches of plain arrays: whether rows are images, signals or tables is told by their masks."""

import numpy as np

from ._bunch import ImageBunch


def spatial_shapes(shape):
    """Give the shapes that one mask can have for rows of this shape: of images first, then of signals."""
    return [tuple(shape[1:])] * (len(shape) < 4) + [tuple(shape[2:])] * (len(shape) > 2)


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
            wanted = " or ".join(str((len(images), *spatial)) for spatial in spatial_shapes(images.shape))
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
    accepted = [spatial for spatial in spatial_shapes(shape) if len(spatial) == len(first)] or spatial_shapes(shape)
    for row in given:
        if np.shape(masks[row]) != accepted[0]:
            raise ValueError(
                f"the mask of row {row} has shape {np.shape(masks[row])}, but its image {accepted[0]}; "
                "resize every mask to its image"
            )
    return np.stack(masks) if len(given) == len(masks) else list(masks)
