"""Run-length encoded masks in the four dialects that public data sets use."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ._shapes import check_shape

__all__ = ["rle_decode", "rle_encode"]


@dataclass(frozen=True)
class _Dialect:
    """What tells the dialects of start-and-length pairs apart."""

    base: int  # number of the first pixel
    order: str  # "C": along rows, "F": down columns
    relative: bool  # starts count from the end of the run before
    empty: str  # how a mask without pixels is written


_PAIRS = {
    "siim": _Dialect(base=0, order="F", relative=True, empty="-1"),
    "chexmask": _Dialect(base=1, order="C", relative=False, empty=""),
    "kaggle": _Dialect(base=1, order="F", relative=False, empty=""),
}
DIALECTS = (*_PAIRS, "coco")


def rle_decode(encoded, shape, dialect):
    """Decode a run-length encoded mask.

    Parameters
    ----------
    encoded : str, bytes, sequence of int, dict, NaN, None, or list of such
        One mask, or a list of several that belong to the same image and are united. For ``"coco"``: counts, an object
        with ``"counts"`` and ``"size"``, or a compressed string. Otherwise starts and lengths as text, separated by
        blanks, or as integers. An empty text, ``"-1"``, None and NaN mean an empty mask in every dialect.
    shape : tuple of (H, W)
        Size of the image that was annotated, in pixels.
    dialect : {"siim", "chexmask", "kaggle", "coco"}
        ========== =========== ============= ==========================================
        Dialect    First pixel Pixels run    Numbers
        ========== =========== ============= ==========================================
        `siim`     0           down columns  start from the end of the run before, length
        `chexmask` 1           along rows    start, length
        `kaggle`   1           down columns  start, length
        `coco`     0           down columns  pixels outside, inside, outside, ...
        ========== =========== ============= ==========================================

        There is no default: with a wrong dialect most texts decode without an error, to a wrong mask.

    Returns
    -------
    ndarray of bool of shape (H, W)
        True inside.

    Raises
    ------
    ValueError
        If the text is not made of pairs of non-negative integers or a run leaves the image.

    See Also
    --------
    rle_encode : The way back.

    Examples
    --------
    >>> from sklearn_shortcuts.images import rle_decode
    >>> rle_decode("1 2 6 1", (2, 4), "chexmask").astype(int)
    array([[1, 1, 0, 0],
           [0, 1, 0, 0]])
    >>> rle_decode("0 2 1 1", (2, 4), "siim").astype(int)
    array([[1, 0, 0, 0],
           [1, 1, 0, 0]])
    """
    shape = check_shape(shape)
    _check_dialect(dialect)
    mask = np.zeros(shape, dtype=bool)
    for part in _parts(encoded, dialect):
        mask |= _decode_coco(part, shape) if dialect == "coco" else _decode_pairs(part, shape, dialect)
    return mask


def rle_encode(mask, dialect, *, compressed=False):
    """Encode a mask by run lengths.

    Parameters
    ----------
    mask : array-like of shape (H, W)
        Mask; other than 0 is inside.
    dialect : {"siim", "chexmask", "kaggle", "coco"}
        As in :func:`rle_decode`.
    compressed : bool, default=False
        Write the counts of ``"coco"`` as the compressed text that pycocotools uses.

    Returns
    -------
    str or dict
        Text of the runs, with the dialect's own text for an empty mask (``"-1"`` for ``"siim"``, else ``""``); for
        ``"coco"`` a dict with ``"size"`` ``[H, W]`` and ``"counts"``.

    Raises
    ------
    ValueError
        If the mask is not two-dimensional, holds NaN, or ``compressed`` is asked of another dialect.

    See Also
    --------
    rle_decode : The way back.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.images import rle_encode
    >>> rle_encode(np.eye(3), "kaggle")
    '1 1 5 1 9 1'
    >>> rle_encode(np.eye(3), "coco")
    {'size': [3, 3], 'counts': [0, 1, 3, 1, 3, 1]}
    """
    _check_dialect(dialect)
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"mask must have shape (H, W), got {mask.shape}")
    if mask.dtype.kind == "f" and np.isnan(mask).any():
        raise ValueError("mask holds NaN; fill it with 0 outside and 1 inside")
    if dialect == "coco":
        counts = _coco_counts(mask != 0)
        return {"size": list(mask.shape), "counts": _compress(counts) if compressed else counts.tolist()}
    if compressed:
        raise ValueError(f"compressed counts exist in the dialect 'coco' only, got dialect {dialect!r}")
    rules = _PAIRS[dialect]
    starts, ends = _runs((mask != 0).ravel(order=rules.order))
    if len(starts) == 0:
        return rules.empty
    written = starts + rules.base
    if rules.relative:
        written[1:] = starts[1:] - ends[:-1]
    return " ".join(map(str, np.column_stack([written, ends - starts]).ravel().tolist()))


# -- what was given ----------------------------------------------------------------------------------------------------
def _check_dialect(dialect):
    if dialect not in DIALECTS:
        raise ValueError(f"dialect must be one of {', '.join(DIALECTS)}, got {dialect!r}")


def _parts(encoded, dialect):
    """List the encoded masks of an image that have pixels."""
    if isinstance(encoded, (list, tuple, np.ndarray)) and not all(_is_whole(value) for value in encoded):
        return [part for one in encoded for part in _parts(one, dialect)]
    return [] if _is_empty(encoded) else [encoded]


def _is_whole(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_empty(encoded):
    if isinstance(encoded, (str, bytes)):
        text = encoded.decode("ascii", "replace") if isinstance(encoded, bytes) else encoded
        return text.strip() in ("", "-1")
    if isinstance(encoded, dict):
        return False
    if pd.api.types.is_scalar(encoded):
        return bool(pd.isna(encoded)) or encoded == -1
    return len(encoded) == 0


def _whole_numbers(values, dialect):
    """Give an array of integers from a text or a sequence."""
    if isinstance(values, bytes):
        values = values.decode("ascii", "replace")
    if isinstance(values, str):
        values = values.split()
    try:
        return np.array([int(value) for value in values], dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"the run lengths must be whole numbers separated by blanks in the dialect {dialect!r}, got {values!r:.60}"
        ) from None


# -- starts and lengths ------------------------------------------------------------------------------------------------
def _decode_pairs(encoded, shape, dialect):
    rules = _PAIRS[dialect]
    numbers = _whole_numbers(encoded, dialect)
    if len(numbers) % 2:
        raise ValueError(
            f"the dialect {dialect!r} has pairs of start and length, got {len(numbers)} numbers; is it cut short?"
        )
    starts, lengths = numbers[::2] - rules.base, numbers[1::2]
    size = shape[0] * shape[1]
    _check_runs(starts, lengths, size, shape, dialect)
    if rules.relative:
        lengths_before = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        starts = np.cumsum(starts) + lengths_before
        _check_runs(starts, lengths, size, shape, dialect)
    return _fill(starts, starts + lengths, size).reshape(shape, order=rules.order)


def _check_runs(starts, lengths, size, shape, dialect):
    wrong = (starts < 0) | (lengths < 0) | (starts > size) | (lengths > size - starts)
    if wrong.any():
        run = int(np.argmax(wrong))
        raise ValueError(
            f"run {run} (from pixel {starts[run]}, counted from 0, {lengths[run]} pixels long) leaves the image of "
            f"{shape[0]} x {shape[1]} = {size} pixels in the dialect {dialect!r}; check shape=(height, width) of the "
            "annotated image and the dialect"
        )


def _fill(starts, ends, size):
    """Mark the pixels of runs, which may overlap, by counting the runs that begin and end at each pixel."""
    steps = np.zeros(size + 1, dtype=np.int32)
    np.add.at(steps, starts, 1)
    np.subtract.at(steps, ends, 1)
    np.cumsum(steps, out=steps)
    return steps[:-1] > 0


def _runs(flat):
    """Give the first pixel of every run and the pixel after its last."""
    edges = np.flatnonzero(np.diff(flat.view(np.int8), prepend=np.int8(0), append=np.int8(0)))
    return edges[::2], edges[1::2]


# -- COCO --------------------------------------------------------------------------------------------------------------
def _coco_counts(mask):
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat.view(np.int8))) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]]))
    return np.concatenate([[0], counts]) if flat.size and flat[0] else counts


def _decode_coco(encoded, shape):
    counts = encoded
    if isinstance(encoded, dict):
        if "counts" not in encoded:
            raise ValueError("a COCO mask needs the key 'counts'")
        size = encoded.get("size", shape)
        if np.shape(size) != (2,) or tuple(size) != shape:
            raise ValueError(f"the COCO mask has size {size!r}, but shape is {list(shape)}")
        counts = encoded["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    is_compressed = isinstance(counts, str) and " " not in counts.strip()
    counts = _decompress(counts.strip()) if is_compressed else _whole_numbers(counts, "coco")
    ends = np.cumsum(counts)
    total = shape[0] * shape[1]
    if (counts < 0).any() or (counts > total).any() or (len(ends) and ends[-1] != total):
        raise ValueError(
            f"the counts of a COCO mask must add up to the image of {shape[0]} x {shape[1]} = {total} pixels, got "
            f"{int(ends[-1]) if len(ends) else 0}; check shape=(height, width) and the dialect"
        )
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(shape, order="F") if len(counts) else np.zeros(shape, dtype=bool)


def _compress(counts):
    """Write counts as text: from the third on the difference to the one before last, in groups of five bits.

    The lowest bits come first; bit 5 says that more follow, and the highest bit of the last group is the sign.
    """
    characters = []
    for i, count in enumerate(counts.tolist()):
        rest = count - int(counts[i - 2]) if i > 2 else count
        while True:
            group = rest & 31
            rest >>= 5
            is_last = rest == (-1 if group & 16 else 0)
            characters.append(chr((group if is_last else group | 32) + 48))
            if is_last:
                break
    return "".join(characters)


def _decompress(text):
    counts, value, shift = [], 0, 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 40:
            raise ValueError(f"a compressed COCO mask cannot hold {character!r} here; is it of another dialect?")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("a compressed COCO mask is cut short")
    return np.array(counts, dtype=np.int64)
