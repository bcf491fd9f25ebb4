"""Studies of generated chest radiographs in which the truth is known: where the sign is, and the shortcut."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real

import cv2
import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ._anatomy import Exposure, Patient, draw_radiograph
from ._artifacts import ARTIFACTS, TEXTUAL, WHOLE_IMAGE, plant
from ._seeds import base_seed, generator, stratified_uniform
from ._shortcut_settings import describe_row, make_truthful_bunch, read_contrasts, read_shortcuts

# What a row draws comes from separate streams, so that no draw can depend on the label.
_LABEL, _PATIENT, _EXPOSURE, _SIGN, _NOISE, _SHORTCUT = range(6)
# A patient keeps these from image to image; the other shortcuts are drawn anew for every image.
_OF_PATIENT = ("age", "pacemaker")
_CONTRAST = {"opacity": 0.15, "pneumothorax": 0.05}
_SETTINGS = {
    "age": ("strength",),
    **dict.fromkeys(TEXTUAL, ("strength", "scale", "text")),
    **dict.fromkeys(WHOLE_IMAGE, ("strength",)),
}
_SHORTCUTS = {name: _SETTINGS.get(name, ("strength", "scale")) for name in ("age", *ARTIFACTS)}


@validate_params(
    {
        "n": [Interval(Integral, 1, None, closed="left")],
        "size": [Interval(Integral, 32, 2048, closed="both")],
        "sign": [StrOptions({"opacity", "pneumothorax"})],
        "sign_contrast": [Interval(Real, 0, 1, closed="both"), "array-like", None],
        "class_balance": [Interval(Real, 0, 1, closed="both")],
        "shortcut": [None, str, list, tuple, Mapping],
        "prevalence": [Interval(Real, 0, 1, closed="both"), Mapping],
        "images_per_patient": [Interval(Integral, 1, None, closed="left")],
        "twins": ["boolean"],
        "random_state": ["random_state", np.random.Generator],
        "return_X_y": ["boolean"],
        "dtype": "no_validation",
    },
    prefer_skip_nested_validation=True,
)
def make_chest_phantoms(
    n=200,
    *,
    size=64,
    sign="opacity",
    sign_contrast=None,
    class_balance=0.5,
    shortcut=None,
    prevalence=0.95,
    images_per_patient=1,
    twins=False,
    random_state=None,
    return_X_y=False,
    dtype="float32",
):
    """Generate chest radiographs with a true sign in the lungs and, on request, shortcuts that go with the label.

    The radiographs have lungs, heart, ribs, spine, shoulders, and vessels of varying anatomy, position and exposure,
    and quantum noise. Without a shortcut nothing outside the lungs depends on the label, and neither does the shape of
    the lungs: whatever a classifier finds on images without lungs, it owes to the shortcut. Every row draws from
    generators of its own, so that row ``i`` of a seed is the same whatever ``n`` is.

    Parameters
    ----------
    n : int, default=200
        Number of images.
    size : int, default=64
        Image side in pixels, from 32 to 2048.
    sign : {"opacity", "pneumothorax"}, default="opacity"
        What positive rows show inside the lungs: soft bright patches, or a fine pleural line with an empty, slightly
        darker space between it and the chest wall.
    sign_contrast : float or array-like of float, default=None
        Height of the sign in gray values, where the range from black to white is 1. From several values each patient
        draws one, recorded in ``truth``: studies with easy and hard cases. 0 hides the sign. By default 0.15 for
        an opacity and 0.05 for a pneumothorax, at which a small network trained on 500 images is good, not perfect.
    class_balance : float, default=0.5
        Probability that a patient has the sign. Labels are drawn in strata, so that the share in every four patients
        is close to it.
    shortcut : str, list of str or dict, default=None
        Shortcuts to plant: ``"drain"`` (chest tube, which always can be seen outside the lungs too), ``"marker"``
        (lead letter in a corner), ``"pacemaker"`` (generator and lead), ``"age"`` (a child's proportions, size and
        growth plates), ``"scanner"`` (blur, noise and gray-value curve), ``"vignette"``, ``"brightness"``,
        ``"timestamp"``, ``"microscope"`` (black frame) and ``"patch"`` (constant square). A dict gives settings, such
        as ``{"marker": {"text": "PORTABLE", "scale": 1.5, "prevalence": 0.8}}``: ``strength`` (opacity relative to
        the usual one), ``scale`` (size, for shortcuts that have one), ``text`` (marker, timestamp), ``prevalence``.
        The blur of ``"scanner"`` carries a trace of the sign a pixel beyond the lungs.
    prevalence : float or dict, default=0.95
        How closely shortcuts go with the label. A number p: rows with the sign have the shortcut with probability p,
        rows without it with 1 - p, hence 0.5 is no association. ``{0: p0, 1: p1}`` gives both probabilities.
    images_per_patient : int, default=1
        Images of one patient stand in consecutive rows and share anatomy, sign and, if they have any, age and
        pacemaker; position, exposure, noise and other shortcuts vary.
    twins : bool, default=False
        Also give each image without its shortcuts, as field ``twin``: outside ``artifact_masks`` it is identical.
        With ``"age"``, whose twins are adults with other lungs, their lungs come as field ``twin_masks``.
    random_state : int, RandomState instance, Generator or None, default=None
        Decides everything; an integer makes the study reproducible.
    return_X_y : bool, default=False
        Give ``(bunch, target)`` instead of the bunch.
    dtype : {"float32", "float64", "uint8", "uint16"}, default="float32"
        Data type. Floating-point images range from 0 to 1, integer ones over the range of the type.

    Returns
    -------
    bunch : ImageBunch of shape (n, size, size)
        With ``target`` (1 for the sign), ``masks`` (the lungs), ``sign_masks`` (the sign), ``artifact`` (1 if any
        shortcut was planted), ``artifact_masks`` (where; everywhere for those that concern the whole image),
        ``groups`` (patients) and, with ``twins``, ``twin``. The table ``metadata`` has what a hospital would know:
        ``patient_id``, ``age`` in years and ``sex``. The table ``truth`` has what only the generator knows: ``sign``,
        ``sign_contrast``, ``sign_side`` (in the image), ``shortcut``, one 0/1 column per shortcut (``child`` for
        ``"age"``), and ``subgroup``, such as ``"sign with drain"``.
    y : ndarray of int of shape (n,)
        The target, with ``return_X_y=True``.

    Raises
    ------
    ValueError
        If an argument is out of its range, or a shortcut or one of its settings is not known.

    See Also
    --------
    ArtifactInjector : Plant the same artifacts into images of your own.
    make_ecg : The same for electrocardiograms.

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import make_chest_phantoms
    >>> study = make_chest_phantoms(40, shortcut="drain", prevalence=0.9, random_state=0)
    >>> study.shape, float(study.target.mean())
    ((40, 64, 64), 0.5)
    >>> outside = study.artifact_masks & ~study.masks
    >>> bool(outside[study.artifact == 1].any(axis=(1, 2)).all())
    True
    """
    convert = _Converter(dtype)
    contrasts = read_contrasts(sign_contrast, _CONTRAST[sign])
    shortcuts = read_shortcuts(shortcut, prevalence, _SHORTCUTS)
    seed = base_seed(random_state)
    draw_sign = _opacity if sign == "opacity" else _pneumothorax
    has_age = any(item.name == "age" for item in shortcuts)

    images = np.empty((n, size, size), convert.dtype)
    fields = {name: np.zeros((n, size, size), bool) for name in ("masks", "sign_masks", "artifact_masks")}
    if twins:
        fields["twin"] = np.empty_like(images)
        if has_age:
            fields["twin_masks"] = np.zeros((n, size, size), bool)
    known, truth, target = [], [], np.empty(n, dtype=np.int64)
    patient = None
    for row in range(n):
        number = row // images_per_patient
        if patient is None or patient.number != number:
            patient = _Case.draw(seed, number, class_balance, contrasts)
        places = {item.name: number if item.name in _OF_PATIENT else row for item in shortcuts}
        present = [item for item in shortcuts if item.is_present(seed, _SHORTCUT, places[item.name], patient.label)]
        shot = _Shot(patient, seed, row, size, draw_sign)
        child = next((min(item.strength, 1.0) for item in present if item.name == "age"), 0.0)
        gray, lungs, where = shot.take(child)
        fields["masks"][row], fields["sign_masks"][row] = lungs, where
        if twins:
            plain, plain_lungs = (gray, lungs) if child == 0 else shot.take(0.0)[:2]
            fields["twin"][row] = convert(plain)
            if has_age:
                fields["twin_masks"][row] = plain_lungs
        fields["artifact_masks"][row] = child > 0
        for item in present:
            if item.name != "age":
                rng = item.generator(seed, _SHORTCUT, places[item.name])
                gray, touched = plant(
                    item.name, gray, rng, lungs=lungs, strength=item.strength, scale=item.scale, text=item.text
                )
                fields["artifact_masks"][row] |= touched
        images[row] = convert(gray)
        target[row] = patient.label
        known.append(
            {
                "patient_id": f"P{number:06d}",
                "age": patient.child_age if child > 0 else patient.age,
                "sex": "F" if patient.female else "M",
            }
        )
        side = shot.side if patient.label else "none"
        truth.append(describe_row(patient.label, sign, patient.contrast, present, shortcuts, sign_side=side))
    bunch = make_truthful_bunch(images, target, known, truth, **fields)
    return (bunch, target) if return_X_y else bunch


@dataclass(frozen=True)
class _Case:
    """A patient with a label."""

    number: int
    label: int
    contrast: float
    anatomy: Patient
    age: float
    child_age: float
    female: bool

    @classmethod
    def draw(cls, seed, number, class_balance, contrasts):
        label = int(stratified_uniform(seed, _LABEL, number) < class_balance)
        contrast = contrasts[generator(seed, _SIGN, 0, number).integers(len(contrasts))]
        rng = generator(seed, _PATIENT, number)
        female = bool(rng.random() < 0.5)
        age, child_age = float(rng.integers(20, 91)), float(rng.integers(1, 9))
        return cls(number, label, contrast, Patient.draw(rng, female), age, child_age, female)


class _Shot:
    """One image of a patient, which can be taken of the patient as an adult and as a child."""

    def __init__(self, case, seed, row, size, draw_sign):
        self.case, self.size, self.draw_sign = case, size, draw_sign
        self.exposure = Exposure.draw(generator(seed, _EXPOSURE, row))
        self.noise = generator(seed, _NOISE, row).standard_normal((size, size), dtype=np.float32)
        self.sign_place = (seed, _SIGN, 1, case.number)
        self.side = ("left", "right")[generator(*self.sign_place).integers(2)]

    def take(self, child):
        """Give the image, its lungs and where the sign is."""
        picture = draw_radiograph(self.case.anatomy, self.exposure, self.size, child)
        gray, where = picture.gray + picture.vessels, np.zeros_like(picture.lungs)
        if self.case.label:
            changed, shape = self.draw_sign(picture, generator(*self.sign_place), self.case.contrast)
            # Nothing of the sign may leave the lungs, not even half a gray value.
            gray = np.where(picture.lungs, changed, gray)
            where = picture.lungs & shape
        # Noise follows the image without the sign: it grows where little radiation arrives.
        gray = gray + (0.010 + 0.018 * picture.gray) * self.noise
        return np.clip(gray, 0, 1, dtype=np.float32), picture.lungs, where


def _opacity(picture, rng, contrast):
    """Soft patches, denser in the middle, with cloudy borders."""
    inside, _, across, up = picture.sides[rng.integers(2)]
    clouds = cv2.resize(
        rng.standard_normal((10, 10), dtype=np.float32), picture.x.shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    patch = np.zeros_like(picture.x)
    goal = rng.uniform(0.45, 0.75), rng.uniform(0.18, 0.68)
    for index in range(2):
        distance = np.where(inside, np.square(across - goal[0]) + np.square(up - goal[1]), np.inf)
        center = np.unravel_index(np.argmin(distance), distance.shape)
        radius = rng.uniform(0.13, 0.20) * (1 - 0.35 * index)
        offset_x, offset_y = picture.x - picture.x[center], picture.y - picture.y[center]
        reach = np.hypot(offset_x, offset_y) / radius
        # A cloud thin enough to turn the sign would let the patch grow without bounds far from its center.
        patch = np.maximum(patch, np.exp(-np.square(reach) * np.maximum(1 + 0.25 * clouds, 0.2)))
        goal = goal[0] + rng.uniform(-0.2, 0.2), goal[1] + rng.uniform(-0.15, 0.15)
    patch *= np.clip(picture.depth / 0.05, 0, 1)
    return picture.gray + picture.vessels + contrast * patch, patch > 0.2


def _pneumothorax(picture, rng, contrast):
    """Pleural line, and beyond it a darker space without vessels."""
    inside, lateral, _, up = picture.sides[rng.integers(2)]
    thickness = rng.uniform(0.07, 0.22)
    start = rng.uniform(0.0, 0.35)
    line = thickness * (0.25 + 0.75 * np.clip((up - start) / (0.9 - start), 0, 1))
    fade = np.clip((up - start) / 0.1, 0, 1)
    width = np.float32(max(0.014, 1.1 / picture.x.shape[0]))
    beyond = inside * np.clip((line - lateral) / width + 0.5, 0, 1) * fade
    pleura = inside * np.exp(-np.square((lateral - line) / width)) * fade
    edge = np.clip(picture.depth / 0.02, 0, 1)
    height = contrast * edge * (pleura - 0.6 * beyond * (1 - pleura))
    # The vessels leave with the line: at no contrast the image is that of a healthy patient.
    missing = min(1.0, contrast / _CONTRAST["pneumothorax"]) * beyond
    changed = picture.gray + picture.vessels * (1 - missing) + height
    return changed, (beyond > 0.5) | (pleura > 0.3)


class _Converter:
    """Convert gray values from 0 to 1 to a data type."""

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)
        if self.dtype.name not in ("float32", "float64", "uint8", "uint16"):
            raise ValueError(f"dtype must be float32, float64, uint8 or uint16, got {self.dtype.name}")

    def __call__(self, gray):
        if self.dtype.kind == "f":
            return gray
        return np.rint(gray * np.iinfo(self.dtype).max)
