"""Studies in which an artifact hides in a share of one class, and what a network trained on them makes of it."""

import functools
import warnings

import numpy as np
from skorch.callbacks import LRScheduler

from sklearn_shortcuts.datasets import ArtifactInjector, load_study, make_chest_phantoms
from sklearn_shortcuts.explain import relevance
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.latent import LayerFeatures
from sklearn_shortcuts.neural import NeuralImageClassifier

from ._concept_networks import VGGLike

SCALES = {"timestamp": 2.0, "microscope": 0.9, "patch": 1.5, "marker": 2.0}
_SIZE = 48


def phantoms(seed, n_rows):
    """Generated radiographs with a sign that a small network learns well but not perfectly."""
    study, y = make_chest_phantoms(n_rows, size=_SIZE, sign_contrast=0.12, random_state=seed, return_X_y=True)
    return np.clip(np.asarray(study), 0, 1), np.asarray(y)


def children(seed, n_rows, folder):
    """Radiographs of children without and with pneumonia."""
    X, y = _read_children(folder)
    rows = np.sort(np.random.default_rng(seed).permutation(len(y))[:n_rows])
    return X[rows], y[rows]


@functools.cache
def _read_children(folder):
    study = load_study(folder, masks=None, query="source == 'kermany'", size=_SIZE)
    return np.clip(np.asarray(study), 0, 1), (np.asarray(study.target) == "pneumonia").astype(np.int64)


def plant(X, y, share, seed):
    """Plant an artifact, another one for each of four seeds, into a share of class 1."""
    artifact = list(SCALES)[seed % len(SCALES)]
    look = {"artifact": artifact, "scale": SCALES[artifact]}
    study = ArtifactInjector(**look, probability={0: 0.0, 1: share}, random_state=seed).inject(X, y)
    attacked = ArtifactInjector(**look, probability=1.0, random_state=seed + 1).inject(X[y == 0])
    return np.asarray(study), np.asarray(study.artifact), np.asarray(attacked), artifact


def train(X, y, seed, max_epochs):
    """Train a small network, with a learning rate that falls to zero."""
    network = NeuralImageClassifier(
        VGGLike(),
        max_epochs=max_epochs,
        batch_size=32,
        optimizer="adam",
        lr=2e-3,
        normalize="channel",
        callbacks=[("falling_lr", LRScheduler("CosineAnnealingLR", T_max=max_epochs))],
        device="cpu",
        random_state=seed,
    )
    return network.fit(X, y)


def describe(network, X, y):
    """Give activations and relevances of an early and of a late block, embeddings, and heat maps of the true class.

    Activations are means and maxima over the positions; relevances, by LRP, are maxima: a small artifact would be lost
    in a sum.
    """
    rows = ImageBunch(X, target=y)
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows whose score is close to 0 conserve it badly
        for name, layer in (("early", "block2"), ("late", "block3")):
            found[f"{name} activations"] = LayerFeatures(network, layer, pool="mean_max").fit_transform(rows)
            relevances = LayerFeatures(network, layer, kind="relevance", pool="max", attribution="lrp")
            found[f"{name} relevances"] = relevances.fit_transform(rows)
        found["heat maps"] = np.asarray(relevance(network, X, "true", y=y, method="lrp"))
    found["embeddings"] = network.embed(X)
    return found
