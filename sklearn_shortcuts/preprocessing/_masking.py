"""Masking of one batch of images: from masks to regions to filled images, in threads."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ..images._fill import copy_kept, fill_removed, to_dtype
from ..images._threads import thread_map
from ._regions import as_boolean, make_regions

_CHUNK = 8  # rows handled by one thread at a time; a multiple of 8, see _regions; more leave the cache
_CACHED = 2**18  # bytes of images that are checked and copied in one go, so that the second finds them in the cache
_SMALL = 2**15  # pixels of a row below which copying is quicker than handing it to a thread


@dataclass(frozen=True)
class Masking:
    """Function that masks a batch; picklable, and gives every row the same result in whatever batch it comes.

    The attributes are the parameters of :class:`ROIMasker`, with ``seed`` in place of the random state, and the number
    of axes of a mask: 2 for images, 1 for signals and tables.
    """

    n_axes: int
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
        spatial = (1,) * (2 - self.n_axes) + images.shape[-self.n_axes :]
        result = np.zeros(images.shape, images.dtype)
        if not isinstance(self.fill, str) and self.keep in ("roi", "background", "other_roi"):
            result[...] = to_dtype(self.fill, images.dtype)
        source, target = images.reshape(len(images), -1, *spatial), result.reshape(len(images), -1, *spatial)

        def work(chunk):
            some = np.zeros((len(rows[chunk]), *spatial), dtype=bool) if masks is None else np.asarray(masks[chunk])
            self._mask_rows(source[chunk], some, rows[chunk], target[chunk])

        quick = self._copies and math.prod(images.shape[1:]) < _SMALL
        thread_map(work, _slices(len(images), _CHUNK), n_threads=1 if quick else None)
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
            result[chunk] = self._kept(masks[chunk], rows[chunk]).mean(axis=(1, 2))

        thread_map(work, _slices(len(masks), _CHUNK))
        return result

    @property
    def _copies(self):
        """Whether nothing has to be computed from the pixels."""
        return self.keep in ("all", "mask") or self.fill == "zero" or not isinstance(self.fill, str)

    def _mask_rows(self, images, masks, rows, out):
        """Mask rows of planes (C, H, W)."""
        kept = self._kept(masks, rows)
        for part in _slices(len(images), max(1, _CACHED // max(1, images[0].nbytes))):
            check_finite(images[part], rows[part])
            if self.keep == "mask":
                inside = np.iinfo(out.dtype).max if out.dtype.kind in "iu" else 1
                np.copyto(out[part], out.dtype.type(inside), where=kept[part, None])
            elif self.keep == "all":
                out[part] = images[part]
            elif self._copies:
                copy_kept(images[part], kept[part], out[part])
            else:
                self._compute(images[part], kept[part], rows[part], out[part])

    def _compute(self, images, kept, rows, out):
        for image, pixels, row, target in zip(images, kept, rows, out):
            fill_removed(image, pixels, target, self.fill, blur_sigma=self.blur_sigma, seed=(self.seed, int(row)))

    def _kept(self, masks, rows):
        """Pixels (n, H, W) that are kept."""
        masks = as_boolean(np.ascontiguousarray(masks.reshape(len(masks), -1, masks.shape[-1])), rows)
        regions = make_regions(masks, shape=self.shape, margin=self.margin, metric=self.metric, box_mode=self.box_mode)
        missing = ~regions.any(axis=(1, 2))
        if self.on_missing == "error" and missing.any():
            row = int(np.flatnonzero(missing)[0])
            raise missing_error(rows[row], self.margin if masks[row].any() else 0)
        if self.keep == "all":
            return np.ones_like(regions)
        own = regions is not masks  # otherwise these may still be the caller's
        kept = regions
        if self.keep == "background":  # in place: fresh memory costs more than the computation
            kept = np.logical_not(regions, out=regions if own else None)
            own = True
        if missing.any():
            kept = kept if own else kept.copy()
            kept[missing] = self.on_missing == "keep" and self.keep != "mask"
        return kept


def check_finite(images, rows):
    """Raise if an image holds a value that is not finite."""
    if images.dtype.kind == "f" and not _all_finite(images):
        wrong = ~np.isfinite(images).reshape(len(images), -1).all(axis=1)
        raise ValueError(f"the image of row {rows[wrong][0]} contains NaN or inf; repair it or leave the row out")


def _all_finite(values):
    # The sum of the absolute values, which OpenCV adds up as float64, is cheaper; an infinite one proves nothing.
    if values.dtype in (np.float32, np.float64) and values.dtype.isnative and values.flags.c_contiguous:
        total = cv2.norm(values.reshape(len(values), -1), cv2.NORM_L1)
        return math.isfinite(total) or np.isfinite(values).all()
    return np.isfinite(values).all()


def missing_error(row, margin=0, n_missing=1):
    """Say which row has no region and what to do about it."""
    why = f"its mask is empty after shrinking it by {-margin:g} pixels" if margin else "its mask is missing or empty"
    more = f" (as in {n_missing - 1} more)" if n_missing > 1 else ""
    return ValueError(
        f"row {row} has no region: {why}{more}; leave such rows out, "
        'or set on_missing="keep" to pass them through or on_missing="fill" to blank them'
    )


def _slices(n_rows, size):
    return [slice(first, first + size) for first in range(0, n_rows, size)]
