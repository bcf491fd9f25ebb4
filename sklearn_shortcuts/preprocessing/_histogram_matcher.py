"""Transformer that gives the images of all scanners one histogram."""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..images import ImageBunch
from ..images._array_rows import bunch_of_arrays
from ..images._sources import MappedRows
from ._histograms import HistogramMatching, Landmarks, mean_landmarks
from ._masking import missing_error
from ._row_labels import row_labels
from ._rows import check_values, read_rows

_ROWS_AT_ONCE = 64


class HistogramMatcher(TransformerMixin, BaseEstimator):
    """Bring the gray values of every image to a histogram that was learned from training images.

    Scanners and their presets differ in brightness and contrast, which tells a classifier the scanner. Landmarks of
    each image's histogram are taken to those of a reference by a piecewise linear map [1]_. The map of an image
    depends on that image alone: new rows need no label of their scanner.

    Parameters
    ----------
    reference : {"mean", "first"} or array-like, default="mean"
        - "mean": mean landmarks of the training rows, each brought linearly to a common scale first;
        - "first": those of the first training row;
        - an image, whose histogram is the reference; of any size, with the channels first if ``per_channel``. All its
          pixels count, or its foreground.
    n_quantiles : int, default=11
        Number of landmarks; by default the ends and the deciles. With many, histograms become equal.
    percentiles : tuple of two float, default=(1, 99)
        Percentiles of the outermost landmarks; the others divide 0 to 100 evenly. Beyond them the outer pieces of the
        map go on. ``(0, 100)`` leaves nothing beyond, and lets single pixels decide.
    region : {"all", "foreground", "roi", "background"}, default="all"
        Pixels whose histogram counts; all pixels are mapped. "foreground": those above the mean of the image, as for
        head scans on air; "roi" and "background": inside and outside the row's mask.
    per_channel : bool, default=False
        Whether every channel is matched by itself, as colors may want. The slices of a volume do not.
    acquisition : str or callable, default=None
        Acquisition class (scanner, kernel) of the training rows, which only ``reference_acquisition`` needs: field or
        metadata column of an :class:`~sklearn_shortcuts.images.ImageBunch`, or ``acquisition(X)`` gives it.
    reference_acquisition : object, default=None
        Learn the reference from the training rows of this class only.

    Attributes
    ----------
    landmarks_ : ndarray of shape (n_histograms, n_quantiles)
        Landmarks of the reference: one histogram, or one per channel.
    probabilities_ : ndarray of shape (n_quantiles,)
        Where they lie in the histogram, in [0, 1].
    n_features_in_ : int
        Number of values of one row.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if ``X`` was a DataFrame.
    image_shape_ : tuple of int
        Shape of one row of ``X``.

    See Also
    --------
    ResolutionNoiseMatcher : Matches sharpness and noise.
    ComBat : Matches embeddings.

    Notes
    -----
    On an :class:`~sklearn_shortcuts.images.ImageBunch` the result is a lazy bunch with the same fields. Images keep
    their data type; whole numbers are rounded to its range, and floating-point values may leave the range they had.

    Where the anatomy of the scanners' patients differs, matching makes equal what is not: it may hide disease as well
    as the scanner. Compare with balancing, which leaves pixels alone.

    References
    ----------
    .. [1] Nyúl, Udupa & Zhang (2000). New variants of a method of MRI scale standardization. IEEE Transactions on
       Medical Imaging 19, 143-150.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.preprocessing import HistogramMatcher
    >>> rng = np.random.default_rng(0)
    >>> images = rng.normal(size=(6, 16, 16))
    >>> images[3:] = 2 * images[3:] + 5
    >>> matched = HistogramMatcher().fit_transform(images)
    >>> bool(np.ptp(matched.mean(axis=(1, 2))) < 0.2 < np.ptp(images.mean(axis=(1, 2))))
    True
    """

    _parameter_constraints: dict = {
        "reference": [StrOptions({"mean", "first"}), "array-like"],
        "n_quantiles": [Interval(Integral, 2, None, closed="left")],
        "percentiles": [tuple, list],
        "region": [StrOptions({"all", "foreground", "roi", "background"})],
        "per_channel": ["boolean"],
        "acquisition": [str, callable, None],
        "reference_acquisition": "no_validation",
    }

    def __init__(
        self,
        reference="mean",
        *,
        n_quantiles=11,
        percentiles=(1, 99),
        region="all",
        per_channel=False,
        acquisition=None,
        reference_acquisition=None,
    ):
        self.reference = reference
        self.n_quantiles = n_quantiles
        self.percentiles = percentiles
        self.region = region
        self.per_channel = per_channel
        self.acquisition = acquisition
        self.reference_acquisition = reference_acquisition

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, masks=None, acquisition=None):
        """Learn the landmarks of the reference.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
            Training images, signals or tables.
        y : Ignored
            Not used, present for API consistency.
        masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
            Regions of interest, if ``region`` asks for them; by default the bunch's field.
        acquisition : array-like of shape (n,), default=None
            Acquisition classes; go before the parameter.

        Returns
        -------
        HistogramMatcher
            Itself.

        Raises
        ------
        ValueError
            If masks or acquisition classes are missing, or no row is of ``reference_acquisition``.
        """
        self.probabilities_ = self._check_probabilities()
        bunch, images, _ = self._read(X, masks, reset=True)
        n_histograms = bunch.image_shape[0] if self.per_channel else 1
        landmarks = self._landmarks(bunch)
        if not isinstance(self.reference, str):
            self.landmarks_ = self._landmarks_of_reference(landmarks, n_histograms)
            return self
        if self.reference_acquisition is not None:
            given = X if images is None else images
            labels = row_labels(given, self.acquisition, acquisition, "acquisition", owner="HistogramMatcher")
            rows = np.flatnonzero(labels == self.reference_acquisition)
            if len(rows) == 0:
                raise ValueError(f"no row is of reference_acquisition={self.reference_acquisition!r}")
        else:
            rows = np.arange(len(bunch))
        rows = rows[:1] if self.reference == "first" else rows
        found = np.empty((len(rows), n_histograms, self.n_quantiles))
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[first : first + _ROWS_AT_ONCE]
            batch = bunch[some]
            given = [np.asarray(batch.get("masks"))] if self._needs_masks else []
            found[first : first + len(some)] = landmarks(np.asarray(batch), *given, rows=some)
        self.landmarks_ = mean_landmarks(found)
        return self

    def transform(self, X, masks=None):
        """Match the rows to the reference.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
            Images, signals or tables; not changed.
        masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
            Regions of interest, if ``region`` asks for them; by default the bunch's field.

        Returns
        -------
        ImageBunch or ndarray
            Lazy bunch for a bunch, array of the same shape and type for an array.

        Raises
        ------
        ValueError
            If masks are missing; an image with values that are not finite is reported when it is read.
        """
        check_is_fitted(self)
        bunch, images, masks = self._read(X, masks, reset=False)
        matching = HistogramMatching(self._landmarks(bunch), self.landmarks_)
        if images is not None:
            given = [] if not self._needs_masks else [bunch.get("masks") if masks is None else np.asarray(masks)]
            return matching(images, *given, rows=np.arange(len(images)))
        fields = ("masks",) if self._needs_masks else ()
        return bunch.with_images(MappedRows(bunch, matching, fields, with_rows=True))

    def fit_transform(self, X, y=None, masks=None, acquisition=None):
        """Learn the reference, then match the same rows to it.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
            Training images, signals or tables; not changed.
        y : Ignored
            Not used, present for API consistency.
        masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
            Regions of interest, if ``region`` asks for them; by default the bunch's field.
        acquisition : array-like of shape (n,), default=None
            Acquisition classes; go before the parameter.

        Returns
        -------
        ImageBunch or ndarray
            As :meth:`transform`.
        """
        return self.fit(X, y, masks=masks, acquisition=acquisition).transform(X, masks=masks)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # -- inside ----------------------------------------------------------------------------------------------------
    @property
    def _needs_masks(self):
        return self.region in ("roi", "background")

    def _check_probabilities(self):
        ends = np.asarray(self.percentiles, dtype=np.float64)
        if ends.shape != (2,) or not 0 <= ends[0] < ends[1] <= 100:
            raise ValueError(f"percentiles must be two increasing numbers from 0 to 100, got {self.percentiles!r}")
        places = np.linspace(0, 100, self.n_quantiles)
        places[[0, -1]] = ends
        if (np.diff(places) <= 0).any():
            raise ValueError(
                f"percentiles={self.percentiles!r} lie inside the {self.n_quantiles} landmarks that divide 0 to 100 "
                "evenly; give fewer landmarks or wider percentiles"
            )
        return places / 100

    def _read(self, X, masks, *, reset):
        """Give the rows as a bunch and, unless they are one, images and masks as arrays without a copy."""
        X = read_rows(self, X, reset=reset)
        images = None
        if isinstance(X, ImageBunch):
            bunch = X if masks is None else X.with_fields(masks=masks)
            masks = None
        else:
            images = X
            if reset:
                check_values(images)
            bunch, masks = bunch_of_arrays(images, masks)
        if self._needs_masks:
            if "masks" not in bunch.fields:
                raise ValueError(
                    f"region={self.region!r} needs masks: put them into the rows as ImageBunch(X, masks=...), or pass "
                    "fit(X, masks=...) and transform(X, masks=...)"
                )
            missing = np.flatnonzero(~bunch.has_mask)
            if len(missing):
                raise missing_error(missing[0], n_missing=len(missing))
        return bunch, images, masks

    def _landmarks(self, bunch):
        return Landmarks(bunch.image_shape, self.probabilities_, self.region, self.per_channel)

    def _landmarks_of_reference(self, landmarks, n_histograms):
        reference = check_array(self.reference, allow_nd=True, ensure_2d=False, input_name="reference")
        if reference.size == 0 or (n_histograms > 1 and (reference.ndim < 2 or len(reference) != n_histograms)):
            raise ValueError(
                f"reference must be an image with {n_histograms} channels first, got shape {reference.shape}"
            )
        region = "foreground" if self.region == "foreground" else "all"
        shape = (n_histograms, reference.size // n_histograms)
        own = Landmarks(shape, landmarks.probabilities, region, self.per_channel)
        return own(reference.reshape(1, *shape), rows=np.zeros(1, dtype=int))[0]
