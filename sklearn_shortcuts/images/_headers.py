"""What an image file says about itself: format, size, channels, orientation, and whether it is complete."""

import contextlib
import os
import struct
import zlib
from dataclasses import dataclass

import numpy as np

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_GRAY = (0, 4)  # color types without and with alpha
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_ORIENTATION = 0x0112  # EXIF and TIFF tag
_BITS_PER_SAMPLE = 258  # TIFF tag
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers that no length follows


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image before it is decoded.

    Parameters
    ----------
    kind : {"png", "jpeg", "npy", "dicom", "other"}
        Which decoder is in charge.
    stored_shape : tuple of int
        Height and width as stored.
    channels : int
        1 for gray, 3 for color, else the number of frames or slices.
    color : bool
        Whether three channels are red, green and blue rather than frames.
    orientation : int, default=1
        EXIF orientation, 1 to 8, still to be applied to the stored pixels.
    scan : int, default=0
        Byte position of the first scan of a JPEG.
    """

    kind: str
    stored_shape: tuple[int, int]
    channels: int
    color: bool
    orientation: int = 1
    scan: int = 0

    @property
    def shape(self):
        """Height and width as displayed."""
        return self.stored_shape[::-1] if self.orientation >= 5 else self.stored_shape


class FileProblem(Exception):
    """Something is wrong with a file whose name the caller knows.

    Parameters
    ----------
    text : str
        What is wrong.
    remedy : str, default="replace the file or drop the row"
        What can be done.
    """

    def __init__(self, text, remedy="replace the file or drop the row"):
        super().__init__(text)
        self.remedy = remedy


@contextlib.contextmanager
def naming(path):
    """Turn the problems of a file into errors for the user, which name the file and the remedy.

    Parameters
    ----------
    path : str
        Name of the file.

    Raises
    ------
    ValueError
        In place of :class:`FileProblem`.
    OSError
        If there is no such file, or it cannot be opened; of the same kind as the error that it replaces.
    """
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file; correct the path or drop the row") from None
    except OSError as error:
        why = f"cannot be opened ({error.strerror or error})"
        raise type(error)(f"{path}: {why}; give a file that may be read, or drop the row") from None
    except FileProblem as problem:
        raise ValueError(f"{path}: {problem}; {problem.remedy}") from None


@contextlib.contextmanager
def naming_row(row):
    """Put the number of a row in front of errors about its file.

    Parameters
    ----------
    row : int
        Number of the row.
    """
    try:
        yield
    except OSError as error:
        raise type(error)(f"row {row}: {error}") from None
    except ValueError as error:
        raise ValueError(f"row {row}: {error}") from None


def read_header(path):
    """Read what a file says about itself; pixels are not decoded.

    Parameters
    ----------
    path : str
        PNG, JPEG, NPY, DICOM, or a format that Pillow reads.

    Returns
    -------
    ImageHeader
        Size, channels and orientation.

    Raises
    ------
    FileProblem
        If the file is no image, or ends too early.
    ValueError
        If it is a DICOM file that cannot be read.
    """
    with open(path, "rb") as stream:
        kind = identify(stream.read(132), path)
        if kind == "png":
            return walk_png(stream, verify=False)
        if kind == "jpeg":
            return walk_jpeg(stream)
        if kind == "other":
            image = pillow_image(stream)
            return opencv_tiff(stream)[1] if image is None else pillow_header(image)
    return npy_header(open_npy(path)) if kind == "npy" else _dicom_header(path)


def identify(start, path):
    """Tell which decoder is in charge of a file, by its first 132 bytes rather than by its name.

    Parameters
    ----------
    start : bytes
        First 132 bytes.
    path : str
        Its suffix decides for DICOM files that lack the preamble.

    Returns
    -------
    str
        Kind as in :class:`ImageHeader`.
    """
    if not start:
        raise FileProblem("the file is empty")
    if start.startswith(_PNG_SIGNATURE):
        return "png"
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start[128:132] == b"DICM" or os.path.splitext(path)[1].lower() in _DICOM_SUFFIXES:
        return "dicom"
    return "other"


def walk_png(stream, *, verify):
    """Read the chunks of a PNG.

    Parameters
    ----------
    stream : binary file
        Positioned anywhere.
    verify : bool
        Compare the checksum of every chunk. Decoders do not all do so: some give back what they could read.

    Returns
    -------
    ImageHeader
        What the chunks say.
    """
    header, orientation = None, 1
    stream.seek(len(_PNG_SIGNATURE))
    while True:
        start = stream.read(8)
        if len(start) < 8:
            raise FileProblem("the PNG ends too early")
        length, chunk = struct.unpack(">I4s", start)
        if not verify and chunk not in (b"IHDR", b"eXIf", b"IEND"):
            stream.seek(length + 4, os.SEEK_CUR)
            continue
        body, checksum = stream.read(length), stream.read(4)
        if len(checksum) < 4:
            raise FileProblem("the PNG ends too early")
        if zlib.crc32(body, zlib.crc32(chunk)) != int.from_bytes(checksum, "big"):
            raise FileProblem("a checksum of the PNG does not match")
        if chunk == b"IHDR" and length == 13:
            width, height, _, color_type = struct.unpack(">IIBB", body[:10])
            header = (height, width), 1 if color_type in _PNG_GRAY else 3
        elif chunk == b"eXIf":
            orientation = _exif_orientation(body)
        elif chunk == b"IEND":
            break
    if header is None:
        raise FileProblem("the PNG has no header")
    shape, channels = header
    return ImageHeader("png", shape, channels, channels == 3, orientation)


def walk_jpeg(stream):
    """Read the segments of a JPEG up to its first scan.

    Parameters
    ----------
    stream : binary file
        Positioned anywhere.

    Returns
    -------
    ImageHeader
        What the segments say, and where the scan starts.
    """
    frame, orientation = None, 1
    stream.seek(2)
    while True:
        byte = stream.read(1)
        while byte and byte != b"\xff":  # decoders skip stray bytes between segments too
            byte = stream.read(1)
        while byte == b"\xff":
            byte = stream.read(1)
        if not byte:
            raise FileProblem("the JPEG ends before its first scan")
        marker = byte[0]
        if marker in _JPEG_BARE or marker == 0x00:
            continue
        size = stream.read(2)
        length = int.from_bytes(size, "big") - 2
        if len(size) < 2 or length < 0 or marker == 0xD9:
            raise FileProblem("the JPEG ends before its first scan")
        if marker == 0xDA:
            break
        body = stream.read(length)
        if marker in _JPEG_FRAMES and len(body) >= 6:
            precision, height, width, components = struct.unpack(">BHHB", body[:6])
            if precision != 8:
                raise FileProblem(f"a JPEG of {precision} bits, which is not supported", "save it as PNG")
            frame = (height, width), 1 if components == 1 else 3
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(body)
    if frame is None or 0 in frame[0]:
        raise FileProblem("the JPEG has no size")
    shape, channels = frame
    return ImageHeader("jpeg", shape, channels, channels == 3, orientation, stream.tell())


def pillow_image(stream):
    """Open an image of any other format with Pillow.

    Parameters
    ----------
    stream : binary file
        Positioned anywhere.

    Returns
    -------
    PIL.Image.Image, or None
        Not decoded yet; ``None`` for a TIFF that Pillow does not know or would cut down to 8 bits.
    """
    from PIL import Image, UnidentifiedImageError

    stream.seek(0)
    is_tiff = stream.read(4) in (b"II*\0", b"MM\0*")
    stream.seek(0)
    try:
        image = Image.open(stream)
        is_deep = is_tiff and image.mode == "RGB" and max(image.tag_v2.get(_BITS_PER_SAMPLE, (8,))) > 8
        return None if is_deep else image
    except UnidentifiedImageError:
        if is_tiff:
            return None
        raise FileProblem("no image format that is known (PNG, JPEG, TIFF, BMP, NPY, DICOM, ...)") from None
    except Image.DecompressionBombError as error:
        raise FileProblem(
            f"more pixels than Pillow opens ({error})", "save it smaller or as PNG, or raise PIL.Image.MAX_IMAGE_PIXELS"
        ) from None
    except Exception as error:  # a damaged header makes Pillow's readers fail in any way
        raise FileProblem(f"the file is damaged or incomplete ({error})") from None


def opencv_tiff(stream):
    """Decode a TIFF with OpenCV.

    Parameters
    ----------
    stream : binary file
        Positioned anywhere.

    Returns
    -------
    pixels : ndarray of shape (H, W) or (H, W, 3)
        Stored values, red first.
    header : ImageHeader
        Made from the pixels.
    """
    import cv2

    stream.seek(0)
    pixels = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise FileProblem("the TIFF is damaged or of a kind that is not supported", "save it as PNG or NPY")
    is_color = pixels.ndim == 3
    header = ImageHeader("other", pixels.shape[:2], 3 if is_color else 1, is_color)
    return pixels[..., 2::-1] if is_color else pixels, header


def pillow_header(image):
    """Describe an image that Pillow has opened.

    Parameters
    ----------
    image : PIL.Image.Image
        Not decoded yet.

    Returns
    -------
    ImageHeader
        Its orientation is 1 for TIFF, whose pixels Pillow turns itself.
    """
    is_color = image.mode not in ("1", "L", "LA", "La", "I", "F") and not image.mode.startswith("I;")
    try:
        channels = 3 if is_color else getattr(image, "n_frames", 1)
        orientation = 1 if image.format == "TIFF" else _valid_orientation(image.getexif().get(_ORIENTATION))
    except Exception as error:  # frames are counted by going through the file
        raise FileProblem(f"the {image.format} is damaged or incomplete ({error})") from None
    return ImageHeader("other", (image.height, image.width), channels, is_color, orientation)


def npy_header(array):
    """Describe an array as an image.

    Parameters
    ----------
    array : ndarray
        Of shape (H, W) or (C, H, W).

    Returns
    -------
    ImageHeader
        Three channels count as color.
    """
    shape = tuple(array.shape)
    if array.dtype.kind not in "biuf":
        raise FileProblem(f"the array has type {array.dtype}, which is no real number", "save real numbers")
    if len(shape) == 3 and shape[-1] in (3, 4) and shape[0] > 4:
        raise FileProblem(f"an array of shape {shape} looks like (H, W, C)", "save it as (C, H, W)")
    if len(shape) not in (2, 3) or 0 in shape:
        raise FileProblem(f"an array of shape {shape} is no image", "save it as (H, W) or (C, H, W)")
    channels = shape[0] if len(shape) == 3 else 1
    return ImageHeader("npy", shape[-2:], channels, channels == 3)


def open_npy(path):
    """Map a NumPy file without reading it; files that hold Python objects are refused.

    Parameters
    ----------
    path : str
        File written by ``numpy.save``.

    Returns
    -------
    numpy.memmap
        The array on disk.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # the header is parsed as Python text, which can fail in any way
        raise FileProblem(f"the NPY file cannot be read ({error})") from None


def _dicom_header(path):
    from ._dicom import require_pixels
    from ._dicom_file import read_guarded

    def extract(dataset, has_pixels):
        require_pixels(dataset, has_pixels)
        is_palette = dataset.get("PhotometricInterpretation") == "PALETTE COLOR"  # one sample, which becomes three
        return (
            (int(dataset.Rows), int(dataset.Columns)),
            3 if is_palette else int(dataset.get("SamplesPerPixel") or 1),
            int(dataset.get("NumberOfFrames") or 1),
        )

    tags = ["Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation", "SOPClassUID"]
    shape, samples, frames = read_guarded(path, extract, pixels=False, tags=tags)
    return ImageHeader("dicom", shape, samples if samples > 1 else frames, samples > 1)


def _exif_orientation(body):
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(body)
        return _valid_orientation(exif.get(_ORIENTATION))
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return 1


def _valid_orientation(value):
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
