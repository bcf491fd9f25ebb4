"""Gray-level windows: from measured values to the range a network or a screen takes."""

import numpy as np

__all__ = ["apply_window"]


def apply_window(values, center, width, output_range=(0.0, 1.0), dtype=np.float32):
    """Map the values inside a gray-level window linearly to a range and clip those outside.

    With ``l = center - width / 2`` the result is ``clip((v - l) / width, 0, 1)``, scaled to ``output_range``. This is
    the function LINEAR_EXACT of DICOM.

    Parameters
    ----------
    values : array-like
        Measured values, such as Hounsfield units. For several windows the last two axes are rows and columns.
    center : float or sequence of float
        Middle of the window in the units of ``values``; a sequence gives one channel per window.
    width : float or sequence of float
        Width of the window, positive; one per center.
    output_range : tuple of two float, default=(0.0, 1.0)
        What the lower and the upper end of the window become. ``(-1, 1)`` is usual for networks; ``(1, 0)`` inverts.
    dtype : dtype, default=numpy.float32
        Data type of the result. Integer types are rounded to the nearest value.

    Returns
    -------
    ndarray
        Array of the shape of ``values``; with several windows ``(..., n_windows, H, W)``. NaN stays NaN.

    Raises
    ------
    ValueError
        If a width is not positive, the numbers of centers and widths differ, or ``output_range`` has no extent or
        does not fit ``dtype``.

    References
    ----------
    DICOM PS3.3, section C.11.2.1.3.2 (LINEAR_EXACT).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.images import apply_window
    >>> apply_window(np.array([-160.0, 40.0, 240.0, 1000.0]), center=40, width=400, output_range=(-1, 1))
    array([-1.,  0.,  1.,  1.], dtype=float32)
    >>> apply_window(np.zeros((8, 8)), center=[40, 600], width=[400, 2800]).shape
    (2, 8, 8)
    """
    values = np.asarray(values)
    output_range, dtype = check_output(output_range, dtype)
    windows = check_windows(center, width)
    if np.ndim(center) == 0:
        low, extent = windows[0]
        return scale_linear(values, low, extent, output_range, dtype)
    if values.ndim < 2:
        raise ValueError(f"several windows need values with rows and columns, got {values.ndim} dimension(s)")
    return np.stack([scale_linear(values, low, extent, output_range, dtype) for low, extent in windows], axis=-3)


def check_windows(center, width):
    """Give ``[(low, width), ...]`` of one or several windows."""
    if np.shape(center) != np.shape(width) or np.ndim(center) > 1 or np.size(center) == 0:
        raise ValueError(
            "center and width must be two numbers or two sequences of the same length, "
            f"got shapes {np.shape(center)} and {np.shape(width)}"
        )
    centers, widths = (np.atleast_1d(np.asarray(value, dtype=np.float64)) for value in (center, width))
    wrong = ~(np.isfinite(centers) & np.isfinite(widths) & (widths > 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"window {row} has center {centers[row]:g} and width {widths[row]:g}; "
            "a window needs a finite center and a positive width"
        )
    return [(c - w / 2, w) for c, w in zip(centers.tolist(), widths.tolist())]


def check_output(output_range, dtype):
    """Give ``((low, high), dtype)`` of the result after checking that they fit each other."""
    dtype = np.dtype(dtype)
    ends = np.asarray(output_range, dtype=np.float64)
    if ends.shape != (2,) or not np.isfinite(ends).all() or ends[0] == ends[1]:
        raise ValueError(f"output_range must be two different finite numbers, got {output_range!r}")
    if not (np.issubdtype(dtype, np.floating) or np.issubdtype(dtype, np.integer)):
        raise ValueError(f"dtype must be a floating-point or integer type, got {dtype}")
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        if ends.min() < limits.min or ends.max() > limits.max:
            raise ValueError(f"output_range {tuple(ends.tolist())} does not fit dtype {dtype}; give output_range too")
    return (float(ends[0]), float(ends[1])), dtype


def scale_linear(values, low, width, output_range, dtype, slope=1.0, intercept=0.0):
    """Window ``slope * values + intercept`` in one expression.

    The lower end of the window is subtracted first, as an integer: that is exact in float32, where ``slope * values``
    for a narrow window far from zero would not be. The rest of it, less than one, is added at the end.

    Parameters
    ----------
    values : ndarray
        Stored values.
    low, width : float
        Lower end and width of the window in units of ``slope * values + intercept``. Width 0 is a step above ``low``.
    output_range : tuple of two float
        What the ends of the window become.
    dtype : numpy.dtype
        Data type of the result.
    slope, intercept : float
        From stored to measured values; the slope is not 0.

    Returns
    -------
    ndarray
        Array of the shape of ``values``.
    """
    bottom, top = output_range
    start = (low - intercept) / slope
    if width == 0:
        above = values > start if slope > 0 else values < start
        return np.where(above, top, bottom).astype(dtype)
    whole = float(np.rint(start))
    factor = slope / width * (top - bottom)
    result = np.asarray(np.subtract(values, whole, dtype=_working_type(values.dtype, dtype, whole)))
    result *= factor
    result += (whole - start) * factor + bottom
    np.clip(result, min(bottom, top), max(bottom, top), out=result)
    if np.issubdtype(dtype, np.integer):
        np.rint(result, out=result)
    return result.astype(dtype, copy=False)


def _working_type(values, result, offset):
    """Choose float32 where the stored values and the offset are exact in it, else float64."""
    exact = values.itemsize <= 2 if values.kind in "biu" else values in (np.float32, np.float16)
    return np.float32 if exact and result.itemsize <= 4 and abs(offset) < 2**23 else np.float64
