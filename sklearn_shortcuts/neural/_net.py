"""The skorch side: one training loop for every criterion and penalty."""

import contextlib
import math
import warnings

import torch
from skorch import NeuralNet
from skorch.callbacks import EpochTimer, PassthroughScoring

from ._batches import BatchLoader
from ._second_derivatives import fast_second_derivatives
from ._structure import main_output


class ClassifierNet(NeuralNet):
    """Network, criterion, penalty and optimizer of one fitted classifier; made in ``fit``, not public.

    Parameters
    ----------
    *args, **kwargs
        Of skorch.
    penalty : callable, default=None
        What :meth:`Penalty.build` gave.
    needs_input_grad : bool, default=False
        Whether images must allow gradients in training.
    autocast : bool, default=False
        Whether the network computes in bfloat16.
    memory_format : torch.memory_format, default=torch.contiguous_format
        Order of the axes of images in memory.
    dtype : torch.dtype, default=torch.float32
        Floating-point type of weights and images.
    normalization : tuple of two Tensors, default=None
        Mean and standard deviation, shaped to be broadcast to a row.

    Attributes
    ----------
    augmentation : RandomGeometry or None
        Applied to batches in training.
    n_threads : int or None
        Threads that read ahead.
    rng : numpy.random.Generator or None
        Shuffles and augments.
    choices : str
        What it was made of, see :func:`choices`.
    network_choices : dict
        What its network was made of, see :func:`network_choices`.
    freeze : str, int or None
        The estimator's parameter of that name when the network was last frozen.
    n_samples : int
        Number of rows that criterion and penalty were built for.
    interrupted : bool
        Whether the user ended the last training.
    """

    augmentation = None
    n_threads = None
    rng = None
    interrupted = False

    def __init__(
        self,
        *args,
        penalty=None,
        needs_input_grad=False,
        autocast=False,
        memory_format=torch.contiguous_format,
        dtype=torch.float32,
        normalization=None,
        **kwargs,
    ):
        self.penalty = penalty  # before skorch's own set-up, after which it refuses modules it does not know
        super().__init__(*args, **kwargs)
        self.needs_input_grad = needs_input_grad
        self.autocast = autocast
        self.memory_format = memory_format
        self.dtype = dtype
        self.normalization = normalization

    # -- set-up ----------------------------------------------------------------------------------------------------
    @property
    def _default_callbacks(self):
        penalty = getattr(self, "penalty_", self.penalty)
        names = ["train_loss"] if penalty is None else ["train_loss", "train_criterion", "train_penalty"]
        return [
            ("epoch_timer", EpochTimer()),
            *((name, PassthroughScoring(name=name, on_train=True)) for name in names),
            ("valid_loss", PassthroughScoring(name="valid_loss")),
        ]

    def initialize_criterion(self):
        super().initialize_criterion()
        self.penalty_ = self.penalty  # set here, a penalty that is a module is moved and trained like the criterion
        return self

    def initialize(self):
        super().initialize()
        self._set_training(False)
        # The fitted parts end in "_"; a second reference would be pickled as a second copy.
        self.module = self.criterion = self.penalty = None
        return self

    def torch_compile(self, module, name):
        if self.compile and name == "module":
            module.compile()  # in place: the names of layers and weights stay
        return module

    def get_split_datasets(self, X, y=None, **fit_params):
        return X  # training and held-out rows come apart

    def get_iterator(self, dataset, training=False):
        return self.batches(dataset, rng=self.rng if training else None)

    def batches(self, reader, batch_size=None, *, rng=None):
        """Give what :meth:`prepare` takes, batch after batch; shuffled if there is an ``rng``."""
        return BatchLoader(reader, batch_size or self.batch_size, rng=rng, n_threads=self.n_threads)

    # -- training --------------------------------------------------------------------------------------------------
    def train_on(self, train, valid, epochs):
        """Train for some epochs, or until a callback or the user stops it.

        Parameters
        ----------
        train : RowReader
            Rows to train on.
        valid : RowReader or None
            Held-out rows.
        epochs : int
            Largest number of epochs.
        """
        self.interrupted = False
        try:
            self.notify("on_train_begin", X=None, y=None)
        except _StopTraining as stop:  # nothing is trained yet
            raise stop.__cause__ from None
        try:
            self.fit_loop((train, valid), epochs=epochs)
        except _StopTraining:
            pass
        except torch.OutOfMemoryError as error:
            error.add_note(f"lower batch_size (now {self.batch_size}), or use precision='bfloat16'")
            raise
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                error.add_note(f"batch normalization cannot train on one row: raise batch_size (now {self.batch_size})")
            raise
        except (KeyboardInterrupt, TrainingInterrupted):
            self.interrupted = True
            warnings.warn(
                f"training was interrupted in epoch {len(self.history)}; the classifier can be used with the weights "
                f"it had then, after early stopping those of its best epoch",
                UserWarning,
                stacklevel=5,
            )
        with contextlib.suppress(_StopTraining):
            self.notify("on_train_end", X=None, y=None)
        self._set_training(False)  # whoever looks at the network from outside finds it as it predicts
        for epoch in self.history:
            epoch["batches"] = []  # one entry per training step, which nobody needs any more

    def notify(self, method_name, **kwargs):
        # Callbacks stop training by the exception that Ctrl-C raises; only the latter deserves a warning.
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt as error:
            raise _StopTraining from error

    def train_step_single(self, batch, **fit_params):
        batch = self.forward_training(self.prepare(batch, training=True))
        logits, losses = batch["logits"], batch["losses"]
        total = losses
        if self.penalty_ is not None:
            penalties = _one_per_row(self.penalty_(self.module_, batch), logits, "penalty")
            total = losses + penalties
            self.history.record_batch("train_criterion", _weighted_mean(losses, batch).item())
            self.history.record_batch("train_penalty", _weighted_mean(penalties, batch).item())
        loss = self._finite(_weighted_mean(total, batch), "training")
        if self.needs_input_grad:
            # The gradient of the loss by the images is of no use to anybody, and the first layer is large.
            loss.backward(inputs=[weight for _, weight in self.get_all_learnable_params() if weight.requires_grad])
        else:
            loss.backward()
        return {"loss": loss.detach(), "y_pred": logits.detach()}

    def forward_training(self, batch):
        """Run the forward pass of a training step, differentiable as criterion and penalty need it and watched by them.

        Parameters
        ----------
        batch : dict
            What :meth:`prepare` gives.

        Returns
        -------
        dict
            The same with ``"logits"``, ``"losses"`` (the criterion's) and ``"epoch"`` added, as penalties get it.
        """
        self._set_training(True)
        with contextlib.ExitStack() as around:
            if self.needs_input_grad:
                around.enter_context(fast_second_derivatives())
            for objective in (self.criterion_, self.penalty_):
                if hasattr(objective, "watch"):
                    around.enter_context(objective.watch(self.module_))
            logits = self.infer(batch["X"])
        losses = self._losses(logits, batch, training=True)
        return {**batch, "logits": logits, "losses": losses, "epoch": len(self.history)}

    def validation_step(self, batch, **fit_params):
        self._set_training(False)
        batch = self.prepare(batch)
        with torch.no_grad():
            logits = self.infer(batch["X"])
            loss = _weighted_mean(self._losses(logits, batch, training=False), batch)
        return {"loss": self._finite(loss, "held-out"), "y_pred": logits}

    def _losses(self, logits, batch, training):
        return _one_per_row(self.criterion_(logits, batch, training), logits, "criterion")

    def _finite(self, loss, which):
        if math.isfinite(loss.item()):
            return loss
        advice = f"lower lr (now {self.lr})"
        if self.penalty_ is not None:
            advice += ", or the strength of the penalty"
        if self.autocast:
            advice += ", or use precision='float32'"
        raise FloatingPointError(
            f"the {which} loss became {loss.item()} in epoch {len(self.history)}: {advice}; check too that images "
            f"are scaled (unsigned integers are, floating-point images are taken as they are)"
        )

    # -- the network -----------------------------------------------------------------------------------------------
    def prepare(self, batch, training=False):
        """Move a batch to the device, scale, augment and normalize it.

        Parameters
        ----------
        batch : tuple
            What :meth:`RowReader.read` gives.
        training : bool, default=False
            Whether to augment and, if the penalty asks for it, to allow gradients of the images.

        Returns
        -------
        dict
            The fields, and the images as ``"X"``.
        """
        images, fields = batch
        batch = {
            name: value.to(self.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in fields.items()
        }
        X = images.to(self.device, non_blocking=True)
        X = X.to(self.dtype).div_(255) if X.dtype == torch.uint8 else X.to(self.dtype)
        if training and self.augmentation is not None:
            X, batch = self.augmentation.apply(X, batch, self.rng)
        if self.normalization is not None:
            mean, std = (part.to(X) for part in self.normalization)
            X = (X - mean) / std
        X = ordered(X, self.memory_format)
        batch["X"] = X.requires_grad_() if training and self.needs_input_grad else X
        return batch

    def infer(self, x, **fit_params):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast):
            logits = main_output(self.module_(x))
        return logits.to(self.dtype)

    def outputs(self, reader, function=None):
        """Go through rows in evaluation mode.

        Parameters
        ----------
        reader : RowReader
            Rows.
        function : callable, default=None
            ``function(X) -> Tensor`` on images as the network takes them; by default the logits.

        Yields
        ------
        Tensor
            On the CPU, one per batch.
        """
        function = self.infer if function is None else function
        for batch in self.batches(reader):
            self._set_training(False)  # each time: the caller may train between two batches
            with torch.no_grad():
                yield self._in_parts(function, self.prepare(batch)["X"]).cpu()

    def _in_parts(self, function, X):
        """Apply a function to a batch, in halves if the device's memory does not suffice."""
        size = min(len(X), getattr(self, "_part_size", len(X)))
        while True:
            try:
                return torch.cat([function(part) for part in X.split(size)])
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
            size = -(-size // 2)
            if not hasattr(self, "_part_size"):
                warnings.warn(
                    f"the device has not enough memory to predict {len(X)} rows at once; going on with smaller "
                    f"batches. A lower batch_size avoids the detour",
                    UserWarning,
                    stacklevel=6,
                )
            self._part_size = size
            if X.device.type == "cuda":
                torch.cuda.empty_cache()


class TrainingInterrupted(Exception):
    """The user pressed Ctrl-C while a callback of this library was at work."""


@contextlib.contextmanager
def interruptible():
    """Let Ctrl-C end training while a callback computes; without it the net believes that the callback asked to stop.

    Raises
    ------
    TrainingInterrupted
        In place of KeyboardInterrupt.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise TrainingInterrupted from error


class _StopTraining(Exception):
    """A callback asked to stop."""


def _one_per_row(values, logits, what):
    if values.shape != (len(logits),):
        raise ValueError(f"{what} must give one value per row, shape ({len(logits)},), but gave {tuple(values.shape)}")
    return values


def _weighted_mean(values, batch):
    # Weights have mean 1 over all training rows, not over the batch: a row counts the same in whichever batch.
    weights = batch.get("sample_weight")
    return values.mean() if weights is None else (values * weights).mean()


def ordered(X, memory_format):
    """Give images with their axes in the wanted order in memory; rows of signals stay as they are."""
    if X.ndim != 4:
        return X
    X = X.contiguous(memory_format=memory_format)
    if memory_format == torch.channels_last and X.shape[1] == 1:
        # With one channel both orders have the same contents, and torch takes the strides of the first convolution's
        # input as the sign of what it should give.
        _, _, height, width = X.shape
        X = X.as_strided(X.shape, (height * width, 1, width, 1))
    return X
