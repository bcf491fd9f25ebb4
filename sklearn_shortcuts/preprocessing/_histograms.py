"""Landmarks of histograms and the piecewise linear maps between them."""

from dataclasses import dataclass

import numpy as np

from ..images._fill import to_dtype
from ..images._threads import thread_map
from ._masking import check_finite, missing_error
from ._regions import as_boolean

_TIED = 1e-12  # landmarks that differ by less than this share of their range count as one


@dataclass(frozen=True)
class Landmarks:
    """Function that finds the landmarks of a batch of images.

    Attributes
    ----------
    image_shape : tuple of int
        Shape of one row, ``(C, H, W)`` or ``(C, T)``.
    probabilities : ndarray of shape (n_quantiles,)
        Where in the histogram the landmarks lie, increasing, in [0, 1].
    region : {"all", "foreground", "roi", "background"}
        Which pixels count.
    per_channel : bool
        Whether every channel has a histogram of its own.
    """

    image_shape: tuple
    probabilities: np.ndarray
    region: str
    per_channel: bool

    def planes(self, images):
        """Give values (n, n_histograms, n_pixels), without a copy where memory allows."""
        n_histograms = self.image_shape[0] if self.per_channel else 1
        return images.reshape(len(images), n_histograms, -1)

    def __call__(self, images, masks=None, *, rows):
        """Find landmarks.

        Parameters
        ----------
        images : ndarray of shape (n, *image_shape), or without the channel
            Images; not changed.
        masks : ndarray of shape (n, *spatial), default=None
            Regions of interest.
        rows : ndarray of int of shape (n,)
            Row numbers, for messages.

        Returns
        -------
        ndarray of shape (n, n_histograms, n_quantiles)
            Landmarks.
        """
        check_finite(images, rows)
        values = self.planes(images)
        inside = None
        if self.region in ("roi", "background"):
            inside = as_boolean(masks.reshape(len(masks), -1), rows)
            inside = ~inside if self.region == "background" else inside
            for row in np.flatnonzero(~inside.any(axis=1)):
                raise missing_error(rows[row])
            n_channels = 1 if self.per_channel else self.image_shape[0]
            inside = np.tile(inside, (1, n_channels))
        result = np.empty((*values.shape[:2], len(self.probabilities)))

        def work(row):
            for plane, found in zip(values[row], result[row]):
                found[:] = np.quantile(self._chosen(plane, None if inside is None else inside[row]), self.probabilities)

        thread_map(work, range(len(values)), n_threads=1 if values[:1].size < 2**12 else None)
        return result

    def _chosen(self, plane, inside):
        plane = plane.astype(np.float64)
        if self.region == "foreground":
            inside = plane > plane.mean()
            inside = inside if inside.any() else None
        return plane if inside is None else plane[inside]


@dataclass(frozen=True)
class HistogramMatching:
    """Function that brings a batch of images to the landmarks of a reference; picklable, row by row.

    Attributes
    ----------
    landmarks : Landmarks
        How those of an image are found.
    reference : ndarray of shape (n_histograms, n_quantiles)
        What they become.
    """

    landmarks: Landmarks
    reference: np.ndarray

    def __call__(self, images, masks=None, *, rows):
        """Match a batch.

        Parameters
        ----------
        images : ndarray of shape (n, *image_shape), or without the channel
            Images; not changed.
        masks : ndarray of shape (n, *spatial), default=None
            Regions of interest.
        rows : ndarray of int of shape (n,)
            Row numbers, for messages.

        Returns
        -------
        ndarray like ``images``
            Matched images.
        """
        found = self.landmarks(images, masks, rows=rows)
        values = self.landmarks.planes(images)
        result = np.empty(values.shape, images.dtype)

        def work(row):
            for plane, own, reference, target in zip(values[row], found[row], self.reference, result[row]):
                target[:] = to_dtype(map_values(plane.astype(np.float64), own, reference), images.dtype)

        thread_map(work, range(len(values)), n_threads=1 if values[:1].size < 2**12 else None)
        return result.reshape(images.shape)


def map_values(values, landmarks, reference):
    """Apply the piecewise linear map that takes landmarks to those of a reference.

    Beyond the outer landmarks the outer pieces go on. Landmarks that coincide, as where many pixels are equally
    black, go to the mean of theirs in the reference.

    Parameters
    ----------
    values : ndarray
        What to map.
    landmarks, reference : ndarray of shape (n_quantiles,)
        Not decreasing.

    Returns
    -------
    ndarray of float64
        Mapped values.
    """
    tied = np.diff(landmarks) <= _TIED * (landmarks[-1] - landmarks[0])
    place = np.concatenate([[0], np.cumsum(~tied)])
    counts = np.bincount(place)
    x, y = np.bincount(place, landmarks) / counts, np.bincount(place, reference) / counts
    if len(x) == 1:
        return values - x[0] + y[0]
    mapped = np.interp(values, x, y)
    for end, inner, outside in ((0, 1, values < x[0]), (-1, -2, values > x[-1])):
        slope = (y[inner] - y[end]) / (x[inner] - x[end])
        mapped[outside] = y[end] + slope * (values[outside] - x[end])
    return mapped


def mean_landmarks(landmarks):
    """Average the landmarks of many images on a common scale.

    Every image is first taken linearly to the scale between the mean lowest and the mean highest landmark, so that
    the differences in brightness and contrast which are to be removed do not blur the shape.

    Parameters
    ----------
    landmarks : ndarray of shape (n, n_histograms, n_quantiles)
        Landmarks of single images.

    Returns
    -------
    ndarray of shape (n_histograms, n_quantiles)
        Mean landmarks.
    """
    low, high = landmarks[..., :1], landmarks[..., -1:]
    start, end = low.mean(axis=0), high.mean(axis=0)
    varies = high > low
    places = np.divide(landmarks - low, high - low, where=varies, out=np.zeros_like(landmarks))
    n_varied = np.maximum(varies.sum(axis=0), 1)  # images of one value have no shape
    return start + (end - start) * (places * varies).sum(axis=0) / n_varied
