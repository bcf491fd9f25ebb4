"""The geometry of a resize, and its application to an image or, in the same way, to the image's mask."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

RESIZE_MODES = ("stretch", "letterbox", "crop")


@dataclass(frozen=True)
class Placement:
    """Where an image of one size ends up in an image of another size.

    Parameters
    ----------
    size : tuple of int
        Height and width of the result.
    inner : tuple of int
        Height and width to which the whole image is scaled.
    offset : tuple of int
        Row and column of the scaled image's first pixel in the result; negative where it is cut off.
    """

    size: tuple[int, int]
    inner: tuple[int, int]
    offset: tuple[int, int]

    def resize(self, image, *, pad=0.0, nearest=False):
        """Scale an image and put it in its place.

        Parameters
        ----------
        image : ndarray of shape (H, W) or (H, W, C)
            Numbers or, with ``nearest``, a mask; one of another size than its image is scaled to the image's place.
        pad : float, default=0.0
            Value of the margins.
        nearest : bool, default=False
            Copy the nearest pixel, as masks need it, instead of averaging.

        Returns
        -------
        ndarray of shape (h, w) or (h, w, C)
            Of the type given if ``nearest``, else float32.
        """
        scaled = _nearest(image, self.inner) if nearest else _smooth(image, self.inner)
        if self.inner == self.size:
            return scaled
        (top, left), (inner_height, inner_width), (height, width) = self.offset, self.inner, self.size
        if inner_height >= height and inner_width >= width:
            return np.ascontiguousarray(scaled[-top : height - top, -left : width - left])
        result = np.full((height, width, *image.shape[2:]), pad, dtype=scaled.dtype)
        result[top : top + inner_height, left : left + inner_width] = scaled
        return result


def place(shape, size, mode):
    """Work out where an image ends up when it is brought to another size.

    Parameters
    ----------
    shape, size : tuple of int
        Height and width before and after.
    mode : {"stretch", "letterbox", "crop"}
        Fill the result and give up the proportions; keep them and center between margins; or keep them, fill the
        result and cut off what does not fit, evenly on both sides.

    Returns
    -------
    Placement
        The same for an image and its mask.
    """
    if mode == "stretch" or tuple(shape) == tuple(size):
        return Placement(tuple(size), tuple(size), (0, 0))
    ratios = [wanted / given for wanted, given in zip(size, shape)]
    scale = min(ratios) if mode == "letterbox" else max(ratios)
    rounded = [max(1, math.floor(given * scale + 0.5)) for given in shape]
    limit = min if mode == "letterbox" else max  # rounding may miss the side that fits exactly by a pixel
    inner = tuple(limit(side, wanted) for side, wanted in zip(rounded, size))
    offset = tuple(
        (wanted - side) // 2 if wanted >= side else -((side - wanted) // 2) for side, wanted in zip(inner, size)
    )
    return Placement(tuple(size), inner, offset)


def as_size(size, name="size"):
    """Give height and width of a size that may be given as one number.

    Parameters
    ----------
    size : int, tuple of two int, or None
        One number stands for a square.
    name : str, default="size"
        Name of the argument, for the error message.

    Returns
    -------
    tuple of int, or None
        ``(height, width)``.
    """
    if size is None:
        return None
    sides = tuple(size) if isinstance(size, (tuple, list, np.ndarray)) and np.ndim(size) else (size, size)
    if len(sides) != 2 or any(
        isinstance(side, bool) or not isinstance(side, (int, np.integer)) or side < 1 for side in sides
    ):
        raise ValueError(f"{name} must be a positive integer or (height, width), got {size!r}")
    return int(sides[0]), int(sides[1])


def _nearest(image, size):
    if image.shape[:2] == size:
        return image
    pixels = image.view(np.uint8) if image.dtype == bool else image
    # The exact variant looks up the pixel under each center; the plain one is shifted by up to half a pixel.
    scaled = cv2.resize(np.ascontiguousarray(pixels), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return scaled.astype(image.dtype, copy=False)


def _smooth(image, size):
    """Average over the area of each new pixel along shrinking sides, interpolate along growing ones.

    No value lies outside of the image's range.
    """
    image = np.ascontiguousarray(image, dtype=np.float32)
    if image.shape[:2] == size:
        return image
    if image.ndim == 3 and image.shape[2] > 4:  # frames as channels: more than a pixel may have
        return np.stack([_smooth(image[..., channel], size) for channel in range(image.shape[2])], axis=-1)
    channels = image.shape[2:]
    lowest, highest = np.fmin.reduce(image, axis=None), np.fmax.reduce(image, axis=None)  # of numbers, if some are NaN
    smaller = (min(image.shape[0], size[0]), min(image.shape[1], size[1]))
    if image.shape[:2] != smaller:
        image = cv2.resize(image, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != size:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.clip(image, lowest, highest, out=image)  # means of equal values differ from them by a rounding
    return image.reshape(*size, *channels)  # OpenCV drops a last axis of length one
