"""Training on with a penalty on what the outputs change by along a concept."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

from ._concept_refinement import ConceptRefinement
from ._latent_gradient_penalty import LatentGradientPenalty, RelativeStrength
from ._layer_penalty import LayerPenalty


class RRClArCClassifier(ConceptRefinement):
    """Train a network so that its outputs do not change along a concept, such as an artifact, in one of its layers.

    Right Reason Class Artifact Compensation (RR-ClArC): the concept's direction among the activations of a layer is
    learned from rows with and without the artifact, then the layers behind are trained on with a penalty on the
    derivative of the outputs along it. No masks are needed, and at prediction no labels.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline that ends in one, or FrozenEstimator with one, default=None
        What is trained; a copy is used. By default ``NeuralImageClassifier()``. One that is fitted, in a
        :class:`~sklearn.frozen.FrozenEstimator`, is gone on with.
    layer : str, default="last"
        Where the concept is, a name as in ``dict(classifier.module_.named_modules())``, or "last": the input of the
        last linear layer. This layer and all before it stay as they are, so that the concept does too.
    concept : estimator, default=None
        Learns the concept from pooled activations and artifact labels, such as
        :class:`~sklearn_shortcuts.latent.ConceptVector`, or anything that has ``components_`` or ``coef_`` once it is
        fitted. By default ``ConceptVector("pattern")``. One that is fitted is used as it is; in cross-validation it
        must not have seen the test rows. One with a ``scope`` is fitted on rows of this class only.
    lambda_ : float, default=1.0
        Strength of the penalty. 0 is the same training without penalty: what a mitigation must be compared with.
    target : {"all", "random", "true", "max", "log_prob"}, default="all"
        What is differentiated, see Notes.
    aggregation : {"mean", "position"}, default="mean"
        Whether the gradient is averaged over the positions of the layer before it is compared with the concept, or
        compared at each position.
    norm : {"l2", "l1"}, default="l2"
        Whether derivatives are squared, or their absolute values are taken.
    normalize : {"relative", "cosine"} or None, default="relative"
        - "relative": the penalty counts in units of what it is before the first step, so that the same ``lambda_``
          suits any layer and network;
        - "cosine": derivatives are divided by the length of the gradient;
        - None: the penalty as it is. It shrinks with the square of the number of positions and of the activations'
          scale, for which published values of ``lambda_`` reach from 10 to 10 million.
    rows : {"all", "artifact"}, default="all"
        Rows that the penalty is a mean over: all, or those with the artifact.
    pool : {"max", "mean"}, default="max"
        How activations are pooled over positions to learn the concept.
    channel_axis : {1, -1}, default=None
        Axis of the channels in the layer's output, see :class:`~sklearn_shortcuts.latent.LayerFeatures`.
    refine_epochs : int, default=None
        Epochs with the penalty; by default the ``max_epochs`` of the estimator. Early stopping is off meanwhile: the
        held-out loss knows nothing of the shortcut.
    refine_lr : float, default=None
        Learning rate of these epochs; by default that of the estimator.
    gradient_clip : float or None, default=1.0
        Largest norm of the gradient of all weights in training with the penalty.
    memory : str, path-like or joblib.Memory, default=None
        Where networks without penalty are kept, so that a search over ``lambda_`` trains one per fold.

    Attributes
    ----------
    estimator_ : NeuralImageClassifier or Pipeline
        What predicts, with the parameters of ``estimator``.
    unrefined_ : NeuralImageClassifier or Pipeline
        The network before the penalty.
    concept_ : estimator
        The fitted concept.
    strength_ : float
        What the penalty was multiplied by: with ``normalize="relative"`` ``lambda_`` over its value before the first
        step; NaN if training was interrupted before that.
    history_ : DataFrame
        One row per epoch: ``epoch``, ``phase`` ("unrefined" or "refined"), ``train_loss``, ``train_criterion``,
        ``train_penalty`` (weighted), ``strength`` and ``seconds``.
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
    AClArCClassifier : Makes the concept uninformative in place of punishing its use.
    ExplanationRegularizedClassifier : Needs masks in place of artifact labels.

    Notes
    -----
    With the activations ``a`` of shape (n_channels, S), outputs ``z``, and ``V`` the concept's unit vector at all S
    positions over S, the default penalty of a row is ``||J V||^2``, where ``J = dz/da``. It is what the published
    penalty, the squared product of the vector with the mean over positions of the gradient of a sum of outputs with
    random signs, is on average over the signs (``target="random"``). Here it comes without that noise from one
    forward-mode derivative along with the forward pass. With a linear layer ``W`` behind a mean over positions it is
    ``||W v||^2 / S^2`` in every row. Of several directions the penalties are added.

    Other targets are "true", the output of the row's class, "max", that of the predicted class, and "log_prob", the
    mean of the logarithms of all probabilities, to which 1e-5 is added. Of a single output or several labels, "true"
    takes their sum, each with the sign of its label, and "max" the one of the largest absolute value.

    Statistics of batch normalization stay as they were, behind the layer too: what all rows have in common, as the
    change along a concept, is subtracted from them by those of the batch, and the penalty would be 0.

    Where the network ends in softmax attention behind the layer, the same values take two backward passes.

    References
    ----------
    M. Dreyer et al., "From Hope to Safety: Unlearning Biases of Deep Models via Gradient Penalization in Latent
    Space", AAAI (2024).
    F. Pahde et al., "Ensuring Medical AI Safety: Interpretability-Driven Detection and Mitigation of Spurious Model
    Behavior and Associated Data", Machine Learning 114 (2025).

    Examples
    --------
    >>> from sklearn_shortcuts import NeuralImageClassifier, make_chest_phantoms
    >>> from sklearn_shortcuts.mitigation import RRClArCClassifier
    >>> from sklearn_shortcuts.neural import SmallCNN
    >>> X = make_chest_phantoms(64, size=32, shortcut="marker", random_state=0)
    >>> network = NeuralImageClassifier(SmallCNN(width=4), max_epochs=2, random_state=0)
    >>> model = RRClArCClassifier(network, refine_epochs=3).fit(X)
    >>> model.history_["phase"].tolist()
    ['unrefined', 'unrefined', 'refined', 'refined', 'refined']
    >>> penalties = model.history_["train_penalty"]
    >>> bool(penalties[2] > penalties[4])
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "get_params"]), None],
        "layer": [str],
        "concept": [HasMethods(["fit"]), None],
        "lambda_": [Interval(Real, 0, None, closed="left")],
        "target": [StrOptions({"all", "random", "true", "max", "log_prob"})],
        "aggregation": [StrOptions({"mean", "position"})],
        "norm": [StrOptions({"l2", "l1"})],
        "normalize": [StrOptions({"relative", "cosine"}), None],
        "rows": [StrOptions({"all", "artifact"})],
        "pool": [StrOptions({"max", "mean"})],
        "channel_axis": [Options(Integral, {1, -1}), None],
        "refine_epochs": [Interval(Integral, 1, None, closed="left"), None],
        "refine_lr": [Interval(Real, 0, None, closed="neither"), None],
        "gradient_clip": [Interval(Real, 0, None, closed="neither"), None],
        "memory": [str, HasMethods(["cache"]), HasMethods(["__fspath__"]), None],
    }

    def __init__(
        self,
        estimator=None,
        layer="last",
        *,
        concept=None,
        lambda_=1.0,
        target="all",
        aggregation="mean",
        norm="l2",
        normalize="relative",
        rows="all",
        pool="max",
        channel_axis=None,
        refine_epochs=None,
        refine_lr=None,
        gradient_clip=1.0,
        memory=None,
    ):
        self.estimator = estimator
        self.layer = layer
        self.concept = concept
        self.lambda_ = lambda_
        self.target = target
        self.aggregation = aggregation
        self.norm = norm
        self.normalize = normalize
        self.rows = rows
        self.pool = pool
        self.channel_axis = channel_axis
        self.refine_epochs = refine_epochs
        self.refine_lr = refine_lr
        self.gradient_clip = gradient_clip
        self.memory = memory

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, artifact=None, sample_weight=None, groups=None):
        """Train the network, learn the concept, and train on with the penalty.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images, or whatever the first step of a pipeline takes.
        y : array-like of shape (n,), or array-like or DataFrame of shape (n, n_labels), default=None
            Classes, or one 0/1 column per label; by default the bunch's field ``target``.
        artifact : array-like of shape (n,) or (n, n_artifacts), default=None
            1 for rows with the artifact, 0 without, a degree in between, or -1 where it is unknown: such rows take no
            part in learning the concept. By default the bunch's field. Several columns are for concepts that learn
            several.
        sample_weight : array-like of shape (n,), default=None
            Weights, not negative; a row of weight 0 counts as absent. By default the bunch's field.
        groups : array-like of shape (n,), default=None
            Patients; early stopping holds out whole groups. By default the bunch's field.

        Returns
        -------
        RRClArCClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If artifact labels are missing or wrong, the layer is not one of the network or has nothing to train behind
            it, or the input does not fit together.
        FloatingPointError
            If the loss becomes infinite or NaN.
        """
        term = self._refine(X, y, artifact, sample_weight, groups)
        self.strength_ = float("nan") if term.strength is None else float(term.strength)
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _objective(self, basis, rows, features, artifact, counts):
        place = self.layer, len(rows.image_shape) + 1, self.channel_axis
        if self.lambda_ == 0:
            return LayerPenalty(*place), 0.0, None
        penalty = LatentGradientPenalty(
            *place,
            directions=basis,
            target=self.target,
            aggregation=self.aggregation,
            norm=self.norm,
            cosine=self.normalize == "cosine",
            counted=self._counted(artifact),
        )
        relative = self.normalize == "relative"
        return penalty, None if relative else self.lambda_, RelativeStrength(self.lambda_, relative)

    def _counted(self, artifact):
        """Rows that the penalty is a mean over; None means all."""
        if self.rows == "all":
            return None
        if artifact is None:
            raise ValueError("rows='artifact' needs to know which rows have the artifact: give fit(..., artifact=...)")
        return (artifact.reshape(len(artifact), -1) >= 0.5).any(axis=1)

    def _share(self, artifact, counts):
        counted = self._counted(artifact)
        share = 1.0 if counted is None else counts[counted].sum() / np.sum(counts)
        if share == 0:
            raise ValueError("rows='artifact': no row with a positive weight has the artifact")
        return 1.0 if self.normalize == "relative" else share  # the penalty is measured on all rows
