"""Lung masks of CheXmask tables, for the loaders of the radiographs they belong to."""

import warnings

import numpy as np
import pandas as pd

from ..images import MaskFiles
from ..images._chexmask import _PARTS, parse_landmarks

_IMAGE_COLUMNS = ("ImageID", "image_id", "Image Index", "Path", "dicom_id", "Image ID")
_QUALITY = "Dice RCA (Mean)"
_LUNGS = ("Left Lung", "Right Lung")
_PREPROCESSED = (1024, 1024)  # crop, pad to a square, scale: geometry that the published images do not share
_TOLERANCE = 2  # pixels by which a mask and its landmarks may differ
_ROWS_AT_ONCE = 2000  # a row holds some 20 kB of text


def chexmask_masks(path, names, shape, min_dice, resize, *, key=str, native=None):
    """Make the lung masks of images from a CheXmask table.

    Parameters
    ----------
    path : path-like
        Table, ``.csv`` or ``.csv.gz``.
    names : sequence of str of length n
        Names of the images.
    shape : tuple of (H, W)
        Size of the masks to make.
    min_dice : float
        Least "Dice RCA (Mean)" of a mask that is used.
    resize : str
        How the images come to that size.
    key : callable, default=str
        Brings names of images and of the table to one form.
    native : tuple of (H, W), default=None
        Size of all images as published, if they have one; stands in for sizes the table leaves blank.

    Returns
    -------
    MaskFiles
        Lungs; rows without a good mask have none.

    Raises
    ------
    ValueError
        If the table lacks columns or was made for preprocessed images.

    References
    ----------
    N. Gaggion et al., "CheXmask: a large-scale dataset of anatomical segmentation masks for multi-center chest x-ray
    images", Scientific Data 11, 511, 2024.
    """
    if not 0 <= min_dice <= 1:
        raise ValueError(f"min_dice must lie in [0, 1], got {min_dice!r}")
    keys = [key(name) for name in names]
    table = _read(path, set(keys), key)
    sizes = _sizes(table, path, native)
    good = table[_QUALITY].to_numpy(dtype=float) >= min_dice
    runs, shapes, contradicting = {}, {}, 0
    for position in np.flatnonzero(good):
        row = table.iloc[position]
        size = _orientation(row, sizes[position])
        if size is None:
            contradicting += 1
            continue
        runs[row["key"]], shapes[row["key"]] = [row[lung] for lung in _LUNGS], size
    absent = len(set(keys) - set(table["key"]))
    if absent or contradicting:
        warnings.warn(
            f"{absent} of {len(keys)} images are not in the CheXmask table and {contradicting} of its masks contradict "
            "their landmarks; these images have no mask",
            UserWarning,
            stacklevel=3,
        )
    return MaskFiles(
        [runs.get(key) for key in keys],
        shape,
        kind="rle",
        dialect="chexmask",
        original_shapes=[shapes.get(key, shape) for key in keys],
        resize=resize,
    )


def _read(path, wanted, key):
    """Read the rows of the wanted images, some at a time since whole tables take gigabytes."""
    header = [str(name).strip() for name in pd.read_csv(path, nrows=0).columns]
    image = next((name for name in _IMAGE_COLUMNS if name in header), None)
    needed = [_QUALITY, "Landmarks", *_LUNGS, "Height", "Width"]
    missing = [name for name in needed if name not in header]
    if image is None or missing:
        lacks = missing or f"one of {list(_IMAGE_COLUMNS)}"
        raise ValueError(f"{str(path)!r} is no CheXmask table: it lacks {lacks} and has {header}")
    parts = []
    columns = [image, *needed]
    for part in pd.read_csv(path, header=0, names=header, usecols=columns, chunksize=_ROWS_AT_ONCE, dtype={image: str}):
        part["key"] = part[image].map(key)
        parts.append(part[part["key"].isin(wanted)])
    table = pd.concat(parts, ignore_index=True)
    double = table["key"].duplicated()
    if double.any():
        raise ValueError(f"{str(path)!r} has several rows for {table['key'][double].iloc[0]!r}")
    return table


def _sizes(table, path, native):
    """Give height and width of every row, as the table has them."""
    sizes = table[["Height", "Width"]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    blank = np.isnan(sizes).any(axis=1)
    if native is not None:
        sizes = np.where(blank[:, None], native, sizes)
    elif blank.any() or (len(sizes) and (sizes == _PREPROCESSED).all()):
        raise ValueError(
            f"{str(path)!r} holds masks of preprocessed images of 1024 x 1024, which do not fit the published ones; "
            "use the table in OriginalResolution/"
        )
    return sizes.astype(int)


def _orientation(row, size):
    """Give the size in which both lungs agree with their landmarks, or None.

    Some tables hold the width in the column of the height; the mask decodes either way, to another picture.
    """
    try:
        points = parse_landmarks(row["Landmarks"])
        numbers = [_runs(row[lung]) for lung in _LUNGS]
    except ValueError:
        return None
    boxes = [_box(points[_PARTS[lung]]) for lung in _LUNGS]
    height, width = (int(side) for side in size)
    for shape in ((height, width), (width, height)):
        if all(_agrees(runs, box, shape) for runs, box in zip(numbers, boxes)):
            return shape
    return None


def _runs(text):
    """Give start and length of every run."""
    if not isinstance(text, str) or not text.isascii() or not text.replace(" ", "").isdigit():
        raise ValueError("not run lengths")
    return np.fromstring(text, dtype=np.int64, sep=" ").reshape(-1, 2)  # five times faster than splitting the text


def _box(points):
    columns, rows = points.T
    return np.array([rows.min(), columns.min(), rows.max(), columns.max()])


def _agrees(runs, box, shape):
    """Tell from the runs alone, without decoding them, whether a mask fits into its box."""
    height, width = shape
    first = runs[:, 0] - 1
    last = first + runs[:, 1] - 1
    if first.min() < 0 or last.max() >= height * width:
        return False
    rows = first // width, last // width
    one_row = rows[0] == rows[1]
    left = np.where(one_row, first % width, 0).min()
    right = np.where(one_row, last % width, width - 1).max()
    return bool(np.abs(np.array([rows[0].min(), left, rows[1].max(), right]) - box).max() <= _TOLERANCE)
