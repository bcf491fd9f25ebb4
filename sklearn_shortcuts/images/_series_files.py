"""Volumes on disk, one series of DICOM slices per row, of which slices are decoded when they are asked for."""

import os
from numbers import Integral

import numpy as np

from ._dicom import read_dicom
from ._dicom_file import list_dicom_files
from ._headers import naming_row
from ._paths import PathTable
from ._resize import RESIZE_MODES, as_size, place
from ._series import choose_slices, index_series
from ._sources import RowSource
from ._threads import thread_map


class SeriesFiles(RowSource):
    """Rows of volumes on disk, with a series of DICOM slices per row and numbers of slices that may differ.

    As rows of an :class:`ImageBunch` it shows the same number of evenly spaced slices of every volume, in measured
    values (Hounsfield units for CT). :class:`~sklearn_shortcuts.preprocessing.SliceSampler` takes other slices,
    windowed and resized. Only slices that are asked for are decoded. The headers of a row's files, which tell their
    order, are read once, when the row is first needed.

    Parameters
    ----------
    series : array-like of shape (n,)
        One folder per row, with all DICOM files below it, or one list of files.
    n_slices : int, default=3
        Number of slices shown of every volume: the middle of each of as many parts of equal numbers of slices.
    size : int or tuple of int, default=None
        ``(height, width)`` of the slices shown, one number for a square. By default that of the first row, and a row of
        another size is an error.
    resize : {"letterbox", "stretch", "crop"}, default="letterbox"
        How slices come to ``size``, see :func:`decode_image`. Margins get the lowest value of the slice.
    number : int, default=None
        Which series to read where the files of a row hold several, counted from 0 in the order of their first files.
        By default several are an error, which lists them.
    uneven : {"raise", "allow"}, default="raise"
        What to do about missing slices and uneven gaps, see :func:`read_dicom_series`.
    root : str or path-like, default=None
        Folder that relative paths start from; by default the current one.
    check : bool, default=False
        Look at once whether every folder and file exists.
    n_threads : int, default=None
        Threads that read; by default one per processor, at most 8. Decoding DICOM gains more from processes.

    Attributes
    ----------
    shape : tuple of int
        ``(n, n_slices, H, W)``.
    dtype : numpy.dtype
        float32.
    paths : PathTable
        ``paths[row]`` is the tuple of a row's absolute paths.
    numbers : ndarray of int of shape (n,)
        Row numbers in the reader that these rows were first in; random choices of slices follow them.

    Raises
    ------
    ValueError
        If a row has no path.
    FileNotFoundError
        With ``check``, if folders or files are missing.

    See Also
    --------
    read_dicom_series : Reads one whole volume.
    ImageFiles : Rows of single files.

    Examples
    --------
    >>> import os, shutil, tempfile
    >>> from pydicom.data import get_testdata_file
    >>> from sklearn_shortcuts.images import ImageBunch, SeriesFiles
    >>> folder = tempfile.mkdtemp()
    >>> for study in ("first", "second"):
    ...     os.mkdir(os.path.join(folder, study))
    ...     path = get_testdata_file("CT_small.dcm", download=False)
    ...     _ = shutil.copy(path, os.path.join(folder, study, "slice.dcm"))
    >>> ImageBunch(SeriesFiles.from_folder(folder, n_slices=1)).shape
    (2, 1, 128, 128)
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        series,
        *,
        n_slices=3,
        size=None,
        resize="letterbox",
        number=None,
        uneven="raise",
        root=None,
        check=False,
        n_threads=None,
    ):
        if isinstance(n_slices, bool) or not isinstance(n_slices, Integral) or n_slices < 1:
            raise ValueError(f"n_slices must be a positive integer, got {n_slices!r}")
        if resize not in RESIZE_MODES:
            raise ValueError(f"resize must be one of {list(RESIZE_MODES)}, got {resize!r}")
        if number is not None and (isinstance(number, bool) or not isinstance(number, Integral) or number < 0):
            raise ValueError(f"number must be None or an integer from 0, got {number!r}")
        if uneven not in ("raise", "allow"):
            raise ValueError(f"uneven must be 'raise' or 'allow', got {uneven!r}")
        if n_threads is not None and (not isinstance(n_threads, Integral) or n_threads < 1):
            raise ValueError(f"n_threads must be a positive integer or None, got {n_threads!r}")
        self.n_slices = int(n_slices)
        self.size, self._given_size = as_size(size), size is not None
        self.resize = resize
        self.number = number
        self.uneven = uneven
        self.n_threads = n_threads
        self.paths = series if isinstance(series, PathTable) else PathTable(series, root, "series")
        self.numbers = np.arange(len(self.paths))
        missing = np.flatnonzero(self.paths.n_files() == 0)
        if len(missing):
            raise ValueError(f"series: {len(missing)} rows have no path, the first is row {missing[0]}; drop them")
        if check:
            self._require_paths()
        self._index = {}  # slices of the rows seen so far, by number; parts of a study share it
        if self.size is None:
            if len(self.paths) == 0:
                raise ValueError("there are no series to tell the size of the slices from: give size=")
            self.size = self.slice_shape(0)

    @classmethod
    def from_folder(cls, folder, **options):
        """Make one row of every folder in a folder, in the order of their names.

        Parameters
        ----------
        folder : str or path-like
            Folder whose folders hold one series each.
        **options
            The other parameters, but ``root``.

        Returns
        -------
        SeriesFiles
            Its rows; ``paths`` tells which is which.

        Raises
        ------
        ValueError
            If there is no folder inside.
        """
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        if not names:
            raise ValueError(f"{os.fspath(folder)} has no folders, of which each should hold a series")
        return cls(names, root=folder, **options)

    @property
    def shape(self):
        return (len(self.paths), self.n_slices, *self.size)

    def take(self, rows):
        """Give some rows as a reader of their own, which pickles without the others.

        Parameters
        ----------
        rows : ndarray of int
            Row numbers.

        Returns
        -------
        SeriesFiles
            Those rows.
        """
        files = object.__new__(type(self))
        files.__dict__.update(self.__dict__)
        files.paths, files.numbers = self.paths.take(rows), self.numbers[rows]
        return files

    def count_slices(self, rows=None):
        """Count the slices of volumes, from headers.

        Parameters
        ----------
        rows : sequence of int, default=None
            Row numbers; by default all.

        Returns
        -------
        ndarray of int of shape (n_rows,)
            Numbers of slices.
        """
        rows = range(len(self)) if rows is None else rows
        return np.array(thread_map(lambda row: len(self._slices(row)[0]), rows, self.n_threads), dtype=np.intp)

    def slice_shape(self, row):
        """Give the size of the slices of a volume as they are on disk.

        Parameters
        ----------
        row : int
            Row number.

        Returns
        -------
        tuple of int
            Height and width.
        """
        return self._slices(row)[1]

    def read_slices(self, row, places):
        """Decode some slices of a volume.

        Parameters
        ----------
        row : int
            Row number.
        places : sequence of int
            Places of the slices in the order of their positions.

        Returns
        -------
        ndarray of shape (n_places, H, W), dtype float32
            Measured values in the size they have on disk.

        Raises
        ------
        ValueError
            If a file is damaged, or a color image.
        """
        slices, shape = self._slices(row)
        result = np.empty((len(places), *shape), self.dtype)
        for target, (path, frame) in zip(result, [slices[number] for number in places]):
            with naming_row(row):
                pixels = read_dicom(path, frame=frame)
                if pixels.shape != shape:
                    raise ValueError(f"{path} is a color image; a volume is made of gray slices")
            target[...] = pixels
        return result

    def cache_key(self, rows):
        """Describe what reading rows gives, without decoding them.

        Parameters
        ----------
        rows : sequence of int
            Row numbers.

        Yields
        ------
        str
            Settings, then path, size and time of the last change of each file.
        """
        yield f"{type(self).__name__} {self.shape[1:]} {self.resize}"
        yield from self.describe(rows)

    def describe(self, rows):
        """Describe volumes without decoding them.

        Parameters
        ----------
        rows : sequence of int
            Row numbers.

        Yields
        ------
        str
            What decides on the slices; path, size and time of the last change of each file.
        """
        yield f"{self.number} {self.uneven}"
        for row in rows:
            yield from PathTable([self._files(row)]).fingerprint([0])

    def _read(self, rows):
        slots = {}
        places = [slots.setdefault(int(row), len(slots)) for row in rows]  # a row that is repeated is decoded once
        batch = np.empty((len(slots), *self.shape[1:]), self.dtype)

        def read(row):
            total, shape = len(self._slices(row)[0]), self.slice_shape(row)
            if total < self.n_slices:
                raise ValueError(f"row {row} has {total} slices, fewer than n_slices={self.n_slices}; leave it out")
            if shape != self.size and not self._given_size:
                raise ValueError(
                    f"row {row}: the slices are of {shape} pixels, but the first row's of {self.size}; give size= to "
                    "bring all to one size"
                )
            values = self.read_slices(row, choose_slices(total, self.n_slices, "uniform"))
            placement = place(shape, self.size, self.resize)
            for image, target in zip(values, batch[slots[row]]):
                target[...] = placement.resize(image, pad=image.min())

        thread_map(read, list(slots), self.n_threads)
        return batch if len(slots) == len(rows) else batch[places]

    def _slices(self, row):
        """Files and frames of a row's slices in order, and their size."""
        number = int(self.numbers[row])
        if number not in self._index:
            with naming_row(row):
                self._index[number] = index_series(self._files(row), series=self.number, uneven=self.uneven)
        return self._index[number]

    def _files(self, row):
        entries = self.paths[row]
        if len(entries) == 1 and os.path.isdir(entries[0]):
            return list_dicom_files(entries[0], "series")
        return list(entries)

    def _require_paths(self):
        absent = [(row, path) for row in range(len(self.paths)) for path in self.paths[row] if not os.path.exists(path)]
        if absent:
            row, path = absent[0]
            raise FileNotFoundError(
                f"series: {len(absent)} folders or files do not exist, the first is {path} of row {row}; correct the "
                "paths, give their folder as root=, or drop the rows"
            )

    def __getstate__(self):
        known = {int(number): self._index[number] for number in self.numbers if int(number) in self._index}
        return {**self.__dict__, "_index": known}
