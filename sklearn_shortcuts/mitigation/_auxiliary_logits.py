"""Training with auxiliary logits, one vector per row, that take up what the network does not explain."""

import contextlib

import torch
import torch.nn.functional as F
from torch import nn

from ..neural import Criterion
from ._decision_losses import decision_losses
from ._training_dynamics import TrainingDynamics, alternatives_of, margins


class AuxiliaryLogits(Criterion):
    """Loss of logits to which every training row adds auxiliary ones of its own; made by the miner, not public.

    Parameters
    ----------
    amplification : float, default=0.6
        Step of the auxiliary logits against the gradient of the row's loss, at every visit; 0 leaves them at zero.
    loss : {"cross_entropy", "squared"}, default="cross_entropy"
        Loss of a row.
    aux_shape : {"class", "scalar"}, default="class"
        One auxiliary logit per output, or one per row that is added to the right alternative's.
    mode : {"offset", "paper"}, default="offset"
        Whether the auxiliary logits are stepped here, or are ``lambda_`` times parameters of the network's optimizer.
    lambda_ : float, default=20.0
        Their factor with ``mode="paper"``.
    early_epochs : int, default=5
        Epochs that early scores are averaged over.
    """

    def __init__(
        self,
        amplification=0.6,
        *,
        loss="cross_entropy",
        aux_shape="class",
        mode="offset",
        lambda_=20.0,
        early_epochs=5,
    ):
        self.amplification = amplification
        self.loss = loss
        self.aux_shape = aux_shape
        self.mode = mode
        self.lambda_ = lambda_
        self.early_epochs = early_epochs

    def build(self, n_samples, n_outputs, kind):
        """Make the module that computes the losses and keeps the auxiliary logits, see :meth:`Criterion.build`."""
        return AuxiliaryLoss(self, n_samples, n_outputs, kind)


class AuxiliaryLoss(nn.Module):
    """What :meth:`AuxiliaryLogits.build` gives.

    Parameters
    ----------
    spec : AuxiliaryLogits
        Description.
    n_samples, n_outputs, kind : int, int, str
        As in :meth:`Criterion.build`.
    """

    def __init__(self, spec, n_samples, n_outputs, kind):
        super().__init__()
        self.spec = spec
        self.kind = kind
        self.dynamics = TrainingDynamics(n_samples, n_outputs, kind, spec.early_epochs)
        n_values = n_outputs if spec.aux_shape == "class" or kind == "multilabel" else 1
        values = torch.zeros(n_samples, n_values)
        if spec.mode == "paper":
            self.values = nn.Parameter(values)
        else:
            self.register_buffer("values", values)

    @contextlib.contextmanager
    def watch(self, module):
        """Let the recorder see what the head gets."""
        with self.dynamics.watch(module):
            yield

    def forward(self, logits, batch, training):
        """Losses of a batch, shape (n,); the auxiliary logits of held-out rows are zero."""
        y, index = batch["y"], batch["index"]
        if not training:
            return self._losses(logits, batch)
        self.dynamics.update(logits.detach(), y, index)
        if self.spec.mode == "paper":
            return self._losses(logits + self._spread(self.spec.lambda_ * self.values[index], logits, y), batch)
        if self.spec.amplification == 0:
            return self._losses(logits, batch)
        values = self.values[index]
        shifted = logits + self._spread(values, logits, y)
        with torch.no_grad():
            self.values[index] = values - self.spec.amplification * self._gathered(self._slopes(shifted, y), y)
        return self._losses(shifted, batch)

    def offsets(self):
        """Auxiliary logits of all rows, as they are added; Tensor of shape (n_samples, n_values) on the CPU."""
        values = self.values.detach().cpu()
        return values * self.spec.lambda_ if self.spec.mode == "paper" else values

    # -- inside ----------------------------------------------------------------------------------------------------
    def _spread(self, values, logits, y):
        """What is added to the logits."""
        if self.spec.aux_shape == "class":
            return values
        if self.kind == "multilabel" or logits.shape[1] == 1:
            return values * (2 * y.to(values.dtype).reshape(len(y), -1) - 1)
        return values * F.one_hot(y, logits.shape[1])

    def _gathered(self, slopes, y):
        """Derivative of the loss by the values, from that by the logits: the transpose of :meth:`_spread`."""
        if self.spec.aux_shape == "class":
            return slopes
        if self.kind == "multilabel" or slopes.shape[1] == 1:
            return slopes * (2 * y.to(slopes.dtype).reshape(len(y), -1) - 1)
        return slopes.gather(1, y[:, None])

    def _slopes(self, logits, y):
        """Derivative of the row's loss by its logits; with several labels of each label's own loss."""
        if self.spec.loss == "squared":
            return 2 * (logits - self._squared_target(logits, y))
        if self.kind == "multilabel" or logits.shape[1] == 1:
            return logits.sigmoid() - y.to(logits.dtype).reshape(len(y), -1)
        return logits.softmax(1) - F.one_hot(y, logits.shape[1])

    def _losses(self, logits, batch):
        y = batch["y"]
        if self.spec.loss == "cross_entropy":
            losses = decision_losses(logits, y)
        else:
            losses = (logits - self._squared_target(logits, y)).square()
            if self.kind != "multilabel":  # one decision per row
                losses = losses.sum(1, keepdim=True)
        label_weight = batch.get("label_weight")
        return (losses if label_weight is None else losses * label_weight).mean(1)

    def _squared_target(self, logits, y):
        """One-hot for classes; 1 and -1 where one logit decides between two, so that 0 stays the border."""
        if self.kind == "multilabel" or logits.shape[1] == 1:
            return 2 * y.to(logits.dtype).reshape(len(y), -1) - 1
        return F.one_hot(y, logits.shape[1]).to(logits.dtype)


def auxiliary_scores(loss, codes):
    """Scores of rows by their auxiliary logits.

    Parameters
    ----------
    loss : AuxiliaryLoss
        After training.
    codes : Tensor of shape (n,) or (n, n_labels)
        Class positions, or 0/1.

    Returns
    -------
    aux : ndarray of shape (n,)
        Euclidean norm.
    aux_margin : ndarray of shape (n,)
        What they add to the right alternative less what they add to the best other one, mean over labels: positive
        where the network had to be helped.
    """
    offsets = loss.offsets().double()
    aux = offsets.norm(dim=1)
    if loss.spec.aux_shape == "scalar":
        return aux.numpy(), offsets.mean(1).numpy()
    return aux.numpy(), margins(*alternatives_of(offsets, codes, loss.kind)).mean(1).numpy()
