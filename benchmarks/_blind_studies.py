"""Studies in which an artifact hides in a share of one class, and what a network trained on them makes of it."""

import functools
import warnings

import numpy as np
import torch

from sklearn_shortcuts.datasets import ArtifactInjector, load_study, make_chest_phantoms
from sklearn_shortcuts.explain import relevance
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

ARTIFACTS = ("timestamp", "marker", "patch")
_SCALE = 1.5
_SIZE = 48


def phantoms(seed, n_rows):
    """Generated radiographs with a sign that a small network learns well but not perfectly."""
    study, y = make_chest_phantoms(n_rows, size=_SIZE, sign_contrast=0.12, random_state=seed, return_X_y=True)
    return np.asarray(study), np.asarray(y)


def children(seed, n_rows, folder):
    """Radiographs of children without and with pneumonia."""
    X, y = _read_children(folder)
    rows = np.sort(np.random.default_rng(seed).permutation(len(y))[:n_rows])
    return X[rows], y[rows]


@functools.cache
def _read_children(folder):
    study = load_study(folder, masks=None, query="source == 'kermany'", size=_SIZE)
    return np.asarray(study), (np.asarray(study.target) == "pneumonia").astype(np.int64)


def plant(X, y, share, seed):
    """Plant an artifact, another one for every third seed, into a share of class 1."""
    artifact = ARTIFACTS[seed % len(ARTIFACTS)]
    injector = ArtifactInjector(artifact, scale=_SCALE, probability={0: 0.0, 1: share}, random_state=seed)
    study = injector.inject(X, y)
    attacked = ArtifactInjector(artifact, scale=_SCALE, probability=1.0, random_state=seed).inject(X[y == 0])
    return np.asarray(study), np.asarray(study.artifact), np.asarray(attacked), artifact


def train(X, y, seed, max_epochs):
    """Train a small network."""
    network = NeuralImageClassifier(
        SmallCNN(width=8),
        max_epochs=max_epochs,
        batch_size=32,
        lr=3e-3,
        normalize="channel",
        device="cpu",
        random_state=seed,
    )
    return network.fit(X, y)


def describe(network, X, y):
    """Give relevances and activations of the last convolutional block, and heat maps, for the true class.

    Relevances are gradient times activation. Both take the largest value over the positions: a small artifact would
    be lost in a mean.
    """
    module = network.module_
    relevances, activations, start = [], [], 0
    for batch in network.iter_batches(X, batch_size=200):
        found = module.features(batch["X"]).detach().requires_grad_()
        logits = module.head(module.flatten(module.pool(found)))
        labels = torch.as_tensor(y[start : start + len(found)])
        start += len(found)
        if logits.shape[1] == 1:
            scores = logits[:, 0] * (2 * labels - 1)
        else:
            scores = logits[torch.arange(len(found)), labels]
        (gradients,) = torch.autograd.grad(scores.sum(), found)
        relevances.append((gradients * found).detach().flatten(2).amax(2).numpy())
        activations.append(found.detach().flatten(2).amax(2).numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows whose score is close to 0 conserve it badly
        maps = relevance(network, X, "true", y=y, method="lrp")
    return {
        "relevances": np.concatenate(relevances),
        "activations": np.concatenate(activations),
        "heat maps": np.asarray(maps),
    }
