"""Penalty that grows with the distance of the attention from the right region."""

import cv2
import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions

from ..neural._receptive_field import average_to_cells
from ._cam_penalty import CAMPenalty, MaskedMapPenalty, min_max


class DistancePenalty(CAMPenalty):
    """Penalize class activation maps the more, the farther from the right region they are.

    Maps spread beyond what an annotator outlines. This penalty forgives attention just outside the region and
    charges attention far away: every pixel is weighted by its distance from the region, in units of the image's
    diagonal. A row whose mask is empty has distance 1 everywhere.

    Parameters
    ----------
    variant : {"repaired", "published"}, default="repaired"
        What ``"auto"`` stands for in the other parameters, and how map and distance are put together.
        ``"repaired"``: the map of :class:`GradCAMPenalty`'s repaired form, sum of the squared products.
        ``"published"``: Grad-CAM of the true class at the last layer with ReLU, scaled to run from 0 to 1, sum of the
        products. Like other penalties on this map it makes maps better rather than networks: prefer the default.
    layer : str, default="auto"
        ``"first"`` (the convolution that reads the image), ``"last"`` (the last layer that gives a map) or the name
        of a layer.
    score : {"auto", "sum_log_prob", "random", "predicted", "true"}, default="auto"
        What is explained: the log-probabilities of all classes, summed, or that of a class drawn for every row and
        step, or the logit of the predicted or the true class.
    cam : {"auto", "absolute", "grad_cam", "grad_cam_plus_plus", "hires_cam"}, default="auto"
        Formula of the map.
    relu : {"auto"} or bool, default="auto"
        Whether negative values of the map become 0.

    Attributes
    ----------
    fields : tuple of str
        The batch must have ``"masks"``, shape (n, H, W) or (n, T), and ``"has_mask"``, shape (n,). Masks per class,
        shape (n, K, H, W) or (n, K, T), are compared with the map of each class; a mask of NaN counts as missing.
    mask_role : str
        ``"attend"``: masks are 1 in the right region.

    References
    ----------
    M. T. Hagos, N. Belton, K. M. Curran and B. Mac Namee, "Distance-Aware eXplanation Based Learning",
    arXiv:2309.05548 (2023).

    Examples
    --------
    >>> from sklearn_shortcuts.mitigation import DistancePenalty
    >>> DistancePenalty("published")
    DistancePenalty(variant='published')
    """

    mask_role = "attend"
    _variants: dict = {
        "repaired": {"layer": "first", "score": "sum_log_prob", "cam": "absolute", "relu": False},
        "published": {"layer": "last", "score": "true", "cam": "grad_cam", "relu": True},
    }
    _parameter_constraints: dict = {
        **CAMPenalty._parameter_constraints,
        "variant": [StrOptions({"repaired", "published"})],
        "relu": [StrOptions({"auto"}), "boolean"],
    }

    def __init__(self, variant="repaired", *, layer="auto", score="auto", cam="auto", relu="auto"):
        self.variant = variant
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
        return _StayNear(self.recipe(kind), self.variant)


class _StayNear(MaskedMapPenalty):
    def __init__(self, recipe, variant):
        super().__init__(recipe)
        self.variant = variant

    def compare(self, maps, masks):
        weights = average_to_cells(distances(masks).to(maps.dtype), tuple(maps.shape[1:]))
        if self.variant == "published":
            return (weights * min_max(maps)).flatten(1).sum(1)
        return (weights * maps).square().flatten(1).sum(1)


def distances(masks):
    """Distance of every pixel from the region, in units of the image's diagonal.

    Parameters
    ----------
    masks : Tensor of shape (n, H, W) or (n, T)
        Pixels of at least 0.5 are inside the region.

    Returns
    -------
    Tensor of shape (n, H, W) or (n, T), dtype float32
        0 inside; 1 everywhere if the region is empty.
    """
    spatial = masks.shape[1:]
    outside = (masks < 0.5).to(torch.uint8).reshape(len(masks), *(1, *spatial)[-2:]).cpu().numpy()
    result = np.ones(outside.shape, dtype=np.float32)
    for image, distance in zip(outside, result):
        if not image.all():
            distance[:] = cv2.distanceTransform(image, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            distance /= np.linalg.norm([size - 1 for size in spatial]) or 1
    return torch.from_numpy(result).reshape(masks.shape).to(masks.device)
