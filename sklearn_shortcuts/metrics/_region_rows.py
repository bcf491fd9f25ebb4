"""The rows of a counterfactual: images of which one region is exchanged or removed."""

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d

from ..images import ImageBunch
from ..images._array_rows import bunch_of_arrays
from ._inputs import UnmeasurableError

_ROWS_AT_ONCE = 256


def as_bunch(X, masks=None, groups=None):
    """Give rows with masks as a bunch.

    Parameters
    ----------
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
        Images, signals or tables.
    masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
        In place of the bunch's.
    groups : array-like of shape (n,), default=None
        In place of the bunch's.

    Returns
    -------
    bunch : ImageBunch
        Rows with masks.
    row_shape : tuple of int or None
        Shape of one row of an array; None for a bunch.

    Raises
    ------
    ValueError
        If there are no masks.
    """
    row_shape = None
    if isinstance(X, ImageBunch):
        bunch = X if masks is None else X.with_fields(masks=masks)
    else:
        images = np.asarray(X)
        if not 2 <= images.ndim <= 4:
            raise ValueError(f"X must have 2 to 4 axes, rows first, got shape {images.shape}")
        row_shape = images.shape[1:]
        bunch = bunch_of_arrays(images, masks)[0]
    if "masks" not in bunch.fields:
        raise ValueError("there are no masks: give masks=, or an ImageBunch with the field 'masks'")
    return (bunch if groups is None else bunch.with_fields(groups=groups)), row_shape


def as_region(masks, mask_role):
    """Give the pixels that are exchanged or removed: the mask, or all but the mask where it shows what matters."""
    inside = np.asarray(masks) >= 0.5
    return ~inside if mask_role == "attend" else inside


def has_region(bunch, mask_role):
    """Tell which rows have a mask and a region that is not empty; masks on disk are read once."""
    found = bunch.has_mask.copy()
    masks = bunch.get("masks")
    candidates = np.flatnonzero(found)
    for first in range(0, len(candidates), _ROWS_AT_ONCE):
        rows = candidates[first : first + _ROWS_AT_ONCE]
        found[rows] = as_region(masks[rows], mask_role).reshape(len(rows), -1).any(axis=1)
    return found


class RegionRows:
    """The rows whose region is changed, in the form in which an estimator takes them.

    Parameters
    ----------
    X : ImageBunch or array-like
        All rows.
    masks, groups : array-like or None
        In place of the bunch's fields.
    mask_role : {"avoid", "attend"}
        What the masks show.
    keep_empty : bool, default=False
        Whether rows whose region is empty belong to them.

    Attributes
    ----------
    bunch : ImageBunch
        These rows.
    found : ndarray of bool of shape (n,)
        Which of all rows they are.
    n_missing, n_empty : int
        Rows left out because they have no mask, or an empty region.
    groups : ndarray of shape (n_used,) or None
        Patients.
    """

    def __init__(self, X, masks, groups, mask_role, *, keep_empty=False):
        bunch, self._row_shape = as_bunch(X, masks, groups)
        self.found = has_region(bunch, mask_role)
        self.n_missing = int((~bunch.has_mask).sum())
        self.n_empty = int(bunch.has_mask.sum() - self.found.sum())
        if not self.found.any():
            raise UnmeasurableError(
                f"no row has a region: {self.n_missing} rows have no mask, and the region of {self.n_empty} is empty"
            )
        if keep_empty:
            self.found, self.n_empty = bunch.has_mask.copy(), 0
        self._target = bunch.get("target") if "target" in bunch.fields else None
        self.bunch = bunch[self.found]
        self.groups = np.asarray(self.bunch.get("groups")) if "groups" in self.bunch.fields else None

    @property
    def n_groups(self):
        """Number of patients, or of rows where none are known."""
        return len(self.bunch) if self.groups is None else len(pd.unique(self.groups))

    def as_given(self, bunch):
        """Give rows as a bunch if ``X`` was one, otherwise as an array of its form."""
        return bunch if self._row_shape is None else np.asarray(bunch).reshape(len(bunch), *self._row_shape)

    def labels(self, y, *, needed=True):
        """Give the labels of these rows, or the bunch's where none are given; tables stay tables."""
        y = self._target if y is None else y
        if y is None:
            if needed:
                raise ValueError("there are no labels: give y, or an ImageBunch with the field 'target'")
            return None
        y = y if hasattr(y, "iloc") else np.asarray(y)
        if len(y) != len(self.found):
            raise ValueError(f"y has {len(y)} rows, but X has {len(self.found)}")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y)
        missing = pd.isna(y)
        missing = np.asarray(missing).reshape(len(y), -1).any(axis=1) & self.found
        if missing.any():
            raise ValueError(f"row {np.flatnonzero(missing)[0]} has no label ({missing.sum()} such rows)")
        return y[self.found]
