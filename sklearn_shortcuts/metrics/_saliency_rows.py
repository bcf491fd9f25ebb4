"""What all scores of saliency maps share: the result, and the rows that have both a map and a region."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from ..images._fields import as_masks
from ._inputs import UnmeasurableError

_BYTES_AT_ONCE = 2**25  # of maps as float64
_BLUR_REACH = 2.5  # standard deviations: 41 pixels across where the standard deviation is 8

MAP_CONSTRAINTS = {"maps": ["array-like"], "masks": ["array-like"], "has_mask": ["array-like", None]}


@dataclass(frozen=True, eq=False)
class SaliencyScore:
    """How well saliency maps agree with regions, and how well maps would that know nothing of them.

    ``float(score)`` is its ``value``.

    Attributes
    ----------
    value : float
        Mean of ``scores`` over the rows that were used; NaN if there is none.
    chance : float
        What maps that are independent of the regions reach on average in these rows.
    n_used : int
        Rows that count.
    n_zero : int
        Rows with a region whose map says nothing (all zero, or nothing above zero where only that counts).
    n_missing : int
        Rows without a mask.
    n_empty : int
        Rows with a mask that has nothing inside.
    scores : ndarray of shape (n,)
        Score of every row; NaN for rows that were not used.
    n_full : int
        Rows that are left out because their region is the whole image, in scores that would be 1 there whatever the
        map.
    """

    value: float
    chance: float
    n_used: int
    n_zero: int
    n_missing: int
    n_empty: int
    scores: np.ndarray
    n_full: int = 0

    def __float__(self):
        return self.value

    @property
    def ratio(self):
        """``value / chance``: 1 for maps that know nothing of the regions."""
        return self.value / self.chance if self.chance else np.nan


class MapRows:
    """Maps with the regions they are compared with, some rows at a time.

    Parameters
    ----------
    maps : array-like of shape (n, H, W) or (n, T)
        Saliency maps; a memory map is read piece by piece.
    masks : array-like of the same shape, or list with ``None`` entries
        Regions, 1 inside.
    has_mask : array-like of bool of shape (n,), default=None
        Rows whose mask counts; by default those that have one.
    dilate : float, default=0
        Grow the regions: they are blurred with this standard deviation, as a share of the shorter side, and are then
        also where more than 0.3 of the highest value is left.
    """

    def __init__(self, maps, masks, has_mask=None, *, dilate=0.0):
        self.maps, self.dilate = _check_maps(maps), dilate
        if len(masks) != len(self.maps):
            raise ValueError(f"masks has {len(masks)} rows, but there are {len(self.maps)} maps")
        spatial = self.maps.shape[1:]
        found = getattr(masks, "shape", None)
        if found is not None and len(found) > 1 and tuple(found[1:]) not in (spatial, (1, *spatial)):
            raise ValueError(
                f"maps have shape {self.maps.shape}, but masks {tuple(found)}; resize the maps to the masks, or each "
                "mask to its map by the nearest pixel"
            )
        self.masks, present = as_masks(masks, spatial, "masks")
        if has_mask is not None:
            has_mask = np.asarray(has_mask)
            if has_mask.shape != present.shape or has_mask.dtype != bool:
                raise ValueError(
                    f"has_mask must hold one boolean per row, got shape {has_mask.shape} of {has_mask.dtype} for "
                    f"{len(present)} rows"
                )
            present = present & has_mask
        self.has_mask = present
        if not present.any():
            raise UnmeasurableError("no row has a mask; give masks for at least some rows")

    def __iter__(self):
        """Yield row numbers, maps as float64 and regions as booleans of the rows that have a region."""
        candidates = np.flatnonzero(self.has_mask)
        step = max(1, _BYTES_AT_ONCE // (8 * max(1, int(np.prod(self.maps.shape[1:])))))
        for first in range(0, len(candidates), step):
            rows = candidates[first : first + step]
            inside = np.asarray(self.masks[rows]) >= 0.5
            some = inside.reshape(len(rows), -1).any(axis=1)
            if not some.any():
                continue
            rows, inside = rows[some], _dilated(inside[some], self.dilate)
            maps = self.maps[rows].astype(np.float64)
            finite = np.isfinite(maps).reshape(len(rows), -1).all(axis=1)
            if not finite.all():
                raise ValueError(
                    f"the map of row {rows[~finite][0]} contains NaN or inf; leave such rows out by has_mask"
                )
            yield rows, maps, inside

    def rate(self, function, *, skip_full=False):
        """Score all rows.

        Parameters
        ----------
        function : callable
            ``function(maps, inside) -> (scores, chances)`` for maps and regions of shape (n, n_pixels); NaN as the
            score of a map that says nothing.
        skip_full : bool, default=False
            Leave out rows whose region is the whole image, and say so.

        Returns
        -------
        SaliencyScore
            Scores.
        """
        scores, chances = np.full((2, len(self.maps)), np.nan)
        n_regions = n_full = 0
        for rows, maps, inside in self:
            n_regions += len(rows)
            if skip_full:
                partial = ~inside.reshape(len(rows), -1).all(axis=1)
                rows, maps, inside = rows[partial], maps[partial], inside[partial]
                n_full += int((~partial).sum())
                if not len(rows):
                    continue
            scores[rows], chances[rows] = function(maps, inside)
        if n_regions == 0:
            raise UnmeasurableError("the masks of all rows are empty; a region needs at least one pixel")
        if n_full:
            warnings.warn(
                f"the region of {n_full} rows is the whole image, where any map scores 1; they are left out, and "
                "nothing can be said of artifacts that are everywhere",
                UserWarning,
                stacklevel=4,
            )
        used = np.isfinite(scores)
        n_used = int(used.sum())
        return SaliencyScore(
            value=float(scores[used].mean()) if n_used else np.nan,
            chance=float(chances[used].mean()) if n_used else np.nan,
            n_used=n_used,
            n_zero=n_regions - n_full - n_used,
            n_missing=int((~self.has_mask).sum()),
            n_empty=int(self.has_mask.sum()) - n_regions,
            scores=scores,
            n_full=n_full,
        )


def flat_rows(function):
    """Let a function of pixels in no order, of shape (n, n_pixels), take maps and regions of any shape."""

    def on_maps(maps, inside):
        return function(maps.reshape(len(maps), -1), inside.reshape(len(inside), -1))

    return on_maps


def ratios(numerator, denominator):
    """Divide row by row; NaN where there is nothing to divide by."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)


def _dilated(inside, dilate):
    """Grow regions of shape (n, ...) to where more than 0.3 of the highest value is left after a blur."""
    if not dilate:
        return inside
    sigma = dilate * min(inside.shape[1:])
    radius = max(1, round(_BLUR_REACH * sigma))
    n_axes = inside.ndim - 1
    blurred = gaussian_filter(
        inside.astype(np.float64), (0, *[sigma] * n_axes), mode="mirror", radius=(0, *[radius] * n_axes)
    )
    return inside | (blurred > 0.3 * blurred.max(axis=tuple(range(1, inside.ndim)), keepdims=True))


def _check_maps(maps):
    maps = np.asarray(maps)
    if maps.dtype.kind not in "biuf":
        raise ValueError(f"maps must hold real numbers, got dtype {maps.dtype}")
    if maps.ndim not in (2, 3) or 0 in maps.shape[1:]:
        raise ValueError(
            f"maps must have shape (n, H, W) or (n, T), got {maps.shape}; add up the channels of each map first"
        )
    return maps
