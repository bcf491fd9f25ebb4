"""Thresholds that divide each map into two classes of pixels."""

import numpy as np


def otsu_thresholds(maps):
    """Give for each map the value that divides its pixels into the two classes furthest apart.

    The variance between the classes is compared at every value of the map itself, so that nothing depends on bins.

    Parameters
    ----------
    maps : ndarray of shape (n, ...)
        Maps.

    Returns
    -------
    ndarray of shape (n,)
        The largest value of the lower class: the upper one lies above it. The map's value where it is constant, so
        that nothing lies above.

    References
    ----------
    Otsu (1979). A threshold selection method from gray-level histograms. IEEE Transactions on Systems, Man, and
    Cybernetics 9, 62-66, equation 18.
    """
    values = np.sort(maps.reshape(len(maps), -1).astype(np.float64), axis=1)
    n_pixels = values.shape[1]
    below = np.arange(1, n_pixels)  # pixels of the lower class, if it ends before each of the other values
    values = values - values[:, :1]  # digits are not wasted on what all pixels share
    sums = np.cumsum(values, axis=1)
    lower, upper = sums[:, :-1] / below, (sums[:, -1:] - sums[:, :-1]) / (n_pixels - below)
    between = below * (n_pixels - below) * np.square(upper - lower)
    between[values[:, 1:] == values[:, :-1]] = -1.0  # equal pixels are not divided
    best = np.argmax(between, axis=1) if n_pixels > 1 else np.zeros(len(maps), dtype=int)
    lowest = maps.reshape(len(maps), -1).min(axis=1)
    rows = np.arange(len(maps))
    thresholds = np.sort(maps.reshape(len(maps), -1), axis=1)[rows, best]
    constant = values[:, -1] == 0
    return np.where(constant, lowest, thresholds)
