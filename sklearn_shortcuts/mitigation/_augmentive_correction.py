"""Training on with the concept in all rows."""

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

from ._concept_labels import artifact_levels
from ._concept_refinement import ConceptRefinement
from ._layer_penalty import LayerPenalty, LayerWatcher


class AClArCClassifier(ConceptRefinement):
    """Train a network so that a concept, such as an artifact, tells it nothing, by giving it to all rows.

    Augmentive Class Artifact Compensation (A-ClArC): the concept's direction among the activations of a layer is
    learned from rows with and without the artifact. Then the layers behind are trained on while the activations of
    every row are moved along it to the level of rows with the artifact, so that it no longer goes with any class. At
    prediction nothing is moved.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline that ends in one, or FrozenEstimator with one, default=None
        What is trained; a copy is used. By default ``NeuralImageClassifier()``. One that is fitted, in a
        :class:`~sklearn.frozen.FrozenEstimator`, is gone on with.
    layer : str, default="last"
        Where the concept is, a name as in ``dict(classifier.module_.named_modules())``, or "last": the input of the
        last linear layer. This layer and all before it stay as they are, so that the concept does too.
    concept : estimator, default=None
        Learns the concept, as in :class:`RRClArCClassifier`. By default ``ConceptVector("pattern")``.
    level : {"artifact", "random"}, default="random"
        Where activations are moved to along the concept:

        - "artifact": the mean of the rows with the artifact, as published. Rows at prediction that are without it are
          then unlike those the layers were trained on, and may be classified no better than by chance;
        - "random": in each step the level of another training row, drawn by chance, so that levels are those there
          are, with the artifact or without.
    pool : {"max", "mean"}, default="max"
        How activations are pooled over positions to learn the concept and to see at which level a row is.
    channel_axis : {1, -1}, default=None
        Axis of the channels in the layer's output, see :class:`~sklearn_shortcuts.latent.LayerFeatures`.
    refine_epochs : int, default=None
        Epochs with the concept in all rows; by default the ``max_epochs`` of the estimator. Early stopping is off
        meanwhile.
    refine_lr : float, default=None
        Learning rate of these epochs; by default that of the estimator.
    gradient_clip : float or None, default=1.0
        Largest norm of the gradient of all weights in these epochs.
    memory : str, path-like or joblib.Memory, default=None
        Where networks that have not been trained on are kept, so that a search trains one per fold.

    Attributes
    ----------
    estimator_ : NeuralImageClassifier or Pipeline
        What predicts, with the parameters of ``estimator``.
    unrefined_ : NeuralImageClassifier or Pipeline
        The network before.
    concept_ : estimator
        The fitted concept.
    history_ : DataFrame
        One row per epoch: ``epoch``, ``phase`` ("unrefined" or "refined"), ``train_loss``, ``train_criterion``,
        ``train_penalty`` and ``strength`` (0: there is no penalty) and ``seconds``.
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
    RRClArCClassifier : Punishes the use of the concept; with ``lambda_=0`` what both must be compared with.

    Notes
    -----
    With the concept's unit vector ``v``, a row's activations ``a`` become ``a + (level - s) v`` at every position,
    where ``s`` is the projection of the pooled activations on ``v``; of several directions, along each. Statistics of
    batch normalization stay as they were: those of moved activations would be wrong at prediction.

    References
    ----------
    C. J. Anders et al., "Finding and Removing Clever Hans: Using Explanation Methods to Debug and Improve Deep
    Models", Information Fusion 77 (2022), section 4.

    Examples
    --------
    >>> from sklearn_shortcuts import NeuralImageClassifier, make_chest_phantoms
    >>> from sklearn_shortcuts.mitigation import AClArCClassifier
    >>> from sklearn_shortcuts.neural import SmallCNN
    >>> X = make_chest_phantoms(64, size=32, shortcut="marker", random_state=0)
    >>> network = NeuralImageClassifier(SmallCNN(width=4), max_epochs=2, random_state=0)
    >>> model = AClArCClassifier(network, refine_epochs=1).fit(X)
    >>> model.history_["phase"].tolist()
    ['unrefined', 'unrefined', 'refined']
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "get_params"]), None],
        "layer": [str],
        "concept": [HasMethods(["fit"]), None],
        "level": [StrOptions({"artifact", "random"})],
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
        level="random",
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
        self.level = level
        self.pool = pool
        self.channel_axis = channel_axis
        self.refine_epochs = refine_epochs
        self.refine_lr = refine_lr
        self.gradient_clip = gradient_clip
        self.memory = memory

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, artifact=None, sample_weight=None, groups=None):
        """Train the network, learn the concept, and train on with the concept in all rows.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images, or whatever the first step of a pipeline takes.
        y : array-like of shape (n,), or array-like or DataFrame of shape (n, n_labels), default=None
            Classes, or one 0/1 column per label; by default the bunch's field ``target``.
        artifact : array-like of shape (n,) or (n, n_artifacts), default=None
            1 for rows with the artifact, 0 without, a degree in between, or -1 where it is unknown, as in
            :class:`RRClArCClassifier`. By default the bunch's field.
        sample_weight : array-like of shape (n,), default=None
            Weights, not negative; a row of weight 0 counts as absent. By default the bunch's field.
        groups : array-like of shape (n,), default=None
            Patients; early stopping holds out whole groups. By default the bunch's field.

        Returns
        -------
        AClArCClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If artifact labels are missing or wrong, the layer is not one of the network or has nothing to train behind
            it, or the input does not fit together.
        FloatingPointError
            If the loss becomes infinite or NaN.
        """
        self._refine(X, y, artifact, sample_weight, groups)
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _objective(self, basis, rows, features, artifact, counts):
        used = rows.weights.used

        def project(chosen):
            return features.transform(rows.bunch[chosen]).astype(np.float64) @ basis.T

        if self.level == "random":
            levels = project(used)
        else:
            levels = artifact_levels(self.concept_, basis, project, artifact, used)[None]
        place = self.layer, len(rows.image_shape) + 1, self.channel_axis
        return ConceptInAllRows(*place, directions=basis, levels=levels, pool=self.pool), 0.0, None


class ConceptInAllRows(LayerPenalty):
    """Moves the output of a layer in training; not public.

    Parameters
    ----------
    layer, image_ndim, channel_axis : str, int and {None, 1, -1}
        As in :class:`LayerPenalty`.
    directions : ndarray of shape (n_directions, n_channels)
        Orthonormal directions.
    levels : ndarray of shape (n_levels, n_directions)
        Projections, of which every row gets one, drawn by chance.
    pool : {"max", "mean"}
        How the output is pooled to see where a row is.
    """

    def __init__(self, layer, image_ndim, channel_axis=None, *, directions, levels, pool):
        super().__init__(layer, image_ndim, channel_axis)
        self.directions = directions
        self.levels = levels
        self.pool = pool

    def build(self, n_samples, n_outputs, kind):
        """Make the callable, see :meth:`Penalty.build`."""
        return _Mover(self)


class _Mover(LayerWatcher):
    def watched(self, module):
        """The hook that moves the layer's output."""
        return [self.hook(self._moved).attach(module, self.spec.layer)]

    def _moved(self, values):
        directions, levels = (torch.from_numpy(part).to(values) for part in (self.spec.directions, self.spec.levels))
        pooled = values.amax(2) if self.spec.pool == "max" else values.mean(2)
        chosen = levels
        if len(levels) > 1:
            chosen = levels[torch.randint(len(levels), (len(values),)).to(levels.device)]
        return values + ((chosen - pooled @ directions.T) @ directions)[:, :, None]
