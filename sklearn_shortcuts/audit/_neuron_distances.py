"""Distances between the channels of a layer, by what they respond to and what they are used for."""

import numpy as np


def extreme_activation_distances(responses):
    """Distance of neurons by the responses of all neurons to what excites them most, layer-wise [1]_.

    Parameters
    ----------
    responses : ndarray of shape (k, k), dtype float64
        Row ``i``: mean response of every neuron to the strongest signals of neuron ``i``.

    Returns
    -------
    ndarray of shape (k, k)
        ``sqrt((1 - cos) / 2)`` of the angle between two rows, in [0, 1].

    References
    ----------
    .. [1] Bykov et al. (2023). DORA: Exploring Outlier Representations in Deep Neural Networks. TMLR.
    """
    return _half_chord(_cosines(responses.T))


def pairwise_extreme_activation_distances(responses):
    """Distance of neurons by the responses of the two of them to what excites each most, pair-wise [1]_.

    Parameters
    ----------
    responses : ndarray of shape (k, k), dtype float64
        Row ``i``: mean response of every neuron to the strongest signals of neuron ``i``.

    Returns
    -------
    ndarray of shape (k, k)
        ``sqrt((1 - cos) / 2)`` of the angle between ``(A[i, i], A[i, j])`` and ``(A[j, i], A[j, j])``, in [0, 1].

    References
    ----------
    .. [1] Bykov et al. (2023). DORA: Exploring Outlier Representations in Deep Neural Networks. TMLR.
    """
    own = np.diagonal(responses)
    products = own[:, None] * responses.T + responses * own[None, :]
    lengths = np.hypot(own[:, None], responses)
    lengths = lengths * lengths.T
    return _half_chord(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0))


def relevance_cosine_distances(relevances):
    """Distance of neurons by the rows whose prediction they are used for.

    Parameters
    ----------
    relevances : ndarray of shape (n, C), dtype float64
        Relevances of the channels, at least 0.

    Returns
    -------
    ndarray of shape (C, C)
        One minus the cosine of two columns, in [0, 1].
    """
    distances = np.clip(1 - _cosines(relevances), 0, 1)
    np.fill_diagonal(distances, 0)
    return distances


def _cosines(columns):
    columns = columns / np.abs(columns).max(axis=0)  # squares of tiny numbers are 0
    columns = columns / np.linalg.norm(columns, axis=0)
    cosines = columns.T @ columns
    return (cosines + cosines.T) / 2


def _half_chord(cosines):
    distances = np.sqrt(np.clip((1 - cosines) / 2, 0, 1))
    np.fill_diagonal(distances, 0)
    return distances
