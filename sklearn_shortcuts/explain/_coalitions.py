"""Images in which some regions are visible and the others are replaced: what the players of a game can do."""

from collections.abc import Mapping

import numpy as np

from ..images import ImageBunch
from ..images._fields import as_masks
from ..images._sources import RowSource
from ..preprocessing._masking import Masking
from ._subject import without_tensor

FEWEST, MOST = 2, 6


class Regions:
    """The regions of every row, which do not overlap.

    Parameters
    ----------
    bunch : ImageBunch
        Rows.
    regions : "mask", dict of str to array-like, or array-like
        As in :func:`region_shapley`.
    border : int
        Width of the frame that is a region of its own with ``regions="mask"``.

    Attributes
    ----------
    names : list of str
        Their names.

    Raises
    ------
    ValueError
        If there are too few or too many regions, of another size than the images, or rows without a mask.
    """

    def __init__(self, bunch, regions, border=0):
        self.bunch, self.border = bunch, border
        self._spatial = bunch.image_shape[1:]
        self._parts = None
        if isinstance(regions, str):
            self.names = self._names_by_mask(regions)
        else:
            if border:
                raise ValueError(f'border={border} goes with regions="mask" only; give the border as a region')
            named = dict(regions) if isinstance(regions, Mapping) else self._numbered(regions)
            self.names = list(named)
            if not FEWEST <= len(named) <= MOST:
                raise ValueError(
                    f"regions: there are {len(named)}, but exact values are computed for {FEWEST} to {MOST} regions; "
                    f"merge or add some"
                )
            self._parts = [self._checked(part, name) for name, part in named.items()]

    def read(self, rows):
        """Give the regions of some rows.

        Parameters
        ----------
        rows : ndarray of int of shape (n,)
            Row numbers.

        Returns
        -------
        ndarray of bool of shape (n, n_regions, H, W) or (n, n_regions, T)
            Regions.

        Raises
        ------
        ValueError
            If two of them overlap.
        """
        if self._parts is None:
            return self._by_mask(rows)
        stacked = np.stack([self._rows_of(part, rows) for part in self._parts], axis=1)
        overlapping = (stacked.sum(axis=1) > 1).reshape(len(rows), -1).any(axis=1)
        if overlapping.any():
            row = rows[overlapping][0]
            raise ValueError(f"regions: those of row {row} overlap; every pixel can belong to one region only")
        return stacked

    def _names_by_mask(self, regions):
        if regions != "mask":
            raise ValueError(f'regions={regions!r} is not known; give masks or "mask"')
        smallest = min(self._spatial)
        if not 0 <= 2 * self.border < smallest:
            raise ValueError(f"border={self.border} must be at least 0 and less than half the image, {smallest} pixels")
        if "masks" not in self.bunch.fields or not self.bunch.has_mask.all():
            where = "" if "masks" not in self.bunch.fields else f" in row {np.flatnonzero(~self.bunch.has_mask)[0]}"
            raise ValueError(
                f'regions="mask" takes the masks of an ImageBunch, but there is none{where}; leave such rows out or '
                f"give regions"
            )
        return ["inside", "outside", *(["border"] if self.border else [])]

    def _by_mask(self, rows):
        inside = np.asarray(self.bunch.get("masks")[rows]) >= 0.5
        if not self.border:
            return np.stack([inside, ~inside], axis=1)
        frame = np.ones(self._spatial, dtype=bool)
        frame[(slice(self.border, -self.border),) * len(self._spatial)] = False
        return np.stack([inside, ~inside & ~frame, ~inside & frame], axis=1)

    def _numbered(self, regions):
        regions = np.asarray(regions)
        n_axes = len(self._spatial) + 1
        if regions.ndim not in (n_axes, n_axes + 1):
            raise ValueError(
                f"regions must have shape (n_regions, {', '.join(map(str, self._spatial))}), the same for every row, "
                f"or {len(self.bunch)} rows of that, got {regions.shape}"
            )
        return {f"region {k}": regions[..., k, *[slice(None)] * (n_axes - 1)] for k in range(regions.shape[-n_axes])}

    def _checked(self, part, name):
        missing = [row for row, mask in enumerate(part) if mask is None]
        if missing:
            raise ValueError(f"regions: {name!r} is missing in row {missing[0]}; leave such rows out")
        shape = np.shape(part)
        shared = shape == self._spatial
        if not shared and shape != (len(self.bunch), *self._spatial):
            raise ValueError(
                f"regions: {name!r} has shape {shape}, but must be {self._spatial} or "
                f"{(len(self.bunch), *self._spatial)}"
            )
        masks, present = as_masks(np.asarray(part)[None] if shared else part, self._spatial, f"regions[{name!r}]")
        if not present.all():  # those that are NaN
            raise ValueError(f"regions: {name!r} is missing in row {np.flatnonzero(~present)[0]}; leave such rows out")
        return masks

    def _rows_of(self, part, rows):
        part = np.asarray(part[np.zeros(len(rows), dtype=int) if len(part) == 1 else rows])
        return part >= 0.5


class CoalitionImages(RowSource):
    """Every row once per coalition of regions: those outside the coalition are filled.

    The images of row ``i`` are the rows ``i * 2**K`` to ``(i + 1) * 2**K - 1``; in the one at ``+ c`` region ``k`` is
    visible if bit ``k`` of ``c`` is set. What belongs to no region is always visible.

    Parameters
    ----------
    bunch : ImageBunch
        Rows.
    regions : Regions
        Their regions.
    masking : Masking
        Fills what is not visible.
    """

    def __init__(self, bunch, regions, masking):
        self.bunch, self.regions, self.masking = bunch, regions, masking
        self.n_coalitions = 2 ** len(regions.names)

    @property
    def shape(self):
        return (len(self.bunch) * self.n_coalitions, *self.bunch.shape[1:])

    @property
    def dtype(self):
        return self.bunch.dtype

    def _read(self, rows):
        owners, coalitions = np.divmod(rows, self.n_coalitions)
        read, places = np.unique(owners, return_inverse=True)
        images, regions = np.asarray(self.bunch[read]), self.regions.read(read)
        visible = ~regions.any(axis=1)[places]
        for k in range(regions.shape[1]):
            member = (coalitions >> k & 1).astype(bool)
            visible[member] |= regions[places[member], k]
        return self.masking(images[places], visible, rows=owners)


def coalition_rows(bunch, regions, masking):
    """Give every row once per coalition, with its fields.

    Parameters
    ----------
    bunch : ImageBunch
        Rows.
    regions : Regions
        Their regions.
    masking : Masking
        Fills what is not visible.

    Returns
    -------
    ImageBunch
        Lazy rows in the order of :class:`CoalitionImages`.
    """
    images = CoalitionImages(bunch, regions, masking)
    owners = np.repeat(np.arange(len(bunch)), images.n_coalitions)
    return bunch[owners].with_images(images)


def as_bunch(X, *, signal):
    """Give rows as a bunch.

    Parameters
    ----------
    X : ImageBunch, Tensor or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Rows.
    signal : bool
        Whether an array holds signals.

    Returns
    -------
    ImageBunch
        The rows.
    """
    if isinstance(X, ImageBunch):
        return X
    return ImageBunch(without_tensor(X), signal=signal)


def make_filling(bunch, fill, blur_sigma, seed):
    """Make the function that replaces what is not visible.

    Parameters
    ----------
    bunch : ImageBunch
        Rows it is for.
    fill, blur_sigma : object
        As in :class:`~sklearn_shortcuts.preprocessing.ROIMasker`.
    seed : int
        Decides noise and shuffling.

    Returns
    -------
    Masking
        ``filling(images, visible, rows=rows) -> images``.
    """
    return Masking(
        n_axes=1 if bunch.signal else 2,
        keep="roi",
        shape="mask",
        margin=0,
        metric="euclidean",
        box_mode="union",
        fill=fill,
        blur_sigma=blur_sigma,
        on_missing="fill",
        seed=seed,
    )
