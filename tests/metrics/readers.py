"""Images whose class shows at two places, and models that read one of them."""

import numpy as np

from sklearn_shortcuts.images import ImageBunch

INSIDE, OUTSIDE = (1, 1), (5, 5)


class Reader:
    """Fitted classifier that takes the class from one pixel of a row of images (n, H, W)."""

    def __init__(self, place, classes=(0, 1), columns=None):
        self.place = place
        self.classes_ = np.asarray(classes)
        self.columns = columns

    def _read(self, X):
        rows, columns = self.place
        return np.asarray(X).reshape(len(X), 8, 8)[:, rows, columns]

    def predict(self, X):
        codes = np.rint(self._read(X)).astype(int)
        if self.columns:  # several labels as the digits of a number
            return (codes[:, None] >> np.arange(self.columns)) & 1
        return self.classes_[np.clip(codes, 0, len(self.classes_) - 1)]

    def predict_proba(self, X):
        distances = -np.abs(self._read(X)[:, None] - np.arange(len(self.classes_)))
        shares = np.exp(distances)
        return shares / shares.sum(axis=1, keepdims=True)


def make_rows(n=60, seed=0, n_classes=2, noise=0.0):
    """Give images of 8 x 8 whose class shows inside the region (rows and columns 0 to 2) and outside of it."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % n_classes)
    images = rng.uniform(10, 20, (n, 8, 8))
    for row, column in (INSIDE, OUTSIDE):
        images[:, row, column] = y + noise * rng.normal(size=n)
    masks = np.zeros((n, 8, 8), dtype=bool)
    masks[:, :3, :3] = True
    return ImageBunch(images, masks=masks, target=y), y
