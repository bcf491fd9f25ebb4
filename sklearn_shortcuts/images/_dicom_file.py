"""Opening DICOM files so that nothing of a header can leave through an exception, a warning or a log."""

import contextlib
import logging
import os
import threading
import warnings
from pathlib import Path

_PIXEL_TAGS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_SUFFIXES = (".dcm", ".dicom", ".ima")
_READERS = r"(pydicom|pylibjpeg|openjpeg|rle|gdcm|sklearn_shortcuts\.images\._(dicom|series|window))"

# Warning filters belong to the whole process: two threads that set and restore them in turn would leave them wrong.
_LOCK = threading.RLock()


class Refused(Exception):
    """A problem whose text was written here and holds no header value that identifies a patient."""


def read_guarded(path, extract, *, pixels=True, tags=None):
    """Open a DICOM file and hand its data set to a function, letting nothing of the header out on the way.

    The texts of pydicom's exceptions and warnings quote header values; they are replaced by texts of our own. New
    exceptions are raised outside the handler, so that they do not carry the original along as their context either.

    Parameters
    ----------
    path : str or path-like
        The file.
    extract : callable
        ``extract(dataset, has_pixels) -> result``; raises :class:`Refused` for problems it can name.
    pixels : bool, default=True
        Read the pixel data too, not only the header before them.
    tags : list of str, default=None
        Keywords of the elements to read; by default all.

    Returns
    -------
    object
        What ``extract`` gives.

    Raises
    ------
    ValueError
        If the file is not DICOM or is damaged, or ``extract`` refused it. The text names the file and the remedy.
    OSError
        If the file cannot be opened.
    """
    name = os.fspath(path)
    with open(name, "rb") as file:
        force = _needs_force(name, file.read(132))
        file.seek(0)
        with _quiet_readers():
            try:
                return extract(*_read(file, force, pixels, tags))
            except Refused as error:
                problem = str(error)
            except Exception:
                problem = "is damaged or cut short and cannot be read as DICOM; copy it again from its source"
    raise ValueError(f"{name} {problem}")


def list_dicom_files(paths, argument):
    """List the DICOM files that a folder, one path or several paths stand for.

    Parameters
    ----------
    paths : path-like or iterable of path-like
        A folder stands for all DICOM files below it: those named ``*.dcm``, ``*.dicom`` or ``*.ima`` and those that
        carry the DICOM marker, other than directories of media (``DICOMDIR``).
    argument : str
        Name of the argument, for the error text.

    Returns
    -------
    list of str
        Paths, sorted within a folder.

    Raises
    ------
    ValueError
        If there is no file.
    """
    if isinstance(paths, (str, os.PathLike)):
        root = Path(paths)
        files = sorted(filter(_looks_like_dicom, root.rglob("*"))) if root.is_dir() else [root]
        if not files:
            raise ValueError(f"{argument}: there is no DICOM file below {root}")
    else:
        files = list(paths)
        if not files:
            raise ValueError(f"{argument} must name at least one file, got none")
    return [os.fspath(file) for file in files]


def known_name(uid, default="unknown"):
    """Give the name the standard has for a UID; a UID of unknown origin is not repeated."""
    from pydicom.uid import UID_dictionary

    return UID_dictionary[uid][0] if uid in UID_dictionary else default


def is_image_class(dataset):
    """Tell whether a data set should have pixels; one of unknown class should, as the class may have been cut off."""
    uid = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", "")
    return "Rows" in dataset or "Image Storage" in known_name(uid, default="Image Storage")


def _looks_like_dicom(path):
    if path.name.upper() == "DICOMDIR" or not path.is_file():
        return False
    if path.suffix.lower() in _SUFFIXES:
        return True
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _needs_force(name, head):
    """Tell whether a file lacks the DICOM marker but starts with a DICOM group, as old files do."""
    if head[128:] == b"DICM":
        return False
    if head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08"):
        return True
    raise ValueError(f"{name} is not a DICOM file (it has no DICM marker); leave it out or read it as another format")


def _read(file, force, pixels, tags):
    from pydicom.filereader import read_partial
    from pydicom.tag import Tag

    found = []

    def at_pixels(tag, vr, length):
        if tag in _PIXEL_TAGS:
            found.append(tag)
        return bool(found) and not pixels

    dataset = read_partial(file, at_pixels, force=force, specific_tags=tags and [Tag(tag) for tag in tags])
    return dataset, bool(found)


@contextlib.contextmanager
def _quiet_readers():
    me = threading.get_ident()

    def from_elsewhere(record):
        return record.thread != me

    with _LOCK, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=_READERS)
        names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("pydicom", "pylibjpeg")]
        loggers = [logging.getLogger(name) for name in {"pydicom", *names}]
        for logger in loggers:
            logger.addFilter(from_elsewhere)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(from_elsewhere)
