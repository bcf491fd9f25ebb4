"""Spectrum of the graph of nearest neighbors."""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, eigsh

_DENSE_LIMIT = 128  # rows up to which a dense solver is faster and more robust


def neighbor_affinity(indices):
    """Give the symmetric affinity of a graph: 1 between mutual neighbors, 1/2 where only one is the other's.

    Parameters
    ----------
    indices : ndarray of shape (n, n_neighbors)
        Neighbors of every row, without itself.

    Returns
    -------
    csr_array of shape (n, n)
        Affinity, with at most 2 n n_neighbors entries.
    """
    n, k = indices.shape
    graph = sparse.csr_array((np.ones(n * k), indices.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    return ((graph + graph.T) / 2).tocsr()


def leading_eigenvectors(affinity, n_vectors, seed):
    r"""Give the leading eigenvectors of :math:`D^{-1/2} A D^{-1/2}`.

    A graph of several components has the eigenvalue 1 several times, which an iteration from one start vector finds
    only by rounding errors. These eigenvectors are known, the components' own, and are put in and taken out.

    Parameters
    ----------
    affinity : csr_array of shape (n, n)
        Affinity A; every row has a neighbor.
    n_vectors : int
        How many, less than n.
    seed : int
        Decides the start vector.

    Returns
    -------
    eigenvalues : ndarray of shape (n_vectors,)
        One minus the eigenvalues, ascending from 0.
    vectors : ndarray of shape (n, n_vectors)
        Eigenvectors; the entry of largest magnitude of each is positive.
    """
    n = affinity.shape[0]
    degrees = np.asarray(affinity.sum(1)).ravel()
    scale = sparse.diags_array(degrees**-0.5)
    matrix = (scale @ affinity @ scale).tocsr()
    _, component = connected_components(affinity, directed=False)
    sizes = np.bincount(component)
    largest = np.argsort(-sizes, kind="stable")[:n_vectors]
    own = np.zeros((n, len(largest)))
    for column, name in enumerate(largest):
        own[:, column] = np.sqrt(degrees) * (component == name)
    own /= np.linalg.norm(own, axis=0)
    n_more = n_vectors - len(largest)
    values, vectors = np.ones(len(largest)), own
    if n_more:
        if n <= max(_DENSE_LIMIT, 3 * n_vectors):
            found, more = np.linalg.eigh(matrix.toarray() - 2 * own @ own.T)
            found, more = found[-n_more:], more[:, -n_more:]
        else:
            # Shifted below the whole spectrum, which begins at -1.
            deflated = LinearOperator((n, n), matvec=lambda x: matrix @ x - 2 * own @ (own.T @ x), dtype=np.float64)
            start = np.random.RandomState(seed).uniform(-1, 1, n)
            found, more = eigsh(deflated, n_more, which="LA", v0=start, tol=1e-8)
        order = np.argsort(-found, kind="stable")
        values, vectors = np.r_[values, found[order]], np.hstack([vectors, more[:, order]])
    peaks = vectors[np.abs(vectors).argmax(0), np.arange(n_vectors)]
    return np.clip(1 - values, 0, 2), vectors * np.where(peaks < 0, -1, 1)


def unit_rows(vectors):
    """Scale rows to length 1; rows of zeros, of components beyond the leading ones, stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def largest_gap(eigenvalues):
    """Give the number of eigenvalues before the widest gap, and the gap."""
    gaps = np.diff(eigenvalues)
    if len(gaps) == 0:
        return 1, 0.0
    at = int(gaps.argmax())
    return at + 1, float(gaps[at])


def isolation(affinity, labels):
    """Give for each label from 0 the share of the affinity of its rows that stays among them."""
    n_labels = labels.max() + 1
    member = sparse.csr_array((np.ones(len(labels)), (np.arange(len(labels)), labels)), shape=(len(labels), n_labels))
    inside = (member.T @ affinity @ member).diagonal()
    return inside / np.maximum(member.T @ np.asarray(affinity.sum(1)).ravel(), np.finfo(float).tiny)
