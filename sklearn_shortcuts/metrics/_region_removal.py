"""Removal of what a region shows."""

from dataclasses import dataclass

import numpy as np

from ..images._fill import fill_removed, to_dtype
from ._region_rows import as_region


def remove_regions(bunch, *, fill, blur_sigma, mask_role, seed):
    """Give a lazy bunch whose regions are filled.

    Parameters
    ----------
    bunch : ImageBunch
        Rows with masks.
    fill : {"zero", "mean", "noise", "shuffle", "blur"} or float
        What takes the place of the region.
    blur_sigma : float
        Standard deviation of the blur as a share of the longer side.
    mask_role : {"avoid", "attend"}
        What the masks show.
    seed : int
        Decides noise and shuffling.

    Returns
    -------
    ImageBunch
        Same rows and fields.
    """
    removal = RegionRemoval(1 if bunch.signal else 2, fill, blur_sigma, mask_role, seed)
    return bunch.map_images(removal, ("masks",), with_rows=True)


@dataclass(frozen=True)
class RegionRemoval:
    """Function that fills the regions of a batch; picklable. Its attributes are those of :func:`remove_regions`."""

    n_axes: int
    fill: str | float
    blur_sigma: float
    mask_role: str
    seed: int

    def __call__(self, images, masks, *, rows):
        """Fill regions.

        Parameters
        ----------
        images : ndarray of shape (n, ..., *spatial)
            Rows; not changed.
        masks : ndarray of shape (n, *spatial)
            Their masks.
        rows : ndarray of int of shape (n,)
            Row numbers, which decide noise and shuffling.

        Returns
        -------
        ndarray like ``images``
            Filled rows.
        """
        spatial = (1,) * (2 - self.n_axes) + images.shape[-self.n_axes :]
        planes = images.reshape(len(images), -1, *spatial)
        region = as_region(masks, self.mask_role).reshape(len(images), *spatial)
        if self.fill == "zero" or not isinstance(self.fill, str):
            value = to_dtype(0 if self.fill == "zero" else self.fill, images.dtype)
            return np.where(region[:, None], value, planes).reshape(images.shape)
        result = np.empty_like(planes)
        for image, inside, row, out in zip(planes, region, rows, result):
            fill_removed(image, ~inside, out, self.fill, blur_sigma=self.blur_sigma, seed=(self.seed, int(row)))
        return result.reshape(images.shape)
