"""What training tells of every row, added up visit by visit."""

import contextlib

import numpy as np
import pandas as pd
import torch
from torch import nn

from ..neural._structure import find_head

SCORES = (
    *("loss", "mean_loss", "confidence", "variability", "aleatoric", "correctness", "forgetting", "aum"),
    *("el2n", "grand"),
)
# Of every row and label: how often it was seen, sums and latest values, and sums over the first visits.
_SUMS = ("visits", "loss", "loss_sum", "p_mean", "p_squares", "aleatoric", "right", "was_right", "forgotten", "margin")
_EARLY = ("early_visits", "el2n", "grand")
_COLUMN = {name: number for number, name in enumerate((*_SUMS, *_EARLY))}


class TrainingDynamics(nn.Module):
    """Difficulty of every training row, recorded while a network is trained.

    Its memory is one float32 tensor of 13 numbers per row (and label); nothing is kept per epoch.

    Parameters
    ----------
    n_samples : int
        Rows.
    n_outputs : int
        Logits per row.
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted.
    early_epochs : int
        Visits that the early scores are averaged over.
    """

    def __init__(self, n_samples, n_outputs, kind, early_epochs):
        super().__init__()
        self.kind = kind
        self.early_epochs = early_epochs
        n_targets = n_outputs if kind == "multilabel" else 1
        self.register_buffer("state", torch.zeros(n_samples, n_targets, len(_COLUMN)))
        self._feature_norms = None
        self._has_bias = False

    @contextlib.contextmanager
    def watch(self, module):
        """Note the length of the vector that the head gets, for the last layer's gradient; not if it is compiled."""
        try:
            head = find_head(module)[1]
        except ValueError:
            head = None
        if head is None or getattr(module, "_compiled_call_impl", None) is not None:
            yield
            return
        self._has_bias = head.bias is not None
        handle = head.register_forward_pre_hook(self._see)
        try:
            yield
        finally:
            handle.remove()

    def _see(self, head, inputs):
        values = inputs[0].detach()
        axes = range(1, values.ndim - 1) if isinstance(head, nn.Linear) else range(2, values.ndim)
        values = values.mean(tuple(axes)) if len(axes) else values
        self._feature_norms = values.float().square().sum(1).add(float(self._has_bias)).sqrt()

    @torch.no_grad()
    def update(self, logits, y, index):
        """Add the visit of a batch.

        Parameters
        ----------
        logits : Tensor of shape (n, n_outputs)
            What the network gave, in training.
        y : Tensor of shape (n,) or (n, n_labels)
            Class positions, or 0/1.
        index : Tensor of shape (n,)
            Row numbers, each at most once.
        """
        alternatives, wanted = alternatives_of(logits, y, self.kind)
        log_probabilities = alternatives.log_softmax(-1)
        probabilities = log_probabilities.exp()
        chosen = wanted[..., None]
        loss = -log_probabilities.gather(-1, chosen)[..., 0]
        p = probabilities.gather(-1, chosen)[..., 0]
        margin = margins(alternatives, wanted)
        right = (margin > 0).to(p.dtype)
        norms, self._feature_norms = self._feature_norms, None

        state = self.state[index]
        visits, p_mean = state[..., _COLUMN["visits"]] + 1, state[..., _COLUMN["p_mean"]]
        new_mean = p_mean + (p - p_mean) / visits
        early = (visits <= self.early_epochs).to(p.dtype)
        added = {
            "loss_sum": loss,
            "p_squares": (p - p_mean) * (p - new_mean),  # Welford: a difference of two sums would lose the digits
            "aleatoric": p * (1 - p),
            "right": right,
            "forgotten": state[..., _COLUMN["was_right"]] * (1 - right),
            "margin": margin,
        }
        for name, value in added.items():
            state[..., _COLUMN[name]] += value
        for name, value in {"visits": visits, "loss": loss, "p_mean": new_mean, "was_right": right}.items():
            state[..., _COLUMN[name]] = value
        if early.any():
            error = probabilities.scatter_add(-1, chosen, -torch.ones_like(p)[..., None]).square().sum(-1).sqrt()
            # Of two alternatives from one logit the errors are the same number twice, but there is one gradient.
            gradient = error if logits.shape[-1] == alternatives.shape[-1] and self.kind != "multilabel" else 1 - p
            gradient = gradient * (float("nan") if norms is None else norms[:, None].to(p.dtype))
            for name, value in {"early_visits": torch.ones_like(p), "el2n": error, "grand": gradient}.items():
                state[..., _COLUMN[name]] += torch.where(early > 0, value, 0)
        self.state[index] = state

    def table(self):
        """Give the scores, higher for harder rows.

        Returns
        -------
        DataFrame of float64 of shape (n_samples, 10)
            Means over labels; NaN for rows that were never seen.
        """
        state = self.state.cpu().numpy()
        columns = {name: state[..., column].astype(np.float64) for name, column in _COLUMN.items()}
        seen = columns["visits"] > 0
        visits, early = np.where(seen, columns["visits"], np.nan), np.where(seen, columns["early_visits"], np.nan)
        never_right = seen & (columns["right"] == 0)
        scores = {
            "loss": np.where(seen, columns["loss"], np.nan),
            "mean_loss": columns["loss_sum"] / visits,
            "confidence": 1 - np.where(seen, columns["p_mean"], np.nan),
            "variability": np.sqrt(columns["p_squares"] / visits),
            "aleatoric": columns["aleatoric"] / visits,
            "correctness": 1 - columns["right"] / visits,
            "forgetting": np.where(never_right, visits, np.where(seen, columns["forgotten"], np.nan)),
            "aum": -columns["margin"] / visits,
            "el2n": columns["el2n"] / early,
            "grand": columns["grand"] / early,
        }
        return pd.DataFrame({name: scores[name].mean(axis=1) for name in SCORES})


def alternatives_of(logits, y, kind):
    """Write every decision as a choice between alternatives.

    Parameters
    ----------
    logits : Tensor of shape (n, n_outputs)
        Logits of classes; of the second of two classes; or of labels.
    y : Tensor of shape (n,) or (n, n_labels)
        Class positions, or 0/1.
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted.

    Returns
    -------
    alternatives : Tensor of shape (n, n_decisions, n_alternatives)
        Logits of the alternatives.
    wanted : Tensor of int64 of shape (n, n_decisions)
        Position of the right one.
    """
    wanted = y.long().reshape(len(y), -1)
    if kind != "multilabel" and logits.shape[1] > 1:
        return logits[:, None], wanted
    return torch.stack([torch.zeros_like(logits), logits], dim=-1), wanted


def margins(alternatives, wanted):
    """Logit of the right alternative less that of the best other one, shape (n, n_decisions)."""
    chosen = wanted[..., None]
    others = alternatives.scatter(-1, chosen, float("-inf"))
    return alternatives.gather(-1, chosen)[..., 0] - others.amax(-1)
