"""One image file to one array."""

import io
import os
from dataclasses import dataclass

import cv2
import numpy as np

from ._headers import (
    FileProblem,
    identify,
    naming,
    npy_header,
    open_npy,
    opencv_tiff,
    pillow_header,
    pillow_image,
    read_header,
    walk_jpeg,
    walk_png,
)
from ._resize import RESIZE_MODES, as_size, place

DTYPES = ("float32", "float64", "float16", "uint8", "uint16")
_REDUCED = {  # cv2 flags by denominator: color, gray
    1: (cv2.IMREAD_COLOR, cv2.IMREAD_GRAYSCALE),
    2: (cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
    4: (cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
    8: (cv2.IMREAD_REDUCED_COLOR_8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
}


@dataclass(frozen=True)
class DecodeSettings:
    """How files become arrays; the parameters are those of :func:`decode_image`."""

    size: tuple[int, int] | None = None
    resize: str = "letterbox"
    pad: float = 0.0
    channels: int | None = None
    dtype: str = "float32"
    window: str | tuple | None = "auto"
    frame: int | None = None

    def __post_init__(self):
        object.__setattr__(self, "size", as_size(self.size))
        if self.resize not in RESIZE_MODES:
            raise ValueError(f"resize must be one of {list(RESIZE_MODES)}, got {self.resize!r}")
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1, 3 or None, got {self.channels!r}")
        try:
            dtype = None if self.dtype is None else np.dtype(self.dtype).name
        except TypeError:
            dtype = None
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {list(DTYPES)}, got {self.dtype!r}")
        object.__setattr__(self, "dtype", dtype)
        if (
            not isinstance(self.pad, (int, float, np.number))
            or not np.isfinite(self.pad)
            or (dtype.startswith("u") and not 0 <= self.pad <= 1)
        ):
            raise ValueError(f"pad must be a finite number (between 0 and 1 for integer images), got {self.pad!r}")
        if self.frame is not None and (
            isinstance(self.frame, bool) or not isinstance(self.frame, (int, np.integer)) or self.frame < 0
        ):
            raise ValueError(f"frame must be None or an integer from 0, got {self.frame!r}")
        object.__setattr__(self, "pad", float(self.pad))
        object.__setattr__(self, "window", _as_window(self.window))

    @property
    def limit(self):
        """Largest value of the result that a file's depth is scaled to."""
        return np.iinfo(self.dtype).max if self.dtype.startswith("u") else 1.0

    @property
    def n_windows(self):
        """Number of channels that the window makes of each DICOM frame."""
        return len(self.window) if isinstance(self.window, tuple) and isinstance(self.window[0], tuple) else 1

    def row_shape(self, path):
        """Give the shape that a file will have, from its header.

        Parameters
        ----------
        path : str
            Image file.

        Returns
        -------
        tuple of int
            ``(H, W)`` or ``(C, H, W)``.
        """
        size, channels = self.size, self.channels
        if size is None or channels is None:
            header = read_header(path)
            size = header.shape if size is None else size
            if channels is None:
                frames = header.channels if self.frame is None or header.color else 1
                channels = frames * (self.n_windows if header.kind == "dicom" else 1)
        return size if channels == 1 else (channels, *size)


def decode_image(
    path, *, size=None, resize="letterbox", pad=0.0, channels=None, dtype="float32", window="auto", frame=None
):
    """Read an image file of any common kind as an array of one stated size, depth and number of channels.

    The values of a file are scaled by its own depth, never by its brightest pixel: 8 and 16 bits of the same image
    give the same array. The format is told from the content. Orientation recorded by a camera (EXIF) is applied.

    Parameters
    ----------
    path : str or path-like
        PNG, JPEG, TIFF, BMP (any format of Pillow), NPY, or DICOM file. An NPY file holds ``(H, W)`` or ``(C, H, W)``.
    size : int or tuple of int, default=None
        ``(height, width)`` of the result, one number for a square; by default the file's own.
    resize : {"letterbox", "stretch", "crop"}, default="letterbox"
        Keep the proportions and center between margins, give the proportions up, or keep them and cut off what does
        not fit. Shrinking averages over areas, so that fine structures do not alias.
    pad : float, default=0.0
        Value of the margins, on the scale from 0 (black) to 1 (white).
    channels : {1, 3}, default=None
        Gray ``(H, W)`` or color ``(3, H, W)``; by default as in the file. Color becomes gray by the weights 0.299,
        0.587, 0.114. An alpha channel is left out, and palettes count as color.
    dtype : {"float32", "float64", "float16", "uint8", "uint16"}, default="float32"
        Floating-point results lie in [0, 1], integer results in the whole range of their type. NPY files of
        floating-point or signed numbers, TIFF files like them, and DICOM files without a window have no depth: their
        values are kept, and they need a floating-point type.
    window : {"auto", "full"}, tuple (center, width), list of tuples or None, default="auto"
        Intensity window of DICOM files, see :func:`read_dicom`: the one in the file, the values present, or one of
        your own; each of several makes a channel. ``None`` keeps the measured values. Other files have no window.
    frame : int, default=None
        Frame of a DICOM or TIFF file with several; by default the frames are the channels.

    Returns
    -------
    ndarray of shape (H, W) or (C, H, W)
        The image.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or incomplete, or cannot be given as asked. An incomplete file is never given in part.

    Notes
    -----
    JPEG files are decoded at 1/2, 1/4 or 1/8 of their size, which averages pixels while decoding, where the result has
    just that size or at most half of it and moves by no more than 1/8 of a pixel. JPEG has no checksums: a complete
    file with changed bytes inside cannot be told from a sound one.

    Examples
    --------
    >>> import tempfile, os
    >>> import numpy as np
    >>> from sklearn_shortcuts.images import decode_image
    >>> path = os.path.join(tempfile.mkdtemp(), "image.npy")
    >>> np.save(path, np.full((40, 20), 51, dtype=np.uint8))
    >>> image = decode_image(path, size=8)
    >>> image.shape, image[4].tolist()
    ((8, 8), [0.0, 0.0, 0.2, 0.2, 0.2, 0.2, 0.0, 0.0])
    """
    settings = DecodeSettings(
        size=size, resize=resize, pad=pad, channels=channels, dtype=dtype, window=window, frame=frame
    )
    return decode_with(os.fspath(path), settings)


def decode_with(path, settings):
    """Read an image file as :func:`decode_image` does, with settings that were checked before.

    Parameters
    ----------
    path : str
        Image file.
    settings : DecodeSettings
        How to read it.

    Returns
    -------
    ndarray of shape (H, W) or (C, H, W)
        The image.
    """
    with naming(path):
        pixels, depth, is_color = _read_pixels(path, settings)
        return _finish(pixels, depth, is_color, settings)


def read_mask(path, threshold=None):
    """Read a mask file.

    Parameters
    ----------
    path : str
        PNG, TIFF, BMP, JPEG or NPY file.
    threshold : float, default=None
        Least stored value, not scaled, that is inside; by default every value above 0 is. Of several channels the
        largest counts.

    Returns
    -------
    ndarray of bool of shape (H, W)
        True inside.
    """
    with naming(path):
        with open(path, "rb") as stream:
            kind = identify(stream.read(132), path)
        if kind == "jpeg" and threshold is None:
            raise FileProblem("JPEG leaves faint traces around the edges of a mask", "give threshold=, such as 128")
        pixels, _, _ = _read_pixels(path, DecodeSettings(window=None))
        mask = pixels > 0 if threshold is None else pixels >= threshold
        return np.ascontiguousarray(mask if mask.ndim == 2 else mask.any(axis=2))


def _read_pixels(path, settings):
    """Give stored values (H, W) or (H, W, C), the value that stands for white (None: no depth), and if it is color."""
    with open(path, "rb") as stream:
        kind = identify(stream.read(132), path)
        if kind in ("png", "jpeg", "other"):
            stream.seek(0)
            data = stream.read()
    if kind in ("png", "jpeg", "npy") and settings.frame:
        raise FileProblem(f"frame {settings.frame} does not exist: the format has one", "leave frame out")
    if kind == "png":
        pixels, header = _read_png(data)
    elif kind == "jpeg":
        pixels, header = _read_jpeg(data, settings)
    elif kind == "npy":
        pixels, header = _read_npy(path)
    elif kind == "dicom":
        return _read_dicom(path, settings)
    else:
        pixels, header = _read_with_pillow(data, settings.frame)
    if pixels.dtype == bool:
        return pixels, 1.0, False
    depth = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind == "u" else None
    return _turn(pixels, header.orientation), depth, header.color


def _read_png(data):
    header = walk_png(io.BytesIO(data), verify=True)
    pixels = _opencv(data, cv2.IMREAD_UNCHANGED, "PNG")
    if header.color:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGB), header
    return pixels if pixels.ndim == 2 else pixels[..., 0], header


def _read_jpeg(data, settings):
    header = walk_jpeg(io.BytesIO(data))
    if data.rfind(b"\xff\xd9", header.scan) < 0:  # decoders fill up what is missing and only warn
        raise FileProblem("the JPEG ends too early")
    as_gray = header.channels == 1 or settings.channels == 1
    flag = _REDUCED[_denominator(header.shape, settings)][as_gray] | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = _opencv(data, flag, "JPEG")
    return pixels if as_gray else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), header


def _denominator(shape, settings):
    """Choose the largest reduction that neither blurs nor shifts the image visibly."""
    if settings.size is None:
        return 1
    inner = place(shape, settings.size, settings.resize).inner
    sides = list(zip(shape, inner))
    for denominator in (8, 4, 2):
        if all(wanted * denominator == side for side, wanted in sides):
            return denominator
        # Averaging twice blurs unless the second step has at least two pixels to average.
        sharp = all(2 * wanted * denominator <= side for side, wanted in sides)
        # Reduced sizes are rounded up: the last pixel may stand for what lies beyond the border, and the far side of
        # the result moves by this many of its pixels.
        shift = max(-side % denominator * wanted / side for side, wanted in sides)
        if sharp and shift <= 0.125:
            return denominator
    return 1


def _opencv(data, flag, name):
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise FileProblem(f"the {name} is damaged, or larger than the decoder allows")
    return pixels


def _read_npy(path):
    array = open_npy(path)
    header = npy_header(array)
    if array.ndim == 3:
        array = array.transpose(1, 2, 0)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")), header


def _read_with_pillow(data, frame):
    stream = io.BytesIO(data)
    image = pillow_image(stream)
    if image is None:
        return opencv_tiff(stream)
    header = pillow_header(image)
    n_frames = getattr(image, "n_frames", 1)
    if frame is not None and not 0 <= frame < n_frames:
        raise FileProblem(f"frame {frame} does not exist", f"name one below {n_frames}")
    pixels = []
    for number in range(n_frames) if frame is None else [frame]:
        try:
            if n_frames > 1:
                image.seek(number)
            pixels.append(_pillow_pixels(image))
        except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
            raise FileProblem(f"the {image.format} cannot be decoded ({error})") from None
    if len(pixels) == 1:
        return pixels[0], header
    if len({page.shape for page in pixels}) > 1 or header.color:
        raise FileProblem(f"{n_frames} frames in color or of several sizes", "name one with frame=")
    return np.stack(pixels, axis=-1), header


def _pillow_pixels(image):
    mode = image.mode
    if mode == "1":
        return np.asarray(image.convert("L"))
    if mode in ("LA", "La"):
        return np.asarray(image.getchannel(0))
    if mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if mode == "I" and image.format == "PPM":  # that reader scales every depth to 16 bits
        return np.asarray(image).astype(np.uint16)
    return np.asarray(image if mode in ("L", "RGB", "I", "F") else image.convert("RGB"))


def _read_dicom(path, settings):
    from ._dicom import read_dicom

    window = list(settings.window) if settings.n_windows > 1 else settings.window
    pixels = read_dicom(path, frame=settings.frame, window=window)
    if pixels.ndim == 4 and settings.n_windows == 1:
        raise FileProblem("several color frames", "name one with frame=")
    depth = None if window is None else 1.0
    if pixels.ndim == 2:
        return pixels, depth, False
    is_color = pixels.shape[0] == 3 and settings.channels == 1 and read_header(path).color
    return pixels.reshape(-1, *pixels.shape[-2:]).transpose(1, 2, 0), depth, is_color


def _turn(pixels, orientation):
    """Apply an EXIF orientation."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _finish(pixels, depth, is_color, settings):
    """Bring stored values to the size, number of channels and data type asked for."""
    dtype, limit = np.dtype(settings.dtype), settings.limit
    if depth is None and dtype.kind == "u":
        raise FileProblem(f"its {pixels.dtype} values have no depth to scale by", "read it with dtype='float32'")
    pixels = _with_channels(pixels, is_color, settings.channels)
    size = settings.size
    if size is not None and pixels.shape[:2] != size:
        pad = settings.pad if depth is None else settings.pad * depth
        pixels = place(pixels.shape[:2], size, settings.resize).resize(pixels, pad=pad)
    if pixels.ndim == 3:
        pixels = pixels.transpose(2, 0, 1)
    if depth is None or (depth == limit and pixels.dtype == dtype):
        return np.array(pixels, dtype=dtype, order="C")  # a copy: NPY files are mapped, not read
    if dtype.kind == "f":
        exact = np.float64 if dtype == np.float64 else np.float32
        return np.divide(pixels, depth, dtype=exact, order="C").astype(dtype, copy=False)
    scaled = np.multiply(pixels, limit / depth, dtype=np.float32, order="C")
    return np.floor(scaled + np.float32(0.5)).astype(dtype)


def _with_channels(pixels, is_color, channels):
    present = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim == 3 and present == 1:
        pixels = pixels[..., 0]
    if channels is None or channels == present:
        return pixels
    if present == 1:
        return np.repeat(pixels[..., None], 3, axis=2)
    if is_color and channels == 1:
        return cv2.cvtColor(np.ascontiguousarray(pixels, dtype=np.float32), cv2.COLOR_RGB2GRAY)
    raise FileProblem(
        f"{present} channels or frames, which cannot become {channels}", "leave channels out or name a frame"
    )


def _as_window(window):
    if window is None or (isinstance(window, str) and window in ("auto", "full")):
        return window
    try:
        windows = [window] if np.ndim(window) == 1 else list(window)
        pairs = tuple((float(center), float(width)) for center, width in windows)
    except (TypeError, ValueError):
        pairs = ()
    if not pairs or any(width <= 0 for _, width in pairs):
        raise ValueError(f"window must be None, 'auto', 'full', (center, width) or a list of these, got {window!r}")
    return pairs[0] if np.ndim(window) == 1 else pairs
