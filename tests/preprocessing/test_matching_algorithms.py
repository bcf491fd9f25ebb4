"""Pairs against the obvious double loop and scipy's solver for dense distances, pair by pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sklearn_shortcuts.preprocessing._matching_algorithms import match_greedily, match_optimally


def distances_of(queries, points):
    return cdist(queries.reshape(len(queries), -1), points.reshape(len(points), -1))


def double_loop(queries, points, limit, ratio, replacement):
    """Serve the hardest first, round by round; of scores equally near the lower, of equal ones the first."""
    distances = distances_of(queries, points)
    hardest = -queries if queries.ndim == 1 else -distances.min(axis=1)
    free = {query: set(range(len(points))) for query in range(len(queries))}
    pairs = []
    for _ in range(ratio):
        for query in np.argsort(hardest, kind="stable").tolist():

            def rank(point, query=query):
                return (distances[query, point], points[point] if points.ndim == 1 else 0, point)

            near = sorted((point for point in free[query] if distances[query, point] <= limit), key=rank)
            if near:
                pairs.append((query, near[0]))
                for other in [query] if replacement else free:
                    free[other].discard(near[0])
    return pairs


def pairs_of(result):
    return list(zip(result[0].tolist(), result[1].tolist()))


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("ratio", [1, 3])
@pytest.mark.parametrize("limit", [np.inf, 0.3])
@pytest.mark.parametrize("n_dimensions", [1, 4])
def test_greedy_pairs_are_those_of_the_double_loop(n_dimensions, limit, ratio, replacement):
    rng = np.random.default_rng(n_dimensions)
    shape = () if n_dimensions == 1 else (n_dimensions,)
    limit = limit if n_dimensions == 1 else 4 * limit
    queries, points = rng.normal(0.5, 1, (90, *shape)), rng.normal(size=(150, *shape))
    result = match_greedily(queries, points, limit=limit, ratio=ratio, replacement=replacement)
    assert set(pairs_of(result)) == set(double_loop(queries, points, limit, ratio, replacement))
    if not replacement:
        assert pairs_of(result) == double_loop(queries, points, limit, ratio, replacement)
        assert len(set(result[1].tolist())) == len(result[1])
    expected = distances_of(queries, points)[result[0], result[1]]
    np.testing.assert_allclose(result[2], expected, rtol=1e-12)


@given(
    st.lists(st.integers(-6, 6), min_size=1, max_size=25),
    st.lists(st.integers(-6, 6), min_size=1, max_size=25),
    st.sampled_from([0, 1, 3, np.inf]),
    st.integers(1, 3),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_scores_that_are_equal_go_by_the_rule(queries, points, limit, ratio, replacement):
    queries, points = np.array(queries, dtype=float), np.array(points, dtype=float)
    result = match_greedily(queries, points, limit=limit, ratio=ratio, replacement=replacement)
    assert set(pairs_of(result)) == set(double_loop(queries, points, limit, ratio, replacement))


def test_equal_points_stand_in_line():
    """Few distinct points, more of them taken than a first look at neighbors shows; replayed pair by pair."""
    corners = np.random.default_rng(0).integers(0, 3, (1200, 2)).astype(float)
    queries, points = corners[:500], corners[500:]
    query, point, distance = match_greedily(queries, points)
    assert sorted(query.tolist()) == list(range(500))
    distances, free = distances_of(queries, points), np.ones(700, dtype=bool)
    for one, other, far in zip(query, point, distance):
        assert free[other]
        assert far == pytest.approx(distances[one, free].min())
        free[other] = False


def test_many_taken_neighbors_renew_the_tree():
    rng = np.random.default_rng(1)
    queries, points = rng.normal(0, 0.01, (300, 3)), np.r_[rng.normal(0, 0.01, (150, 3)), rng.normal(3, 1, (250, 3))]
    result = match_greedily(queries, points)
    assert pairs_of(result) == double_loop(queries, points, np.inf, 1, False)


@pytest.mark.parametrize("limit", [np.inf, 0.25])
@pytest.mark.parametrize("n_dimensions", [1, 3])
def test_optimal_pairs_are_those_of_the_dense_solver(n_dimensions, limit):
    rng = np.random.default_rng(2)
    shape = () if n_dimensions == 1 else (n_dimensions,)
    limit = limit if n_dimensions == 1 else 3 * limit
    queries, points = rng.normal(0.5, 1, (60, *shape)), rng.normal(size=(90, *shape))
    distances = distances_of(queries, points)
    rows, columns = linear_sum_assignment(np.where(distances <= limit, distances, 1e6))
    allowed = distances[rows, columns] <= limit
    result = match_optimally(queries, points, limit=limit)
    if n_dimensions == 1:  # on a line several matchings have the same sum
        assert len(result[0]) == allowed.sum()
        assert result[2].sum() == pytest.approx(distances[rows, columns][allowed].sum())
    else:
        assert sorted(pairs_of(result)) == list(zip(rows[allowed].tolist(), columns[allowed].tolist()))
    assert result[2].max() <= limit
    greedy = match_greedily(queries, points, limit=limit)
    assert len(greedy[0]) < len(result[0]) or greedy[2].sum() >= result[2].sum()


@pytest.mark.parametrize("limit", [np.inf, 5.0])
def test_optimal_matching_serves_everybody_once_before_anybody_twice(limit):
    queries, points = np.array([0.0, 0.1, 3.0]), np.array([0.0, 0.2, 2.9, 3.0])
    query, point, _ = match_optimally(queries, points, limit=limit, ratio=2)
    assert len(query) == len(set(point.tolist())) == 4
    assert set(query.tolist()) == {0, 1, 2}
    query, point, _ = match_optimally(queries, points, limit=0.15, ratio=2)
    assert sorted(zip(query.tolist(), point.tolist())) == [(0, 0), (1, 1), (2, 2), (2, 3)]
    assert len(match_optimally(queries, points + 50, limit=1.0)[0]) == 0


def test_too_many_distances_are_refused(monkeypatch):
    monkeypatch.setattr("sklearn_shortcuts.preprocessing._matching_algorithms._MOST_DISTANCES", 50)
    with pytest.raises(ValueError, match=r"would have to weigh 100 pairs .* set method=\"greedy\""):
        match_optimally(np.zeros(10), np.zeros(10))
    assert len(match_optimally(np.arange(10.0), np.arange(10.0), limit=0.5)[0]) == 10
