"""Transformer that gives the images of all scanners one sharpness and one level of noise."""

import math
import warnings

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from .._random_state import draw_seed, make_random_state
from ..images import ImageBunch
from ..images._sources import MappedRows
from ..images._threads import thread_map
from ._degradation import Degradation
from ._masking import check_finite
from ._row_labels import known_codes, learn_labels, row_labels, shown_rows
from ._rows import read_rows
from ._sharpness import SMALLEST, Spectrum, blur, flat_pixels, noise_variance

_ROWS_AT_ONCE = 64
_CODES = "acquisition_codes"  # field in which the classes travel to where rows are read


class ResolutionNoiseMatcher(TransformerMixin, BaseEstimator):
    """Bring all images to the coarsest resolution and the highest noise among the acquisition classes.

    What a scanner did not record cannot be put back, but what others recorded more can be taken away: images of
    sharper classes are blurred with a Gaussian until the decay of their mean power spectrum agrees with that of the
    coarsest class. Then noise is added until the residual of second differences agrees with that of the class which is
    then the noisiest.

    Parameters
    ----------
    acquisition : str or callable, default=None
        Acquisition class (scanner, kernel, slice thickness) of every row: a field or metadata column of an
        :class:`~sklearn_shortcuts.images.ImageBunch`, or ``acquisition(X)`` gives it. None wants
        ``fit(X, acquisition=...)``.
    estimate : {"acquisition", "row"}, default="acquisition"
        What blur and noise are chosen by:

        - "acquisition": the class, with one blur and one noise for all of its rows. Differences between patients stay
          as they are. New rows come with their class, which headers tell.
        - "row": the row's own spectrum and noise; new rows need no class. The estimate of one image is rough, and
          images of the sharper classes all end at the same sharpness while those of the coarsest class keep their
          spread, which a classifier may notice.
    resolution : bool, default=True
        Whether to match the resolution.
    noise : bool, default=True
        Whether to match the noise.
    on_unknown : {"warn", "error"}, default="warn"
        What to do in ``transform`` with rows of classes that ``fit`` did not see, or of none: treat them by their own
        spectrum and noise with a warning, or raise.
    random_state : int, RandomState instance or None, default=None
        Decides the noise, once per ``fit``. What an image gets depends on it and on the pixels of the image alone: in
        every call, batch and split the same.

    Attributes
    ----------
    classes_ : DataFrame
        One row per acquisition class: ``n_rows``, ``blur`` (standard deviation of the Gaussian in pixels) and, as
        standard deviations in the units of the images, ``noise`` before and ``blurred_noise`` after the blur, and
        ``added_noise``. Fine detail of the anatomy counts as noise as long as it is there.
    spectra_ : DataFrame of shape (n_classes, n_frequencies)
        Mean radial power spectrum of every class; the columns are frequencies in cycles per pixel. White noise of
        variance v has the power v at all of them.
    noise_ : float
        Standard deviation that the noise is brought to.
    seed_ : int
        Drawn from ``random_state``.
    n_features_in_ : int
        Number of values of one row.
    image_shape_ : tuple of int
        Shape of one row of ``X``.

    See Also
    --------
    HistogramMatcher : Matches gray values.
    ComBat : Matches embeddings.

    Notes
    -----
    A Gaussian of standard deviation ``s`` multiplies the power at frequency ``f`` by ``exp(-4 pi^2 s^2 f^2)``; ``s``
    is fitted by least squares on the logarithms of two spectra, which may also differ by a factor and by white noise.
    Classes must show the same anatomy, or what differs in the anatomy is taken for resolution. Pixels that equal all
    their neighbors (saturated, padded) are no part of the noise and get none.

    On an :class:`~sklearn_shortcuts.images.ImageBunch` the result is a lazy bunch with the same fields. Images keep
    their data type. Tables have no resolution and are refused.

    References
    ----------
    Immerkær (1996). Fast noise variance estimation. Computer Vision and Image Understanding 64, 300-302.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> from sklearn_shortcuts.preprocessing import ResolutionNoiseMatcher
    >>> rng = np.random.default_rng(0)
    >>> images = gaussian_filter(rng.normal(size=(40, 64, 64)), (0, 2, 2))
    >>> images[20:] = gaussian_filter(images[20:], (0, 1, 1))
    >>> images += rng.normal(0, 0.001, images.shape)
    >>> scanner = np.repeat(["sharp", "coarse"], 20)
    >>> matcher = ResolutionNoiseMatcher(random_state=0).fit(images, acquisition=scanner)
    >>> matcher.classes_["blur"].round(1).to_dict()
    {'coarse': 0.0, 'sharp': 1.0}
    """

    _parameter_constraints: dict = {
        "acquisition": [str, callable, None],
        "estimate": [StrOptions({"acquisition", "row"})],
        "resolution": ["boolean"],
        "noise": ["boolean"],
        "on_unknown": [StrOptions({"warn", "error"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        acquisition=None,
        *,
        estimate="acquisition",
        resolution=True,
        noise=True,
        on_unknown="warn",
        random_state=None,
    ):
        self.acquisition = acquisition
        self.estimate = estimate
        self.resolution = resolution
        self.noise = noise
        self.on_unknown = on_unknown
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, acquisition=None):
        """Measure sharpness and noise of every acquisition class.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W) or (n, C, H, W)
            Training images; signals come as a bunch.
        y : Ignored
            Not used, present for API consistency.
        acquisition : array-like of shape (n,), default=None
            Acquisition classes; go before the parameter.

        Returns
        -------
        ResolutionNoiseMatcher
            Itself.

        Raises
        ------
        ValueError
            If classes are missing, images are too small, or a class has constant images only.
        """
        bunch = self._read(X, reset=True)
        labels = row_labels(X, self.acquisition, acquisition, "acquisition", owner="ResolutionNoiseMatcher")
        classes, codes = learn_labels(labels, "acquisition")
        spectrum = Spectrum.of(bunch.image_shape[1:])
        power, noise = self._measure(bunch, spectrum)
        n_rows = np.bincount(codes)
        class_noise = np.bincount(codes, noise) / n_rows
        class_power = np.stack([power[codes == code].mean(axis=0) for code in range(len(classes))])
        if self.resolution and not (class_power > 0).all():
            raise ValueError(
                f"acquisition {classes[int(np.argmin(class_power.min(axis=1)))]!r}: the images have no power at some "
                "frequency, so that their resolution cannot be compared; leave constant images out, or set "
                "resolution=False"
            )
        blurs, coarsest = np.zeros(len(classes)), 0
        if self.resolution:
            coarsest = _coarsest(class_power, spectrum)
            others = [code for code in range(len(classes)) if code != coarsest]
            for code in others:
                blurs[code] = spectrum.blur_between(class_power[code], class_power[coarsest])[0]
        noise_after = self._noise_after(bunch, codes, blurs, class_noise)
        target = float(noise_after.max())
        added = target - noise_after if self.noise else np.zeros(len(classes))
        self.seed_ = draw_seed(make_random_state(self.random_state))
        self.noise_ = math.sqrt(target)
        self.classes_ = pd.DataFrame(
            {
                "n_rows": n_rows,
                "blur": blurs**0.5,
                "noise": class_noise**0.5,
                "blurred_noise": noise_after**0.5,
                "added_noise": added**0.5,
            },
            index=classes,
        )
        self.spectra_ = pd.DataFrame(class_power, index=classes, columns=spectrum.frequencies)
        self._degradation = Degradation(
            bunch.image_shape, blurs, added, class_power[coarsest], target, self.resolution, self.noise, self.seed_
        )
        return self

    def transform(self, X, acquisition=None):
        """Blur the rows and add noise to them.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W) or (n, C, H, W)
            Images; not changed.
        acquisition : array-like of shape (n,), default=None
            Acquisition classes, which ``estimate="row"`` does not need; go before the parameter.

        Returns
        -------
        ImageBunch or ndarray
            Lazy bunch for a bunch, array of the same shape and type for an array.

        Raises
        ------
        ValueError
            If classes are missing, or unknown and ``on_unknown="error"``; an image with values that are not finite is
            reported when it is read.
        """
        check_is_fitted(self)
        bunch = self._read(X, reset=False)
        codes = self._codes(X, acquisition, len(bunch))
        if isinstance(X, ImageBunch):
            return X.with_images(
                MappedRows(X.with_fields(**{_CODES: codes}), self._degradation, (_CODES,), with_rows=True)
            )
        return self._degradation(np.asarray(bunch), codes, rows=np.arange(len(bunch)))

    def fit_transform(self, X, y=None, acquisition=None):
        """Measure the classes, then bring the same rows to a common resolution and noise.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W) or (n, C, H, W)
            Training images; not changed.
        y : Ignored
            Not used, present for API consistency.
        acquisition : array-like of shape (n,), default=None
            Acquisition classes; go before the parameter.

        Returns
        -------
        ImageBunch or ndarray
            As :meth:`transform`.
        """
        return self.fit(X, y, acquisition=acquisition).transform(X, acquisition=acquisition)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    # -- inside ----------------------------------------------------------------------------------------------------
    def _read(self, X, *, reset):
        if not isinstance(X, ImageBunch) and np.ndim(X) < 3:
            raise ValueError(
                f"X must have shape (n, H, W) or (n, C, H, W), or be an ImageBunch, got {np.shape(X)}: the columns of "
                "a table have no neighbors"
            )
        X = read_rows(self, X, reset=reset)
        bunch = X if isinstance(X, ImageBunch) else ImageBunch(X)
        if min(bunch.image_shape[1:]) < SMALLEST:
            raise ValueError(f"X must have at least {SMALLEST} pixels along every axis, got {bunch.image_shape[1:]}")
        return bunch

    def _codes(self, X, acquisition, n_rows):
        if self.estimate == "row":
            return np.full(n_rows, -1)
        labels = row_labels(X, self.acquisition, acquisition, "acquisition", owner="ResolutionNoiseMatcher")
        codes = known_codes(labels, self.classes_.index)
        unknown = np.flatnonzero(codes < 0)
        if len(unknown):
            text = f"{shown_rows(unknown)} of X: acquisition not seen in fit"
            if self.on_unknown == "error":
                raise ValueError(f'{text}; fit on rows of all classes, or set on_unknown="warn"')
            warnings.warn(f"{text}; treated by their own spectrum and noise", UserWarning, stacklevel=3)
        return codes

    @staticmethod
    def _measure(bunch, spectrum):
        """Power (n, n_bins) and noise variance (n,) of all rows."""
        power, noise = np.empty((len(bunch), len(spectrum.frequencies))), np.empty(len(bunch))
        for rows, images in _batches(bunch, np.arange(len(bunch))):

            def work(place, rows=rows, images=images):
                power[rows[place]] = spectrum.power(images[place])
                noise[rows[place]] = noise_variance(images[place])

            thread_map(work, range(len(rows)))
        return power, noise

    @staticmethod
    def _noise_after(bunch, codes, blurs, class_noise):
        """Noise variance of every class after its blur."""
        result = class_noise.copy()
        for code in np.flatnonzero(blurs > 0):
            total, own = 0.0, np.flatnonzero(codes == code)
            for _, images in _batches(bunch, own):
                total += sum(noise_variance(blur(image, blurs[code]), flat_pixels(image)) for image in images)
            result[code] = total / len(own)
        return result


def _coarsest(power, spectrum):
    """Number of the class that all others must be blurred to match."""
    coarsest = 0
    for code in range(1, len(power)):
        towards, away = (
            spectrum.blur_between(*pair) for pair in ((power[code], power[coarsest]), (power[coarsest], power[code]))
        )
        if away[1] < towards[1] * (1 - 1e-6):
            coarsest = code
    return coarsest


def _batches(bunch, rows):
    """Yield row numbers and images (n, C, *spatial) as float64."""
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[first : first + _ROWS_AT_ONCE]
        images = np.asarray(bunch[some])
        check_finite(images, some)
        yield some, images.astype(np.float64).reshape(len(some), *bunch.image_shape)
