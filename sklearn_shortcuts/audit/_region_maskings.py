"""The maskings of a region audit: their names, how they are made, and what they look like."""

import numpy as np
from sklearn.base import clone

from ..images._sources import MappedRows
from ._region_rows import gather_rows

MASKINGS = {
    "all": {"keep": "all", "shape": "mask"},
    "roi": {"keep": "roi", "shape": "mask"},
    "background": {"keep": "background", "shape": "mask"},
    "roi_box": {"keep": "roi", "shape": "box"},
    "background_box": {"keep": "background", "shape": "box"},
}
IMAGE_CONTROLS = {
    "mask_only": {"keep": "mask", "shape": "mask"},
    "other_mask": {"keep": "other_roi", "shape": "mask"},
}
CONTROLS = (*IMAGE_CONTROLS, "metadata", "kept_fraction")

_TITLES = {
    "all": "full image",
    "roi": "{} only",
    "background": "without {}",
    "roi_box": "box of {} only",
    "background_box": "without box of {}",
    "mask_only": "outline of the mask",
    "other_mask": "mask of another row",
    "metadata": "metadata",
    "kept_fraction": "size of the mask",
}


def masking_title(name, region_name):
    """Say in words what a masking shows."""
    return _TITLES[name].format(region_name)


def make_masker(template, name, margin=None):
    """Make the masker of a masking or image control.

    Parameters
    ----------
    template : ROIMasker
        What does not depend on the masking; not changed.
    name : str
        Masking or image control.
    margin : float, default=None
        Margin in place of the template's.

    Returns
    -------
    ROIMasker
        Unfitted.
    """
    masker = clone(template).set_params(**{**MASKINGS, **IMAGE_CONTROLS}[name])
    return masker if margin is None else masker.set_params(margin=margin)


def with_masks(bunch, template):
    """Give rows that have no masks those of the template's segmenter, computed when they are read.

    Parameters
    ----------
    bunch : ImageBunch
        Rows.
    template : ROIMasker
        What holds the segmenter.

    Returns
    -------
    ImageBunch
        The same rows with the field ``masks``.
    """
    if "masks" in bunch.fields:
        return bunch
    if template.segmenter is None:
        raise ValueError(
            "there are no masks: give fit(masks=...), an ImageBunch with the field 'masks', or "
            "masker=ROIMasker(segmenter=...)"
        )
    drawing = make_masker(template, "mask_only", 0).set_params(on_missing="fill")
    drawn = drawing.fit_transform(bunch)
    spatial = drawn.image_shape[1:]
    read = _first_plane if drawn.ndim > 1 + len(spatial) else _drawn
    return bunch.with_fields(masks=MappedRows(drawn, read, shape=spatial, dtype=bool))


def region_sizes(rows, template):
    """Measure the share of every image inside the region, and refuse rows whose region would be seen by mistake.

    Parameters
    ----------
    rows : ImageBunch
        Rows with masks.
    template : ROIMasker
        How the region is made from the mask, and what to do about rows without one.

    Returns
    -------
    ndarray of shape (n,)
        Shares in [0, 1].
    """
    masker = make_masker(template, "roi").set_params(segmenter=None)
    if masker.on_missing == "keep":
        masker.set_params(on_missing="fill")
    sizes = masker.fit(rows).kept_fraction(rows)
    if template.on_missing == "keep" and (sizes == 0).any():
        raise ValueError(
            f"row {int(np.flatnonzero(sizes == 0)[0])} has no region ({int((sizes == 0).sum())} such rows), and the "
            "masker's on_missing='keep' would show it to models that must not see the region; leave such rows out, or "
            "blank them by on_missing='fill'"
        )
    return sizes


def example_images(audit, X, rows=None):
    """Mask a few rows in every way the audit tested.

    Parameters
    ----------
    audit : RegionSensitivity
        Fitted.
    X : ImageBunch or array-like
        Rows with masks, or for the audit's segmenter.
    rows : sequence of int, default=None
        Which rows; by default the first two that have a mask.

    Returns
    -------
    dict of str to ndarray of shape (n_examples, H, W), (n_examples, H, W, 3) or, for signals, (n_examples, T)
        By masking.
    """
    bunch, _ = gather_rows(X)
    if rows is None:
        rows = np.flatnonzero(bunch.has_mask)[:2] if "masks" in bunch.fields else np.arange(min(2, len(bunch)))
    shown = bunch[np.asarray(rows)]
    tested = set(audit.cells_["test"])
    examples = {}
    for name in MASKINGS:
        if name in tested:
            images = np.asarray(make_masker(audit.masker_, name).fit_transform(shown))
            images = images.reshape(len(images), *bunch.image_shape)
            is_color = images.ndim == 4 and images.shape[1] == 3
            examples[name] = np.moveaxis(images, 1, -1) if is_color else images[:, 0]
    return examples


def _drawn(images):
    """Masks from images on which the region is drawn."""
    return images > 0


def _first_plane(images):
    """Masks from images with channels, all of which show the region."""
    return images[:, 0] > 0
