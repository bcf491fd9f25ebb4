"""Images that are decoded when their rows are asked for."""

import numbers
import warnings

import numpy as np

from ._decode import DecodeSettings, decode_with
from ._headers import naming, naming_row, read_header
from ._paths import PathTable
from ._sources import RowSource
from ._threads import thread_map


class ImageFiles(RowSource):
    """Rows of images on disk, decoded batch by batch in worker threads.

    Making one reads at most the header of the first file. What is pickled is the table of paths, with their common
    folder stored once.

    Parameters
    ----------
    paths : array-like of shape (n,)
        One path per row, or a list of paths per row whose images become the channels, such as the slices of a volume.
    size : int or tuple of int, default=None
        ``(height, width)`` of all rows, one number for a square. By default that of the first file, and a file of
        another size is an error.
    channels : {1, 3}, default=None
        Gray rows ``(H, W)`` or color rows ``(3, H, W)``; by default as in the first file.
    dtype : {"float32", "float64", "float16", "uint8", "uint16"}, default="float32"
        Floating-point images lie in [0, 1], integer images in the whole range of their type.
    resize : {"letterbox", "stretch", "crop"}, default="letterbox"
        How images come to ``size``, see :func:`decode_image`.
    pad : float, default=0.0
        Value of the margins of a letterbox, from 0 (black) to 1 (white).
    window : {"auto", "full"}, tuple (center, width), list of tuples or None, default="auto"
        Intensity window of DICOM files, see :func:`decode_image`; each of several makes a channel.
    frame : int, default=None
        Frame of files with several; by default the frames are the channels.
    root : str or path-like, default=None
        Folder that relative paths start from; by default the current one.
    check : bool, default=False
        Look at once whether every file exists.
    n_threads : int, default=None
        Threads that decode; by default one per processor, at most 8. They serve PNG and JPEG well; where DICOM files
        are decoded, processes do better: see :func:`cache_bunch`.
    on_error : {"raise", "warn"}, default="raise"
        What a file does that cannot be decoded: stop with an error, or become a row of the value ``pad`` with a
        warning that names it. Blank rows are as good a shortcut as any: leave them out of training.

    Attributes
    ----------
    shape : tuple of int
        ``(n, H, W)`` or ``(n, C, H, W)``.
    dtype : numpy.dtype
        Data type of the rows.
    paths : PathTable
        ``paths[row]`` is the tuple of a row's absolute paths.
    settings : DecodeSettings
        How files are decoded.

    Raises
    ------
    FileNotFoundError
        With ``check``, if files are missing: says how many and which.

    See Also
    --------
    decode_image : Reads one file.
    MaskFiles : The masks that belong to the rows.
    bunch_from_frame : Makes all of it from a table.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from sklearn_shortcuts.images import ImageBunch, ImageFiles
    >>> folder = tempfile.mkdtemp()
    >>> for row in range(3):
    ...     np.save(os.path.join(folder, f"{row}.npy"), np.full((6, 4), row, dtype=np.uint8))
    >>> files = ImageFiles(["0.npy", "1.npy", "2.npy"], root=folder, dtype="uint8")
    >>> files.shape
    (3, 6, 4)
    >>> np.asarray(ImageBunch(files)[[2, 0]]).mean(axis=(1, 2)).tolist()
    [2.0, 0.0]
    """

    def __init__(
        self,
        paths,
        *,
        size=None,
        channels=None,
        dtype="float32",
        resize="letterbox",
        pad=0.0,
        window="auto",
        frame=None,
        root=None,
        check=False,
        n_threads=None,
        on_error="raise",
    ):
        if on_error not in ("raise", "warn"):
            raise ValueError(f"on_error must be 'raise' or 'warn', got {on_error!r}")
        if n_threads is not None and (not isinstance(n_threads, numbers.Integral) or n_threads < 1):
            raise ValueError(f"n_threads must be a positive integer or None, got {n_threads!r}")
        self.settings = DecodeSettings(
            size=size, resize=resize, pad=pad, channels=channels, dtype=dtype, window=window, frame=frame
        )
        self.n_threads = n_threads
        self.on_error = on_error
        self.paths = paths if isinstance(paths, PathTable) else PathTable(paths, root)
        n_files = self.paths.n_files()
        if (n_files == 0).any():
            missing = np.flatnonzero(n_files == 0)
            raise ValueError(
                f"{self.paths.argument}: {len(missing)} rows have no path, the first is row {missing[0]}; drop them"
            )
        if len(n_files) and (n_files != n_files[0]).any():
            odd = int(np.flatnonzero(n_files != n_files[0])[0])
            raise ValueError(
                f"{self.paths.argument}: row {odd} has {n_files[odd]} files, but row 0 has {n_files[0]}; "
                "give every row the same number of files"
            )
        self._n_files = int(n_files[0]) if len(n_files) else 1
        if check:
            self.paths.require_files()
        self._file_shape = self._first_shape()

    def _first_shape(self):
        if len(self.paths) == 0:
            if self.settings.size is None:
                raise ValueError("there are no paths to tell the size of the images from: give size=")
            return self.settings.size if self.settings.channels in (None, 1) else (3, *self.settings.size)
        first = self.paths[0][0]
        with naming(first):
            return self.settings.row_shape(first)

    @property
    def _row_shape(self):
        if self._n_files == 1:
            return self._file_shape
        channels = self._file_shape[0] if len(self._file_shape) == 3 else 1
        return (self._n_files * channels, *self._file_shape[-2:])

    @property
    def shape(self):
        return (len(self.paths), *self._row_shape)

    @property
    def dtype(self):
        return np.dtype(self.settings.dtype)

    def take(self, rows):
        """Give some rows as a reader of their own, which pickles without the others.

        Parameters
        ----------
        rows : ndarray of int
            Row numbers.

        Returns
        -------
        ImageFiles
            Those rows.
        """
        files = object.__new__(type(self))
        files.__dict__.update(self.__dict__)
        files.paths = self.paths.take(rows)
        return files

    def original_shapes(self, rows):
        """Give the sizes of images before they are resized, from their headers.

        Parameters
        ----------
        rows : sequence of int
            Row numbers.

        Returns
        -------
        list of tuple of int
            Height and width as displayed; ``(0, 0)`` where the file cannot be read and that is no error.
        """

        def read(row):
            path = self.paths[row][0]
            try:
                with naming_row(row), naming(path):
                    return read_header(path).shape
            except (OSError, ValueError):
                if self.on_error == "raise":
                    raise
                return (0, 0)

        return thread_map(read, rows, self.n_threads)

    def cache_key(self, rows):
        """Describe what reading rows gives, without reading them.

        Parameters
        ----------
        rows : sequence of int
            Row numbers.

        Yields
        ------
        str
            Settings, then path, size and time of the last change of each file.
        """
        yield f"{type(self).__name__} {self._row_shape} {self.on_error} {self.settings}"
        yield from self.paths.fingerprint(rows)

    def _read(self, rows):
        # Rows may repeat within a batch, and tables repeat paths: each set of files is decoded once.
        slots = {}
        places = [slots.setdefault(self.paths[row], len(slots)) for row in rows]
        first_rows = dict(zip(reversed(places), reversed(rows.tolist())))
        batch = np.empty((len(slots), *self._row_shape), dtype=self.dtype)

        def decode(slot):
            try:
                self._decode_into(batch[slot], first_rows[slot])
            except (OSError, ValueError) as error:
                if self.on_error == "raise":
                    raise
                batch[slot] = self.settings.pad * self.settings.limit
                return str(error)
            return None

        problems = [text for text in thread_map(decode, range(len(slots)), self.n_threads) if text is not None]
        if problems:
            warnings.warn(
                f"{len(problems)} of {len(slots)} images could not be read and are blank: {'; '.join(problems)}",
                stacklevel=2,
            )
        return batch if len(slots) == len(rows) else batch[places]

    def _decode_into(self, pixels, row):
        parts = pixels.reshape(self._n_files, *self._file_shape)
        for part, path in zip(parts, self.paths[row]):
            with naming_row(row):
                image = decode_with(path, self.settings)
            if image.shape != self._file_shape:
                remedy = "channels=" if image.shape[-2:] == self._file_shape[-2:] else "size="
                raise ValueError(
                    f"row {row}: {path} has shape {image.shape}, but the first file has {self._file_shape}; "
                    f"give {remedy} to bring all files to one shape"
                )
            part[...] = image
