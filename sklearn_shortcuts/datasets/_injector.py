"""Plant artifacts into real images, as a transformer."""

import hashlib
from collections.abc import Mapping
from numbers import Real

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..images import ImageBunch
from ._artifacts import ARTIFACTS, TEXTUAL, WHOLE_IMAGE, plant
from ._seeds import base_seed, generator
from ._shortcut_settings import check_probability, check_text

_BATCH = 64  # rows read at once where the images are not in memory


class ArtifactInjector(TransformerMixin, BaseEstimator):
    """Plant an artifact into images, with any probability per class, to make a shortcut whose truth is known.

    :meth:`inject` is the way to make a study: it gives the images with the record of what was planted where.
    ``fit_transform(X, y)`` gives the same images. What happens to an image is decided by ``random_state`` and the
    image's own pixels: an image gets the same artifact in whatever batch, order, or fold it comes, and raising
    ``probability`` only adds artifacts. Equal images are treated alike.

    Parameters
    ----------
    artifact : str, default="drain"
        ``"drain"`` (chest tube), ``"pacemaker"``, ``"marker"`` (lead letter), ``"timestamp"`` (burnt-in date),
        ``"microscope"`` (black frame around a disk), ``"patch"`` (constant square), ``"scanner"`` (blur, noise and
        gray-value curve), ``"vignette"`` or ``"brightness"`` (veil of white). The last three change the whole image.
    probability : float or dict, default=0.5
        Share of images that get the artifact. ``{class: share}`` gives one for each class, and needs the classes: ``y``
        of :meth:`inject` or ``fit_transform``, or the field ``target`` of an
        :class:`~sklearn_shortcuts.images.ImageBunch`.
    strength : float, default=1.0
        Opacity of the artifact relative to the usual one, above 0. The gray value is limited to the value range.
    scale : float, default=1.0
        Size relative to the usual one, above 0; only for artifacts that do not change the whole image.
    text : str, default=None
        What a marker or time stamp says, in ASCII; by default ``"L"`` or ``"R"``, or a date from 2020 to 2022.
    value_range : tuple of float, default=None
        Black and white. By default the range of the data type for uint8 and uint16, and (0, 1) for
        floating point; other data types need it.
    random_state : int, RandomState instance, Generator or None, default=None
        Decides which images get the artifact and how it looks.

    Attributes
    ----------
    seed_ : int
        What was drawn from ``random_state``.
    image_shape_ : tuple of int
        Shape of one image, ``(C, H, W)``.

    See Also
    --------
    make_chest_phantoms : Generated radiographs with the same artifacts.

    References
    ----------
    F. Pahde, M. Dreyer, W. Samek, S. Lapuschkin. Reveal to Revise: An Explainable AI Life Cycle for Iterative Bias
    Correction of Deep Models. MICCAI 2023 (microscope, time stamp and brightness as controlled artifacts).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.datasets import ArtifactInjector
    >>> X = np.random.default_rng(0).integers(0, 200, (20, 64, 64), dtype=np.uint8)
    >>> y = np.repeat([0, 1], 10)
    >>> study = ArtifactInjector("patch", probability={0: 0, 1: 1}, random_state=0).inject(X, y)
    >>> study.artifact.tolist() == y.tolist()
    True
    >>> bool((np.asarray(study) == X)[~study.artifact_masks].all())
    True
    """

    _parameter_constraints: dict = {
        "artifact": [StrOptions(set(ARTIFACTS))],
        "probability": [Interval(Real, 0, 1, closed="both"), Mapping],
        "strength": [Interval(Real, 0, 10, closed="right")],
        "scale": [Interval(Real, 0, 10, closed="right")],
        "text": [str, None],
        "value_range": [tuple, list, None],
        "random_state": ["random_state", np.random.Generator],
    }

    def __init__(
        self,
        artifact="drain",
        *,
        probability=0.5,
        strength=1.0,
        scale=1.0,
        text=None,
        value_range=None,
        random_state=None,
    ):
        self.artifact = artifact
        self.probability = probability
        self.strength = strength
        self.scale = scale
        self.text = text
        self.value_range = value_range
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the settings and draw the seed.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W) or (n, C, H, W)
            Images.
        y : array-like of shape (n,), default=None
            Not used here; ``fit_transform`` takes the classes from it.

        Returns
        -------
        self : ArtifactInjector
            Fitted transformer.

        Raises
        ------
        ValueError
            If a setting does not fit the artifact or the images.
        """
        bunch = _as_images(X)
        if self.artifact in WHOLE_IMAGE and self.scale != 1:
            raise ValueError(f"scale has no meaning for artifact={self.artifact!r}, which changes the whole image")
        if self.text is not None and self.artifact not in TEXTUAL:
            raise ValueError(f"text has no meaning for artifact={self.artifact!r}; it is for {' and '.join(TEXTUAL)}")
        check_text(self.text, "text")
        if isinstance(self.probability, Mapping):
            for label, share in self.probability.items():
                check_probability(share, f"probability of class {label!r}")
        _read_value_range(self.value_range, bunch.dtype)
        self.image_shape_ = bunch.image_shape
        self.seed_ = base_seed(self.random_state)
        return self

    def transform(self, X):
        """Plant the artifact.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W) or (n, C, H, W)
            Images. With one probability per class this must be a bunch with the field ``target``.

        Returns
        -------
        ImageBunch or ndarray
            What :meth:`inject` gives for a bunch, the images alone for an array.

        Raises
        ------
        ValueError
            If classes are needed and not known, or values lie outside the value range.
        """
        check_is_fitted(self)
        bunch = self._plant(X, None, None)
        return bunch if isinstance(X, ImageBunch) else np.asarray(bunch)

    def fit_transform(self, X, y=None):
        """Plant the artifact with the probability that each class has.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W) or (n, C, H, W)
            Images.
        y : array-like of shape (n,), default=None
            Classes; by default the field ``target`` of a bunch.

        Returns
        -------
        ImageBunch or ndarray
            What :meth:`inject` gives for a bunch, the images alone for an array.
        """
        bunch = self.inject(X, y)
        return bunch if isinstance(X, ImageBunch) else np.asarray(bunch)

    def inject(self, X, y=None, masks=None):
        """Fit, plant the artifact, and record what was planted where.

        Images in memory are planted at once. For lazy sources each image is read once to decide whether it gets the
        artifact; the artifact is drawn whenever the image is read, and nothing is kept in memory.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W) or (n, C, H, W)
            Images, gray or with channels.
        y : array-like of shape (n,), default=None
            Classes; by default the field ``target`` of a bunch.
        masks : array-like of shape (n, H, W), default=None
            Lungs, which anchor drains and pacemakers; by default the field ``masks`` of a bunch. For rows without a
            mask a frontal chest radiograph that fills the image is assumed.

        Returns
        -------
        ImageBunch
            The fields of ``X`` with ``artifact`` (0/1), ``artifact_masks``, ``twin`` (the image without the artifact)
            and, where given, ``target`` and ``masks``. Outside ``artifact_masks`` the images are unchanged, bit for
            bit; ``artifact_masks`` is everywhere 1 for artifacts of the whole image.

        Raises
        ------
        ValueError
            If classes are needed and not known, or values lie outside the value range.
        """
        return self.fit(X, y)._plant(X, y, masks)

    # -- inside ----------------------------------------------------------------------------------------------------
    def _plant(self, X, y, masks):
        bunch = _as_images(X)
        if bunch.image_shape != self.image_shape_:
            raise ValueError(f"X has images of shape {bunch.image_shape}, but the injector saw {self.image_shape_}")
        black, white = _read_value_range(self.value_range, bunch.dtype)
        if masks is not None:
            bunch = bunch.with_fields(masks=masks)
        if y is not None:
            bunch = bunch.with_fields(target=y)
        shares = self._shares(bunch)
        planter = _Planter(self.seed_, self.artifact, float(self.strength), float(self.scale), self.text, black, white)
        artifact = np.zeros(len(bunch), dtype=np.int64)
        for start in range(0, len(bunch), _BATCH):
            batch = np.asarray(bunch[start : start + _BATCH])
            planter.check(batch, start)
            chances = np.array([planter.chance(image) for image in batch])
            artifact[start : start + _BATCH] = chances < shares[start : start + _BATCH]
        bunch = bunch.with_fields(artifact=artifact)
        fields = ("artifact", "masks") if "masks" in bunch.fields else ("artifact",)
        images = bunch.map_images(planter.images, fields).images
        touched = bunch.map_images(planter.masks, fields, shape=bunch.shape[-2:], dtype=bool).images
        if isinstance(bunch.images.source, np.ndarray):
            images, touched = np.asarray(images), np.asarray(touched)
        return bunch.with_images(images, artifact_masks=touched, twin=bunch.images)

    def _shares(self, bunch):
        """Give the probability of the artifact in each row."""
        if not isinstance(self.probability, Mapping):
            return np.full(len(bunch), float(self.probability))
        if "target" not in bunch.fields:
            raise ValueError(
                "probability has one value per class, so the classes are needed: pass y to inject or fit_transform, or "
                "an ImageBunch with the field target, or give probability as one number"
            )
        target = np.asarray(bunch.get("target"))
        if target.ndim != 1:
            raise ValueError(f"y must have shape (n,) to choose probabilities by class, got {target.shape}")
        missing = np.flatnonzero(pd.isna(target))
        if len(missing):
            raise ValueError(
                f"y: row {missing[0]} has no class ({len(missing)} such rows); leave these rows out, or give "
                "probability as one number"
            )
        unknown = [label for label in np.unique(target).tolist() if label not in self.probability]
        if unknown:
            raise ValueError(f"probability has no value for class {unknown[0]!r}; it has {list(self.probability)}")
        return np.array([float(self.probability[label]) for label in target.tolist()])


class _Planter:
    """What is done to a batch of images; picklable, and the same for an image in whatever batch it comes."""

    def __init__(self, seed, artifact, strength, scale, text, black, white):
        self.seed, self.artifact = seed, artifact
        self.look = {"strength": strength, "scale": scale, "text": text}
        self.black, self.white = black, white

    def check(self, batch, first_row):
        """Refuse values outside the value range."""
        wrong = ~((batch >= self.black) & (batch <= self.white)).reshape(len(batch), -1).all(axis=1)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            low, high = batch[row].min(), batch[row].max()
            if np.isnan(low):
                raise ValueError(f"X: row {first_row + row} contains NaN; repair the image or leave the row out")
            raise ValueError(
                f"X: row {first_row + row} has values from {low} to {high}, outside the value range from {self.black} "
                f"to {self.white}; give the range as value_range=(black, white)"
            )

    def chance(self, image):
        """Uniform number that decides whether an image gets the artifact."""
        return generator(self.seed, _fingerprint(image), 0).random()

    def images(self, batch, artifact, masks=None):
        """Plant the artifact into the rows that get one."""
        planted = batch.copy()
        for row in np.flatnonzero(artifact):
            planted[row] = self._plant(batch[row], None if masks is None else masks[row])[0]
        return planted

    def masks(self, batch, artifact, masks=None):
        """Tell where the artifact is."""
        touched = np.zeros((len(batch), *batch.shape[-2:]), dtype=bool)
        for row in np.flatnonzero(artifact):
            touched[row] = self._plant(batch[row], None if masks is None else masks[row])[1]
        return touched

    def _plant(self, image, lungs):
        span = self.white - self.black
        gray = ((image - self.black) / span).astype(np.float32)
        rng = generator(self.seed, _fingerprint(image), 1)
        planted, mask = plant(self.artifact, gray, rng, lungs=None if lungs is None else lungs >= 0.5, **self.look)
        planted = np.clip(planted.astype(np.float64) * span + self.black, self.black, self.white)
        if np.issubdtype(image.dtype, np.integer):
            planted = np.rint(planted)
        return np.where(mask, planted.astype(image.dtype), image), mask


def _fingerprint(image):
    """Number that belongs to the pixels of an image."""
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(image), digest_size=8).digest())


def _as_images(X):
    bunch = X if isinstance(X, ImageBunch) else ImageBunch(X)
    if bunch.signal:
        raise ValueError("X holds signals; artifacts are planted into images")
    if bunch.dtype.kind not in "uif":
        raise ValueError(f"X must hold integers or floating-point numbers, got dtype {bunch.dtype}")
    if min(bunch.shape[-2:]) < 16:
        raise ValueError(f"X must have images of at least 16 x 16 pixels, got {bunch.shape[-2:]}")
    return bunch


def _read_value_range(value_range, dtype):
    """Give black and white."""
    if value_range is not None:
        if len(value_range) != 2 or not all(isinstance(end, Real) for end in value_range):
            raise ValueError(f"value_range must be (black, white), got {value_range!r}")
        black, white = map(float, value_range)
        if not black < white:
            raise ValueError(f"value_range must have black below white, got {value_range!r}")
        return black, white
    if dtype.kind == "f":
        return 0.0, 1.0
    if dtype.name not in ("uint8", "uint16"):
        raise ValueError(f"images of dtype {dtype} have no usual range: give value_range=(black, white)")
    return 0.0, float(np.iinfo(dtype).max)
