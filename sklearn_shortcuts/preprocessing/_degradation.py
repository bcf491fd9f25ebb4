"""Blur and noise for a batch of images, by acquisition class or by what each image needs."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from ..images._fill import to_dtype
from ..images._threads import thread_map
from ._masking import check_finite
from ._sharpness import Spectrum, blur, flat_pixels, noise_variance


@dataclass(frozen=True)
class Degradation:
    """Function that blurs a batch and adds noise; picklable, and the same for an image in whatever batch it comes.

    Attributes
    ----------
    image_shape : tuple of int
        Shape of one row, ``(C, H, W)`` or ``(C, T)``.
    blurs, noises : ndarray of shape (n_classes,)
        Variances of the blur, in square pixels, and of the added noise of every class.
    power : ndarray of shape (n_bins,)
        Power spectrum that images without a class are brought to.
    noise : float
        Variance that their noise is brought to.
    resolution : bool
        Whether images without a class are blurred.
    adds_noise : bool
        Whether they get noise.
    seed : int
        Decides the noise, together with the pixels.
    """

    image_shape: tuple
    blurs: np.ndarray
    noises: np.ndarray
    power: np.ndarray
    noise: float
    resolution: bool
    adds_noise: bool
    seed: int

    def __call__(self, images, codes, *, rows):
        """Degrade a batch.

        Parameters
        ----------
        images : ndarray of shape (n, *image_shape), or without the channel
            Images; not changed.
        codes : ndarray of int of shape (n,)
            Classes; -1 for images that are treated by what they need themselves.
        rows : ndarray of int of shape (n,)
            Row numbers, for messages.

        Returns
        -------
        ndarray like ``images``
            Degraded images.
        """
        check_finite(images, rows)
        planes = images.reshape(len(images), *self.image_shape)
        result = np.empty(planes.shape, images.dtype)
        spectrum = Spectrum.of(self.image_shape[1:])

        def work(place):
            result[place] = self._degrade(planes[place], int(codes[place]), spectrum)

        thread_map(work, range(len(planes)))
        return result.reshape(images.shape)

    def _degrade(self, image, code, spectrum):
        values = image.astype(np.float64)
        flat = flat_pixels(values)
        if code >= 0:
            values, added = blur(values, self.blurs[code]), self.noises[code]
        else:
            if self.resolution and not flat.all():
                values = blur(values, spectrum.blur_between(spectrum.power(values), self.power)[0])
            added = max(0.0, self.noise - noise_variance(values, flat)) if self.adds_noise else 0.0
        if added > 0:
            # By the pixels, not by the row number: an image gets the same noise in every split of a study.
            digest = hashlib.blake2b(np.ascontiguousarray(image), digest_size=8).digest()
            rng = np.random.default_rng([self.seed, int.from_bytes(digest)])
            noise = rng.normal(0, math.sqrt(added), values.shape)
            values = values + np.where(flat, 0, noise)
        return to_dtype(values, image.dtype)
