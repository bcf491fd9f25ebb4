"""Transformer that measures how images were acquired, in families of features."""

import math
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from ..images import ImageBunch
from ..images._array_rows import bunch_of_arrays
from ..images._fields import plain_name
from . import _feature_families as formulas
from ._masking import check_finite

FAMILIES = ("file", "geometry", "intensity", "noise", "frequency", "content")
_SAMPLED_ROWS = 256  # from which the value range is learned
# Columns under which studies keep the size and depth of the original file, without separators.
_FILE_COLUMNS = frozenset(
    [
        *("rows", "columns", "cols", "imageheight", "imagewidth", "originalheight", "originalwidth", "originalrows"),
        *("originalcolumns", "originalimageheight", "originalimagewidth", "bitsstored", "bitsallocated", "bitdepth"),
    ]
)


class AcquisitionFeatures(TransformerMixin, BaseEstimator):
    """Measure what scanners leave in images: borders, gray values, noise, spectrum, and what the image shows.

    No network is involved: a few thousand images take seconds. A linear classifier on these features often tells
    scanners and hospitals apart as well as a network does, and says by what. Nothing is learned but the range of the
    gray values, so features may be computed once, before rows are split into folds.

    Parameters
    ----------
    families : sequence of {"file", "geometry", "intensity", "noise", "frequency", "content"}, default=None
        Which features; None means all of them.

        - "file": size and bit depth of the original file, where the metadata has them. A network that is shown resized
          images sees no more of them than resizing leaves;
        - "geometry": mean and standard deviation of the outermost line of pixels on each side, and width of a constant
          frame;
        - "intensity": histogram, mean, standard deviation, skewness and extremes of the gray values per channel (of all
          channels together where there are more than four), and the number of different values;
        - "noise": standard deviation of second differences, in the whole image and where it is flat, and correlation
          of neighboring ones, at several scales;
        - "frequency": shares of the power in bands of radial frequency;
        - "content": a thumbnail with mean 0 and standard deviation 1, with masks one of the inside ("content_inside")
          and one of the outside ("content_outside").
    n_bins : int, default=16
        Bins of the histogram.
    n_scales : int, default=3
        Scales of the noise, each with pixels twice as wide; small images have fewer.
    n_frequencies : int, default=16
        Bands from 0 to half a cycle per pixel; small images have fewer.
    thumbnail_size : int, default=8
        Side of the thumbnail in cells; signals have the square of it in a line.
    metadata_columns : sequence of str, default=None
        Numeric columns of a bunch's metadata for the family "file", as logarithms. None takes those that are named as
        image rows, columns, height with width, or bit depth usually are.
    use_masks : bool, default=True
        Divide the content into inside and outside where every row of a bunch comes with a mask.
    batch_size : int, default=64
        Rows read at a time; no more than these are ever held in memory.

    Attributes
    ----------
    families_ : ndarray of str of shape (n_features_out,)
        Family of each feature.
    value_range_ : tuple of float
        Lowest percentile 0.5 and highest percentile 99.5 of the gray values of (up to 256 of) the rows in ``fit``.
    metadata_columns_ : list of str
        Columns that are used.
    uses_masks_ : bool
        Whether the content is divided.
    image_shape_ : tuple of int
        Shape of one row, ``(C, H, W)`` or ``(C, T)``.
    n_features_in_ : int
        Values per row.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, if ``X`` was a DataFrame.

    See Also
    --------
    sklearn_shortcuts.audit.AcquisitionProbe : Tests whether these features tell the acquisition.

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import make_chest_phantoms
    >>> from sklearn_shortcuts.preprocessing import AcquisitionFeatures
    >>> features = AcquisitionFeatures(families=["noise", "frequency"])
    >>> features.fit_transform(make_chest_phantoms(4, random_state=0)).shape
    (4, 29)
    >>> features.get_feature_names_out()[:2].tolist()
    ['noise__sd_1', 'noise__mad_1']
    """

    _parameter_constraints: dict = {
        "families": ["array-like", None],
        "n_bins": [Interval(Integral, 2, None, closed="left")],
        "n_scales": [Interval(Integral, 1, None, closed="left")],
        "n_frequencies": [Interval(Integral, 1, None, closed="left")],
        "thumbnail_size": [Interval(Integral, 1, None, closed="left")],
        "metadata_columns": ["array-like", None],
        "use_masks": ["boolean"],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        families=None,
        *,
        n_bins=16,
        n_scales=3,
        n_frequencies=16,
        thumbnail_size=8,
        metadata_columns=None,
        use_masks=True,
        batch_size=64,
    ):
        self.families = families
        self.n_bins = n_bins
        self.n_scales = n_scales
        self.n_frequencies = n_frequencies
        self.thumbnail_size = thumbnail_size
        self.metadata_columns = metadata_columns
        self.use_masks = use_masks
        self.batch_size = batch_size

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the range of the gray values, and which metadata and masks there are.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
            Images; a row of a table is a signal with one channel. Signals of several channels come in a bunch.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        AcquisitionFeatures
            Itself.

        Raises
        ------
        ValueError
            If a family or metadata column is not known, or values are missing or not finite.
        """
        wanted = list(FAMILIES) if self.families is None else list(self.families)
        for name in wanted:
            if name not in FAMILIES:
                raise ValueError(f"families: {name!r} is not one of {list(FAMILIES)}")
        if not wanted:
            raise ValueError("families: name at least one, or leave it None for all")
        bunch = self._rows(X, reset=True)
        self._families = [name for name in FAMILIES if name in wanted]
        self.metadata_columns_ = self._choose_columns(bunch)
        self.uses_masks_ = bool(self.use_masks and "content" in wanted and len(bunch) and bunch.has_mask.all())
        self.value_range_ = self._learn_range(bunch)
        self._names = self._feature_names()
        if not self._names:
            raise ValueError("families=['file'] needs metadata columns with the size or depth of the files")
        self.families_ = np.array([name.split("__")[0] for name in self._names])
        self._metadata(bunch)  # refuses missing values
        return self

    def transform(self, X):
        """Measure the rows.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
            Images or signals like those in ``fit``; not changed, and read a batch at a time.

        Returns
        -------
        ndarray of float64 of shape (n, n_features_out)
            Features.

        Raises
        ------
        ValueError
            If rows have another shape, metadata or masks are missing, or values are not finite.
        """
        check_is_fitted(self)
        bunch = self._rows(X, reset=False)
        if self.uses_masks_ and not bunch.has_mask.all():
            row = int(np.flatnonzero(~bunch.has_mask)[0])
            raise ValueError(
                f"row {row} has no mask, but AcquisitionFeatures was fitted on rows with masks; give the mask, or fit "
                "with use_masks=False"
            )
        features = np.empty((len(bunch), len(self._names)))
        n_metadata = len(self.metadata_columns_)
        if n_metadata:
            features[:, :n_metadata] = self._metadata(bunch)
        for start in range(0, len(bunch), self.batch_size):
            rows = slice(start, min(start + self.batch_size, len(bunch)))
            features[rows, n_metadata:] = self._measure(bunch[rows], start)
        return features

    def get_feature_names_out(self, input_features=None):
        """Give the names of the features, each with its family in front.

        Parameters
        ----------
        input_features : Ignored
            Not used, present for API consistency.

        Returns
        -------
        ndarray of str of shape (n_features_out,)
            Such as ``"noise__sd_1"``.
        """
        check_is_fitted(self)
        return np.array(self._names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # -- inside ----------------------------------------------------------------------------------------------------
    def _rows(self, X, *, reset):
        """Check ``X`` and give it as a bunch."""
        if isinstance(X, ImageBunch):
            bunch = X
            if len(bunch) == 0:
                raise ValueError("Found an ImageBunch with 0 rows while a minimum of 1 is required.")
            # scikit-learn counts the second axis; this stand-in has one column per value and takes no memory.
            stand_in = np.broadcast_to(np.float32(0), (len(bunch), math.prod(bunch.shape[1:])))
            validate_data(self, stand_in, skip_check_array=True, reset=reset)
        else:
            X = X if hasattr(X, "ndim") else np.asarray(X)
            if X.ndim > 4:
                raise ValueError(f"Found array with dim {X.ndim}, while dim <= 4 is required by AcquisitionFeatures.")
            shape = X.shape
            flat = np.asarray(X).reshape(len(X), math.prod(shape[1:])) if X.ndim > 2 else X
            flat = validate_data(self, flat, reset=reset, dtype="numeric")
            bunch = bunch_of_arrays(flat.reshape(shape), None)[0]
        if reset:
            self.image_shape_ = bunch.image_shape
        elif bunch.image_shape != self.image_shape_:
            raise ValueError(
                f"X has rows of shape {bunch.image_shape}, but AcquisitionFeatures was fitted on rows of shape "
                f"{self.image_shape_}"
            )
        return bunch

    def _choose_columns(self, bunch):
        if "file" not in self._families:
            if self.metadata_columns is not None:
                raise ValueError("metadata_columns belong to the family 'file', which families leaves out")
            return []
        columns = list(bunch.get("metadata").columns) if "metadata" in bunch.fields else []
        if self.metadata_columns is None:
            plain = {column: plain_name(column) for column in columns}
            known = set(_FILE_COLUMNS)
            if {"height", "width"} <= set(plain.values()):  # height alone is a patient's
                known |= {"height", "width"}
            return [column for column, name in plain.items() if name in known]
        for column in self.metadata_columns:
            if column not in columns:
                raise ValueError(f"metadata_columns: the rows have no metadata column {column!r}; they have {columns}")
        return list(self.metadata_columns)

    def _metadata(self, bunch):
        """Logarithms of the metadata columns."""
        values = []
        for column in self.metadata_columns_:
            if "metadata" not in bunch.fields or column not in bunch.get("metadata").columns:
                raise ValueError(f"the rows have no metadata column {column!r}, which was there in fit")
            series = bunch.get("metadata")[column]
            try:
                numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
            except (TypeError, ValueError):
                raise ValueError(f"metadata column {column!r} must hold numbers, got {series.dtype}") from None
            wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers > 0)))
            if len(wrong):
                raise ValueError(
                    f"metadata column {column!r}: row {wrong[0]} has {numbers[wrong[0]]} ({len(wrong)} such rows), but "
                    "sizes and depths are positive numbers; fill it in, leave these rows out, or name the columns to "
                    "be used by metadata_columns"
                )
            values.append(np.log2(numbers))
        return np.stack(values, axis=1) if values else np.empty((len(bunch), 0))

    def _learn_range(self, bunch):
        rows = np.unique(np.linspace(0, len(bunch) - 1, min(len(bunch), _SAMPLED_ROWS)).astype(int))
        lows, highs = [], []
        for start in range(0, len(rows), self.batch_size):
            some = rows[start : start + self.batch_size]
            images = np.asarray(bunch[some])
            check_finite(images, some)
            low, high = np.percentile(images.reshape(len(images), -1), [0.5, 99.5], axis=1)
            lows.append(low.min())
            highs.append(high.max())
        return float(min(lows)), float(max(highs))

    def _families_with_names(self):
        """Names of the measured features by family, in order."""
        shape = (1, *_with_height(self.image_shape_))
        names = {
            "geometry": formulas.geometry_names(shape),
            "intensity": formulas.intensity_names(shape, self.n_bins),
            "noise": formulas.noise_names(shape, self.n_scales),
            "frequency": formulas.frequency_names(shape, self.n_frequencies),
        }
        cells = formulas.content_names(shape, self.thumbnail_size)
        names.update({"content_inside": cells, "content_outside": cells} if self.uses_masks_ else {"content": cells})
        return {family: own for family, own in names.items() if family.split("_")[0] in self._families}

    def _feature_names(self):
        names = [f"file__{column}" for column in self.metadata_columns_]
        return names + [f"{family}__{name}" for family, own in self._families_with_names().items() for name in own]

    def _measure(self, batch, first_row):
        images = np.asarray(batch)
        check_finite(images, np.arange(first_row, first_row + len(images)))
        shape = _with_height(self.image_shape_)
        images = images.astype(np.float64).reshape(len(images), *shape)
        parts = []
        for family in self._families:
            if family == "geometry":
                parts.append(formulas.geometry(images, self.value_range_))
            elif family == "intensity":
                parts.append(formulas.intensity(images, self.value_range_, self.n_bins))
            elif family == "noise":
                parts.append(formulas.noise(images, self.value_range_, self.n_scales))
            elif family == "frequency":
                parts.append(formulas.frequency(images, self.n_frequencies))
            elif family == "content" and self.uses_masks_:
                masks = np.asarray(batch.get("masks")).reshape(len(images), *shape[1:]) >= 0.5
                parts += [formulas.content(images, self.thumbnail_size, inside) for inside in (masks, ~masks)]
            elif family == "content":
                parts.append(formulas.content(images, self.thumbnail_size))
        return np.concatenate(parts, axis=1) if parts else np.empty((len(images), 0))


def _with_height(image_shape):
    """Shape (C, H, W) of a row; signals are images with a height of 1."""
    return image_shape if len(image_shape) == 3 else (image_shape[0], 1, image_shape[1])
