"""Distances against double loops, and planted artifact channels that must come first."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cosine
from sklearn.base import clone
from sklearn.neighbors import LocalOutlierFactor

from sklearn_shortcuts.audit import NeuronOutlierDetector, extreme_activation_matrix, extreme_activations
from sklearn_shortcuts.latent import LayerFeatures
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN


def relevances(seed, n_artifact, *, share=0.05, n=300, n_channels=128):
    """Channels that share concepts, and some that are used for the few rows with an artifact."""
    rng = np.random.RandomState(seed)
    concepts = rng.gamma(0.3, 1, (12, n_channels))
    concepts /= concepts.mean()
    R = rng.gamma(0.7, 1, (n, 12)) @ concepts / 12 + 0.5 * rng.exponential(1, (n, n_channels))
    channels = rng.choice(n_channels, n_artifact, replace=False)
    rows = rng.choice(n, int(share * n), replace=False)
    R[:, channels] *= 0.5
    R[np.ix_(rows, channels)] += 3 * rng.gamma(2, 0.5, (len(rows), 1)) * rng.uniform(0.5, 1.5, n_artifact)
    return R * rng.lognormal(0, 0.7, n_channels), channels


def test_layer_wise_distance_is_that_of_a_double_loop():
    A = np.random.default_rng(0).exponential(size=(12, 12))
    expected = np.zeros((12, 12))
    for i in range(12):
        for j in range(12):
            angle = A[i] @ A[j] / np.sqrt((A[i] @ A[i]) * (A[j] @ A[j]))
            expected[i, j] = np.sqrt(max(0.0, 1 - angle) / 2)
    np.testing.assert_allclose(NeuronOutlierDetector("extreme_activation").fit(A).distances_, expected, atol=1e-7)


def test_pair_wise_distance_is_that_of_a_double_loop():
    A = np.random.default_rng(1).exponential(size=(9, 9))
    expected = np.zeros((9, 9))
    for i in range(9):
        for j in range(9):
            one, other = np.array([A[i, i], A[i, j]]), np.array([A[j, i], A[j, j]])
            expected[i, j] = 0 if i == j else np.sqrt(max(0.0, cosine(one, other)) / 2)
    np.testing.assert_allclose(NeuronOutlierDetector("extreme_activation_pair").fit(A).distances_, expected, atol=1e-7)


def test_relevance_distance_is_that_of_scipy_and_unit_free():
    R = np.random.default_rng(2).normal(size=(30, 8))
    expected = [[cosine(np.maximum(R[:, i], 0), np.maximum(R[:, j], 0)) for j in range(8)] for i in range(8)]
    for unit in (1.0, 1e-200):
        np.testing.assert_allclose(NeuronOutlierDetector().fit(unit * R).distances_, expected, atol=1e-12)


def test_scores_are_local_outlier_factors():
    R, _ = relevances(0, 4, n_channels=40)
    for n_neighbors, used in ((None, 20), (7, 7), (500, 39)):
        detector = NeuronOutlierDetector(n_neighbors=n_neighbors).fit(R)
        assert detector.n_neighbors_ == used
        factors = LocalOutlierFactor(used, metric="cosine", algorithm="brute").fit(R.T)
        np.testing.assert_allclose(detector.outlier_scores_, -factors.negative_outlier_factor_, rtol=1e-6)
        np.testing.assert_array_equal(detector.ranking_, np.argsort(-detector.outlier_scores_, kind="stable"))


def test_dead_channels_do_not_take_part():
    R, _ = relevances(1, 4, n_channels=40)
    alone = NeuronOutlierDetector().fit(R)
    dead = np.zeros((len(R), 15))
    dead[:, 1] = -1
    dead[3, 2] = 1e-3 * R.mean()  # a spark in one row
    detector = NeuronOutlierDetector().fit(np.hstack([dead, R]))
    assert detector.dead_.tolist() == [True] * 15 + [False] * 40
    assert np.isnan(detector.outlier_scores_[:15]).all()
    assert np.isnan(detector.distances_[:15]).all()
    assert np.isnan(detector.distances_[:, :15]).all()
    np.testing.assert_allclose(detector.outlier_scores_[15:], alone.outlier_scores_)
    np.testing.assert_array_equal(detector.ranking_, alone.ranking_ + 15)
    assert NeuronOutlierDetector(min_share=0.0).fit(np.hstack([dead, R])).ranking_[0] == 2


@pytest.mark.parametrize("metric", ["extreme_activation", "extreme_activation_pair"])
def test_dead_channels_of_responses(metric):
    features = np.random.default_rng(3).exponential(size=(50, 10))
    features[:, [2, 6]] = 0
    detector = NeuronOutlierDetector(metric).fit(extreme_activations(features))
    assert np.flatnonzero(detector.dead_).tolist() == [2, 6]
    alive = np.delete(features, [2, 6], axis=1)
    alone = NeuronOutlierDetector(metric).fit(extreme_activations(alive))
    np.testing.assert_allclose(np.delete(detector.outlier_scores_, [2, 6]), alone.outlier_scores_)
    assert set(detector.ranking_) == set(range(10)) - {2, 6}


@pytest.mark.parametrize("n_artifact", [2, 5, 15])
@pytest.mark.parametrize("seed", range(100, 105))
def test_planted_group_comes_first(seed, n_artifact):
    R, channels = relevances(seed, n_artifact)
    first = NeuronOutlierDetector().fit(R).ranking_[: n_artifact + 1]
    assert first[0] in channels
    assert np.isin(first, channels).sum() >= 0.5 * n_artifact


@pytest.mark.parametrize("seed", range(110, 113))
def test_planted_group_is_far_from_the_others_by_responses_too(seed):
    R, channels = relevances(seed, 5, share=0.1)
    detector = NeuronOutlierDetector("extreme_activation").fit(extreme_activations(R, 5))
    assert np.isin(detector.ranking_[:7], channels).sum() >= 3


@pytest.mark.parametrize("seed", range(120, 124))
def test_without_an_artifact_no_score_is_high(seed):
    rng = np.random.RandomState(seed)
    R, channels = relevances(seed, 5)
    detector = NeuronOutlierDetector().fit(np.delete(R, channels, axis=1))
    assert np.nanmedian(detector.outlier_scores_) == pytest.approx(1, abs=0.1)
    assert np.nanmax(detector.outlier_scores_) < 1.8
    alike = rng.exponential(size=(300, 60))
    assert NeuronOutlierDetector().fit(alike).outlier_scores_.max() < 1.2


def test_names_and_input_stay():
    R, _ = relevances(2, 3, n_channels=20)
    frame = pd.DataFrame(R, columns=[f"features:{channel}" for channel in range(20)])
    before = frame.copy()
    detector = clone(NeuronOutlierDetector()).fit(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert detector.feature_names_in_[detector.ranking_[0]].startswith("features:")


def test_responses_are_means_over_the_strongest_rows():
    rng = np.random.default_rng(4)
    features, strengths = rng.normal(size=(2, 20, 6))
    features[:4, 0] = 9  # ties: the first rows count
    for given, chosen in ((None, features), (strengths, strengths)):
        responses = extreme_activations(features, 3, strengths=given)
        for i in range(6):
            rows = sorted(range(20), key=lambda row: (-chosen[row, i], row))[:3]
            for j in range(6):
                assert responses[i, j] == pytest.approx(np.mean([features[row, j] for row in rows]))


def test_responses_of_a_network_are_those_of_its_features():
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(12, 16, 16)), np.arange(12) % 2
    network = NeuralImageClassifier(SmallCNN(width=2), max_epochs=1, random_state=0).fit(X, y)
    for pool in ("mean", "max"):
        table = extreme_activation_matrix(network, X, "features.1", n_references=2, pool=pool)
        features = LayerFeatures(network, "features.1", pool=pool).fit(X).transform(X)
        np.testing.assert_allclose(table, extreme_activations(features, 2), rtol=1e-5)
        assert table.index.tolist() == table.columns.tolist() == [f"features.1:{channel}" for channel in range(4)]


def test_errors_say_what_to_give():
    with pytest.raises(ValueError, match="takes a square matrix"):
        NeuronOutlierDetector("extreme_activation").fit(np.ones((3, 4)))
    with pytest.raises(ValueError, match="1 of 3 channels are alive"):
        NeuronOutlierDetector().fit(np.array([[1.0, 0, 0], [2, 0, 0]]))
    with pytest.raises(ValueError, match="n_references=5, but there are 3 rows"):
        extreme_activations(np.ones((3, 4)))
    with pytest.raises(ValueError, match="strengths has shape"):
        extreme_activations(np.ones((3, 4)), 1, strengths=np.ones((3, 2)))
