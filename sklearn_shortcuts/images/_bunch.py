"""The container of a study: rows of images and what belongs to each of them."""

import numpy as np
import pandas as pd

from ._fields import as_field, as_images, as_masks, check_length, check_spatial_shape, plain_name
from ._sources import MappedRows, RowSource, RowView, as_row_indices, is_integer, take_rows

_FIELD_ORDER = ("masks", "artifact", "artifact_masks", "target", "metadata", "sample_weight", "groups")
_MASKS = ("masks", "artifact_masks")


class ImageBunch:
    """Rows of images with aligned per-row fields, which scikit-learn indexes like an array.

    Splitters, pipelines and searches of scikit-learn call ``X[rows, ...]``; a bunch answers with a view of those
    rows, so that masks, weights and metadata travel inside ``X`` at ``fit``, ``predict`` and scoring time alike.
    Images may be an array, a memory map or any lazy source; nothing is read before a batch is asked for.

    Parameters
    ----------
    images : array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Pixels or samples: an ndarray, a ``numpy.memmap`` or a lazy row source such as :class:`ImageFiles`.
    masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, default=None
        Region of interest of every row, 1 inside the region. Whole numbers, such as 0 and 255, are inside above 0 and
        become booleans; floating-point numbers are probabilities from 0 to 1. A row without a mask is ``None`` in a
        list, all NaN in a floating-point array (a memory-mapped one is looked through once), or a missing path in a
        lazy source; :attr:`has_mask` tells which rows have one.
    artifact : array-like of shape (n,), default=None
        Whether a row carries the (suspected) artifact.
    artifact_masks : array-like of shape (n, H, W) or (n, T), default=None
        Where the artifact is, 1 inside.
    target : array-like of shape (n,) or DataFrame of shape (n, n_labels), default=None
        Classes, or one 0/1 column per label. Kept with the rows for convenience; estimators take ``y``.
    metadata : DataFrame of shape (n, n_columns), default=None
        Anything else that is known of a row: age, view, scanner.
    sample_weight : array-like of shape (n,), default=None
        Non-negative weights; estimators use them when ``fit`` is given none.
    groups : array-like of shape (n,), default=None
        Patient (or other cluster) of every row, none missing; splits of the library never divide a group.
    signal : bool, default=False
        Read ``(n, C, T)`` as signals with C channels. Without it three axes mean gray images ``(n, H, W)``.
    **fields : array-like with n rows
        Further aligned fields under names of your own.

    Attributes
    ----------
    shape : tuple of int
        ``(n, ...)`` as given.
    ndim : int
        ``len(shape)``.
    dtype : numpy.dtype
        Data type of the images.
    image_shape : tuple of int
        ``(C, H, W)`` or, for signals, ``(C, T)``.
    fields : tuple of str
        Names of the fields present.
    has_mask : ndarray of bool of shape (n,)
        Rows that come with a mask (an empty mask counts as one).

    Raises
    ------
    ValueError
        If images are no numbers of a shape that is known, a field has another number of rows, masks have another size
        or values that are no mask, a patient is missing, or a weight is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts import ImageBunch
    >>> bunch = ImageBunch(np.zeros((4, 8, 8)), masks=np.ones((4, 8, 8)), groups=["a", "a", "b", "c"])
    >>> bunch[[0, 2]].groups.tolist()
    ['a', 'b']
    >>> bunch[1:].shape
    (3, 8, 8)
    """

    def __init__(
        self,
        images,
        *,
        masks=None,
        artifact=None,
        artifact_masks=None,
        target=None,
        metadata=None,
        sample_weight=None,
        groups=None,
        signal=False,
        **fields,
    ):
        self._images = as_images(_unwrapped(images), signal=signal)
        self.signal = bool(signal)
        given = dict(zip(_FIELD_ORDER, (masks, artifact, artifact_masks, target, metadata, sample_weight, groups)))
        given.update(fields)
        self._rows = np.arange(len(self._images))
        self._is_view = False
        self._fields = {}
        self._has_mask = None
        for name, value in given.items():
            if value is not None:
                self._set(name, value)

    @classmethod
    def from_frame(cls, frame, image="image", **options):
        """Make a lazy bunch from a table of paths.

        See :func:`sklearn_shortcuts.images.bunch_from_frame` for the parameters.

        Parameters
        ----------
        frame : DataFrame
            One row per image.
        image : str, default="image"
            Column that holds the image paths.
        **options
            Passed on to :func:`~sklearn_shortcuts.images.bunch_from_frame`.

        Returns
        -------
        ImageBunch
            Bunch whose images are decoded when they are asked for.
        """
        from ._frame import bunch_from_frame  # that file makes bunches, hence the import inside

        return bunch_from_frame(frame, image, **options)

    # -- what scikit-learn asks of an array ------------------------------------------------------------------------
    def __len__(self):
        return len(self._rows)

    @property
    def shape(self):
        return (len(self), *self._images.shape[1:])

    @property
    def ndim(self):
        return len(self._images.shape)

    @property
    def dtype(self):
        return np.dtype(self._images.dtype)

    def __getitem__(self, key):
        if isinstance(key, tuple):  # scikit-learn indexes rows as X[rows, ...]
            key, *rest = key
            if any(part is not Ellipsis for part in rest):
                raise IndexError("an ImageBunch is indexed by rows only")
        if is_integer(key):
            row = as_row_indices([key], len(self))[0]
            return np.asarray(self._images[int(self._rows[row])])
        return self._view(self._rows[as_row_indices(key, len(self))])

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("an ImageBunch reads its rows when asked: it cannot give an array without a copy")
        return np.asarray(self._images[self._rows], dtype=dtype)

    def __iter__(self):
        for row in range(len(self)):
            yield self[row]

    # -- what the library asks of it -------------------------------------------------------------------------------
    @property
    def images(self):
        """The rows' images as a lazy source; ``numpy.asarray`` reads them."""
        return RowView(self._images, self._rows)

    @property
    def image_shape(self):
        """Shape of one row as networks see it: ``(C, H, W)``, or ``(C, T)`` for signals."""
        row = tuple(self._images.shape[1:])
        return row if self.signal or len(row) == 3 else (1, *row)

    @property
    def fields(self):
        """Names of the fields present."""
        return tuple(self._fields)

    @property
    def has_mask(self):
        """Which rows come with a mask."""
        if self._has_mask is None:
            return np.zeros(len(self), dtype=bool)
        return self._has_mask[self._rows]

    def get(self, name):
        """Give the rows of one field.

        Parameters
        ----------
        name : str
            Name of the field.

        Returns
        -------
        ndarray, DataFrame, Series or lazy row source
            The field's rows in this bunch's order: of a bunch that was not indexed the field itself, not to be written
            to. Fields that are read from disk come as a lazy source.

        Raises
        ------
        KeyError
            If there is no such field.
        """
        if name not in self._fields:
            raise KeyError(f"the bunch has no field {name!r}; it has {list(self._fields)}")
        value = self._fields[name]
        if isinstance(value, np.ndarray):
            return value[self._rows] if self._is_view else value
        if hasattr(value, "iloc"):
            return value.iloc[self._rows] if self._is_view else value.copy(deep=False)
        if isinstance(value, RowSource):
            return RowView(value, self._rows)
        return value[self._rows]

    def column(self, name, argument="name"):
        """Give what is known of every row under a name: a field with one value per row, or a column of the metadata.

        Parameters
        ----------
        name : str
            Field or column; a field goes first.
        argument : str, default="name"
            What the caller calls the name, for the error message.

        Returns
        -------
        Series of shape (n,)
            Values in the data type they have there, numbered from 0.

        Raises
        ------
        ValueError
            If there is neither, or the field has several values per row.
        """
        table = self.get("metadata") if "metadata" in self._fields else pd.DataFrame()
        if name in self._fields and name != "metadata":
            values = self.get(name)
        elif name in table.columns:
            values = table[name]
        else:
            known = [*self._fields, *table.columns]
            near = [known_name for known_name in known if plain_name(known_name) == plain_name(name)]
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"{argument}={name!r} is neither a field of the rows nor a column of their metadata; they have the "
                f"fields {list(self._fields)} and the columns {list(table.columns)}{hint}"
            )
        if len(values.shape) != 1:
            raise ValueError(f"{argument}={name!r} has shape {values.shape}, but one value per row is wanted")
        return pd.Series(values, name=name).reset_index(drop=True)

    def __getattr__(self, name):
        # Names with an underscore are refused before the fields are looked at: copy and pickle ask for some of
        # them on an object that has no state yet.
        if not name.startswith("_") and name in self.__dict__.get("_fields", ()):
            return self.get(name)
        raise AttributeError(f"ImageBunch has no attribute or field {name!r}")

    def __dir__(self):
        return [*super().__dir__(), *self._fields]

    def with_fields(self, **fields):
        """Give the same rows with fields added, replaced or, with ``None``, removed.

        Parameters
        ----------
        **fields : array-like with ``len(self)`` rows, or None
            New values.

        Returns
        -------
        ImageBunch
            Other bunch over the same images.
        """
        return self.with_images(self.images, **fields)

    def with_images(self, images, *, signal=None, **fields):
        """Give the same rows and fields with other images.

        Parameters
        ----------
        images : array-like with ``len(self)`` rows
            Replacement.
        signal : bool, default=None
            Whether the new rows are signals; by default as before.
        **fields : array-like with ``len(self)`` rows, or None
            Fields to replace or, with ``None``, to leave out.

        Returns
        -------
        ImageBunch
            Other bunch with this one's fields.
        """
        bunch = type(self)(images, signal=self.signal if signal is None else signal)
        if len(bunch) != len(self):
            raise ValueError(f"images has {len(bunch)} rows, but the bunch has {len(self)}")
        order = {name: place for place, name in enumerate(_FIELD_ORDER)}
        for name in sorted({**self._fields, **fields}, key=lambda name: order.get(name, len(order))):
            if name in fields:
                bunch._set(name, fields[name])
            else:
                bunch._keep(name, self)
        return bunch

    def map_images(self, function, fields=(), *, shape=None, dtype=None, with_rows=False):
        """Give the same rows with a function applied to the images whenever they are read.

        Parameters
        ----------
        function : callable
            ``function(images, *fields) -> images`` on a batch of rows; must be picklable.
        fields : sequence of str, default=()
            Names of fields handed to the function after the images, materialized.
        shape : tuple of int, default=None
            Shape of one resulting row; by default unchanged.
        dtype : dtype, default=None
            Data type of the result; by default unchanged.
        with_rows : bool, default=False
            Also hand over the row numbers within this bunch as the keyword ``rows``.

        Returns
        -------
        ImageBunch
            Lazy bunch; nothing is computed before its rows are read.
        """
        source = MappedRows(self, function, fields, shape=shape, dtype=dtype, with_rows=with_rows)
        return self.with_images(source)

    def __repr__(self):
        kind = ", signal=True" if self.signal else ""
        return f"ImageBunch(shape={self.shape}, dtype={self.dtype.name}{kind}, fields={list(self._fields)})"

    # -- inside ----------------------------------------------------------------------------------------------------
    def _set(self, name, value):
        """Check a field and take it in; ``None`` is none."""
        if value is None:
            return
        if name.startswith("_") or name in ("images", "signal", "rows") or hasattr(type(self), name):
            raise ValueError(f"a field cannot be called {name!r}")
        value = _unwrapped(value)
        if name in _MASKS:
            value, has_mask = as_masks(value, self._spatial_shape(), name)
            check_length(value, name, len(self))
            if name == "masks":
                self._has_mask = has_mask
        else:
            value = as_field(value, name, len(self))
        self._fields[name] = value

    def _keep(self, name, other):
        """Take in a field of another bunch, which has checked it."""
        value = other.get(name)
        if name in _MASKS:
            check_spatial_shape(value, self._spatial_shape(), name)
        if name == "masks":
            self._has_mask = other.has_mask
        self._fields[name] = value

    def _view(self, rows):
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._rows, view._is_view = rows, True
        return view

    def __getstate__(self):
        # A view takes only its own rows along: folds that travel to worker processes stay small.
        state = dict(self.__dict__)
        if len(self._rows) < len(self._images):
            state["_images"] = take_rows(self._images, self._rows)
            state["_fields"] = {name: take_rows(value, self._rows) for name, value in self._fields.items()}
            state["_has_mask"] = None if self._has_mask is None else self._has_mask[self._rows]
            state["_rows"], state["_is_view"] = np.arange(len(self._rows)), False
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)

    def _spatial_shape(self):
        return tuple(self._images.shape[-1:] if self.signal else self._images.shape[-2:])


def _unwrapped(value):
    return value.images if isinstance(value, ImageBunch) else value
