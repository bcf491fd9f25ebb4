"""Which masks a penalty gets to see, and which rows have one."""

from dataclasses import dataclass

import numpy as np

from ..images import ImageBunch
from ..images._fields import InsideRows, as_masks
from ..metrics._region_rows import has_region
from ._regularization import MASK_FIELDS

CLASS_MASK_FIELDS = ("class_masks", "has_class_masks")
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Annotations:
    """Rows with the masks that a penalty is given.

    Attributes
    ----------
    bunch : ImageBunch
        Rows.
    mask_fields : tuple of str
        Fields of ``bunch`` with the masks and whether there is one; empty if there are no masks.
    annotated : ndarray of bool of shape (n,)
        Rows whose mask marks something.
    """

    bunch: ImageBunch
    mask_fields: tuple
    annotated: np.ndarray

    @property
    def known(self):
        """Rows with a mask, also if it marks nothing; ndarray of bool of shape (n,)."""
        return np.asarray(self.bunch.get(CLASS_MASK_FIELDS[1])) if self.per_class else self.bunch.has_mask

    @property
    def per_class(self):
        """Whether there is one mask per class or label."""
        return self.mask_fields == CLASS_MASK_FIELDS


def gather_annotations(bunch, *, masks, class_masks, mask_field, needed_by):
    """Find the masks: those given, or those of the bunch.

    Parameters
    ----------
    bunch : ImageBunch
        Rows.
    masks : array-like of shape (n, H, W) or (n, T), list with ``None`` entries, or None
        Masks given to ``fit``.
    class_masks : array-like of shape (n, K, H, W) or (n, K, T), list with ``None`` entries, or None
        The same, one per class or label.
    mask_field : str
        Field of the bunch that is used if none are given.
    needed_by : str or None
        Name of the penalty if it needs masks.

    Returns
    -------
    Annotations
        What there is.

    Raises
    ------
    ValueError
        If masks are missing, say nothing, or do not fit the images.
    """
    if masks is not None and class_masks is not None:
        raise ValueError("masks and class_masks are both given; give one of them")
    if masks is None and class_masks is None:
        if mask_field == "masks" and "masks" in bunch.fields:
            return _checked(Annotations(bunch, MASK_FIELDS, has_region(bunch, "avoid")), needed_by)
        if mask_field in bunch.fields and mask_field != "class_masks":
            masks = bunch.get(mask_field)
        elif "class_masks" in bunch.fields:
            class_masks = bunch.get("class_masks")
    if masks is not None:
        bunch = bunch.with_fields(masks=masks)
        annotated, fields = has_region(bunch, "avoid"), MASK_FIELDS
    elif class_masks is not None:
        class_masks, has_mask = _checked_class_masks(class_masks, bunch)
        bunch = bunch.with_fields(class_masks=class_masks, has_class_masks=has_mask)
        annotated, fields = _marked(class_masks, has_mask), CLASS_MASK_FIELDS
    elif needed_by is None:
        annotated, fields = np.zeros(len(bunch), dtype=bool), ()
    else:
        raise ValueError(
            f"{needed_by} needs masks, but there are none: give fit(X, y, masks=...), or an ImageBunch with the field "
            f"{mask_field!r} (it has {list(bunch.fields)}; mask_field names another one)"
        )
    return _checked(Annotations(bunch, fields, annotated), needed_by)


def check_number_of_masks(annotations, n_classes):
    """Raise ValueError if rows have one mask per class, but not as many masks as there are classes or labels."""
    if not annotations.per_class:
        return
    n_masks = annotations.bunch.get(CLASS_MASK_FIELDS[0]).shape[1]
    if n_masks != n_classes:
        raise ValueError(
            f"class_masks has {n_masks} masks per row, but there are {n_classes} classes or labels; give one for each, "
            f"an empty one where nothing is known"
        )


def _checked(annotations, needed_by):
    if needed_by is not None and not annotations.annotated.any():
        raise ValueError(
            f"{needed_by} needs masks, but each of the {len(annotations.bunch)} rows has none or one that marks nothing"
        )
    return annotations


def _checked_class_masks(class_masks, bunch):
    """Masks of shape (n, K, *spatial) as a source, and which rows have them."""
    spatial = bunch.image_shape[1:]
    first = class_masks[next((row for row, one in enumerate(class_masks) if one is not None), 0)]
    shape = np.shape(first)
    if len(class_masks) != len(bunch) or shape[1:] != spatial:
        wanted = (len(bunch), "n_classes", *spatial)
        raise ValueError(
            f"class_masks must have shape ({', '.join(map(str, wanted))}), got {len(class_masks)} rows of shape {shape}"
        )
    if not isinstance(class_masks, (np.ndarray, list, tuple)):  # read batch by batch
        has_mask = getattr(class_masks, "has_mask", None)
        has_mask = np.ones(len(bunch), dtype=bool) if has_mask is None else np.asarray(has_mask, dtype=bool)
        return InsideRows(class_masks) if np.dtype(class_masks.dtype).kind in "iu" else class_masks, has_mask
    # Laid on top of each other the masks of a row are one mask, which the rules for masks apply to.
    tall = (shape[0] * shape[1], *shape[2:])
    rows = [one if one is None else np.reshape(_without_missing(np.asarray(one)), tall) for one in class_masks]
    masks, has_mask = as_masks(rows, tall, "class_masks")
    return np.asarray(masks).reshape(len(bunch), *shape), has_mask


def _without_missing(masks):
    """Masks of one row with 0 in place of NaN for classes that have none, if any class has one."""
    if masks.dtype.kind != "f":
        return masks
    missing = np.isnan(masks).reshape(len(masks), -1).all(axis=1)
    return masks if missing.all() else np.where(missing.reshape(-1, *[1] * (masks.ndim - 1)), 0, masks)


def _marked(class_masks, has_mask):
    marked = has_mask.copy()
    for first in range(0, len(marked), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        masks = np.asarray(class_masks[rows]) >= 0.5
        marked[rows] &= masks.reshape(len(masks), -1).any(axis=1)
    return marked
