"""Tasks in which most rows follow a shortcut and a few do not: what a miner of hard samples has to find."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from matplotlib.colors import hsv_to_rgb
from sklearn.datasets import load_digits
from torch import nn

from sklearn_shortcuts.datasets import make_chest_phantoms
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.neural import ModuleSpec, NeuralImageClassifier, SmallCNN


class Perceptron(ModuleSpec):
    """Hidden layers of the same width.

    Parameters
    ----------
    width : int, default=64
        Units of a layer.
    depth : int, default=1
        Number of layers.
    """

    _n_axes = (3,)

    def __init__(self, width=64, *, depth=1):
        self.width = width
        self.depth = depth

    def _build(self, input_shape, n_outputs):
        layers, n_inputs = [nn.Flatten()], int(np.prod(input_shape))
        for _ in range(self.depth):
            layers += [nn.Linear(n_inputs, self.width), nn.ReLU()]
            n_inputs = self.width
        return nn.Sequential(*layers, nn.Linear(n_inputs, n_outputs))


@dataclass(frozen=True)
class Rows:
    """Rows of a task.

    Attributes
    ----------
    X : ImageBunch
        Images.
    y : ndarray of int of shape (n,)
        Classes.
    minority : ndarray of bool of shape (n,)
        Rows in which the shortcut points to another class.
    group : ndarray of int of shape (n,)
        Subgroups; where there are two classes their combinations with ``minority``, otherwise ``minority`` itself.
    level : ndarray of int of shape (n,) or None
        How hard the row's true sign is to see, from 0; -1 where there is none.
    flipped : ndarray of bool of shape (n,) or None
        Rows with a wrong label.
    """

    X: ImageBunch
    y: np.ndarray
    minority: np.ndarray
    group: np.ndarray
    level: np.ndarray | None = None
    flipped: np.ndarray | None = None


@dataclass(frozen=True)
class Task:
    """A task for one seed.

    Attributes
    ----------
    train, validation, test : Rows
        Validation and test rows do not have the association.
    network : NeuralImageClassifier
        What is trained.
    upweight : float
        Weight of hard rows.
    amplification : float
        Of the rows' own logits.
    stage_two_epochs : int
        Epochs of the second training; 0 leaves it out.
    """

    train: Rows
    validation: Rows
    test: Rows
    network: NeuralImageClassifier
    upweight: float
    amplification: float = 0.6
    stage_two_epochs: int = 20


def gaussian_task(seed, *, flips=0.0, n_train=1000):
    """Task G: a noisy sign and a clean shortcut among 30 columns of noise; with ``flips``, task L.

    Parameters
    ----------
    seed : int
        Decides everything.
    flips : float
        Share of training rows whose label is wrong.
    n_train : int
        Training rows.

    Returns
    -------
    Task
        The task.
    """
    parts = _gaussian_rows(seed, n_train, agreement=0.95, noise=0.2, flips=flips)
    return Task(*parts, _network(Perceptron(), seed), 50.0)


def memorized_task(seed, *, agreement=0.9, noise=0.8, flips=0.0):
    """Tasks W, WL, GL: a larger network learns all rows by heart; only the scores are of interest.

    Parameters
    ----------
    seed : int
        Decides everything.
    agreement : float
        Share of training rows that follow the shortcut.
    noise : float
        Standard deviation of the shortcut, which points 2 to either side.
    flips : float
        Share of training rows whose label is wrong.

    Returns
    -------
    Task
        The task.
    """
    parts = _gaussian_rows(seed, 1000, agreement=agreement, noise=noise, flips=flips)
    return Task(*parts, _network(Perceptron(depth=2), seed, lr=0.1, batch_size=16), 20.0, 1.5, 0)


def _gaussian_rows(seed, n_train, *, agreement, noise, flips):
    rng = np.random.default_rng(seed)

    def draw(n, agreement, flips=0.0):
        y = rng.integers(0, 2, n)
        minority = rng.random(n) >= agreement
        X = rng.normal(size=(n, 32)).astype(np.float32)
        X[:, 0] = 2 * y - 1 + 1.2 * X[:, 0]
        X[:, 1] = 2 * (2 * np.where(minority, 1 - y, y) - 1) + noise * X[:, 1]
        flipped = rng.random(n) < flips
        return _rows(X[:, None, None], np.where(flipped, 1 - y, y), minority, flipped=flipped)

    return draw(n_train, agreement, flips), draw(600, 0.5), draw(4000, 0.5)


def digits_task(seed):
    """Task D: digits of 5 and more against the others, in noise, with a patch in the corner.

    Parameters
    ----------
    seed : int
        Decides everything.

    Returns
    -------
    Task
        The task.
    """
    images, digits = load_digits(return_X_y=True)
    images = np.stack([cv2.resize(image.reshape(8, 8), (24, 24)) for image in images.astype(np.float32) / 16])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(digits))
    y = (digits >= 5).astype(np.int64)

    def draw(rows, agreement):
        minority = rng.random(len(rows)) >= agreement
        X = images[rows] + rng.normal(0, 0.5, (len(rows), 24, 24)).astype(np.float32)
        X[np.where(minority, 1 - y[rows], y[rows]) == 1, :3, :3] = 2
        return _rows(X, y[rows], minority)

    parts = draw(order[:1000], 0.95), draw(order[1000:1250], 0.5), draw(order[1250:], 0.5)
    return Task(*parts, _network(SmallCNN(8, depth=2), seed), 20.0)


def tube_task(seed, *, n_train=1200):
    """Task X: generated radiographs; 90 % of opacities of four contrasts have a chest tube, 5 % of the others.

    Parameters
    ----------
    seed : int
        Decides everything.
    n_train : int
        Training rows.

    Returns
    -------
    Task
        The task.
    """
    contrasts = (0.6, 0.4, 0.25, 0.12)

    def draw(n, part, prevalence):
        study = make_chest_phantoms(
            n,
            size=32,
            sign_contrast=contrasts,
            class_balance=0.25,
            shortcut={"drain": {"strength": 2.5, "scale": 1.5}},
            prevalence=prevalence,
            random_state=10 * seed + part,
        )
        shown = study.get("truth")["sign_contrast"].to_numpy(dtype=float)
        level = np.where(study.target == 1, np.abs(shown[:, None] - contrasts).argmin(axis=1), -1)
        return replace(_rows(np.asarray(study), study.target, study.artifact != study.target), level=level)

    parts = draw(n_train, 0, {0: 0.05, 1: 0.9}), draw(400, 1, 0.5), draw(3000, 2, 0.5)
    network = _network(SmallCNN(8, depth=2), seed, normalize="channel")
    return Task(*parts, network, 20.0, stage_two_epochs=30)


def colors_task(seed):
    """Task C: ten digits whose color tells which.

    Parameters
    ----------
    seed : int
        Decides everything.

    Returns
    -------
    Task
        The task.
    """
    images, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    palette = hsv_to_rgb(np.stack([np.arange(10) / 10, np.ones(10), np.ones(10)], axis=1)).astype(np.float32)

    def draw(rows, agreement):
        told = np.where(rng.random(len(rows)) < agreement, y[rows], rng.integers(0, 10, len(rows)))
        X = images[rows].reshape(-1, 1, 8, 8).astype(np.float32) / 16 * palette[told][:, :, None, None]
        X += rng.normal(0, 0.1, X.shape).astype(np.float32)
        return _rows(X, y[rows], told != y[rows], crossed=False)

    parts = draw(order[:1000], 0.95), draw(order[1000:1250], 0.1), draw(order[1250:], 0.1)
    return Task(*parts, _network(Perceptron(128), seed, lr=0.03), 20.0)


def decoy_task(seed):
    """Task N, a control: a faint patch that the network does not need.

    Parameters
    ----------
    seed : int
        Decides everything.

    Returns
    -------
    Task
        The task.
    """
    images, digits = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.float32) / 16
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(digits))
    y = (digits >= 5).astype(np.int64)

    def draw(rows, agreement):
        minority = rng.random(len(rows)) >= agreement
        X = images[rows] + rng.normal(0, 0.1, (len(rows), 8, 8)).astype(np.float32)
        X[:, :2, :2] += 0.1 * np.where(minority, 1 - y[rows], y[rows])[:, None, None]
        return _rows(X, y[rows], minority)

    parts = draw(order[:1000], 0.95), draw(order[1000:1250], 0.5), draw(order[1250:], 0.5)
    return Task(*parts, _network(Perceptron(128), seed, lr=0.03), 20.0)


def _rows(X, y, minority, *, flipped=None, crossed=True):
    group = 2 * y + minority if crossed else minority.astype(int)
    return Rows(ImageBunch(X, target=y), y, minority, group, flipped=flipped)


def _network(module, seed, **options):
    options = {"optimizer": "sgd", "lr": 0.01, "batch_size": 64, "random_state": seed, **options}
    return NeuralImageClassifier(module, **options)
