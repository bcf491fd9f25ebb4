"""Formulas of features that tell how an image was acquired: each family is one function on a batch of rows.

All take float64 images of shape (n, C, H, W), signals having a height of 1, and give features of shape (n, k); the
functions with ``_names`` give the k names.
"""

import math
from itertools import pairwise

import numpy as np

_FLOOR = 1e-5  # of the value range: what is smaller is rounding, not noise
_SAME = 0.02  # of the value range: lines this close to the outermost one belong to the frame
_GRAY_VALUES = 4095  # that are told apart: twelve bits, the depth of most detectors
_BLOCK = 8  # side of the blocks in which noise is measured
_MOST_CHANNELS = 4  # more than these are leads or slices, which share one histogram


def geometry_names(shape):
    """Names of :func:`geometry`."""
    return [f"{side}_{what}" for side in _sides(shape) for what in ("mean", "sd", "frame")]


def geometry(images, value_range):
    """Look at the borders: mean and standard deviation of each outermost line, and the width of a constant frame.

    Parameters
    ----------
    images : ndarray of shape (n, C, H, W)
        Rows.
    value_range : tuple of float
        Black and white.

    Returns
    -------
    ndarray of shape (n, 3 * n_sides)
        In units of the value range, widths as shares of the side. Signals have two sides.
    """
    low, span = value_range[0], _span(value_range)
    features = []
    for axis, backwards in _sides(images.shape).values():
        lines = np.moveaxis(images, axis, 1)
        lines = (lines[:, ::-1] if backwards else lines).reshape(len(images), lines.shape[1], -1)
        mean = lines[:, 0].mean(axis=1)
        inside = np.abs(lines - mean[:, None, None]).max(axis=2) > _SAME * span
        width = np.where(inside.any(axis=1), inside.argmax(axis=1), inside.shape[1])
        features += [(mean - low) / span, lines[:, 0].std(axis=1) / span, width / inside.shape[1]]
    return np.stack(features, axis=1)


def intensity_names(shape, n_bins):
    """Names of :func:`intensity`."""
    names = [*(f"bin_{number}" for number in range(n_bins)), "mean", "sd", "skewness", "percentile_1", "percentile_99"]
    n_pools = shape[1] if shape[1] <= _MOST_CHANNELS else 1
    prefixes = [f"channel_{number}_" for number in range(n_pools)] if n_pools > 1 else [""]
    return [prefix + name for prefix in prefixes for name in names] + ["gray_values"]


def intensity(images, value_range, n_bins):
    """Look at the gray values: histogram (square roots of the shares), moments, extremes and how many values there are.

    Parameters
    ----------
    images : ndarray of shape (n, C, H, W)
        Rows.
    value_range : tuple of float
        Range of the histogram; what lies beyond counts in the outermost bins.
    n_bins : int
        Bins.

    Returns
    -------
    ndarray of shape (n, k)
        Per channel, or of all channels together where there are more than four.
    """
    low, span = value_range[0], _span(value_range)
    n, n_channels = images.shape[:2]
    pools = images.reshape(n, n_channels if n_channels <= _MOST_CHANNELS else 1, -1)
    features = []
    for pool in np.moveaxis(pools, 1, 0):
        scaled = (pool - low) / span
        bins = np.clip((scaled * n_bins).astype(np.int64), 0, n_bins - 1) + n_bins * np.arange(n)[:, None]
        shares = np.bincount(bins.ravel(), minlength=n * n_bins).reshape(n, n_bins) / pool.shape[1]
        mean, sd = scaled.mean(axis=1), scaled.std(axis=1)
        skewness = ((scaled - mean[:, None]) ** 3).mean(axis=1) / np.maximum(sd, _FLOOR) ** 3
        percentiles = np.percentile(scaled, [1, 99], axis=1)
        features.append(np.column_stack([np.sqrt(shares), mean, sd, np.cbrt(skewness), *percentiles]))
    ordered = np.sort(np.rint((images.reshape(n, -1) - low) * (_GRAY_VALUES / span)), axis=1)
    n_values = 1 + (np.diff(ordered, axis=1) > 0).sum(axis=1)
    return np.column_stack([*features, np.log2(n_values)])


def noise_names(shape, n_scales):
    """Names of :func:`noise`."""
    names = ("sd", "mad", "flat_sd", "correlation")
    return [f"{name}_{2**level}" for level in range(_levels(shape, n_scales)) for name in names]


def noise(images, value_range, n_scales):
    """Look at the noise: how large the second differences are, and how they go together, at several scales.

    Parameters
    ----------
    images : ndarray of shape (n, C, H, W)
        Rows.
    value_range : tuple of float
        Black and white.
    n_scales : int
        At most so many scales, each of pixels twice as wide as the one before.

    Returns
    -------
    ndarray of shape (n, 4 * n_levels)
        Per scale the logarithms of standard deviation, median absolute deviation, and lower decile of the standard
        deviations in small blocks, which anatomy touches least; and the correlation of neighbors.

    References
    ----------
    J. Immerkaer, "Fast noise variance estimation", Computer Vision and Image Understanding 64 (1996): the filter.
    """
    span, features = _span(value_range), []
    for level in range(_levels(images.shape, n_scales)):
        if level:
            images = _halved(images)
        residual = _second_difference(images) / span
        sd = residual.std(axis=(2, 3))
        mad = 1.4826 * np.median(np.abs(residual - np.median(residual, axis=(2, 3), keepdims=True)), axis=(2, 3))
        features += [np.log(sd + _FLOOR).mean(axis=1), np.log(mad + _FLOOR).mean(axis=1)]
        features += [np.log(_flat_sd(residual) + _FLOOR).mean(axis=1), _neighbors(residual).mean(axis=1)]
    return np.stack(features, axis=1)


def frequency_names(shape, n_frequencies):
    """Names of :func:`frequency`: the middle of each band in cycles per pixel, and what lies beyond one half."""
    edges = _band_edges(shape, n_frequencies)
    names = [f"power_{(low + high) / 2:.3f}" for low, high in pairwise(edges)]
    return names + ["power_corners"] * (shape[2] > 1)


def frequency(images, n_frequencies):
    """Look at the power spectrum: the logarithm of the share of each band of radial frequencies.

    Parameters
    ----------
    images : ndarray of shape (n, C, H, W)
        Rows.
    n_frequencies : int
        At most so many bands from 0 to 0.5 cycles per pixel; small images have fewer.

    Returns
    -------
    ndarray of shape (n, k)
        Natural logarithms, averaged over the channels; of images the last one is of frequencies above 0.5.
    """
    height, width = images.shape[2:]
    window = np.outer(np.hanning(height + 2)[1:-1] if height > 1 else [1.0], np.hanning(width + 2)[1:-1])
    mean = (images * window).sum(axis=(2, 3), keepdims=True) / window.sum()
    power = np.abs(np.fft.rfft2((images - mean) * window)) ** 2
    if width > 1:  # the half of the plane that is left out mirrors this one
        power[..., 1 : (width + 1) // 2] *= 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    edges = _band_edges(images.shape, n_frequencies)
    band = np.clip(np.searchsorted(edges, radius, side="left") - 1, 0, len(edges) - 1)
    n_bands = len(edges) - 1 + (height > 1)
    band = np.minimum(band, n_bands - 1).ravel()
    power = power.reshape(*images.shape[:2], -1)
    sums = np.stack([power[..., band == number].sum(axis=-1) for number in range(n_bands)], axis=-1)
    total = sums.sum(axis=-1, keepdims=True)
    # Rounding of a constant image must not pass for a spectrum.
    scale = 1e-20 * np.maximum(np.abs(images).max(axis=(2, 3)), 1e-300)[..., None] ** 2 * images[0, 0].size ** 2
    shares = np.where(total > scale, sums / np.where(total > scale, total, 1), 1 / n_bands)
    return np.log(shares + 1e-12).mean(axis=1)


def content_names(shape, size):
    """Names of :func:`content`."""
    height, width = _cells(shape, size)
    return [f"cell_{row}_{column}" for row in range(height) for column in range(width)]


def content(images, size, masks=None):
    """Look at what the image shows: a thumbnail of it, or of its part inside a mask.

    Parameters
    ----------
    images : ndarray of shape (n, C, H, W)
        Rows.
    size : int
        Side of the thumbnail; signals have ``size ** 2`` cells in a line.
    masks : ndarray of bool of shape (n, H, W), default=None
        What belongs to it.

    Returns
    -------
    ndarray of shape (n, k)
        Mean gray value of each cell, all standardized to mean 0 and standard deviation 1 per row. Cells without a pixel
        inside the mask are 0, the mean.
    """
    gray = images.mean(axis=1)
    inside = np.ones(gray.shape) if masks is None else masks.astype(np.float64)
    cells = _cells(images.shape, size)
    sums, counts = _pooled(gray * inside, cells), _pooled(inside, cells)
    total = inside.sum(axis=(1, 2))[:, None]
    mean = (gray * inside).sum(axis=(1, 2))[:, None] / np.maximum(total, 1)
    sums, counts = sums.reshape(len(images), -1), counts.reshape(len(images), -1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1) - mean, 0.0)
    sd = np.sqrt((means**2).mean(axis=1, keepdims=True))
    rounding = 1e-9 * np.abs(gray).max(axis=(1, 2))[:, None]
    return np.where(sd > rounding, means / np.where(sd > rounding, sd, 1), 0.0)


# -- inside ------------------------------------------------------------------------------------------------------------
def _span(value_range):
    return (value_range[1] - value_range[0]) or 1.0


def _sides(shape):
    """Axis of each side, and whether it is at the end of it."""
    sides = {"left": (3, False), "right": (3, True)}
    return sides if shape[2] == 1 else {"top": (2, False), "bottom": (2, True), **sides}


def _levels(shape, n_scales):
    """How many scales the image has room for: at least four pixels on the shorter side at each of them."""
    shortest = shape[3] if shape[2] == 1 else min(shape[2:])
    return int(min(n_scales, max(1, 1 + math.floor(math.log2(max(shortest, 4) / 4)))))


def _halved(images):
    """Means of neighbors; an odd line at the end is left out."""
    width = images.shape[3] // 2 * 2
    images = (images[..., 0:width:2] + images[..., 1:width:2]) / 2
    if images.shape[2] == 1:
        return images
    height = images.shape[2] // 2 * 2
    return (images[:, :, 0:height:2] + images[:, :, 1:height:2]) / 2


def _second_difference(images):
    """Second differences along every axis that has three pixels, scaled to keep the variance of white noise."""
    if images.shape[3] > 2:
        images = (images[..., :-2] - 2 * images[..., 1:-1] + images[..., 2:]) / math.sqrt(6)
    if images.shape[2] > 2:
        images = (images[:, :, :-2] - 2 * images[:, :, 1:-1] + images[:, :, 2:]) / math.sqrt(6)
    return images


def _flat_sd(residual):
    """Lower decile of the standard deviations in blocks, of shape (n, C)."""
    height, width = residual.shape[2:]
    tall, wide = min(_BLOCK, height), min(_BLOCK if height > 1 else _BLOCK**2, width)
    rows, columns = height // tall, width // wide
    blocks = residual[:, :, : rows * tall, : columns * wide].reshape(*residual.shape[:2], rows, tall, columns, wide)
    return np.quantile(blocks.std(axis=(3, 5)).reshape(*residual.shape[:2], -1), 0.1, axis=2)


def _neighbors(residual):
    """Correlation of each value with its neighbors, averaged over the axes, of shape (n, C)."""
    centered = residual - residual.mean(axis=(2, 3), keepdims=True)
    variance = (centered**2).mean(axis=(2, 3))
    pairs = [(centered[..., 1:], centered[..., :-1])] if residual.shape[3] > 1 else []
    if residual.shape[2] > 1:
        pairs.append((centered[:, :, 1:], centered[:, :, :-1]))
    if not pairs:
        return np.zeros(residual.shape[:2])
    products = np.mean([(one * other).mean(axis=(2, 3)) for one, other in pairs], axis=0)
    return np.where(variance > _FLOOR**2, products / np.maximum(variance, _FLOOR**2), 0.0)


def _band_edges(shape, n_frequencies):
    shortest = shape[3] if shape[2] == 1 else min(shape[2:])
    return np.linspace(0, 0.5, max(1, min(n_frequencies, shortest // 2)) + 1)


def _cells(shape, size):
    if shape[2] == 1:
        return 1, min(size**2, shape[3])
    return min(size, shape[2]), min(size, shape[3])


def _pooled(planes, cells):
    """Sums over the cells of a grid."""
    for axis, n_cells in zip((1, 2), cells):
        starts = np.arange(n_cells) * planes.shape[axis] // n_cells
        planes = np.add.reduceat(planes, starts, axis=axis)
    return planes
