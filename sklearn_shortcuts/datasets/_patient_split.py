"""Division of a study into parts, such as training, validation and test, that share no patient."""

import warnings

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import type_of_target

from .._random_state import draw_seed, make_random_state
from ..images import ImageBunch
from ._whole_patients import assign_patients


def split_by_patient(X, y=None, *, groups=None, fractions=(0.6, 0.3, 0.1), stratify=None, random_state=None):
    """Divide rows into parts of given sizes that share no patient, with the strata in proportion.

    Every row is in exactly one part, every patient too, and the size of each part differs from its fraction by no
    more than the rows of the largest patient. Within that, patients are placed such that every part has its share of
    every stratum as closely as whole patients allow.

    Parameters
    ----------
    X : ImageBunch or array-like with n rows
        Rows; only their number is looked at and, of a bunch, fields and metadata.
    y : array-like of shape (n,) or (n, n_labels), default=None
        Classes to be kept in proportion, or 0/1 labels, each of which is. By default the bunch's field ``target``.
    groups : array-like of shape (n,), default=None
        Patients. By default the bunch's field.
    fractions : sequence of float, default=(0.6, 0.3, 0.1)
        Shares of the rows, positive, with sum 1.
    stratify : str, list of str, or array-like of shape (n,) or (n, n_columns), default=None
        What else is to be kept in proportion, such as the scanner: columns of the bunch's metadata, or values.
        Several columns and the classes of ``y`` are crossed, so that scanners keep their mix of classes; labels are
        not crossed. Divide numbers such as the age into bins first.
    random_state : int, RandomState instance or None, default=None
        Decides among equally good places of patients.

    Returns
    -------
    list of ndarray of int
        Row numbers of every part in increasing order, one array per fraction.

    Raises
    ------
    ValueError
        If a row has no patient, there are fewer patients than parts, or a part cannot get any patient.

    Warns
    -----
    UserWarning
        If a part has no row of some stratum, because too few patients have it.

    See Also
    --------
    check_no_patient_overlap : Checks any division.
    sklearn.model_selection.StratifiedGroupKFold : Parts of equal size, for cross-validation.

    Notes
    -----
    Patients are placed one by one, those with many rows first, where they reduce the deviation
    ``sum (n_ps - f_p n_s)^2 / (f_p n_s)`` over parts ``p`` and strata ``s`` most, then moved and exchanged while that
    reduces it further.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.datasets import split_by_patient
    >>> patients = np.repeat(np.arange(50), 2)
    >>> scanner = np.repeat(["GE", "Siemens"], 50)
    >>> train, validation, test = split_by_patient(patients, groups=patients, stratify=scanner, random_state=0)
    >>> len(train), len(validation), len(test)
    (60, 30, 10)
    >>> int((scanner[train] == "GE").sum())
    30
    """
    n_rows = len(X)
    is_bunch = isinstance(X, ImageBunch)
    if groups is None and is_bunch and "groups" in X.fields:
        groups = X.get("groups")
    if groups is None:
        raise ValueError("split_by_patient needs the patients: pass groups=, or an ImageBunch with the field groups")
    patients = _patient_codes(groups, "groups")
    if y is None and is_bunch and "target" in X.fields:
        y = X.get("target")
    if isinstance(stratify, str) or (isinstance(stratify, list) and stratify and isinstance(stratify[0], str)):
        if not is_bunch:
            raise ValueError(f"stratify={stratify!r} names fields or columns, but X is no ImageBunch; give the values")
        names = [stratify] if isinstance(stratify, str) else stratify
        stratify = pd.DataFrame({name: X.column(name, "stratify") for name in names})
    check_consistent_length(patients, y, stratify, np.empty(n_rows))
    shares = _check_fractions(fractions)
    indicators = _indicators(y, stratify, n_rows)
    counts = np.stack([np.bincount(patients, weights=column) for column in indicators.T], axis=1)
    rng = np.random.default_rng(draw_seed(make_random_state(random_state)))
    part_of_patient = assign_patients(counts, shares, rng)
    part = part_of_patient[patients]
    parts = [np.flatnonzero(part == number) for number in range(len(shares))]
    _warn_of_absent_strata(parts, indicators)
    return parts


def check_no_patient_overlap(*parts, groups=None):
    """Refuse a division of rows in which a patient, or a row, is in more than one part.

    Parameters
    ----------
    *parts : array-like of int, ImageBunch or array-like of shape (n_part,)
        Row numbers of each part. Without ``groups``: bunches with the field ``groups``, or the patients themselves.
    groups : array-like of shape (n,), default=None
        Patients of all rows.

    Raises
    ------
    ValueError
        If parts share patients or rows. The text names rows, never patients.

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import check_no_patient_overlap
    >>> check_no_patient_overlap([0, 1], [2, 3], groups=["p", "p", "q", "q"])
    >>> check_no_patient_overlap([0, 2], [1, 3], groups=["p", "p", "q", "q"])
    Traceback (most recent call last):
    ...
    ValueError: 2 patients are in more than one part, such as the patient of row 0 (part 0) and row 1 (part 1); ...
    """
    if len(parts) < 2:
        raise ValueError(f"give at least two parts, got {len(parts)}")
    if groups is None:
        names = [_patients_of(part, number) for number, part in enumerate(parts)]
        patients = _patient_codes(np.concatenate([np.asarray(name, dtype=object) for name in names]), "the parts")
        rows = [np.arange(len(name)) for name in names]
    else:
        known = _patient_codes(groups, "groups")
        rows = [_row_numbers(part, number, len(known)) for number, part in enumerate(parts)]
        patients = known[np.concatenate(rows)]
    part = np.repeat(np.arange(len(parts)), [len(some) for some in rows])
    row = np.concatenate(rows)
    if groups is not None:
        _refuse_repeated(row, part)
    pairs = pd.DataFrame({"patient": patients, "part": part, "row": row}).drop_duplicates(["patient", "part"])
    shared = pairs[pairs.duplicated("patient", keep=False)]
    if len(shared):
        same = shared[shared["patient"] == shared["patient"].iloc[0]]
        (part_a, part_b), (row_a, row_b) = same["part"].iloc[:2], same["row"].iloc[:2]
        raise ValueError(
            f"{shared['patient'].nunique()} patients are in more than one part, such as the patient of row {row_a} "
            f"(part {part_a}) and row {row_b} (part {part_b}); divide by patient, for example with split_by_patient"
        )


# -- inside ------------------------------------------------------------------------------------------------------------
def _patient_codes(groups, name):
    groups = column_or_1d(groups, dtype=object) if not hasattr(groups, "to_numpy") else groups.to_numpy()
    codes = pd.factorize(groups)[0]
    missing = np.flatnonzero(codes < 0)
    if len(missing):
        raise ValueError(f"{name}: row {missing[0]} has no patient ({len(missing)} such rows); give it one of its own")
    return codes


def _check_fractions(fractions):
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.ndim != 1 or len(shares) < 2 or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"fractions must be at least two positive numbers with sum 1, got {fractions!r}")
    return shares / shares.sum()


def _indicators(y, stratify, n_rows):
    """Columns (n, n_strata + 1) that are 1 where a row is of a stratum; the last one is all rows."""
    crossed, columns = [], []
    if y is not None:
        labels = y.to_numpy() if hasattr(y, "to_numpy") else np.asarray(y)
        if labels.ndim == 2 and labels.shape[1] > 1:
            if not np.isin(labels, (0, 1)).all():
                raise ValueError("y must hold 0 and 1 where it has several columns, one per label")
            columns.extend(np.asarray(labels, dtype=np.float64).T)
        else:
            crossed.append(pd.Series(column_or_1d(labels)))
    if stratify is not None:
        table = pd.DataFrame(stratify if hasattr(stratify, "iloc") else np.asarray(stratify)).reset_index(drop=True)
        crossed.extend(table.iloc[:, place].infer_objects() for place in range(table.shape[1]))
    for values in crossed:
        present = values.dropna().to_numpy()
        if present.dtype.kind == "f" and len(present) and type_of_target(present) == "continuous":
            raise ValueError("strata must be classes, but some are fractional numbers; divide them into bins first")
    if crossed:
        codes = [pd.factorize(values, use_na_sentinel=False)[0] for values in crossed]
        stratum = np.unique(np.column_stack(codes), axis=0, return_inverse=True)[1].reshape(-1)
        columns.extend((stratum == number).astype(np.float64) for number in range(stratum.max() + 1))
    return np.column_stack([*columns, np.ones(n_rows)])


def _warn_of_absent_strata(parts, indicators):
    present = np.array([indicators[part].any(axis=0) for part in parts])
    absent = ~present & indicators.any(axis=0)
    if absent.any():
        part, stratum = map(int, np.argwhere(absent)[0])
        row = int(np.flatnonzero(indicators[:, stratum])[0])
        warnings.warn(
            f"{int(absent.sum())} times a part has no row of a stratum, such as part {part} of the stratum of row "
            f"{row}, which too few patients have; join rare strata, or give larger fractions",
            UserWarning,
            stacklevel=3,
        )


def _patients_of(part, number):
    if not isinstance(part, ImageBunch):
        return part.to_numpy() if hasattr(part, "to_numpy") else np.asarray(part)
    if "groups" not in part.fields:
        raise ValueError(f"part {number} has no field groups; pass row numbers and groups=")
    return part.get("groups")


def _row_numbers(part, number, n_rows):
    rows = np.asarray(part)
    if rows.size == 0:
        return np.zeros(0, dtype=np.intp)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n_rows:
        raise ValueError(f"part {number} must hold row numbers from 0 to {n_rows - 1}")
    return rows.astype(np.intp)


def _refuse_repeated(row, part):
    repeated = pd.Series(row).duplicated(keep=False).to_numpy()
    if repeated.any():
        first = row[repeated][0]
        where = np.unique(part[row == first]).tolist()
        raise ValueError(
            f"row {first} is more than once in the parts ({', '.join(f'part {number}' for number in where)})"
        )
