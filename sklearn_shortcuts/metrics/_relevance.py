"""How much of the relevance lies in a region."""

from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ._saliency_rows import MAP_CONSTRAINTS, MapRows, flat_rows, ratios

_VALUES = {"values": [StrOptions({"positive", "absolute"})]}


@validate_params({**MAP_CONSTRAINTS, **_VALUES}, prefer_skip_nested_validation=True)
def relevance_mass_accuracy(maps, masks, *, has_mask=None, values="positive"):
    """Measure the share of the relevance that lies inside the region.

    Parameters
    ----------
    maps : array-like of shape (n, H, W) or (n, T)
        Saliency maps of the size of the masks.
    masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries
        Regions, 1 inside.
    has_mask : array-like of bool of shape (n,), default=None
        Rows to use; by default all that have a mask.
    values : {"positive", "absolute"}, default="positive"
        What counts as relevance: values above zero, as published, or absolute values.

    Returns
    -------
    SaliencyScore
        Mean share in [0, 1], with the mean area of the regions as its chance level. Maps without relevance are left
        out and counted, and so are, with a warning, regions that are the whole image.

    Raises
    ------
    ValueError
        If no row has a region, maps and masks differ in size, or a map is not finite.

    References
    ----------
    .. [1] Arras, Osman and Samek (2022). CLEVR-XAI: a benchmark dataset for the ground truth evaluation of neural
       network explanations. Information Fusion 81, 14-40 ("relevance mass accuracy").

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.metrics import relevance_mass_accuracy
    >>> maps = np.array([[[3.0, 1.0], [0.0, -5.0]]])
    >>> score = relevance_mass_accuracy(maps, np.array([[[1, 0], [0, 0]]]))
    >>> score.value, score.chance
    (0.75, 0.25)
    """
    return _mass(maps, masks, has_mask, values)


@validate_params({**MAP_CONSTRAINTS, **_VALUES}, prefer_skip_nested_validation=True)
def relevance_rank_accuracy(maps, masks, *, has_mask=None, values="positive"):
    """Measure the share of the most relevant pixels that lie inside the region, taking as many as it has.

    Parameters
    ----------
    maps : array-like of shape (n, H, W) or (n, T)
        Saliency maps of the size of the masks.
    masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries
        Regions, 1 inside.
    has_mask : array-like of bool of shape (n,), default=None
        Rows to use; by default all that have a mask.
    values : {"positive", "absolute"}, default="positive"
        What pixels are ranked by: values above zero (all others are tied below them) or absolute values.

    Returns
    -------
    SaliencyScore
        Mean share in [0, 1], with the mean area of the regions as its chance level. Maps without relevance are left
        out and counted, and so are, with a warning, regions that are the whole image.

    Raises
    ------
    ValueError
        If no row has a region, maps and masks differ in size, or a map is not finite.

    Notes
    -----
    Of pixels tied at the last place as many count as there is room for, each with equal weight: the score is the
    expected one over random orders of tied pixels. In a map with fewer relevant pixels than the region has, the zeros
    are such ties.

    References
    ----------
    .. [1] Arras, Osman and Samek (2022). CLEVR-XAI: a benchmark dataset for the ground truth evaluation of neural
       network explanations. Information Fusion 81, 14-40 ("relevance rank accuracy").

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.metrics import relevance_rank_accuracy
    >>> maps = np.array([[[3.0, 1.0], [2.0, 0.0]]])
    >>> relevance_rank_accuracy(maps, np.array([[[1, 1], [0, 0]]])).value
    0.5
    """
    return MapRows(maps, masks, has_mask).rate(
        flat_rows(lambda maps, inside: _ranked(_relevance(maps, values), inside)), skip_full=True
    )


@validate_params(
    {
        "maps": ["array-like"],
        "artifact_masks": ["array-like"],
        "has_mask": ["array-like", None],
        **_VALUES,
        "dilate": [Interval(Real, 0, 0.5, closed="both")],
    },
    prefer_skip_nested_validation=True,
)
def artifact_relevance(maps, artifact_masks, *, has_mask=None, values="absolute", dilate=0.0):
    """Measure the share of the relevance that a model gives to an artifact.

    Parameters
    ----------
    maps : array-like of shape (n, H, W) or (n, T)
        Saliency maps of the size of the masks.
    artifact_masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries
        Where the artifact is, 1 inside. Rows without an artifact have an empty mask or none.
    has_mask : array-like of bool of shape (n,), default=None
        Rows to use; by default all that have a mask.
    values : {"absolute", "positive"}, default="absolute"
        What counts as relevance: absolute values, so that evidence for and against a class counts alike, as in [1]_
        for the reliance on an artifact; or values above zero, as there for the localization of an artifact.
    dilate : float, default=0.0
        Grow the masks by a blur with this standard deviation, as a share of the shorter side, that is cut at 2.5
        standard deviations; the artifact then also is where more than 0.3 of the highest value is left. ``8 / 224``
        does what [1]_ does for the reliance on an artifact, where relevance on its border counts; 0 leaves masks as
        they are, as there for its localization.

    Returns
    -------
    SaliencyScore
        Mean share in [0, 1], with the mean area of the artifacts as its chance level. Maps without relevance are left
        out and counted, and so are, with a warning, artifacts that are everywhere (a change of brightness): of these
        the share would be 1 whatever the model.

    Raises
    ------
    ValueError
        If no row has an artifact, maps and masks differ in size, or a map is not finite.

    References
    ----------
    .. [1] Pahde, Wiegand, Lapuschkin and Samek (2025). Ensuring Medical AI Safety: Interpretability-Driven Detection
       and Mitigation of Spurious Model Behavior and Associated Data. Machine Learning 114, 206.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.metrics import artifact_relevance
    >>> maps = np.array([[[3.0, 1.0], [0.0, -4.0]]])
    >>> score = artifact_relevance(maps, np.array([[[0, 0], [0, 1]]]))
    >>> score.value, score.ratio
    (0.5, 2.0)
    """
    return _mass(maps, artifact_masks, has_mask, values, dilate)


def _mass(maps, masks, has_mask, values, dilate=0.0):
    def share(maps, inside):
        relevance = _relevance(maps, values)
        # Divided by the largest value first: the sum of subnormal or huge numbers would lose its precision.
        relevance = relevance / np.maximum(relevance.max(axis=1, keepdims=True), np.finfo(float).tiny)
        return ratios((relevance * inside).sum(axis=1), relevance.sum(axis=1)), inside.mean(axis=1)

    return MapRows(maps, masks, has_mask, dilate=dilate).rate(flat_rows(share), skip_full=True)


def _relevance(maps, values):
    return np.abs(maps) if values == "absolute" else np.maximum(maps, 0)


def _ranked(relevance, inside):
    sizes = inside.sum(axis=1)
    ranked = -np.sort(-relevance, axis=1)
    last = np.take_along_axis(ranked, sizes[:, None] - 1, axis=1)
    above, tied = relevance > last, relevance == last
    weight = (sizes - above.sum(axis=1)) / tied.sum(axis=1)
    hits = (above & inside).sum(axis=1) + weight * (tied & inside).sum(axis=1)
    return np.where(ranked[:, 0] > 0, hits / sizes, np.nan), inside.mean(axis=1)
