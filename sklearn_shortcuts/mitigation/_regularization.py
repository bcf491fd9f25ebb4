"""What stands between any penalty and the training loss: its strength, when it starts, and whose masks it sees."""

import contextlib
import math

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..neural import Penalty

MASK_FIELDS = ("masks", "has_mask")


class Regularization(Penalty):
    """A penalty with a strength, made by :class:`ExplanationRegularizedClassifier`; not public.

    Parameters
    ----------
    penalty : Penalty
        Gives one value per row, for masks that say what its ``mask_role`` says.
    strength : float or None
        Factor of the penalty; None until :class:`BalanceStrength` has found it.
    mask_role : {"avoid", "attend"}
        What the masks of the rows say.
    mask_fields : tuple of str
        Fields of the rows that hold the masks and whether there is one.
    annotated_share : float
        Share of the training rows that have a mask, in (0, 1].
    warmup_epochs, ramp_epochs : int
        Epochs without penalty, and epochs in which its strength then rises to the full one.
    first_epoch : int
        Epochs that the network has been trained for before.
    """

    def __init__(
        self,
        penalty,
        *,
        strength,
        mask_role="avoid",
        mask_fields=MASK_FIELDS,
        annotated_share=1.0,
        warmup_epochs=0,
        ramp_epochs=0,
        first_epoch=0,
    ):
        self.penalty = penalty
        self.strength = strength
        self.mask_role = mask_role
        self.mask_fields = mask_fields
        self.annotated_share = annotated_share
        self.warmup_epochs = warmup_epochs
        self.ramp_epochs = ramp_epochs
        self.first_epoch = first_epoch

    @property
    def needs_input_grad(self):
        """Also without strength: training then has the same memory format as with it."""
        return getattr(self.penalty, "needs_input_grad", False)

    @property
    def fields(self):
        """Fields of the penalty, its masks under the names that the rows have them by."""
        others = tuple(name for name in self.penalty.fields if name not in MASK_FIELDS)
        return others + (tuple(self.mask_fields) if "masks" in self.penalty.fields else ())

    @property
    def inverts(self):
        """Whether masks say the opposite of what the penalty expects."""
        return getattr(self.penalty, "mask_role", None) not in (None, self.mask_role)

    @property
    def uses_empty_masks(self):
        """Whether a mask that marks nothing counts: it can say that a row is free of what is marked in others.

        Where a row has one mask per class, those that mark nothing are the missing ones.
        """
        one_per_row = tuple(self.mask_fields) == MASK_FIELDS
        return getattr(self.penalty, "uses_empty_masks", False) and one_per_row and not self.inverts

    def build(self, n_samples, n_outputs, kind):
        """Make the callable, see :meth:`Penalty.build`."""
        built = self.penalty.build(n_samples, n_outputs, kind)
        always = getattr(self.penalty, "always_watches", False)
        watches = hasattr(built, "watch") and (self.strength != 0 or always)
        cls = _WatchingTerm if watches else RegularizationTerm
        chance_loss = math.log(n_outputs) if kind == "multiclass" else math.log(2)
        return cls(self, built, chance_loss)


class RegularizationTerm(nn.Module):
    """What :meth:`Regularization.build` gives.

    Parameters
    ----------
    spec : Regularization
        Description.
    built : callable
        What the penalty's ``build`` gave.
    chance_loss : float
        Cross-entropy of a network that knows nothing.

    Attributes
    ----------
    strength : float or None
        Full strength.
    start : int
        Epochs before the first one with penalty.
    """

    def __init__(self, spec, built, chance_loss):
        super().__init__()
        self.spec = spec
        self.built = built
        self.chance_loss = chance_loss
        self.strength = spec.strength
        self.start = spec.first_epoch + spec.warmup_epochs
        self.takes_masks = "masks" in spec.penalty.fields
        self._randomness = None

    def strength_in(self, epoch):
        """Strength in an epoch, counted from 1 since the network was new; 0 until it is known."""
        return (self.strength or 0.0) * min(1.0, max(0, epoch - self.start) / (self.spec.ramp_epochs + 1))

    def forward(self, module, batch):
        """Weighted penalties of a batch, shape (n,)."""
        strength = self.strength_in(batch["epoch"])
        if strength == 0:
            return batch["losses"].new_zeros(len(batch["losses"]))
        values, _ = self.raw(module, batch)
        return values * (strength / self.spec.annotated_share)

    def raw(self, module, batch):
        """The penalty's own values.

        Parameters
        ----------
        module : torch.nn.Module
            Network.
        batch : dict
            Batch after the forward pass.

        Returns
        -------
        values : Tensor of shape (n,)
            0 for rows without a mask.
        counted : Tensor of bool of shape (n,)
            Rows with a mask that is not empty; all of them for a penalty that takes no masks.
        """
        counted = torch.ones(len(batch["X"]), dtype=torch.bool, device=batch["X"].device)
        if self.takes_masks:
            batch, counted = self._with_masks(batch)
        with self._own_random_numbers(batch["X"].device), untouched_statistics(module):
            values = self.built(module, batch)
        if values.shape != counted.shape:
            raise ValueError(
                f"{type(self.spec.penalty).__name__} must give one value per row, shape {tuple(counted.shape)}, but "
                f"gave {tuple(values.shape)}"
            )
        return torch.where(counted, values, 0), counted

    def _with_masks(self, batch):
        """Hand the masks over under their usual names and in the role that the penalty expects."""
        masks, has_mask = (batch[name] for name in self.spec.mask_fields)
        # Most penalties learn nothing from an empty mask, which would say "everything" if it were inverted.
        drawn = masks.flatten(2 if masks.ndim == batch["X"].ndim else 1).amax(-1) >= 0.5
        has_mask = has_mask.bool()
        if not self.spec.uses_empty_masks:
            has_mask = has_mask & drawn.reshape(len(masks), -1).any(1)
        if self.spec.inverts:
            masks = ~masks if masks.dtype == torch.bool else 1 - masks
        if drawn.ndim > 1:  # where a row has one mask per class, those that are missing are NaN
            missing = ~drawn.reshape(*drawn.shape, *[1] * (masks.ndim - 2))
            masks = torch.where(missing, torch.nan, masks.to(batch["X"].dtype))
        return {**batch, "masks": masks, "has_mask": has_mask}, has_mask

    def forget_random_numbers(self):
        """Have the penalty draw as if it had not been called before."""
        self._randomness = None

    @contextlib.contextmanager
    def _own_random_numbers(self, device):
        """Let a penalty draw from a sequence of its own, so that dropout is the same whatever its strength."""
        state = _random_state(device)
        if self._randomness is None:
            _seed(torch.initial_seed() + 1, device)
        else:
            _set_random_state(self._randomness, device)
        try:
            yield
        finally:
            self._randomness = _random_state(device)
            _set_random_state(state, device)


class _WatchingTerm(RegularizationTerm):
    def watch(self, module):
        """Record what the penalty records."""
        return self.built.watch(module)


@contextlib.contextmanager
def untouched_statistics(module):
    """Keep the running statistics of batch normalization as they are, whatever passes through the network.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    """
    layers = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.training]
    layers = [(part, part.momentum) for part in layers if part.running_mean is not None]
    counts = [part.num_batches_tracked.clone() for part, _ in layers]
    for part, _ in layers:
        part.momentum = 0.0
    try:
        yield
    finally:
        for (part, momentum), count in zip(layers, counts):
            part.momentum = momentum
            part.num_batches_tracked.copy_(count)


def _random_state(device):
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state, device):
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)


def _seed(seed, device):
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
