"""How sharp and how noisy images are, and making them less sharp and noisier."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import correlate1d, maximum_filter, minimum_filter
from scipy.optimize import least_squares

SMALLEST = 16  # pixels along an axis from which a spectrum says something
_LOWEST = 0.05  # cycles per pixel: below, spectra tell the size of the anatomy
_BOUNDS = ([-np.inf, 0, 0], [np.inf, 400, np.inf])  # of log factor, variance of the blur and noise
_MOST_BINS = 64
_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0])
_MEDIAN_OF_NORMAL = 0.6744897501960817  # median of the absolute value of a standard normal number


@dataclass(frozen=True)
class Spectrum:
    """Radial frequencies of images of one size.

    Attributes
    ----------
    spatial : tuple of int
        ``(H, W)`` or ``(T,)``.
    frequencies : ndarray of shape (n_bins,)
        Mean frequency of each bin in cycles per pixel, up to 0.5.
    bins : ndarray of int with the shape of a real Fourier transform
        Bin of each coefficient, ``n_bins`` where it is left aside.
    weights : ndarray like ``bins``
        How often each coefficient occurs in the full transform.
    """

    spatial: tuple
    frequencies: np.ndarray
    bins: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, spatial):
        """Lay out the bins.

        Parameters
        ----------
        spatial : tuple of int
            ``(H, W)`` or ``(T,)``.

        Returns
        -------
        Spectrum
            For images of that size.
        """
        axes = [fft.fftfreq(size) for size in spatial[:-1]] + [fft.rfftfreq(spatial[-1])]
        radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))
        n_bins = min(min(spatial) // 2, _MOST_BINS)
        bins = np.minimum((radius * 2 * n_bins).astype(np.intp), n_bins)
        bins[radius == 0.5] = n_bins - 1
        weights = np.full(radius.shape, 2.0)
        weights[..., 0] = 1
        if spatial[-1] % 2 == 0:
            weights[..., -1] = 1
        kept = np.bincount(bins.ravel(), weights.ravel(), n_bins + 1)[:n_bins]
        frequencies = np.bincount(bins.ravel(), (weights * radius).ravel(), n_bins + 1)[:n_bins] / kept
        return cls(tuple(spatial), frequencies, bins, weights)

    @property
    def counts(self):
        """Number of coefficients in every bin."""
        return np.bincount(self.bins.ravel(), self.weights.ravel(), len(self.frequencies) + 1)[:-1]

    def power(self, image):
        """Average the power of an image over directions; white noise of variance v gives v at every frequency.

        Parameters
        ----------
        image : ndarray of shape (C, *spatial)
            One image.

        Returns
        -------
        ndarray of shape (n_bins,)
            Mean over the channels.
        """
        window = np.ones(self.spatial)
        for axis, size in enumerate(self.spatial):  # falls to 0 at the edges, which are no part of the anatomy
            taper = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)
            window *= taper.reshape([-1 if place == axis else 1 for place in range(len(self.spatial))])
        axes = tuple(range(1, image.ndim))
        centered = image - (image * window).sum(axis=axes, keepdims=True) / window.sum()
        power = np.abs(fft.rfftn(centered * window, axes=axes)) ** 2 / np.sum(window**2)
        mean = power.mean(axis=0)
        sums = np.bincount(self.bins.ravel(), (self.weights * mean).ravel(), len(self.frequencies) + 1)[:-1]
        return sums / self.counts

    def blur_between(self, power, target):
        """Find the Gaussian blur that gives images the spectrum of coarser ones.

        Blurred, images of power ``P(f)`` have ``P(f) exp(-4 pi^2 s f^2)`` for a blur of variance s. The target may
        also differ by a factor, as contrast does, and by white noise on either side.

        Parameters
        ----------
        power, target : ndarray of shape (n_bins,)
            Power of images and what it should become.

        Returns
        -------
        variance : float
            Of the blur, in square pixels; 0 where images are coarser already.
        misfit : float
            Weighted mean square of the remaining differences of log power.
        """
        used = self.frequencies >= max(_LOWEST, 2 / min(self.spatial))
        squared = 4 * np.pi**2 * self.frequencies[used] ** 2
        weights = np.sqrt(self.counts[used] / self.counts[used].sum())
        power, target = power[used] / power[used].min(), target[used] / target[used].min()

        def sides(values, noise_on_target):
            log_factor, variance, noise = values
            own = np.maximum(np.exp(log_factor - variance * squared) * power, np.finfo(np.float64).tiny)
            return own, *((own, target + noise) if noise_on_target else (own + noise, target))

        def differences(values, noise_on_target):
            _, ours, theirs = sides(values, noise_on_target)
            return weights * (np.log(ours) - np.log(theirs))

        def jacobian(values, noise_on_target):
            own, ours, theirs = sides(values, noise_on_target)
            by_noise = -1 / theirs if noise_on_target else 1 / ours
            return weights[:, None] * np.column_stack([own / ours, -squared * own / ours, by_noise])

        start = np.log(target[0] / power[0])
        best = (0.0, np.inf)
        for noise_on_target in (False, True):
            fit = least_squares(
                differences, (start, 0.3, 0.1), jacobian, bounds=_BOUNDS, args=(noise_on_target,), xtol=1e-6
            )
            if fit.cost < best[1] * (1 - 1e-6):
                best = (float(fit.x[1]), fit.cost)
        return best[0], 2 * best[1]


def flat_pixels(image):
    """Find the pixels that equal all their neighbors, as saturated and padded ones do.

    Parameters
    ----------
    image : ndarray of shape (C, *spatial)
        One image.

    Returns
    -------
    ndarray of bool of shape (C, *spatial)
        True where the neighborhood of 3 pixels along each axis is of one value.
    """
    size = (1,) + (3,) * (image.ndim - 1)
    return maximum_filter(image, size, mode="nearest") == minimum_filter(image, size, mode="nearest")


def noise_variance(image, flat=None):
    """Estimate the variance of the noise from second differences along all axes.

    The median of their absolute values is little moved by edges. Noise that is correlated between neighboring pixels
    counts less than white noise of the same variance.

    Parameters
    ----------
    image : ndarray of shape (C, *spatial)
        One image.
    flat : ndarray of bool of shape (C, *spatial), default=None
        Pixels to be left out, see :func:`flat_pixels`.

    Returns
    -------
    float
        Variance; 0 if all is flat.

    References
    ----------
    Immerkær (1996). Fast noise variance estimation. Computer Vision and Image Understanding 64, 300-302; with the
    median in place of the mean.
    """
    flat = flat_pixels(image) if flat is None else flat
    residual = image
    for axis in range(1, image.ndim):
        residual = correlate1d(residual, _SECOND_DIFFERENCE, axis=axis, mode="nearest")
    inner = (slice(None),) + (slice(1, -1),) * (image.ndim - 1)
    values = np.abs(residual[inner])[~flat[inner]]
    if len(values) == 0:
        return 0.0
    gain = math.sqrt(6) ** (image.ndim - 1)  # of the filter for white noise
    return float((np.median(values) / _MEDIAN_OF_NORMAL / gain) ** 2)


def blur(image, variance):
    """Blur with a Gaussian whose transfer function is exact, also where it is narrower than a pixel.

    Parameters
    ----------
    image : ndarray of shape (C, *spatial)
        One image; beyond its edges it is mirrored.
    variance : float
        Variance of the Gaussian in square pixels.

    Returns
    -------
    ndarray of shape (C, *spatial)
        Blurred image.
    """
    if variance == 0:
        return image
    axes = tuple(range(1, image.ndim))
    coefficients = fft.dctn(image, axes=axes, norm="ortho")
    for axis in axes:
        size = image.shape[axis]
        transfer = np.exp(-2 * np.pi**2 * variance * (np.arange(size) / (2 * size)) ** 2)
        coefficients *= transfer.reshape([-1 if place == axis else 1 for place in range(image.ndim)])
    return fft.idctn(coefficients, axes=axes, norm="ortho")
