"""New last layer for features that a network has learned in spite of a shortcut."""

import copy
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from skorch.callbacks import Callback
from torch import nn

from .._random_state import draw_seed, make_random_state
from ..neural._structure import find_head
from ._held_out_rows import check_all_classes_stay, hold_out_rows
from ._last_layer_solvers import (
    balanced_regression,
    choose_strength,
    difficulty_weights,
    disagreement_weights,
    pulled_regression,
)
from ._network_meta import NetworkMetaEstimator, plain_classifier
from ._subgroups import find_subgroups


class LastLayerRetraining(NetworkMetaEstimator):
    """Train a network, and its last layer anew on rows it has not seen, weighted against the shortcut.

    Networks that follow a shortcut have often learned the other features too, and only their last layer prefers it.
    That layer is a logistic regression, for which some hundred held-out rows are enough: balanced by known subgroups
    (DFR), or weighted by what the network finds hard (AFR) or has changed its mind on (SELF), without subgroups.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline that ends in one, or FrozenEstimator with one, default=None
        What is trained; a copy is used. By default ``NeuralImageClassifier()``. Of a fitted one in a
        :class:`~sklearn.frozen.FrozenEstimator` only the last layer of a copy is trained, on all rows given to ``fit``,
        which must be others than it was fitted on.
    weighting : {"group_balanced", "afr", "self"}, default="group_balanced"
        How held-out rows count, see Notes.
    attribute : str, default=None
        What divides the rows into subgroups, together with the label: a field of the
        :class:`~sklearn_shortcuts.images.ImageBunch`, or a column of its metadata. ``fit(..., subgroups=...)`` goes
        before it. With neither, the classes are the subgroups. Rows are held out in proportion to the subgroups;
        "afr" and "self" do not use them otherwise.
    held_out_fraction : float, default=0.2
        Share of rows that the last layer is trained on and the features are not, in (0, 1); patients stay together.
    C : float, default=None
        Inverse strength of the L1 penalty of "group_balanced", for standardized features. By default the one of
        1, 0.7, 0.3, 0.1, 0.07, 0.03 and 0.01 that, fitted to one half of the held-out rows, is best in the worst
        subgroup of the other.
    n_draws : int, default=20
        Balanced samples of "group_balanced" whose regressions are averaged.
    gamma : float, default=4.0
        How much more improbable labels count with "afr".
    pull : float, default=0.01
        Factor of the squared distance from the old last layer with "afr" and "self".
    early_epoch : int, default=None
        Epoch whose network "self" compares with the last one; by default a quarter of the ``max_epochs`` of the
        estimator, at least 1.
    selected_fraction : float, default=0.1
        Share of the held-out rows of each class that "self" takes, in (0, 1].

    Attributes
    ----------
    estimator_ : NeuralImageClassifier or Pipeline
        What predicts: an ordinary one, whose last linear layer has the new weights.
    stage_one_ : NeuralImageClassifier or Pipeline
        The network with its old last layer.
    held_out_mask_ : ndarray of bool of shape (n,)
        Rows that the features were not trained on.
    sample_weight_ : ndarray of shape (n,)
        Share of every row in the training of the last layer, with several labels the mean; they add up to 1.
    C_ : float or ndarray of shape (n_labels,)
        The C that was used, only with "group_balanced"; several labels have one each.
    history_ : DataFrame
        One row per epoch of the features, see :class:`~sklearn_shortcuts.neural.NeuralImageClassifier`.
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
    GroupDROClassifier : Trains the whole network for the worst subgroup.

    Notes
    -----
    - "group_balanced" (DFR): features are standardized; samples with as many rows of every subgroup as the smallest
      has are drawn without replacement, each gets a logistic regression with L1 penalty, and these are averaged. The
      scaling is then moved into the weights.
    - "afr": rows have the weight ``exp(-gamma * p)``, with ``p`` the probability of the label by the old layer, divided
      by the number of rows of the class. Weights that add up to 1 multiply the cross-entropies, ``pull`` the squared
      distance from the old weights and biases. The published program takes some hundred steps towards this minimum;
      here it is reached, so that ``pull`` must not be 0.
    - "self": of every class the rows are taken on which the network of the last epoch diverges most
      (Kullback-Leibler) from that of an early one; all classes count the same. They are fitted like "afr" in place of
      some hundred small steps.

    "self" can only find what the network has learned since: rows against the shortcut that it still gets wrong do not
    stand out. Look at the rows of the largest ``sample_weight_``.

    Several labels have regressions of their own, on the same features.

    References
    ----------
    P. Kirichenko, P. Izmailov and A. G. Wilson, "Last Layer Re-Training is Sufficient for Robustness to Spurious
    Correlations", ICLR (2023).
    S. Qiu, A. Potapczynski, P. Izmailov and A. G. Wilson, "Simple and Fast Group Robustness by Automatic Feature
    Reweighting", ICML (2023).
    T. LaBonte, V. Muthukumar and A. Kumar, "Towards Last-layer Retraining for Group Robustness with Fewer
    Annotations", NeurIPS (2023).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.metrics import make_subgroups, subgroup_accuracy
    >>> from sklearn_shortcuts.mitigation import LastLayerRetraining
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(300) % 2
    >>> tube = np.where(np.arange(300) < 30, 1 - y, y)
    >>> X = rng.normal(size=(300, 8, 8))
    >>> X[:, :3, :3] += 3 * tube[:, None, None]
    >>> X[:, 4:, 4:] += y[:, None, None]
    >>> network = NeuralImageClassifier(SmallCNN(4, depth=1), lr=0.01, max_epochs=5, random_state=0)
    >>> model = LastLayerRetraining(network, held_out_fraction=0.3).fit(X, y, subgroups=tube)
    >>> subgroups = make_subgroups(y, tube)
    >>> before = subgroup_accuracy(y, model.stage_one_.predict(X), subgroups=subgroups)
    >>> after = subgroup_accuracy(y, model.predict(X), subgroups=subgroups)
    >>> bool(after > before + 0.5)
    True
    """

    _goes_on = True
    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "get_params"]), None],
        "weighting": [StrOptions({"group_balanced", "afr", "self"})],
        "attribute": [str, None],
        "held_out_fraction": [Interval(Real, 0, 1, closed="neither")],
        "C": [Interval(Real, 0, None, closed="neither"), None],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "pull": [Interval(Real, 0, None, closed="neither")],
        "early_epoch": [Interval(Integral, 1, None, closed="left"), None],
        "selected_fraction": [Interval(Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        estimator=None,
        *,
        weighting="group_balanced",
        attribute=None,
        held_out_fraction=0.2,
        C=None,
        n_draws=20,
        gamma=4.0,
        pull=0.01,
        early_epoch=None,
        selected_fraction=0.1,
    ):
        self.estimator = estimator
        self.weighting = weighting
        self.attribute = attribute
        self.held_out_fraction = held_out_fraction
        self.C = C
        self.n_draws = n_draws
        self.gamma = gamma
        self.pull = pull
        self.early_epoch = early_epoch
        self.selected_fraction = selected_fraction

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, subgroups=None, sample_weight=None, groups=None):
        """Train the network, and its last layer anew.

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
            Patients; whole groups are held out. By default the bunch's field.

        Returns
        -------
        LastLayerRetraining
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If the network does not end in a linear layer, a subgroup has too few held-out rows, or the input does not
            fit together.
        FloatingPointError
            If the loss becomes infinite or NaN.

        Warns
        -----
        UserWarning
            If training was interrupted, after which the last layer stays as it is.
        """
        if hasattr(self, "C_"):
            del self.C_
        rows = self._start(X, y, sample_weight, groups)
        found = find_subgroups(rows, subgroups=subgroups, attribute=self.attribute, cross_with_label=True)
        train, held_out = self._divide(rows, found)
        own = rows.classifier.get_params(deep=False)
        stage_one, early_state = self._train_features(rows, train)
        model, weight = copy.deepcopy(stage_one), np.zeros(len(rows.labels))
        if not stage_one.net_.interrupted or len(train) == 0:
            layer, weight[held_out] = self._solve(rows, found, held_out, stage_one, early_state)
            _set_last_layer(model, *layer)
        self.held_out_mask_ = np.isin(np.arange(len(rows.labels)), held_out)
        self.sample_weight_ = weight
        self.history_ = stage_one.history_
        models = plain_classifier(model, own), plain_classifier(stage_one, own)
        self.estimator_, self.stage_one_ = self._finish(rows, *models)
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _divide(self, rows, found):
        """Rows for the features, and rows for the last layer."""
        used = rows.weights.used
        if isinstance(self.estimator, FrozenEstimator):
            if self.weighting == "self":
                raise ValueError(
                    "weighting='self' compares with the network of an early epoch, which a fitted estimator does not "
                    "have: give one to be fitted, or choose another weighting"
                )
            return used[:0], used
        if self.weighting == "self" and self._early_epoch(rows) >= rows.classifier.max_epochs:
            raise ValueError(
                f"early_epoch={self._early_epoch(rows)} must be smaller than max_epochs={rows.classifier.max_epochs}"
            )
        train, held_out = hold_out_rows(
            rows.classifier.random_state,
            self._strata(rows, found),
            used,
            rows.groups,
            fraction=self.held_out_fraction,
            needed_by="held_out_fraction",
        )
        for column in range(found.codes.shape[1]):
            lacking = np.setdiff1d(found.codes[used, column], found.codes[held_out, column])
            if len(lacking):
                raise ValueError(
                    f"subgroup {found.names[lacking[0]].item()!r} has no held-out row to train the last layer on: "
                    f"raise held_out_fraction (now {self.held_out_fraction}), or leave the subgroup out"
                )
        remedy = f"lower held_out_fraction (now {self.held_out_fraction})"
        check_all_classes_stay(rows.labels, used, train, trained="the features", remedy=remedy)
        return train, np.sort(held_out)

    def _early_epoch(self, rows):
        return self.early_epoch or max(1, rows.classifier.max_epochs // 4)

    @staticmethod
    def _strata(rows, found):
        return found.codes[:, 0] if found.codes.shape[1] == 1 else rows.codes()

    def _train_features(self, rows, train):
        if len(train) == 0:
            return copy.deepcopy(rows.classifier), None
        given = rows.weights.sample_weight
        weight = np.zeros(len(rows.labels))
        weight[train] = 1.0 if given is None else given[train]
        model = clone(rows.classifier)
        if self.weighting == "self":
            model.set_params(
                callbacks=[*(model.callbacks or []), ("keep_early_epoch", KeepEarlyEpoch(self._early_epoch(rows)))]
            )
        model.fit(rows.bunch, rows.y, sample_weight=weight, groups=rows.groups)
        kept = dict(model.net_.callbacks_).get("keep_early_epoch")
        return model, None if kept is None else kept.state_

    def _solve(self, rows, found, held_out, stage_one, early_state):
        """Weights and biases of the new last layer, and the share of each held-out row in them."""
        bunch, codes, kind = rows.bunch[held_out], rows.codes()[held_out], rows.encoding.kind
        given = rows.weights.sample_weight
        weight = np.ones(len(held_out)) if given is None else given[held_out]
        features = stage_one.embed(bunch).astype(np.float64)
        coef, bias = _last_layer(stage_one, features, bunch)
        if self.weighting == "group_balanced":
            return self._balanced(rows, found, held_out, (features, codes, weight), len(coef), bias is not None)
        logits = features @ coef.T + (0 if bias is None else bias)
        if self.weighting == "afr":
            shares = difficulty_weights(logits, codes, kind, self.gamma, weight)
        else:
            early = copy.deepcopy(stage_one)
            early.module_.load_state_dict(early_state)
            shares = disagreement_weights(logits, early._logits(bunch), codes, kind, self.selected_fraction, weight)
        layer = pulled_regression(features, codes, shares, coef, bias, pull=self.pull)
        return layer, shares.mean(axis=1)

    def _balanced(self, rows, found, held_out, values, n_outputs, intercept):
        features, codes, weight = values
        random_state = rows.classifier.random_state
        seed = draw_seed(make_random_state(copy.deepcopy(random_state)))
        options = {"n_draws": self.n_draws, "intercept": intercept}
        strengths, layers, shares = [], [], np.zeros(len(held_out))
        for column in range(codes.shape[1]):
            parts = features, codes[:, column], found.codes[held_out, column], weight
            present, n_classes = np.unique(codes[:, column]), len(rows.encoding.classes.T)
            if len(present) < n_classes:
                raise ValueError(
                    f"the last layer needs rows of all {n_classes} classes, but those to train it on have only "
                    f"{len(present)}"
                    + (f" of label {rows.encoding.label_names.tolist()[column]!r}" if codes.shape[1] > 1 else "")
                )
            C = self.C
            if C is None:
                halves = self._halves(rows, found, held_out, column)
                C = choose_strength(*parts, halves, seed=seed, **options)
            coef, bias, drawn = balanced_regression(*parts, C=C, rng=np.random.default_rng(seed), **options)
            if n_outputs == codes.shape[1]:  # one logit decides between two
                coef, bias = coef[1:] - coef[:1], bias[1:] - bias[:1]
            strengths.append(C)
            layers.append((coef, bias))
            shares += drawn * weight / (drawn @ weight) / codes.shape[1]
        self.C_ = np.array(strengths) if rows.encoding.kind == "multilabel" else strengths[0]
        coef, bias = (np.concatenate(part) for part in zip(*layers))
        return (coef, bias if intercept else None), shares

    def _halves(self, rows, found, held_out, column):
        """Positions among the held-out rows of those to fit to and those to choose C by."""
        halves = hold_out_rows(
            rows.classifier.random_state,
            self._strata(rows, found),
            held_out,
            rows.groups,
            fraction=0.5,
            needed_by="C",
        )
        present = np.unique(found.codes[held_out, column])
        for half in halves:
            lacking = np.setdiff1d(present, found.codes[half, column])
            if len(lacking):
                raise ValueError(
                    f"subgroup {found.names[lacking[0]].item()!r} has too few of the {len(held_out)} held-out rows to "
                    f"choose C by one half of them: give C, or raise held_out_fraction"
                )
        return [np.searchsorted(held_out, half) for half in halves]


class KeepEarlyEpoch(Callback):
    """Keep the weights that a network has after some epochs, or at the end if it trains for fewer; not public.

    Parameters
    ----------
    epoch : int
        Number of epochs.
    """

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_begin(self, net, **kwargs):
        self.state_ = None

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) <= self.epoch:
            self.state_ = copy.deepcopy(net.module_.state_dict())


def _last_layer(model, features, bunch):
    """Weights and biases of the last layer, which must give the logits."""
    name, head = find_head(model.module_)
    if not isinstance(head, nn.Linear):
        raise ValueError(f"the network must end in a linear layer, but its last one, {name!r}, is a convolution")
    coef = head.weight.detach().cpu().double().numpy()
    bias = None if head.bias is None else head.bias.detach().cpu().double().numpy()
    some = np.arange(min(64, len(features)))
    given, made = model._logits(bunch[some]), features[some] @ coef.T + (0 if bias is None else bias)
    tolerance = (0.05 if model.precision == "bfloat16" else 1e-3) * max(1.0, np.abs(given).max())
    if given.shape != made.shape or np.abs(given - made).max() > tolerance:
        raise ValueError(f"the network's logits must be those of its last linear layer, {name!r}, but it changes them")
    return coef, bias


def _set_last_layer(model, coef, bias):
    _, head = find_head(model.module_)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(coef))
        if bias is not None:
            head.bias.copy_(torch.from_numpy(bias))
