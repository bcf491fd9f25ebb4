"""Masks of a batch: one per row or one per class, and which of them there are."""


def masks_by_class(batch):
    """Give the masks of a batch without NaN, and which of them there are.

    Parameters
    ----------
    batch : dict
        ``"X"``, ``"masks"`` of shape (n, *spatial) or (n, K, *spatial), and ``"has_mask"`` of shape (n,).

    Returns
    -------
    masks : Tensor of shape (n, *spatial) or (n, K, *spatial)
        Masks; those of NaN are 0.
    annotated : Tensor of bool of shape (n, 1) or (n, K)
        Masks that there are.

    Raises
    ------
    ValueError
        If masks and images differ in size.
    """
    masks, spatial = batch["masks"], tuple(batch["X"].shape[2:])
    if tuple(masks.shape[-len(spatial) :]) != spatial:
        raise ValueError(f"masks have size {tuple(masks.shape[1:])}, but the images {spatial}; give them one size")
    n_masks = masks.shape[1] if masks.ndim > len(spatial) + 1 else 1
    annotated = batch["has_mask"].bool()[:, None].expand(-1, n_masks)
    if masks.is_floating_point():
        annotated = annotated & ~masks.isnan().flatten(-len(spatial)).any(-1).reshape(len(masks), n_masks)
        masks = masks.nan_to_num()
    return masks, annotated


def check_class_count(masks, n_classes):
    """Raise ValueError if there are not as many masks per row as classes or labels."""
    if masks.shape[1] != n_classes:
        raise ValueError(f"masks per class: there are {masks.shape[1]} per row, but {n_classes} classes")
