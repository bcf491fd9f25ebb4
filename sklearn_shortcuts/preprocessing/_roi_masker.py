"""Transformer that shows a classifier only a region of interest, or all but it."""

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._random_state import draw_seed, make_random_state
from ..images import ImageBunch
from ..images._array_rows import bunch_of_arrays
from ..images._sources import MappedRows, RowView
from ._mask_sources import Segmentation, check_segmenter
from ._masking import Masking, missing_error
from ._rows import check_values, read_rows

_ROWS_AT_ONCE = 256  # where only masks are read


class ROIMasker(TransformerMixin, BaseEstimator):
    """Keep only the region of interest of each image, or everything but it.

    A classifier that still works when the anatomy is removed has found a shortcut; one that is trained on the anatomy
    alone cannot use what lies outside. Masks come with the rows, in three ways, the first that is given:

    1. ``fit(X, masks=...)`` and ``transform(X, masks=...)``;
    2. ``X`` is an :class:`~sklearn_shortcuts.images.ImageBunch` with the field ``masks``: the way that works everywhere
       in ``Pipeline``, ``GridSearchCV`` and ``cross_validate``;
    3. ``segmenter``, which makes them from the images, also at predict time.

    Parameters
    ----------
    keep : {"roi", "background", "all", "mask", "other_roi"}, default="roi"
        What stays visible:

        - "roi": the region;
        - "background": all but the region;
        - "all": the whole image; rows and masks are checked all the same;
        - "mask": the region itself, drawn as 1 (integer images: the largest value) on 0. A control: how much does
          the outline alone tell?
        - "other_roi": the region of another row of the same call, drawn at random such that no row gets its own.
          A control: how much does it matter that the region is the right one? (The other row may be of the same
          patient.)
    shape : {"mask", "box"}, default="mask"
        Region as it is, or the upright box around it. The box is taken after growing and includes its last row and
        column.
    margin : float, default=0
        Pixels by which the region grows before use; it shrinks by a negative margin. The border of the image does
        not count as an edge of the region.
    metric : {"euclidean", "cityblock"}, default="euclidean"
        How the margin is measured: in all directions alike, or in horizontal and vertical steps as when the 3 x 3
        cross (OpenCV's ``MORPH_ELLIPSE`` of size 3) is iterated [1]_.
    box_mode : {"union", "per_component"}, default="union"
        With ``shape="box"``: one box around everything, or one for each connected part.
    fill : {"zero", "mean", "noise", "shuffle", "blur"} or float, default="zero"
        What takes the place of removed pixels, channel by channel:

        - "zero" or a number: that value;
        - "mean": mean of the kept pixels of the image, of all pixels where none is kept;
        - "noise": normal noise with mean and standard deviation of the removed pixels;
        - "shuffle": the removed pixels in random order, which keeps their histogram;
        - "blur": the image behind a Gaussian blur.

        Integer images receive rounded values within the range of their type.
    blur_sigma : float, default=0.0625
        Standard deviation of ``fill="blur"`` as a share of the longer side of the image. Structures much larger than
        it stay recognizable.
    segmenter : callable or fitted estimator, default=None
        ``segmenter(images)``, or ``segmenter.predict(images)``, gives the masks of a batch of images in the shape they
        are in; used when the rows come without masks. Wrap a fitted scikit-learn estimator in
        :class:`sklearn.frozen.FrozenEstimator`: otherwise ``Pipeline`` and ``GridSearchCV`` clone it unfitted.
    on_missing : {"error", "keep", "fill"}, default="error"
        What to do with a row that has no region, because it has no mask, or an empty one, or shrinking leaves
        nothing of it: raise, pass the image through, or fill all of it. With ``keep="mask"`` the last two both give
        zeros, with ``keep="all"`` both the image.
    random_state : int, RandomState instance or None, default=None
        Decides noise, shuffling and ``keep="other_roi"``, once per ``fit``. What a row receives depends on it and on
        the row's position in the call of ``transform``, not on the batch in which it is read.

    Attributes
    ----------
    n_features_in_ : int
        Number of values of one row.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if ``X`` was a DataFrame.
    image_shape_ : tuple of int
        Shape of one row of ``X``.
    seed_ : int
        Drawn from ``random_state``.

    See Also
    --------
    sklearn_shortcuts.images.ImageBunch : Rows of images with their masks.

    Notes
    -----
    On an :class:`~sklearn_shortcuts.images.ImageBunch` the result is a lazy bunch with the same fields: rows are masked
    when they are read. On arrays it is an array of the same shape and type. Accepted are images ``(n, H, W)`` or
    ``(n, C, H, W)`` with masks ``(n, H, W)``, signals ``(n, C, T)`` with masks ``(n, T)``, and tables
    ``(n, n_features)`` with masks ``(n, n_features)``. Masks are inside where they are 0.5 or more.

    What was removed is still told by where it was removed: compare with ``keep="mask"``.

    References
    ----------
    .. [1] Sourget et al. (2024). Mask of truth: model sensitivity to unexpected regions of medical images.
       arXiv:2412.04030.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts import ImageBunch
    >>> from sklearn_shortcuts.preprocessing import ROIMasker
    >>> images, masks = np.full((2, 3, 4), 7), np.zeros((2, 3, 4), dtype=bool)
    >>> masks[:, 1, 1:3] = True
    >>> ROIMasker().fit_transform(images, masks=masks)[0]
    array([[0, 0, 0, 0],
           [0, 7, 7, 0],
           [0, 0, 0, 0]])
    >>> bunch = ROIMasker(keep="background", margin=1).fit_transform(ImageBunch(images, masks=masks))
    >>> bunch[0]
    array([[7, 0, 0, 7],
           [0, 0, 0, 0],
           [7, 0, 0, 7]])
    """

    _parameter_constraints = {
        "keep": [StrOptions({"roi", "background", "all", "mask", "other_roi"})],
        "shape": [StrOptions({"mask", "box"})],
        "margin": [Interval(Real, None, None, closed="neither")],
        "metric": [StrOptions({"euclidean", "cityblock"})],
        "box_mode": [StrOptions({"union", "per_component"})],
        "fill": [
            StrOptions({"zero", "mean", "noise", "shuffle", "blur"}),
            Interval(Real, None, None, closed="neither"),
        ],
        "blur_sigma": [Interval(Real, 0, None, closed="neither")],
        "segmenter": [callable, HasMethods("predict"), None],
        "on_missing": [StrOptions({"error", "keep", "fill"})],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        keep="roi",
        *,
        shape="mask",
        margin=0,
        metric="euclidean",
        box_mode="union",
        fill="zero",
        blur_sigma=0.0625,
        segmenter=None,
        on_missing="error",
        random_state=None,
    ):
        self.keep = keep
        self.shape = shape
        self.margin = margin
        self.metric = metric
        self.box_mode = box_mode
        self.fill = fill
        self.blur_sigma = blur_sigma
        self.segmenter = segmenter
        self.on_missing = on_missing
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, masks=None):
        """Check the rows and draw the seed; nothing is learned from the pixels.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
            Images, signals or tables.
        y : Ignored
            Not used, present for API consistency.
        masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
            Regions of interest; ``None`` in a list, or all NaN, for a row without one.

        Returns
        -------
        ROIMasker
            Itself.

        Raises
        ------
        ValueError
            If there are no masks, their size is not that of the images, or a row has none and ``on_missing="error"``.
        """
        check_segmenter(self.segmenter)
        self._rows(X, masks, reset=True)
        rng = make_random_state(self.random_state)
        self.seed_ = draw_seed(rng)
        return self

    def transform(self, X, masks=None):
        """Mask the rows.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
            Images, signals or tables; not changed.
        masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
            Regions of interest; ``None`` in a list, or all NaN, for a row without one.

        Returns
        -------
        ImageBunch or ndarray
            Lazy bunch for a bunch, array of the same shape and type for an array.

        Raises
        ------
        ValueError
            If there are no masks, their size is not that of the images, or a row has none and ``on_missing="error"``;
            for a bunch with masks on disk, an empty mask or a damaged image is reported when the row is read.
        """
        check_is_fitted(self)
        bunch, images, masks = self._rows(X, masks, reset=False)
        if images is not None:
            return self._masking(bunch)(images, self._regions(bunch, masks), rows=np.arange(len(images)))
        fields = ("masks",) if "masks" in bunch.fields else ()
        source = bunch.with_fields(masks=self._regions(bunch)) if self.keep == "other_roi" and fields else bunch
        return bunch.with_images(MappedRows(source, self._masking(bunch), fields, with_rows=True))

    def fit_transform(self, X, y=None, masks=None):
        """Check the rows, then mask them.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
            Images, signals or tables; not changed.
        y : Ignored
            Not used, present for API consistency.
        masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
            Regions of interest; ``None`` in a list, or all NaN, for a row without one.

        Returns
        -------
        ImageBunch or ndarray
            As :meth:`transform`.
        """
        return self.fit(X, y, masks=masks).transform(X, masks=masks)

    def kept_fraction(self, X, masks=None):
        """Measure the share of pixels that stay visible.

        The size of the removed area alone may tell the label: compare this share between the classes.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
            Images, signals or tables.
        masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
            Regions of interest; ``None`` in a list, or all NaN, for a row without one.

        Returns
        -------
        ndarray of shape (n,)
            Shares in [0, 1]; with ``keep="mask"`` those of the region.
        """
        check_is_fitted(self)
        bunch, _, masks = self._rows(X, masks, reset=False)
        regions, masking = self._regions(bunch, masks), self._masking(bunch)
        shares = np.empty(len(bunch))
        for first in range(0, len(bunch), _ROWS_AT_ONCE):
            rows = np.arange(first, min(first + _ROWS_AT_ONCE, len(bunch)))
            some = np.zeros((len(rows), 1), dtype=bool) if regions is None else np.asarray(regions[rows])
            shares[rows] = masking.kept_fraction(some, rows)
        return shares

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _rows(self, X, masks, *, reset):
        """Check ``X``; give it as a bunch and, unless it is one, its images and masks as arrays without a copy."""
        X = read_rows(self, X, reset=reset)
        if isinstance(X, ImageBunch):
            images, bunch = None, X
            if masks is not None:
                bunch, masks = X.with_fields(masks=masks), None
            elif "masks" not in X.fields and self.segmenter is not None:
                spatial = X.image_shape[1:]
                segmentation = Segmentation(self.segmenter, spatial)
                bunch = X.with_fields(masks=MappedRows(X, segmentation, shape=spatial, dtype=bool))
        else:
            images = X
            if reset or self.segmenter is not None:  # otherwise left to the masking itself
                check_values(images)
            if masks is None and self.segmenter is not None:
                masks = Segmentation(self.segmenter)(images)
            bunch, masks = bunch_of_arrays(images, masks)
        if self.on_missing == "error":
            if "masks" not in bunch.fields:
                raise ValueError(
                    "ROIMasker found no masks: pass them as fit(X, masks=...) and transform(X, masks=...), put them "
                    "into the rows as ImageBunch(X, masks=...), or set a segmenter that makes them from the images "
                    '(or set on_missing="keep" to let rows without a mask pass)'
                )
            missing = np.flatnonzero(~bunch.has_mask)
            if len(missing):
                raise missing_error(missing[0], n_missing=len(missing))
        return bunch, images, masks

    def _regions(self, bunch, masks=None):
        """Masks to be used, as something that is indexed by rows; None where no row has one."""
        if "masks" not in bunch.fields:
            return None
        if masks is None:
            masks = bunch.get("masks")
        if self.keep != "other_roi":
            return masks
        has_region = bunch.has_mask
        if isinstance(masks, np.ndarray):
            has_region = has_region & (masks.reshape(len(masks), -1).max(axis=1) >= 0.5)
        owners = np.flatnonzero(has_region)
        if len(owners) < 2:
            raise ValueError(f'keep="other_roi" needs at least two rows with a region, got {len(owners)}')
        # A round trip through all owners in random order: nobody meets himself.
        trip = np.random.default_rng(self.seed_).permutation(owners)
        donors = np.arange(len(bunch))
        donors[trip] = np.roll(trip, 1)
        return RowView(masks, donors)

    def _masking(self, bunch):
        return Masking(
            n_axes=1 if bunch.signal else 2,
            keep=self.keep,
            shape=self.shape,
            margin=self.margin,
            metric=self.metric,
            box_mode=self.box_mode,
            fill=self.fill,
            blur_sigma=self.blur_sigma,
            on_missing=self.on_missing,
            seed=self.seed_,
        )
