"""Lung and heart masks of CheXmask: landmarks, and the check that tells whether a mask was decoded right."""

import re

import numpy as np

from ._rle import rle_decode
from ._shapes import masks_to_boxes

__all__ = ["check_against_landmarks", "decode_chexmask", "parse_landmarks"]

_PARTS = {"Right Lung": slice(0, 44), "Left Lung": slice(44, 94), "Heart": slice(94, 120)}
_N_LANDMARKS = 120


def parse_landmarks(text, part=None):
    """Read the landmarks of a CheXmask row.

    Parameters
    ----------
    text : str
        120 points as pairs of x and y, separated by commas or printed by NumPy without them.
    part : {"Right Lung", "Left Lung", "Heart"}, default=None
        Give the points of one organ only; named as the columns of the table.

    Returns
    -------
    ndarray of int of shape (n_points, 2)
        Column x and row y in pixels, from 0.

    Raises
    ------
    ValueError
        If the text does not hold 120 points or ``part`` is unknown.

    References
    ----------
    Gaggion et al. (2024). CheXmask: a large-scale dataset of anatomical segmentation masks for multi-center chest
    x-ray images. Scientific Data 11, 511.

    Examples
    --------
    >>> from sklearn_shortcuts.images import parse_landmarks
    >>> text = " ".join(f"[{x} {x + 1}]" for x in range(120))
    >>> parse_landmarks(text, "Heart")[0]
    array([94, 95])
    """
    if part is not None and part not in _PARTS:
        raise ValueError(f"part must be None or one of {', '.join(_PARTS)}, got {part!r}")
    numbers = [int(number) for number in re.findall(r"-?\d+", str(text))]
    if len(numbers) != 2 * _N_LANDMARKS:
        raise ValueError(
            f"landmarks must be {_N_LANDMARKS} pairs of x and y, got {len(numbers)} numbers; "
            "was the text shortened when it was printed?"
        )
    points = np.array(numbers).reshape(-1, 2)
    return points if part is None else points[_PARTS[part]]


def check_against_landmarks(mask, landmarks, tolerance=2):
    """Tell whether a mask and its landmarks have the same bounding box.

    A mask decoded with height and width exchanged, or in another dialect, keeps its area but not its box.

    Parameters
    ----------
    mask : array-like of shape (H, W)
        Decoded mask; other than 0 is inside.
    landmarks : array-like of shape (n_points, 2)
        Points x, y of the same organ, see :func:`parse_landmarks`.
    tolerance : float, default=2
        Largest difference of any side of the boxes in pixels.

    Returns
    -------
    bool
        Whether the boxes agree; False for an empty mask.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.images import check_against_landmarks
    >>> mask = np.zeros((6, 9))
    >>> mask[1:4, 2:8] = 1
    >>> check_against_landmarks(mask, [[2, 1], [7, 1], [7, 3], [2, 3]], tolerance=0)
    True
    """
    mask, landmarks = np.asarray(mask), np.asarray(landmarks)
    if mask.ndim != 2:
        raise ValueError(f"mask must have shape (H, W), got {mask.shape}")
    if landmarks.ndim != 2 or landmarks.shape[1] != 2 or len(landmarks) == 0:
        raise ValueError(f"landmarks must have shape (n_points, 2), got {landmarks.shape}")
    if not mask.any():
        return False
    columns, rows = landmarks.T
    wanted = (rows.min(), columns.min(), rows.max(), columns.max())
    return bool(np.abs(masks_to_boxes(mask[None])[0] - wanted).max() <= tolerance)


def decode_chexmask(encoded, landmarks, shape, tolerance=2):
    """Decode one organ of CheXmask, exchanging height and width if the landmarks say so.

    Some tables of CheXmask name the width as the height, and the mask fits either way.

    Parameters
    ----------
    encoded : str
        Run lengths of the organ.
    landmarks : array-like of shape (n_points, 2)
        Points x, y of the same organ, see :func:`parse_landmarks`.
    shape : tuple of (H, W)
        Size from the table.
    tolerance : float, default=2
        As in :func:`check_against_landmarks`.

    Returns
    -------
    ndarray of bool of shape (H, W) or (W, H)
        Mask, in the orientation that agrees with the landmarks.

    Raises
    ------
    ValueError
        If neither orientation agrees with the landmarks.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.images import decode_chexmask, rle_encode
    >>> mask = np.zeros((6, 9))
    >>> mask[1:4, 2:8] = 1
    >>> decode_chexmask(rle_encode(mask, "chexmask"), [[2, 1], [7, 3]], shape=(9, 6), tolerance=0).shape
    (6, 9)
    """
    height, width = shape
    for size in ((height, width), (width, height)):
        mask = rle_decode(encoded, size, "chexmask")
        if check_against_landmarks(mask, landmarks, tolerance):
            return mask
    raise ValueError(
        f"the mask does not agree with its landmarks within {tolerance} px as {height} x {width} or as "
        f"{width} x {height}; check shape, or leave the row out"
    )
