"""The maskings of a region audit: their names, how they are made, and what they look like."""

import numpy as np
from sklearn.base import clone

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
