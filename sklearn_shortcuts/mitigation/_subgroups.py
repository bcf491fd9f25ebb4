"""The subgroups of rows that a training is to be fair to."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted

from ..metrics import make_subgroups


@dataclass(frozen=True)
class Subgroups:
    """Subgroups of rows, or of rows and labels.

    Attributes
    ----------
    names : ndarray of str of shape (n_subgroups,)
        Sorted names.
    codes : ndarray of int64 of shape (n, 1) or (n, n_labels)
        Position in ``names`` of the subgroup of every row, or of the decision on each of its labels; 0 for rows of
        weight 0.
    counts : ndarray of int64 of shape (n_subgroups,)
        Rows, or decisions, of each subgroup; those of weight 0 do not count.
    """

    names: np.ndarray
    codes: np.ndarray
    counts: np.ndarray


def find_subgroups(rows, *, subgroups, attribute, cross_with_label):
    """Find the subgroup of every row.

    Parameters
    ----------
    rows : TrainingRows
        Rows.
    subgroups : array-like of shape (n,), fitted miner or None
        Values of an attribute; those of a miner are whether a row is hard.
    attribute : str or None
        Field, or column of the metadata, that takes their place.
    cross_with_label : bool
        Whether combinations of label and attribute are meant. Attributes that tell the label stay as they are.

    Returns
    -------
    Subgroups
        With neither attribute nor subgroups these are the classes, or the values of each label.

    Raises
    ------
    ValueError
        If there is no such attribute, it has another length than the rows, or is missing in one.
    """
    used, labels = rows.weights.used, rows.labels[rows.weights.used]
    values = None
    if subgroups is not None:
        values, name = _values_of(subgroups, len(rows.labels)), getattr(subgroups, "name", None) or "subgroup"
    elif attribute is not None:
        values, name = rows.bunch.column(attribute, "attribute").to_numpy(), attribute
    if values is not None:
        values = _check_values(values, name, len(rows.labels), used)
    if values is not None and (not cross_with_label or (labels.ndim == 1 and _tells(values, labels))):
        named = make_subgroups(values)[:, None]
    else:
        parts = [] if values is None else [pd.Series(values, name=name)]
        columns = [("y", labels)] if labels.ndim == 1 else zip(rows.encoding.label_names.tolist(), labels.T)
        named = np.stack([make_subgroups(pd.Series(column, name=label), *parts) for label, column in columns], axis=1)
    names, inverse = np.unique(named, return_inverse=True)
    codes = np.zeros((len(rows.labels), named.shape[1]), dtype=np.int64)
    codes[used] = inverse.reshape(named.shape)
    return Subgroups(names, codes, np.bincount(codes[used].ravel(), minlength=len(names)))


def _values_of(subgroups, n_rows):
    if not hasattr(subgroups, "fit"):
        return subgroups
    check_is_fitted(subgroups)
    if not hasattr(subgroups, "hard_mask_"):
        raise ValueError(
            f"subgroups must be an array or a fitted miner with hard_mask_, but is a {type(subgroups).__name__}"
        )
    table = subgroups.sample_table_
    if len(table) != n_rows:
        raise ValueError(f"subgroups is a miner that was fitted on {len(table)} rows, but X has {n_rows}")
    # Of rows that the miner held out it only knows whether its network was wrong.
    pairs = zip(table["label"], table["prediction"])
    wrong = np.array([np.any(label != prediction) for label, prediction in pairs])
    values = np.where(table["hard"] | (table["held_out"] & wrong), "hard", "not hard").astype(object)
    values[table["bucket"].isna()] = None  # of rows of weight 0 nothing at all
    return values


def _check_values(values, name, n_rows, used):
    values = column_or_1d(values)
    if len(values) != n_rows:
        raise ValueError(f"subgroups has {len(values)} rows, but X has {n_rows}")
    missing = used[pd.isna(values[used])]
    if len(missing):
        raise ValueError(f"{name}: row {missing[0]} has no value ({len(missing)} such rows); give it one of its own")
    return values[used]


def _tells(values, labels):
    """Whether every value of the attribute goes with one label only, so that crossing would change names at most."""
    pairs = pd.DataFrame({"value": values, "label": labels}).drop_duplicates()
    return len(pairs) == pairs["value"].nunique()
