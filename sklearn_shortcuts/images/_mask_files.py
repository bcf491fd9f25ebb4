"""Masks that are read or drawn when their rows are asked for, in the place of their resized image."""

import json
from numbers import Real

import numpy as np

from ._decode import read_mask
from ._headers import naming_row
from ._paths import PathTable, is_missing
from ._resize import RESIZE_MODES, as_size, place
from ._rle import DIALECTS, rle_decode
from ._shapes import FORMATS, boxes_to_masks, polygons_to_masks
from ._sources import RowSource
from ._threads import thread_map

_KINDS = ("path", "rle", "box", "polygon")


class MaskFiles(RowSource):
    """Rows of masks from files, run lengths, boxes or polygons, aligned with images of a final size.

    A mask goes through the geometric transform of its image: the same letterbox, the same cut, with the nearest pixel
    taken instead of an average. Several files, run lengths or boxes of a row are united.

    Parameters
    ----------
    sources : array-like of shape (n,)
        What each row has, or a list of what it has: paths of mask files; run lengths as in :func:`rle_decode`; boxes
        as in :func:`boxes_to_masks`; or polygons as in :func:`polygons_to_masks`. Boxes and polygons may be JSON
        text. ``None``, NaN and "" are missing, while an empty list of boxes or polygons is a mask without pixels.
    shape : int or tuple of int
        ``(height, width)`` of the images that the masks belong to, after resizing.
    kind : {"path", "rle", "box", "polygon"}, default="path"
        What ``sources`` holds.
    threshold : float, default=None
        Least value of a mask file that is inside, as stored: 200 for files that mark the inside by 255 and what is
        unknown by 127. By default every value above 0 is inside.
    dialect : {"siim", "chexmask", "kaggle", "coco"}, default=None
        How run lengths are written; required for them.
    box_format : {"corners", "xywh"}, default="corners"
        How boxes are written.
    original_shapes : ImageFiles, tuple of int or array-like of shape (n, 2), default=None
        ``(height, width)`` of the images before resizing, in which run lengths, boxes and polygons are given; a
        reader of images is asked for them row by row, and the mask of an image that it gives as blank is blank too. By
        default files have the size of their image, and the others are given in ``shape``.
    resize : {"letterbox", "stretch", "crop"}, default="letterbox"
        As for the images.
    missing : {"unknown", "empty"}, default="unknown"
        Whether a missing mask is none at all, which :attr:`has_mask` tells, or a mask without pixels: annotators who
        found nothing often leave the cell blank.
    root : str or path-like, default=None
        Folder that relative paths start from; by default the current one.
    check : bool, default=False
        Look at once whether every file exists.
    n_threads : int, default=None
        Threads that read files; by default one per processor, at most 8.

    Attributes
    ----------
    shape : tuple of int
        ``(n, H, W)``.
    dtype : numpy.dtype
        bool; True is inside.
    has_mask : ndarray of bool of shape (n,)
        Rows that have a mask. The others read as all False.

    Raises
    ------
    ValueError
        If a mask cannot be read, leaves its image or, with proportions kept, has others than its image: names the
        row and the file.

    See Also
    --------
    ImageFiles : The images.

    Examples
    --------
    >>> from sklearn_shortcuts.images import MaskFiles
    >>> masks = MaskFiles([(0, 0, 3, 1), None], (4, 4), kind="box", original_shapes=(4, 8), resize="stretch")
    >>> masks[0].astype(int)
    array([[1, 0, 0, 0],
           [1, 0, 0, 0],
           [1, 0, 0, 0],
           [1, 0, 0, 0]])
    >>> masks.has_mask
    array([ True, False])
    """

    def __init__(
        self,
        sources,
        shape,
        *,
        kind="path",
        threshold=None,
        dialect=None,
        box_format="corners",
        original_shapes=None,
        resize="letterbox",
        missing="unknown",
        root=None,
        check=False,
        n_threads=None,
    ):
        for name, value, known in (
            ("kind", kind, _KINDS),
            ("resize", resize, RESIZE_MODES),
            ("missing", missing, ("unknown", "empty")),
            ("box_format", box_format, FORMATS),
            ("dialect", dialect, (None, *DIALECTS)),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {value!r}")
        if kind == "rle" and dialect is None:
            raise ValueError("run lengths need dialect=, one of 'siim', 'chexmask', 'kaggle' and 'coco'")
        if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, Real)):
            raise ValueError(f"threshold must be a number on the scale of the stored values or None, got {threshold!r}")
        self._size = as_size(shape, "shape")
        self.kind = kind
        self.threshold = threshold
        self.dialect = dialect
        self.box_format = box_format
        self.resize = resize
        self.missing = missing
        self.n_threads = n_threads
        if kind == "path":
            self._entries = sources if isinstance(sources, PathTable) else PathTable(sources, root, "sources")
            self._present = self._entries.n_files() > 0
            if check:
                self._entries.require_files()
        else:
            self._entries = _as_object_array(sources)
            self._present = np.array([_has_content(entry) for entry in self._entries], dtype=bool)
        self._original_shapes = _as_shapes(original_shapes, len(self._entries))

    @property
    def shape(self):
        return (len(self._entries), *self._size)

    @property
    def dtype(self):
        return np.dtype(bool)

    @property
    def paths(self):
        """The table of paths, for masks from files."""
        return self._entries if self.kind == "path" else None

    @property
    def has_mask(self):
        """Which rows have a mask."""
        return self._present if self.missing == "unknown" else np.ones(len(self), dtype=bool)

    def take(self, rows):
        """Give some rows as a reader of their own, which pickles without the others.

        Parameters
        ----------
        rows : ndarray of int
            Row numbers.

        Returns
        -------
        MaskFiles
            Those rows.
        """
        masks = object.__new__(type(self))
        masks.__dict__.update(self.__dict__)
        masks._entries = self._entries.take(rows)
        masks._present = self._present[rows]
        shapes = self._original_shapes
        if shapes is not None:
            masks._original_shapes = shapes[rows] if isinstance(shapes, np.ndarray) else shapes.take(rows)
        return masks

    def cache_key(self, rows):
        """Describe what reading rows gives, without reading them.

        Parameters
        ----------
        rows : sequence of int
            Row numbers.

        Yields
        ------
        str
            Settings, then the content of each row, for files their path, size and time of the last change.
        """
        settings = (self._size, self.kind, self.threshold, self.dialect, self.box_format, self.resize)
        yield f"{type(self).__name__} {settings}"
        if self.kind == "path":
            yield from self._entries.fingerprint(rows)
        else:
            yield from (repr(_as_lists(self._entries[row])) for row in rows)
        if isinstance(self._original_shapes, np.ndarray):
            yield repr(self._original_shapes[rows].tolist())
        elif self._original_shapes is not None:
            yield from self._original_shapes.cache_key(rows)

    def _read(self, rows):
        unique, places = np.unique(rows, return_inverse=True)
        present = unique[self._present[unique]]
        masks = np.zeros((len(unique), *self._size), dtype=bool)
        if len(present):
            shapes = self._shapes_of(present)
            slots = np.flatnonzero(self._present[unique])

            def draw(number):
                masks[slots[number]] = self._draw(present[number], shapes[number])

            # Drawing holds the interpreter lock, so that threads would only wait for each other.
            thread_map(draw, range(len(present)), self.n_threads if self.kind == "path" else 1)
        return masks[places]

    def _shapes_of(self, rows):
        shapes = self._original_shapes
        if shapes is None or (self.kind == "path" and self.resize == "stretch"):
            return [None] * len(rows)
        if isinstance(shapes, np.ndarray):
            return [tuple(shape) for shape in shapes[rows].tolist()]
        return shapes.original_shapes(rows)

    def _draw(self, row, original):
        if original == (0, 0):  # the image could not be read and is blank
            return np.zeros(self._size, dtype=bool)
        with naming_row(row):
            if self.kind == "path":
                return self._read_files(row, original)
            canvas = self._size if original is None else original
            mask = self._draw_entry(self._entries[row], canvas)
        return place(canvas, self._size, self.resize).resize(mask, nearest=True)

    def _draw_entry(self, entry, canvas):
        if self.kind == "rle":
            if isinstance(entry, (list, tuple)):  # several columns of a table, of which some are empty
                entry = [part for part in entry if not is_missing(part)]
            return rle_decode(entry, canvas, self.dialect)
        try:
            if isinstance(entry, str):
                entry = json.loads(entry)
            if self.kind == "box":
                return boxes_to_masks([entry], canvas, format=self.box_format)[0]
            return polygons_to_masks([entry], canvas)[0]
        except json.JSONDecodeError:
            raise ValueError(f"{self.kind} text must be JSON, got {entry!r}") from None
        except ValueError as error:  # they are given one row at a time and call it row 0
            raise ValueError(str(error).replace(" of row 0", "")) from None

    def _read_files(self, row, original):
        united = np.zeros(self._size, dtype=bool)
        for path in self._entries[row]:
            mask = read_mask(path, self.threshold)
            whole = mask.shape if original is None else original
            if self.resize != "stretch" and not _same_proportions(mask.shape, whole):
                raise ValueError(
                    f"{path} has {mask.shape[0]} x {mask.shape[1]} pixels, other proportions than its image with "
                    f"{whole[0]} x {whole[1]}; if both show the same field, give resize='stretch'"
                )
            united |= place(whole, self._size, self.resize).resize(mask, nearest=True)
        return united


def _same_proportions(mask, image):
    """Tell whether a mask may be its image at another scale; sides were rounded to whole pixels then."""
    scales = [ours / theirs for ours, theirs in zip(mask, image)]
    return any(all(abs(theirs * scale - ours) <= 1 for ours, theirs in zip(mask, image)) for scale in scales)


def _has_content(entry):
    """Tell whether a cell holds anything; several cells do if one of them does."""
    if isinstance(entry, (list, tuple)) and len(entry):
        return any(_has_content(part) for part in entry)
    return not is_missing(entry)


def _as_object_array(sources):
    entries = list(sources)
    array = np.empty(len(entries), dtype=object)
    array[:] = entries
    return array


def _as_lists(entry):
    """Give an entry in a form whose text is complete: arrays are abbreviated when printed."""
    if isinstance(entry, np.ndarray):
        return entry.tolist()
    return [_as_lists(part) for part in entry] if isinstance(entry, (list, tuple)) else entry


def _as_shapes(shapes, n_rows):
    if shapes is None or hasattr(shapes, "original_shapes"):
        if shapes is not None and len(shapes) != n_rows:
            raise ValueError(f"original_shapes has {len(shapes)} rows, but there are {n_rows} masks")
        return shapes
    array = np.asarray(shapes)
    if array.ndim == 1:
        array = np.broadcast_to(array, (n_rows, *array.shape))
    if array.shape != (n_rows, 2) or array.dtype.kind not in "iu" or (array < 1).any():
        raise ValueError(
            f"original_shapes must be (height, width) or one such pair for each of the {n_rows} rows, "
            f"got an array of shape {np.shape(shapes)}"
        )
    return array
