"""Distances to class means against scikit-learn."""

import numpy as np
from sklearn.metrics.pairwise import cosine_distances
from sklearn.neighbors import NearestCentroid

from sklearn_shortcuts.mitigation._prototypicality import distances_to_centroids


def test_one_label_as_by_nearest_centroid():
    rng = np.random.default_rng(0)
    features, codes = rng.normal(size=(30, 5)).astype(np.float32), np.arange(30) % 3
    centroids = NearestCentroid().fit(features.astype(float), codes).centroids_
    expected = cosine_distances(features.astype(float), centroids)[np.arange(30), codes]
    np.testing.assert_allclose(distances_to_centroids(features, codes, np.ones(30)), expected, rtol=1e-12)


def test_several_labels_have_two_means_each():
    rng = np.random.default_rng(1)
    features, codes = rng.normal(size=(40, 4)), rng.integers(0, 2, (40, 3))
    weight = np.ones(40)
    parts = [distances_to_centroids(features, codes[:, label], weight) for label in range(3)]
    np.testing.assert_allclose(distances_to_centroids(features, codes, weight), np.mean(parts, axis=0), rtol=1e-12)
    assert not np.allclose(parts[0], parts[1])


def test_weights_are_repetitions():
    rng = np.random.default_rng(2)
    features, codes, weight = rng.normal(size=(20, 4)), np.arange(20) % 2, rng.integers(1, 4, 20)
    rows = np.repeat(np.arange(20), weight)
    repeated = distances_to_centroids(features[rows], codes[rows], np.ones(len(rows)))
    np.testing.assert_allclose(distances_to_centroids(features, codes, weight)[rows], repeated, rtol=1e-12)


def test_the_odd_row_is_farthest_and_dead_features_have_no_direction():
    features = np.array([[1.0, 0.1], [1.0, 0.0], [0.9, 0.0], [-0.2, 1.0], [0.0, 0.0]])
    distances = distances_to_centroids(features, np.zeros(5, dtype=int), np.ones(5))
    assert distances.argmax() == 4
    assert distances[:4].argmax() == 3
    assert distances[4] == 1
