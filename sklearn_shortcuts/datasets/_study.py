"""A study of one's own: a folder with a table that names images, masks and everything else."""

import os
import re
import warnings
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from ..images import ImageFiles, MaskFiles
from ..images._sources import MemmapRows, RowSource, is_mappable
from ._layout import check_choice, files_present, keep_present, keep_rows, make_bunch, read_table

_DEFAULTS = {
    "image": ("image", "dicom"),
    "masks": ("mask",),
    "groups": ("patient_id",),
    "target": ("label",),
}
_ARRAY_ROW = "row of the array"  # column that goes through the query with the table
# Row axis first; T marks signals. The value brings the axes to (n, C, ...).
_AXES = {"NHW": None, "NCHW": None, "NHWC": (0, 3, 1, 2), "NCT": None, "NTC": (0, 2, 1)}


def load_study(
    folder,
    *,
    table="metadata.csv",
    image=None,
    masks=None,
    target=None,
    groups=None,
    mask_threshold=None,
    query=None,
    size=None,
    channels=None,
    resize="letterbox",
    window="auto",
    array=None,
    array_key=None,
    index=None,
    axes=None,
    scale=None,
    on_missing="error",
    return_X_y=False,
):
    """Load a folder with a table of images, masks, labels and patients.

    The table has one row per image. Images are files that a column names, relative to the folder, or rows of one
    array file (``array``). All columns of the table become the metadata, so leave names and birth dates out of it.

    Parameters
    ----------
    folder : path-like
        Folder of the study.
    table : str, default="metadata.csv"
        CSV table in that folder.
    image : str, default=None
        Column of image paths; by default ``image`` or ``dicom``, whichever is there.
    masks : str, sequence of str or False, default=None
        Column of mask paths, or several in order of preference, such as ``("mask", "mask_pred")`` for predicted masks
        where nobody drew one; the metadata column ``mask_column`` then tells which was used. By default ``mask`` if
        there is such a column. False reads none.
    target : str, sequence of str or False, default=None
        Column of classes, or several columns of 0/1 labels. By default ``label`` if there is such a column. False
        sets none.
    groups : str or False, default=None
        Column of patients. By default ``patient_id`` if there is such a column. False sets none.
    mask_threshold : float, default=None
        Mask pixels at or above this stored value are inside; by default those above zero. Masks with 255 for the
        region, 127 for unknown and 0 for background want 200.
    query : str, default=None
        Rows to keep, as for :meth:`pandas.DataFrame.query`: ``"source == 'kermany' and split == 'train'"``.
    size : int or (int, int), default=None
        Height and width of images and masks in pixels. By default that of the first image, and an image of another
        size is an error.
    channels : {1, 3}, default=None
        Gray or RGB; by default as the first image.
    resize : str, default="letterbox"
        How images and masks reach that size, see :class:`~sklearn_shortcuts.images.ImageFiles`.
    window : "auto", tuple of float or None, default="auto"
        Gray-level window of DICOM files, see :func:`~sklearn_shortcuts.images.read_dicom`.
    array : str, default=None
        ``.npz`` or ``.npy`` file in the folder that holds all images or signals, instead of ``image``.
    array_key : str, default=None
        Name of the array in an ``.npz`` file; needed if it holds several.
    index : str, default=None
        Column with the array row of every table row; by default row i of the table is row i of the array.
    axes : {"NHW", "NCHW", "NHWC", "NCT", "NTC"}, default=None
        Order of the array's axes (N rows, C channels, H height, W width, T time). With T, the rows are signals. By
        default NHW or NCHW, by the number of axes.
    scale : float, default=None
        Factor that the array's values are multiplied by when read, as float32: 1e-3 makes millivolts of microvolts.
    on_missing : {"error", "drop"}, default="error"
        What to do with images or masks the table names that do not exist: raise; or leave out the rows without image,
        keep those without mask, and warn with counts.
    return_X_y : bool, default=False
        Return ``(bunch, target)`` instead of the bunch alone.

    Returns
    -------
    bunch : ImageBunch
        Images, read when asked for, with ``target``, ``masks``, ``groups`` and ``metadata`` as far as they are there.
    target : ndarray of shape (n,) or DataFrame of shape (n, n_labels)
        Only with ``return_X_y=True``.

    Raises
    ------
    FileNotFoundError
        If folder, table, images or masks are missing.
    ValueError
        If a column is missing, or labels or rows do not fit.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, pandas as pd
    >>> from PIL import Image
    >>> from sklearn_shortcuts.datasets import load_study
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a.png", "b.png"):
    ...         Image.fromarray(np.full((8, 4), 51, dtype=np.uint8)).save(os.path.join(folder, name))
    ...     table = pd.DataFrame({"image": ["a.png", "b.png"], "label": ["sick", "well"], "patient_id": [7, 8]})
    ...     table.to_csv(os.path.join(folder, "metadata.csv"), index=False)
    ...     X, y = load_study(folder, size=4, return_X_y=True)
    ...     print(X.shape, y.tolist(), X.groups.tolist(), np.asarray(X)[0, 0].tolist())
    (2, 4, 4) ['sick', 'well'] [7, 8] [0.0, 0.2, 0.2, 0.0]
    """
    folder = Path(folder).expanduser()
    check_choice("on_missing", on_missing, ("error", "drop"))
    if not (folder / table).is_file():
        kind = "" if folder.is_dir() else " (there is no such folder)"
        raise FileNotFoundError(
            f"{str(folder)!r} holds no {table}{kind}; a study is a folder with a CSV table, one row per image, "
            "that names image files relative to the folder"
        )
    frame = _read_study_table(folder / table, "patient_id" if groups is None else groups)
    if array is not None:
        values = _read_array(folder / array, array_key)
        frame = frame.assign(**{_ARRAY_ROW: _array_index(frame, index, len(values), array)})
    if query is not None:
        frame = _query(frame, query)
    if array is None:
        for name, value in {"array_key": array_key, "index": index, "axes": axes, "scale": scale}.items():
            if value is not None:
                raise ValueError(f"{name} needs array, the name of the file that holds the images")
        column = _column(frame, image, "image", required=True)
        paths = [_path(folder, name) for name in frame[column]]
        frame, paths = keep_present(frame, paths, on_missing)
        images, signal = ImageFiles(paths, size=size, channels=channels, resize=resize, window=window), False
    else:
        if image is not None or size is not None or channels is not None:
            raise ValueError("image, size and channels are for image files, not for array")
        images, signal = _array_source(values, frame.pop(_ARRAY_ROW).to_numpy(), axes, scale)
    fields = {}
    mask_columns = _columns(frame, masks, "masks")
    if mask_columns:
        files, used = _choose_masks(folder, frame, mask_columns, on_missing)
        fields["masks"] = MaskFiles(
            files,
            images.shape[-2:],
            threshold=mask_threshold,
            original_shapes=images if array is None else None,
            resize=resize,
        )
        if len(mask_columns) > 1:
            frame = frame.assign(mask_column=used)
    elif mask_threshold is not None:
        raise ValueError("mask_threshold is given, but there is no column of masks")
    group_column = _column(frame, groups, "groups")
    if group_column is not None:
        fields["groups"] = _complete(frame, [group_column], "groups")[group_column].to_numpy()
    classes = _target(frame, target)
    if return_X_y and classes is None:
        raise ValueError("return_X_y=True needs target, the column of classes")
    return make_bunch(images, return_X_y=return_X_y, target=classes, metadata=frame, signal=signal, **fields)


def _read_study_table(path, group_column):
    """Read the table, with patients as they are written: as numbers, 007 and 7 would become one patient."""
    texts = {group_column: str} if isinstance(group_column, str) else {}
    frame = read_table(path, dtype=texts)
    if isinstance(group_column, str) and group_column in frame:
        patients = frame[group_column]
        numbers = pd.to_numeric(patients, errors="coerce")
        is_whole = numbers.dtype.kind == "i" or (numbers.abs().max() < 2**53)
        is_same = numbers.nunique() == patients.nunique() and not patients.str.match("-?0[0-9]", na=False).any()
        if is_whole and is_same and (numbers.isna() == patients.isna()).all():
            frame[group_column] = numbers
    return frame


def _path(folder, name):
    """Give the path that a cell of the table names, on whatever system the table was written."""
    if not isinstance(name, str) or not name.strip():
        return None
    name = name.strip()
    if not os.path.isabs(name):
        name = os.path.join(*re.split(r"[/\\]+", name))
    return os.path.join(folder, name)


def _query(frame, query):
    try:
        keep = frame.eval(query, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # pandas passes on whatever the expression raises
        raise ValueError(f"query {query!r} cannot be evaluated: {error}; columns are {list(frame.columns)}") from error
    if not isinstance(keep, pd.Series) or keep.dtype != bool:
        raise ValueError(f"query {query!r} must be true or false for every row")
    return keep_rows(frame, keep, f"query {query!r}")


def _columns(frame, chosen, name):
    """Give the columns an argument names, or those it names by default as far as they are there."""
    if chosen is False:
        return []
    if chosen is True:
        raise ValueError(f"{name} must be the name of a column, False or None, got True")
    if chosen is None:
        return [column for column in _DEFAULTS[name] if column in frame.columns][:1]
    columns = [chosen] if isinstance(chosen, str) else list(chosen)
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{name}: the table has no column {missing[0]!r}; it has {list(frame.columns)}")
    return columns


def _column(frame, chosen, name, required=False):
    columns = _columns(frame, chosen, name)
    if len(columns) > 1 or (required and not columns):
        raise ValueError(
            f"{name} must name one column, got {chosen!r}; the table has {list(frame.columns)}"
            + (", or pass array=" if required else "")
        )
    return columns[0] if columns else None


def _complete(frame, columns, name):
    """Give columns that have a value in every row."""
    blank = frame[columns].isna().any(axis=1)
    if blank.any():
        raise ValueError(
            f"{name}: {blank.sum()} of {len(frame)} rows have no value in {columns}, the first is row "
            f"{np.flatnonzero(blank)[0]}; leave them out with query=, or pass {name}=False"
        )
    return frame[columns]


def _target(frame, target):
    columns = _columns(frame, target, "target")
    if not columns:
        return None
    values = _complete(frame, columns, "target")
    if target is None or isinstance(target, str):
        column = values[columns[0]]
        return column.to_numpy(dtype=str) if pd.api.types.is_string_dtype(column) else column.to_numpy()
    if not values.isin([0, 1]).all(axis=None):
        raise ValueError(f"target: several columns must hold 0 and 1 only, as labels do; {columns} do not")
    return values.astype(np.int8)


def _choose_masks(folder, frame, columns, on_missing):
    """Give the first mask file each row names, and the column it came from."""
    used = pd.Series(None, index=frame.index, dtype=object)
    files = [None] * len(frame)
    for column in columns:
        for row, name in enumerate(frame[column]):
            if files[row] is None and (path := _path(folder, name)) is not None:
                files[row], used.iloc[row] = path, column
    named = np.array([path is not None for path in files], dtype=bool)
    absent = named & ~files_present(files)
    if absent.any():
        rows = np.flatnonzero(absent)
        message = f"{len(rows)} of {named.sum()} masks named in the table have no file, such as {files[rows[0]]}"
        if on_missing == "error":
            raise FileNotFoundError(f"{message}. Complete the folder, or pass on_missing='drop' to do without them.")
        warnings.warn(f"{message}; these rows are kept without a mask", UserWarning, stacklevel=3)
        for row in rows:
            files[row], used.iloc[row] = None, None
    return files, used


def _array_index(frame, index, length, array):
    """Give the array row of every table row."""
    if index is None:
        if len(frame) != length:
            raise ValueError(
                f"the table has {len(frame)} rows and {array} has {length}; give index, the column of row numbers"
            )
        return np.arange(length)
    column = _column(frame, index, "index")
    rows = pd.to_numeric(frame[column], errors="coerce")
    wrong = ~((rows % 1 == 0) & (rows >= 0) & (rows < length))
    if wrong.any():
        raise ValueError(
            f"index: {frame[column][wrong].iloc[0]!r} in column {column!r} is no row of {array}, which has rows 0 to "
            f"{length - 1}"
        )
    return rows.to_numpy(dtype=np.intp)


def _array_source(values, rows, axes, scale):
    if axes is None and values.ndim not in (3, 4):
        raise ValueError(f"the array has shape {values.shape}; give axes, one of {list(_AXES)}")
    axes = {3: "NHW", 4: "NCHW"}[values.ndim] if axes is None else axes
    check_choice("axes", axes, tuple(_AXES))
    if values.ndim != len(axes):
        raise ValueError(f"axes={axes!r} has {len(axes)} axes, but the array has shape {values.shape}")
    return ArrayRows(values, rows, _AXES[axes], scale), "T" in axes


def _read_array(path, key):
    if not path.is_file():
        raise FileNotFoundError(f"array: {str(path)!r} does not exist")
    try:
        if path.suffix == ".npy":
            if key is not None:
                raise ValueError("array_key is for .npz files")
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            return MemmapRows(values) if is_mappable(values) else values
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            names = list(file.files)
            if key is None and len(names) > 1:
                raise ValueError(f"it holds {names}; choose one by array_key")
            if key is not None and key not in names:
                raise ValueError(f"it holds {names}, not {key!r}")
            return file[names[0] if key is None else key]
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"array: {str(path)!r} cannot be read: {error}") from error


class ArrayRows(RowSource):
    """Rows of an array, with axes put in order and values scaled when they are read.

    Parameters
    ----------
    values : ndarray or memmap of shape (m, ...)
        All rows.
    rows : ndarray of int of shape (n,)
        Rows of ``values`` that are the rows of this source.
    order : tuple of int or None
        Axes of ``values`` in the order wanted.
    scale : float or None
        Factor; the rows are float32 then.
    """

    def __init__(self, values, rows, order, scale):
        self.values = values
        self.rows = rows
        self.order = order
        self.scale = None if scale is None else np.float32(scale)

    @property
    def shape(self):
        shape = self.values.shape if self.order is None else tuple(self.values.shape[axis] for axis in self.order)
        return (len(self.rows), *shape[1:])

    @property
    def dtype(self):
        return self.values.dtype if self.scale is None else np.dtype(np.float32)

    def _read(self, rows):
        batch = np.asarray(self.values[self.rows[rows]])
        if self.order is not None:
            batch = batch.transpose(self.order)
        return np.ascontiguousarray(batch) if self.scale is None else np.multiply(batch, self.scale, dtype=np.float32)

    def cache_key(self, rows):
        """Describe what reading rows gives: settings, and the values themselves or the file that holds them."""
        yield f"{type(self).__name__} {self.shape[1:]} {self.order} {self.scale}"
        if isinstance(self.values, MemmapRows):
            status = os.stat(self.values.filename)
            yield f"{self.values.filename}|{status.st_size}|{status.st_mtime_ns}|{self.rows[rows].tolist()}"
        else:
            yield joblib.hash(self.values[self.rows[rows]])

    def take(self, rows):
        """Give some rows as a source of their own, without the others."""
        return type(self)(np.asarray(self.values[self.rows[rows]]), np.arange(len(rows)), self.order, self.scale)
