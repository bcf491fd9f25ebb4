"""Network whose activations are brought to the level that they have without an artifact."""

import contextlib
import copy
import threading
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..images import ImageBunch
from ..latent import LayerFeatures
from ._activation_edit import ActivationEdit, ChosenRows, PredictedClasses, attach_edit, exceeds, find_edit
from ._artifact_rows import ConceptRows, find_artifact, require_artifact
from ._concept_directions import concept_directions, fit_concept, is_fitted_concept
from ._false_positive_threshold import fit_detector
from ._network_meta import NetworkMetaEstimator, plain_classifier
from ._projection_export import export_network
from ._steps import split_steps


class PClArC(NetworkMetaEstimator):
    """Edit a network's activations so that they no longer tell whether an image has an artifact.

    Along the direction of the artifact (P-ClArC), the activations of a layer are brought to the level that images
    without it have, at all images or only where needed (reactive P-ClArC). Nothing is trained.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline that ends in one, or FrozenEstimator with one, default=None
        What is edited; a copy is. By default ``NeuralImageClassifier()``. One in a
        :class:`~sklearn.frozen.FrozenEstimator` is fitted, any other is trained first.
    layer : str, default="last"
        Layer to edit, by name. "last" means what the network makes its logits from: the input of its last linear
        layer, or of its last convolution if there is none.
    concept : ConceptVector or other estimator with ``coef_`` or ``components_``, default=None
        Artifact to remove, by default ``ConceptVector("pattern")``. A copy is fitted to the pooled activations and
        the labels of the artifact. One that is fitted, best in a :class:`~sklearn.frozen.FrozenEstimator` since
        searches clone all others, is used as it is.
    condition : {"always", "concept", "class"} or callable, default="always"
        Which images are edited; all others keep every bit.

        - "always": all;
        - "concept": those that ``detector`` flags;
        - "class": those that the unedited network predicts as one of ``classes``, for which it runs beforehand and
          doubles the cost of prediction;
        - callable: called with the pooled activations, an ndarray of shape (n, n_channels), gives one truth value per
          row. Can be pickled and copied only if the function can.
    classes : array-like, default=None
        Classes, or names of labels, for ``condition="class"``.
    detector : estimator, default=None
        What flags images with ``condition="concept"``, by its ``decision_function`` on the pooled activations; by
        default ``ConceptVector("svm")``. One in a FrozenEstimator must have been fitted on other rows.
    false_positive_rate : float, default=0.05
        Share of fresh images without the artifact that the detector may flag, in (0, 1).
    calibration : int or float, default=5
        Rows to find the detector's threshold by: with an int all rows, in so many folds that are scored by detectors
        fitted on the others; with a float in (0, 1) this share of the rows, which the detector is not fitted on.
        Patients stay together.
    pool : {"max", "mean", "token"}, default="max"
        What becomes of the positions of a channel: the maximum, the mean, or the first token of a transformer.
    channel_axis : {1, -1}, default=None
        Axis of the channels in the layer's output, as in :class:`~sklearn_shortcuts.latent.LayerFeatures`.
    artifact : str or callable, default="artifact"
        Field of the :class:`~sklearn_shortcuts.images.ImageBunch`, or column of its metadata, with the labels of the
        artifact, or a function that gives those of ``X``. ``fit(..., artifact=...)`` goes before it.
    random_state : int, RandomState instance or None, default=None
        Division of the rows for ``calibration``.

    Attributes
    ----------
    estimator_ : NeuralImageClassifier or Pipeline
        What predicts: an ordinary one, whose network has the edit in it. Explanations and
        :class:`~sklearn_shortcuts.latent.LayerFeatures` of it see the edited activations.
    unedited_ : NeuralImageClassifier or Pipeline
        The same without the edit.
    concept_ : estimator
        Fitted concept.
    directions_ : ndarray of shape (k, n_channels)
        Orthonormal directions of it.
    levels_ : ndarray of shape (k,)
        Level of the pooled activations along each, which edited images have.
    detector_ : estimator or None
        Fitted detector, with ``condition="concept"``.
    threshold_ : float or None
        Images whose decision function exceeds it are flagged.
    layer_ : str
        Name of the layer.
    edited_share_ : float
        Share of the training rows that are edited.
    classes_ : ndarray of shape (n_classes,) or (n_labels, 2)
        Classes.
    label_names_ : ndarray of shape (n_labels,) or None
        Names of several labels.
    n_features_in_ : int
        Values per row.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, if ``X`` was a DataFrame.

    See Also
    --------
    ConceptProjector : The same on arrays of features.
    LastLayerRetraining : Keeps the features and trains what is made of them.

    Notes
    -----
    To all positions of a layer's activations ``a`` the same vector is added, ``sum_k (z_k - s_k) v_k``, with the pooled
    projections ``s_k`` on the directions ``v_k`` and the levels ``z_k`` of images without the artifact [1]_. The
    pooled projections then are ``z_k`` in every edited image, exactly, and for that of the same pooling only: with
    ``pool="max"`` the mean over positions may still tell the artifact. Where the diagnosis goes with the artifact, give
    the concept a ``scope``, or it removes the diagnosis too.

    The reactive form of [2]_ spares images without the artifact what the edit costs them. The threshold is an order
    statistic of the scores of held-out rows without it, so that a fresh one exceeds it with a probability of at most
    ``false_positive_rate`` (with folds, up to what a detector changes with one fold more). The published program
    compares the projection with 0 and leaves the intercept out; on activations, which are seldom negative, it then
    flags most images.

    With ``compile=True`` the edited network is compiled with the edit. :meth:`NeuralImageClassifier.save
    <sklearn_shortcuts.neural.NeuralImageClassifier.save>` refuses networks with an edit, which pickle keeps.

    References
    ----------
    .. [1] C. J. Anders et al., "Finding and removing Clever Hans: Using explanation methods to debug and improve deep
       models", Information Fusion 77 (2022).
    .. [2] D. Bareeva et al., "Reactive Model Correction: Mitigating Harm to Task-Relevant Features via Conditional Bias
       Suppression", CVPR Workshops (2024).

    Examples
    --------
    A bright corner goes with class 1 in training, and with class 0 later:

    >>> import numpy as np
    >>> from sklearn_shortcuts.latent import ConceptVector
    >>> from sklearn_shortcuts.mitigation import PClArC
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> def draw(n, agreement):
    ...     y = np.arange(n) % 2
    ...     corner = np.where(rng.random(n) < agreement, y, 1 - y)
    ...     X = rng.normal(size=(n, 12, 12))
    ...     X[:, :3, :3] += 4 * corner[:, None, None]
    ...     X[:, 6:, 6:] += 0.5 * y[:, None, None]
    ...     return X, y, corner
    >>> X, y, corner = draw(400, 0.95)
    >>> network = NeuralImageClassifier(SmallCNN(8, depth=2), lr=0.01, max_epochs=8, random_state=0)
    >>> model = PClArC(network, concept=ConceptVector(scope=0)).fit(X, y, artifact=corner)
    >>> X, y, _ = draw(400, 0.0)
    >>> bool(model.score(X, y) > model.unedited_.score(X, y) + 0.2)
    True
    """

    _goes_on = True
    _needs_labels = False
    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "get_params"]), None],
        "layer": [str],
        "concept": [HasMethods(["fit"]), None],
        "condition": [StrOptions({"always", "concept", "class"}), callable],
        "classes": ["array-like", None],
        "detector": [HasMethods(["fit", "decision_function"]), None],
        "false_positive_rate": [Interval(Real, 0, 1, closed="neither")],
        "calibration": [Interval(Integral, 2, None, closed="left"), Interval(Real, 0, 1, closed="neither")],
        "pool": [StrOptions({"max", "mean", "token"})],
        "channel_axis": [Options(Integral, {1, -1}), None],
        "artifact": [str, callable, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator=None,
        layer="last",
        *,
        concept=None,
        condition="always",
        classes=None,
        detector=None,
        false_positive_rate=0.05,
        calibration=5,
        pool="max",
        channel_axis=None,
        artifact="artifact",
        random_state=None,
    ):
        self.estimator = estimator
        self.layer = layer
        self.concept = concept
        self.condition = condition
        self.classes = classes
        self.detector = detector
        self.false_positive_rate = false_positive_rate
        self.calibration = calibration
        self.pool = pool
        self.channel_axis = channel_axis
        self.artifact = artifact
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, artifact=None, sample_weight=None, groups=None):
        """Train the network unless it is fitted, find the artifact's direction and put the edit into a copy.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images, or whatever the first step of a pipeline takes.
        y : array-like of shape (n,), or array-like or DataFrame of shape (n, n_labels), default=None
            Classes, or one 0/1 column per label; by default the bunch's field ``target``. Of a fitted estimator only
            a concept with a ``scope`` needs them.
        artifact : array-like of shape (n,), default=None
            1 for rows with the artifact, 0 without, -1 where it is not known; soft labels in [0, 1]. By default what
            the parameter of that name says. Not needed if the concept is fitted, unless ``condition="concept"``.
        sample_weight : array-like of shape (n,), default=None
            Weights, not negative, in the training of the network, the concept and the detector; a row of weight 0
            counts as absent. By default the bunch's field.
        groups : array-like of shape (n,), default=None
            Patients, who stay together in all divisions. By default the bunch's field.

        Returns
        -------
        PClArC
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If the labels of the artifact are missing or of one kind, the network has no such layer, the concept has
            another number of channels, or there are too few rows for the ``false_positive_rate``.
        """
        rows = self._start(X, y, sample_weight, groups)
        columns = self._columns(rows.encoding) if self.condition == "class" else None
        unedited = copy.copy(rows.classifier)
        known, labels = self._known_rows(rows, X, artifact)
        if not isinstance(self.estimator, FrozenEstimator):
            unedited = clone(rows.classifier).fit(rows.bunch, rows.y, **rows.options())
        features = self._features(unedited, rows.bunch)
        self.layer_ = features.layers_[0]
        read = known if self.condition in ("always", "class") else rows.weights.used
        pooled = features.transform(_rows_of(rows.bunch, read)) if len(read) else None
        fitting = None
        if len(known):
            fitting = ConceptRows.of(rows, known, labels, pooled[np.searchsorted(read, known)])
        self.concept_ = fit_concept(self.concept, fitting, default="pattern", layer=self.layer_)
        self.directions_, self.levels_ = concept_directions(self.concept_)
        if self.directions_.shape[1] != features.n_features_out_:
            raise ValueError(
                f"concept: {type(self.concept_).__name__} has {self.directions_.shape[1]} features, but layer "
                f"{self.layer_!r} has {features.n_features_out_} channels"
            )
        self.detector_ = self.threshold_ = condition = None
        if self.condition == "concept":
            self.detector_, self.threshold_ = fit_detector(
                self.detector,
                fitting,
                rate=self.false_positive_rate,
                calibration=self.calibration,
                random_state=self.random_state,
                layer=self.layer_,
            )
            condition = exceeds(self.detector_, self.threshold_, pooled)
        elif self.condition == "class":
            condition = PredictedClasses(unedited.module_, columns, rows.encoding.kind)
        elif callable(self.condition):
            condition = ChosenRows(self.condition)
        edit = ActivationEdit(self.directions_, self.levels_, self.pool, condition)
        edited = self._edited(unedited, edit)
        self.edited_share_ = self._share(edited, edit, rows, pooled)
        self.estimator_, self.unedited_ = self._finish(rows, edited, unedited)
        return self

    def flagged(self, X):
        """Tell which images are edited.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images.

        Returns
        -------
        ndarray of bool of shape (n,)
            Rows that are edited; all others are predicted as without the edit, to the last bit.
        """
        check_is_fitted(self)
        before, classifier = split_steps(self.estimator_)
        return _flagged(classifier, X if before is None else before.transform(X))

    def export(self):
        """Give the edited network as an ordinary one, without hooks.

        With ``condition="always"`` the edit is folded into the last linear layer where that gives the same: at
        ``layer="last"``, at another layer whose output is that layer's input, and with ``pool="mean"`` at one that
        only averaging over positions separates from it. Elsewhere, and with ``condition="concept"`` and a linear
        detector, a layer with the edit takes the place of the one without, whose weights are then named
        ``"<layer>.layer.weight"``. The result is compared with the edited network in float64.

        Returns
        -------
        torch.nn.Module
            Copy of the network; takes what ``estimator_.iter_batches`` gives.

        Raises
        ------
        ValueError
            If the condition is "class", a callable or a detector that is not linear, the network was edited before by
            another estimator, or it does more with the layer than call it.
        """
        check_is_fitted(self)
        classifier = split_steps(self.estimator_)[1]
        return export_network(classifier.module_, self.layer_, classifier.image_shape_, self.channel_axis)

    # -- inside ----------------------------------------------------------------------------------------------------
    def _check_criterion(self, classifier):
        """The training of the network is its own affair."""

    def _columns(self, encoding):
        """Positions of ``classes`` among the classes or labels."""
        if self.classes is None:
            raise ValueError("condition='class' needs classes=..., the classes to edit the images of")
        names = (encoding.classes if encoding.kind != "multilabel" else encoding.label_names).tolist()
        wanted = np.asarray(self.classes, dtype=object).ravel().tolist()
        if not wanted:
            raise ValueError("classes: name at least one")
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise ValueError(f"classes: {unknown[0]!r} is none of {names}")
        return [names.index(name) for name in wanted]

    def _known_rows(self, rows, X, artifact):
        """Rows to fit concept and detector to, if that is to be done, and the labels of all rows."""
        fits_concept, calibrates = not is_fitted_concept(self.concept), self.condition == "concept"
        if not (fits_concept or calibrates):
            return np.array([], dtype=np.intp), None
        # Transformers may give plain arrays.
        X = X if callable(self.artifact) or isinstance(X, ImageBunch) else rows.bunch
        labels = find_artifact(artifact, self.artifact, X, len(rows.bunch), type(self).__name__)
        fits_detector = calibrates and not isinstance(self.detector, FrozenEstimator)
        return require_artifact(labels, rows.weights.used, type(self).__name__, fits_concept or fits_detector), labels

    def _features(self, classifier, bunch):
        classifier = copy.copy(classifier)
        if hasattr(classifier, "feature_names_in_"):  # the rows have lost theirs
            del classifier.feature_names_in_
        return LayerFeatures(classifier, self.layer, pool=self.pool, channel_axis=self.channel_axis).fit(bunch)

    def _edited(self, unedited, edit):
        """An ordinary classifier with a copy of the network, which has the edit in it."""
        module = copy.deepcopy(unedited.module_)
        attach_edit(edit.move_to(unedited.net_.device), module, self.layer, unedited.image_shape_, self.channel_axis)
        return plain_classifier(unedited, {}, module)

    @staticmethod
    def _share(edited, edit, rows, pooled):
        if edit.condition is None:
            return 1.0
        if isinstance(edit.condition, PredictedClasses):
            return float(_flagged(edited, _rows_of(rows.bunch, rows.weights.used)).mean())
        with torch.no_grad():
            return float(edit.condition(torch.from_numpy(pooled.astype(np.float64))).double().mean())


def _flagged(edited, X):
    """Rows that the classifier edits."""
    edit = find_edit(edited.module_)
    if edit.condition is None:
        return np.ones(X.shape[0] if hasattr(X, "shape") else len(X), dtype=bool)
    caller, seen = threading.get_ident(), []

    def record(edit, inputs, output):
        if threading.get_ident() == caller:  # others may predict with the same network meanwhile
            seen[:] = [edit.flags(inputs[0])]

    def flags(images):
        # Compiled code does not see the hook.
        with torch.compiler.set_stance("force_eager") if edited.net_.compile else contextlib.nullcontext():
            edited.net_.infer(images)
        return seen.pop()

    handle = edit.register_forward_hook(record)
    try:
        return edited._outputs(X, flags)
    finally:
        handle.remove()


def _rows_of(bunch, rows):
    return bunch if len(rows) == len(bunch) else bunch[rows]
