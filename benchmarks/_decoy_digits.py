"""Digits with a gray patch in a corner whose brightness tells the class: the decoys of Ross et al. (2017)."""

import cv2
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.neural import NeuralImageClassifier

from ._decoy_networks import FlatCNN, PooledCNN
from ._shortcut_study import ShortcutStudy

_PATCH = 4  # pixels of a side


def digits_study(seed, *, corner="fixed", pooled=False, n_train=700, max_epochs=None):
    """scikit-learn's digits, twice their size, in a frame of 24 x 24 pixels with noise.

    Parameters
    ----------
    seed : int
        Decides split, noise, patches, and the network's initial weights.
    corner : {"fixed", "random"}, default="fixed"
        Whether the patch is always at the upper left, or anywhere.
    pooled : bool, default=False
        Take the network that averages over the image, with less noise and more epochs.
    n_train : int, default=700
        Rows to train on; the others are for testing.
    max_epochs : int, default=None
        Epochs; by default what the network needs.

    Returns
    -------
    ShortcutStudy
        The study.
    """
    digits, y = load_digits(return_X_y=True)
    images = np.zeros((len(y), 24, 24), dtype=np.float32)
    for image, digit in zip(images, digits.reshape(-1, 8, 8).astype(np.float32) / 16):
        image[4:20, 4:20] = cv2.resize(digit, (16, 16), interpolation=cv2.INTER_LINEAR)
    roi = np.zeros((24, 24), dtype=bool)
    roi[4:20, 4:20] = True
    rng = np.random.default_rng(seed)
    noise = 0.10 if pooled else 0.25
    images = np.clip(images + rng.normal(0, noise, images.shape).astype(np.float32), 0, 1)
    epochs = max_epochs or (60 if pooled else 14)
    network = NeuralImageClassifier(
        PooledCNN() if pooled else FlatCNN(),
        optimizer="adam",
        lr=4e-3 if pooled else 2e-3,
        weight_decay=1e-4,
        max_epochs=epochs,
        random_state=seed,
    )
    return _make_study(images, y, roi, rng, corner, n_train, None, network, epochs if pooled else 2 * epochs)


def mnist_study(seed, folder, *, n_train=3000, n_test=3000, max_epochs=10):
    """MNIST with the patch in any corner.

    Parameters
    ----------
    seed : int
        Decides which rows are used, patches, and the network's initial weights.
    folder : Path
        Folder that holds ``mnist_t10k.npz``.
    n_train, n_test : int
        Rows.
    max_epochs : int, default=10
        Epochs.

    Returns
    -------
    ShortcutStudy
        The study.
    """
    with np.load(folder / "mnist_t10k.npz", allow_pickle=False) as arrays:
        images, y = arrays["images"].astype(np.float32) / 255, arrays["labels"].astype(np.int64)
    roi = np.zeros(images.shape[1:], dtype=bool)
    roi[_PATCH:-_PATCH, _PATCH:-_PATCH] = True  # the digits fill the middle 20 x 20 pixels
    network = NeuralImageClassifier(
        FlatCNN(), optimizer="adam", lr=1e-3, weight_decay=1e-4, max_epochs=max_epochs, random_state=seed
    )
    rng = np.random.default_rng(seed)
    return _make_study(images, y, roi, rng, "random", n_train, n_test, network, max_epochs)


def _make_study(images, y, roi, rng, corner, n_train, n_test, network, refine_epochs):
    train, test = train_test_split(
        np.arange(len(y)), train_size=n_train, test_size=n_test, stratify=y, random_state=int(rng.integers(2**31))
    )
    return ShortcutStudy(
        train=_decoys(images[train], y[train], y[train], roi, rng, corner),
        correlated=_decoys(images[test], y[test], y[test], roi, rng, corner),
        decorrelated=_decoys(images[test], y[test], rng.integers(0, 10, len(test)), roi, rng, corner),
        clean_train=_bunch(images[train], y[train], np.zeros(images[train].shape, dtype=bool), roi),
        clean_test=_bunch(images[test], y[test], np.zeros(images[test].shape, dtype=bool), roi),
        network=network,
        mask_role="avoid",
        refine_lr=1e-3 if isinstance(network.module, FlatCNN) else 2e-3,
        refine_epochs=refine_epochs,
    )


def _decoys(images, y, told, roi, rng, corner):
    """Plant patches whose brightness tells the classes ``told``."""
    images, masks = images.copy(), np.zeros(images.shape, dtype=bool)
    places = (slice(None, _PATCH), slice(-_PATCH, None))
    corners = rng.integers(0, 2, (len(images), 2)) if corner == "random" else np.zeros((len(images), 2), dtype=int)
    for row, (vertical, horizontal) in enumerate(corners):
        masks[row, places[vertical], places[horizontal]] = True
    shades = (1 - 0.1 * told).astype(np.float32)
    return _bunch(np.where(masks, shades[:, None, None], images), y, masks, roi)


def _bunch(images, y, masks, roi):
    return ImageBunch(images, target=y, masks=masks, roi=np.broadcast_to(roi, images.shape).copy())
