import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.cluster import DBSCAN
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from sklearn_shortcuts.audit import SpectralRelevanceAnalysis
from sklearn_shortcuts.audit._nearest_rows import NearestRows
from sklearn_shortcuts.audit._outlier_factors import OutlierFactors
from sklearn_shortcuts.audit._relevance_rows import RelevanceSpace, as_rows
from sklearn_shortcuts.audit._spectral_graph import (
    isolation,
    largest_gap,
    leading_eigenvectors,
    neighbor_affinity,
    unit_rows,
)


def rows_with_artifact(n=240, n_artifact=24, n_channels=8, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(1, 0.2, (n, n_channels))
    rows[:n_artifact, 0] += 3
    return rows, np.arange(n) < n_artifact


def analyze(rows, y=None, **parameters):
    return SpectralRelevanceAnalysis(**{"n_references": 3, "random_state": 0, "alpha": 0.25, **parameters}).fit(rows, y)


# -- rows ----------------------------------------------------------------------------------------------------------
def test_rows_have_absolute_sum_1_and_zeros_stay():
    rows = as_rows(np.array([[1.0, -3.0], [0.0, 0.0], [1e-310, 0.0]]), "abs_sum", 1)
    np.testing.assert_allclose(rows, [[0.25, -0.75], [0, 0], [1e-310, 0]])


def test_heat_maps_are_averaged_over_whole_blocks():
    maps = np.random.default_rng(0).normal(size=(3, 7, 5))
    expected = [[m[i : i + 2, j : j + 2].mean() for i in (0, 2, 4) for j in (0, 2)] for m in maps]
    np.testing.assert_allclose(as_rows(maps, None, 2), expected)


def test_a_block_larger_than_the_map_is_refused():
    with pytest.raises(ValueError, match="block_size=9"):
        as_rows(np.ones((3, 7, 5)), None, 9)


@pytest.mark.parametrize("whitening", [0, 0.5, 1])
def test_components_have_variances_of_a_lower_power(whitening):
    rows = np.random.default_rng(0).normal(size=(200, 3)) @ np.diag([10, 1, 0.1])
    points = RelevanceSpace("whitened", 3, whitening, 0).fit(rows).transform(rows)
    variances = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    np.testing.assert_allclose(np.cov(points.T), np.diag(variances ** (1 - whitening)), atol=1e-8)


# -- neighbors -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("exact", [True, False])
def test_neighbors_are_those_of_brute_force(exact):
    X = np.random.default_rng(0).normal(size=(700, 5)).astype(np.float32)
    index = NearestRows(exact_limit=1000 if exact else 100, n_probes=6, seed=0).fit(X)
    distances, indices = index.query(X, 10, own=np.arange(700))
    true_distances, true = NearestNeighbors(n_neighbors=10).fit(X.astype(np.float64)).kneighbors()
    np.testing.assert_allclose(distances, true_distances, rtol=1e-5)
    assert np.mean(indices == true) > 0.999  # all six cells are looked through; ties of float32


def test_few_cells_find_most_neighbors_of_rows_in_groups():
    rng = np.random.default_rng(0)
    X = rng.normal(0, 4, (10, 8))[rng.integers(10, size=3000)] + rng.normal(size=(3000, 8))
    found = NearestRows(exact_limit=1, n_probes=8, seed=0).fit(X).query(X, 10, own=np.arange(3000))[1]
    true = NearestNeighbors(n_neighbors=10).fit(X).kneighbors(return_distance=False)
    assert np.mean([len(np.intersect1d(*pair)) / 10 for pair in zip(found, true)]) > 0.9


def test_cells_that_hold_too_few_rows_are_no_obstacle():
    X = np.random.default_rng(0).normal(size=(300, 2))
    distances, _ = NearestRows(exact_limit=1, n_probes=1, seed=0).fit(X).query(X, 250, own=np.arange(300))
    true = NearestNeighbors(n_neighbors=250).fit(X).kneighbors()[0]
    np.testing.assert_allclose(distances, true)


def test_a_row_is_no_neighbor_of_itself_among_equal_rows():
    X = np.zeros((30, 2))
    _, indices = NearestRows(exact_limit=100, n_probes=1, seed=0).fit(X).query(X, 5, own=np.arange(30))
    assert not (indices == np.arange(30)[:, None]).any()


# -- spectrum ------------------------------------------------------------------------------------------------------
def dense_spectrum(affinity):
    A = affinity.toarray().astype(np.float64)
    degrees = A.sum(1)
    values, vectors = np.linalg.eigh(A / np.sqrt(np.outer(degrees, degrees)))
    return 1 - values[::-1], vectors[:, ::-1]


@pytest.mark.parametrize("n", [60, 400])
def test_eigenvectors_are_those_of_a_dense_solver(n):
    X = np.random.default_rng(1).normal(size=(n, 3))
    affinity = neighbor_affinity(NearestNeighbors(n_neighbors=8).fit(X).kneighbors(return_distance=False))
    values, vectors = leading_eigenvectors(affinity, 6, 0)
    expected_values, expected = dense_spectrum(affinity)
    np.testing.assert_allclose(values, expected_values[:6], atol=1e-7)
    np.testing.assert_allclose(np.abs(np.sum(vectors * expected[:, :6], 0)), 1, atol=1e-6)


def test_affinity_is_that_of_scikit_learn():
    X = np.random.default_rng(1).normal(size=(50, 3))
    search = NearestNeighbors(n_neighbors=5).fit(X)
    graph = search.kneighbors_graph(mode="connectivity")
    affinity = neighbor_affinity(search.kneighbors(return_distance=False))
    np.testing.assert_allclose(affinity.toarray(), ((graph + graph.T) / 2).toarray())


@pytest.mark.parametrize("n_vectors", [2, 3, 5])
def test_components_of_a_disconnected_graph_have_eigenvalue_0_each(n_vectors):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(50 * place, 1, (80, 2)) for place in range(3)])
    affinity = neighbor_affinity(NearestNeighbors(n_neighbors=6).fit(X).kneighbors(return_distance=False))
    values, vectors = leading_eigenvectors(affinity, n_vectors, 0)
    np.testing.assert_allclose(values, dense_spectrum(affinity)[0][:n_vectors], atol=1e-7)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(n_vectors), atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(unit_rows(vectors), axis=1)[:80], 1)
    assert largest_gap(leading_eigenvectors(affinity, 6, 0)[0])[0] == 3


def test_isolation_is_the_share_of_affinity_within():
    A = sparse.csr_array(np.array([[0, 1, 0.5], [1, 0, 0], [0.5, 0, 0]]))
    np.testing.assert_allclose(isolation(A, np.array([0, 0, 1])), [2 / 2.5, 0])


# -- scores --------------------------------------------------------------------------------------------------------
def test_factors_are_local_outlier_factors():
    rng = np.random.default_rng(0)
    X, embedding = rng.normal(size=(200, 4)), rng.normal(size=(200, 3))
    distances, indices = NearestNeighbors(n_neighbors=25).fit(X).kneighbors()
    factors = OutlierFactors(0).fit(X, embedding, distances, indices).factors
    for column, (rows, k) in enumerate([(X, 20), (X, 50), (embedding, 50)]):
        expected = -LocalOutlierFactor(k).fit(rows).negative_outlier_factor_
        np.testing.assert_allclose(np.exp(factors[:, column]), expected, rtol=1e-9)


@pytest.mark.parametrize("metric", ["whitened", "euclidean", "cosine"])
def test_a_cluster_is_found_and_scored_above_an_isolation_forest(metric):
    rows, artifact = rows_with_artifact()
    analysis = analyze(rows, metric=metric)
    assert average_precision_score(artifact, analysis.outlier_scores_) > 0.95
    assert analysis.is_suspicious_
    first = analysis.clusters_.iloc[0]
    np.testing.assert_array_equal(analysis.labels_ == first["cluster"], artifact)
    assert first["suspicious"]
    assert first["isolation"] > 0.9


def test_a_hidden_cluster_beats_the_forest():
    # Half of the channels vary ten times as much as that of the artifact.
    rng = np.random.default_rng(3)
    rows = rng.normal(10, np.r_[np.full(6, 3), np.full(6, 0.3)], (400, 12))
    artifact = np.arange(400) < 40
    rows[artifact, 8] += 3
    forest = -IsolationForest(random_state=0).fit(rows).score_samples(rows)
    ours = average_precision_score(artifact, analyze(rows, normalize=None, whitening=1).outlier_scores_)
    assert ours > 0.9
    assert ours > average_precision_score(artifact, forest) + 0.2


def test_independent_rows_are_not_suspicious():
    verdicts = [
        analyze(np.random.default_rng(seed).gamma(2, size=(150, 6)), n_references=19, alpha=0.05) for seed in range(5)
    ]
    assert not any(analysis.is_suspicious_ for analysis in verdicts)


def test_classes_are_analyzed_on_their_own():
    rows, _ = rows_with_artifact(n=300)
    y = np.where(np.arange(300) < 150, "sick", "well")
    analysis = analyze(rows, y)
    assert analysis.verdicts_["suspicious"].to_dict() == {"sick": True, "well": False}
    alone = analyze(rows[:150])
    np.testing.assert_array_equal(analysis.outlier_scores_[:150], alone.outlier_scores_)
    assert set(analysis.labels_[:150]).isdisjoint(analysis.labels_[150:])
    assert analysis.clusters_["rows"].sum() == 300
    one = analyze(rows, y, by_class=False)
    np.testing.assert_array_equal(one.outlier_scores_, analyze(rows).outlier_scores_)


# -- invariances ---------------------------------------------------------------------------------------------------
def test_order_of_rows_does_not_matter():
    rows, _ = rows_with_artifact()
    order = np.random.default_rng(0).permutation(len(rows))
    straight, shuffled = analyze(rows), analyze(rows[order])
    np.testing.assert_array_equal(straight.outlier_scores_[order], shuffled.outlier_scores_)
    np.testing.assert_array_equal(straight.labels_[order], shuffled.labels_)


def test_scale_of_rows_does_not_matter():
    rows, _ = rows_with_artifact()
    scale = 2.0 ** np.random.default_rng(0).integers(-20, 20, (len(rows), 1))  # exact in binary
    np.testing.assert_array_equal(analyze(rows).outlier_scores_, analyze(rows * scale).outlier_scores_)


def test_rows_given_twice_are_judged_as_once():
    rows, _ = rows_with_artifact()
    once, twice = analyze(rows), analyze(np.concatenate([rows, rows]))
    np.testing.assert_array_equal(twice.outlier_scores_, np.tile(once.outlier_scores_, 2))
    assert twice.clusters_["rows"].tolist() == (2 * once.clusters_["rows"]).tolist()


def test_input_stays_as_it_is():
    rows, _ = rows_with_artifact()
    before = rows.copy()
    analyze(rows).score_samples(rows)
    np.testing.assert_array_equal(rows, before)


# -- new rows ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("exact_limit", [5000, 100])
def test_training_rows_keep_their_scores(exact_limit):
    rows, _ = rows_with_artifact(n=400)
    y = np.arange(400) % 2
    analysis = analyze(rows, y, exact_limit=exact_limit)
    np.testing.assert_allclose(analysis.score_samples(rows, y), -analysis.outlier_scores_)
    np.testing.assert_array_equal(analysis.predict(rows, y), analysis.labels_)


def test_new_rows_are_scored_like_those_they_resemble():
    rows, _ = rows_with_artifact(n=400, n_artifact=40)
    new, artifact = rows_with_artifact(n=200, n_artifact=20, seed=1)
    analysis = analyze(rows)
    assert average_precision_score(artifact, -analysis.score_samples(new)) > 0.95
    first = analysis.clusters_["cluster"].iloc[0]
    assert np.mean((analysis.predict(new) == first) == artifact) > 0.98


def test_a_class_that_was_not_there_is_refused():
    rows, _ = rows_with_artifact()
    analysis = analyze(rows, np.arange(len(rows)) % 2)
    with pytest.raises(ValueError, match="row 1 has a class"):
        analysis.predict(rows[:2], [0, 7])


# -- forms of input and parameters ---------------------------------------------------------------------------------
def test_heat_maps_are_those_of_their_blocks():
    maps = np.random.default_rng(0).gamma(2, size=(60, 8, 8))
    maps[:10, :2, :2] += 20
    blocks = maps.reshape(60, 4, 2, 4, 2).mean((2, 4)).reshape(60, -1)
    analysis = analyze(maps, block_size=2)
    np.testing.assert_allclose(analysis.outlier_scores_, analyze(blocks).outlier_scores_, rtol=1e-6)
    with pytest.raises(ValueError, match=r"heat maps of shape \(8, 8\)"):
        analysis.predict(blocks)


@pytest.mark.parametrize("clusterer", ["agglomerative", "hdbscan", DBSCAN(eps=0.5)])
def test_clusterers_find_the_artifact(clusterer):
    rows, artifact = rows_with_artifact()
    analysis = analyze(rows, clusterer=clusterer)
    names, counts = np.unique(analysis.labels_[artifact], return_counts=True)
    assert counts.max() >= 0.9 * artifact.sum()
    assert not (analysis.labels_[~artifact] == names[counts.argmax()]).any()


def test_without_clusterer_a_class_is_one_cluster():
    rows, _ = rows_with_artifact()
    assert analyze(rows, clusterer=None).labels_.tolist() == [0] * len(rows)


def test_number_of_clusters_can_be_asked_for():
    rows, _ = rows_with_artifact()
    assert analyze(rows, n_clusters=5).n_clusters_ == 5


def test_few_rows_say_nothing():
    rows, _ = rows_with_artifact()
    y = np.r_[np.zeros(len(rows) - 3), np.ones(3)]
    analysis = analyze(rows, y)
    assert analysis.outlier_scores_[-3:].tolist() == [0, 0, 0]
    assert analysis.verdicts_.loc[1.0, "p_value"] == 1
    assert analyze(np.ones((20, 3))).is_suspicious_ is False  # one distinct row


def test_not_a_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        analyze(np.array([[1.0, np.nan]] * 10))


def test_fitted_analysis_survives_pickling():
    rows, _ = rows_with_artifact()
    analysis = analyze(rows)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(analysis)).score_samples(rows), analysis.score_samples(rows)
    )
