"""HINT: reward maps that cover the right region."""

from sklearn.utils._param_validation import StrOptions

from ..explain._formulas import upsample
from ._cam_penalty import CAMPenalty, MaskedMapPenalty, min_max
from ._recorded_maps import CAMS, SCORES


class HINTPenalty(CAMPenalty):
    """Penalize class activation maps that differ from the right region (HINT, simplified to masks).

    The penalty of a row is the sum over pixels of the squared difference between mask and map, the map scaled to run
    from 0 to 1 and interpolated to the size of the image.

    **It improves the map and not the model.** On digits with a decoy patch the maps lay within the right region to
    100 %, and the network followed the patch as before (accuracy 0.43 without the association, 0.51 untreated, 0.90
    with clean data). It pays for attention to all of the region instead of charging for dependence on the rest. It is
    here for comparison; to free a network from a region use :class:`GradCAMPenalty` or ``InputGradientPenalty``.

    Parameters
    ----------
    layer : str, default="last"
        ``"last"`` (the last layer that gives a map), ``"first"`` (the convolution that reads the image) or the name
        of a layer.
    score : {"true", "predicted", "sum_log_prob", "random"}, default="true"
        What is explained: the logit of the true or the predicted class, the sum of the log-probabilities of all
        classes, or that of a class drawn for every row and step.
    cam : {"grad_cam", "grad_cam_plus_plus", "hires_cam", "absolute"}, default="grad_cam"
        Formula of the map.
    relu : bool, default=False
        Whether negative values of the map become 0 before it is scaled.

    Attributes
    ----------
    fields : tuple of str
        The batch must have ``"masks"``, shape (n, H, W) or (n, T), and ``"has_mask"``, shape (n,). Masks per class,
        shape (n, K, H, W) or (n, K, T), are compared with the map of each class; a mask of NaN counts as missing.
    mask_role : str
        ``"attend"``: masks are 1 in the right region.

    References
    ----------
    R. R. Selvaraju et al., "Taking a HINT: Leveraging Explanations to Make Vision and Language Models More Grounded",
    ICCV (2019). F. Friedrich, W. Stammer, P. Schramowski and K. Kersting, "A Typology for Exploring the Mitigation of
    Shortcut Behavior", Nature Machine Intelligence 5 (2023), for the form with masks.

    Examples
    --------
    >>> from sklearn_shortcuts.mitigation import HINTPenalty
    >>> HINTPenalty(cam="hires_cam")
    HINTPenalty(cam='hires_cam')
    """

    mask_role = "attend"
    _parameter_constraints: dict = {
        **CAMPenalty._parameter_constraints,
        "score": [StrOptions(set(SCORES))],
        "cam": [StrOptions(set(CAMS))],
    }

    def __init__(self, *, layer="last", score="true", cam="grad_cam", relu=False):
        self.layer = layer
        self.score = score
        self.cam = cam
        self.relu = relu

    def build(self, n_samples, n_outputs, kind):
        """Make the callable that computes the penalties.

        Parameters
        ----------
        n_samples : int
            Not needed here.
        n_outputs : int
            Not needed here.
        kind : {"binary", "multiclass", "multilabel"}
            What is predicted.

        Returns
        -------
        callable
            Called as ``penalty(module, batch)`` after a forward pass under its ``watch(module)``; gives one value per
            row, shape (n,), 0 for rows without a mask.
        """
        return _CoverRegion(self.recipe(kind))


class _CoverRegion(MaskedMapPenalty):
    def compare(self, maps, masks):
        maps = upsample(min_max(maps), tuple(masks.shape[1:]))
        return (maps - masks.to(maps.dtype)).square().flatten(1).sum(1)
