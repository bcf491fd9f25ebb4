"""Networks and batches that the tests of penalties on maps share."""

import contextlib

import numpy as np
import torch
from torch import nn

from sklearn_shortcuts.neural._second_derivatives import fast_second_derivatives


def smooth_cnn(n_outputs=3, n_channels=1, n_axes=2, norm=False):
    """Network in float64 without kinks, so that finite differences are exact to their order."""
    conv = {1: nn.Conv1d, 2: nn.Conv2d}[n_axes]
    pool = {1: nn.AvgPool1d, 2: nn.AvgPool2d}[n_axes]
    batch_norm = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[n_axes]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            conv(n_channels, 3, 3, padding=1),
            batch_norm(3) if norm else nn.Identity(),
            nn.Softplus(),
            pool(2),
            conv(3, 4, 3, padding=1),
            nn.Softplus(),
            nn.Flatten(),
            nn.LazyLinear(n_outputs),
        )
        network(torch.zeros(2, n_channels, *[8] * n_axes))
    return network.double()


def make_batch(n_outputs=3, n_channels=1, n_axes=2, size=8, n_rows=5, kind="multiclass", seed=0):
    """Batch as training hands it to a penalty, before the forward pass; the last row has no mask."""
    rng = np.random.default_rng(seed)
    shape = [size] * n_axes
    masks = torch.from_numpy(rng.random((n_rows, *shape)) < 0.2)
    has_mask = torch.ones(n_rows, dtype=torch.bool)
    has_mask[-1] = False
    masks[-1] = False
    if kind == "multilabel":
        y = torch.from_numpy(rng.integers(0, 2, (n_rows, n_outputs))).double()
    else:
        y = torch.from_numpy(rng.integers(0, max(n_outputs, 2), n_rows))
    return {
        "X": torch.from_numpy(rng.normal(size=(n_rows, n_channels, *shape))),
        "y": y,
        "index": torch.arange(n_rows),
        "masks": masks,
        "has_mask": has_mask,
        "epoch": 1,
    }


def penalize(built, module, batch):
    """Values of a built penalty after a forward pass as in training."""
    with contextlib.ExitStack() as around:
        if batch["X"].requires_grad:
            around.enter_context(fast_second_derivatives())
        if hasattr(built, "watch"):
            around.enter_context(built.watch(module))
        logits = module(batch["X"])
    return built(module, {**batch, "logits": logits, "losses": logits.new_zeros(len(logits))})


def gradient_error(built, module, batch, step=1e-7):
    """Largest error of the parameters' gradient against central differences along random directions, relative.

    The sum of absolute values has kinks: the step must be small enough to cross none.
    """
    generator = torch.Generator().manual_seed(0)
    parameters = list(module.parameters())
    module.zero_grad()
    penalize(built, module, batch).sum().backward()
    # The bias of the last layer has no part in the gradient of a logit.
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    assert sum(bool(g.any()) for g in gradients) >= len(gradients) - 1
    errors = []
    for _ in range(3):
        directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                for p, d in zip(parameters, directions):
                    p.add_(d, alpha=sign * step)
            sides.append(float(penalize(built, module, batch).sum().detach()))
            with torch.no_grad():
                for p, d in zip(parameters, directions):
                    p.add_(d, alpha=-sign * step)
        numeric = (sides[0] - sides[1]) / (2 * step)
        exact = float(sum((g * d).sum() for g, d in zip(gradients, directions)))
        errors.append(abs(numeric - exact) / max(abs(exact), 1e-8))
    return max(errors)
