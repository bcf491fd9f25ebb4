"""Cut real artifacts out of some images and paste them into others, as a transformer."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from ..images import ImageBunch
from ..images._fields import as_masks
from ..images._sources import MappedRows
from ._planters import as_dtype, fingerprint, read_rows
from ._seeds import base_seed, generator

_BATCH = 64  # rows read at once where the images are not in memory
_FAINTEST = 1 / 64  # opacity below which nothing is pasted
_REACH = 4  # standard deviations to the end of the blur: 41 pixels across with the usual 5


class ArtifactTransplant(TransformerMixin, BaseEstimator):
    """Attack images with real artifacts, cut out of donor images of the training set and pasted in softly.

    Row ``x`` becomes ``x * (1 - b) + donor * b``, where ``b`` is the artifact mask of a randomly drawn donor, blurred
    and scaled to a maximum of 1 [1]_. Which donor a row gets is decided by ``random_state`` and the row's own content:
    it is the same in whatever batch, order, or fold the row comes.

    Parameters
    ----------
    blur : float, default=0.0223
        Standard deviation of the Gaussian that softens the border of the mask, as a share of the shorter side of the
        image or of the length of the signal; the default makes 5 pixels of 224. The Gaussian ends at 4 standard
        deviations. 0 leaves the border hard.
    random_state : int, RandomState instance, Generator or None, default=None
        Decides who gets what.

    Attributes
    ----------
    donors_ : ImageBunch
        Donors that have an artifact, with ``artifact_masks``; read when they are needed where they are lazy.
    n_left_out_ : int
        Donors that were left out because their mask is missing or empty.
    image_shape_ : tuple of int
        Shape of one image, ``(C, H, W)`` or ``(C, T)``.
    seed_ : int
        What was drawn from ``random_state``.

    See Also
    --------
    ArtifactInjector : Plants drawn artifacts.

    Notes
    -----
    Donors must come from the training rows only: a test set that is attacked with its own artifacts, as published,
    meets content that the tested model may have seen in other rows of the same patients, or rows that it meets again.
    Rows whose patient is also among the donors are refused, and so are rows that are donors themselves, as in
    ``fit_transform``.

    Opacities below 1/64 count as 0, so that images are unchanged outside ``artifact_masks``, bit for bit. The published
    attack has no such limit and changes all that is within 20 of 224 pixels of the mask.

    References
    ----------
    .. [1] Pahde, Wiegand, Lapuschkin and Samek (2025). Ensuring Medical AI Safety: Interpretability-Driven Detection
       and Mitigation of Spurious Model Behavior and Associated Data. Machine Learning 114, 206.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.datasets import ArtifactTransplant, make_chest_phantoms
    >>> train = make_chest_phantoms(20, shortcut="pacemaker", prevalence={0: 1, 1: 1}, random_state=0)
    >>> test = make_chest_phantoms(8, random_state=1).with_fields(groups=np.arange(8))
    >>> transplant = ArtifactTransplant(random_state=0).fit(train)
    >>> attacked = transplant.transform(test)
    >>> attacked.artifact.tolist()
    [1, 1, 1, 1, 1, 1, 1, 1]
    >>> changed = np.asarray(attacked) != attacked.twin
    >>> bool(changed.any() and (changed <= attacked.artifact_masks).all())
    True
    """

    _parameter_constraints: dict = {
        "blur": [Interval(Real, 0, 0.25, closed="both")],
        "random_state": ["random_state", np.random.Generator],
    }

    def __init__(self, *, blur=5 / 224, random_state=None):
        self.blur = blur
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, masks=None, groups=None):
        """Take in the donors.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            Rows of the training set; those without an artifact are left out and counted. Signals come as a bunch with
            ``signal=True``, or as an array with masks of shape (n, T).
        y : None
            Not used.
        masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, default=None
            Where the artifact is; by default the field ``artifact_masks``. Numbers between 0 and 1 are opacities.
        groups : array-like of shape (n,), default=None
            Patients; by default the bunch's field.

        Returns
        -------
        self : ArtifactTransplant
            Fitted transformer.

        Raises
        ------
        ValueError
            If there are no masks, or no donor has an artifact.
        """
        signal = X.signal if isinstance(X, ImageBunch) else len(np.shape(X)) == 3 and _is_of_signals(masks)
        bunch = read_rows(X, signal, "the masks are those of")
        if masks is None:
            if "artifact_masks" not in bunch.fields:
                raise ValueError(
                    "donors need masks of their artifacts: give masks, or an ImageBunch with the field 'artifact_masks'"
                )
            masks = bunch.get("artifact_masks")
        spatial = bunch.shape[-1:] if signal else bunch.shape[-2:]
        masks, has_mask = as_masks(masks, spatial, "masks")
        if len(masks) != len(bunch):
            raise ValueError(f"masks has {len(masks)} rows, but there are {len(bunch)} donors")
        if groups is not None:
            bunch = bunch.with_fields(groups=column_or_1d(groups))
        seen, owned = np.zeros(len(bunch), dtype=bool), set()
        for start in range(0, len(bunch), _BATCH):
            batch = np.asarray(masks[start : start + _BATCH])
            some = (batch >= _FAINTEST).reshape(len(batch), -1).any(axis=1) & has_mask[start : start + _BATCH]
            seen[start : start + _BATCH] = some
            images = np.asarray(bunch[start : start + _BATCH])
            finite = np.isfinite(images).reshape(len(images), -1).all(axis=1)
            if (some & ~finite).any():
                row = start + int(np.flatnonzero(some & ~finite)[0])
                raise ValueError(f"X: donor {row} contains NaN or inf; repair it or leave it out")
            owned.update(fingerprint(image) for image, counts in zip(images, some) if counts)
        if not seen.any():
            raise ValueError(
                f"none of the {len(bunch)} donors has an artifact in its mask; give rows with the artifact, and masks "
                "that are 1 where it is"
            )
        rows = np.flatnonzero(seen)
        fields = {"groups": bunch.groups} if "groups" in bunch.fields else {}
        donors = ImageBunch(bunch.images, artifact_masks=masks, signal=signal, **fields)
        self.donors_ = donors[rows]
        self.n_left_out_ = int(len(bunch) - len(rows))
        self._contents = frozenset(owned)
        self.image_shape_ = bunch.image_shape
        self.seed_ = base_seed(self.random_state)
        return self

    def transform(self, X):
        """Paste an artifact into every row.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            Images or signals, of the shape and kind of numbers of the donors. Where a bunch has the field ``twin``, the
            artifact is pasted into the twins.

        Returns
        -------
        ImageBunch
            The fields of ``X`` with ``artifact`` (1 everywhere), ``artifact_masks`` (where anything was pasted) and
            ``twin`` (the row as it was); lazy where ``X`` is.

        Raises
        ------
        ValueError
            If rows have another shape or kind of numbers than the donors, are donors themselves, or are of a patient
            among the donors.
        """
        return self._paste(X, 0)

    def draws(self, X, n_draws=3):
        """Attack the same rows several times, each time with other donors.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            As for :meth:`transform`.
        n_draws : int, default=3
            How often.

        Returns
        -------
        list of ImageBunch
            The first is what :meth:`transform` gives. A row's donors are drawn without repetition as long as there are
            enough.

        Raises
        ------
        ValueError
            As for :meth:`transform`.
        """
        if isinstance(n_draws, bool) or not isinstance(n_draws, Integral) or n_draws < 1:
            raise ValueError(f"n_draws must be a whole number from 1 on, got {n_draws!r}")
        return [self._paste(X, draw) for draw in range(n_draws)]

    # -- inside ----------------------------------------------------------------------------------------------------
    def _paste(self, X, draw):
        check_is_fitted(self)
        bunch = read_rows(X, self.donors_.signal, "the donors are")
        if "twin" in bunch.fields:
            bunch = bunch.with_images(bunch.get("twin"))
        self._check(bunch)
        paster = _Paster(self.donors_, self.seed_, draw, self.blur)
        spatial = bunch.shape[-1:] if bunch.signal else bunch.shape[-2:]
        images = bunch.map_images(paster.images).images
        touched = MappedRows(bunch, paster.masks, shape=spatial, dtype=bool)
        if isinstance(bunch.images.source, np.ndarray):
            images, touched = np.asarray(images), touched[:]
        artifact = np.ones(len(bunch), dtype=np.int64)
        return bunch.with_images(images, artifact=artifact, artifact_masks=touched, twin=bunch.images)

    def _check(self, bunch):
        if bunch.image_shape != self.image_shape_:
            raise ValueError(
                f"X has images of shape {bunch.image_shape}, but the donors {self.image_shape_}; resize them to one "
                "shape"
            )
        kinds = [dtype.name if dtype.kind in "ui" else "floating point" for dtype in (bunch.dtype, self.donors_.dtype)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"X is of type {kinds[0]}, but the donors of type {kinds[1]}; give both in the same units")
        if "groups" in bunch.fields and "groups" in self.donors_.fields:
            shared = pd.Series(bunch.groups).isin(np.asarray(self.donors_.groups).tolist()).to_numpy()
            if shared.any():
                raise ValueError(
                    f"X: row {np.flatnonzero(shared)[0]} is of a patient who is also among the donors ({shared.sum()} "
                    "such rows); take donors from the training patients only"
                )
        for start in range(0, len(bunch), _BATCH):
            for row, image in enumerate(np.asarray(bunch[start : start + _BATCH]), start):
                if not np.isfinite(image).all():
                    raise ValueError(f"X: row {row} contains NaN or inf; repair it or leave it out")
                if fingerprint(image) in self._contents:
                    raise ValueError(f"X: row {row} is itself a donor; take donors from the training rows only")


def _is_of_signals(masks):
    """Tell whether masks have one axis per row."""
    if isinstance(masks, (list, tuple)):
        masks = next(([mask] for mask in masks if mask is not None), [])
    return len(np.shape(masks)) == 2


class _Paster:
    """What is done to a batch of rows; picklable, and the same for a row in whatever batch it comes."""

    def __init__(self, donors, seed, draw, blur):
        self.donors, self.seed, self.draw, self.blur = donors, seed, draw, blur

    def images(self, batch):
        """Paste a donor's artifact into each row."""
        pasted = batch.copy()
        for row, image in enumerate(batch):
            donor = self._donor(image)
            opacity = self._opacity(donor)
            mixed = image * (1 - opacity) + self.donors[donor].astype(np.float64) * opacity
            pasted[row] = np.where(opacity > 0, as_dtype(mixed, image.dtype), image)
        return pasted

    def masks(self, batch):
        """Tell where something was pasted."""
        return np.stack([self._opacity(self._donor(image)) > 0 for image in batch])

    def _donor(self, image):
        n_donors = len(self.donors)
        rng = generator(self.seed, fingerprint(image), self.draw // n_donors)
        return int(rng.permutation(n_donors)[self.draw % n_donors])

    def _opacity(self, donor):
        mask = np.asarray(self.donors[[donor]].artifact_masks)[0].astype(np.float64)
        sigma = self.blur * min(mask.shape)
        if sigma > 0:
            mask = gaussian_filter(mask, sigma, mode="mirror", radius=max(1, round(_REACH * sigma)))
        opacity = mask / mask.max()
        return np.where(opacity >= _FAINTEST, opacity, 0.0)
