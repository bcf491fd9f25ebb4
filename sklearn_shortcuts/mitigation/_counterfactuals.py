"""What models do on training rows whose wrong region shows something else."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..images._fill import to_dtype
from ..metrics import swap_regions
from ..metrics._region_rows import as_region

_MOST_ROWS = 500


def counterfactual_table(models, annotations, y, mask_role, used):
    """Compare models on rows as they are and with their wrong regions changed.

    Parameters
    ----------
    models : dict of str to estimator
        Fitted classifiers by name.
    annotations : Annotations
        Rows and masks.
    y : array-like of shape (n,) or (n, n_labels)
        Labels.
    mask_role : {"avoid", "attend"}
        What the masks show.
    used : ndarray of int
        Rows that were trained on.

    Returns
    -------
    DataFrame or None
        One row per model: ``accuracy``, ``region_swap_accuracy``, ``flip_rate``, ``noise_fill_accuracy``, ``n_rows``.
        None if no row has a wrong region.
    """
    rng = np.random.RandomState(0)
    rows = _choose_rows(annotations, mask_role, used, rng)
    labels = np.asarray(y)[rows]
    masks = _own_masks(annotations, rows, labels, next(iter(models.values())))
    if not as_region(masks, mask_role).any():  # the right region is everything
        return None
    bunch = annotations.bunch[rows].with_fields(masks=masks, groups=None, target=None)
    several = len(np.unique(labels, axis=0)) > 1
    options = {"labels": labels, "how": "other_class" if several else "any", "mask_role": mask_role}
    swapped = swap_regions(bunch, random_state=rng, **options) if len(rows) > 1 else None
    filled = bunch.map_images(NoiseFill(1 if bunch.signal else 2, mask_role, 0), ("masks",), with_rows=True)
    table = {}
    for name, model in models.items():
        before = model.predict(bunch)
        after = np.full(before.shape, np.nan) if swapped is None else model.predict(swapped)
        table[name] = {
            "accuracy": np.mean(before == labels),
            "region_swap_accuracy": np.nan if swapped is None else np.mean(after == labels),
            "flip_rate": np.nan if swapped is None else np.mean(after != before),
            "noise_fill_accuracy": np.mean(model.predict(filled) == labels),
            "n_rows": len(rows),
        }
    return pd.DataFrame(table.values(), index=pd.Index(table, name="model"))


def _choose_rows(annotations, mask_role, used, rng):
    """Rows to exchange regions between, not too many; those known to be free of a wrong region are among them."""
    rows = used[annotations.annotated[used]]
    others = np.array([], dtype=rows.dtype)
    if mask_role == "avoid" and not annotations.per_class:  # an empty mask of a class says nothing of it
        others = used[annotations.known[used] & ~annotations.annotated[used]]
    n_others = min(len(others), max(_MOST_ROWS // 2, _MOST_ROWS - len(rows)))
    parts = ((rows, _MOST_ROWS - n_others), (others, n_others))
    return np.sort(np.concatenate([part if len(part) <= n else rng.permutation(part)[:n] for part, n in parts]))


def _own_masks(annotations, rows, labels, classifier):
    """Masks of shape (n, *spatial): of one per class that of the row's class, of one per label all together."""
    masks = np.asarray(annotations.bunch.get(annotations.mask_fields[0])[rows])
    if not annotations.per_class:
        return masks
    if labels.ndim > 1:
        return masks.max(axis=1)
    return masks[np.arange(len(rows)), np.searchsorted(classifier.classes_, labels)]


@dataclass(frozen=True)
class NoiseFill:
    """Function that fills regions with uniform noise over the range of the row's channel; picklable.

    The noise of the region scores has mean and deviation of what it replaces, which for a patch of one gray level is
    the patch itself.

    Parameters
    ----------
    n_axes : int
        Number of axes of a mask.
    mask_role : {"avoid", "attend"}
        What the masks show.
    seed : int
        Decides the noise, with the number of the row.
    """

    n_axes: int
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
            Row numbers.

        Returns
        -------
        ndarray like ``images``
            Filled rows.
        """
        spatial = images.shape[-self.n_axes :]
        planes = images.reshape(len(images), -1, *spatial)
        axes = tuple(range(2, planes.ndim))
        low, high = planes.min(axis=axes, keepdims=True), planes.max(axis=axes, keepdims=True)
        noise = np.stack([np.random.default_rng((self.seed, int(row))).random(planes.shape[1:]) for row in rows])
        noise = low + (high.astype(np.float64) - low) * noise
        region = as_region(masks, self.mask_role)[:, None]
        return np.where(region, to_dtype(noise, images.dtype), planes).reshape(images.shape)
