"""Volumes from series of DICOM slices."""

import os
import re
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ._dicom import check_window, find_attribute, functional_groups, read_dicom
from ._dicom_file import Refused, is_image_class, list_dicom_files, read_guarded

__all__ = ["DicomVolume", "read_dicom_series"]

_SAME_DIRECTION = 1e-3  # largest difference of direction cosines that counts as the same orientation
_SAME_PLACE_MM = 1e-2
_EVEN = 0.05  # largest deviation from the usual gap that counts as even, as a share of it
_HOW = ("center", "uniform", "random")


@dataclass(frozen=True, eq=False, repr=False)
class DicomVolume:
    """Slices of one series in the order of their position, without identifiers.

    Parameters
    ----------
    values : ndarray of shape (n_slices, H, W)
        Measured values or, if a window was given, gray levels.
    spacing : tuple of three float
        Distance in mm between slices, rows and columns. The first is the usual (median) gap, or the slice spacing or
        thickness of the header for a single slice; NaN if unknown.
    positions : ndarray of shape (n_slices,)
        Place of every slice along the slice normal in mm, increasing.
    orientation : ndarray of shape (6,)
        Direction cosines of the rows and of the columns in patient coordinates.
    n_files : int
        Number of files read.
    irregularities : tuple of str, default=()
        What is uneven about the positions; empty for an even volume.

    Attributes
    ----------
    shape : tuple of int
        ``(n_slices, H, W)``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.images import DicomVolume
    >>> volume = DicomVolume(np.zeros((20, 8, 8)), (5.0, 0.5, 0.5), 5.0 * np.arange(20), np.eye(3)[:2].ravel(), 20)
    >>> volume
    DicomVolume(shape=(20, 8, 8), spacing=(5, 0.5, 0.5) mm, n_files=20)
    >>> volume.slices(3).shape
    (3, 8, 8)
    """

    values: np.ndarray
    spacing: tuple
    positions: np.ndarray
    orientation: np.ndarray
    n_files: int
    irregularities: tuple = field(default=())

    @property
    def shape(self):
        return self.values.shape

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype, copy=copy)

    def __repr__(self):
        spacing = ", ".join(f"{value:.4g}" for value in self.spacing)
        uneven = ", uneven" if self.irregularities else ""
        return f"DicomVolume(shape={self.shape}, spacing=({spacing}) mm, n_files={self.n_files}{uneven})"

    def slices(self, n, how="center", random_state=None):
        """Take slices as the channels of one image.

        Parameters
        ----------
        n : int
            Number of slices, at most the number there are.
        how : {"center", "uniform", "random"}, default="center"
            ``"center"``: neighbors around the middle. ``"uniform"``: the middle of each of ``n`` parts of equal
            numbers of slices. ``"random"``: drawn without replacement, in anatomical order.
        random_state : None, int, numpy.random.Generator or numpy.random.RandomState, default=None
            Decides the random choice; None draws anew each time.

        Returns
        -------
        ndarray of shape (n, H, W)
            Copy of the slices.

        Raises
        ------
        ValueError
            If there are fewer than ``n`` slices or ``how`` is unknown.
        """
        return self.values[choose_slices(len(self), n, how, random_state)]


def choose_slices(total, n, how, random_state=None):
    """Choose slices of a volume; the parameters are those of :meth:`DicomVolume.slices`.

    Parameters
    ----------
    total : int
        Number of slices there are.
    n : int
        Number of slices to choose.
    how : {"center", "uniform", "random"}
        Which.
    random_state : None, int, sequence of int, numpy.random.Generator or numpy.random.RandomState, default=None
        Decides the random choice.

    Returns
    -------
    ndarray of int of shape (n,)
        Places in anatomical order.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or not 1 <= n <= total:
        raise ValueError(f"n must be an integer from 1 to the number of slices, {total}, got {n!r}")
    if how == "center":
        start = (total - n) // 2
        return np.arange(start, start + n)
    if how == "uniform":
        return ((np.arange(n) + 0.5) * total / n).astype(np.intp)
    if how == "random":
        is_legacy = isinstance(random_state, np.random.RandomState)
        generator = random_state if is_legacy else np.random.default_rng(random_state)
        return np.sort(generator.choice(total, size=n, replace=False))
    raise ValueError(f"how must be one of {', '.join(_HOW)}, got {how!r}")


def read_dicom_series(
    folder_or_paths, *, series=None, window=None, output_range=(0.0, 1.0), uneven="raise", dtype=np.float32
):
    """Read the slices of a series into one volume, ordered along the slice normal.

    Position and orientation come from the header of each slice, or of each frame in an enhanced multi-frame file.
    File names and instance numbers play no part. Objects that are not images, such as dose reports, are left aside.

    Parameters
    ----------
    folder_or_paths : path-like or iterable of path-like
        A folder, with all DICOM files below it, or the files.
    series : None, int or "all", default=None
        Which series to read if the files hold several, counted from 0 in the order of their first files; ``"all"``
        gives a list of all volumes. None expects exactly one.
    window : None or (center, width), default=None
        As in :func:`read_dicom`; None keeps measured values. One window holds for all slices: a window of each file's
        own, or scaling slices one by one, would make them incomparable.
    output_range : tuple of two float, default=(0.0, 1.0)
        What the ends of the window become, for example ``(-1, 1)``.
    uneven : {"raise", "allow"}, default="raise"
        What to do about missing slices and uneven gaps. ``"allow"`` reads the volume and says what was found in
        ``irregularities``. Head CT is often acquired with two slice thicknesses.
    dtype : dtype, default=numpy.float32
        Data type of the values.

    Returns
    -------
    DicomVolume or list of DicomVolume
        The volume; a list for ``series="all"``.

    Raises
    ------
    ValueError
        If there are several series and none was chosen, slices differ in orientation, size or pixel spacing, two lie
        at the same place, gaps are uneven and not allowed, or a file is not a readable gray image with a position.

    References
    ----------
    DICOM PS3.3, sections C.7.6.2 (image plane) and C.7.6.16.2.3 (plane position of a frame).

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> from sklearn_shortcuts.images import read_dicom_series
    >>> path = get_testdata_file("CT_small.dcm", download=False)
    >>> read_dicom_series([path], window=(40, 400), output_range=(-1, 1))
    DicomVolume(shape=(1, 128, 128), spacing=(5, 0.6615, 0.6615) mm, n_files=1)
    """
    if window is not None and not isinstance(check_window(window), tuple):
        raise ValueError(f"window must be None or (center, width) for a series, got {window!r}")
    if uneven not in ("raise", "allow"):
        raise ValueError(f"uneven must be 'raise' or 'allow', got {uneven!r}")
    read = partial(read_dicom, window=window, output_range=output_range, dtype=dtype)
    chosen = _choose(_planes_by_series(folder_or_paths), series)
    volumes = [_volume(planes, read, uneven) for planes in chosen]
    return volumes if isinstance(series, str) else volumes[0]


def index_series(folder_or_paths, *, series=None, uneven="raise"):
    """Find the slices of a series and their order from headers alone.

    Parameters
    ----------
    folder_or_paths : path-like or iterable of path-like
        A folder, with all DICOM files below it, or the files.
    series : None or int, default=None
        Which series to take, as in :func:`read_dicom_series`.
    uneven : {"raise", "allow"}, default="raise"
        What to do about missing slices and uneven gaps.

    Returns
    -------
    slices : list of tuple (str, int or None)
        File and frame of every slice, in the order of their position along the normal.
    shape : tuple of int
        Height and width of every slice.

    Raises
    ------
    ValueError
        As :func:`read_dicom_series`.
    """
    (planes,) = _choose(_planes_by_series(folder_or_paths), series)
    planes, _, _ = _in_order(planes, uneven)
    return [(plane.path, plane.frame) for plane in planes], planes[0].shape


def _planes_by_series(folder_or_paths):
    paths = list_dicom_files(folder_or_paths, "folder_or_paths")
    groups = {}
    for path in paths:
        for plane in read_guarded(path, partial(_planes, path), pixels=False):
            groups.setdefault(plane.series, []).append(plane)
    if not groups:
        raise ValueError(f"none of the {len(paths)} file(s) of folder_or_paths is an image, the first being {paths[0]}")
    return list(groups.values())


@dataclass(frozen=True, repr=False)
class _Plane:
    """One slice: where its pixels are and where it lies. Stays inside this file, for it knows the series."""

    series: str
    path: str
    frame: int | None
    modality: str
    shape: tuple
    spacing: tuple
    gap: float
    position: np.ndarray
    orientation: np.ndarray


def _planes(path, dataset, has_pixels):
    """List the slices of one file."""
    if not has_pixels:
        if is_image_class(dataset):
            raise Refused(
                "should be an image but has no pixel data; it is cut short or stripped: copy it again, or leave it out"
            )
        return []
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    modality = str(dataset.get("Modality", ""))
    planes = []
    for number in range(n_frames):
        groups = functional_groups(dataset, number) if n_frames > 1 or _is_enhanced(dataset) else [dataset]
        position, orientation, spacing = (
            _numbers(groups, keyword, size)
            for keyword, size in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2))
        )
        if position is None or orientation is None:
            raise Refused(
                "has no position and orientation of its slices (ImagePositionPatient, ImageOrientationPatient); "
                "leave it out, or read it alone with read_dicom"
            )
        gap = find_attribute(groups, "SpacingBetweenSlices") or find_attribute(groups, "SliceThickness") or np.nan
        planes.append(
            _Plane(
                series=str(dataset.get("SeriesInstanceUID", "")),
                path=path,
                frame=number if n_frames > 1 else None,
                modality=modality if re.fullmatch("[A-Z]{2,16}", modality) else "unknown modality",
                shape=(int(dataset.Rows), int(dataset.Columns)),
                spacing=(np.nan, np.nan) if spacing is None else tuple(spacing.tolist()),
                gap=float(gap),
                position=position,
                orientation=orientation,
            )
        )
    return planes


def _is_enhanced(dataset):
    return "PerFrameFunctionalGroupsSequence" in dataset


def _numbers(groups, keyword, size):
    value = find_attribute(groups, keyword)
    if value is None:
        return None
    numbers = np.array(value, dtype=np.float64)
    if numbers.shape != (size,) or not np.isfinite(numbers).all():
        raise Refused(f"has a {keyword} that is not {size} finite numbers; leave it out or repair the header")
    return numbers


def _choose(groups, series):
    if isinstance(series, str) and series == "all":
        return groups
    if series is None and len(groups) == 1:
        return groups
    listed = "\n".join(
        f"  {number}: {planes[0].modality}, {len(planes)} slice(s) of {planes[0].shape[0]} x {planes[0].shape[1]}, "
        f"first file {os.path.basename(planes[0].path)}"
        for number, planes in enumerate(groups)
    )
    if series is None:
        raise ValueError(f"the files hold {len(groups)} series; choose one with series=, or series='all':\n{listed}")
    if isinstance(series, (int, np.integer)) and not isinstance(series, bool) and 0 <= series < len(groups):
        return [groups[series]]
    raise ValueError(f"series must be None, 'all' or an integer below {len(groups)}, got {series!r}:\n{listed}")


def _volume(planes, read, uneven):
    planes, positions, irregularities = _in_order(planes, uneven)
    gap = float(np.median(np.diff(positions))) if len(planes) > 1 else planes[0].gap
    return DicomVolume(
        values=_read_values(planes, read),
        spacing=(gap, *planes[0].spacing),
        positions=positions,
        orientation=planes[0].orientation,
        n_files=len({plane.path for plane in planes}),
        irregularities=tuple(irregularities),
    )


def _in_order(planes, uneven):
    """Give slices in the order of their positions, these, and what is uneven about them."""
    _require_same_grid(planes)
    orientation = planes[0].orientation
    normal = np.cross(orientation[:3], orientation[3:])
    length = np.linalg.norm(normal)
    if not 0.99 < length < 1.01:
        raise ValueError(f"{planes[0].path}: the directions of rows and columns are not two perpendicular unit vectors")
    planes = sorted(planes, key=lambda plane: plane.position @ normal)
    positions = np.array([plane.position @ normal / length for plane in planes])
    irregularities = _check_gaps(planes, positions)
    if irregularities and uneven == "raise":
        raise ValueError(
            "the slices are not evenly spaced: " + "; ".join(irregularities) + ". Look for missing files, or accept "
            "the gaps with uneven='allow'"
        )
    return planes, positions, irregularities


def _require_same_grid(planes):
    """Refuse slices that do not fit onto each other."""
    orientations = np.array([plane.orientation for plane in planes])
    for name, differs in (
        ("orientation", np.abs(orientations - orientations[0]).max(axis=1) > _SAME_DIRECTION),
        ("size", np.array([plane.shape != planes[0].shape for plane in planes])),
        (
            "pixel spacing",
            np.array([not np.allclose(p.spacing, planes[0].spacing, rtol=1e-3, equal_nan=True) for p in planes]),
        ),
    ):
        if differs.any():
            raise ValueError(
                f"{differs.sum()} of {len(planes)} slices differ in {name} from the first "
                f"({_where(planes[0])}), for example {_where(planes[int(np.argmax(differs))])}; "
                "a localizer may be among them: give the paths of the slices that belong together"
            )


def _check_gaps(planes, positions):
    """Refuse slices at the same place; say where gaps are uneven or slices seem to be missing."""
    gaps = np.diff(positions)
    same = np.flatnonzero(gaps < _SAME_PLACE_MM)
    if len(same):
        first = int(same[0])
        raise ValueError(
            f"{len(same)} slice(s) lie at the same place as another, for example {_where(planes[first])} and "
            f"{_where(planes[first + 1])}; give the paths of one copy, echo or time point"
        )
    usual = float(np.median(gaps)) if len(gaps) else np.nan
    odd = np.flatnonzero(np.abs(gaps - usual) > max(_EVEN * usual, _SAME_PLACE_MM)) if len(gaps) else []
    found = []
    for i in odd:
        times = gaps[i] / usual
        missing = round(times) - 1
        between = f"between {_where(planes[i])} and {_where(planes[i + 1])}"
        if missing >= 1 and abs(times - round(times)) <= _EVEN:
            found.append(f"{missing} slice(s) of {usual:.4g} mm seem to be missing {between}")
        else:
            found.append(f"the gap {between} is {gaps[i]:.4g} mm, not {usual:.4g} mm")
    if len(found) > 5:
        found = [*found[:4], f"and {len(found) - 4} more such gaps"]
    return found


def _where(plane):
    name = os.path.basename(plane.path)
    return name if plane.frame is None else f"{name} frame {plane.frame}"


def _read_values(planes, read):
    """Read the pixels in the order of the slices; a file with several frames is decoded once."""
    paths = {}
    for place, plane in enumerate(planes):
        paths.setdefault(plane.path, []).append((place, plane.frame))
    values = None
    for path, places in paths.items():
        pixels = read(path)
        if places[0][1] is None:
            pixels = pixels[None]
        if pixels.ndim != 3 or pixels.shape[1:] != planes[0].shape:
            raise ValueError(f"{path} is a color image; a volume is made of gray slices")
        if values is None:
            values = np.empty((len(planes), *planes[0].shape), dtype=pixels.dtype)
        for place, frame in places:
            values[place] = pixels[frame or 0]
    return values
