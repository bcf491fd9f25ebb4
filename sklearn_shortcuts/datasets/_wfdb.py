"""Reading of WFDB records in format 16, the one PTB-XL is stored in."""

import os
import re

import numpy as np

from ..images._sources import RowSource

_GAIN = re.compile(r"^(?P<gain>[-+.\deE]+?)(?:\((?P<baseline>-?\d+)\))?(?:/(?P<units>\S+))?$")
_INVALID = -(2**15)  # format 16 reserves this value for "no sample"
_MILLIVOLTS = {"mV": 1.0, "uV": 1e-3, "V": 1e3}


def read_wfdb(path):
    """Read one WFDB record of 16-bit samples as millivolts.

    Parameters
    ----------
    path : path-like
        Record without suffix, or its ``.hea`` or ``.dat`` file.

    Returns
    -------
    signal : ndarray of shape (n_leads, n_samples), dtype float32
        Voltages in mV; NaN where the recorder marked a sample as invalid.
    leads : list of str
        Names of the leads.
    sampling_rate : float
        Samples per second.

    Raises
    ------
    ValueError
        If the header is not one of a single-segment format-16 record, or samples and checksums disagree.

    References
    ----------
    WFDB Applications Guide, header(5) and signal(5), PhysioNet.
    """
    record = os.path.splitext(os.fspath(path))[0] if str(path).endswith((".hea", ".dat")) else os.fspath(path)
    n_leads, n_samples, sampling_rate, lines = _read_header(record)
    signals = [_parse_signal(line, record) for line in lines]
    if len({signal["file"] for signal in signals}) != 1:
        raise ValueError(f"{record}.hea: the leads lie in several files, which is not supported")
    # The name comes from the header; taking it as a plain name keeps the reader inside the record's folder.
    data_file = os.path.join(os.path.dirname(record), os.path.basename(signals[0]["file"]))
    samples = np.fromfile(data_file, dtype="<i2")
    if samples.size != n_leads * n_samples:
        raise ValueError(f"{data_file}: {samples.size} samples, but the header says {n_leads} x {n_samples}")
    samples = samples.reshape(n_samples, n_leads).T
    # Checksums count modulo 2**16, so summing in wrapping 16-bit arithmetic is exact.
    sums = samples.sum(axis=1, dtype=np.int16)
    for lead, (signal, total) in enumerate(zip(signals, sums)):
        if signal["checksum"] is not None and np.int64(signal["checksum"] - int(total)) % 2**16:
            raise ValueError(
                f"{data_file}: the checksum of lead {signal['name'] or lead} is wrong, the file is damaged"
            )
    scale = np.array([signal["scale"] for signal in signals], dtype=np.float32)[:, None]
    baseline = np.array([signal["baseline"] for signal in signals], dtype=np.float32)[:, None]
    voltages = (samples.astype(np.float32) - baseline) * scale
    voltages[samples == _INVALID] = np.nan
    return voltages, [signal["name"] for signal in signals], sampling_rate


def _read_header(record):
    with open(f"{record}.hea", encoding="ascii", errors="replace") as file:
        lines = [line.strip() for line in file]
    lines = [line for line in lines if line and not line.startswith("#")]
    fields = lines[0].split() if lines else []
    if len(fields) < 4 or "/" in fields[0]:
        raise ValueError(f"{record}.hea: expected a record line 'name leads rate samples' of a single segment")
    try:
        n_leads, n_samples = int(fields[1]), int(fields[3])
        sampling_rate = float(re.split(r"[/(]", fields[2])[0])
    except ValueError as error:
        raise ValueError(f"{record}.hea: the record line {lines[0]!r} cannot be read") from error
    if n_leads < 1 or n_samples < 1 or len(lines) < 1 + n_leads:
        raise ValueError(f"{record}.hea: the record line promises {n_leads} leads, {len(lines) - 1} are described")
    return n_leads, n_samples, sampling_rate, lines[1 : 1 + n_leads]


def _parse_signal(line, record):
    """Read a signal line: file, format, gain(baseline)/units, resolution, zero, first value, checksum, block, name."""
    fields = line.split(maxsplit=8)
    if len(fields) < 2 or fields[1] != "16":
        kind = fields[1] if len(fields) > 1 else "none"
        raise ValueError(f"{record}.hea: only WFDB format 16 is supported, got format {kind}")
    gain = _GAIN.match(fields[2]) if len(fields) > 2 else None
    try:
        if gain is None:
            raise ValueError("no gain")
        units = gain["units"] or "mV"
        zero = int(fields[4]) if len(fields) > 4 else 0
        return {
            "file": fields[0],
            "scale": _MILLIVOLTS[units] / float(gain["gain"]),
            "baseline": int(gain["baseline"]) if gain["baseline"] is not None else zero,
            "checksum": int(fields[6]) if len(fields) > 6 else None,
            "name": fields[8] if len(fields) > 8 else "",
        }
    except (ValueError, KeyError, ZeroDivisionError) as error:
        raise ValueError(f"{record}.hea: the signal line {line!r} cannot be read ({error})") from error


class WfdbRows(RowSource):
    """WFDB records that are read when their rows are asked for.

    Parameters
    ----------
    paths : sequence of str
        Records without suffix; all have the same leads, in the same order, and the same length.
    """

    def __init__(self, paths):
        self.paths = list(paths)
        n_leads, n_samples, self.sampling_rate, _ = _read_header(self.paths[0])
        self._row_shape = (n_leads, n_samples)

    @property
    def shape(self):
        return (len(self.paths), *self._row_shape)

    @property
    def dtype(self):
        return np.dtype(np.float32)

    @property
    def leads(self):
        """Names of the leads of the first record."""
        return [_parse_signal(line, self.paths[0])["name"] for line in _read_header(self.paths[0])[3]]

    def _read(self, rows):
        leads = self.leads if len(rows) else []
        result = np.empty((len(rows), *self._row_shape), np.float32)
        for position, row in enumerate(rows):
            signal, names, sampling_rate = read_wfdb(self.paths[row])
            if signal.shape != self._row_shape or names != leads or sampling_rate != self.sampling_rate:
                raise ValueError(
                    f"{self.paths[row]}: {signal.shape[0]} leads {names} x {signal.shape[1]} samples at "
                    f"{sampling_rate:g} Hz, but the first record has {leads} x {self._row_shape[1]} samples at "
                    f"{self.sampling_rate:g} Hz"
                )
            result[position] = signal
        return result

    def cache_key(self, rows):
        """Describe what reading rows gives: path, size and time of the last change of every record."""
        yield f"{type(self).__name__} {self._row_shape}"
        for row in rows:
            for suffix in (".hea", ".dat"):
                status = os.stat(self.paths[row] + suffix)
                yield f"{self.paths[row]}{suffix}|{status.st_size}|{status.st_mtime_ns}"

    def take(self, rows):
        """Give some rows as a source of their own."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, paths=[self.paths[row] for row in rows])
        return other
