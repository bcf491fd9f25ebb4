"""Partners for the units of one acquisition among those of another, by distances in one or several dimensions."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import KDTree

_NEIGHBORS = 8  # asked for at first
_ROWS_AT_ONCE = 4096  # queries whose neighbors are held in memory
_MOST_DISTANCES = 25_000_000  # between units that optimal matching weighs: 200 MB


def match_greedily(queries, points, *, limit=np.inf, ratio=1, replacement=False):
    """Give every query in turn its nearest free point; a second partner only when all have had their first.

    Parameters
    ----------
    queries : ndarray of shape (m,) or (m, d)
        Served hardest first: by descending score in one dimension, in several by descending distance to the nearest
        point.
    points : ndarray of shape (n,) or (n, d)
        What they choose from. Of scores equally near the lower one is taken, of equal points the first.
    limit : float, default=inf
        Largest distance.
    ratio : int, default=1
        Partners of each query.
    replacement : bool, default=False
        Whether a point may be taken several times (once by each query).

    Returns
    -------
    query, point : ndarray of int of shape (n_pairs,)
        Positions of pairs.
    distance : ndarray of shape (n_pairs,)
        Their distances.
    """
    if queries.ndim == 1:
        order = np.argsort(-queries, kind="stable")
        pairs = _nearest_scores if replacement else _nearest_free_scores
    else:
        order = np.argsort(-KDTree(points).query(queries)[0], kind="stable")
        pairs = _nearest_points if replacement else _nearest_free_points
    query, point, distance = pairs(queries, points, order, limit, ratio)
    return np.array(query, dtype=np.intp), np.array(point, dtype=np.intp), np.array(distance, dtype=np.float64)


def match_optimally(queries, points, *, limit=np.inf, ratio=1):
    """Find the pairs of least total distance among those that give most queries a partner.

    Parameters
    ----------
    queries : ndarray of shape (m,) or (m, d)
        Units that look for partners.
    points : ndarray of shape (n,) or (n, d)
        Units to choose from, each at most once.
    limit : float, default=inf
        Largest distance.
    ratio : int, default=1
        Partners of each query, at most.

    Returns
    -------
    query, point : ndarray of int of shape (n_pairs,)
        Positions of pairs.
    distance : ndarray of shape (n_pairs,)
        Their distances.
    """
    queries, points = (values[:, None] if values.ndim == 1 else values for values in (queries, points))
    m, n = len(queries), len(points)
    query, point, distance = _edges(queries, points, limit)
    if len(query) == 0:
        return query, point, distance
    if len(query) == m * n and (ratio == 1 or m * ratio <= n):
        costs = np.empty((m, n))
        costs[query, point] = distance
        rows, columns = linear_sum_assignment(np.tile(costs, (ratio, 1)))
        return rows % m, columns, costs[rows % m, columns]
    # Every query may also stay alone, on a point of its own that costs more than all distances; the first partner of a
    # query is worth more than a second one of another. Costs of 0 would be no edges to scipy, hence the 1.
    alone = (1 + distance.max()) * (m * ratio + 1)
    copies = np.arange(m * ratio)
    rows = np.concatenate([*(query + m * copy for copy in range(ratio)), copies])
    columns = np.concatenate([*(point for _ in range(ratio)), n + copies])
    costs = np.concatenate([np.tile(1 + distance, ratio), np.where(copies < m, 2 * alone, alone)])
    graph = coo_array((costs, (rows, columns)), shape=(m * ratio, n + m * ratio)).tocsr()
    rows, columns = min_weight_full_bipartite_matching(graph)
    rows, columns = rows[columns < n] % m, columns[columns < n]
    return rows, columns, _distances(queries[rows], points[columns])


def _edges(queries, points, limit):
    """Pairs within the limit."""
    m, n = len(queries), len(points)
    tree = KDTree(points)
    reach = limit * (1 + 1e-12)  # a distance is rounded in different ways; looked at exactly below
    n_edges = m * n if np.isinf(limit) else int(tree.query_ball_point(queries, reach, return_length=True).sum())
    if n_edges > _MOST_DISTANCES:
        raise ValueError(
            f"optimal matching would have to weigh {n_edges:,} pairs (at most {_MOST_DISTANCES:,}); narrow the "
            'caliper, name exact covariates, or set method="greedy"'
        )
    if np.isinf(limit):
        query, point = (places.ravel() for places in np.indices((m, n)))
    else:
        near = tree.query_ball_point(queries, reach, return_sorted=True)
        query = np.repeat(np.arange(m), [len(some) for some in near])
        point = np.concatenate([np.asarray(some, dtype=np.intp) for some in near])
    distance = _distances(queries[query], points[point])
    kept = distance <= limit
    return query[kept], point[kept], distance[kept]


def _distances(queries, points):
    return np.sqrt(((queries - points) ** 2).sum(axis=1)) if queries.shape[1] > 1 else np.abs(queries - points)[:, 0]


def _nearest_free_scores(queries, scores, order, limit, ratio):
    """In one dimension the free neighbors on both sides are found by chains that skip what is taken."""
    n = len(scores)
    places = np.arange(n)
    upward, downward = np.lexsort((places, scores)), np.lexsort((-places, scores))
    place_up, place_down = np.empty(n, dtype=np.intp), np.empty(n, dtype=np.intp)
    place_up[upward], place_down[downward] = places, places
    starts = np.searchsorted(scores[upward], queries).tolist()
    # above[p]: a free place from p on, or n; below[p]: one before p, stored one further, or 0.
    above, below = list(range(n + 1)), list(range(n + 1))
    upward, downward, place_up, place_down = (values.tolist() for values in (upward, downward, place_up, place_down))
    queries, scores = queries.tolist(), scores.tolist()
    found = [], [], []
    served = order.tolist()
    for _ in range(ratio):
        waiting, served = served, []
        for query in waiting:
            wanted, start = queries[query], starts[query]
            right, left = _root(above, start), _root(below, start)
            to_right = scores[upward[right]] - wanted if right < n else np.inf
            to_left = wanted - scores[downward[left - 1]] if left > 0 else np.inf
            distance = min(to_left, to_right)
            if distance > limit or distance == np.inf:
                continue  # nor later: points only become fewer
            point = downward[left - 1] if to_left <= to_right else upward[right]
            above[place_up[point]] = place_up[point] + 1
            below[place_down[point] + 1] = place_down[point]
            for values, value in zip(found, (query, point, distance)):
                values.append(value)
            served.append(query)
    return found


def _root(chain, place):
    while chain[place] != place:
        chain[place] = chain[chain[place]]  # halves the way for the next one
        place = chain[place]
    return place


def _nearest_scores(queries, scores, order, limit, ratio):
    n = len(scores)
    places = np.arange(n)
    # The k nearest are among the k on either side of where the query would stand.
    upward, downward = np.lexsort((places, scores)), np.lexsort((-places, scores))
    found = [], [], []
    starts = np.searchsorted(scores[upward], queries)
    for query in order:
        start = starts[query]
        near = np.concatenate([downward[max(0, start - ratio) : start][::-1], upward[start : start + ratio]])
        distances = np.abs(scores[near] - queries[query])
        for place in np.argsort(distances, kind="stable")[:ratio]:
            if distances[place] <= limit:
                for values, value in zip(found, (query, near[place], distances[place])):
                    values.append(value)
    return found


def _nearest_points(queries, points, order, limit, ratio):
    k = min(ratio, len(points))
    distances, near = (
        values.reshape(len(queries), k)[order] for values in KDTree(points).query(queries, k=[*range(1, k + 1)])
    )
    kept = distances <= limit
    return np.repeat(order, k)[kept.ravel()], near[kept], distances[kept]


def _nearest_free_points(queries, points, order, limit, ratio):
    """In several dimensions a tree of free points is asked for ever more neighbors, and renewed when that gets dear."""
    places, owner = np.unique(points, axis=0, return_inverse=True)  # equal points stand in line at one place
    lines = [[] for _ in places]
    for point in range(len(points) - 1, -1, -1):
        lines[owner[point]].append(point)
    found = [], [], []
    served = order
    for _ in range(ratio):
        waiting, served = served, []
        first = 0
        while first < len(waiting):
            free = np.array([place for place, line in enumerate(lines) if line], dtype=np.intp)
            if len(free) == 0:
                break
            tree, spent = KDTree(places[free]), 0
            while first < len(waiting) and spent <= len(free):
                some = waiting[first : first + _ROWS_AT_ONCE]
                k = min(_NEIGHBORS, len(free))
                distances, near = tree.query(queries[some], k=[*range(1, k + 1)])
                for row, query in enumerate(some):
                    first += 1
                    distance, place = _first_free(distances[row], near[row], free, lines)
                    while place is None and k < len(free) and distance <= limit:
                        k = min(2 * k, len(free))
                        spent += k
                        wider = tree.query(queries[query], k=[*range(1, k + 1)])
                        distance, place = _first_free(*wider, free, lines)
                    k = min(_NEIGHBORS, len(free))
                    if place is not None and distance <= limit:
                        for values, value in zip(found, (query, lines[place].pop(), distance)):
                            values.append(value)
                        served.append(query)
                    if spent > len(free):
                        break
        served = np.array(served, dtype=np.intp)
    return found


def _first_free(distances, near, free, lines):
    """Nearest place with a free point and its distance; without one the largest distance looked at."""
    for distance, place in zip(distances, near):
        if lines[free[place]]:
            return distance, free[place]
    return distances[-1], None
