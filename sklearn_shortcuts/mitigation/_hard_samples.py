"""Meta-estimator that finds the rows a network finds hard and trains so that they count."""

import contextlib
import copy
import warnings
from numbers import Integral, Real

import numpy as np
import pandas as pd
import torch
from sklearn.base import _fit_context, clone
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from skorch.history import History

from ..neural import CrossEntropy
from ._auxiliary_logits import AuxiliaryLogits, auxiliary_scores
from ._best_epoch import MONITORS, KeepBestEpoch, make_monitor
from ._gradient_variance import GradientVariance, standardize_within_classes
from ._held_out_rows import check_all_classes_stay, hold_out_rows
from ._network_meta import NetworkMetaEstimator
from ._prototypicality import distances_to_centroids
from ._sample_table import judge_rows, make_sample_table
from ._training_cache import Training, fit_once
from ._training_dynamics import SCORES

ALL_SCORES = ("aux", "aux_margin", *SCORES, "prototypicality")
_RECORDER = "gradient_variance"


class BAMHardSampleMiner(NetworkMetaEstimator):
    """Find the training rows that a network finds hard, and train so that they count.

    In stage 1 every row has logits of its own that take up what the network does not explain: rows that follow a
    shortcut are explained by the network, rows against it by their own logits, whose length ranks difficulty. In stage
    2 the network is trained on with the hard rows weighted up. No subgroup labels are needed.

    Parameters
    ----------
    estimator : NeuralImageClassifier or Pipeline that ends in one, default=None
        What is trained; a copy is used. By default ``NeuralImageClassifier()``. Its early stopping is off: every row
        gets a score, and ``monitor`` chooses the epoch. Stage 1 visits every row once per epoch, and given weights act
        on its loss, also with ``weighting="sampling"``, by which stage 2 then draws its rows.
    amplification : float, default=0.6
        Step of a row's own logits against the gradient of its loss, at every visit. 0 is plain training, whose scores
        forget in long trainings what was hard at first. Raise it for adaptive optimizers and few rows; with
        ``loss="squared"`` it must be below 1.
    loss : {"cross_entropy", "squared"}, default="cross_entropy"
        Loss of stage 1. "squared" is the published one: of logits against 0 and 1 without softmax (against -1 and 1
        where one logit decides between two).
    aux_shape : {"class", "scalar"}, default="class"
        One logit per row and class, or one per row that is added to its own class. With several labels both have one
        per row and label.
    mode : {"offset", "paper"}, default="offset"
        "offset" steps the rows' logits directly and goes with every optimizer. "paper" has them as parameters of the
        network's optimizer, times ``lambda_``: the same with SGD without momentum and
        ``amplification = lr * lambda_**2 / batch_size``.
    lambda_ : float, default=20.0
        Factor of ``mode="paper"``; not used otherwise, as ``amplification`` is not there.
    stage_one_epochs : int, default=None
        Epochs of stage 1; by default the ``max_epochs`` of the estimator. The rows' logits need five or more.
    low, high : float, default=0.25, 0.75
        A row is confidently wrong if the probability of its label, without its own logits, is at most ``low``, and
        confidently right if it is at least ``high``.
    selection : {"error", "probability", "quantile"}, default="error"
        Which rows are hard: those that are predicted wrong, those that are confidently wrong, or the share ``quantile``
        with the largest scores, and those that are as large; never those with the smallest score of all.
    difficulty : str, default="aux"
        Column of ``sample_table_`` that ``sample_scores_`` and ``selection="quantile"`` use; "vog" needs
        ``vog_checkpoints``.
    quantile : float, default=0.05
        Share of rows for ``selection="quantile"``.
    upweight : float, default=20.0
        Weight of hard rows in stage 2; the others have 1. The most sensitive of all parameters.
    stage_two_epochs : int, default=None
        Epochs of stage 2, which have as many steps as those of plain training; by default the ``max_epochs`` of the
        estimator. 0 only mines: ``estimator_`` is the network of stage 1.
    stage_two_lr : float, default=None
        Learning rate of stage 2; by default that of the estimator.
    continue_training : bool, default=True
        Go on from the network of stage 1, or train a new one. Either is a training of its own: callbacks such as
        learning-rate schedules start anew.
    monitor : {"worst_class", "class_difference"}, callable or None, default="worst_class"
        What chooses the epoch of stage 2, on held-out rows: the accuracy of the worst class (with several labels of the
        worst value of a label), the smallest sum of differences of accuracy between classes among epochs that are not
        near chance, or ``monitor(estimator, X, y)``, greater is better and NaN never the best. None holds out nothing
        and keeps the last epoch.
    validation_fraction : float, default=0.2
        Share of rows held out for ``monitor`` from both stages, in (0, 1); groups stay together.
    early_epochs : int, default=5
        Epochs that the scores "el2n" and "grand" are averaged over.
    vog_checkpoints : int, default=0
        Number of equally spaced epochs of stage 1 that the score "vog" compares, the last among them; 0 leaves it out.
        Two or more take as many forward and backward passes over the rows (backward passes per label, if there are
        several) and keep as many copies of the weights that are trained.
    memory : str, path-like or joblib.Memory, default=None
        Where networks of stage 1 are kept, so that a search over ``upweight`` trains one per fold.

    Attributes
    ----------
    estimator_ : NeuralImageClassifier or Pipeline
        What predicts.
    stage_one_ : NeuralImageClassifier or Pipeline
        The network of stage 1, without the rows' logits.
    sample_scores_ : ndarray of shape (n,)
        Difficulty of every row of X, higher is harder; NaN for rows that were held out or have the weight 0.
    sample_table_ : DataFrame of n rows
        Per row: ``label``, ``prediction`` and ``probability`` (of its label; with several labels the smallest) by
        the network of stage 1 without the rows' logits, ``bucket`` ("TP", "TN", "FP", "FN" or "ambiguous"; with more
        classes or several labels "easy", "hard" or "ambiguous"), ``hard``, ``easy``, ``held_out``, ``weight`` in stage
        2, all scores (see Notes), and the row's metadata. Rows of weight 0 are not even predicted.
    hard_mask_, easy_mask_ : ndarray of bool of shape (n,)
        Rows that were weighted up, and rows that are confidently right; neither holds held-out rows.
    sample_weight_ : ndarray of shape (n,)
        Weights of stage 2, given weights included; 0 for rows that took no part.
    aux_ : ndarray of shape (n, n_outputs) or (n, 1)
        The rows' own logits at the end of stage 1.
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

    Notes
    -----
    With ``z = f(x) + u`` for a row with own logits ``u`` (0 at first), stage 1 trains the network by the loss of ``z``,
    and at every visit ``u`` becomes ``u - amplification * d loss / d z``. So ``u`` adds up the errors of the row over
    the training, and takes it out of the network's hands the more it does. Predictions never use it.

    All scores come from the same training: from the network's logits without ``u``, as training saw them (with dropout
    and augmentation), higher is harder, means over labels if there are several:

    - "aux": length of ``u``; "aux_margin": what ``u`` adds to the right class less the best other one;
    - "loss": cross-entropy at the last visit; "mean_loss": mean over visits;
    - "confidence": 1 - mean probability of the label; "variability": its standard deviation; "aleatoric": mean of
      p (1 - p) (data maps, Data-IQ);
    - "correctness": share of visits with a wrong prediction; "forgetting": how often it turned from right to wrong,
      the number of visits for rows that never were right;
    - "aum": minus the mean lead of the label's logit over the best other one;
    - "el2n": length of probabilities minus labels, over the first epochs; "grand": of the last layer's gradient, over
      the same (exact where the head is linear and gets one vector; NaN if the network is compiled).

    Two more look at the rows as they are, without dropout and augmentation, and NaN stands for rows that took no part:

    - "prototypicality": 1 - cos(h, c), by the features ``h`` that the last layer gets at the end of stage 1 and their
      mean ``c`` over the training rows of the same class (with several labels of the same value of a label); from 0 to
      2, NaN if the network has no layer to take features from;
    - "vog", variance of gradients: with S_t the gradient of the label's logit by the image after epoch t, the standard
      deviation sqrt(1/K sum_t (S_t - mean S)^2) over K epochs of every pixel and channel, its mean over all of them,
      and that less its mean over the rows of the class, divided by their standard deviation. It has this form in the
      authors' program, where the root covers the sum; images are taken as the network gets them. No gradients are kept:
      the weights of the K epochs are, and after training each batch is gone through once. NaN if training was
      interrupted before the second of the epochs.

    Minority rows and mislabeled rows are both hard, and no such score tells them apart: look at them before you weight
    them up, first at those whose labels :func:`label_quality` doubts too. A network that needs no shortcut has hard
    rows too, so that these do not prove one. Scores rank the rows of one training; their values are not comparable
    between trainings, networks or studies.

    The published program hard-codes two classes in its squared loss, and three of its data sets; its strength of 50 and
    learning rate of 1e-5 amount to an ``amplification`` of 0.004, which on small networks ranks rows but does not
    change the training. Training on the same number of steps with weights takes the place of repeating rows.

    References
    ----------
    G. Li, J. Liu and W. Hu, "Bias Amplification Enhances Minority Group Performance", TMLR (2024).
    E. Z. Liu et al., "Just Train Twice: Improving Group Robustness without Training Group Information", ICML (2021).
    C. Agarwal, D. D'souza and S. Hooker, "Estimating Example Difficulty Using Variance of Gradients", CVPR (2022),
    Section 2 ("vog").

    Examples
    --------
    The corner tells the class in all but six rows; the network goes by it until these count.

    >>> import numpy as np
    >>> from sklearn_shortcuts.mitigation import BAMHardSampleMiner
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(160) % 2
    >>> corner = np.where(np.arange(160) < 6, 1 - y, y)
    >>> X = rng.normal(size=(160, 8, 8))
    >>> X[:, :3, :3] += 3 * (2 * corner - 1)[:, None, None]
    >>> X[:, 4:, 4:] += 0.5 * (2 * y - 1)[:, None, None]
    >>> network = NeuralImageClassifier(SmallCNN(4, depth=1), lr=0.01, batch_size=16, max_epochs=12, random_state=0)
    >>> miner = BAMHardSampleMiner(network, monitor=None).fit(X, y)
    >>> sorted(np.argsort(-miner.sample_scores_)[:6].tolist())
    [0, 1, 2, 3, 4, 5]
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "get_params"]), None],
        "amplification": [Interval(Real, 0, None, closed="left")],
        "loss": [StrOptions({"cross_entropy", "squared"})],
        "aux_shape": [StrOptions({"class", "scalar"})],
        "mode": [StrOptions({"offset", "paper"})],
        "lambda_": [Interval(Real, 0, None, closed="left")],
        "stage_one_epochs": [Interval(Integral, 1, None, closed="left"), None],
        "low": [Interval(Real, 0, 1, closed="both")],
        "high": [Interval(Real, 0, 1, closed="both")],
        "selection": [StrOptions({"error", "probability", "quantile"})],
        "difficulty": [StrOptions({*ALL_SCORES, "vog"})],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
        "upweight": [Interval(Real, 0, None, closed="neither")],
        "stage_two_epochs": [Interval(Integral, 0, None, closed="left"), None],
        "stage_two_lr": [Interval(Real, 0, None, closed="neither"), None],
        "continue_training": ["boolean"],
        "monitor": [StrOptions(set(MONITORS)), callable, None],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "early_epochs": [Interval(Integral, 1, None, closed="left")],
        "vog_checkpoints": [Interval(Integral, 2, None, closed="left"), Options(Integral, {0})],
        "memory": [str, HasMethods(["cache"]), HasMethods(["__fspath__"]), None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        amplification=0.6,
        loss="cross_entropy",
        aux_shape="class",
        mode="offset",
        lambda_=20.0,
        stage_one_epochs=None,
        low=0.25,
        high=0.75,
        selection="error",
        difficulty="aux",
        quantile=0.05,
        upweight=20.0,
        stage_two_epochs=None,
        stage_two_lr=None,
        continue_training=True,
        monitor="worst_class",
        validation_fraction=0.2,
        early_epochs=5,
        vog_checkpoints=0,
        memory=None,
    ):
        self.estimator = estimator
        self.amplification = amplification
        self.loss = loss
        self.aux_shape = aux_shape
        self.mode = mode
        self.lambda_ = lambda_
        self.stage_one_epochs = stage_one_epochs
        self.low = low
        self.high = high
        self.selection = selection
        self.difficulty = difficulty
        self.quantile = quantile
        self.upweight = upweight
        self.stage_two_epochs = stage_two_epochs
        self.stage_two_lr = stage_two_lr
        self.continue_training = continue_training
        self.monitor = monitor
        self.validation_fraction = validation_fraction
        self.early_epochs = early_epochs
        self.vog_checkpoints = vog_checkpoints
        self.memory = memory

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None, groups=None):
        """Train the network twice: to find the hard rows, and so that they count.

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
        BAMHardSampleMiner
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If parameters contradict each other or the input does not fit together.
        FloatingPointError
            If the loss becomes infinite or NaN.

        Warns
        -----
        UserWarning
            If no row is hard, or more than half are, or the network of stage 1 is no better than always giving the
            most frequent class; if ``monitor`` never gave a number; and if training was interrupted, after which the
            scores so far are kept.
        """
        self._forget()
        self._check_choices()
        rows = self._start(X, y, sample_weight, groups)
        classifier, bunch, y, labels = rows.classifier, rows.bunch, rows.y, rows.labels
        used, given = rows.weights.used, rows.weights.sample_weight
        train, held_out = self._hold_out(classifier, labels, used, rows.groups)
        weight = np.zeros(len(bunch))
        weight[train] = 1.0 if given is None else given[train]

        stage_one, loss, variation = self._train_stage_one(classifier, bunch, y, weight)
        judgment, scores = self._score_rows(stage_one, loss, variation, bunch, labels, weight, held_out)
        self.sample_weight_ = weight * np.where(self.hard_mask_, self.upweight, 1.0)
        self.sample_table_ = make_sample_table(
            labels,
            judgment,
            hard=self.hard_mask_,
            easy=self.easy_mask_,
            held_out=np.isin(np.arange(len(labels)), held_out),
            weight=self.sample_weight_,
            scores=scores,
            metadata=bunch.get("metadata") if "metadata" in bunch.fields else None,
        )
        history = [stage_one.history_.assign(stage=1)]
        model = stage_one
        if self.stage_two_epochs != 0 and not stage_one.net_.interrupted:
            held = (bunch[held_out], labels[held_out]) if len(held_out) else None
            model = self._train_stage_two(classifier, stage_one, bunch, y, held)
            table = model.history_.assign(stage=2)
            if held is not None:
                finished = [epoch for epoch in model.net_.history if "dur" in epoch]
                table["monitor"] = [epoch.get("monitor", np.nan) for epoch in finished]
            history.append(table.assign(epoch=np.arange(len(table)) + len(stage_one.history_) + 1))
        history = pd.concat(history, ignore_index=True)
        self.history_ = history[["epoch", "stage", *(name for name in history if name not in ("epoch", "stage"))]]
        self.estimator_, self.stage_one_ = self._finish(rows, model, stage_one)
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _forget(self):
        super()._forget()
        if hasattr(self, "stage_one_"):
            del self.stage_one_

    def _check_choices(self):
        if self.low >= self.high:
            raise ValueError(f"low={self.low} must be smaller than high={self.high}")
        if self.loss == "squared" and self.mode == "offset" and self.amplification >= 1:
            raise ValueError(
                f"amplification={self.amplification} lets the rows' logits diverge with loss='squared', where it must "
                f"be below 1"
            )
        if self.difficulty == "vog" and self.vog_checkpoints == 0:
            raise ValueError("difficulty='vog' needs checkpoints to compare: set vog_checkpoints, for instance to 5")

    def _hold_out(self, classifier, labels, used, groups):
        if self.monitor is None or self.stage_two_epochs == 0:
            return used, used[:0]
        train, held_out = hold_out_rows(
            classifier.random_state, labels, used, groups, fraction=self.validation_fraction, needed_by="monitor"
        )
        remedy = f"lower validation_fraction (now {self.validation_fraction}), or set monitor=None"
        check_all_classes_stay(labels, used, train, trained="the network", remedy=remedy)
        return train, held_out

    def _train_stage_one(self, classifier, bunch, y, weight):
        own = classifier.get_params(deep=False)
        epochs, callbacks = self.stage_one_epochs or classifier.max_epochs, classifier.callbacks
        if self.vog_checkpoints > epochs:
            raise ValueError(f"vog_checkpoints={self.vog_checkpoints} are more than the {epochs} epochs of stage 1")
        if self.vog_checkpoints:
            callbacks = [(_RECORDER, GradientVariance(self.vog_checkpoints)), *(callbacks or [])]
        stage_one = clone(classifier).set_params(
            criterion=AuxiliaryLogits(
                self.amplification,
                loss=self.loss,
                aux_shape=self.aux_shape,
                mode=self.mode,
                lambda_=self.lambda_,
                early_epochs=self.early_epochs,
            ),
            max_epochs=epochs,
            weighting="loss",  # the state of a row counts its visits: one per epoch
            early_stopping=False,
            warm_start=False,
            callbacks=callbacks,
        )
        stage_one = fit_once(Training(stage_one, bunch, y, {"sample_weight": weight}), self.memory)
        loss, net = stage_one.net_.criterion_, stage_one.net_
        # The state of all rows has no place in a network that predicts.
        net.criterion_ = CrossEntropy().build(len(bunch), stage_one._n_logits, stage_one._encoding.kind)
        stage_one.set_params(**own)
        variation = _remove_callback(net, _RECORDER)
        return stage_one, loss, variation

    def _score_rows(self, stage_one, loss, variation, bunch, labels, weight, held_out):
        trained = weight > 0
        train = np.flatnonzero(trained)
        known = np.concatenate([train, held_out])
        judgment = judge_rows(stage_one, bunch, labels, known, loss=self.loss, low=self.low, high=self.high)
        scores = loss.dynamics.table()
        scores["prototypicality"] = np.nan
        with contextlib.suppress(ValueError):  # no layer to take features from
            distances = distances_to_centroids(stage_one.embed(bunch[train]), judgment.codes[train], weight[train])
            scores.loc[train, "prototypicality"] = distances
        if variation is not None:
            scores["vog"] = standardize_within_classes(variation.values_, judgment.codes, weight)
        aux, seen = auxiliary_scores(loss, torch.from_numpy(judgment.codes)), scores["loss"].notna()
        for name, values in zip(("aux_margin", "aux"), reversed(aux)):
            scores.insert(0, name, np.where(seen, values, np.nan))
        self.aux_ = loss.offsets().numpy()
        self.sample_scores_ = scores[self.difficulty].to_numpy(copy=True)
        hard = judgment.wrong if self.selection == "error" else judgment.probability <= self.low
        if self.selection == "quantile":
            hard = _largest(self.sample_scores_, self.quantile)
        self.hard_mask_ = hard & trained
        self.easy_mask_ = (judgment.probability >= self.high) & ~hard & trained
        self._warn_of_rows(labels[train], judgment.wrong[train])
        return judgment, scores

    def _warn_of_rows(self, labels, wrong):
        n_hard, n_rows = int(self.hard_mask_.sum()), len(labels)
        against_few, against_many = self._remedies()
        by_score = self.selection == "quantile"
        most_frequent = np.unique(labels, return_counts=True)[1].max() / n_rows if labels.ndim == 1 else 0.0
        if n_hard == 0:
            why = f"all have the same {self.difficulty}. Choose another difficulty"
            if not by_score:
                why = f"the network of stage 1 fits all rows. {against_few}"
            message = f"no row is hard by selection={self.selection!r}, so that stage 2 weights all alike: {why}"
        elif by_score and n_hard > 2 * max(1, self.quantile * n_rows):
            message = (
                f"{n_hard} of {n_rows} rows are hard, many of the same {self.difficulty}. Choose another difficulty"
            )
        elif not by_score and n_hard > n_rows / 2:
            message = (
                f"{n_hard} of {n_rows} rows are hard: the network of stage 1 has learned too little to tell. "
                f"{against_many}"
            )
        elif labels.ndim == 1 and 1 - wrong.mean() <= most_frequent:
            message = (
                f"the network of stage 1 is right in {1 - wrong.mean():.0%} of the rows, and always giving the "
                f"most frequent class is in {most_frequent:.0%}: what it finds hard is a class. {against_many}"
            )
        else:
            return
        warnings.warn(message, UserWarning, stacklevel=4)

    def _remedies(self):
        """What to do about too few hard rows, and about too many."""
        now = f"amplification (now {self.amplification})"
        return (
            f"Raise {now}, lower stage_one_epochs, or use selection='quantile'",
            f"Raise stage_one_epochs or lr, or lower {now}",
        )

    def _train_stage_two(self, classifier, stage_one, bunch, y, held_out):
        own = classifier.get_params(deep=False)
        model = clone(classifier)
        if self.continue_training:
            model = copy.deepcopy(stage_one)
            model.net_.history = History()  # schedules of the learning rate start anew
        callbacks = list(model.callbacks or [])
        if held_out is not None:
            score = make_monitor(self.monitor, stage_one, *held_out)

            def score_net(net):
                now = copy.copy(stage_one)
                now.net_ = net
                return score(now)

            # Before those of the user, who may stop training by what it notes.
            callbacks.insert(0, ("keep_best_epoch", KeepBestEpoch(score_net)))
        model.set_params(
            max_epochs=self.stage_two_epochs or classifier.max_epochs,
            lr=self.stage_two_lr or classifier.lr,
            early_stopping=False,
            warm_start=self.continue_training,
            callbacks=callbacks,
        )
        model.fit(bunch, y, sample_weight=self.sample_weight_)
        _remove_callback(model.net_, "keep_best_epoch")
        return model.set_params(**own)


def _largest(scores, share):
    """The share of rows with the largest scores, and those that are as large; none with the smallest score of all."""
    known = np.sort(scores[~np.isnan(scores)])
    if len(known) == 0:
        return np.zeros(len(scores), dtype=bool)
    n_wanted = max(1, round(share * len(known)))
    return (scores >= known[-n_wanted]) & (scores > known[0])


def _remove_callback(net, name):
    """Take a callback out of a trained net and give it; None if there is none of that name."""
    found = dict(net.callbacks_).get(name)
    net.callbacks = [pair for pair in net.callbacks if not _is_called(pair, name)]
    net.callbacks_ = [pair for pair in net.callbacks_ if pair[0] != name]
    return found


def _is_called(callback, name):
    return isinstance(callback, tuple) and callback[0] == name
