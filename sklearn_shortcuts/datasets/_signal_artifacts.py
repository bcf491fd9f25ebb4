"""Artifacts that can be planted into an electrocardiogram: what each of them draws.

All work on one recording ``(C, T)`` and say when they are there, ``(T,)``; outside that time nothing changes.
"""

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

SIGNAL_ARTIFACTS = ("lead_noise", "amplified_beat")
_BEAT_REACH = 0.3  # seconds from the R peak to the end of the triangle
_SHORTEST_RR = 0.27  # seconds between beats at 220 per minute


def lead_noise(signal, rng, time, lead, *, strength=1.0, scale=1.0, noise=0.0):
    """Replace the beginning of one lead by twice its highest value there.

    Parameters
    ----------
    signal : ndarray of shape (C, T)
        Recording.
    rng : numpy.random.Generator
        Draws the noise.
    time : ndarray of shape (T,)
        Seconds.
    lead : int
        Defective lead.
    strength : float, default=1.0
        Factor of the level.
    scale : float, default=1.0
        Duration in seconds.
    noise : float, default=0.0
        Standard deviation of white noise on the level, in the unit of the signal.

    Returns
    -------
    planted : ndarray of shape (C, T)
        Recording with the artifact.
    touched : ndarray of bool of shape (T,)
        When it is there.
    """
    touched = time < scale
    planted = signal.copy()
    level = 2 * signal[lead, touched].max()
    if noise:
        level = level + noise * rng.standard_normal(touched.sum())
    planted[lead, touched] = strength * level
    return planted, touched


def amplified_beat(signal, rng, time, beats, *, strength=1.0, scale=1.0):
    """Amplify all leads around one beat, by a triangle that is threefold at its R peak.

    Parameters
    ----------
    signal : ndarray of shape (C, T)
        Recording.
    rng : numpy.random.Generator
        Chooses the beat, among those whose triangle fits in if there are any.
    time : ndarray of shape (T,)
        Seconds.
    beats : ndarray of shape (n_beats,)
        R peaks in seconds, at least one.
    strength : float, default=1.0
        Factor of the amplification beyond 1: the gain at the R peak is ``1 + 2 * strength``.
    scale : float, default=1.0
        Factor of the width; the usual triangle has a base of 0.6 seconds.

    Returns
    -------
    planted : ndarray of shape (C, T)
        Recording with the artifact.
    touched : ndarray of bool of shape (T,)
        When it is there.
    """
    reach = _BEAT_REACH * scale
    inside = beats[(beats > reach) & (beats < time[-1] - reach)]
    gain = np.clip(1 - np.abs(time - rng.choice(inside if len(inside) else beats)) / reach, 0, None)
    touched = gain > 1e-9  # not where rounding alone makes it positive
    return np.where(touched, signal * (1 + 2 * strength * gain), signal).astype(signal.dtype), touched


def mains_hum(signal, rng, time, *, strength=1.0):
    """Add 50 Hz, or 0.4 times the sampling rate if that is less, to all leads.

    Parameters
    ----------
    signal : ndarray of shape (C, T)
        Recording in millivolt.
    rng : numpy.random.Generator
        Draws phase and gains.
    time : ndarray of shape (T,)
        Seconds.
    strength : float, default=1.0
        Factor of the usual amplitude of 0.06 millivolt.

    Returns
    -------
    planted : ndarray of shape (C, T)
        Recording with the artifact.
    touched : ndarray of bool of shape (T,)
        When it is there: always.
    """
    frequency = min(50.0, 0.4 / (time[1] - time[0]))
    hum = 0.06 * strength * np.sin(2 * np.pi * frequency * time + rng.uniform(0, 2 * np.pi))
    gain = rng.uniform(0.6, 1.4, (len(signal), 1))
    return (signal + gain * hum).astype(signal.dtype), np.ones(len(time), bool)


def find_r_peaks(signal, sampling_rate):
    """Find the R peaks of a recording, where all leads together change fastest.

    Parameters
    ----------
    signal : ndarray of shape (C, T)
        Recording of any unit and number of leads.
    sampling_rate : float
        Samples per second.

    Returns
    -------
    ndarray of int of shape (n_beats,)
        Samples of the R peaks in order; none in a flat recording.
    """
    signal = np.asarray(signal, dtype=np.float64)
    slope = np.square(np.gradient(signal, axis=-1))
    envelope = uniform_filter1d(slope, max(1, round(0.08 * sampling_rate)), axis=-1)
    # Each lead counts alike: a step in a defective one then does not hide the beats of the others.
    usual = np.quantile(envelope, 0.98, axis=-1)
    moving = usual > 0
    if not moving.any():
        return np.zeros(0, dtype=np.int64)
    common = np.minimum(envelope[moving] / usual[moving, None], 2).mean(axis=0)
    peaks, _ = find_peaks(common, height=0.35, distance=max(1, round(_SHORTEST_RR * sampling_rate)))
    # The envelope is widest around the QRS complex; the R peak is its largest deflection.
    deflection = np.abs(signal[moving] - np.median(signal[moving], axis=-1, keepdims=True))
    deflection = (deflection / np.sqrt(usual[moving, None])).sum(axis=0)
    reach = max(1, round(0.06 * sampling_rate))
    refined = [
        max(0, peak - reach) + int(deflection[max(0, peak - reach) : peak + reach + 1].argmax()) for peak in peaks
    ]
    return np.unique(np.array(refined, dtype=np.int64))
