"""What an acquisition probe is told beside the images: acquisition, covariates and label, checked and as codes."""

import numpy as np
import pandas as pd

from ..images import ImageBunch
from ..images._fields import refuse_patients
from ._labels import make_target


def read_acquisition(acquisition, bunch, estimator_name):
    """Check the acquisition and give it as a target.

    Parameters
    ----------
    acquisition : array-like of shape (n,) or str
        One category per row, or the name of a field or metadata column.
    bunch : ImageBunch
        Rows.
    estimator_name : str
        For messages.

    Returns
    -------
    Target
        With ``classes`` and ``codes``.

    Raises
    ------
    ValueError
        If it is missing, has another number of rows, is no category, or has fewer than two values.
    """
    if acquisition is None:
        raise ValueError(
            f"This {estimator_name} estimator requires y to be passed, but the target y is None: its second argument "
            "is the acquisition, such as the scanner of every row or the name of a metadata column"
        )
    if isinstance(acquisition, str):
        refuse_patients([acquisition], "acquisition")
        acquisition = bunch.column(acquisition, "acquisition")
    values = acquisition
    values = values if hasattr(values, "iloc") else np.asarray(values)
    if np.ndim(values) and len(values) != len(bunch):
        raise ValueError(f"acquisition has {len(values)} rows, but X has {len(bunch)}")
    if np.ndim(values) == 2 and np.shape(values)[1] > 1:
        raise ValueError(f"acquisition must have one value per row, got {np.shape(values)[1]} columns; join them first")
    missing = np.flatnonzero(pd.isna(np.asarray(values)).ravel())
    if len(missing):
        raise ValueError(
            f"acquisition: row {missing[0]} has none ({len(missing)} such rows; Input y contains NaN); leave these "
            "rows out, or give them a category of their own"
        )
    try:
        return make_target(values, estimator_name)
    except ValueError as error:
        if "continuous" in str(error):
            raise ValueError(f"acquisition must be categories; bin numbers by pandas.cut or qcut ({error})") from None
        raise


def check_enough(target, patients, n_folds):
    """Refuse acquisitions that have too few patients to stand in every fold.

    Parameters
    ----------
    target : Target
        Acquisition.
    patients : ndarray of int of shape (n,) or None
        Patients.
    n_folds : int
        Number of folds.

    Raises
    ------
    ValueError
        Naming the acquisition that has the fewest.
    """
    units = np.arange(len(target.codes)) if patients is None else patients
    counts = [len(np.unique(units[target.codes == code])) for code in range(len(target.classes))]
    rarest = int(np.argmin(counts))
    if counts[rarest] < 2 * n_folds:
        raise ValueError(
            f"acquisition {target.classes.tolist()[rarest]!r} has {counts[rarest]} "
            f"{'rows' if patients is None else 'patients'}, but cv={n_folds} needs {2 * n_folds}, two for each test "
            "part; join rare acquisitions, leave their rows out, or use fewer folds"
        )


def read_label(y, bunch, estimator_name):
    """Check the label, by default that of the bunch, and give it as a target; None where there is none.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, n_labels), str or None
        Label, or the name of a field or metadata column.
    bunch : ImageBunch
        Rows.
    estimator_name : str
        For messages.

    Returns
    -------
    Target or None
        Label.
    """
    if y is None:
        if "target" not in bunch.fields:
            return None
        try:
            return make_target(bunch.get("target"), estimator_name)
        except ValueError as error:
            raise ValueError(
                f"the field 'target' of the rows cannot be compared with the acquisition: {error}; give y, or leave "
                "the field out by with_fields(target=None)"
            ) from error
    if isinstance(y, str):  # a field may hold several labels
        y = bunch.get(y) if y in bunch.fields and y != "metadata" else bunch.column(y, "y")
    target = make_target(y, estimator_name)
    if len(target.y) != len(bunch):
        raise ValueError(f"y has {len(target.y)} rows, but X has {len(bunch)}")
    return target


def read_covariates(covariates, bunch):
    """Give the covariates as a table without missing values.

    Parameters
    ----------
    covariates : DataFrame, str, sequence of str or None
        Columns, or the names of fields or metadata columns.
    bunch : ImageBunch
        Rows.

    Returns
    -------
    DataFrame of shape (n, n_covariates)
        No columns where there are none.

    Raises
    ------
    ValueError
        If a column is not known or has missing values, or the number of rows differs.
    """
    if covariates is None:
        return pd.DataFrame(index=range(len(bunch)))
    if isinstance(covariates, (pd.DataFrame, dict)):
        table = pd.DataFrame(covariates)
        if len(table) != len(bunch):
            raise ValueError(f"covariates has {len(table)} rows, but X has {len(bunch)}")
    else:
        names = [covariates] if isinstance(covariates, str) else list(covariates)
        if not all(isinstance(name, str) for name in names):
            raise ValueError("covariates must be a DataFrame or names of metadata columns, got values without names")
        table = pd.DataFrame({name: bunch.column(name, "covariates") for name in names})
    table = table.reset_index(drop=True)
    refuse_patients(table.columns, "covariates")
    for name in table.columns:
        missing = np.flatnonzero(table[name].isna())
        if len(missing):
            raise ValueError(
                f"covariates: {name!r} is missing in row {missing[0]} ({len(missing)} such rows); fill it in, leave "
                "these rows out, or make missing a category of its own"
            )
    return table


def as_given(rows, array_shape):
    """Hand rows over as a bunch, or as an array of the shape that ``fit`` was given.

    Parameters
    ----------
    rows : ImageBunch
        Rows.
    array_shape : tuple of int or None
        Shape of a row; None for a bunch.

    Returns
    -------
    ImageBunch or ndarray
        The rows.
    """
    if array_shape is None or not isinstance(rows, ImageBunch):
        return rows
    return np.asarray(rows).reshape(len(rows), *array_shape)
