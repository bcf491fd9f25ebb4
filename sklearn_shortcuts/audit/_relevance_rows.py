"""Relevances or heat maps as comparable rows, and the space in which they are compared."""

import numpy as np
from sklearn.decomposition import PCA

_ROWS_PER_DIRECTION = 10  # fewer, and whitening makes all rows equally far from each other


def as_rows(R, normalize, block_size):
    """Average heat maps over blocks, flatten them, and divide every row by the sum of its absolute values.

    Parameters
    ----------
    R : ndarray of shape (n, C), (n, T) or (n, H, W)
        Relevances, finite.
    normalize : {"abs_sum", None}
        Whether rows are divided; rows of zeros stay.
    block_size : int
        Pixels per side of the blocks; what is left over at the right and at the bottom is left out.

    Returns
    -------
    ndarray of shape (n, n_values)
        Rows, in the precision of ``R``.

    Raises
    ------
    ValueError
        If a block is larger than a row.
    """
    if block_size > 1:
        sizes = [size // block_size for size in R.shape[1:]]
        if min(sizes) == 0:
            raise ValueError(f"block_size={block_size} is more than an axis of R has, which has shape {R.shape}")
        R = R[(slice(None), *(slice(size * block_size) for size in sizes))]
        for axis, size in enumerate(sizes, start=1):
            R = R.reshape(*R.shape[:axis], size, block_size, *R.shape[axis + 1 :]).mean(axis + 1)
    rows = np.ascontiguousarray(R.reshape(len(R), -1))
    if normalize is None:
        return rows
    sums = np.abs(rows).sum(1, dtype=np.float64)
    # A sum below what can be divided by would overflow.
    sums[sums < np.finfo(rows.dtype).tiny] = 1
    return (rows / sums[:, None]).astype(rows.dtype)


class RelevanceSpace:
    """Space in which Euclidean distances between rows are taken."""

    def __init__(self, metric, n_directions, whitening, seed):
        self.metric = metric
        self.n_directions = n_directions
        self.whitening = whitening
        self.seed = seed

    def fit(self, rows):
        """Find the directions of the greatest variance and their scales, if the metric has them."""
        if self.metric == "whitened":
            most = min(self.n_directions, max(2, len(rows) // _ROWS_PER_DIRECTION), rows.shape[1], len(rows) - 1)
            self.pca = PCA(most, random_state=self.seed).fit(rows)
            scales = np.sqrt(self.pca.explained_variance_)
            kept = scales > 1e-4 * scales[0] if scales[0] > 0 else np.zeros(len(scales), dtype=bool)
            self.directions = self.pca.components_[kept] / scales[kept, None] ** self.whitening
            self.origin = self.pca.mean_
            del self.pca
        return self

    def transform(self, rows):
        """Give rows of shape (n, n_directions)."""
        if self.metric == "whitened":
            return (rows - self.origin) @ self.directions.T.astype(rows.dtype)
        if self.metric == "cosine":
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            return rows / np.where(lengths > 0, lengths, 1)
        return rows
