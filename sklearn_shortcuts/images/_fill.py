"""What the removed pixels of one image are replaced by."""

import cv2
import numpy as np

# Types whose statistics OpenCV computes, and types of the same size through which it copies any others bit by bit.
_NATIVE = {np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "int32", "float32", "float64")}
_CARRIERS = {1: np.uint8, 2: np.uint16, 4: np.int32, 8: np.float64}


def copy_kept(images, kept, out):
    """Copy the kept pixels of many images at once.

    Parameters
    ----------
    images : ndarray of shape (n, C, H, W)
        What is masked; not changed.
    kept : ndarray of bool of shape (n, H, W)
        Pixels to copy.
    out : ndarray of shape (n, C, H, W), C-contiguous
        Result, of the images' type; keeps what it holds elsewhere.
    """
    if images.shape[1] == 1:  # then all planes are one tall image
        tall = (-1, kept.shape[-1])
        _copy_where(images.reshape(tall), kept.reshape(tall), out.reshape(tall))
        return
    for image, pixels, target in zip(images, kept, out):
        for plane, written in zip(image, target):
            _copy_where(plane, pixels, written)


def fill_removed(image, kept, out, fill, *, blur_sigma, seed):
    """Write one image with its removed pixels replaced.

    Parameters
    ----------
    image : ndarray of shape (C, H, W)
        What is masked; not changed.
    kept : ndarray of bool of shape (H, W)
        Pixels that stay as they are.
    out : ndarray of shape (C, H, W)
        Result, of the image's type.
    fill : {"mean", "noise", "shuffle", "blur"}
        Rule for the removed pixels.
    blur_sigma : float
        Standard deviation of the blur as a share of the longer side.
    seed : sequence of int
        Decides the noise and the shuffling.
    """
    out[:] = image
    removed = ~kept
    n_removed = np.count_nonzero(removed)
    if n_removed == 0:
        return
    if fill == "shuffle":
        order = np.random.default_rng(seed).permutation(n_removed)
        for plane, target in zip(image, out):  # one order for all channels: colors stay together
            target[removed] = plane[removed][order]
        return
    computable = image if image.dtype in _NATIVE else image.astype(np.float64)
    if fill == "blur":
        sigma = blur_sigma * max(kept.shape)
        for plane, target in zip(computable, out):
            smooth = plane if plane.dtype in (np.float32, np.float64) else plane.astype(np.float32)
            smooth = cv2.GaussianBlur(smooth, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
            _copy_where(to_dtype(smooth, out.dtype), removed, target)
        return
    if fill == "mean":
        # Where nothing is kept the mean of the image stands in.
        counted = kept if n_removed < kept.size else removed
        for plane, target in zip(computable, out):
            target[removed] = to_dtype(_mean_and_deviation(plane, counted)[0], out.dtype)
        return
    rng = np.random.default_rng(seed)
    for plane, target in zip(computable, out):
        mean, deviation = _mean_and_deviation(plane, removed)
        target[removed] = to_dtype(mean + deviation * rng.standard_normal(n_removed), out.dtype)


def to_dtype(values, dtype):
    """Convert computed pixel values: to integers by rounding, within what the type can hold."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.asarray(values) >= 0.5
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        rounded = np.rint(np.asarray(values, dtype=np.float64))
        # The largest 64-bit integers are not representable as floats: compare first, convert what lies inside.
        inside = (rounded > limits.min) & (rounded < limits.max)
        edges = np.where(rounded >= limits.max, limits.max, limits.min).astype(dtype)
        return np.where(inside, np.where(inside, rounded, 0).astype(dtype), edges)
    return np.asarray(values).astype(dtype, copy=False)


def _mean_and_deviation(plane, where):
    mean, deviation = cv2.meanStdDev(np.ascontiguousarray(plane), mask=where.view(np.uint8))
    return mean.item(), deviation.item()


def _copy_where(source, where, target):
    """``numpy.copyto(target, source, where=where)``, more than twice as fast."""
    carrier = _CARRIERS.get(source.dtype.itemsize)
    if carrier is None or not target.flags.c_contiguous:
        np.copyto(target, source, where=where)
        return
    source = np.ascontiguousarray(source).view(carrier)
    cv2.copyTo(source, where.view(np.uint8), target.view(carrier))
