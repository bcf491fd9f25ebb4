"""Training beside a network that is made to follow the shortcut."""

from numbers import Real

import numpy as np
import torch
from sklearn.base import _fit_context, clone
from sklearn.utils._param_validation import HasMethods, Interval
from torch import nn

from ..neural import Criterion
from ..neural._structure import main_output
from ..neural._training import build_module
from ._decision_losses import decision_losses
from ._network_meta import NetworkMetaEstimator, plain_classifier


class LfFClassifier(NetworkMetaEstimator):
    """Train a network on what a second, biased one fails at (learning from failure).

    A second network of the same kind learns beside the first, by a loss that favors rows it finds easy, so that it
    follows a shortcut all the more. The first counts rows by how much harder the biased one finds them. No subgroups
    are needed.

    Parameters
    ----------
    estimator : NeuralImageClassifier or Pipeline that ends in one, default=None
        What both networks are; a copy is used. By default ``NeuralImageClassifier()``. Every row is visited once per
        epoch, and given weights act on the loss, also with ``weighting="sampling"``.
    q : float, default=0.7
        How much the biased network favors easy rows, in (0, 1]; its cross-entropies are multiplied by ``q * p ** q``,
        with ``p`` the probability it gives to the label.
    decay : float, default=0.7
        Share of the past in the moving average of a row's loss, in [0, 1).

    Attributes
    ----------
    estimator_ : NeuralImageClassifier or Pipeline
        What predicts; an ordinary one.
    biased_estimator_ : NeuralImageClassifier or Pipeline
        The biased network; what it gets right and ``estimator_`` does not goes by the shortcut.
    sample_scores_ : ndarray of shape (n,)
        Relative difficulty in [0, 1] by which every row counted at the end, with several labels their mean; NaN for
        rows that were not trained on.
    history_ : DataFrame
        One row per epoch, see :class:`~sklearn_shortcuts.neural.NeuralImageClassifier`; ``train_loss`` is the sum of
        both networks' losses, ``valid_loss`` that of the first alone.
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
    JTTClassifier : One network after the other.
    BAMHardSampleMiner : One network, which remembers what was hard.

    Notes
    -----
    Every visit of a row updates moving averages of its cross-entropy under both networks, ``b`` for the biased one and
    ``d`` for the other. Divided by the largest of the row's class, they make the weight ``b / (b + d)`` of the row's
    cross-entropy in training. With several labels, each has averages and weights of its own, and presence and absence
    of a label are its classes. Both networks are trained by the same optimizer, in twice the time. If ``module`` is a
    network of your own, or ``weights`` are given, both start from the same weights.

    The weights are below 1, and close to 0 for whatever the biased network has learned: the first one needs more epochs
    than in plain training. Where no shortcut is easier than the rest of the task, the biased network solves it, and the
    other does worse than by plain training; compare both. Mislabeled rows get large weights too.

    References
    ----------
    J. Nam, H. Cha, S. Ahn, J. Lee and J. Shin, "Learning from Failure: Training Debiased Classifier from Biased
    Classifier", NeurIPS (2020), Algorithm 1.

    Examples
    --------
    The corner tells the class in all but six rows, which the biased network gives up, so that they count.

    >>> import numpy as np
    >>> from sklearn_shortcuts.mitigation import LfFClassifier
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(160) % 2
    >>> corner = np.where(np.arange(160) < 6, 1 - y, y)
    >>> X = rng.normal(size=(160, 8, 8))
    >>> X[:, :3, :3] += 3 * (2 * corner - 1)[:, None, None]
    >>> X[:, 4:, 4:] += 0.5 * (2 * y - 1)[:, None, None]
    >>> network = NeuralImageClassifier(SmallCNN(4, depth=1), lr=0.01, batch_size=16, max_epochs=12, random_state=0)
    >>> model = LfFClassifier(network).fit(X, y)
    >>> bool(model.sample_scores_[:6].mean() > 2 * model.sample_scores_[6:].mean())
    True
    >>> model.score(X[:6], y[:6]), model.biased_estimator_.score(X[:6], y[:6])
    (1.0, 0.5)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "get_params"]), None],
        "q": [Interval(Real, 0, 1, closed="right")],
        "decay": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(self, estimator=None, *, q=0.7, decay=0.7):
        self.estimator = estimator
        self.q = q
        self.decay = decay

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None, groups=None):
        """Train both networks.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images, or whatever the first step of a pipeline takes.
        y : array-like of shape (n,), or array-like or DataFrame of shape (n, n_labels), default=None
            Classes, or one 0/1 column per label; by default the bunch's field ``target``.
        sample_weight : array-like of shape (n,), default=None
            Weights, not negative; a row of weight 0 counts as absent. By default the bunch's field.
        groups : array-like of shape (n,), default=None
            Patients; early stopping holds out whole groups. By default the bunch's field.

        Returns
        -------
        LfFClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If the input does not fit together.
        FloatingPointError
            If the loss becomes infinite or NaN.
        """
        rows = self._start(X, y, sample_weight, groups)
        own = rows.classifier.get_params(deep=False)
        pattern = clone(rows.classifier)
        pattern.image_shape_ = rows.image_shape
        model = clone(rows.classifier).set_params(
            criterion=LearningFromFailure(pattern, q=self.q, decay=self.decay),
            weighting="loss",  # the averages of a row count its visits: one per epoch
        )
        model.fit(rows.bunch, rows.y, **rows.options())
        loss = model.net_.criterion_
        self.sample_scores_ = loss.difficulty()
        self.history_ = model.history_
        models = plain_classifier(model, own), plain_classifier(model, own, loss.biased)
        self.estimator_, self.biased_estimator_ = self._finish(rows, *models)
        return self


class LearningFromFailure(Criterion):
    """Losses of two networks, one of which tells the other what counts; made in ``fit``, not public.

    Parameters
    ----------
    pattern : NeuralImageClassifier
        Describes the biased network; has ``image_shape_``.
    q, decay : float
        As in :class:`LfFClassifier`.
    """

    def __init__(self, pattern, *, q=0.7, decay=0.7):
        self.pattern = pattern
        self.q = q
        self.decay = decay

    def build(self, n_samples, n_outputs, kind):
        """Make the module with the biased network and the rows' moving averages, see :meth:`Criterion.build`."""
        biased, _ = build_module(self.pattern, kind, 2 if kind == "binary" else n_outputs)
        return FailureLoss(biased, self, n_samples, n_outputs, kind)


class FailureLoss(nn.Module):
    """What :meth:`LearningFromFailure.build` gives.

    Parameters
    ----------
    biased : torch.nn.Module
        Network.
    spec : LearningFromFailure
        Description.
    n_samples, n_outputs, kind : int, int, str
        As in :meth:`Criterion.build`.
    """

    def __init__(self, biased, spec, n_samples, n_outputs, kind):
        super().__init__()
        self.biased = biased
        self.q, self.decay = spec.q, spec.decay
        self.autocast = spec.pattern.precision == "bfloat16"
        n_decisions = n_outputs if kind == "multilabel" else 1
        self.n_classes = 2 if kind in ("binary", "multilabel") else n_outputs
        # Moving averages of the biased and of the main network's loss of every decision.
        self.register_buffer("averages", torch.zeros(n_samples, n_decisions, 2))
        self.register_buffer("seen", torch.zeros(n_samples, dtype=torch.bool))
        self.register_buffer("codes", torch.zeros(n_samples, n_decisions, dtype=torch.int64))

    def forward(self, logits, batch, training):
        """Losses of a batch, shape (n,); of held-out rows those of the main network alone."""
        X, y, index = batch["X"], batch["y"], batch["index"]
        losses = decision_losses(logits, y)
        label_weight = batch.get("label_weight", torch.ones_like(losses))
        if not training:
            return (losses * label_weight).mean(1)
        with torch.autocast(X.device.type, torch.bfloat16, enabled=self.autocast):
            biased_logits = main_output(self.biased(X))
        biased_losses = decision_losses(biased_logits.to(logits.dtype), y)
        with torch.no_grad():
            self._update(torch.stack([biased_losses, losses], dim=-1), y, index)
            weights = self.weights(index)
            easy = self.q * (-self.q * biased_losses).exp()
        return ((losses * weights + biased_losses * easy) * label_weight).mean(1)

    def weights(self, index):
        """Relative difficulty of the decisions of some rows, shape (n, n_decisions)."""
        # Every label has classes of its own.
        places = self.codes + self.n_classes * torch.arange(self.codes.shape[1], device=self.codes.device)
        largest = self.averages.new_zeros(self.n_classes * self.codes.shape[1], 2)
        largest.scatter_reduce_(0, places.reshape(-1, 1).expand(-1, 2), self.averages.reshape(-1, 2), "amax")
        relative = self.averages[index] / largest[places[index]].clamp_min(torch.finfo(largest.dtype).tiny)
        biased, main = relative.unbind(-1)
        return biased / (biased + main + 1e-8)

    def difficulty(self):
        """Mean relative difficulty of every row, ndarray of shape (n_samples,); NaN for rows that were never seen."""
        with torch.no_grad():
            values = self.weights(torch.arange(len(self.seen), device=self.seen.device)).mean(1)
        return np.where(self.seen.cpu().numpy(), values.cpu().double().numpy(), np.nan)

    def _update(self, losses, y, index):
        past = torch.where(self.seen[index][:, None, None], self.averages[index], losses)
        self.averages[index] = self.decay * past + (1 - self.decay) * losses
        self.codes[index] = y.long().reshape(len(y), -1)
        self.seen[index] = True
