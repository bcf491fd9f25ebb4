"""What may be given as the images and fields of a bunch: each becomes something with a shape and rows."""

import numpy as np
import pandas as pd

from ._paths import is_missing
from ._sources import MemmapRows, RowSource, RowView, is_mappable, take_rows

_SCANNED_BYTES = 2**26  # of masks that are looked through at a time

# Column names under which studies usually keep the patient, without their separators.
PATIENT_NAMES = frozenset(
    ["patient", "patientid", "patientnumber", "pid", "subject", "subjectid", "caseid", "participantid", "personid"]
)


def as_images(value, *, signal):
    """Give images as a row source.

    Parameters
    ----------
    value : array-like
        What was given.
    signal : bool
        Whether rows are signals.

    Returns
    -------
    ndarray or row source
        Of shape (n, H, W), (n, C, H, W) or (n, C, T).

    Raises
    ------
    ValueError
        If it is nothing of the kind; says what to do.
    """
    images = as_source(_stacked(value, "images", "resize them to one shape first"), "images")
    dtype = np.dtype(images.dtype)
    if dtype.kind in "OSUT":
        raise ValueError(
            f"images must hold numbers, got dtype {dtype}; paths of images go through ImageFiles(paths), and numbers "
            "that are Python objects through images.astype(numpy.float32)"
        )
    if dtype.kind not in "biuf":
        raise ValueError(f"images must hold real numbers, got dtype {dtype}; give their magnitude, for example")
    shape = tuple(images.shape)
    if not (3 <= len(shape) <= (3 if signal else 4)):
        wanted = "(n, C, T)" if signal else "(n, H, W) or (n, C, H, W)"
        raise ValueError(f"images must have shape {wanted}, got {shape}; reshape them")
    if 0 in shape[1:]:
        raise ValueError(f"images must have pixels, got shape {shape}")
    if len(shape) == 4 and shape[-1] in (1, 3, 4) and min(shape[1:3]) >= 16:
        raise ValueError(
            f"images of shape {shape} look like (n, H, W, C), but (n, C, H, W) is wanted; "
            "give numpy.moveaxis(images, -1, 1)"
        )
    return images


def as_field(value, name, n_rows):
    """Give a field as something with rows.

    Parameters
    ----------
    value : array-like
        What was given.
    name : str
        Name of the field; some have rules of their own.
    n_rows : int
        Number of images.

    Returns
    -------
    ndarray, Series, DataFrame or row source
        Of ``n_rows`` rows.

    Raises
    ------
    ValueError
        If it has other rows, or patients or weights cannot be used.
    """
    value = pd.DataFrame(value) if name == "metadata" else as_source(value, name)
    check_length(value, name, n_rows)
    if name in ("groups", "sample_weight", "artifact") and len(value.shape) > 1:
        raise ValueError(f"{name} must have one value per row, got shape {tuple(value.shape)}")
    if name == "groups" and isinstance(value, (np.ndarray, pd.Series)):
        missing = np.flatnonzero(pd.isna(value))
        if len(missing):
            raise ValueError(
                f"groups: {len(missing)} rows have no patient, the first is row {missing[0]}; all of them would count "
                "as one patient: fill them in, each with a value of its own, or drop the rows"
            )
    if name == "sample_weight" and isinstance(value, (np.ndarray, pd.Series)):
        refuse_wrong_weights(_as_numbers(value))
    return value


def refuse_wrong_weights(weights):
    """Raise if a weight, one of an array of numbers of shape (n,), is negative or not finite; names its row."""
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise ValueError(
            f"sample_weight: row {wrong[0]} has {weights[wrong[0]]:g}, but weights are finite numbers from 0 on; give "
            "0 to leave a row out"
        )


def plain_name(column):
    """Write a column name without case and separators."""
    return "".join(filter(str.isalnum, str(column).lower()))


def refuse_patients(names, argument):
    """Raise if a column is one of patients, which are no category: messages and tables would tell who they are."""
    for name in names:
        if plain_name(name) in PATIENT_NAMES:
            raise ValueError(f"{argument}: column {name!r} tells patients apart; leave it out, and pass it as groups")


def check_length(value, name, n_rows):
    """Raise if a field has another number of rows than the images."""
    if len(value) != n_rows:
        raise ValueError(f"{name} has {len(value)} rows, but there are {n_rows} images")


def as_source(value, name):
    """Give something that has a shape and rows.

    Parameters
    ----------
    value : array-like
        What was given.
    name : str
        Name of the argument, for messages.

    Returns
    -------
    ndarray, Series, DataFrame or row source
        Memory maps become sources that pickle as paths.
    """
    if isinstance(value, (RowSource, pd.Series, pd.DataFrame)):
        return value
    if not isinstance(value, np.ndarray):
        if hasattr(value, "shape") and hasattr(value, "dtype") and not hasattr(value, "__array__"):
            return value
        value = np.asarray(value)
    if value.ndim == 0:
        given = "nothing" if value.dtype == object and value.item() is None else f"one value, {value.item()!r:.60}"
        raise ValueError(f"{name} must have rows, got {given}")
    return MemmapRows(value) if is_mappable(value) else value


def as_masks(value, spatial_shape, name):
    """Give masks as a source, and per row whether there is one.

    Parameters
    ----------
    value : array-like
        Masks of shape (n, *spatial_shape), or a list of masks of which some are missing.
    spatial_shape : tuple of int
        Shape of one mask.
    name : str
        Name of the argument, for messages.

    Returns
    -------
    masks : ndarray or row source
        Boolean, or of floating-point numbers from 0 to 1; 0 where a row has no mask.
    has_mask : ndarray of bool of shape (n,)
        Which rows have one.

    Raises
    ------
    ValueError
        If masks have another size than the images, or values that say neither inside nor outside.
    """
    has_mask = None
    if _is_list(value):
        value, has_mask = _stacked_masks(list(value), spatial_shape, name)
    source = as_source(value, name)
    for axis in (1, -1):
        if len(source.shape) == len(spatial_shape) + 2 and source.shape[axis] == 1:
            source = np.squeeze(np.asarray(source), axis=axis)
    check_spatial_shape(source, spatial_shape, name)
    if np.dtype(source.dtype).kind not in "biuf":
        raise ValueError(f"{name} must hold booleans or numbers, 1 inside and 0 outside, got dtype {source.dtype}")
    known = _known_missing(source)
    if known is not None:
        has_mask = known
    elif np.dtype(source.dtype).kind == "f" and isinstance(source, (np.ndarray, MemmapRows)):
        source, has_mask = _without_nan(source, has_mask, name)
    elif has_mask is None:
        has_mask = np.ones(len(source), dtype=bool)
    return _as_inside(source, name), has_mask


def check_spatial_shape(masks, spatial_shape, name):
    """Raise if masks have another size than the images."""
    if tuple(masks.shape[1:]) != tuple(spatial_shape):
        raise ValueError(
            f"{name} must have shape (n, {', '.join(map(str, spatial_shape))}) like the images, "
            f"got {tuple(masks.shape)}; resize each mask to its image, by the nearest pixel"
        )


class MissingRows(RowSource):
    """Masks of which some rows are missing, as is known from elsewhere; those read as 0.

    Parameters
    ----------
    source : ndarray or row source
        Masks.
    has_mask : ndarray of bool of shape (n,)
        Rows that have one.
    """

    def __init__(self, source, has_mask):
        self.source = source
        self.has_mask = has_mask

    @property
    def shape(self):
        return self.source.shape

    @property
    def dtype(self):
        return self.source.dtype

    def _read(self, rows):
        masks = np.asarray(self.source[rows])
        missing = ~self.has_mask[rows]
        if missing.any():
            masks = masks.copy()
            masks[missing] = 0
        return masks

    def take(self, rows):
        """Give some rows as a source of their own."""
        return type(self)(take_rows(self.source, rows), self.has_mask[rows])


class InsideRows(RowSource):
    """Masks of whole numbers as booleans: what is above 0 is inside.

    Parameters
    ----------
    source : row source
        Masks of whole numbers, such as 0 and 255.
    """

    dtype = np.dtype(bool)

    def __init__(self, source):
        self.source = source

    @property
    def shape(self):
        return self.source.shape

    @property
    def has_mask(self):
        """Which rows have a mask, where the source says so."""
        return getattr(self.source, "has_mask", None)

    def _read(self, rows):
        return np.asarray(self.source[rows]) > 0

    def take(self, rows):
        """Give some rows as a source of their own."""
        return type(self)(take_rows(self.source, rows))


def with_missing(masks, has_mask):
    """Give masks that say themselves which rows are missing."""
    return masks if has_mask.all() else MissingRows(masks, has_mask)


# -- inside ------------------------------------------------------------------------------------------------------------
def _is_list(value):
    return isinstance(value, (list, tuple)) or (
        isinstance(value, (np.ndarray, pd.Series)) and value.dtype == object and value.ndim == 1
    )


def _stacked(value, name, remedy):
    """Stack a list of arrays of one shape; anything else stays as it is."""
    if not _is_list(value) or not len(value) or any(is_missing(one) or np.ndim(one) == 0 for one in value):
        return value
    shapes = [np.shape(one) for one in value]
    odd = next((row for row, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        raise ValueError(f"{name}: row {odd} has shape {shapes[odd]}, but row 0 has {shapes[0]}; {remedy}")
    return np.stack([np.asarray(one) for one in value])


def _stacked_masks(masks, spatial_shape, name):
    """Stack a list of masks, of which some may be missing."""
    has_mask = np.array([not is_missing(mask) for mask in masks], dtype=bool)
    given = {row: np.asarray(masks[row]) for row in np.flatnonzero(has_mask)}
    for row, mask in given.items():
        if mask.shape in ((1, *spatial_shape), (*spatial_shape, 1)):
            given[row] = mask = mask.reshape(spatial_shape)
        if mask.shape != tuple(spatial_shape):
            raise ValueError(
                f"{name}: the mask of row {row} has shape {mask.shape}, but its image {tuple(spatial_shape)}; "
                "resize each mask to its image, by the nearest pixel"
            )
    stacked = np.zeros((len(masks), *spatial_shape), np.result_type(*given.values()) if given else bool)
    for row, mask in given.items():
        stacked[row] = mask
    return stacked, has_mask


def _known_missing(source):
    if getattr(source, "has_mask", None) is not None:
        return np.asarray(source.has_mask, dtype=bool)
    if isinstance(source, RowView) and getattr(source.source, "has_mask", None) is not None:
        return np.asarray(source.source.has_mask, dtype=bool)[source.rows]
    return None


def _without_nan(source, has_mask, name):
    """Find the rows that are all NaN, which have no mask; refuse values that are no mask."""
    present = np.ones(len(source), dtype=bool) if has_mask is None else has_mask.copy()
    step = max(1, _SCANNED_BYTES // max(1, source[:1].nbytes))
    n_nan = 0
    for first in range(0, len(source), step):
        masks = np.asarray(source[first : first + step]).reshape(len(source[first : first + step]), -1)
        is_nan = np.isnan(masks)
        all_nan = is_nan.all(axis=1) if masks.shape[1] else np.zeros(len(masks), dtype=bool)
        n_nan += np.count_nonzero(all_nan)
        present[first : first + step] &= ~all_nan
        wrong = (~((masks >= 0) & (masks <= 1))).any(axis=1) & ~all_nan
        if wrong.any():
            row = int(np.argmax(wrong))
            if is_nan[row].any():
                raise ValueError(
                    f"{name}: the mask of row {first + row} contains NaN; a row without a mask is None or all NaN"
                )
            raise ValueError(
                f"{name}: the mask of row {first + row} has values from {masks[row].min():g} to {masks[row].max():g}, "
                "but floating-point masks are 1 inside and 0 outside, or probabilities; give masks > 0, or what "
                "else is inside"
            )
    if n_nan == 0:
        return source, present
    if isinstance(source, np.ndarray):
        source = source.copy()
        source[~present] = 0
        return source, present
    return MissingRows(source, present), present


def _as_inside(source, name):
    """Give masks of whole numbers as booleans; what is above 0 is inside."""
    kind = np.dtype(source.dtype).kind
    if kind not in "iu":
        return source
    if not isinstance(source, np.ndarray):
        return InsideRows(source)
    if source.size and source.min() < 0:
        row = int(np.argmax((source < 0).reshape(len(source), -1).any(axis=1)))
        raise ValueError(f"{name}: the mask of row {row} has values below 0; give masks > 0, or what else is inside")
    if source.dtype.itemsize == 1 and (source.size == 0 or source.max() <= 1):
        return source.view(bool)  # no copy
    return source > 0


def _as_numbers(values):
    try:
        if isinstance(values, pd.Series):
            return values.to_numpy(dtype=np.float64, na_value=np.nan)
        return values.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError("sample_weight must hold numbers, one per row") from None
