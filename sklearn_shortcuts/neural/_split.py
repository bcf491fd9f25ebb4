"""Which training rows are held out for early stopping."""

import warnings

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedGroupKFold, StratifiedShuffleSplit

_ATTEMPTS = 20  # to leave rows of every class to train on


def hold_out(codes, groups, fraction, seed, needed_by="early_stopping"):
    """Choose rows to hold out: whole groups, with the classes in proportion.

    Parameters
    ----------
    codes : ndarray of shape (n,) or (n, n_labels)
        Encoded target.
    groups : array-like of shape (n,) or None
        Patients; none is divided.
    fraction : float
        Share of the rows to hold out; with groups, about.
    seed : int
        Seed of the choice.
    needed_by : str, default="early_stopping"
        Parameter that needs these rows, for warnings.

    Returns
    -------
    train : ndarray of int
        Rows to train on.
    held_out : ndarray of int or None
        Rows held out; None, after a warning, if there are too few rows or groups.
    """
    strata = codes if codes.ndim == 1 else rarest_label(codes)
    n_units = len(codes) if groups is None else len(np.unique(groups))
    if n_units < 2:
        unit = "row" if groups is None else "group"
        warnings.warn(f"{needed_by}: only one {unit}, so nothing is held out", UserWarning, stacklevel=6)
        return np.arange(len(codes)), None
    # At least one row or group on either side, whatever the fraction.
    n_held_out = min(max(1, round(fraction * n_units)), n_units - 1)
    if groups is None:
        stratified = StratifiedShuffleSplit(1, test_size=fraction, random_state=seed)
        plain = ShuffleSplit(_ATTEMPTS, test_size=n_held_out, random_state=seed)
    else:
        n_folds = min(max(2, round(1 / fraction)), n_units)
        stratified = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        plain = GroupShuffleSplit(_ATTEMPTS, test_size=n_held_out, random_state=seed)
    split = _first_complete(stratified, strata, groups)
    if split is None:
        warnings.warn(
            f"{needed_by}: too few rows or groups of a class to hold out a share of {fraction} with all classes in "
            f"proportion; the held-out rows are chosen without regard to the classes",
            UserWarning,
            stacklevel=6,
        )
        # Rows of a class that are few are rather trained on.
        split = _first_complete(plain, strata, groups) or next(plain.split(strata, strata, groups))
    return split


def _first_complete(splitter, strata, groups):
    """First division that holds something out and leaves every stratum to train on; None if there is none."""
    n_strata = len(np.unique(strata))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class with fewer members than folds, seen below
            for train, held_out in splitter.split(strata, strata, groups):
                if len(held_out) and len(np.unique(strata[train])) == n_strata:
                    return train, held_out
    except ValueError:  # fewer members of a class than sides, or than folds
        pass
    return None


def rarest_label(indicators):
    """Stratum of each row: its rarest positive label, or none."""
    frequency = indicators.sum(axis=0)
    ranked = np.where(indicators > 0, frequency, np.inf)
    return np.where(indicators.any(axis=1), ranked.argmin(axis=1), -1)
