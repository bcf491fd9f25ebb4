"""Decode once: rows of a bunch in memory-mapped files."""

import os
import shutil
import tempfile
import time
import uuid
import weakref
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from ._bunch import ImageBunch
from ._cache_key import cache_key
from ._fields import with_missing
from ._sources import MemmapRows, RowView, take_rows

_USUAL_FIELDS = ("masks", "artifact_masks")
_PART = ".part"
_STALE_SECONDS = 24 * 3600


def cache_bunch(bunch, folder=None, *, dtype=None, fields=_USUAL_FIELDS, batch_size=64, n_jobs=None, verbose=False):
    """Decode the images and masks of a bunch once and keep them in memory-mapped files.

    What is stored is known by its content: the names, sizes and times of the files or the values of an array, and
    all settings of the reader. A call with the same content finds the files of the earlier one; anything else makes
    new ones. Each row is stored once, however often the bunch repeats it.

    Parameters
    ----------
    bunch : ImageBunch
        Rows to decode. Cache before splitting: parts of a study do not share files.
    folder : str or path-like, default=None
        Where to keep the files; made if absent. By default a temporary folder, removed when nothing of this process
        uses it any longer. So are files whose content cannot be told for certain, such as the results of a function
        of your own.
    dtype : dtype, default=None
        Data type of the stored images; by default that of the bunch. ``"float16"`` halves the files. For
        integers make the reader itself with ``dtype="uint8"``, which scales them.
    fields : sequence of str, default=("masks", "artifact_masks")
        Fields to store too; those two need not be present.
    batch_size : int, default=64
        Rows decoded at a time.
    n_jobs : int, default=None
        Processes that decode, as in joblib. PNG and JPEG are decoded in threads anyway; DICOM gains from processes.
    verbose : bool, default=False
        Show the progress.

    Returns
    -------
    ImageBunch
        The same rows and fields, read from the files. It pickles as their paths.

    Raises
    ------
    ValueError
        If the data type would change values, or a field does not exist.

    Notes
    -----
    Several processes may store the same content at once. Each writes a file of its own and moves it into place when
    it is complete: no process ever sees half a file, and an interrupted one leaves nothing that could be read.
    The stored files bear no names of patients or image files, but they hold the images.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.images import ImageBunch, cache_bunch
    >>> bunch = ImageBunch(np.ones((4, 8, 8))).map_images(np.negative)
    >>> cached = cache_bunch(bunch)
    >>> float(np.asarray(cached[[2]]).mean())
    -1.0
    """
    if not isinstance(bunch, ImageBunch):
        raise TypeError(f"bunch must be an ImageBunch, got {type(bunch).__name__}")
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, got {batch_size!r}")
    unknown = [name for name in fields if name not in bunch.fields and name not in _USUAL_FIELDS]
    if unknown:
        raise ValueError(f"fields: the bunch has no {unknown}; it has {list(bunch.fields)}")
    store = _Store(folder, batch_size, n_jobs, verbose)
    images = store.keep(bunch.images, "images", dtype)
    stored = {name: store.keep(bunch.get(name), name) for name in fields if name in bunch.fields}
    if "masks" in stored:
        stored["masks"] = with_missing(stored["masks"], bunch.has_mask)
    return bunch.with_images(images, **stored)


class _Store:
    def __init__(self, folder, batch_size, n_jobs, verbose):
        self.folder = None if folder is None else os.path.abspath(os.fspath(folder))
        self.batch_size = int(batch_size)
        self.n_jobs = n_jobs
        self.verbose = verbose
        self._temporary = None

    def keep(self, source, name, dtype=None):
        """Store the rows of a source and give them as a source that reads the file."""
        source, rows = (source.source, source.rows) if isinstance(source, RowView) else (source, np.arange(len(source)))
        if getattr(getattr(source, "dtype", None), "kind", "O") not in "biuf" or hasattr(source, "iloc"):
            raise ValueError(f"{name}: only images and masks can be stored; leave the field out")
        dtype = np.dtype(source.dtype if dtype is None else dtype)
        if dtype != source.dtype and not (
            np.can_cast(source.dtype, dtype, "safe") or (source.dtype.kind == dtype.kind == "f")
        ):
            raise ValueError(
                f"{name} of type {source.dtype} cannot be stored as {dtype} without changing values; "
                f"let the reader scale them: ImageFiles(..., dtype='{dtype}')"
            )
        if len(rows) == 0 or (isinstance(source, MemmapRows) and source.dtype == dtype):
            return RowView(source, rows)
        unique, places = np.unique(rows, return_inverse=True)
        key = None if self.folder is None else cache_key(source, unique, dtype)
        owner = None
        if key is None:
            owner = self._temporary_folder()
            path = os.path.join(owner.path, f"{name}.npy")
        else:
            os.makedirs(self.folder, exist_ok=True)
            path = os.path.join(self.folder, f"{key}.npy")
        if not os.path.exists(path):
            self._write(path, source, unique, dtype, name)
        stored = MemmapRows(_open(path, (len(unique), *source.shape[1:]), dtype))
        stored.owner = owner  # pickling leaves it behind: only this process removes the folder
        return stored if np.array_equal(places, np.arange(len(unique))) else RowView(stored, places)

    def _temporary_folder(self):
        if self._temporary is None:
            if self.folder is not None:
                os.makedirs(self.folder, exist_ok=True)
            self._temporary = _TemporaryFolder(self.folder)
        return self._temporary

    def _write(self, path, source, rows, dtype, name):
        _remove_stale_parts(os.path.dirname(path))
        part = f"{path}.{uuid.uuid4().hex}{_PART}"
        shape = (len(rows), *source.shape[1:])
        try:
            start = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape).offset
            row_bytes = dtype.itemsize * int(np.prod(shape[1:]))
            batches = range(0, len(rows), self.batch_size)
            done = Parallel(n_jobs=self.n_jobs, prefer="processes", return_as="generator")(
                delayed(_write_batch)(
                    part, start + first * row_bytes, take_rows(source, rows[first : first + self.batch_size]), dtype
                )
                for first in batches
            )
            with tqdm(total=len(rows), desc=f"caching {name}", disable=not self.verbose) as progress:
                for n_rows in done:
                    progress.update(n_rows)
            with open(part, "r+b") as file:
                os.fsync(file.fileno())
            try:
                os.replace(part, path)
            except PermissionError:  # Windows: another process has stored the same and reads it already
                if not os.path.exists(path):
                    raise
        finally:
            if os.path.exists(part):
                os.unlink(part)


class _TemporaryFolder:
    """A folder that goes when this object does, in the process that made it."""

    def __init__(self, parent):
        self.path = tempfile.mkdtemp(prefix="sklearn_shortcuts-", dir=parent)
        weakref.finalize(self, _remove_folder, self.path, os.getpid())


def _remove_folder(path, owner):
    if os.getpid() == owner:  # a forked process ends with copies of its parent's objects
        shutil.rmtree(path, ignore_errors=True)


def _write_batch(path, position, source, dtype):
    # Written as a file, not through a map: a full disk is an error then, not a crash.
    values = np.ascontiguousarray(np.asarray(source), dtype=dtype)
    with open(path, "r+b") as file:
        file.seek(position)
        file.write(values.data)
    return len(values)


def _open(path, shape, dtype):
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):
        array = None
    if array is None or array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{path} is damaged, or not what was stored there; delete it")
    return array


def _remove_stale_parts(folder):
    """Remove what processes that were killed have left, long after any writer would have touched it."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.endswith(_PART):
            try:
                if time.time() - os.path.getmtime(path) > _STALE_SECONDS:
                    os.unlink(path)
            except FileNotFoundError:  # its writer, or another cleaner, was faster
                continue
