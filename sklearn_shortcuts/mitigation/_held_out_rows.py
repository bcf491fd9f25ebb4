"""Which rows a meta-estimator keeps from training."""

import copy

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d

from .._random_state import draw_seed, make_random_state
from ..neural._split import hold_out


def hold_out_rows(random_state, strata, used, groups, *, fraction, needed_by):
    """Choose rows to hold out: whole patients, with the strata in proportion.

    Parameters
    ----------
    random_state : int, RandomState instance or None
        Decides; is not changed.
    strata : ndarray of shape (n,) or (n, n_labels)
        Classes or subgroups, or 0/1 per label.
    used : ndarray of int
        Rows to choose from.
    groups : array-like of shape (n,) or None
        Patients.
    fraction : float
        Share of the rows to hold out.
    needed_by : str
        Parameter that needs them, for warnings.

    Returns
    -------
    train, held_out : ndarray of int
        Rows; nothing is held out if there are too few.

    Raises
    ------
    ValueError
        If ``groups`` has another length than the rows, or one of them has none.
    """
    strata = strata if strata.ndim == 2 else np.unique(strata, return_inverse=True)[1]
    if groups is not None:
        groups = column_or_1d(groups)
        if len(groups) != len(strata):
            raise ValueError(f"groups has {len(groups)} rows, but X has {len(strata)}")
        groups = pd.factorize(groups)[0][used]
        if (groups < 0).any():
            raise ValueError(f"groups: row {used[groups < 0][0]} has no group; give it one of its own")
    seed = draw_seed(make_random_state(copy.deepcopy(random_state)))
    train, held_out = hold_out(strata[used], groups, fraction, seed, needed_by)
    return used[train], used[:0] if held_out is None else used[held_out]


def check_all_classes_stay(labels, used, train, *, trained, remedy):
    """Raise if a class has no row left to train on.

    Parameters
    ----------
    labels : ndarray of shape (n,) or (n, n_labels)
        Labels; of several labels each may be absent.
    used, train : ndarray of int
        Rows there are, and rows to train on.
    trained, remedy : str
        What is trained and what to do, for the message.

    Raises
    ------
    ValueError
        Names the class.
    """
    if labels.ndim > 1:
        return
    lacking = np.setdiff1d(labels[used], labels[train])
    if len(lacking):
        raise ValueError(f"class {lacking[0].item()!r} has no row left to train {trained} on: {remedy}")
