"""Pixels of one DICOM file: decoding, modality transform, gray-level window, color."""

from functools import partial

import numpy as np

from ._dicom_file import Refused, known_name, read_guarded
from ._window import check_output, check_windows, scale_linear

__all__ = ["read_dicom"]

_KEEP_FILE_WINDOW = "give window=(center, width) or window='full'"


def read_dicom(path, *, frame=None, window=None, output_range=(0.0, 1.0), dtype=np.float32):
    """Read the pixels of a DICOM file as measured values or as a windowed image.

    Gray images take this road: decoding; the modality transform (rescale slope and intercept, or the modality lookup
    table); then the window. A windowed image is brighter where its numbers are larger, whatever the file says:
    MONOCHROME1 is inverted, so that films of different vendors agree. Padded pixels, which were never measured, get
    the low end of ``output_range``. Color images (RGB, YBR, palette) come as red, green and blue.

    Parameters
    ----------
    path : str or path-like
        The file. Files without the DICOM preamble are read if they start like a DICOM data set.
    frame : int, default=None
        Number of the frame to read, from 0. By default all frames of a file with several.
    window : None, "auto", "full", (center, width) or list of (center, width), default=None
        How gray values are mapped to ``output_range``:

        - ``None``: not at all. Gray values after the modality transform (Hounsfield units for CT), neither scaled nor
          inverted, padding as stored; color values as stored.
        - ``(center, width)``, in the units of the modality transform, as in :func:`apply_window`. A list gives one
          channel per window.
        - ``"auto"``: the file's first lookup table of values of interest, else its first window (LINEAR, LINEAR_EXACT
          or SIGMOID), else as ``"full"``.
        - ``"full"``: from the least to the greatest value present in the frames read, padding left aside.

        For color images ``"auto"`` and ``"full"`` both scale the range of the stored bits.
    output_range : tuple of two float, default=(0.0, 1.0)
        What the ends of the window become; not used for ``window=None``.
    dtype : dtype, default=numpy.float32
        Data type of the result.

    Returns
    -------
    ndarray
        ``(H, W)`` for a gray frame, ``(3, H, W)`` for a color frame, ``(n_windows, H, W)`` for a list of windows;
        with ``(n_frames, ...)`` in front if the file has several frames and ``frame`` is None.

    Raises
    ------
    ValueError
        If the file is not DICOM, is cut short, has no pixels or no such frame, its transfer syntax has no decoder, or
        the window does not suit it. The text names the file and the remedy, and nothing that identifies a patient.
    OSError
        If the file cannot be opened.

    Notes
    -----
    Reading holds a lock of the process, because pydicom's warnings, which may quote header values, have to be kept
    from the outside and warning filters are shared by threads. Decode many files in processes and keep the result.

    References
    ----------
    DICOM PS3.3, sections C.7.6.3 (image pixel), C.11.1 (modality LUT) and C.11.2 (VOI LUT).

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> from sklearn_shortcuts.images import read_dicom
    >>> path = get_testdata_file("CT_small.dcm", download=False)
    >>> hounsfield = read_dicom(path)
    >>> hounsfield.shape, float(hounsfield.min()), float(hounsfield.max())
    ((128, 128), -896.0, 1167.0)
    >>> brain_and_bone = read_dicom(path, window=[(40, 80), (600, 2800)], output_range=(-1, 1))
    >>> brain_and_bone.shape
    (2, 128, 128)
    """
    output_range, dtype = check_output(output_range, dtype) if window is not None else (None, np.dtype(dtype))
    window = check_window(window)
    if frame is not None and (isinstance(frame, bool) or not isinstance(frame, (int, np.integer)) or frame < 0):
        raise ValueError(f"frame must be None or an integer from 0, got {frame!r}")
    render = partial(_render, frame=frame, window=window, output_range=output_range, dtype=dtype)
    return read_guarded(path, render)


def check_window(window):
    """Give None, "auto", "full", one ``(low, width)`` or a list of them."""
    if window is None or (isinstance(window, str) and window in ("auto", "full")):
        return window
    try:
        pairs = np.asarray(window, dtype=np.float64)
    except (TypeError, ValueError):
        pairs = np.empty(0)
    if pairs.shape == (2,):
        return check_windows(*pairs)[0]
    if pairs.ndim == 2 and pairs.shape[1] == 2 and len(pairs):
        return check_windows(*pairs.T)
    raise ValueError(f"window must be None, 'auto', 'full', (center, width) or a list of such pairs, got {window!r}")


def _render(dataset, has_pixels, *, frame, window, output_range, dtype):
    require_pixels(dataset, has_pixels)
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    if frame is not None and frame >= n_frames:
        raise Refused(f"has {n_frames} frame(s), so there is no frame {frame}; frames are counted from 0")
    stored, properties = _decode(dataset, frame)
    n_axes = 2 + (n_frames > 1 and frame is None) + (properties["samples_per_pixel"] > 1)
    if stored.ndim != n_axes or (n_frames > 1 and frame is None and len(stored) != n_frames):
        raise Refused(f"holds more frames than the {n_frames} it says; choose with frame= or repair the header")
    color = _as_color(dataset, stored, properties)
    if color is not None:
        return _scale_color(*color, window, output_range, dtype)
    if n_frames == 1 or frame is not None:
        return _render_gray(dataset, stored[None], [frame or 0], window, output_range, dtype)[0]
    return _render_gray(dataset, stored, range(n_frames), window, output_range, dtype)


def require_pixels(dataset, has_pixels):
    """Refuse a data set without pixels, with what it is instead."""
    if has_pixels:
        return
    kind = known_name(dataset.get("SOPClassUID", ""), default="unknown kind")
    if "Rows" in dataset:
        raise Refused(
            f"({kind}) has no pixel data although it describes an image: it is cut short or was stripped; "
            "copy it again from its source"
        )
    raise Refused(f"({kind}) has no pixels: it is no image, or it is cut short; leave it out or copy it again")


# -- decoding ----------------------------------------------------------------------------------------------------------
def _decode(dataset, frame):
    """Give the stored values, ``(H, W)``, ``(F, H, W)`` or with samples last, and what the decoder says of them."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import RLELossless

    syntax = _transfer_syntax(dataset)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise Refused(
            f"has a transfer syntax that cannot be decoded ({known_name(syntax)}); "
            "convert it to Explicit VR Little Endian first, for example with gdcmconv --raw"
        ) from None
    others = " or ".join(needs.split(" requires ")[-1] for needs in decoder.missing_dependencies)
    if not decoder.is_available:
        raise Refused(f"needs a decoder for {known_name(syntax)}: install {others}")
    # pydicom's own RLE decoder, which would come first, takes six times as long.
    plugins = ["pylibjpeg", ""] if syntax == RLELossless and "pylibjpeg" in decoder.available_plugins else [""]
    for plugin in plugins:
        try:
            array, properties = decoder.as_array(dataset, index=frame, decoding_plugin=plugin)
        except Exception:
            continue
        return array, properties
    remedy = "copy it again from its source"
    if others:
        remedy += f", or, if other software shows it, install {others}"
    raise Refused(f"has pixel data ({known_name(syntax)}) that are damaged, cut short or of an odd kind; {remedy}")


def _transfer_syntax(dataset):
    """Give the transfer syntax, or what pydicom found out about it where the file does not say."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        implicit, little_endian = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        syntax = dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return syntax


# -- color -------------------------------------------------------------------------------------------------------------
def _as_color(dataset, stored, properties):
    """Give red, green and blue, samples last, and their number of bits; None for a gray image."""
    from pydicom.pixels import apply_color_lut

    photometric = properties["photometric_interpretation"]
    if photometric == "PALETTE COLOR":
        rgb = apply_color_lut(stored, dataset)
        return rgb, 8 * rgb.itemsize
    if photometric in ("MONOCHROME1", "MONOCHROME2"):
        return None
    if photometric != "RGB" or stored.shape[-1] != 3:
        raise Refused(
            "has a color space that cannot be read; gray, RGB, YBR_FULL, YBR_ICT, YBR_RCT and palette images can: "
            "convert it to RGB first"
        )
    return stored, int(properties.get("bits_stored", 8 * stored.itemsize))


def _scale_color(rgb, bits, window, output_range, dtype):
    channels_first = np.ascontiguousarray(np.moveaxis(rgb, -1, -3))
    if window is None:
        return channels_first.astype(dtype)
    if not isinstance(window, str):
        raise Refused("is a color image, which has no gray-level window; use window='auto' or None")
    return scale_linear(channels_first, 0.0, 2.0**bits - 1, output_range, dtype)


# -- gray levels -------------------------------------------------------------------------------------------------------
def _render_gray(dataset, stored, frame_numbers, window, output_range, dtype):
    """Transform frames ``(F, H, W)``; frames with functional groups of their own one by one."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame or dataset.get("SharedFunctionalGroupsSequence"):
        places = [(slice(i, i + 1), functional_groups(dataset, number)) for i, number in enumerate(frame_numbers)]
    else:
        places = [(slice(None), [dataset])]
    parts = [(groups, *_modality(dataset, groups, stored[rows])) for rows, groups in places]
    if window is None:
        return _joined([_measured(*part, dtype) for _, *part in parts])
    padding = _padding(dataset, stored)
    bottom, top = output_range
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        output_range = (top, bottom)
    full = None
    rendered = []
    for groups, values, slope, intercept in parts:
        view = _own_view(dataset, groups, values, slope, intercept) if window == "auto" else window
        if view is None or (isinstance(view, str) and view == "full"):
            view = full = full or _full_window(parts, padding)
        scale = partial(scale_linear, values, output_range=output_range, dtype=dtype, slope=slope, intercept=intercept)
        if isinstance(view, list):
            rendered.append(np.stack([scale(*pair) for pair in view], axis=-3))
        elif isinstance(view, tuple):
            rendered.append(scale(*view))
        else:
            rendered.append(scale_linear(view, 0.0, 1.0, output_range, dtype))
    result = _joined(rendered)
    if padding is not None:
        np.copyto(result, dtype.type(bottom), where=padding if result.ndim == 3 else padding[:, None])
    return result


def _joined(parts):
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def functional_groups(dataset, number):
    """Give the places where an attribute of a frame may stand, the most specific first."""
    places = []
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame:
        if number >= len(per_frame):
            raise Refused(f"describes {len(per_frame)} frames but has a frame {number}; it is damaged")
        places.append(per_frame[number])
    if dataset.get("SharedFunctionalGroupsSequence"):
        places.append(dataset.SharedFunctionalGroupsSequence[0])
    groups = []
    for place in places:
        for element in place:
            if element.VR == "SQ" and element.value and not element.tag.is_private:
                groups.append(element.value[0])
    return [*groups, dataset]


def find_attribute(groups, keyword):
    """Give the first value of an attribute that is not empty, or None."""
    for group in groups:
        value = group.get(keyword)
        if value is not None and value != "" and not (hasattr(value, "__len__") and len(value) == 0):
            return value
    return None


def _first_number(groups, keyword, default=None):
    value = find_attribute(groups, keyword)
    if value is None:
        return default
    value = float(value[0] if hasattr(value, "__getitem__") and not isinstance(value, str) else value)
    if not np.isfinite(value):
        raise Refused(f"has a {keyword} that is not a finite number; {_KEEP_FILE_WINDOW} or repair the header")
    return value


def _padding(dataset, stored):
    """Give where pixels are padding, or None."""
    first = dataset.get("PixelPaddingValue")
    if first is None or stored.dtype.kind == "f":
        return None
    last = dataset.get("PixelPaddingRangeLimit")
    ends = [int(first), int(first if last is None else last)]
    if stored.dtype.kind == "i":  # many writers give a negative value as the unsigned one with the same bits
        ends = [end - 2 ** (8 * stored.itemsize) if end > np.iinfo(stored.dtype).max else end for end in ends]
    low, high = min(ends), max(ends)
    padding = stored == low if low == high else (stored >= low) & (stored <= high)
    return padding if padding.any() else None


def _modality(dataset, groups, stored):
    """Give values, slope and intercept such that ``slope * values + intercept`` are the measured values."""
    tables = dataset.get("ModalityLUTSequence")
    if tables:
        table, first, _ = _table(dataset, tables[0], signed=stored.dtype.kind == "i")
        return table[np.clip(stored.astype(np.int64) - first, 0, len(table) - 1)], 1.0, 0.0
    slope = _first_number(groups, "RescaleSlope", 1.0)
    intercept = _first_number(groups, "RescaleIntercept", 0.0)
    if slope == 0:
        raise Refused("has a RescaleSlope of 0, which would make every pixel the same; repair the header")
    return stored, slope, intercept


def _measured(values, slope, intercept, dtype):
    if slope == 1 and intercept == 0:
        return values.astype(dtype)
    is_exact = values.itemsize <= 2 and slope % 1 == 0 and abs(slope) * 2**16 + abs(intercept) < 2**23
    measured = values.astype(np.float32 if is_exact and intercept % 1 == 0 else np.float64)
    measured *= slope
    measured += intercept
    if np.issubdtype(dtype, np.integer):
        np.rint(measured, out=measured)
    return measured.astype(dtype, copy=False)


def _own_view(dataset, groups, values, slope, intercept):
    """Give the file's own window ``(low, width)``, its own view of the values in [0, 1], or None if it has neither."""
    tables = dataset.get("VOILUTSequence")
    if tables:
        measured = np.rint(values * np.float64(slope) + intercept).astype(np.int64)
        table, first, bits = _table(dataset, tables[0], signed=measured.size > 0 and measured.min() < 0)
        return table[np.clip(measured - first, 0, len(table) - 1)] / (2.0**bits - 1)
    center = _first_number(groups, "WindowCenter")
    width = _first_number(groups, "WindowWidth")
    if center is None or width is None:
        return None
    function = str(find_attribute(groups, "VOILUTFunction") or "LINEAR").upper()
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise Refused(f"has a window of width {width:g}, which is not valid; {_KEEP_FILE_WINDOW}")
    if function == "LINEAR":
        return center - width / 2, width - 1  # PS3.3, equation C.11-2: center - 0.5 - (width - 1) / 2
    if function == "LINEAR_EXACT":
        return center - width / 2, width
    if function == "SIGMOID":
        from scipy.special import expit

        return expit(4 * (values * np.float64(slope) + intercept - center) / width)
    raise Refused(f"has a window function that is not of the standard; {_KEEP_FILE_WINDOW}")


def _full_window(parts, padding):
    """Give the window from the least to the greatest measured value of all frames, padding left aside."""
    measured = np.concatenate([values * np.float64(slope) + intercept for _, values, slope, intercept in parts])
    if padding is not None and not padding.all():
        measured = measured[~padding]
    low, high = float(np.nanmin(measured)), float(np.nanmax(measured))
    return low, high - low


def _table(dataset, item, signed):
    """Give the entries of a lookup table, the value that the first entry stands for, and its number of bits."""
    n_entries, first, bits = (int(value) for value in item.LUTDescriptor)
    n_entries = n_entries or 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        byte_order = "<" if dataset.original_encoding[1] else ">"
        data = np.frombuffer(data, f"{byte_order}u2" if len(data) >= 2 * n_entries else np.uint8)
    table = np.asarray(data)[:n_entries]
    if len(table) < n_entries or not 1 <= bits <= 16:
        raise Refused(
            "has a lookup table that is shorter than its descriptor says or of an odd depth; "
            f"{_KEEP_FILE_WINDOW} or repair the header"
        )
    if signed and first > 2**15 - 1:
        first -= 2**16
    return table, first, bits
