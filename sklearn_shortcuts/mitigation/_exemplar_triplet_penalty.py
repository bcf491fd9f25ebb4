"""Learning from one good and one bad explanation: the triplet loss of eXBL, as published and repaired."""

import warnings
from numbers import Real

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils._param_validation import Interval, StrOptions

from ..explain._formulas import upsample
from ..neural._receptive_field import average_to_cells
from ._cam_penalty import CAMPenalty
from ._recorded_maps import RecordedMaps, explain_rows

_EPS = 1e-12
_FLOOR = 1e-6  # of the largest value: the root has no slope at 0


class ExemplarTripletPenalty(CAMPenalty):
    """Pull explanations towards those of good exemplars and away from those of bad ones (eXBL).

    Instead of a mask per row, an annotator points out rows whose explanation is good, and rows whose explanation is
    bad. Their explanations are frozen as the unrefined network gives them. The penalty of a row is the triplet loss
    ``max(d_good - d_bad + margin, 0)`` of the Euclidean distances of its explanation from the two, averaged over the
    pairs of exemplars.

    In the form that was published (``variant="published"``) the loss hardly teaches anything: explanations are not
    normalized, so that the margin of 1 may be larger than the exemplars' distance from each other. By the triangle
    inequality the loss then cannot reach 0, whatever the network does. On digits with a decoy patch the accuracy
    without the association stayed where it was (0.52, untreated 0.51, with clean data 0.90), while the maps improved.
    The default compares explanations at the first layer as distributions over the image, with a margin below their
    distance: with five suggested pairs it reached 0.89, with patches in random corners 0.85 (untreated 0.66). It needs
    a network whose first layer still tells where evidence comes from: where the last map was averaged over the whole
    image before one linear layer it reached 0.64 only (untreated 0.51, with clean data 0.94).

    Refine a trained network with this penalty; trained from scratch it can collapse to one class.
    ``lambda_="auto"`` means 3: the loss is of the order of 1 whatever the network, and with a tenfold strength the
    network gives up accuracy, or all classes but one.

    Parameters
    ----------
    variant : {"repaired", "published"}, default="repaired"
        What ``"auto"`` stands for in the other parameters. ``"repaired"``: map of the first convolution,
        log-probability of a random class, sum over channels of absolute products, Hellinger distance.
        ``"published"``: Grad-CAM of the predicted class at the last layer with ReLU, divided by its maximum,
        interpolated to the size of the image and multiplied with it; margin 1.
    margin : {"auto"} or float, default="auto"
        By how much the bad exemplar must be farther away than the good one for a loss of 0. ``"auto"`` is ``alpha``
        times the distance of the exemplars of a pair from each other, in the published form 1.
    alpha : float, default=0.5
        Share of the exemplars' distance that ``margin="auto"`` takes, in (0, 1).
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
    normalize : {"auto", "hellinger", "unit", "max", "none"}, default="auto"
        ``"hellinger"``: roots of the shares that the cells have in the map (0 where it is negative), so that distances
        are those of Hellinger, times the root of two, between distributions of attention; ``"unit"``: explanations of
        Euclidean norm 1; ``"max"``: maps with maximum 1.
    input_product : {"auto"} or bool, default="auto"
        Whether maps are interpolated to the size of the image and multiplied with it.
    good_explanations, bad_explanations : array-like of shape (k, ...), default=None
        Frozen explanations of the pairs, set by :meth:`with_exemplars`.

    Attributes
    ----------
    mask_role : None
        Rows need no masks.
    needs_exemplars : bool
        True: :meth:`build` works on what :meth:`with_exemplars` gives only.

    See Also
    --------
    suggest_exemplars : Finds rows to choose exemplars from.
    ExplanationRegularizedClassifier : Refines with it; takes the exemplars as row numbers.

    References
    ----------
    M. T. Hagos, K. M. Curran and B. Mac Namee, "Learning from Exemplary Explanations", arXiv:2307.06026 (2023),
    equations 4 to 8.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.mitigation import ExemplarTripletPenalty
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(20, 16, 16)), np.arange(20) % 2
    >>> unrefined = NeuralImageClassifier(SmallCNN(4), max_epochs=1, random_state=0).fit(X, y)
    >>> penalty = ExemplarTripletPenalty().with_exemplars(unrefined, good=X[:2], bad=X[2:4])
    >>> penalty.good_explanations.shape
    (2, 16, 16)
    """

    fields = ()
    mask_role = None
    needs_exemplars = True
    # The loss is bounded and of the order of 1: a strength that balances it with the cross-entropy of a trained network
    # makes the network collapse to one class. On decoy digits 1 leaves part of the shortcut, 10 costs accuracy.
    natural_lambda = 3.0
    _variants: dict = {
        "repaired": {
            "layer": "first",
            "score": "random",
            "cam": "absolute",
            "relu": False,
            "normalize": "hellinger",
            "input_product": False,
        },
        "published": {
            "layer": "last",
            "score": "predicted",
            "cam": "grad_cam",
            "relu": True,
            "normalize": "max",
            "input_product": True,
        },
    }
    _parameter_constraints: dict = {
        **CAMPenalty._parameter_constraints,
        "variant": [StrOptions({"repaired", "published"})],
        "margin": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "alpha": [Interval(Real, 0, 1, closed="neither")],
        "relu": [StrOptions({"auto"}), "boolean"],
        "normalize": [StrOptions({"auto", "hellinger", "unit", "max", "none"})],
        "input_product": [StrOptions({"auto"}), "boolean"],
        "good_explanations": ["array-like", None],
        "bad_explanations": ["array-like", None],
    }

    def __init__(
        self,
        variant="repaired",
        *,
        margin="auto",
        alpha=0.5,
        layer="auto",
        score="auto",
        cam="auto",
        relu="auto",
        normalize="auto",
        input_product="auto",
        good_explanations=None,
        bad_explanations=None,
    ):
        self.variant = variant
        self.margin = margin
        self.alpha = alpha
        self.layer = layer
        self.score = score
        self.cam = cam
        self.relu = relu
        self.normalize = normalize
        self.input_product = input_product
        self.good_explanations = good_explanations
        self.bad_explanations = bad_explanations

    def with_exemplars(self, estimator, good, bad, *, good_y=None, bad_y=None, good_masks=None, bad_masks=None):
        """Give a copy of this description with the explanations of some rows frozen in it.

        Parameters
        ----------
        estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
            The unrefined network, fitted; explained in evaluation mode and left as it was.
        good, bad : ImageBunch or array-like of shape (k, H, W), (k, C, H, W) or (k, C, T)
            Rows whose explanations are good and bad, in the form that the estimator takes; the first good one and
            the first bad one are a pair, and so on.
        good_y, bad_y : array-like of shape (k,) or (k, n_labels), default=None
            True classes, needed for ``score="true"`` only.
        good_masks, bad_masks : array-like of shape (k, H, W) or (k, T), default=None
            Parts of the explanations that make them good or bad, 1 inside; the rest is left out.

        Returns
        -------
        ExemplarTripletPenalty
            The copy.

        Raises
        ------
        ValueError
            If there are not as many good as bad rows, none, or the explanations of a pair are the same.

        Warns
        -----
        UserWarning
            If the margin is not below the distance of the exemplars' explanations: the loss then cannot reach 0.
        """
        self._validate_params()
        frozen = clone(self)
        if len(good) != len(bad) or len(good) == 0:
            raise ValueError(f"exemplars come in pairs, but there are {len(good)} good and {len(bad)} bad rows")
        frozen.good_explanations = self._explain(estimator, good, good_y, good_masks)
        frozen.bad_explanations = self._explain(estimator, bad, bad_y, bad_masks)
        margins, distance = frozen._margins()
        loose = np.flatnonzero(margins >= distance)
        if len(loose):
            pair = loose[0]
            warnings.warn(
                f"margin={margins[pair]:.3g} is not below the distance {distance[pair]:.3g} of the explanations of "
                f"pair {pair}: their loss cannot reach 0, whatever the network does; take a smaller margin, "
                f"margin='auto', or exemplars that differ more",
                UserWarning,
                stacklevel=2,
            )
        return frozen

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
            row, shape (n,).

        Raises
        ------
        ValueError
            If there are no exemplars yet.
        """
        self._validate_params()
        if self.good_explanations is None or self.bad_explanations is None:
            raise ValueError(
                "ExemplarTripletPenalty has no exemplars: call with_exemplars(estimator, good, bad), or give "
                "ExplanationRegularizedClassifier the row numbers as exemplars"
            )
        embedding = _Embedding(self._choice("normalize"), self._choice("input_product"))
        exemplars = np.stack([self.good_explanations, self.bad_explanations])
        return _Triplets(self.recipe(kind), embedding, exemplars, self._margins()[0])

    def _explain(self, estimator, rows, y, masks):
        embedding = _Embedding(self._choice("normalize"), self._choice("input_product"))
        masks = None if masks is None else torch.as_tensor(np.asarray(masks, dtype=np.float32))
        parts = []
        for maps, batch, _ in explain_rows(self.recipe(), estimator, rows, y):
            if masks is not None:
                shares = average_to_cells(masks[batch["index"].cpu()], tuple(maps.shape[1:]))
                maps = maps * shares.to(maps)
            parts.append(embedding(maps, batch["X"]).cpu().numpy())
        return np.concatenate(parts)

    def _margins(self):
        """Margin and distance of every pair."""
        good, bad = (
            np.asarray(values, dtype=np.float64).reshape(len(values), -1)
            for values in (self.good_explanations, self.bad_explanations)
        )
        distance = np.linalg.norm(good - bad, axis=1)
        if not (distance > 0).all():
            pair = int(np.argmin(distance))
            raise ValueError(f"the good and the bad exemplar of pair {pair} have the same explanation")
        if self.margin != "auto":
            return np.full(len(distance), float(self.margin)), distance
        return np.ones(len(distance)) if self.variant == "published" else self.alpha * distance, distance


class _Embedding:
    """From maps to what is compared, shape (n, ...)."""

    def __init__(self, normalize, input_product):
        self.normalize = normalize
        self.input_product = input_product

    def __call__(self, maps, X):
        axes = tuple(range(1, maps.ndim))
        if self.normalize in ("max", "hellinger"):
            maps = maps / maps.amax(axes, keepdim=True).clamp(min=_EPS)
        if self.normalize == "hellinger":
            maps = (maps.relu() + _FLOOR).sqrt()
        if self.input_product:
            maps = X.to(maps.dtype) * upsample(maps, tuple(X.shape[2:]))[:, None]
        if self.normalize in ("unit", "hellinger"):
            norm = torch.linalg.vector_norm(maps, dim=tuple(range(1, maps.ndim)), keepdim=True)
            maps = maps / norm.clamp(min=_EPS)
        return maps


class _Triplets:
    def __init__(self, recipe, embedding, exemplars, margins):
        self.recorded = RecordedMaps(recipe)
        self.embedding = embedding
        self.exemplars = torch.from_numpy(exemplars)  # good and bad, pairs, explanation
        self.margins = torch.from_numpy(margins)

    def watch(self, module):
        """Record the layer during the forward pass."""
        return self.recorded.watch(module)

    def __call__(self, module, batch):
        explanations = self.embedding(self.recorded.maps(batch), batch["X"])
        self.recorded.release()
        if explanations.shape[1:] != self.exemplars.shape[2:]:
            raise ValueError(
                f"explanations of the exemplars have shape {tuple(self.exemplars.shape[2:])}, but those of the network "
                f"{tuple(explanations.shape[1:])}: the exemplars belong to another network, layer or image size"
            )
        flat = explanations.flatten(1)
        to_good, to_bad = (
            torch.cdist(flat, frozen.flatten(1).to(flat), compute_mode="donot_use_mm_for_euclid_dist")
            for frozen in self.exemplars
        )
        return (to_good - to_bad + self.margins.to(flat)).relu().mean(1)
