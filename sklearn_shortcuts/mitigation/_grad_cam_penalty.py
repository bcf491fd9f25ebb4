"""Right for the right reasons on class activation maps: the published penalty and the repaired one."""

from sklearn.utils._param_validation import StrOptions

from ..neural._receptive_field import average_to_cells, dilate_to_cells
from ._cam_penalty import CAMPenalty, MaskedMapPenalty, min_max


class GradCAMPenalty(CAMPenalty):
    """Penalize class activation maps inside the wrong region (RRR on Grad-CAM).

    The penalty of a row is the sum over the cells of its map of the squared product of mask and map. The map is made
    from the same forward pass as the logits; the gradient runs from the score down to the layer only.

    The form that was published (``variant="published"``) makes maps avoid the region without making the network
    independent of it: on digits with a decoy patch the maps' share on the patch fell to a sixth while more
    predictions than before changed with the patch. The network moves its evidence to cells beside the region, lowers
    the other classes instead of raising the true one, or lets channels cancel. The default closes each of these ways
    out.

    Parameters
    ----------
    variant : {"repaired", "published"}, default="repaired"
        What ``"auto"`` stands for in the other parameters. ``"repaired"``: map of the first convolution, sum of the
        log-probabilities of all classes, sum over channels of absolute products, not normalized, mask grown by what a
        cell sees of the image. ``"published"``: Grad-CAM of the predicted class at the last layer, no ReLU, scaled
        to run from 0 to 1, mask resized.
    layer : str, default="auto"
        ``"first"`` (the convolution that reads the image), ``"last"`` (the last layer that gives a map) or the name of
        a layer as in ``module.named_modules()``. The first layer doubles the cost of a training step, the
        last one adds next to nothing.
    score : {"auto", "sum_log_prob", "random", "predicted", "true"}, default="auto"
        What is explained: the sum of the log-probabilities of all classes, which sees evidence for and against every
        class; the log-probability of a class drawn for every row and step; or the logit of the predicted or the true
        class.
    cam : {"auto", "absolute", "grad_cam", "grad_cam_plus_plus", "hires_cam"}, default="auto"
        Formula of the map. ``"absolute"`` sums the absolute products of gradient and activation over channels.
    relu : bool, default=False
        Whether negative values of the map become 0. Maps that are 0 everywhere then teach nothing.
    normalize : {"auto", "min_max", "none"}, default="auto"
        Whether every map is scaled to run from 0 to 1. The network can then lower the map inside the region by
        raising it elsewhere.
    mask_resize : {"auto", "receptive_field", "bilinear"}, default="auto"
        How the mask comes to the size of the map: a cell counts as inside if it sees at least one pixel of the region
        (by convolutions and poolings up to the layer), or the mask is interpolated (with
        antialiasing, so that small regions do not fall between the cells).

    Attributes
    ----------
    fields : tuple of str
        The batch must have ``"masks"``, shape (n, H, W) or (n, T), and ``"has_mask"``, shape (n,). Masks per class,
        shape (n, K, H, W) or (n, K, T), are compared with the map of each class; a mask of NaN counts as missing.
    mask_role : str
        ``"avoid"``: masks are 1 in the wrong region.

    See Also
    --------
    ExplanationRegularizedClassifier : Trains with it: strength, warm-up, masks for some rows only.

    References
    ----------
    P. Schramowski et al., "Making deep neural networks right for the right scientific reasons by interacting with
    their explanations", Nature Machine Intelligence 2 (2020), 476-486.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.mitigation import GradCAMPenalty
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(20, 16, 16)), np.arange(20) % 2
    >>> masks = np.zeros((20, 16, 16))
    >>> masks[:, :4, :4] = 1
    >>> classifier = NeuralImageClassifier(SmallCNN(4), penalty=GradCAMPenalty(), max_epochs=1, random_state=0)
    >>> classifier.fit(X, y, masks=masks).predict(X).shape
    (20,)
    """

    _variants: dict = {
        "repaired": {
            "layer": "first",
            "score": "sum_log_prob",
            "cam": "absolute",
            "normalize": "none",
            "mask_resize": "receptive_field",
        },
        "published": {
            "layer": "last",
            "score": "predicted",
            "cam": "grad_cam",
            "normalize": "min_max",
            "mask_resize": "bilinear",
        },
    }
    _parameter_constraints: dict = {
        **CAMPenalty._parameter_constraints,
        "variant": [StrOptions({"repaired", "published"})],
        "normalize": [StrOptions({"auto", "min_max", "none"})],
        "mask_resize": [StrOptions({"auto", "receptive_field", "bilinear"})],
    }

    def __init__(
        self,
        variant="repaired",
        *,
        layer="auto",
        score="auto",
        cam="auto",
        relu=False,
        normalize="auto",
        mask_resize="auto",
    ):
        self.variant = variant
        self.layer = layer
        self.score = score
        self.cam = cam
        self.relu = relu
        self.normalize = normalize
        self.mask_resize = mask_resize

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
        return _AvoidRegion(self.recipe(kind), self._choice("normalize"), self._choice("mask_resize"))


class _AvoidRegion(MaskedMapPenalty):
    def __init__(self, recipe, normalize, mask_resize):
        super().__init__(recipe)
        self.normalize = normalize
        self.mask_resize = mask_resize

    def compare(self, maps, masks):
        if self.normalize == "min_max":
            maps = min_max(maps)
        size = tuple(maps.shape[1:])
        if self.mask_resize == "receptive_field":
            weights = dilate_to_cells(masks, self.recorded.windows, size)
        else:
            weights = average_to_cells(masks.to(maps.dtype), size)
        return (weights.to(maps.dtype) * maps).square().flatten(1).sum(1)
