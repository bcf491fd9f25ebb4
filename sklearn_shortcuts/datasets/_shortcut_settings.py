"""What all generated studies share: the shortcuts they have, how often each class has them, and how rows are told."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np
import pandas as pd

from ..images import ImageBunch
from ._seeds import generator


@dataclass(frozen=True)
class Shortcut:
    """One shortcut: its settings, and the probability of it in rows without and with the sign."""

    name: str
    prevalence: tuple
    strength: float = 1.0
    scale: float = 1.0
    text: str | None = None

    def is_present(self, seed, stream, place, label):
        """Decide whether a row has the shortcut: ``place`` is the number of the row or patient."""
        return bool(self._generator(seed, stream, 0, place).random() < self.prevalence[label])

    def generator(self, seed, stream, place):
        """Give the generator that draws how the shortcut looks."""
        return self._generator(seed, stream, 1, place)

    def _generator(self, seed, stream, use, place):
        # Numbered by name: what a shortcut draws does not depend on which others there are.
        return generator(seed, stream, zlib.crc32(self.name.encode()), use, place)


def read_shortcuts(shortcut, prevalence, allowed):
    """Read the arguments ``shortcut`` and ``prevalence``.

    Parameters
    ----------
    shortcut : str, list of str, dict or None
        Names, or names with settings.
    prevalence : float or dict
        Probability for shortcuts that bring none of their own.
    allowed : dict of str to tuple of str
        Names with the settings that each of them has.

    Returns
    -------
    list of Shortcut
        In the order of ``allowed``, whatever the order given.
    """
    default = _read_prevalence(prevalence, "prevalence")
    if shortcut is None:
        return []
    if isinstance(shortcut, str):
        shortcut = [shortcut]
    if not isinstance(shortcut, Mapping):
        names = list(shortcut)
        if len(set(names)) < len(names):
            raise ValueError(f"shortcut names the same shortcut twice: {names}")
        shortcut = dict.fromkeys(names)
    unknown = [name for name in shortcut if name not in allowed]
    if unknown:
        raise ValueError(f"shortcut {unknown[0]!r} is not known; there are {sorted(allowed)}")
    return [_read_one(name, shortcut[name] or {}, default, allowed[name]) for name in allowed if name in shortcut]


def _read_one(name, settings, prevalence, allowed):
    if not isinstance(settings, Mapping):
        raise TypeError(f"shortcut {name!r}: give its settings as a dict, got {type(settings).__name__}")
    wrong = [key for key in settings if key != "prevalence" and key not in allowed]
    if wrong:
        raise ValueError(f"shortcut {name!r} has no setting {wrong[0]!r}; it has {['prevalence', *allowed]}")
    for key in ("strength", "scale"):
        value = settings.get(key, 1.0)
        if not isinstance(value, Real) or not 0 < value <= 10:
            raise ValueError(f"shortcut {name!r}: {key} must be a number above 0 and at most 10, got {value!r}")
    check_text(settings.get("text"), f"shortcut {name!r}: text")
    own = dict(settings)
    if "prevalence" in own:
        prevalence = _read_prevalence(own.pop("prevalence"), f"prevalence of shortcut {name!r}")
    return Shortcut(name, prevalence, **own)


def check_text(text, name):
    """Refuse what the drawing font has no letters for; OpenCV would draw question marks instead."""
    if text is not None and (not isinstance(text, str) or not text.strip() or not text.isascii()):
        raise ValueError(f"{name} must be a string of ASCII characters that is not blank, got {text!r}")


def check_probability(value, name):
    """Give the probability as a float."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}")
    return float(value)


def _read_prevalence(prevalence, name):
    """Give the probabilities (without the sign, with the sign)."""
    if not isinstance(prevalence, Mapping):
        share = check_probability(prevalence, name)
        return 1 - share, share
    if set(prevalence) != {0, 1}:
        raise ValueError(f"{name} must have the keys 0 (no sign) and 1 (sign), got {list(prevalence)}")
    return tuple(check_probability(prevalence[label], f"{name} of class {label}") for label in (0, 1))


def read_contrasts(sign_contrast, default):
    """Give the contrasts that a sign may have."""
    contrasts = np.atleast_1d(np.asarray(default if sign_contrast is None else sign_contrast, dtype=float))
    if contrasts.ndim != 1 or contrasts.size == 0 or not ((contrasts >= 0) & (contrasts <= 1)).all():
        raise ValueError(f"sign_contrast must be one or several numbers from 0 to 1, got {sign_contrast!r}")
    return contrasts.tolist()


_COLUMNS = {"age": "child"}  # the column "age" holds years


def describe_row(label, sign, contrast, present, shortcuts, **sign_details):
    """Give what only the generator knows of a row: its sign and its shortcuts."""
    names = [item.name for item in present]
    subgroup = "sign" if label else "no sign"
    if names:
        subgroup += f" with {'+'.join(names)}"
    elif shortcuts:
        subgroup += f" without {'+'.join(item.name for item in shortcuts)}"
    return {
        "sign": sign if label else "none",
        "sign_contrast": contrast if label else 0.0,
        **sign_details,
        "shortcut": "+".join(names) or "none",
        **{_COLUMNS.get(item.name, item.name): int(item.name in names) for item in shortcuts},
        "subgroup": subgroup,
    }


def make_truthful_bunch(images, target, known, truth, **fields):
    """Make the bunch of a generated study.

    What a hospital would know of a row stands apart from the truth: models that read the metadata must not find the
    label there.

    Parameters
    ----------
    images : ndarray of shape (n, ...)
        Rows.
    target : ndarray of int of shape (n,)
        Classes.
    known : list of n dict
        Metadata of the rows, with ``patient_id``.
    truth : list of n dict
        What :func:`describe_row` gives.
    **fields
        Options and further fields of the bunch.

    Returns
    -------
    ImageBunch
        With the fields ``artifact``, ``groups``, ``metadata``, ``target`` and ``truth``.
    """
    metadata, truth = pd.DataFrame.from_records(known), pd.DataFrame.from_records(truth)
    return ImageBunch(
        images,
        target=target,
        artifact=(truth["shortcut"] != "none").to_numpy().astype(np.int64),
        metadata=metadata,
        groups=metadata["patient_id"].to_numpy(dtype=str),
        truth=truth,
        **fields,
    )
