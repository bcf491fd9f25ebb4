"""Folds: patients stay together, every part has both classes, and what cannot be split is said."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import PredefinedSplit, RepeatedStratifiedKFold, StratifiedKFold

from sklearn_shortcuts.audit._folds import make_folds, number_patients
from sklearn_shortcuts.images import ImageBunch


def split(codes, cv=2, groups=None):
    codes = np.asarray(codes)
    return make_folds(cv, codes[:, None] == 1, codes, None if groups is None else np.asarray(groups), ["ill"], 0)


def test_stratified_and_reproducible():
    codes = np.arange(60) % 3 == 0
    folds = split(codes.astype(int), cv=5)
    assert [int(codes[test].sum()) for _, test in folds.splits] == [4] * 5
    assert folds.test_share == pytest.approx(0.25)
    assert folds.reciprocal
    np.testing.assert_array_equal(folds.number, split(codes.astype(int), cv=5).number)


def test_patients_stay_together():
    groups = np.repeat(np.arange(30), 3)
    folds = split(groups % 2, cv=3, groups=groups)
    for train, test in folds.splits:
        assert not set(groups[train]) & set(groups[test])
    assert (folds.number >= 0).all()
    assert folds.test_share == pytest.approx(0.5)


def test_multilabel_folds_share_every_label_and_keep_patients():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), 2)
    positive = (rng.random((100, 4)) < [0.5, 0.3, 0.2, 0.15])[groups]
    folds = make_folds(4, positive, None, groups, list("abcd"), 0)
    counts = np.array([positive[test].sum(axis=0) for _, test in folds.splits])
    assert (np.ptp(counts, axis=0) <= np.maximum(4, 0.2 * counts.sum(axis=0))).all()
    assert np.ptp([len(test) for _, test in folds.splits]) <= 8
    for train, test in folds.splits:
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == len(groups)


def test_one_held_out_part_is_not_reciprocal():
    held_out = np.where(np.arange(40) < 10, 0, -1)
    folds = split(np.arange(40) % 2, cv=PredefinedSplit(held_out))
    assert not folds.reciprocal
    assert (folds.number == held_out).all()


def test_boolean_masks_of_rows():
    test = np.arange(20) < 8
    folds = split(np.arange(20) % 2, cv=[(~test, test)])
    np.testing.assert_array_equal(folds.splits[0][1], np.arange(8))


@pytest.mark.parametrize(
    ("codes", "cv", "groups", "message"),
    [
        ([1] * 5 + [0] * 20, 3, None, r"needs 6 rows with 'ill'.*there are 5; use cv=2"),
        ([1] * 3 + [0] * 20, 2, None, r"needs 4 rows with 'ill'.*there are 3; collect more"),
        ([1] * 20 + [0] * 3, 2, None, r"needs 4 rows without 'ill'"),
        ([1, 0] * 10, 3, [0, 1, 2, 3] * 5, r"needs 6 patients \(groups\) with 'ill'.*there are 2"),
        ([1] * 10 + [0] * 10, PredefinedSplit([0] * 10 + [1] * 10), None, "training part of fold 0 has 0 rows with"),
        ([1] * 10 + [0] * 10, PredefinedSplit([0] + [1] * 19), None, "test part of fold 0 has 1 rows with 'ill'"),
        ([0, 1] * 10, RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0), None, "at most once"),
        ([0, 1] * 10, [(np.arange(10), np.arange(10, 20))], [0, 1] * 10, "respects groups"),
    ],
)
def test_what_cannot_be_split_is_said(codes, cv, groups, message):
    with pytest.raises(ValueError, match=message):
        split(codes, cv, groups)


def test_row_on_both_sides():
    with pytest.raises(ValueError, match="both the training and the test part of fold 0"):
        split([0, 1] * 10, [(np.arange(12), np.arange(10, 20))])


def test_splitters_of_scikit_learn_get_the_classes():
    codes = np.arange(40) % 4 == 0
    folds = split(codes.astype(int), StratifiedKFold(5))
    assert [int(codes[test].sum()) for _, test in folds.splits] == [2] * 5


@pytest.mark.parametrize("column", ["patient_id", "PatientID", "Patient ID", "subject"])
def test_repeated_patients_without_groups_warn(column):
    images, ids = np.zeros((4, 2, 2)), ["a", "a", "b", None]
    with pytest.warns(UserWarning, match=f"'{column}'.*groups"):
        assert number_patients(ImageBunch(images, metadata=pd.DataFrame({column: ids}))) is None
    unique = ImageBunch(images, metadata=pd.DataFrame({column: list("abcd"), "age": [1, 1, 1, 1]}))
    assert number_patients(unique) is None  # and no warning
    with_groups = ImageBunch(images, metadata=pd.DataFrame({column: ids}), groups=list("xxyz"))
    assert number_patients(with_groups).tolist() == [0, 0, 1, 2]


def test_repeated_patients_in_a_field_of_another_name():
    with pytest.warns(UserWarning, match="'patient_id'"):
        number_patients(ImageBunch(np.zeros((3, 2, 2)), patient_id=["a", "a", "b"]))
