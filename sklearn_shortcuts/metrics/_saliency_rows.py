"""What all scores of saliency maps share: the result, and the rows that have both a map and a region."""

from dataclasses import dataclass

import numpy as np

from ..images._fields import as_masks
from ._inputs import UnmeasurableError

_BYTES_AT_ONCE = 2**25  # of maps as float64

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
    """

    value: float
    chance: float
    n_used: int
    n_zero: int
    n_missing: int
    n_empty: int
    scores: np.ndarray

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
    """

    def __init__(self, maps, masks, has_mask=None):
        self.maps = _check_maps(maps)
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
            rows, inside = rows[some], inside[some]
            maps = self.maps[rows].astype(np.float64)
            finite = np.isfinite(maps).reshape(len(rows), -1).all(axis=1)
            if not finite.all():
                raise ValueError(
                    f"the map of row {rows[~finite][0]} contains NaN or inf; leave such rows out by has_mask"
                )
            yield rows, maps, inside

    def rate(self, function):
        """Score all rows.

        Parameters
        ----------
        function : callable
            ``function(maps, inside) -> (scores, chances)`` for maps and regions of shape (n, n_pixels); NaN as the
            score of a map that says nothing.

        Returns
        -------
        SaliencyScore
            Scores.
        """
        scores, chances = np.full((2, len(self.maps)), np.nan)
        n_regions = 0
        for rows, maps, inside in self:
            scores[rows], chances[rows] = function(maps, inside)
            n_regions += len(rows)
        if n_regions == 0:
            raise UnmeasurableError("the masks of all rows are empty; a region needs at least one pixel")
        used = np.isfinite(scores)
        n_used = int(used.sum())
        return SaliencyScore(
            value=float(scores[used].mean()) if n_used else np.nan,
            chance=float(chances[used].mean()) if n_used else np.nan,
            n_used=n_used,
            n_zero=n_regions - n_used,
            n_missing=int((~self.has_mask).sum()),
            n_empty=int(self.has_mask.sum()) - n_regions,
            scores=scores,
        )


def flat_rows(function):
    """Let a function of pixels in no order, of shape (n, n_pixels), take maps and regions of any shape."""

    def on_maps(maps, inside):
        return function(maps.reshape(len(maps), -1), inside.reshape(len(inside), -1))

    return on_maps


def ratios(numerator, denominator):
    """Divide row by row; NaN where there is nothing to divide by."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)


def _check_maps(maps):
    maps = np.asarray(maps)
    if maps.dtype.kind not in "biuf":
        raise ValueError(f"maps must hold real numbers, got dtype {maps.dtype}")
    if maps.ndim not in (2, 3) or 0 in maps.shape[1:]:
        raise ValueError(
            f"maps must have shape (n, H, W) or (n, T), got {maps.shape}; add up the channels of each map first"
        )
    return maps
