"""The strength of a penalty that was not given as a number."""

import numpy as np
import torch
from skorch.callbacks import Callback

from ..neural._runtime import own_random_state
from ._regularization import untouched_statistics

_ROWS = 512  # rows with masks that are looked at


class BalanceStrength(Callback):
    """Set the strength of a :class:`Regularization` that was given none; not public.

    The strength is ``ratio * loss / penalty``: weighted means over up to 512 rows with a mask before the first step
    with the penalty, where the loss is no smaller than 5 % of that of a network that knows nothing. A new network is
    trained without penalty until its loss has fallen to half of that, or for a third of its epochs: as long as it gives
    the same probability to all classes many penalties are nearly 0, whatever the network goes by later. Nothing else in
    training changes, and no random number of it is used.

    Parameters
    ----------
    ratio : float
        What the weighted penalty shall be at first, in units of the loss.
    """

    def __init__(self, ratio):
        self.ratio = ratio

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        term, epoch = net.penalty_, len(net.history)
        if term.strength is not None or epoch <= term.start or not self._has_learned(net, term):
            return
        loss, penalty = measure(net, dataset_train, term)
        # A penalty that is 0 on all rows has no scale; whatever strength it gets changes nothing for now.
        term.strength = self.ratio * max(loss, 0.05 * term.chance_loss) / penalty if penalty > 0 else 1.0
        term.start = epoch - 1

    @staticmethod
    def _has_learned(net, term):
        done = len(net.history) - 1
        if term.spec.first_epoch > 0 or done >= net.max_epochs // 3:
            return True
        return done > 0 and net.history[-2, "train_loss"] < 0.5 * term.chance_loss


def measure(net, reader, term):
    """Weighted mean loss and raw penalty of some rows with a mask, as training will see them.

    Parameters
    ----------
    net : ClassifierNet
        Net.
    reader : RowReader
        Training rows.
    term : RegularizationTerm
        Penalty.

    Returns
    -------
    loss, penalty : float
        Means; 0 if there is no row with a mask.
    """
    sums, total, n_rows = np.zeros(2), 0.0, 0
    with own_random_state(0, torch.device(net.device)), untouched_statistics(net.module_):
        # Rows often come sorted by class, hence in an order of their own.
        for given in net.batches(reader, rng=np.random.default_rng(0)):
            batch = net.prepare(given)
            if net.needs_input_grad:
                batch["X"].requires_grad_()
            batch = net.forward_training(batch)
            values, counted = term.raw(net.module_, batch)
            weights = batch.get("sample_weight")
            weights = counted.to(values.dtype) if weights is None else weights * counted
            sums += [float((part.detach() * weights).sum()) for part in (batch["losses"], values)]
            total += float(weights.sum())
            n_rows += int(counted.sum())
            if n_rows >= _ROWS:
                break
    term.forget_random_numbers()
    return tuple(sums / total) if total > 0 else (0.0, 0.0)
