"""Clusters in a spectral embedding."""

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans

from .._random_state import draw_seed
from ._spectral_graph import isolation, unit_rows


def cluster_rows(clusterer, spectrum, n_clusters, generator):
    """Give the cluster of each point, from 0; -1 for those that the clusterer leaves out.

    k-means and agglomerative clustering get as many eigenvectors as there are clusters, which tell these apart.
    """
    n = len(spectrum.points)
    n_clusters = min(n_clusters, n)
    if clusterer is None or (n_clusters == 1 and clusterer in ("kmeans", "agglomerative")):
        return np.zeros(n, dtype=int)
    leading = unit_rows(spectrum.vectors[:, :n_clusters])
    if clusterer == "kmeans":
        labels = KMeans(n_clusters, n_init=10, random_state=draw_seed(generator)).fit_predict(leading)
    elif clusterer == "agglomerative":
        labels = AgglomerativeClustering(n_clusters).fit_predict(leading)
    elif clusterer == "hdbscan":
        smallest = max(2, min(spectrum.n_neighbors, n // 4))
        labels = HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(spectrum.embedding)
    else:
        labels = clone(clusterer).fit_predict(spectrum.embedding)
    named, labels_from_0 = np.unique(labels, return_inverse=True)
    return labels_from_0 - 1 if named[0] == -1 else labels_from_0


def cluster_table(labels, inverse, first, model):
    """Describe the clusters of one class.

    Parameters
    ----------
    labels : ndarray of shape (n_distinct,)
        Cluster of each distinct row, from 0, or -1.
    inverse : ndarray of shape (n,)
        Distinct row of each row.
    first : int
        Number of the first cluster.
    model : SpectralGroup or None
        Scores and affinity of the distinct rows; None where there are too few.

    Returns
    -------
    DataFrame
        Columns "cluster", "rows", "share", "outlier_score", "isolation" and "largest".
    """
    of_rows = labels[inverse]
    n_clusters = labels.max() + 1
    sizes = np.bincount(of_rows[of_rows >= 0], minlength=n_clusters)
    scores = np.zeros(len(inverse)) if model is None else model.scores[inverse]
    means = np.bincount(of_rows[of_rows >= 0], scores[of_rows >= 0], n_clusters) / np.maximum(sizes, 1)
    # Rows left out are a group of their own here, so that the affinity to them counts as leaving.
    kept = np.ones(n_clusters) if model is None else isolation(model.spectrum.affinity, labels + 1)[1:]
    return pd.DataFrame(
        {
            "cluster": first + np.arange(n_clusters),
            "rows": sizes,
            "share": sizes / len(inverse),
            "outlier_score": means,
            "isolation": kept,
            "largest": np.arange(n_clusters) == (sizes.argmax() if n_clusters else -1),
        }
    )
