"""What an injector does to a batch of rows; picklable, and the same for a row in whatever batch it comes."""

import hashlib
from numbers import Real

import numpy as np

from ..images import ImageBunch
from ._artifacts import plant
from ._seeds import generator
from ._signal_artifacts import amplified_beat, find_r_peaks, lead_noise


class _Planter:
    """Plant an artifact into the rows of a batch that get one.

    Parameters
    ----------
    seed : int
        Decides everything, together with the row's own content.
    """

    def __init__(self, seed):
        self.seed = seed

    def chance(self, image):
        """Uniform number that decides whether a row gets the artifact."""
        return generator(self.seed, fingerprint(image), 0).random()

    def images(self, batch, artifact, masks=None):
        """Plant the artifact into the rows that get one."""
        planted = batch.copy()
        for row in np.flatnonzero(artifact):
            planted[row] = self._plant(batch[row], None if masks is None else masks[row])[0]
        return planted

    def masks(self, batch, artifact, masks=None):
        """Tell where the artifact is."""
        touched = np.zeros((len(batch), *self._spatial(batch)), dtype=bool)
        for row in np.flatnonzero(artifact):
            touched[row] = self._plant(batch[row], None if masks is None else masks[row])[1]
        return touched

    def _rng(self, image):
        return generator(self.seed, fingerprint(image), 1)


class ImagePlanter(_Planter):
    """Plant an artifact into images.

    Parameters
    ----------
    seed : int
        Decides everything, together with the image's own content.
    artifact : str
        Name.
    black, white : float
        Value range.
    **look
        ``strength``, ``scale`` and ``text``.
    """

    def __init__(self, seed, artifact, black, white, **look):
        super().__init__(seed)
        self.artifact, self.black, self.white, self.look = artifact, black, white, look

    def check(self, batch, first_row, _artifact):
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

    def _plant(self, image, lungs):
        span = self.white - self.black
        gray = ((image - self.black) / span).astype(np.float32)
        lungs = None if lungs is None else lungs >= 0.5
        planted, mask = plant(self.artifact, gray, self._rng(image), lungs=lungs, **self.look)
        planted = np.clip(planted.astype(np.float64) * span + self.black, self.black, self.white)
        return np.where(mask, as_dtype(planted, image.dtype), image), mask

    @staticmethod
    def _spatial(batch):
        return batch.shape[-2:]


class SignalPlanter(_Planter):
    """Plant an artifact into electrocardiograms.

    Parameters
    ----------
    seed : int
        Decides everything, together with the recording's own content.
    artifact : str
        Name.
    sampling_rate : float
        Samples per second.
    lead : int
        Lead that is defective.
    **look
        ``strength`` and ``scale``.
    """

    def __init__(self, seed, artifact, sampling_rate, lead, **look):
        super().__init__(seed)
        self.artifact, self.sampling_rate, self.lead, self.look = artifact, sampling_rate, lead, look

    def check(self, batch, first_row, artifact):
        """Refuse values that are not finite, and recordings without a beat that are to get a larger one."""
        finite = np.isfinite(batch).reshape(len(batch), -1).all(axis=1)
        if not finite.all():
            row = first_row + int(np.argmin(finite))
            raise ValueError(f"X: row {row} contains NaN or inf; repair the recording or leave the row out")
        if self.artifact == "amplified_beat":
            for row in np.flatnonzero(artifact):
                if not len(find_r_peaks(batch[row], self.sampling_rate)):
                    raise ValueError(
                        f"X: row {first_row + row} has no R peak that could be amplified; leave the row out, or check "
                        "sampling_rate"
                    )

    def _plant(self, image, _masks):
        signal, time = image.astype(np.float64), np.arange(image.shape[-1]) / self.sampling_rate
        rng = self._rng(image)
        if self.artifact == "lead_noise":
            planted, mask = lead_noise(signal, rng, time, self.lead, **self.look)
        else:
            beats = find_r_peaks(signal, self.sampling_rate) / self.sampling_rate
            planted, mask = amplified_beat(signal, rng, time, beats, **self.look)
        return np.where(mask, as_dtype(planted, image.dtype), image), mask

    @staticmethod
    def _spatial(batch):
        return batch.shape[-1:]


def fingerprint(image):
    """Number that belongs to the content of a row."""
    return int.from_bytes(hashlib.blake2b(np.ascontiguousarray(image), digest_size=8).digest())


def as_dtype(values, dtype):
    """Give values in the data type of the rows: for integers rounded, and cut off at the ends of their range."""
    if np.issubdtype(dtype, np.integer):
        values = np.clip(np.rint(values), np.iinfo(dtype).min, np.iinfo(dtype).max)
    return values.astype(dtype)


def read_rows(X, signal, purpose):
    """Give rows of images or signals as a bunch, or say what is wrong with them.

    Parameters
    ----------
    X : ImageBunch or array-like
        What was given.
    signal : bool
        Whether the rows are to be signals.
    purpose : str
        What messages say before "images" or "signals".

    Returns
    -------
    ImageBunch
        Rows of numbers.
    """
    bunch = X if isinstance(X, ImageBunch) else ImageBunch(X, signal=signal)
    if bunch.signal != signal:
        found, wanted = ("signals", "images") if bunch.signal else ("images", "signals")
        raise ValueError(f"X holds {found}, but {purpose} {wanted}")
    if bunch.dtype.kind not in "uif":
        raise ValueError(f"X must hold integers or floating-point numbers, got dtype {bunch.dtype}")
    if not signal and min(bunch.shape[-2:]) < 16:
        raise ValueError(f"X must have images of at least 16 x 16 pixels, got {bunch.shape[-2:]}")
    return bunch


def read_value_range(value_range, dtype):
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
