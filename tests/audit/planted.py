"""Small images in which it is known where the label shows."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_shortcuts.images import ImageBunch


def flatten(X):
    """Give one row of numbers per image."""
    X = np.asarray(X)
    return X.reshape(len(X), -1)


def linear(C=0.01):
    """A cheap classifier of images."""
    return make_pipeline(FunctionTransformer(flatten), StandardScaler(), LogisticRegression(C=C))


def planted(where=(), n=160, seed=0, leak=None, strength=1.5):
    """Give images of 8 x 8, a region in the middle and labels that show where they are planted.

    Parameters
    ----------
    where : sequence of {"inside", "outside"}
        Where the label shows.
    n, seed : int
        Rows, and their noise.
    leak : {"size", "outline"}, default=None
        What of the masks depends on the label.
    strength : float
        Shift of two pixels by the label.
    """
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2)
    images = rng.normal(size=(n, 8, 8)) + 3
    masks = np.zeros((n, 8, 8), dtype=bool)
    masks[:, 2:6, 2:6] = True
    if leak == "size":
        masks[y == 1, 2:6, 1] = True
    if leak == "outline":
        masks[y == 1] = False
        masks[y == 1, 3:5, 0:8] = True  # other place, same number of pixels
    if "inside" in where:
        images[:, 3, 3:5] += strength * y[:, None]
    if "outside" in where:
        images[:, 0, 0:2] += strength * y[:, None]
    return ImageBunch(images, masks=masks), y
