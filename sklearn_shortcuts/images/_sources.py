"""Row sources: array-likes that yield images when their rows are asked for.

A source has ``shape`` (rows first), ``dtype``, ``len`` and ``source[rows]`` for an integer, a slice, an integer
array or a boolean array. NumPy arrays are sources already; this file holds the lazy ones that need no decoding.
"""

import mmap

import numpy as np


def as_row_indices(key, n_rows):
    """Turn any one-dimensional row key into an array of non-negative integers.

    Parameters
    ----------
    key : slice, array-like of int or array-like of bool
        What was asked for.
    n_rows : int
        Number of rows the key refers to.

    Returns
    -------
    ndarray of shape (n_selected,), dtype intp
        Row numbers in ``[0, n_rows)``.

    Raises
    ------
    IndexError
        If the key is not one-dimensional, a boolean key has another length, or a row does not exist.
    """
    if isinstance(key, slice):
        return np.arange(n_rows)[key]
    rows = np.asarray(key)
    if rows.size == 0 and rows.dtype != bool:
        rows = rows.astype(np.intp).reshape(-1)
    if rows.ndim != 1:
        raise IndexError(f"rows are selected by a one-dimensional key, got one with {rows.ndim} dimensions")
    if rows.dtype == bool:
        if len(rows) != n_rows:
            raise IndexError(f"a boolean key needs one value per row: got {len(rows)} values for {n_rows} rows")
        return np.flatnonzero(rows)
    if not np.issubdtype(rows.dtype, np.integer):
        raise IndexError(f"rows are selected by integers or booleans, got dtype {rows.dtype}")
    wrong = (rows < -n_rows) | (rows >= n_rows)
    if wrong.any():
        raise IndexError(f"row {rows[wrong][0]} does not exist: there are {n_rows} rows")
    return np.where(rows < 0, rows + n_rows, rows).astype(np.intp, copy=False)


def is_integer(key):
    """Tell whether a key selects one row."""
    if isinstance(key, np.ndarray):
        return key.ndim == 0 and key.dtype.kind in "iu"
    return isinstance(key, (int, np.integer)) and not isinstance(key, (bool, np.bool_))


class RowSource:
    """What every lazy source shares; a subclass gives ``shape``, ``dtype`` and ``_read(rows)``.

    A source that draws its rows at random, such as slices of volumes, sets ``redraws`` and gives ``redraw(seed)``: the
    same rows in another draw, which depends on the seed and on each row alone. Networks draw anew in every epoch.
    """

    redraws = False

    def __len__(self):
        return self.shape[0]

    @property
    def ndim(self):
        return len(self.shape)

    def __getitem__(self, key):
        if isinstance(key, tuple):  # scikit-learn indexes rows as source[rows, ...]
            key, *rest = key
            if any(part is not Ellipsis for part in rest):
                raise IndexError(f"{type(self).__name__} is indexed by rows only")
        if is_integer(key):
            return self._read(as_row_indices([key], len(self)))[0]
        return self._read(as_row_indices(key, len(self)))

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError(f"{type(self).__name__} makes its rows when asked: it cannot give an array without a copy")
        return np.asarray(self._read(np.arange(len(self))), dtype=dtype)

    def __iter__(self):
        for row in range(len(self)):
            yield self[row]

    def __repr__(self):
        return f"{type(self).__name__}(shape={self.shape}, dtype={np.dtype(self.dtype).name})"


def redrawn(source, seed):
    """Give a source in another draw; one that does not draw is given as it is.

    Parameters
    ----------
    source : row source or ndarray
        Where the rows come from.
    seed : int
        Decides the draw.

    Returns
    -------
    row source or ndarray
        The same rows.
    """
    return source.redraw(seed) if getattr(source, "redraws", False) else source


class RowView(RowSource):
    """Some rows of another source, in a given order, read only when asked for.

    Parameters
    ----------
    source : row source
        Where the rows come from.
    rows : ndarray of int
        Row numbers in ``source``.
    """

    def __init__(self, source, rows):
        if isinstance(source, RowView):  # a view of a view is one view
            source, rows = source.source, source.rows[rows]
        self.source = source
        self.rows = rows

    @property
    def shape(self):
        return (len(self.rows), *self.source.shape[1:])

    @property
    def dtype(self):
        return self.source.dtype

    @property
    def redraws(self):
        return getattr(self.source, "redraws", False)

    def redraw(self, seed):
        """Give the same rows of the source in another draw."""
        return RowView(redrawn(self.source, seed), self.rows)

    def _read(self, rows):
        return np.asarray(self.source[self.rows[rows]])

    def __getstate__(self):
        # Only the rows in view travel to worker processes; a row that is repeated travels once.
        rows, places = np.unique(self.rows, return_inverse=True)
        source = self.source if len(rows) == len(self.source) else take_rows(self.source, rows)
        if source is self.source or isinstance(source, RowView):  # a view of a view would be cut again without end
            return dict(self.__dict__)
        return {**self.__dict__, "source": source, "rows": places}


def take_rows(source, rows):
    """Give the rows of anything with rows as a source of their own, without what belongs to other rows.

    Parameters
    ----------
    source : row source, ndarray, Series or DataFrame
        Where the rows come from.
    rows : ndarray of int
        Row numbers.

    Returns
    -------
    object
        Source, array or table of those rows.
    """
    if isinstance(source, RowView):
        return take_rows(source.source, source.rows[rows])
    if hasattr(source, "iloc"):
        return source.iloc[rows]
    if isinstance(source, np.ndarray):
        return source[rows]
    return source.take(rows) if hasattr(source, "take") else RowView(source, rows)


class MemmapRows(RowSource):
    """A memory-mapped array that pickles as its path, not as its contents.

    ``numpy.memmap`` pickles by value, which would send the whole data set to every worker process.

    Parameters
    ----------
    array : numpy.memmap
        C-contiguous array on disk.
    """

    def __init__(self, array):
        self._open(str(array.filename), array.dtype, array.shape, _file_offset(array))

    def _open(self, filename, dtype, shape, offset):
        self.filename = filename
        self.offset = offset
        self.array = np.memmap(filename, dtype=dtype, shape=shape, offset=offset, mode="r")

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return self.array.dtype

    def _read(self, rows):
        return np.asarray(self.array[rows])

    def __getstate__(self):
        return {"filename": self.filename, "dtype": self.dtype, "shape": self.shape, "offset": self.offset}

    def __setstate__(self, state):
        self._open(**state)


def _file_offset(array):
    """Byte position of the first element in the file; a sliced memmap still carries its parent's offset."""
    start = np.frombuffer(array._mmap, dtype=np.uint8).__array_interface__["data"][0]
    mapped_from = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    return array.__array_interface__["data"][0] - start + mapped_from


def is_mappable(array):
    """Tell whether an array is a memory map that a path, an offset and a shape describe completely."""
    return (
        isinstance(array, np.memmap)
        and array.filename is not None
        and getattr(array, "_mmap", None) is not None
        and array.flags.c_contiguous
        and array.mode in ("r", "r+", "w+")
    )


class MappedRows(RowSource):
    """Rows of a bunch with a function applied when they are read; nothing is stored.

    Parameters
    ----------
    bunch : ImageBunch
        Where the rows come from.
    function : callable
        ``function(images, *fields) -> images`` on a batch of rows; must be picklable and keep the number of rows.
    fields : tuple of str, default=()
        Names of the fields handed to the function after the images.
    shape : tuple of int, default=None
        Shape of one resulting row; by default that of the bunch.
    dtype : dtype, default=None
        Data type of the result; by default that of the bunch.
    with_rows : bool, default=False
        Also hand over ``rows``, the row numbers within ``bunch``, as a keyword: a function that draws noise needs
        them to give the same noise to the same row in whatever batch it is read.
    """

    def __init__(self, bunch, function, fields=(), *, shape=None, dtype=None, with_rows=False):
        self.bunch = bunch
        self.function = function
        self.fields = tuple(fields)
        self.with_rows = with_rows
        self.numbers = np.arange(len(bunch))  # what the function knows the rows by
        self._row_shape = tuple(bunch.shape[1:] if shape is None else shape)
        self._dtype = np.dtype(bunch.dtype if dtype is None else dtype)

    @property
    def shape(self):
        return (len(self.bunch), *self._row_shape)

    @property
    def dtype(self):
        return self._dtype

    @property
    def redraws(self):
        return self.bunch.images.redraws

    def redraw(self, seed):
        """Give the function applied to the same rows in another draw."""
        mapped = self.take(slice(None))
        mapped.bunch = self.bunch.with_images(redrawn(self.bunch.images, seed))
        return mapped

    def _read(self, rows):
        if len(rows) == 0:
            return np.empty((0, *self._row_shape), self._dtype)
        batch = self.bunch[rows]
        extra = {"rows": self.numbers[rows]} if self.with_rows else {}
        result = self.function(np.asarray(batch), *(_materialize(batch.get(name)) for name in self.fields), **extra)
        result = np.asarray(result, dtype=self._dtype)
        if result.shape != (len(rows), *self._row_shape):
            raise ValueError(
                f"the function gave an array of shape {result.shape} for {len(rows)} rows, not "
                f"{(len(rows), *self._row_shape)}; give shape= where it changes the shape of a row"
            )
        return result

    def take(self, rows):
        """Give some rows as a source of their own; the function knows them by the same numbers as before.

        Parameters
        ----------
        rows : ndarray of int
            Row numbers.

        Returns
        -------
        MappedRows
            Those rows.
        """
        mapped = object.__new__(type(self))
        mapped.__dict__.update(self.__dict__)
        mapped.bunch, mapped.numbers = self.bunch[rows], self.numbers[rows]
        return mapped


def _materialize(field):
    return np.asarray(field) if isinstance(field, RowSource) else field
