"""How much the network's sensitivity to the pixels of a row changes while it is trained."""

import contextlib
import warnings

import numpy as np
import torch
from skorch.callbacks import Callback
from torch.func import functional_call

from ..neural._structure import main_output


class GradientVariance(Callback):
    """Measure the variance of gradients of all training rows; not public.

    The network's weights are kept at equally spaced epochs. After the last one every batch is read once, and its
    gradients at all kept weights are added up pixel by pixel (Welford). So the memory is that of the kept weights and
    of one batch, whatever the number of rows, and training itself is not touched: it draws the same random numbers and
    gives the same network.

    Parameters
    ----------
    n_checkpoints : int
        Epochs whose weights are kept; the last of training is among them.

    Attributes
    ----------
    values_ : ndarray of shape (n_samples, n_decisions)
        Of every row, and label if there are several, the mean over pixels and channels of the standard deviation over
        the kept weights. NaN for rows that were not trained on, for those that were not reached when the user pressed
        Ctrl-C, and for all if training ended before the second checkpoint.
    """

    def __init__(self, n_checkpoints):
        self.n_checkpoints = n_checkpoints

    def on_train_begin(self, net, **kwargs):
        self.checkpoints_, self.reader_ = [], None
        self.epochs_ = len(net.history) + checkpoint_epochs(net.max_epochs, self.n_checkpoints)

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        self.reader_ = dataset_train

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) in self.epochs_:
            self.checkpoints_.append(_changing_tensors(net.module_))

    def on_train_end(self, net, **kwargs):
        reader, checkpoints = self.reader_, self.checkpoints_
        self.reader_, self.checkpoints_ = None, []  # neither has a place in what is pickled
        self.values_ = np.full((net.n_samples, 1), np.nan)
        if len(checkpoints) < 2:
            return
        codes = reader.fields["y"]
        self.values_ = np.full((net.n_samples, codes.shape[1] if codes.ndim == 2 else 1), np.nan)
        net._set_training(False)
        try:
            self._measure(net, reader, checkpoints)
        except KeyboardInterrupt:
            net.interrupted = True  # what is incomplete is not kept for others
            warnings.warn(
                "the computation of 'vog' was interrupted: rows that it did not reach have none",
                UserWarning,
                stacklevel=2,
            )

    def _measure(self, net, reader, checkpoints):
        # Compiled code would be made anew for every set of weights.
        with torch.compiler.set_stance("force_eager") if net.compile else contextlib.nullcontext():
            for given in net.batches(reader):
                batch = net.prepare(given)
                rows = batch["index"].cpu().numpy()
                self.values_[rows] = _spread_over_checkpoints(net, batch, checkpoints).cpu().numpy()


def checkpoint_epochs(n_epochs, n_checkpoints):
    """Numbers, from 1, of equally spaced epochs of which the last is one."""
    return np.ceil(np.arange(1, n_checkpoints + 1) * n_epochs / n_checkpoints).astype(int)


def _changing_tensors(module):
    """Copies of what training changes: weights that are trained, and statistics."""
    changing = {name: value for name, value in module.named_parameters() if value.requires_grad}
    changing.update(module.named_buffers())
    return {name: value.detach().clone() for name, value in changing.items()}


def _spread_over_checkpoints(net, batch, checkpoints):
    """Mean over pixels of the standard deviation of the label's gradient, shape (n, n_decisions)."""
    mean = squares = 0.0
    for count, weights in enumerate(checkpoints, start=1):
        gradients = _label_gradients(net, batch, weights)
        change = gradients - mean
        mean = mean + change / count
        squares = squares + change * (gradients - mean)
    return (squares / len(checkpoints)).sqrt().flatten(2).mean(2).T


def _label_gradients(net, batch, weights):
    """Gradients of the label's logit by the image at some weights, shape (n_decisions, n, *image_shape)."""
    X, y = batch["X"].detach().requires_grad_(), batch["y"]
    with torch.enable_grad():
        with torch.autocast(X.device.type, torch.bfloat16, enabled=net.autocast):
            logits = main_output(functional_call(net.module_, weights, (X,)))
        logits = logits.to(net.dtype)
        if y.ndim == 1 and logits.shape[1] > 1:
            logits = logits.gather(1, y[:, None])
        # A single logit is that of one of two alternatives; the other's has the same standard deviation.
        parts = [torch.autograd.grad(part.sum(), X, retain_graph=True)[0] for part in logits.unbind(1)]
    return torch.stack(parts)


def standardize_within_classes(values, codes, weight):
    """Subtract the mean of the class and divide by its standard deviation.

    Parameters
    ----------
    values : ndarray of shape (n, n_decisions)
        Any score; NaN where it is not known.
    codes : ndarray of int of shape (n,) or (n, n_decisions)
        Class positions, or 0/1 per label.
    weight : ndarray of shape (n,)
        Weights of the rows; those of weight 0 take no part.

    Returns
    -------
    ndarray of shape (n,)
        Mean over decisions; 0 where all rows of a class have the same value, NaN where it is not known and for rows of
        weight 0.
    """
    codes = codes.reshape(len(codes), -1)
    result = np.full(values.shape, np.nan)
    for decision in range(values.shape[1]):
        known = (weight > 0) & ~np.isnan(values[:, decision])
        for code in np.unique(codes[known, decision]):
            rows = known & (codes[:, decision] == code)
            deviation = values[rows, decision] - np.average(values[rows, decision], weights=weight[rows])
            spread = np.sqrt(np.average(deviation**2, weights=weight[rows]))
            # Equal values, as linear networks give, differ by the rounding of float32 only.
            alike = spread <= 1e-6 * np.abs(values[rows, decision]).max()
            result[rows, decision] = 0.0 if alike else deviation / spread
    return result.mean(axis=1)
