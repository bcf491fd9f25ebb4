"""What the rows of a source will be, told without reading files."""

import hashlib
import io
import os
import pickle
import sys

import joblib
import numpy as np

from .._version import __version__
from ._fields import InsideRows, MissingRows
from ._sources import MappedRows, MemmapRows, RowView

# Functions are pickled by name. Only of these packages does a name stand for one behavior (within a version).
_STABLE = frozenset({"sklearn_shortcuts", "numpy", "pandas", "scipy", "sklearn", "torch"}) | sys.stdlib_module_names


def cache_key(source, rows, dtype):
    """Give a key that changes with whatever changes the values of rows.

    Parameters
    ----------
    source : row source or ndarray
        Where the rows come from.
    rows : ndarray of int
        Row numbers.
    dtype : numpy.dtype
        Data type in which they are to be stored.

    Returns
    -------
    str, or None
        Hexadecimal digits; ``None`` if the values depend on something that cannot be told, such as a function of the
        user, whose code may change under the same name.
    """
    digest = hashlib.blake2b(f"{__version__}|{dtype.str}|{len(rows)}".encode(), digest_size=20)
    try:
        for part in _describe(source, rows):
            digest.update(part.encode() if isinstance(part, str) else part)
            digest.update(b"\0")
    except _NoKeyError:
        return None
    return digest.hexdigest()


class _NoKeyError(Exception):
    pass


def _describe(source, rows):
    if hasattr(source, "cache_key"):
        yield from source.cache_key(rows)
    elif isinstance(source, RowView):
        yield from _describe(source.source, source.rows[rows])
    elif isinstance(source, InsideRows):
        yield "inside"
        yield from _describe(source.source, rows)
    elif isinstance(source, MissingRows):
        yield source.has_mask[rows].tobytes()
        yield from _describe(source.source, rows)
    elif isinstance(source, MemmapRows):
        status = os.stat(source.filename)
        yield f"{source.filename}|{status.st_size}|{status.st_mtime_ns}"
        yield f"{source.offset}|{source.dtype.str}|{source.shape}"
        yield rows.tobytes()
    elif isinstance(source, MappedRows):
        yield f"{type(source).__name__} {source.shape[1:]} {source.dtype.str}"
        yield _pickled(source.function)
        if source.with_rows:
            yield source.numbers[rows].tobytes()
        yield from _describe(source.bunch.images, rows)
        for name in source.fields:
            yield from _describe(source.bunch.get(name), rows)
    elif hasattr(source, "iloc"):
        yield joblib.hash(source.iloc[rows])
    elif isinstance(source, np.ndarray):
        yield joblib.hash(np.ascontiguousarray(source[rows]))
    else:
        raise _NoKeyError


class _StrictPickler(pickle.Pickler):
    """Refuse functions and classes whose code may change under the same name."""

    def reducer_override(self, obj):
        module = getattr(obj, "__module__", None)
        if callable(obj) and isinstance(module, str) and hasattr(obj, "__qualname__") and _root(module) not in _STABLE:
            raise _NoKeyError
        return NotImplemented


def _root(module):
    return module.split(".")[0] if module != "__main__" else ""


def _pickled(function):
    stream = io.BytesIO()
    try:
        _StrictPickler(stream, protocol=5).dump(function)
    except _NoKeyError:
        raise
    except Exception:  # what cannot be pickled has no key either; the reasons are as many as types
        raise _NoKeyError from None
    return stream.getvalue()
