"""Electrocardiograms from a model, in which the true sign and the shortcut are known."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ._seeds import base_seed, generator, stratified_uniform
from ._shortcut_settings import describe_row, make_truthful_bunch, read_contrasts, read_shortcuts
from ._signal_artifacts import amplified_beat, lead_noise, mains_hum

# Each wave is a Gaussian: time from the R peak in ms, width in ms, and its electrical axis (left, down, front) in mV.
_WAVES = {
    "P": (-165, 22, (0.07, 0.11, 0.02)),
    "Q": (-26, 9, (-0.13, -0.06, 0.10)),
    "R": (0, 11, (0.80, 0.95, -0.15)),
    "S": (27, 11, (0.02, -0.16, -0.62)),
    "T": (262, 44, (0.22, 0.24, 0.06)),
}
# Directions in which I, II, III, aVR, aVL, aVF and V1 to V6 look: the chest leads turn from the right to the left.
_CHEST_ANGLES = np.deg2rad([115, 92, 72, 55, 30, 5])
_DIRECTIONS = np.array(
    [(1, 0, 0), (0.5, 0.87, 0), (-0.5, 0.87, 0), (-0.75, -0.43, 0), (0.75, -0.43, 0), (0, 0.87, 0)]
    + [(np.cos(angle), 0.15, np.sin(angle)) for angle in _CHEST_ANGLES]
)
_CHEST_GAIN = np.array([1, 1, 1, 1, 1, 1, 0.9, 1.2, 1.3, 1.4, 1.2, 1.0])


class _Sign(NamedTuple):
    """A sign: its usual height in mV, its variation in all patients, and start and stop in ms from the R peak."""

    contrast: float
    variation: float
    start: float
    stop: float


_SIGNS = {
    "st_elevation": _Sign(0.10, 0.04, 50, 230),
    "t_inversion": _Sign(0.25, 0.10, 150, 380),
    "wide_qrs": _Sign(0.25, 0.10, -90, 110),
}
_SHORTCUTS = dict.fromkeys(("lead_noise", "amplified_beat", "mains_hum"), ("strength",))
_LABEL, _PATIENT, _RECORDING, _SIGN, _SHORTCUT = range(5)


@validate_params(
    {
        "n": [Interval(Integral, 1, None, closed="left")],
        "n_leads": [Interval(Integral, 1, 12, closed="both")],
        "length": [Interval(Integral, 1, None, closed="left")],
        "sampling_rate": [Interval(Real, 50, 10_000, closed="both")],
        "sign": [StrOptions(set(_SIGNS))],
        "sign_contrast": [Interval(Real, 0, 1, closed="both"), "array-like", None],
        "class_balance": [Interval(Real, 0, 1, closed="both")],
        "shortcut": [None, str, list, tuple, Mapping],
        "prevalence": [Interval(Real, 0, 1, closed="both"), Mapping],
        "recordings_per_patient": [Interval(Integral, 1, None, closed="left")],
        "twins": ["boolean"],
        "random_state": ["random_state", np.random.Generator],
        "return_X_y": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def make_ecg(
    n=200,
    *,
    n_leads=12,
    length=1000,
    sampling_rate=100,
    sign="st_elevation",
    sign_contrast=None,
    class_balance=0.5,
    shortcut=None,
    prevalence=0.95,
    recordings_per_patient=1,
    twins=False,
    random_state=None,
    return_X_y=False,
):
    """Generate electrocardiograms with a true sign around each beat and, on request, shortcuts that go with the label.

    Each beat is a sum of Gaussian waves P, Q, R, S and T with an electrical axis in space, which the leads project;
    heart rate, its variation with breathing and from beat to beat, axis, wave heights, baseline wander, and noise vary.
    Einthoven's law holds between the limb leads. Without a shortcut nothing outside ``masks`` depends on the label.
    Every row draws from generators of its own, so that row ``i`` of a seed is the same whatever ``n`` is.

    Parameters
    ----------
    n : int, default=200
        Number of recordings.
    n_leads : int, default=12
        How many of I, II, III, aVR, aVL, aVF, V1, ..., V6 to give, from the first on.
    length : int, default=1000
        Samples per recording; at least two seconds.
    sampling_rate : float, default=100
        Samples per second, at least 50.
    sign : {"st_elevation", "t_inversion", "wide_qrs"}, default="st_elevation"
        What positive rows show in every beat: a raised ST segment in the anterior or inferior leads (lowered in the
        opposite ones), a T wave pulled down, or a widened QRS complex.
    sign_contrast : float or array-like of float, default=None
        Largest change in millivolt in the lead that shows it best, from 0 to 1. From several values each patient draws
        one, recorded in ``truth``. By default 0.1, 0.25 and 0.25 in the order of ``sign``. The same segment varies
        in all patients, with a standard deviation of 0.04, 0.1 and 0.1 millivolt, so that no classifier is perfect.
    class_balance : float, default=0.5
        Probability that a patient has the sign. Labels are drawn in strata, so that the share in every four patients
        is close to it.
    shortcut : str, list of str or dict, default=None
        Shortcuts to plant: ``"lead_noise"`` (lead II is defective during the first second: twice the highest value of
        that second, and noise), ``"amplified_beat"`` (all leads are amplified around one beat, up to threefold at its
        R peak) and ``"mains_hum"`` (50 Hz, or 0.4 times the sampling rate if that is less, in all leads). A dict gives
        settings, such as ``{"mains_hum": {"strength": 0.5, "prevalence": 0.8}}``.
    prevalence : float or dict, default=0.95
        How closely shortcuts go with the label. A number p: rows with the sign have the shortcut with probability p,
        rows without it with 1 - p. ``{0: p0, 1: p1}`` gives both probabilities.
    recordings_per_patient : int, default=1
        Recordings of one patient stand in consecutive rows and share the shape of the beats and the sign.
    twins : bool, default=False
        Also give each recording without its shortcuts, as field ``twin``: outside ``artifact_masks`` it is identical.
    random_state : int, RandomState instance, Generator or None, default=None
        Decides everything; an integer makes the study reproducible.
    return_X_y : bool, default=False
        Give ``(bunch, target)`` instead of the bunch.

    Returns
    -------
    bunch : ImageBunch of shape (n, n_leads, length), dtype float32
        Signals in millivolt, with ``target`` (1 for the sign), ``masks`` of shape (n, length) (the part of each beat in
        which the sign sits or would sit), ``artifact`` (1 if any shortcut was planted), ``artifact_masks`` (when),
        ``groups`` (patients) and, with ``twins``, ``twin``. The table ``metadata`` has what a hospital would know:
        ``patient_id`` and ``heart_rate`` (per minute). The table ``truth`` has what only the generator knows: ``sign``,
        ``sign_contrast``, ``shortcut``, one 0/1 column per shortcut, and ``subgroup``.
    y : ndarray of int of shape (n,)
        The target, with ``return_X_y=True``.

    Raises
    ------
    ValueError
        If an argument is out of its range, or a shortcut or one of its settings is not known.

    See Also
    --------
    make_chest_phantoms : The same for chest radiographs.

    References
    ----------
    P. E. McSharry, G. D. Clifford, L. Tarassenko, L. A. Smith. A dynamical model for generating synthetic
    electrocardiogram signals. IEEE Transactions on Biomedical Engineering 50(3), 2003 (beats as sums of Gaussians).

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import make_ecg
    >>> study = make_ecg(8, shortcut="lead_noise", random_state=0)
    >>> study.shape, study.image_shape
    ((8, 12, 1000), (12, 1000))
    """
    if length < 2 * sampling_rate:
        raise ValueError(
            f"length must be at least two seconds, {int(np.ceil(2 * sampling_rate))} samples; got {length}"
        )
    contrasts = read_contrasts(sign_contrast, _SIGNS[sign].contrast)
    shortcuts = read_shortcuts(shortcut, prevalence, _SHORTCUTS)
    seed = base_seed(random_state)
    time = np.arange(length) / sampling_rate

    signals = np.empty((n, n_leads, length), np.float32)
    fields = {name: np.zeros((n, length), bool) for name in ("masks", "artifact_masks")}
    if twins:
        fields["twin"] = np.empty_like(signals)
    known, truth, target = [], [], np.empty(n, dtype=np.int64)
    for row in range(n):
        number = row // recordings_per_patient
        label = int(stratified_uniform(seed, _LABEL, number) < class_balance)
        contrast = contrasts[generator(seed, _SIGN, 0, number).integers(len(contrasts))]
        heart = _Heart(generator(seed, _PATIENT, number))
        recording = _Recording(heart, generator(seed, _RECORDING, row), time)
        rng = generator(seed, _SIGN, 1, number)
        height = _SIGNS[sign].variation * rng.standard_normal() + contrast * label
        fields["masks"][row], change = recording.change(sign, rng)
        signal = (recording.signal() + np.float32(height) * change)[:n_leads]
        if twins:
            fields["twin"][row] = signal
        present = [item for item in shortcuts if item.is_present(seed, _SHORTCUT, row, label)]
        for item in present:
            rng = item.generator(seed, _SHORTCUT, row)
            signal, touched = _PLANT[item.name](signal, rng, item.strength, time, recording.beats)
            fields["artifact_masks"][row] |= touched
        signals[row] = signal
        target[row] = label
        heart_rate = round(60 / float(np.diff(recording.beats).mean()), 1)
        known.append({"patient_id": f"P{number:06d}", "heart_rate": heart_rate})
        truth.append(describe_row(label, sign, contrast, present, shortcuts))
    bunch = make_truthful_bunch(signals, target, known, truth, signal=True, **fields)
    return (bunch, target) if return_X_y else bunch


class _Heart:
    """What stays the same from one recording of a patient to the next."""

    def __init__(self, rng):
        self.period = 60 / rng.uniform(52, 98)
        turn = np.deg2rad(rng.uniform(-28, 28))
        cos, sin = np.cos(turn), np.sin(turn)
        rotation = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        self.axes = {name: axis @ rotation * rng.uniform(0.75, 1.25) for name, (_, _, axis) in _WAVES.items()}
        self.widths = {name: width * rng.uniform(0.9, 1.1) for name, (_, width, _) in _WAVES.items()}
        self.chest_gain = _CHEST_GAIN * np.where(np.arange(12) < 6, 1, rng.uniform(0.85, 1.15, 12))


class _Recording:
    """One recording: when the heart beats, and what disturbs it."""

    def __init__(self, heart, rng, time):
        self.heart, self.rng, self.time = heart, rng, time
        breathing = rng.uniform(0.2, 0.32), rng.uniform(0, 2 * np.pi)
        self.breathing = np.sin(2 * np.pi * breathing[0] * time + breathing[1])
        period = heart.period * rng.uniform(0.93, 1.07)
        # Beats start before and end after the recording, so that its borders are like the rest.
        beat, beats = -period * rng.uniform(0.5, 1.5), []
        while beat < time[-1] + 2 * period:
            beats.append(beat)
            swing = 0.04 * np.sin(2 * np.pi * breathing[0] * beat + breathing[1])
            beat += period * (1 + swing + 0.015 * np.clip(rng.standard_normal(), -3, 3))
        self.beats = np.array(beats)
        self.stretch = np.sqrt(np.clip(np.gradient(self.beats), 0.4, 1.5))  # the T wave comes later in slow rhythms

    def waves(self, names, widen=1.0):
        """Sum of some waves in all leads, without noise."""
        total = np.zeros((12, len(self.time)))
        for name in names:
            offset, _, _ = _WAVES[name]
            late = self.stretch if name == "T" else np.ones(len(self.beats))
            center = self.beats + offset * 1e-3 * late * widen
            width = self.heart.widths[name] * 1e-3 * late * widen
            shape = np.exp(-0.5 * np.square((self.time - center[:, None]) / width[:, None])).sum(axis=0)
            total += np.outer(_project(self.heart.axes[name]) * self.heart.chest_gain, shape)
        return total

    def signal(self):
        """The recording of a healthy heart in millivolt."""
        clean = self.waves(_WAVES)
        n = len(self.time)
        drift = np.zeros((12, n))
        for frequency in (0.07, 0.15, 0.4):
            phase = self.rng.uniform(0, 2 * np.pi, (12, 1))
            drift += 0.04 * self.rng.standard_normal((12, 1)) * np.sin(2 * np.pi * frequency * self.time + phase)
        drift += 0.04 * self.rng.standard_normal((12, 1)) * self.breathing
        noisy = clean * (1 + 0.04 * self.breathing) + drift + 0.018 * self.rng.standard_normal((12, n))
        # A recorder measures leads I and II and computes the other limb leads.
        one, two = noisy[0], noisy[1]
        noisy[2:6] = two - one, -(one + two) / 2, one - two / 2, two - one / 2
        return noisy.astype(np.float32)

    def change(self, sign, rng):
        """Where the sign sits, and what one millivolt of it adds there; nothing elsewhere."""
        start, stop = _SIGNS[sign].start * 1e-3, _SIGNS[sign].stop * 1e-3
        since = (self.time - self.beats[:, None]) / (self.stretch[:, None] if sign != "wide_qrs" else 1.0)
        window = np.clip(np.minimum(since - start, stop - since) / 0.04, 0, 1).max(axis=0)
        if sign == "st_elevation":
            injury = np.array([(0.15, 0.1, 1.0), (-0.35, 1.0, 0.1)][rng.integers(2)])
            change = np.outer(_project(injury) * self.heart.chest_gain, np.ones(len(self.time)))
        elif sign == "t_inversion":
            change = -self.waves(["T"])
        else:
            change = self.waves("QRS", widen=1.9) - self.waves("QRS")
        change *= window
        return window > 0, (change / np.abs(change).max()).astype(np.float32)


def _project(axis):
    """Height of a wave with an electrical axis in each of the leads."""
    return _DIRECTIONS @ np.asarray(axis)


def _lead_noise(signal, rng, strength, time, _beats):
    return lead_noise(signal, rng, time, min(1, len(signal) - 1), strength=strength, noise=0.1)


def _amplified_beat(signal, rng, strength, time, beats):
    return amplified_beat(signal, rng, time, beats, strength=strength)


def _mains_hum(signal, rng, strength, time, _beats):
    return mains_hum(signal, rng, time, strength=strength)


_PLANT = {"lead_noise": _lead_noise, "amplified_beat": _amplified_beat, "mains_hum": _mains_hum}
