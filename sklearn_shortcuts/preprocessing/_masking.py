"""Masking of one batch of images: from masks to regions to filled images, in threads."""

from dataclasses import dataclass

import numpy as np

from ..images._threads import thread_map
from ._fill import fill_removed, to_dtype
from ._regions import as_boolean, make_regions

_CHUNK = 16  # rows handled by one thread at a time; a multiple of 8, see _regions


@dataclass(frozen=True)
class Masking:
    """Function that masks a batch; picklable, and gives every row the same result in whatever batch it comes.

    The attributes are the parameters of :class:`ROIMasker`, with ``seed`` in place of the random state.
    """

    keep: str
    shape: str
    margin: float
    metric: str
    box_mode: str
    fill: str | float
    blur_sigma: float
    on_missing: str
    seed: int

    def __call__(self, images, masks=None, *, rows):
        """Mask a batch.

        Parameters
        ----------
        images : ndarray of shape (n, ..., *spatial)
            Images; not changed.
        masks : ndarray of shape (n, *spatial), default=None
            Regions of interest; None where no row has one.
        rows : ndarray of int of shape (n,)
            Row numbers, for messages and for the noise.

        Returns
        -------
        ndarray like ``images``
            Masked images.
        """
        n_rows = len(images)
        spatial = images.shape[1:] if masks is None else masks.shape[1:]
        planes = (n_rows, -1, 1, spatial[0]) if len(spatial) == 1 else (n_rows, -1, *spatial[-2:])
        constant = 0 if isinstance(self.fill, str) else to_dtype(self.fill, images.dtype)
        result = np.full(images.shape, constant) if constant else np.zeros(images.shape, images.dtype)
        result = result.astype(images.dtype, copy=False)
        source, target = images.reshape(planes), result.reshape(planes)

        def work(chunk):
            some = None if masks is None else np.asarray(masks[chunk])
            self._mask_rows(source[chunk], some, rows[chunk], target[chunk])

        thread_map(work, _chunks(n_rows))
        return result

    def kept_fraction(self, masks, rows):
        """Give the share of kept pixels of every row.

        Parameters
        ----------
        masks : ndarray of shape (n, *spatial)
            Regions of interest.
        rows : ndarray of int of shape (n,)
            Row numbers, for messages.

        Returns
        -------
        ndarray of shape (n,)
            Shares in [0, 1].
        """
        result = np.empty(len(masks))

        def work(chunk):
            kept, _ = self._kept(masks[chunk], rows[chunk])
            result[chunk] = kept.mean(axis=(1, 2))

        thread_map(work, _chunks(len(masks)))
        return result

    def _mask_rows(self, images, masks, rows, out):
        """Mask rows of planes (C, H, W)."""
        if masks is None:
            masks = np.zeros((len(images), *images.shape[2:]), dtype=bool)
        kept, missing = self._kept(masks, rows)
        for image, pixels, row, unknown, target in zip(images, kept, rows, missing, out):
            check_finite(image, row)
            if self.keep == "mask":
                target[:, pixels] = np.iinfo(target.dtype).max if target.dtype.kind in "iu" else 1
            elif self.keep == "all" or (unknown and self.on_missing == "keep"):
                target[:] = image
            else:
                fill = 0 if self.fill == "zero" else self.fill
                fill_removed(image, pixels, target, fill, blur_sigma=self.blur_sigma, seed=(self.seed, int(row)))

    def _kept(self, masks, rows):
        """Pixels (n, H, W) that are kept, and which rows have no region."""
        masks = as_boolean(np.ascontiguousarray(masks.reshape(len(masks), -1, masks.shape[-1])), rows)
        regions = make_regions(masks, shape=self.shape, margin=self.margin, metric=self.metric, box_mode=self.box_mode)
        missing = ~regions.any(axis=(1, 2))
        if self.on_missing == "error" and missing.any():
            row = int(np.flatnonzero(missing)[0])
            raise missing_error(rows[row], self.margin if masks[row].any() else 0)
        if self.keep == "all":
            return np.ones_like(regions), missing
        kept = ~regions if self.keep == "background" else regions
        if missing.any():
            kept = kept.copy()  # these may still be the caller's masks
            kept[missing] = self.on_missing == "keep" and self.keep != "mask"
        return kept, missing


def check_finite(image, row):
    """Raise if an image holds a value that is not finite."""
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError(f"the image of row {row} contains NaN or inf; repair it or leave the row out")


def missing_error(row, margin=0, n_missing=1):
    """Say which row has no region and what to do about it."""
    why = f"its mask is empty after shrinking it by {-margin:g} pixels" if margin else "its mask is missing or empty"
    more = f" (as in {n_missing - 1} more)" if n_missing > 1 else ""
    return ValueError(
        f"row {row} has no region: {why}{more}; leave such rows out, "
        'or set on_missing="keep" to pass them through or on_missing="fill" to blank them'
    )


def _chunks(n_rows):
    return [slice(first, first + _CHUNK) for first in range(0, n_rows, _CHUNK)]
