"""The neural classifier with the interface of scikit-learn."""

import copy
import warnings
from numbers import Integral, Real

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from .._random_state import draw_seed, make_random_state
from ._batches import RowReader
from ._inputs import check_images, is_scaled
from ._persistence import PersistenceMixin
from ._prediction import PredictionMixin
from ._runtime import own_random_state, parameter_dtype, resolve_device
from ._split import hold_out
from ._statistics import channel_statistics, imagenet_statistics
from ._targets import TargetEncoding, check_target
from ._training import (
    build_module,
    build_net,
    check_weights,
    choices,
    make_callbacks,
    objective_fields,
    renew_network,
    renew_objectives,
    row_fields,
    weight_fields,
)


class NeuralImageClassifier(PredictionMixin, PersistenceMixin, ClassifierMixin, BaseEstimator):
    """Classify images or signals with a neural network.

    Any image network behind scikit-learn's interface: it goes into pipelines, searches and cross-validation, takes
    :class:`~sklearn_shortcuts.images.ImageBunch` (read batch by batch, ahead of the network) or plain arrays, and
    trains by whatever criterion and penalty it is given. Unsigned integers are divided by the largest value of their
    type; floating-point images are taken as they are.

    Parameters
    ----------
    module : ModuleSpec, str, torch.nn.Module or class of one, default=None
        Network: a description such as :class:`SmallCNN` (the default), the name of a torchvision model, or a network
        of your own, of which a copy is trained.
    image_shape : tuple of int, default=None
        Shape of one row, ``(C, H, W)`` or, for signals, ``(C, T)``. By default that of the images: ``(n, H, W)`` has
        one channel, and the rows of a two-dimensional ``X`` are images one pixel high.
    criterion : Criterion, default=None
        Training objective; by default :class:`CrossEntropy`.
    penalty : Penalty, default=None
        What is added to the loss of each row in training.
    optimizer : {"adamw", "adam", "sgd"} or callable, default="adamw"
        Optimizer, or a class of one: called with the parameters, ``lr`` and, if it takes that, ``weight_decay``.
    lr : float, default=1e-3
        Learning rate.
    momentum : float, default=0.9
        Momentum of ``"sgd"``, in [0, 1); the other optimizers do not use it.
    weight_decay : float, default=0.0
        Weight decay as the optimizer defines it.
    max_epochs : int, default=10
        Passes over the training rows.
    batch_size : int, default=64
        Rows per step. A single row that is left over joins the batch before it.
    class_weight : dict or "balanced", default=None
        Weight of each class; with several labels, of the presence of each label by name. ``"balanced"`` gives every
        class, or presence and absence of every label, the same total weight.
    weighting : {"loss", "sampling"}, default="loss"
        How weights of rows (with those of classes, unless there are several labels) act in training: as factors of the
        loss; or every epoch draws as many rows as there are, with replacement and with probabilities in proportion to
        the weights, and the loss is not weighted. Sampling keeps steps alike where few rows have large weights. The
        loss of held-out rows is weighted in either case; without weights, or with equal ones, there is no difference.
    weights : str or path, default=None
        Local file with initial weights.
    freeze : str or int, default=None
        Last layer that is not trained, by name, or number of blocks next to the input that are not trained.
    normalize : {"channel", "imagenet"}, default=None
        Subtract a mean and divide by a standard deviation per channel: those of the training rows, or the published
        constants that most pretrained weights expect.
    augmentation : RandomGeometry, default=None
        Random changes of training images and their masks.
    early_stopping : bool, default=False
        Hold out rows, stop when their loss stops falling and go back to the best epoch.
    validation_fraction : float, default=0.1
        Share of rows held out, in (0, 1). Classes are kept in proportion and groups together.
    patience : int, default=5
        Epochs without improvement before stopping.
    callbacks : list of skorch.callbacks.Callback, default=None
        For instance learning-rate schedules or gradient clipping; copies are used.
    warm_start : bool, default=False
        Let ``fit`` train the fitted network further, for ``max_epochs`` more. Another ``freeze`` takes effect; what
        the network was made of (``module``, ``image_shape``, ``weights``, ``normalize``) must not change.
    device : str, default="auto"
        Torch device; by default a CUDA GPU if there is one.
    compile : bool, default=False
        Compile the network with ``torch.compile``, which takes minutes at the start.
    precision : {"float32", "float64", "bfloat16"}, default="float32"
        Numbers that the network computes with; ``"bfloat16"`` keeps its weights in float32.
    memory_format : {"auto", "channels_last", "contiguous"}, default="auto"
        Order of the axes of images in memory. ``"auto"`` has the channels last, which is faster.
    n_threads : int, default=None
        Threads that read rows ahead of the network; 0 reads when needed. By default 2 for images that are decoded
        or on disk and 0 for arrays in memory. The result does not depend on it.
    n_draws : int, default=1
        Random draws of every row whose probabilities are averaged at predict time, where rows can be drawn anew, as
        slices by :class:`~sklearn_shortcuts.preprocessing.SliceSampler`; the same draws in every call. With 1, rows
        are taken as they come.
    random_state : int, RandomState instance or None, default=None
        Initial weights, order of rows, dropout, augmentation, draws of rows in training and held-out rows. An int
        makes ``fit`` repeatable. The global states of NumPy and torch are never changed.
    verbose : int, default=0
        1 shows a progress bar, 2 prints a line per epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,) or (n_labels, 2)
        Classes; with several labels, the values 0 and 1 for each.
    label_names_ : ndarray of shape (n_labels,) or None
        Names of several labels: the columns of ``y`` if it was a DataFrame, otherwise numbers.
    history_ : DataFrame of shape (`n_iter_`, n_columns)
        ``epoch``, ``train_loss``, with a penalty also ``train_criterion`` and ``train_penalty``, with early stopping
        ``valid_loss`` (without penalty), and ``seconds``.
    n_iter_ : int
        Epochs trained.
    image_shape_ : tuple of int
        Shape of one row as the network sees it.
    channel_mean_, channel_std_ : ndarray of shape (C,) or None
        What ``normalize`` uses, in units of scaled images.
    module_ : torch.nn.Module
        The trained network.
    net_ : object
        Network, optimizer and training loop.
    n_features_in_ : int
        Values per row.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, if ``X`` was a DataFrame.

    See Also
    --------
    SmallCNN : The default network.
    CrossEntropy : The default criterion.

    Notes
    -----
    Fields of an :class:`~sklearn_shortcuts.images.ImageBunch` that ``fit`` uses: ``target``, ``sample_weight``,
    ``groups`` (only for early stopping) and whatever criterion and penalty name. An argument of ``fit`` goes
    before the field.

    Ctrl-C ends training, with a warning, and leaves a fitted classifier.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["nothing", "opacity"], 32)
    >>> images = rng.normal(size=(64, 16, 16))
    >>> images[32:, 4:10, 2:8] += 1.5
    >>> model = NeuralImageClassifier(SmallCNN(width=4), lr=0.01, batch_size=16, random_state=0)
    >>> model = model.fit(images, y)
    >>> model.score(images, y)
    1.0
    >>> model.predict_proba(images[:3]).shape
    (3, 2)
    """

    _parameter_constraints: dict = {
        "module": [HasMethods(["build"]), callable, str, None],
        "image_shape": [tuple, list, None],
        "criterion": [HasMethods(["build"]), None],
        "penalty": [HasMethods(["build"]), None],
        "optimizer": [StrOptions({"adam", "adamw", "sgd"}), callable],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "weighting": [StrOptions({"loss", "sampling"})],
        "weights": [str, HasMethods(["__fspath__"]), None],
        "freeze": [str, Interval(Integral, 1, None, closed="left"), None],
        "normalize": [StrOptions({"channel", "imagenet"}), None],
        "augmentation": [HasMethods(["apply", "check"]), None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "callbacks": [list, None],
        "warm_start": ["boolean"],
        "device": [str],
        "compile": ["boolean"],
        "precision": [StrOptions({"float32", "float64", "bfloat16"})],
        "memory_format": [StrOptions({"auto", "channels_last", "contiguous"})],
        "n_threads": [Interval(Integral, 0, None, closed="left"), None],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        module=None,
        *,
        image_shape=None,
        criterion=None,
        penalty=None,
        optimizer="adamw",
        lr=1e-3,
        momentum=0.9,
        weight_decay=0.0,
        max_epochs=10,
        batch_size=64,
        class_weight=None,
        weighting="loss",
        weights=None,
        freeze=None,
        normalize=None,
        augmentation=None,
        early_stopping=False,
        validation_fraction=0.1,
        patience=5,
        callbacks=None,
        warm_start=False,
        device="auto",
        compile=False,
        precision="float32",
        memory_format="auto",
        n_threads=None,
        n_draws=1,
        random_state=None,
        verbose=0,
    ):
        self.module = module
        self.image_shape = image_shape
        self.criterion = criterion
        self.penalty = penalty
        self.optimizer = optimizer
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.class_weight = class_weight
        self.weighting = weighting
        self.weights = weights
        self.freeze = freeze
        self.normalize = normalize
        self.augmentation = augmentation
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.device = device
        self.compile = compile
        self.precision = precision
        self.memory_format = memory_format
        self.n_threads = n_threads
        self.n_draws = n_draws
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.classifier_tags.multi_label = True
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None, masks=None, groups=None):
        """Train the network.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images.
        y : array-like of shape (n,), or array-like or DataFrame of shape (n, n_labels), default=None
            Classes, or one 0/1 column per label; by default the bunch's field ``target``.
        sample_weight : array-like of shape (n,), default=None
            Weights, not negative; a row of weight 0 counts as absent. By default the bunch's field.
        masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, default=None
            Masks for criterion and penalty, 1 inside the region; by default the bunch's field.
        groups : array-like of shape (n,), default=None
            Patients; early stopping holds out whole groups. By default the bunch's field.

        Returns
        -------
        NeuralImageClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If the input does not fit together, or a field is missing that criterion or penalty need.
        FloatingPointError
            If the loss becomes infinite or NaN.
        """
        reset = not (self.warm_start and hasattr(self, "net_"))
        return self._fit(X, y, sample_weight, masks, groups, reset=reset)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, classes=None, sample_weight=None, masks=None):
        """Train the network for one pass over more rows.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images.
        y : array-like of shape (n,), or array-like or DataFrame of shape (n, n_labels), default=None
            Classes, or one 0/1 column per label; by default the bunch's field ``target``.
        classes : array-like of shape (n_classes,), default=None
            All classes there will be; needed in the first call, except for several labels.
        sample_weight : array-like of shape (n,), default=None
            Weights, not negative; a row of weight 0 counts as absent. By default the bunch's field.
        masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, default=None
            Masks for criterion and penalty, 1 inside the region; by default the bunch's field.

        Returns
        -------
        NeuralImageClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If the input does not fit together, or ``class_weight="balanced"``, which needs all rows at once.
        FloatingPointError
            If the loss becomes infinite or NaN.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported by partial_fit, which does not see all rows; give a dict"
            )
        reset = not hasattr(self, "net_")
        return self._fit(X, y, sample_weight, masks, None, reset=reset, classes=classes, partial=True)

    def _fit(self, X, y, sample_weight, masks, groups, *, reset, classes=None, partial=False):
        if reset and hasattr(self, "net_"):
            del self.net_  # should anything fail from here on, the classifier is not fitted
        rows = check_images(self, X, image_shape=self.image_shape, precision=self.precision, reset=reset)
        if self.augmentation is not None:
            self.augmentation.check(self.image_shape_)
        y, names = check_target(_field(rows, "target", y), type(self).__name__)
        check_consistent_length(rows.images, y)
        weights = check_weights(_field(rows, "sample_weight", sample_weight), rows)
        codes = self._encode(y, names, weights.used, classes, reset=reset, partial=partial)
        wanted = objective_fields(self)
        if masks is not None and not {"masks", "has_mask"} & set(wanted):
            warnings.warn("masks are given, but neither criterion nor penalty uses them", UserWarning, stacklevel=4)
        fields = {"y": codes, **row_fields(rows, wanted, masks=masks)}
        if reset:
            self._scaled_type = np.dtype(rows.images.dtype) if is_scaled(rows.images.dtype) else None
            self._unscaled = self._scaled_type is None and rows.checked and bool(rows.images.max() > 1)
            self._seeds = np.random.RandomState(draw_seed(make_random_state(self.random_state)))
        seed = draw_seed(self._seeds)
        with own_random_state(seed, resolve_device(self.device)):
            train, held_out = weights.used, None
            if self.early_stopping and not partial:
                groups = _field(rows, "groups", groups)
                train, held_out = self._hold_out(codes, groups, weights.used, seed)
            fields.update(weight_fields(weights, self.class_weight, self._encoding, codes, train))
            reader = self._training_reader(rows, fields, train)
            if reset:
                weighted = {} if weights.sample_weight is None else {"sample_weight": weights.sample_weight}
                self._learn_normalization(self._reader(rows, weighted, train))
            net = self._make_net(len(rows), reset=reset)
            net.rng = np.random.default_rng(seed)
            net.augmentation = self.augmentation
            net.callbacks = make_callbacks(self, early_stopping=held_out is not None)
            net.initialize_callbacks()
            epochs = 1 if partial else self.max_epochs
            net.set_params(lr=self.lr, batch_size=self.batch_size, max_epochs=epochs, verbose=int(self.verbose))
            net.n_threads = self.n_threads
            held_out = None if held_out is None else self._reader(rows, fields, held_out)
            before, n_before = None if reset else copy.deepcopy(net.module_.state_dict()), len(net.history)
            try:
                net.train_on(reader, held_out, epochs)
            except FloatingPointError:
                if not reset:  # the weights from before are still good, what the optimizer knows is not
                    net.module_.load_state_dict(before)
                    del net.history[n_before:]
                    self.net_.choices = None
                raise
        self.net_ = net
        self.history_ = _history(net)
        self.n_iter_ = len(self.history_)
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _check_images(self, X):
        rows = check_images(self, X, image_shape=self.image_shape, precision=self.precision, reset=False)
        kind = rows.images.dtype.kind
        if self._unscaled and is_scaled(rows.images.dtype):
            warnings.warn(
                f"X holds {rows.images.dtype} images, which are divided by {np.iinfo(rows.images.dtype).max}, but the "
                f"classifier was fitted on images of another type with values beyond 1, which were taken as they are",
                UserWarning,
                stacklevel=5,
            )
        if self._scaled_type is not None and rows.checked and kind == "f" and rows.images.max() > 1:
            warnings.warn(
                f"the classifier was fitted on {self._scaled_type} images, which it divides by "
                f"{np.iinfo(self._scaled_type).max}, but X holds floating-point images beyond 1, which are taken as "
                f"they are",
                UserWarning,
                stacklevel=5,
            )
        return rows

    def _reader(self, rows, fields=(), index=None):
        if not isinstance(fields, dict):
            fields = row_fields(rows, fields, masks=None)
        # A classifier that was trained on a GPU may have been unpickled where there is none.
        device = self.net_.device if hasattr(self, "net_") else resolve_device(self.device)
        on_gpu = torch.device(device).type == "cuda"
        return RowReader(rows, parameter_dtype(self.precision), index=index, fields=fields, pin_memory=on_gpu)

    def _training_reader(self, rows, fields, train):
        if self.weighting == "loss" or "sample_weight" not in fields or np.ptp(fields["sample_weight"][train]) == 0:
            return self._reader(rows, fields, train)
        fields = dict(fields)
        probabilities = fields.pop("sample_weight")[train]
        reader = self._reader(rows, fields, train)
        reader.probabilities = probabilities / probabilities.sum()
        return reader

    def _encode(self, y, names, used, classes, *, reset, partial):
        if reset:
            if partial and y.ndim == 1 and classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._set_encoding(TargetEncoding.learn(y[used], names, classes))
        elif classes is not None and y.ndim == 1 and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"classes={np.unique(classes).tolist()} is not the same as in the first call to partial_fit: "
                f"{self.classes_.tolist()}"
            )
        elif names is not None and names != self.label_names_.tolist():
            raise ValueError(f"y has the labels {names}, but the classifier knows {self.label_names_.tolist()}")
        return self._encoding.encode_rows(y, used)

    def _set_encoding(self, encoding):
        self._encoding = encoding
        self.classes_ = encoding.classes
        self.label_names_ = encoding.label_names

    def _hold_out(self, codes, groups, used, seed):
        if groups is not None:
            groups = column_or_1d(groups)
            check_consistent_length(codes, groups)
            groups = pd.factorize(groups)[0]
            if (groups[used] < 0).any():
                row = used[groups[used] < 0][0]
                raise ValueError(f"groups: row {row} has no group; give it one of its own")
            groups = groups[used]
        train, held_out = hold_out(codes[used], groups, self.validation_fraction, seed)
        return used[train], None if held_out is None else used[held_out]

    def _learn_normalization(self, reader):
        if self.normalize == "channel":
            statistics = channel_statistics(reader, self.batch_size, self.n_threads)
        elif self.normalize == "imagenet":
            statistics = imagenet_statistics(self.image_shape_[0])
        else:
            statistics = None, None
        self.channel_mean_, self.channel_std_ = statistics

    def _make_net(self, n_samples, *, reset):
        """A net for so many rows: new, or that of the last fit as far as parameters and rows allow."""
        kind = self._encoding.kind
        if reset:
            module, self._n_logits = build_module(self, kind, self._encoding.n_outputs)
            return build_net(self, module, self._n_logits, n_samples, kind)
        net = self.net_
        renew_network(net, self)
        if choices(self) != net.choices:
            net = build_net(self, net.module_, self._n_logits, n_samples, kind)
        elif n_samples != net.n_samples:
            net = renew_objectives(net, self, self._n_logits, n_samples, kind)
        if net is not self.net_:  # schedules of the learning rate go on by the history, and need where they started
            for group in net.optimizer_.param_groups:
                group["initial_lr"] = self.lr
        net.history = self.net_.history
        return net


def _field(rows, name, given):
    """An argument of ``fit``, or the bunch's field in its place."""
    if given is not None or rows.bunch is None or name not in rows.bunch.fields:
        return given
    return rows.bunch.get(name)


def _history(net):
    columns = ["epoch", "train_loss", "train_criterion", "train_penalty", "valid_loss"]
    finished = [epoch for epoch in net.history if "dur" in epoch]
    # Epochs of one net may have been trained with and without penalty or held-out rows.
    used = [name for name in columns if name in columns[:2] or any(name in epoch for epoch in finished)]
    table = {name: [epoch.get(name, np.nan) for epoch in finished] for name in used}
    return pd.DataFrame({**table, "seconds": [epoch["dur"] for epoch in finished]})
