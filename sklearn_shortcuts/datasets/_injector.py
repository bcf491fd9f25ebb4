"""Plant artifacts into real images and electrocardiograms, as a transformer."""

from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..images import ImageBunch
from ..images._sources import MappedRows
from ._artifacts import ARTIFACTS, TEXTUAL, WHOLE_IMAGE
from ._planters import ImagePlanter, SignalPlanter, read_rows, read_value_range
from ._seeds import base_seed
from ._shortcut_settings import check_probability, check_text
from ._signal_artifacts import SIGNAL_ARTIFACTS

_BATCH = 64  # rows read at once where the images are not in memory
_SHORTEST_SIGNAL = 2.0  # seconds

# The controlled artifacts of Pahde et al. 2025: settings, and the share of the attacked class that gets them.
_PRESETS = {
    "isic-microscope": {"artifact": "microscope", "probability": 0.2},
    "hyperkvasir-timestamp": {"artifact": "timestamp", "probability": 0.1},
    "chexpert-brightness": {"artifact": "brightness", "probability": 0.1},
    "ptbxl-defective-lead": {"artifact": "lead_noise", "probability": 0.5, "lead": 1, "sampling_rate": 100},
    "ptbxl-amplified-beat": {"artifact": "amplified_beat", "probability": 0.5, "sampling_rate": 100},
}


class ArtifactInjector(TransformerMixin, BaseEstimator):
    """Plant an artifact into images or ECGs, with any probability per class, to make a shortcut whose truth is known.

    :meth:`inject` is the way to make a study: it gives the images with the record of what was planted where.
    ``fit_transform(X, y)`` gives the same images. :meth:`attack` plants into every row, to test what a model makes of
    it. What happens to an image is decided by ``random_state`` and the
    image's own pixels: an image gets the same artifact in whatever batch, order, or fold it comes, and raising
    ``probability`` only adds artifacts. Equal images are treated alike.

    Parameters
    ----------
    artifact : str, default="drain"
        ``"drain"`` (chest tube), ``"pacemaker"``, ``"marker"`` (lead letter), ``"timestamp"`` (burnt-in date),
        ``"microscope"`` (black frame around a disk), ``"patch"`` (constant square), ``"scanner"`` (blur, noise and
        gray-value curve), ``"vignette"`` or ``"brightness"`` (veil of white). The last three change the whole image.
        For electrocardiograms ``"lead_noise"`` (defective lead: its first second is constant at twice the highest value
        of that second) or ``"amplified_beat"`` (all leads are amplified by a triangle of 0.6 seconds around one R peak,
        threefold there).
    probability : float or dict, default=0.5
        Share of images that get the artifact. ``{class: share}`` gives one for each class, and needs the classes: ``y``
        of :meth:`inject` or ``fit_transform``, or the field ``target`` of an
        :class:`~sklearn_shortcuts.images.ImageBunch`.
    target_class : int or str, default=None
        Attack one class only: ``probability`` then is a number, the share of the rows of this class, and other rows
        stay as they are. With several labels per row this is the name of a column of a DataFrame, or its position.
    strength : float, default=1.0
        Opacity of the artifact relative to the usual one, above 0; the gray value is limited to the value range. For
        electrocardiograms a factor of the level, or of the gain beyond 1.
    scale : float, default=1.0
        Size or duration relative to the usual one, above 0; only for artifacts that do not change the whole image.
    text : str, default=None
        What a marker or time stamp says, in ASCII; by default ``"L"`` or ``"R"``, or a date from 2020 to 2022.
    value_range : tuple of float, default=None
        Black and white. By default the range of the data type for uint8 and uint16, and (0, 1) for
        floating point; other data types need it. Not for electrocardiograms, whose integers are only cut off at the
        ends of the range of their data type.
    sampling_rate : float, default=None
        Samples per second of electrocardiograms, which need it.
    lead : int, default=1
        Position of the defective lead; 1 is lead II in the usual order.
    random_state : int, RandomState instance, Generator or None, default=None
        Decides which images get the artifact and how it looks.

    Attributes
    ----------
    seed_ : int
        What was drawn from ``random_state``.
    image_shape_ : tuple of int
        Shape of one image, ``(C, H, W)`` or ``(C, T)``.

    See Also
    --------
    ArtifactTransplant : Plants real artifacts, cut out of other images.
    make_chest_phantoms : Generated radiographs with the same artifacts.
    make_ecg : Generated electrocardiograms with the same artifacts.

    References
    ----------
    .. [1] Pahde, Dreyer, Samek and Lapuschkin (2023). Reveal to Revise: An Explainable AI Life Cycle for Iterative Bias
       Correction of Deep Models. MICCAI (microscope, time stamp and brightness as controlled artifacts).
    .. [2] Pahde, Wiegand, Lapuschkin and Samek (2025). Ensuring Medical AI Safety: Interpretability-Driven Detection
       and Mitigation of Spurious Model Behavior and Associated Data. Machine Learning 114, 206 (defective lead and
       amplified beat as well).

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
        "artifact": [StrOptions({*ARTIFACTS, *SIGNAL_ARTIFACTS})],
        "probability": [Interval(Real, 0, 1, closed="both"), Mapping],
        "target_class": [Integral, str, "boolean", None],
        "strength": [Interval(Real, 0, 10, closed="right")],
        "scale": [Interval(Real, 0, 10, closed="right")],
        "text": [str, None],
        "value_range": [tuple, list, None],
        "sampling_rate": [Interval(Real, 50, 10_000, closed="both"), None],
        "lead": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state", np.random.Generator],
    }

    def __init__(
        self,
        artifact="drain",
        *,
        probability=0.5,
        target_class=None,
        strength=1.0,
        scale=1.0,
        text=None,
        value_range=None,
        sampling_rate=None,
        lead=1,
        random_state=None,
    ):
        self.artifact = artifact
        self.probability = probability
        self.target_class = target_class
        self.strength = strength
        self.scale = scale
        self.text = text
        self.value_range = value_range
        self.sampling_rate = sampling_rate
        self.lead = lead
        self.random_state = random_state

    @classmethod
    def from_preset(cls, preset, target_class, **settings):
        """Make the injector of one of the controlled experiments of Pahde et al. (2025).

        Parameters
        ----------
        preset : str
            Name from the table in the Notes.
        target_class : int or str
            Class whose rows get the artifact; with several labels per row the name or position of its column.
        **settings
            Parameters to set otherwise, such as ``probability``, ``sampling_rate`` or ``random_state``.

        Returns
        -------
        ArtifactInjector
            Not fitted.

        Raises
        ------
        ValueError
            If there is no such preset.

        Notes
        -----
        ======================  =================================================  ======================  ===========
        preset                  artifact                                           published class         probability
        ======================  =================================================  ======================  ===========
        isic-microscope         black outside a centered disk of radius 109 to     melanoma                0.2
                                126 / 224 of the shorter side
        hyperkvasir-timestamp   date and time from 2020 to 2022 in a random        disease                 0.1 (0.5 for
                                corner, tilted by up to 3 degrees, each channel                            transformers)
                                near 10 or 245 of 255
        chexpert-brightness     blend with 20 % of white                           cardiomegaly            0.1
        ptbxl-defective-lead    first second of lead II at twice its highest       left ventricular        0.5
                                value                                              hypertrophy
        ptbxl-amplified-beat    triangular gain of up to 3 around one R peak       left ventricular        0.5
                                                                                   hypertrophy
        ======================  =================================================  ======================  ===========

        The rows of the class get the artifact independently of each other. Lengths scale with the image and times with
        ``sampling_rate``, 100 per second by default. The disk has a soft border of one pixel, radii are not rounded,
        the size of the time stamp does not vary, and its mask is made of the letters, not of their box. The amplified
        beat has a mask here; the published one has none.

        Examples
        --------
        >>> from sklearn_shortcuts.datasets import ArtifactInjector
        >>> injector = ArtifactInjector.from_preset("ptbxl-defective-lead", "LVH", random_state=0)
        >>> injector.artifact, injector.probability, injector.target_class
        ('lead_noise', 0.5, 'LVH')
        """
        if preset not in _PRESETS:
            raise ValueError(f"preset {preset!r} is not known; there are {list(_PRESETS)}")
        return cls(**{**_PRESETS[preset], "target_class": target_class, **settings})

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
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            Images or electrocardiograms.
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
        bunch = self._as_rows(X)
        if self.artifact in WHOLE_IMAGE and self.scale != 1:
            raise ValueError(f"scale has no meaning for artifact={self.artifact!r}, which changes the whole image")
        if self.text is not None and self.artifact not in TEXTUAL:
            raise ValueError(f"text has no meaning for artifact={self.artifact!r}; it is for {' and '.join(TEXTUAL)}")
        check_text(self.text, "text")
        if isinstance(self.probability, Mapping):
            for label, share in self.probability.items():
                check_probability(share, f"probability of class {label!r}")
            if self.target_class is not None:
                raise ValueError("probability has one value per class, which leaves target_class without a meaning")
        if self._is_signal():
            self._check_signals(bunch)
        else:
            read_value_range(self.value_range, bunch.dtype)
        if self.target_class is not None:
            self._check_target_class(bunch.target if y is None and "target" in bunch.fields else y)
        self.image_shape_ = bunch.image_shape
        self.seed_ = base_seed(self.random_state)
        return self

    def transform(self, X):
        """Plant the artifact.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            Images or electrocardiograms. Where the probability depends on the class this must be a bunch with the field
            ``target``.

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
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            Images or electrocardiograms.
        y : array-like of shape (n,) or (n, n_labels), default=None
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
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            Images, gray or with channels, or electrocardiograms.
        y : array-like of shape (n,) or (n, n_labels), default=None
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

    def attack(self, X, y=None, masks=None):
        """Plant the artifact into every row of every class, whatever ``probability`` and ``target_class``.

        The looks are those that :meth:`inject` would give the rows. Accuracy on attacked rows beside that on their
        twins tells what a model makes of the artifact.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            Images or electrocardiograms. Where a bunch has the field ``twin``, as :meth:`inject` gives it, the artifact
            is planted into the twins, so that no row gets it twice; leave the field out to add to what was planted.
        y : array-like of shape (n,) or (n, n_labels), default=None
            Classes, to be kept as the field ``target``.
        masks : array-like of shape (n, H, W), default=None
            As for :meth:`inject`.

        Returns
        -------
        ImageBunch
            As :meth:`inject` gives it, with ``artifact`` 1 everywhere.

        Raises
        ------
        ValueError
            If values lie outside the value range.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_shortcuts.datasets import ArtifactInjector
        >>> X = np.random.default_rng(0).random((20, 64, 64))
        >>> injector = ArtifactInjector("timestamp", random_state=0)
        >>> study = injector.inject(X)
        >>> attacked = injector.attack(study)
        >>> bool((np.asarray(attacked)[study.artifact == 1] == np.asarray(study)[study.artifact == 1]).all())
        True
        """
        check_is_fitted(self)
        bunch = self._as_rows(X)
        if "twin" in bunch.fields:
            bunch = bunch.with_images(bunch.get("twin"))
        return self._plant(bunch, y, masks, shares=np.ones(len(bunch)))

    # -- inside ----------------------------------------------------------------------------------------------------
    def _is_signal(self):
        return self.artifact in SIGNAL_ARTIFACTS

    def _plant(self, X, y, masks, shares=None):
        bunch = self._as_rows(X)
        if bunch.image_shape != self.image_shape_:
            raise ValueError(f"X has images of shape {bunch.image_shape}, but the injector saw {self.image_shape_}")
        if masks is not None:
            bunch = bunch.with_fields(masks=masks)
        if y is not None:
            bunch = bunch.with_fields(target=y)
        shares = self._shares(bunch) if shares is None else shares
        planter = self._planter(bunch.dtype)
        artifact = np.zeros(len(bunch), dtype=np.int64)
        for start in range(0, len(bunch), _BATCH):
            batch = np.asarray(bunch[start : start + _BATCH])
            chances = np.array([planter.chance(image) for image in batch])
            gets = chances < shares[start : start + _BATCH]
            planter.check(batch, start, gets)
            artifact[start : start + _BATCH] = gets
        bunch = bunch.with_fields(artifact=artifact)
        fields = ("artifact", "masks") if "masks" in bunch.fields else ("artifact",)
        images = bunch.map_images(planter.images, fields).images
        spatial = bunch.shape[-1:] if bunch.signal else bunch.shape[-2:]
        touched = MappedRows(bunch, planter.masks, fields, shape=spatial, dtype=bool)
        if isinstance(bunch.images.source, np.ndarray):
            images, touched = np.asarray(images), touched[:]
        return bunch.with_images(images, artifact_masks=touched, twin=bunch.images)

    def _planter(self, dtype):
        look = {"strength": float(self.strength), "scale": float(self.scale)}
        if self._is_signal():
            return SignalPlanter(self.seed_, self.artifact, float(self.sampling_rate), int(self.lead), **look)
        black, white = read_value_range(self.value_range, dtype)
        return ImagePlanter(self.seed_, self.artifact, black, white, text=self.text, **look)

    def _as_rows(self, X):
        return read_rows(X, self._is_signal(), f"artifact={self.artifact!r} is planted into")

    def _check_signals(self, bunch):
        if self.sampling_rate is None:
            raise ValueError(f"artifact={self.artifact!r} needs sampling_rate, the samples per second of X")
        if self.value_range is not None:
            raise ValueError(f"value_range has no meaning for artifact={self.artifact!r}")
        n_leads, length = bunch.image_shape
        shortest = max(_SHORTEST_SIGNAL, float(self.scale)) * self.sampling_rate
        if length < shortest:
            raise ValueError(f"X must have recordings of at least {int(np.ceil(shortest))} samples, got {length}")
        if self.artifact == "lead_noise" and self.lead >= n_leads:
            raise ValueError(f"lead={self.lead}, but X has {n_leads} leads, numbered from 0")

    def _shares(self, bunch):
        """Give the probability of the artifact in each row."""
        by_class = isinstance(self.probability, Mapping)
        if not by_class and self.target_class is None:
            return np.full(len(bunch), float(self.probability))
        if "target" not in bunch.fields:
            what = "probability has one value per class" if by_class else f"target_class={self.target_class!r}"
            raise ValueError(
                f"{what}, so the classes are needed: pass y to inject or fit_transform, or an ImageBunch with the "
                "field target, or give probability as one number"
            )
        labels = bunch.get("target")
        target = np.asarray(labels)
        missing = np.flatnonzero(pd.isna(target).reshape(len(target), -1).any(axis=1))
        if len(missing):
            raise ValueError(
                f"y: row {missing[0]} has no class ({len(missing)} such rows); leave these rows out, or give "
                "probability as one number"
            )
        if not by_class:
            return np.where(self._is_attacked(labels, target), float(self.probability), 0.0)
        if target.ndim != 1:
            raise ValueError(
                f"y must have shape (n,) to choose probabilities by class, got {target.shape}; of several labels "
                "attack one by target_class"
            )
        unknown = [label for label in np.unique(target).tolist() if label not in self.probability]
        if unknown:
            raise ValueError(f"probability has no value for class {unknown[0]!r}; it has {list(self.probability)}")
        return np.array([float(self.probability[label]) for label in target.tolist()])

    def _check_target_class(self, y):
        """Refuse a class that a whole study does not have; a batch of it may lack the class."""
        if y is not None and np.ndim(y) == 1:
            known = pd.unique(pd.Series(np.asarray(y))).tolist()
            if self.target_class not in known:
                raise ValueError(f"target_class={self.target_class!r} is not among the classes of y, {known[:10]}")

    def _is_attacked(self, labels, target):
        """Tell which rows are of the attacked class."""
        if target.ndim == 1:
            return target == self.target_class
        names = list(labels.columns) if hasattr(labels, "columns") else list(range(target.shape[1]))
        if self.target_class not in names:
            raise ValueError(f"target_class={self.target_class!r} is not among the labels of y, {names[:10]}")
        return target[:, names.index(self.target_class)] == 1
