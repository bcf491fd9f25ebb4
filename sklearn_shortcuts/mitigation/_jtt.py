"""Training anew on what a first, short training gets wrong."""

from numbers import Integral, Real

from sklearn.base import _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from ..neural import NeuralImageClassifier
from ._best_epoch import MONITORS
from ._hard_samples import BAMHardSampleMiner
from ._network_meta import NetworkMetaEstimator
from ._steps import split_steps

_TAKEN_OVER = (
    *("estimator_", "stage_one_", "hard_mask_", "sample_weight_", "sample_table_", "history_"),
    *("classes_", "label_names_", "n_features_in_", "feature_names_in_"),
)


class JTTClassifier(NetworkMetaEstimator):
    """Train a network a second time, from scratch, with the errors of the first time weighted up (just train twice).

    A network that is trained for a few epochs follows the shortcut, and gets rows against it wrong. No subgroups are
    needed. The first training must be short: one that fits all rows leaves no errors to learn from, for which
    :class:`BAMHardSampleMiner` is made.

    Parameters
    ----------
    estimator : NeuralImageClassifier or Pipeline that ends in one, default=None
        What is trained; a copy is used. By default ``NeuralImageClassifier()``. Its early stopping is off. With
        ``weighting="sampling"`` the second training draws errors more often in place of weighting their loss.
    stage_one_epochs : int, default=None
        Epochs of the first training; by default half of the ``max_epochs`` of the estimator, at least 1. The result
        hangs on it.
    upweight : float, default=20.0
        Copies of every error that are added: its weight in the second training is ``upweight + 1``.
    stage_two_epochs : int, default=None
        Epochs of the second training, which have as many steps as those of the first; by default the ``max_epochs`` of
        the estimator.
    stage_two_lr : float, default=None
        Learning rate of the second training; by default that of the estimator.
    monitor : {"worst_class", "class_difference"}, callable or None, default="worst_class"
        What chooses the epoch of the second training, see :class:`BAMHardSampleMiner`.
    validation_fraction : float, default=0.2
        Share of rows held out for ``monitor`` from both trainings, in (0, 1); groups stay together.
    memory : str, path-like or joblib.Memory, default=None
        Where networks of the first training are kept, so that a search over ``upweight`` trains one per fold.

    Attributes
    ----------
    estimator_ : NeuralImageClassifier or Pipeline
        What predicts.
    stage_one_ : NeuralImageClassifier or Pipeline
        The network of the first training.
    hard_mask_ : ndarray of bool of shape (n,)
        The errors: rows that were weighted up. Held-out rows never are.
    sample_weight_ : ndarray of shape (n,)
        Weights of the second training, given weights included; 0 for rows that took no part.
    sample_table_ : DataFrame of n rows
        That of :class:`BAMHardSampleMiner`, without the scores of rows' own logits.
    history_ : DataFrame
        One row per epoch: ``epoch``, ``stage`` (1 or 2), ``train_loss``, ``seconds`` and, in stage 2, ``monitor``.
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
    BAMHardSampleMiner : Remembers what was hard, however long it trains.
    GroupDROClassifier : For known subgroups, or those that ``hard_mask_`` tells apart.

    References
    ----------
    E. Z. Liu et al., "Just Train Twice: Improving Group Robustness without Training Group Information", ICML (2021),
    Algorithm 1.

    Examples
    --------
    The corner tells the class in all but six rows, which the first network gets wrong.

    >>> import numpy as np
    >>> from sklearn_shortcuts.mitigation import JTTClassifier
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(160) % 2
    >>> corner = np.where(np.arange(160) < 6, 1 - y, y)
    >>> X = rng.normal(size=(160, 8, 8))
    >>> X[:, :3, :3] += 3 * (2 * corner - 1)[:, None, None]
    >>> X[:, 4:, 4:] += 0.5 * (2 * y - 1)[:, None, None]
    >>> network = NeuralImageClassifier(SmallCNN(4, depth=1), lr=0.01, batch_size=16, max_epochs=12, random_state=0)
    >>> model = JTTClassifier(network, stage_one_epochs=3, monitor=None).fit(X, y)
    >>> np.flatnonzero(model.hard_mask_).tolist()
    [0, 1, 2, 3, 4, 5]
    >>> model.stage_one_.score(X[:6], y[:6]), model.score(X[:6], y[:6])
    (0.0, 1.0)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "get_params"]), None],
        "stage_one_epochs": [Interval(Integral, 1, None, closed="left"), None],
        "upweight": [Interval(Real, 0, None, closed="left")],
        "stage_two_epochs": [Interval(Integral, 1, None, closed="left"), None],
        "stage_two_lr": [Interval(Real, 0, None, closed="neither"), None],
        "monitor": [StrOptions(set(MONITORS)), callable, None],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "memory": [str, HasMethods(["cache"]), HasMethods(["__fspath__"]), None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        stage_one_epochs=None,
        upweight=20.0,
        stage_two_epochs=None,
        stage_two_lr=None,
        monitor="worst_class",
        validation_fraction=0.2,
        memory=None,
    ):
        self.estimator = estimator
        self.stage_one_epochs = stage_one_epochs
        self.upweight = upweight
        self.stage_two_epochs = stage_two_epochs
        self.stage_two_lr = stage_two_lr
        self.monitor = monitor
        self.validation_fraction = validation_fraction
        self.memory = memory

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None, groups=None):
        """Train the network twice.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images, or whatever the first step of a pipeline takes.
        y : array-like of shape (n,), or array-like or DataFrame of shape (n, n_labels), default=None
            Classes, or one 0/1 column per label; by default the bunch's field ``target``.
        sample_weight : array-like of shape (n,), default=None
            Weights, not negative; a row of weight 0 counts as absent. By default the bunch's field.
        groups : array-like of shape (n,), default=None
            Patients; whole groups are held out. By default the bunch's field.

        Returns
        -------
        JTTClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If the input does not fit together.
        FloatingPointError
            If the loss becomes infinite or NaN.

        Warns
        -----
        UserWarning
            If the first network makes no errors, errs in more than half of the rows, or is no better than always giving
            the most frequent class; and if training was interrupted.
        """
        self._forget()
        estimator = NeuralImageClassifier() if self.estimator is None else self.estimator
        _, classifier = split_steps(estimator)
        self._check_criterion(classifier)
        miner = ErrorMiner(
            estimator,
            amplification=0.0,
            stage_one_epochs=self.stage_one_epochs or max(1, classifier.max_epochs // 2),
            difficulty="loss",
            upweight=self.upweight + 1,
            stage_two_epochs=self.stage_two_epochs,
            stage_two_lr=self.stage_two_lr,
            continue_training=False,
            monitor=self.monitor,
            validation_fraction=self.validation_fraction,
            memory=self.memory,
        ).fit(X, y, sample_weight=sample_weight, groups=groups)
        miner.sample_table_ = miner.sample_table_.drop(columns=["aux", "aux_margin"])
        for name in _TAKEN_OVER:
            if hasattr(miner, name):
                setattr(self, name, getattr(miner, name))
        return self


class ErrorMiner(BAMHardSampleMiner):
    """The miner, where there is nothing to amplify; made in ``fit``, not public."""

    def _remedies(self):
        epochs = f"stage_one_epochs (now {self.stage_one_epochs})"
        return f"Lower {epochs}", f"Raise {epochs} or lr"
