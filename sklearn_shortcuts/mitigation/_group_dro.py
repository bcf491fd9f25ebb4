"""Training by the loss of the subgroups that are worst off."""

from numbers import Real

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.base import _fit_context, clone
from sklearn.utils._param_validation import HasMethods, Interval
from torch import nn

from ..neural import Criterion
from ._decision_losses import decision_losses
from ._network_meta import NetworkMetaEstimator, plain_classifier
from ._subgroups import find_subgroups

_FIELD = "subgroup_codes"


class GroupDROClassifier(NetworkMetaEstimator):
    """Train a network by the loss of the subgroups that it does worst in (group DRO).

    Every subgroup has a weight that grows with its loss, and the network minimizes the weighted sum: the subgroup that
    is worst off decides. Subgroups must be known at training, at prediction they are not needed.

    Parameters
    ----------
    estimator : NeuralImageClassifier or Pipeline that ends in one, default=None
        What is trained; a copy is used. By default ``NeuralImageClassifier()``. Train it with weight decay or for few
        epochs: once it fits all rows, no subgroup is worse than another.
    attribute : str, default=None
        What divides the rows: a field of the :class:`~sklearn_shortcuts.images.ImageBunch`, or a column of its
        metadata. ``fit(..., subgroups=...)`` goes before it. With neither, the classes are the subgroups.
    cross_with_label : bool, default=True
        Whether subgroups are combinations of label and attribute, with several labels of each label's values and the
        attribute. It changes nothing for an attribute that tells the label.
    step_size : float, default=0.01
        Rate at which the logarithms of the weights follow the losses, at every step of the network.
    adjustment : float, default=0.0
        This times ``1 / sqrt(n_g)`` is added to the loss of a subgroup of ``n_g`` rows when its weight is set, since
        small ones generalize worse.

    Attributes
    ----------
    estimator_ : NeuralImageClassifier or Pipeline
        What predicts; an ordinary one that needs no subgroups.
    group_weights_ : Series
        Weight of every subgroup at the end of training, by name; they add up to 1.
    group_sizes_ : Series
        Training rows of every subgroup; with several labels that are crossed, pairs of row and label.
    history_ : DataFrame
        One row per epoch, see :class:`~sklearn_shortcuts.neural.NeuralImageClassifier`.
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
    sklearn_shortcuts.metrics.subgroup_scores : How well a classifier does in every subgroup.
    JTTClassifier : Needs no subgroups.

    Notes
    -----
    At every step, with the mean losses ``l_g`` of the subgroups in the batch, ``q_g`` is multiplied by
    ``exp(step_size * (l_g + adjustment / sqrt(n_g)))`` for these, all are divided by their sum, and the network takes a
    step down ``sum_g q_g l_g``. Rows come in random order; the published program draws as many rows of every subgroup,
    as does ``weighting="sampling"`` of the estimator where ``sample_weight`` is one over the size of the subgroup. Else
    give larger batches if a subgroup is absent from many. Weights of rows act on the means. With early stopping,
    held-out rows are weighted by ``q_g`` over the share of the subgroup.

    References
    ----------
    S. Sagawa, P. W. Koh, T. B. Hashimoto and P. Liang, "Distributionally Robust Neural Networks for Group Shifts: On
    the Importance of Regularization for Worst-Case Generalization", ICLR (2020), Algorithm 1 and Eq. 5.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.base import clone
    >>> from sklearn_shortcuts.metrics import make_subgroups, subgroup_accuracy
    >>> from sklearn_shortcuts.mitigation import GroupDROClassifier
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(120) % 2
    >>> tube = pd.Series(np.where(np.arange(120) < 12, 1 - y, y), name="tube")
    >>> X = rng.normal(size=(120, 8, 8))
    >>> X[:, :3, :3] += 3 * tube.to_numpy()[:, None, None]
    >>> X[:, 4:, 4:] += y[:, None, None]
    >>> network = NeuralImageClassifier(SmallCNN(4, depth=1), lr=0.01, batch_size=30, max_epochs=5, random_state=0)
    >>> model = GroupDROClassifier(network, step_size=0.1).fit(X, y, subgroups=tube)
    >>> model.group_weights_.index.tolist()
    ['y=0, tube=0', 'y=0, tube=1', 'y=1, tube=0', 'y=1, tube=1']
    >>> plain = clone(network).fit(X, y)
    >>> subgroup_accuracy(y, plain.predict(X), subgroups=make_subgroups(y, tube))
    0.0
    >>> bool(subgroup_accuracy(y, model.predict(X), subgroups=make_subgroups(y, tube)) > 0.8)
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "get_params"]), None],
        "attribute": [str, None],
        "cross_with_label": ["boolean"],
        "step_size": [Interval(Real, 0, None, closed="left")],
        "adjustment": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, estimator=None, *, attribute=None, cross_with_label=True, step_size=0.01, adjustment=0.0):
        self.estimator = estimator
        self.attribute = attribute
        self.cross_with_label = cross_with_label
        self.step_size = step_size
        self.adjustment = adjustment

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, subgroups=None, sample_weight=None, groups=None):
        """Train the network.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images, or whatever the first step of a pipeline takes.
        y : array-like of shape (n,), or array-like or DataFrame of shape (n, n_labels), default=None
            Classes, or one 0/1 column per label; by default the bunch's field ``target``.
        subgroups : array-like of shape (n,), or a fitted BAMHardSampleMiner or JTTClassifier, default=None
            Values of the attribute. Of a miner that was fitted on the same rows: whether they are hard.
        sample_weight : array-like of shape (n,), default=None
            Weights, not negative; a row of weight 0 counts as absent. By default the bunch's field.
        groups : array-like of shape (n,), default=None
            Patients; early stopping holds out whole groups. By default the bunch's field.

        Returns
        -------
        GroupDROClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If a row has no subgroup, or the input does not fit together.
        FloatingPointError
            If the loss becomes infinite or NaN.
        """
        rows = self._start(X, y, sample_weight, groups)
        found = find_subgroups(
            rows, subgroups=subgroups, attribute=self.attribute, cross_with_label=self.cross_with_label
        )
        model, own = clone(rows.classifier), rows.classifier.get_params(deep=False)
        model.set_params(criterion=GroupDRO(found.counts, step_size=self.step_size, adjustment=self.adjustment))
        model.fit(rows.bunch.with_fields(**{_FIELD: found.codes}), rows.y, **rows.options())
        weights = model.net_.criterion_.group_weights().cpu().double().numpy()
        names = pd.Index(found.names, name="subgroup", dtype=object)
        self.group_weights_ = pd.Series(weights / weights.sum(), names, name="weight")
        self.group_sizes_ = pd.Series(found.counts, names, name="n_rows")
        self.history_ = model.history_
        (self.estimator_,) = self._finish(rows, plain_classifier(model, own))
        return self


class GroupDRO(Criterion):
    """Weighted sum of the subgroups' mean losses, with weights that follow the losses; made in ``fit``, not public.

    Parameters
    ----------
    counts : ndarray of int of shape (n_subgroups,)
        Rows of every subgroup.
    step_size, adjustment : float
        As in :class:`GroupDROClassifier`.
    """

    fields = (_FIELD,)

    def __init__(self, counts, *, step_size=0.01, adjustment=0.0):
        self.counts = counts
        self.step_size = step_size
        self.adjustment = adjustment

    def build(self, n_samples, n_outputs, kind):
        """Make the module that computes the losses and keeps the weights, see :meth:`Criterion.build`."""
        return GroupDROLoss(self)


class GroupDROLoss(nn.Module):
    """What :meth:`GroupDRO.build` gives.

    Parameters
    ----------
    spec : GroupDRO
        Description.
    """

    def __init__(self, spec):
        super().__init__()
        self.step_size = spec.step_size
        counts = torch.from_numpy(np.asarray(spec.counts, dtype=np.float64))
        # Logarithms: weights of subgroups that fit early do not vanish for good.
        self.register_buffer("log_weights", torch.full_like(counts, 1 / len(counts)).log())
        self.register_buffer("adjustments", spec.adjustment / counts.sqrt())
        self.register_buffer("shares", counts / counts.sum())

    def forward(self, logits, batch, training):
        """Values of a batch whose weighted mean is the objective, shape (n,)."""
        codes, losses = batch[_FIELD], decision_losses(logits, batch["y"])
        weight = torch.ones_like(losses) if "label_weight" not in batch else batch["label_weight"]
        if codes.shape[1] < losses.shape[1]:  # one subgroup for all labels of a row
            losses = (losses * weight).mean(1, keepdim=True)
            weight = torch.ones_like(losses)
        if not training:
            return (losses * weight * self.group_weights()[codes] / self.shares[codes]).mean(1)
        # The net multiplies what it gets by the rows' weights and takes the mean over the batch.
        row_weight = batch["sample_weight"][:, None] if "sample_weight" in batch else torch.ones_like(losses)
        mass = self._add_up(weight * row_weight, codes)
        with torch.no_grad():
            present = mass > 0
            means = self._add_up(losses.detach() * weight * row_weight, codes) / torch.where(present, mass, 1)
            steps = torch.where(present, self.step_size * (means + self.adjustments), 0)
            self.log_weights.copy_((self.log_weights + steps).log_softmax(0))
        scale = self.group_weights()[codes] * len(losses) / torch.where(mass > 0, mass, 1)[codes]
        return (losses * weight * scale).sum(1)

    def group_weights(self):
        """Weights of the subgroups, which add up to 1."""
        return self.log_weights.exp()

    def _add_up(self, values, codes):
        # On GPUs additions to an index come in another order each time.
        members = F.one_hot(codes.reshape(-1), len(self.log_weights)).to(values.dtype)
        return values.reshape(-1) @ members
