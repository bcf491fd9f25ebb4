"""Rows with a shortcut, networks and penalties that the tests of the meta-estimator share."""

import numpy as np
import torch

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.neural import NeuralImageClassifier, Penalty, SmallCNN


def decoys(n=48, *, seed=0, size=12, told=None, masked=None):
    """Noise with a weak sign of the class inside, and a bright or dark patch in a corner that tells ``told``.

    The patches are the masks; of rows outside ``masked`` they are missing.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    told = y if told is None else told
    images = rng.normal(0, 0.5, (n, size, size)).astype(np.float32)
    images[:, 6:11, 4:10] += 0.25 * (2 * y - 1)[:, None, None].astype(np.float32)
    images[:, :3, :3] += (2 * told - 1)[:, None, None]
    masks = np.zeros(images.shape, dtype=bool)
    masks[:, :3, :3] = True
    rows = range(n) if masked is None else set(masked)
    masks = [mask if row in rows else None for row, mask in enumerate(masks)]
    return ImageBunch(images, masks=masks, target=y)


def network(**parameters):
    """Cheap classifier."""
    options = {"lr": 0.02, "max_epochs": 2, "batch_size": 16, "random_state": 0, **parameters}
    return NeuralImageClassifier(options.pop("module", SmallCNN(width=3, depth=1)), **options)


class InputGradients(Penalty):
    """Sum over masked pixels of the squared gradient of the loss."""

    needs_input_grad = True
    fields = ("masks", "has_mask")
    mask_role = "avoid"

    def build(self, n_samples, n_outputs, kind):
        return self.penalties

    def penalties(self, module, batch):
        (gradient,) = torch.autograd.grad(batch["losses"].sum(), batch["X"], create_graph=True)
        masks = batch["masks"].to(gradient.dtype)[:, None] * batch["has_mask"][:, None, None, None]
        return (gradient * masks).square().flatten(1).sum(1)


class Constant(Penalty):
    """The same value for every row with a mask, noting what it is shown."""

    fields = ("masks", "has_mask")
    seen: list = []

    def __init__(self, mask_role="avoid", value=2.0, draws=0):
        self.mask_role = mask_role
        self.value = value
        self.draws = draws

    def build(self, n_samples, n_outputs, kind):
        return self.penalties

    def penalties(self, module, batch):
        torch.rand(self.draws)
        self.seen.append({name: batch[name].clone() for name in ("masks", "has_mask")})
        return torch.full_like(batch["losses"], self.value)


def weights_of(classifier):
    """All weights of a fitted classifier in one vector."""
    return torch.cat([tensor.flatten().double() for tensor in classifier.module_.state_dict().values()]).numpy()
