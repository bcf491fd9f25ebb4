"""How far the features of a row lie from those of its class."""

import numpy as np


def distances_to_centroids(embedding, codes, weight):
    """Give the cosine distance of every row to the mean of its class.

    Parameters
    ----------
    embedding : ndarray of shape (n, n_features)
        Features.
    codes : ndarray of int of shape (n,) or (n, n_labels)
        Class positions, or 0/1: with several labels the rows that have a label, and those that do not, have a mean of
        their own.
    weight : ndarray of shape (n,)
        Weights of the rows in the mean, positive.

    Returns
    -------
    ndarray of shape (n,)
        From 0, same direction, to 2; 1 where the features or their mean are all zero. With several labels the mean over
        labels.
    """
    codes = codes.reshape(len(codes), -1)
    embedding = np.asarray(embedding, dtype=np.float64)
    directions = _unit_length(embedding)
    similarity = np.empty(codes.shape)
    for decision in range(codes.shape[1]):
        for code in np.unique(codes[:, decision]):
            rows = codes[:, decision] == code
            centroid = np.average(embedding[rows], axis=0, weights=weight[rows])
            similarity[rows, decision] = directions[rows] @ _unit_length(centroid)
    return 1 - similarity.mean(axis=1)


def _unit_length(vectors):
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
