"""Geometry of regions: grow, shrink, box; many masks at a time.

A disk of radius r is too large a kernel for ``cv2.dilate``, whose cost grows with its area, and a distance transform
costs much even for a small radius. Here eight masks share the bits of one byte, and growing is a union of shifts:

* The disk's rows are lines of half-width ``w(dy)``, so that its dilation is the union, over the corners of its outline,
  of a horizontal dilation by ``w`` followed by a vertical one by ``h``. Taken from the tallest to the widest rectangle
  each step continues the one before (Horner's scheme).
* The city-block disk of radius ``k + s`` is, for ``s <= k``, the union of four copies of that of radius ``k`` that are
  shifted by ``s`` up, down, left and right: its radius doubles with every step.
"""

from functools import lru_cache

import cv2
import numpy as np

_LARGE = 128  # from this radius on the distance transform is cheaper
_LOWEST_BITS = np.uint64(0x0101010101010101)  # of each byte


def as_boolean(masks, rows):
    """Give masks as booleans: a soft mask is inside from one half on. ``rows`` numbers them in messages."""
    if masks.dtype == bool:
        return masks
    if masks.dtype.kind == "f" and np.isnan(masks).any():
        row = int(np.flatnonzero(np.isnan(masks).reshape(len(masks), -1).any(axis=1))[0])
        raise ValueError(f"the mask of row {rows[row]} contains NaN; a row without a mask is None or all NaN")
    return masks >= 0.5


def make_regions(masks, *, shape="mask", margin=0, metric="euclidean", box_mode="union"):
    """Turn masks into the regions that are kept or removed.

    Parameters
    ----------
    masks : ndarray of bool of shape (n, H, W)
        Regions of interest.
    shape : {"mask", "box"}, default="mask"
        The region itself or the smallest upright box around it, after growing.
    margin : float, default=0
        Pixels to grow by; a negative margin shrinks. Beyond the border of the image the region is taken to go on,
        so that shrinking does not eat it away from there.
    metric : {"euclidean", "cityblock"}, default="euclidean"
        How the margin is measured.
    box_mode : {"union", "per_component"}, default="union"
        One box around everything, or one around each connected (8-neighbor) part.

    Returns
    -------
    ndarray of bool of shape (n, H, W)
        Regions; a new array unless nothing had to be done.
    """
    if margin < 0:
        masks = _shrink(masks, -margin, metric)
    elif margin > 0:
        masks = _grow(masks, margin, metric)
    if shape == "box":
        masks = _boxes(masks, box_mode)
    return masks


def _grow(masks, radius, metric):
    grown = np.zeros(masks.shape, dtype=bool)
    # Beyond the sum of both sides any radius covers the whole image.
    radius = min(radius, sum(masks.shape[1:]))
    if radius < 1:
        grown |= masks
    elif radius >= _LARGE:
        for mask, out in zip(masks, grown):
            if mask.any():
                np.less_equal(_distance(~mask, metric), _between_squares(radius), out=out)
    else:
        spread = _spread_disk if metric == "euclidean" else _spread_diamond
        for first in range(0, len(masks), 8):
            _grow_eight(masks[first : first + 8], grown[first : first + 8], spread, radius)
    return grown


def _shrink(masks, radius, metric):
    shrunk = np.zeros(masks.shape, dtype=bool)
    for first in range(0, len(masks), 8):
        eight = masks[first : first + 8]
        x, y, width, height = cv2.boundingRect(eight.any(axis=0).view(np.uint8))
        if width == 0:
            continue
        # One ring of background around the region is all that is needed: what lies outside is further away.
        rows = slice(max(y - 1, 0), y + height + 1)
        columns = slice(max(x - 1, 0), x + width + 1)
        inside = np.ascontiguousarray(eight[:, rows, columns])
        np.logical_not(_grow(~inside, radius, metric), out=shrunk[first : first + 8, rows, columns])
    return shrunk


def _distance(outside, metric):
    kind, size = (cv2.DIST_L2, cv2.DIST_MASK_PRECISE) if metric == "euclidean" else (cv2.DIST_L1, 3)
    return cv2.distanceTransform(outside.view(np.uint8), kind, size)


def _between_squares(radius):
    # Squared distances of pixels are integers: half-way to the next one no rounding can decide wrongly.
    return np.sqrt(np.floor(radius**2 + 1e-9) + 0.5)


def _grow_eight(masks, grown, spread, radius):
    packed = np.zeros(masks.shape[1:], dtype=np.uint8)
    for mask in masks[::-1]:
        packed += packed  # a shift by one bit; NumPy adds bytes ten times faster than it shifts them
        packed |= mask.view(np.uint8)
    x, y, width, height = cv2.boundingRect(packed)
    if width == 0:
        return
    # An empty frame as wide as the reach: shifts of the flattened canvas then never run into the next row.
    reach = int(radius)
    canvas = np.zeros((height + 2 * reach, width + 2 * reach), dtype=np.uint8)
    canvas[reach : reach + height, reach : reach + width] = packed[y : y + height, x : x + width]
    canvas = spread(canvas.ravel(), canvas.shape[1], radius).reshape(canvas.shape)
    top, left = max(y - reach, 0), max(x - reach, 0)
    bottom, right = min(y + height + reach, packed.shape[0]), min(x + width + reach, packed.shape[1])
    # What is grown covers what it is grown from: the whole of the packed masks is overwritten.
    packed[top:bottom, left:right] = canvas[top - y + reach : bottom - y + reach, left - x + reach : right - x + reach]
    _unpack(packed.ravel(), grown)


def _unpack(packed, masks):
    """Give each mask its bit of every byte, from the lowest on; changes ``packed``."""
    whole = packed.size - packed.size % 8
    words, rest = packed[:whole].view(np.uint64), packed[whole:]
    for mask in masks:
        line = mask.reshape(-1).view(np.uint8)
        np.bitwise_and(words, _LOWEST_BITS, out=line[:whole].view(np.uint64))  # eight pixels at a time
        np.bitwise_and(rest, 1, out=line[whole:])
        words >>= np.uint64(1)
        rest >>= 1


def _spread_disk(line, pitch, radius):
    (last_height, last_width), *wider = _outline(radius)
    tall = wide = _spread(line, 1, last_width)
    for height, width in wider:
        wide = _spread(wide, 1, width - last_width)
        tall = _spread(tall, pitch, last_height - height) | wide
        last_height, last_width = height, width
    return _spread(tall, pitch, last_height)


@lru_cache(maxsize=64)
def _outline(radius):
    """Corners of a disk from the tallest to the widest rectangle inside it, as (height, half-width)."""
    heights = np.arange(int(radius) + 1)
    widths = np.floor(np.sqrt(radius**2 - heights**2) + 1e-9).astype(int)
    corners = [(int(h), int(w)) for h, w in zip(heights, widths) if h == heights[-1] or widths[h + 1] < w]
    return tuple(corners[::-1])


def _spread(line, stride, distance):
    """Union of all shifts of a flattened canvas by up to ``distance`` strides either way."""
    reached = 0
    while reached < distance:
        step = min(distance - reached, 2 * reached + 1)
        line = _shifted(line, step * stride, line.copy())
        reached += step
    return line


def _spread_diamond(line, pitch, radius):
    line = _shifted(line, pitch, _shifted(line, 1, line.copy()))
    reached = 1
    while reached < int(radius):
        step = min(int(radius) - reached, reached)
        line = _shifted(line, step * pitch, _shifted(line, step, line.copy()))
        reached += step
    return line


def _shifted(line, shift, out):
    """Add a line shifted either way to ``out``."""
    out[shift:] |= line[:-shift]
    out[:-shift] |= line[shift:]
    return out


def _boxes(masks, box_mode):
    boxes = np.zeros(masks.shape, dtype=bool)
    for mask, out in zip(masks, boxes):
        if box_mode == "union":
            found = [cv2.boundingRect(mask.view(np.uint8))]
        else:
            found = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)[2][1:, :4]
        for x, y, width, height in found:
            out[y : y + height, x : x + width] = True
    return boxes
