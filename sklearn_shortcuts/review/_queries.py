"""Which rows to ask people about next: positions among the candidates, the best first."""

import numpy as np

_CHOICE = 4  # "diverse" chooses among this many times the rows that are asked for


def by_score(scores, n):
    """Rows that most likely have the artifact."""
    return np.argsort(-scores, kind="stable")[:n]


def by_uncertainty(scores, n):
    """Rows nearest to the boundary."""
    return np.argsort(np.abs(scores), kind="stable")[:n]


def by_score_and_uncertainty(scores, n):
    """One row by score and one by uncertainty in turn, each once."""
    ranks = np.empty((2, len(scores)), dtype=int)
    for rank, order in zip(ranks, (by_score(scores, len(scores)), by_uncertainty(scores, len(scores)))):
        rank[order] = np.arange(len(scores))
    # Row r of the first list is the 2r-th, of the second the (2r + 1)-th; a row of both comes when it first would.
    return np.argsort(np.minimum(2 * ranks[0], 2 * ranks[1] + 1), kind="stable")[:n]


def by_distance(scores, n, X, X_found):
    """Rows among those with high scores that are far from the rows found, and from each other.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates,)
        Scores.
    n : int
        Number of rows to choose.
    X : ndarray of shape (n_candidates, n_features)
        Features of the candidates, on one scale.
    X_found : ndarray of shape (n_found, n_features)
        Features of the rows known to have the artifact.

    Returns
    -------
    ndarray of int of shape (n,)
        Positions, each the farthest from all before it (farthest-first traversal).
    """
    candidates = by_score(scores, _CHOICE * n)
    X = X[candidates]
    nearest = np.full(len(candidates), np.inf)
    for row in X_found:
        nearest = np.minimum(nearest, np.square(X - row).sum(axis=1))
    chosen = []
    for _ in range(min(n, len(candidates))):
        place = int(np.argmax(nearest))
        chosen.append(place)
        nearest = np.minimum(nearest, np.square(X - X[place]).sum(axis=1))
        nearest[chosen] = -1
    return candidates[chosen]
