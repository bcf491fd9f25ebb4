"""Rows in which a clean shortcut goes with a noisy sign, in most of them."""

import numpy as np
import torch
from torch import nn

from sklearn_shortcuts.metrics import make_subgroups, subgroup_accuracy
from sklearn_shortcuts.neural import NeuralImageClassifier


def draw(n, agreement, seed):
    """Give tables of 32 columns, classes, and whether the shortcut points to the other class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    against = rng.random(n) >= agreement
    X = rng.normal(size=(n, 32)).astype(np.float32)
    X[:, 0] = 2 * y - 1 + 1.2 * X[:, 0]
    X[:, 1] = 2 * np.where(against, 1 - 2 * y, 2 * y - 1) + 0.2 * X[:, 1]
    return X, y, against


def small_network(n_outputs=2, **options):
    """Give a perceptron that fits them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, n_outputs))
    options = {"optimizer": "sgd", "lr": 0.01, "batch_size": 64, "random_state": 0, **options}
    return NeuralImageClassifier(module, **options)


def worst_group(model, X, y, against):
    """Accuracy in the worst combination of class and agreement."""
    return subgroup_accuracy(y, model.predict(X), subgroups=make_subgroups(y, against))
