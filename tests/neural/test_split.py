"""Held-out rows: whole groups, classes in proportion, and what happens when that cannot be."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_shortcuts.neural._split import hold_out


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(2, 60),
    n_classes=st.integers(1, 4),
    n_groups=st.none() | st.integers(1, 20),
    fraction=st.floats(0.05, 0.9),
    labels=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_division_is_one(n, n_classes, n_groups, fraction, labels, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2, (n, n_classes)) if labels else rng.integers(0, n_classes, n)
    groups = None if n_groups is None else rng.integers(0, n_groups, n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train, held_out = hold_out(codes, groups, fraction, seed)
    if held_out is None:
        assert groups is not None
        assert len(np.unique(groups)) == 1
        assert len(train) == n
        return
    assert sorted([*train, *held_out]) == list(range(n))
    assert len(train)
    assert len(held_out)
    if groups is not None:
        assert not set(groups[train]) & set(groups[held_out])


def test_classes_keep_their_proportion_with_and_without_groups():
    codes = np.repeat([0, 0, 0, 1], 50)
    for groups in (None, np.arange(200) // 2):
        _, held_out = hold_out(codes, groups, 0.2, 0)
        assert len(held_out) == 40
        assert codes[held_out].sum() == 10


def test_several_labels_keep_the_rare_one_on_both_sides():
    y = np.zeros((100, 2))
    y[:, 0] = np.arange(100) % 2
    y[:4, 1] = 1
    for seed in range(5):
        train, held_out = hold_out(y, None, 0.25, seed)
        assert y[train, 1].sum() == 3
        assert y[held_out, 1].sum() == 1


@pytest.mark.parametrize("groups", [None, np.arange(50) // 2])
def test_a_class_of_one_row_stays_in_training(groups):
    codes = np.arange(50) % 2
    codes[11] = 2
    for seed in range(20):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train, held_out = hold_out(codes, groups, 0.3, seed)
        assert 11 in train
        assert len(held_out) >= 10


def test_a_class_that_one_patient_has_stays_in_training():
    codes = np.repeat([0, 1, 2], [40, 40, 4])
    groups = np.repeat(np.arange(21), 4)
    for seed in range(10):
        train, _ = hold_out(codes, groups, 0.2, seed)
        assert set(codes[train]) == {0, 1, 2}


def test_too_few_rows_or_groups_are_said():
    with pytest.warns(UserWarning, match="without regard to the classes"):
        train, held_out = hold_out(np.array([0, 1, 2]), None, 0.1, 0)
    assert (len(train), len(held_out)) == (2, 1)
    with pytest.warns(UserWarning, match="only one group, so nothing is held out"):
        hold_out(np.array([0, 1, 0, 1]), np.zeros(4), 0.1, 0)
