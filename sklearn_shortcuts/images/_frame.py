"""A table of paths and columns to a lazy bunch."""

import warnings

import numpy as np
import pandas as pd

from ._bunch import ImageBunch
from ._files import ImageFiles
from ._mask_files import MaskFiles
from ._paths import PathTable

FIELDS = ("artifact", "target", "groups", "sample_weight")


def bunch_from_frame(
    frame,
    image="image",
    *,
    masks=None,
    artifact=None,
    artifact_masks=None,
    target=None,
    groups=None,
    sample_weight=None,
    metadata=None,
    root=None,
    mask_root=None,
    size=None,
    channels=None,
    dtype="float32",
    resize="letterbox",
    pad=0.0,
    window="auto",
    mask_options=None,
    artifact_mask_options=None,
    n_threads=None,
    check=True,
    on_error="raise",
):
    """Make a lazy bunch from a table with one row per image.

    Parameters
    ----------
    frame : DataFrame of shape (n, n_columns)
        One row per image; paths and what is known of the images.
    image : str or list of str, default="image"
        Column of the image paths. Several columns make the channels, such as the slices of a volume.
    masks : str or list of str, default=None
        Column of the masks; those of several columns are united, such as left and right lung. A missing cell means
        that the row has no mask.
    artifact : str, default=None
        Column that tells whether the row carries the artifact.
    artifact_masks : str or list of str, default=None
        Column of the masks of the artifact.
    target : str or list of str, default=None
        Column of the classes, or columns of 0/1 labels.
    groups : str, default=None
        Column of the patients.
    sample_weight : str, default=None
        Column of the weights.
    metadata : list of str, default=None
        Columns to keep as metadata; by default all that serve no other purpose.
    root : str or path-like, default=None
        Folder that relative image paths start from; by default the current one.
    mask_root : str or path-like, default=None
        The same for masks; by default ``root``.
    size : int or tuple of int, default=None
        ``(height, width)`` of all images; by default that of the first file, and others are errors.
    channels : {1, 3}, default=None
        Gray or color; by default as in the first file.
    dtype : {"float32", "float64", "float16", "uint8", "uint16"}, default="float32"
        Floating-point images lie in [0, 1], integer images in the whole range of their type.
    resize : {"letterbox", "stretch", "crop"}, default="letterbox"
        How images and their masks come to ``size``, see :func:`decode_image`.
    pad : float, default=0.0
        Value of the margins of a letterbox, from 0 (black) to 1 (white).
    window : {"auto", "full"}, tuple (center, width), list of tuples or None, default="auto"
        Intensity window of DICOM files, see :func:`decode_image`.
    mask_options : dict, default=None
        Options of :class:`MaskFiles` that say how masks are given: ``kind``, ``threshold``, ``dialect``,
        ``box_format``, ``missing``.
    artifact_mask_options : dict, default=None
        The same for the masks of the artifact.
    n_threads : int, default=None
        Threads that decode; by default one per processor, at most 8.
    check : bool, default=True
        Look at once whether every file exists.
    on_error : {"raise", "warn"}, default="raise"
        What a file does that cannot be decoded, see :class:`ImageFiles`.

    Returns
    -------
    ImageBunch
        Images and masks are read when they are asked for, and masks stay on their images.

    Raises
    ------
    ValueError
        If a column is missing from the table, or a cell from a column that must be complete.
    FileNotFoundError
        If files are missing; says how many, and names rows.

    Warns
    -----
    UserWarning
        If rows share an image without sharing a group: splits might put it on both sides.

    See Also
    --------
    ImageLoader : The same as a step of a pipeline.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, pandas as pd
    >>> from sklearn_shortcuts.images import bunch_from_frame
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("a.npy", "b.npy"):
    ...     np.save(os.path.join(folder, name), np.zeros((30, 20), dtype=np.uint8))
    >>> frame = pd.DataFrame({"image": ["a.npy", "b.npy"], "age": [71, 55], "patient": ["p", "q"]})
    >>> bunch = bunch_from_frame(frame, groups="patient", root=folder, size=16)
    >>> bunch.shape, bunch.fields
    ((2, 16, 16), ('metadata', 'groups'))
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"frame must be a pandas DataFrame with a column of paths, got {type(frame).__name__}")
    columns = {
        "image": image,
        "masks": masks,
        "artifact": artifact,
        "artifact_masks": artifact_masks,
        "target": target,
        "groups": groups,
        "sample_weight": sample_weight,
        "metadata": metadata,
    }
    used = _require_columns(frame, columns)
    paths = PathTable(_rows_of(frame, image), root, f"column {image!r}")
    if check:
        paths.require_files(frame.index)
    files = ImageFiles(
        paths,
        size=size,
        channels=channels,
        dtype=dtype,
        resize=resize,
        pad=pad,
        window=window,
        n_threads=n_threads,
        on_error=on_error,
    )
    fields = {name: _field(frame, name, columns[name]) for name in FIELDS if columns[name] is not None}
    _warn_of_repeated_images(files, fields.get("groups"))
    for name, options in (("masks", mask_options), ("artifact_masks", artifact_mask_options)):
        if columns[name] is None:
            continue
        options = {
            "original_shapes": files,
            "resize": resize,
            "root": root if mask_root is None else mask_root,
            "n_threads": n_threads,
            **(options or {}),
        }
        sources = _rows_of(frame, columns[name])
        if options.get("kind", "path") == "path":
            sources = PathTable(sources, options["root"], f"column {columns[name]!r}")
        fields[name] = MaskFiles(sources, files.shape[-2:], **options)
        if check and fields[name].kind == "path":
            fields[name].paths.require_files(frame.index)
    others = [name for name in frame.columns if name not in used] if metadata is None else list(metadata)
    return ImageBunch(files, metadata=frame[others] if others else None, **fields)


def _require_columns(frame, columns):
    """Give the names of all columns that serve a purpose of their own."""
    used = set()
    for purpose, names in columns.items():
        for name in [] if names is None else names if isinstance(names, list) else [names]:
            if name not in frame.columns:
                raise ValueError(f"{purpose}: the table has no column {name!r}; it has {list(map(str, frame.columns))}")
            if isinstance(frame[name], pd.DataFrame):
                raise ValueError(f"{purpose}: the table has several columns {name!r}; rename or drop all but one")
            used.add(name)
    return used


def _rows_of(frame, column):
    if not isinstance(column, list):
        return frame[column].tolist()
    return list(zip(*(frame[name].tolist() for name in column)))


def _field(frame, name, column):
    values = frame[column]
    if name == "target":
        return values if isinstance(column, list) else np.asarray(values.infer_objects())
    missing = np.flatnonzero(values.isna())
    if len(missing):
        raise ValueError(
            f"{name}: column {column!r} is empty in {len(missing)} rows, the first is row {missing[0]} "
            f"(index {frame.index[missing[0]]!r}); fill it in or drop the rows"
        )
    return np.asarray(values)


def _warn_of_repeated_images(files, groups):
    keys = pd.Series(files.paths.keys())
    repeated = keys.duplicated(keep=False)
    if groups is not None:  # splits keep a group together
        repeated &= pd.Series(groups).groupby(keys, sort=False).transform("nunique") > 1
    if repeated.any():
        rows = np.flatnonzero(keys == keys[repeated.idxmax()])
        warnings.warn(
            f"{int(repeated.sum())} rows share their image with another row, such as rows {rows[0]} and {rows[1]} "
            f"({files.paths[rows[0]][0]}): give them one group, or a split may put the image on both sides",
            stacklevel=3,
        )
