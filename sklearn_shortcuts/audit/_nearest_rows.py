"""Nearest rows of a matrix: by comparing all pairs, or only the rows of the nearest cells where there are many."""

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.neighbors import NearestNeighbors

_ROWS_PER_CELL = 128
_SAMPLE_PER_CELL = 24  # rows that the center of a cell is found from
_BLOCK_BYTES = 2**26  # of what is computed at once


class NearestRows:
    """Index of rows that gives the nearest ones, by Euclidean distance.

    Parameters
    ----------
    exact_limit : int
        Up to this many rows all pairs are compared. Beyond it the rows are divided among cells of about 128 rows by
        k-means (an inverted file), and only the rows of the cells nearest to a row are compared with it: the cost per
        row is then that of choosing its cells and looking through them.
    n_probes : int
        Cells that are looked through for every row.
    seed : int
        Decides where the cells begin.

    Notes
    -----
    Candidates are compared in the precision of the rows. The distances of those chosen are then computed anew from
    differences in double precision, so that equal rows have distance 0.
    """

    def __init__(self, *, exact_limit, n_probes, seed):
        self.exact_limit = exact_limit
        self.n_probes = n_probes
        self.seed = seed

    def fit(self, X):
        """Divide rows of shape (n, n_features) among cells, if there are many."""
        self.X = X
        self.exact = len(X) <= self.exact_limit
        if self.exact:
            self.search = NearestNeighbors(algorithm="brute").fit(X)
            return self
        # Without their common mean, fewer digits are lost when products are subtracted.
        self.origin = X.mean(0, dtype=np.float64).astype(X.dtype)
        n_cells = -(-len(X) // _ROWS_PER_CELL)
        rng = np.random.RandomState(self.seed)
        sample = np.sort(rng.permutation(len(X))[: _SAMPLE_PER_CELL * n_cells])
        # Centers start at random rows: k-means++ would cost more than the search and gains nothing for it.
        cells = MiniBatchKMeans(
            n_cells, init="random", n_init=1, batch_size=4096, max_iter=4, reassignment_ratio=0, random_state=rng
        ).fit(X[sample] - self.origin)
        self.centers = cells.cluster_centers_
        home = self._nearest_cells(X, 1)[:, 0]
        self.order = np.argsort(home, kind="stable")
        self.starts = np.searchsorted(home[self.order], np.arange(n_cells + 1))
        return self

    def query(self, Y, n_neighbors, own=None):
        """Give the nearest rows of rows of shape (m, n_features).

        Parameters
        ----------
        Y : ndarray of shape (m, n_features)
            Rows to compare.
        n_neighbors : int
            How many, less than there are rows.
        own : ndarray of shape (m,), default=None
            Position of each row among those of the index, which is then no neighbor of itself.

        Returns
        -------
        distances : ndarray of shape (m, n_neighbors)
            Ascending.
        indices : ndarray of shape (m, n_neighbors)
            Positions in the index.
        """
        wanted = n_neighbors + (own is not None)
        if self.exact:
            indices = self.search.kneighbors(Y, wanted, return_distance=False)
        else:
            indices = self._search_cells(Y, wanted)
        if own is not None:
            is_own = indices == np.asarray(own)[:, None]
            is_own[~is_own.any(1), -1] = True  # crowded out by equal rows: drop the last one instead
            indices = indices[~is_own].reshape(len(Y), n_neighbors)
        distances = self._distances(Y, indices)
        order = np.argsort(distances, axis=1, kind="stable")
        return np.take_along_axis(distances, order, 1), np.take_along_axis(indices, order, 1)

    # -- inside ----------------------------------------------------------------------------------------------------
    def _blocks(self, n_rows, width, itemsize):
        size = max(1, _BLOCK_BYTES // max(1, width * itemsize))
        return [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]

    def _nearest_cells(self, Y, n_cells):
        found = np.empty((len(Y), n_cells), dtype=np.int32)
        lengths = np.square(self.centers).sum(1)
        for block in self._blocks(len(Y), max(len(self.centers), Y.shape[1]), Y.itemsize):
            away = lengths - 2 * ((Y[block] - self.origin) @ self.centers.T)
            if n_cells == 1:
                found[block, 0] = away.argmin(1)
            else:
                found[block] = np.argpartition(away, n_cells - 1, axis=1)[:, :n_cells]
        return found

    def _search_cells(self, Y, wanted):
        n_probes = min(self.n_probes, len(self.centers))
        probed = self._nearest_cells(Y, n_probes).ravel()
        visits = np.argsort(probed, kind="stable")  # the rows that look through the first cell, the second, ...
        bounds = np.searchsorted(probed[visits], np.arange(len(self.centers) + 1))
        best = np.full((len(Y), wanted), np.inf, dtype=Y.dtype)
        indices = np.full((len(Y), wanted), -1, dtype=np.int32)
        for cell in range(len(self.centers)):
            members = self.order[self.starts[cell] : self.starts[cell + 1]]
            visitors = visits[bounds[cell] : bounds[cell + 1]] // n_probes
            if len(members) == 0 or len(visitors) == 0:
                continue
            inside = self.X[members] - self.origin
            lengths = np.square(inside).sum(1)
            for block in self._blocks(len(visitors), len(members) + Y.shape[1] + 2 * wanted, Y.itemsize):
                rows = visitors[block]
                # |y|^2, the same for all candidates of a row, changes nothing.
                away = lengths - 2 * ((Y[rows] - self.origin) @ inside.T)
                if len(members) > wanted:
                    chosen = np.argpartition(away, wanted - 1, axis=1)[:, :wanted]
                    away, names = np.take_along_axis(away, chosen, 1), members[chosen]
                else:
                    names = np.broadcast_to(members, away.shape)
                away = np.concatenate([best[rows], away], axis=1)
                names = np.concatenate([indices[rows], names], axis=1)
                chosen = np.argpartition(away, wanted - 1, axis=1)[:, :wanted]
                best[rows] = np.take_along_axis(away, chosen, 1)
                indices[rows] = np.take_along_axis(names, chosen, 1)
        lacking = np.flatnonzero((indices < 0).any(1))  # all cells looked through hold fewer rows than are wanted
        if len(lacking):
            indices[lacking] = NearestNeighbors(algorithm="brute").fit(self.X).kneighbors(Y[lacking], wanted)[1]
        return indices

    def _distances(self, Y, indices):
        distances = np.empty(indices.shape)
        for block in self._blocks(len(Y), indices.shape[1] * Y.shape[1], 8):
            difference = self.X[indices[block]] - Y[block, None].astype(np.float64)
            distances[block] = np.sqrt(np.einsum("ijk,ijk->ij", difference, difference))
        return distances
