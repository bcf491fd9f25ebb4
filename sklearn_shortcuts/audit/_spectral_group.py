"""Spectral analysis of the rows of one class, against rows without clusters."""

import numpy as np
from sklearn.decomposition import PCA

from .._random_state import draw_seed
from ._nearest_rows import NearestRows
from ._outlier_factors import OutlierFactors
from ._relevance_rows import RelevanceSpace
from ._spectral_clusters import cluster_rows
from ._spectral_graph import isolation, largest_gap, leading_eigenvectors, neighbor_affinity, unit_rows

FEWEST_ROWS = 8  # distinct rows below which nothing can be said
_MOST_COMPARED = 1000  # rows that are compared with the reference
_CLUSTER_WEIGHT = 2.0  # what is added to the scores of a small cluster that is cut off from all other rows
_TAIL = 0.99  # quantile of the reference that has the outlier score 1


class SpectralGroup:
    """Graph, spectrum, outlier scores and verdict of distinct rows in an order that does not depend on the caller's."""

    def __init__(self, settings, generator):
        self.settings = settings
        self.generator = generator

    def fit(self, rows):
        """Analyze rows of shape (n, n_values)."""
        settings = self.settings
        self.space = RelevanceSpace(
            settings.metric, settings.n_directions, settings.whitening, draw_seed(self.generator)
        ).fit(rows)
        points = self.space.transform(rows)
        self.spectrum = _Spectrum(settings, draw_seed(self.generator)).fit(points)
        n_compared = min(_MOST_COMPARED, len(points))
        compared, seed = self.spectrum, draw_seed(self.generator)
        if n_compared < len(points):
            sample = np.sort(np.random.RandomState(seed).permutation(len(points))[:n_compared])
            compared = _Spectrum(settings, seed).fit(points[sample])
        references = [self._reference(compared.points) for _ in range(settings.n_references)]
        factors = np.concatenate([reference.factors.factors for reference in references])
        self.middle = np.median(factors, axis=0)
        self.spread = np.maximum(np.quantile(factors, _TAIL, axis=0) - self.middle, 1e-6)
        self.eigenvalue = compared.second
        drawn = np.array([reference.second for reference in references])
        self.reference_eigenvalue = float(drawn.mean())
        self.excess = self._cluster_excess()
        self.scores = self._standardized(self.spectrum.factors.factors) + self.excess
        self.p_value = float((1 + (drawn <= self.eigenvalue).sum()) / (1 + len(drawn)))
        return self

    def score(self, rows):
        """Give the outlier scores of rows, and the nearest training rows."""
        points = self.space.transform(rows)
        distances, indices = self.spectrum.index.query(points, self.spectrum.n_neighbors)
        embedded = unit_rows(self.spectrum.embedding[indices].mean(1))
        factors = self.spectrum.factors.of(points, embedded, distances, indices)
        return self._standardized(factors) + self.excess[indices[:, 0]], indices

    def _cluster_excess(self):
        """Give what the cluster of each row adds to its score, more for small ones that are cut off from the others.

        Clusters are those of the widest gap. How well one is cut off is told by the share of its affinity that leaves
        it, relative to the second eigenvalue of the references; clusters of half of the rows or more add nothing.
        """
        spectrum = self.spectrum
        labels = cluster_rows("kmeans", spectrum, spectrum.n_before_gap, self.generator)
        leaving = (1 - isolation(spectrum.affinity, labels)) / max(self.reference_eigenvalue, 1e-12)
        share = np.bincount(labels) / len(labels)
        excess = _CLUSTER_WEIGHT * np.clip(1 - leaving, 0, 1) * np.clip(1 - 2 * share, 0, 1)
        return excess[labels]

    def _standardized(self, factors):
        return ((factors - self.middle) / self.spread).max(1)

    def _reference(self, points):
        """Analyze as many normally distributed rows of the same covariance.

        Components with the distributions of the rows' own would not do: a cluster can have one of its own.
        """
        seed = draw_seed(self.generator)
        if self.space.metric != "whitened":
            points = PCA(random_state=seed).fit_transform(points)
        drawn = np.random.RandomState(seed).standard_normal(points.shape) * points.std(0)
        return _Spectrum(self.settings, seed).fit(drawn.astype(points.dtype))


class _Spectrum:
    """Neighbors of points, spectrum of their graph, and their outlier factors."""

    def __init__(self, settings, seed):
        self.settings = settings
        self.seed = seed

    def fit(self, points):
        settings, n = self.settings, len(points)
        self.points = points
        self.n_neighbors = min(settings.n_neighbors, max(2, n // 4))
        self.index = NearestRows(exact_limit=settings.exact_limit, n_probes=settings.n_probes, seed=self.seed)
        self.index.fit(points)
        distances, indices = self.index.query(points, self.n_neighbors, own=np.arange(n))
        self.affinity = neighbor_affinity(indices)
        n_components = min(max(2, settings.n_components), n - 2)  # a verdict needs the second
        self.eigenvalues, self.vectors = leading_eigenvectors(self.affinity, n_components, self.seed)
        self.embedding = unit_rows(self.vectors)
        self.second = float(self.eigenvalues[1])
        self.n_before_gap, self.gap = largest_gap(self.eigenvalues)
        self.factors = OutlierFactors(self.seed).fit(points, self.embedding, distances, indices)
        return self
