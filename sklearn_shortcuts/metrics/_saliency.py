"""Do saliency maps point at the right region, or at the wrong one?"""

from numbers import Real

import numpy as np
from scipy.ndimage import distance_transform_edt
from sklearn.utils._param_validation import Interval, validate_params

from ._saliency_rows import MAP_CONSTRAINTS, MapRows, flat_rows


@validate_params(
    {**MAP_CONSTRAINTS, "tau": [Interval(Real, 0, 100, closed="neither")]}, prefer_skip_nested_validation=True
)
def activation_precision(maps, masks, *, has_mask=None, tau=5.0):
    """Measure the share of the most activated pixels that lie inside the region.

    Parameters
    ----------
    maps : array-like of shape (n, H, W) or (n, T)
        Saliency maps, resized to the masks.
    masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries
        Regions, 1 inside.
    has_mask : array-like of bool of shape (n,), default=None
        Rows to use; by default all that have a mask.
    tau : float, default=5.0
        Percentage of pixels, in (0, 100), that count as most activated: those at or above the map's
        ``100 - tau``-th percentile.

    Returns
    -------
    SaliencyScore
        Mean precision in [0, 1], with the mean area of the regions as its chance level. Maps that are all zero are left
        out and counted: they would count as activated everywhere and score the area of the region.

    Raises
    ------
    ValueError
        If no row has a region, maps and masks differ in size, or a map is not finite.

    Notes
    -----
    All pixels tied with the threshold count, as published, which may be more than ``tau`` percent. One tie is broken:
    where a map has values above zero, but in fewer than ``tau`` percent of its pixels, the threshold would fall among
    the zeros and the whole image would count; then the pixels above zero count instead.

    A precision far above chance does not show that the model is free of a shortcut: compare
    :func:`region_swap_accuracy`.

    References
    ----------
    .. [1] Barnett et al. (2021). A case-based interpretable deep learning model for classification of mass lesions in
       digital mammography. Nature Machine Intelligence 3, 1061-1070.
    .. [2] Hagos, Curran and Mac Namee (2023). Learning from exemplary explanations. arXiv:2307.06026, equation 9.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.metrics import activation_precision
    >>> maps = np.zeros((2, 10, 10))
    >>> maps[0, :2, :3] = 1.0
    >>> masks = np.zeros((2, 10, 10), dtype=bool)
    >>> masks[:, :2, :2] = True
    >>> score = activation_precision(maps, masks)
    >>> score.value, score.chance, score.n_zero
    (0.67, 0.04, 1)
    """

    def precision(maps, inside):
        threshold = np.percentile(maps, 100 - tau, axis=1, keepdims=True)
        has_positive = (maps > 0).any(axis=1, keepdims=True)
        activated = np.where(has_positive & (threshold <= 0), maps > 0, maps >= threshold)
        shares = (activated & inside).sum(axis=1) / activated.sum(axis=1)
        return np.where(maps.any(axis=1), shares, np.nan), inside.mean(axis=1)

    return MapRows(maps, masks, has_mask).rate(flat_rows(precision))


@validate_params(
    {**MAP_CONSTRAINTS, "threshold": [Interval(Real, 0, 1, closed="left"), None]}, prefer_skip_nested_validation=True
)
def wrong_reason_score(maps, masks, *, has_mask=None, threshold=None):
    """Measure how much of a region that must not matter is activated.

    Parameters
    ----------
    maps : array-like of shape (n, H, W) or (n, T)
        Saliency maps, resized to the masks. Values below zero count as zero; each map is scaled to [0, 1] by its
        smallest and largest value.
    masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries
        Wrong regions, 1 inside.
    has_mask : array-like of bool of shape (n,), default=None
        Rows to use; by default all that have a mask.
    threshold : float, default=None
        Scaled value in [0, 1) above which a pixel is activated. By default the mean over all pixels of the rows that
        are used; give one number to compare models at the same threshold.

    Returns
    -------
    SaliencyScore
        Mean share of the region that is activated, in [0, 1]: 0 is right. The chance level is the mean share of the
        whole image that is activated. Maps that are constant where they are above zero, as all-zero ones, are left out
        and counted as zero maps.

    Raises
    ------
    ValueError
        If no row has a region, maps and masks differ in size, or a map is not finite.

    References
    ----------
    .. [1] Friedrich et al. (2023). A typology for exploring the mitigation of shortcut behaviour. Nature Machine
       Intelligence 5, 319-330.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.metrics import wrong_reason_score
    >>> maps = np.array([[[4.0, 0.0], [0.0, 0.0]]])
    >>> score = wrong_reason_score(maps, np.array([[[1, 1], [0, 0]]]))
    >>> score.value, score.chance
    (0.5, 0.25)
    """
    rows = MapRows(maps, masks, has_mask)
    if threshold is None:
        means = [scaled.mean(axis=1) for _, maps, _ in rows if len(scaled := _varying(_scaled(maps)))]
        threshold = np.concatenate(means).mean() if means else 0.0

    def activated(maps, inside):
        scaled = _scaled(maps)
        above = scaled > threshold
        shares = (above & inside).sum(axis=1) / inside.sum(axis=1)
        return np.where(np.isnan(scaled[:, 0]), np.nan, shares), above.mean(axis=1)

    return rows.rate(flat_rows(activated))


@validate_params(
    {**MAP_CONSTRAINTS, "tolerance": [Interval(Real, 0, None, closed="left")]}, prefer_skip_nested_validation=True
)
def pointing_game(maps, masks, *, has_mask=None, tolerance=0):
    """Measure how often the largest value of a map lies in the region.

    Parameters
    ----------
    maps : array-like of shape (n, H, W) or (n, T)
        Saliency maps, resized to the masks.
    masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries
        Regions, 1 inside.
    has_mask : array-like of bool of shape (n,), default=None
        Rows to use; by default all that have a mask.
    tolerance : float, default=0
        Pixels by which the largest value may miss the region, as the Euclidean distance to its nearest pixel. 15 is
        customary for photographs of about 500 pixels.

    Returns
    -------
    SaliencyScore
        Share of maps that hit, in [0, 1], with the mean area of the regions, grown by the tolerance, as its chance
        level. Maps that are all zero are left out and counted. Where several pixels share the largest value, the row's
        score is the share of them that hit.

    Raises
    ------
    ValueError
        If no row has a region, maps and masks differ in size, or a map is not finite.

    References
    ----------
    .. [1] Zhang et al. (2018). Top-down neural attention by excitation backprop. International Journal of Computer
       Vision 126, 1084-1102.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.metrics import pointing_game
    >>> maps = np.array([[0.0, 3.0, 1.0, 0.0], [0.0, 0.0, 2.0, 5.0]])
    >>> masks = np.array([[1, 0, 0, 0], [1, 0, 0, 0]])
    >>> pointing_game(maps, masks).value, pointing_game(maps, masks, tolerance=1).value
    (0.0, 0.5)
    """

    def hits(maps, inside):
        if tolerance > 0:
            inside = np.stack([distance_transform_edt(~region) <= tolerance for region in inside])
        maps, inside = maps.reshape(len(maps), -1), inside.reshape(len(inside), -1)
        largest = maps == maps.max(axis=1, keepdims=True)
        shares = (largest & inside).sum(axis=1) / largest.sum(axis=1)
        return np.where(maps.any(axis=1), shares, np.nan), inside.mean(axis=1)

    return MapRows(maps, masks, has_mask).rate(hits)


@validate_params(
    {**MAP_CONSTRAINTS, "threshold": [Interval(Real, 0, 1, closed="neither")]}, prefer_skip_nested_validation=True
)
def saliency_iou(maps, masks, *, has_mask=None, threshold=0.5):
    """Measure the overlap of the region with the part of the map above a share of its largest value.

    Parameters
    ----------
    maps : array-like of shape (n, H, W) or (n, T)
        Saliency maps, resized to the masks.
    masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries
        Regions, 1 inside.
    has_mask : array-like of bool of shape (n,), default=None
        Rows to use; by default all that have a mask.
    threshold : float, default=0.5
        Share of a map's largest value, in (0, 1), from which on a pixel counts.

    Returns
    -------
    SaliencyScore
        Mean intersection over union, in [0, 1]. The chance level is that of a part of the same size, with the overlap
        it has on average when it is placed without regard to the region. Maps without a value above zero are left out
        and counted.

    Raises
    ------
    ValueError
        If no row has a region, maps and masks differ in size, or a map is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.metrics import saliency_iou
    >>> maps = np.array([[[4.0, 2.0], [1.0, 0.0]]])
    >>> saliency_iou(maps, np.array([[[1, 0], [1, 0]]])).value
    0.333
    """

    def overlap(maps, inside):
        largest = maps.max(axis=1, keepdims=True)
        part = maps >= threshold * largest
        union = (part | inside).sum(axis=1)
        area, size = inside.mean(axis=1), part.mean(axis=1)
        by_chance = area * size / (area + size - area * size)
        return np.where(largest[:, 0] > 0, (part & inside).sum(axis=1) / union, np.nan), by_chance

    return MapRows(maps, masks, has_mask).rate(flat_rows(overlap))


def _scaled(maps):
    """Values above zero, scaled to [0, 1] per map, of shape (n, n_pixels); NaN for maps that are constant there."""
    maps = np.maximum(maps.reshape(len(maps), -1), 0)
    low, high = maps.min(axis=1, keepdims=True), maps.max(axis=1, keepdims=True)
    scaled = np.full(maps.shape, np.nan)
    return np.divide(maps - low, high - low, out=scaled, where=high > low)


def _varying(scaled):
    return scaled[~np.isnan(scaled[:, 0])]
