"""Saliency maps of the forward pass that training is in, in a form that a loss can be made of."""

import contextlib
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from ..explain._capture import LayerRecorder
from ..explain._formulas import absolute_map, as_map, grad_cam_map, grad_cam_plus_plus_map, hires_cam_map
from ..explain._subject import resolve_subject
from ..explain._targets import resolve_target, select_scores
from ..neural._receptive_field import GeometryRecorder, receptive_field
from ..neural._second_derivatives import fast_second_derivatives
from ..neural._structure import find_stem

_SIGNED_MAPS = {
    "grad_cam": grad_cam_map,
    "grad_cam_plus_plus": grad_cam_plus_plus_map,
    "hires_cam": hires_cam_map,
}
CAMS = ("absolute", *_SIGNED_MAPS)
SCORES = ("sum_log_prob", "random", "predicted", "true")


@dataclass(frozen=True)
class MapRecipe:
    """How a map is made.

    Attributes
    ----------
    layer : str
        ``"first"`` (the convolution that reads the image), ``"last"`` (the last layer that gives a map) or a name.
    score : {"sum_log_prob", "random", "predicted", "true"}
        What is explained: the log-probabilities of all classes, summed, or that of one drawn for the row, or the
        logit of the predicted or of the true class.
    cam : {"absolute", "grad_cam", "grad_cam_plus_plus", "hires_cam"}
        Formula.
    relu : bool
        Whether negative values become 0.
    kind : {"binary", "multiclass", "multilabel"} or None
        What is predicted.
    """

    layer: str
    score: str
    cam: str
    relu: bool
    kind: str

    def layer_of(self, module):
        """Name of the layer as :class:`LayerRecorder` takes it."""
        if self.layer == "last":
            return "auto"
        if self.layer != "first":
            return self.layer
        name, _ = find_stem(module)
        if name is None:
            raise ValueError(f"layer='first': {type(module).__name__} has no convolution; name a layer, or use 'last'")
        return name

    def scores(self, logits, y):
        """One score per row, shape (n,)."""
        if self.score == "random":
            scores = self.class_scores(logits)
            drawn = torch.randint(scores.shape[1], (len(scores), 1), device=scores.device)
            return scores.gather(1, drawn)[:, 0]
        return select_scores(logits, y if self.score == "true" else self.score, self.kind)

    def class_scores(self, logits):
        """The scores of every class or label on its own, shape (n, n_classes): log-probabilities or logits."""
        one_logit = self.kind != "multilabel" and logits.shape[1] == 1
        if one_logit:
            logits = torch.cat([-logits, logits], dim=1)
        if self.score in ("predicted", "true"):
            return logits
        if self.kind == "multilabel":
            return F.logsigmoid(logits) + F.logsigmoid(-logits)
        return F.logsigmoid(logits) if one_logit else F.log_softmax(logits, dim=1)

    def formula(self, activation, gradient):
        """The maps of activation and gradient, shape (n, h, w) or (n, t)."""
        if self.cam == "absolute":
            return absolute_map(activation, gradient)
        return _SIGNED_MAPS[self.cam](activation, gradient, relu=self.relu)


class RecordedMaps:
    """Maps of the forward pass that ran under :meth:`watch`.

    The gradient runs from the scores down to the layer and no further, and stays part of the graph: weights above
    the layer are trained by it too. Mode and parameters of the network are not touched.

    Parameters
    ----------
    recipe : MapRecipe
        How maps are made.
    cut : bool, default=False
        Whether the maps are only looked at: no graph is kept, neither below the layer nor of the maps.

    Attributes
    ----------
    windows : tuple of Window or None
        What the cells of the map see of the image; known after the first maps.
    """

    def __init__(self, recipe, *, cut=False):
        self.recipe = recipe
        self.cut = cut
        self.windows = None
        self._recorder = None
        self._layer = None
        self._operations = None
        self._sizes = None

    @contextlib.contextmanager
    def watch(self, module):
        """Record the layer while the block runs."""
        recorder = self._recorder = LayerRecorder(self._layer or self.recipe.layer_of(module), cut=self.cut)
        # Before the layer is found the network may be tried out, and what is above the layer is of no interest.
        geometry = GeometryRecorder(lambda: recorder.layer == "auto" or recorder.activation is not None)
        with contextlib.ExitStack() as stack:
            if self.recipe.layer != "last" and not self.cut:  # little comes after the last map
                stack.enter_context(fast_second_derivatives())
            if self._operations is None:
                stack.enter_context(geometry)
            stack.enter_context(recorder.watch(module))
            yield
        if self._operations is None:
            self._layer, self._operations = recorder.layer, geometry.operations

    def __getstate__(self):
        return {**self.__dict__, "_recorder": None}  # a graph cannot be pickled, nor would anyone need it

    def release(self):
        """Let go of what was recorded, and with it of the graph."""
        self._recorder = None

    def maps(self, batch):
        """Give the maps of the recipe's scores.

        Parameters
        ----------
        batch : dict
            ``"X"`` and ``"logits"`` of the forward pass, for the score of the true class ``"y"``.

        Returns
        -------
        Tensor of shape (n, h, w) or (n, t)
            Maps.
        """
        return self._maps(self.recipe.scores(batch["logits"], batch.get("y")), batch)

    def class_maps(self, batch, wanted):
        """Give the maps of each class on its own.

        Parameters
        ----------
        batch : dict
            ``"X"`` and ``"logits"`` of the forward pass.
        wanted : iterable of int
            Positions of classes or labels.

        Yields
        ------
        Tensor of shape (n, h, w) or (n, t)
            Maps, one per wanted class.
        """
        scores = self.recipe.class_scores(batch["logits"])
        for position in wanted:
            yield self._maps(scores[:, position], batch)

    def _maps(self, scores, batch):
        activation = self._recorder.activation
        spatial = tuple(batch["X"].shape[2:])
        (gradient,) = torch.autograd.grad(
            scores.sum(), activation, create_graph=not self.cut, retain_graph=True, allow_unused=True
        )
        if gradient is None:
            raise ValueError(f"layer: the network's outputs do not depend on {self._layer!r}; name another layer")
        dtype = torch.promote_types(activation.dtype, torch.float32)  # half precision loses squares of gradients
        activation, gradient = (as_map(values.to(dtype), spatial) for values in (activation, gradient))
        sizes = spatial, tuple(activation.shape[2:])
        if sizes != self._sizes:
            self.windows, self._sizes = receptive_field(self._operations, *sizes), sizes
        return self.recipe.formula(activation, gradient)


def explain_rows(recipe, estimator, X, y=None, fields=(), *, with_y=False):
    """Go through the maps of some rows, made in evaluation mode.

    Parameters
    ----------
    recipe : MapRecipe
        How maps are made; instead of a class drawn at random all are explained.
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted.
    X : ImageBunch or array-like
        Rows.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes, needed for the score ``"true"`` unless the bunch has them.
    fields : sequence of str, default=()
        Fields of the bunch to bring along.
    with_y : bool, default=False
        Whether the true classes are wanted in any case.

    Yields
    ------
    maps : Tensor of shape (m, h, w) or (m, t)
        Maps of a batch.
    batch : dict
        The batch, with ``"logits"`` and, if wanted, ``"y"``: positions of the classes, or 0 and 1 per label.
    windows : tuple of Window
        What the cells see.
    """
    subject = resolve_subject(estimator, X)
    score = "sum_log_prob" if recipe.score == "random" else recipe.score
    recorded = RecordedMaps(replace(recipe, kind=subject.kind, score=score), cut=True)
    codes = None
    if with_y or score == "true":
        codes = torch.as_tensor(np.array(resolve_target(subject, "true", y)))
    with subject.explaining():
        for batch in subject.batches(fields):
            with torch.enable_grad(), recorded.watch(subject.module):
                batch["logits"] = subject.infer(batch["X"])
            if codes is not None:
                batch["y"] = codes[batch["index"].cpu()].to(subject.device)
            maps = recorded.maps(batch).detach()
            recorded.release()
            batch["logits"] = batch["logits"].detach()
            yield maps, batch, recorded.windows
