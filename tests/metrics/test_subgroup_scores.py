import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from sklearn_shortcuts.metrics import (
    auc_interval,
    class_difference,
    expected_calibration_error,
    make_subgroups,
    subgroup_accuracy,
    subgroup_scores,
    worst_class_accuracy,
)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 240)
    score = np.clip(0.4 * y + rng.normal(0.3, 0.2, 240), 0, 1)
    return y, score, rng.choice(["a", "b", "c"], 240), np.arange(240) // 2


def test_table_agrees_with_each_subgroup_scored_alone(rows):
    y, score, subgroups, patients = rows
    table = subgroup_scores(y, score > 0.5, subgroups=subgroups, y_score=score, groups=patients)
    assert list(table.index) == ["a", "b", "c"]
    for name, record in table.iterrows():
        inside = subgroups == name
        assert record["n_rows"] == inside.sum()
        assert record["n_groups"] == len(set(patients[inside]))
        assert record["accuracy"] == pytest.approx(accuracy_score(y[inside], score[inside] > 0.5))
        expected = auc_interval(y[inside], score[inside], groups=patients[inside])
        assert record[["auc", "auc_low", "auc_high"]].tolist() == pytest.approx(expected[:3])
        assert record["accuracy_low"] < record["accuracy"] < record["accuracy_high"]


def test_intervals_cover_the_true_accuracy_of_clustered_rows():
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        correct = np.repeat(rng.random(60) < 0.7, 3)  # a patient's three rows are right or wrong together
        record = subgroup_scores(
            np.ones(180), correct, subgroups=["x"] * 180, groups=np.arange(180) // 3, n_resamples=300, random_state=seed
        ).iloc[0]
        covered += record["accuracy_low"] <= 0.7 <= record["accuracy_high"]
    assert 0.90 <= covered / 200 <= 0.99  # naive intervals of 180 rows cover about 0.74


def test_auc_of_one_class_or_one_patient_is_no_reason_to_fail():
    table = subgroup_scores(
        [1, 1, 0, 1, 0, 1],
        subgroups=[0, 0, 1, 1, 1, 1],
        y_score=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        groups=[0, 0, 1, 1, 1, 1],
    )
    assert np.isnan(table.loc[0, "auc"])
    assert table.loc[1, "auc"] == roc_auc_score([0, 1, 0, 1], [0.3, 0.4, 0.5, 0.6])
    assert np.isnan(table.loc[1, "auc_low"])


def test_summaries_are_those_of_the_table(rows):
    y, score, subgroups, _ = rows
    predicted = score > 0.5
    accuracy = subgroup_scores(y, predicted, subgroups=subgroups)["accuracy"]
    assert subgroup_accuracy(y, predicted, subgroups=subgroups) == accuracy.min()
    assert subgroup_accuracy(y, predicted, subgroups=subgroups, summary="gap") == accuracy.max() - accuracy.min()
    average = subgroup_accuracy(y, predicted, subgroups=subgroups, summary="average")
    assert average == pytest.approx(accuracy_score(y, predicted))
    adjusted = subgroup_accuracy(
        y, predicted, subgroups=subgroups, summary="average", train_subgroups=["a"] * 3 + ["c"]
    )
    assert adjusted == pytest.approx(0.75 * accuracy["a"] + 0.25 * accuracy["c"])


def test_class_difference_is_the_sum_over_pairs():
    rng = np.random.default_rng(2)
    y, predicted = rng.integers(0, 4, 100), rng.integers(0, 4, 100)
    accuracy = [np.mean(predicted[y == name] == name) for name in range(4)]
    expected = sum(abs(a - b) for a, b in itertools.combinations(accuracy, 2))
    assert class_difference(y, predicted) == pytest.approx(expected)
    assert worst_class_accuracy(y, predicted) == min(accuracy)


def test_calibration_error_agrees_with_a_loop_over_bins(rows):
    y, score, _, _ = rows
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (score >= low) & (score < low + 0.1) if low < 0.85 else score >= 0.9
        if inside.any():
            expected += inside.mean() * abs(score[inside].mean() - y[inside].mean())
    assert expected_calibration_error(y, score) == pytest.approx(expected)
    assert expected_calibration_error([1, 1], [0.5, 1.0]) == 0.25
    assert expected_calibration_error(["no", "yes"], [0.25, 1.0], pos_label="yes") == 0.125


@pytest.mark.parametrize(
    ("labels", "pos_label", "is_positive"),
    [([1.0, 1.0], None, True), ([-1, -1], None, False), (["a", "a"], "a", True), (["a", "a"], "b", False)],
)
def test_calibration_error_of_one_class(labels, pos_label, is_positive):
    expected = abs(0.55 - is_positive)
    assert expected_calibration_error(labels, [0.5, 0.6], pos_label=pos_label) == pytest.approx(expected)


def test_probabilities_on_the_edge_of_a_bin_belong_to_the_upper_one():
    for n_bins in (7, 50, 100):
        edges = np.arange(n_bins) / n_bins
        alternating = np.arange(n_bins) % 2  # in bins of their own, errors of neighbors do not cancel
        expected = np.abs(edges - alternating).mean()
        assert expected_calibration_error(alternating, edges, n_bins=n_bins) == pytest.approx(expected)


def test_rows_of_one_class_have_no_auc():
    table = subgroup_scores([1, 1, 1], y_score=[0.5, 0.7, 1.0], subgroups=["a", "a", "b"])
    assert table[["auc", "auc_low", "auc_high"]].isna().all(axis=None)
    assert table["calibration_error"].tolist() == pytest.approx([0.4, 0.0])


def test_global_random_numbers_are_left_alone(rows):
    y, score, subgroups, _ = rows
    before = np.random.get_state()
    subgroup_scores(y, score > 0.5, subgroups=subgroups, random_state=None)
    after = np.random.get_state()
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2] == after[2]


def test_patients_may_have_names_of_several_types():
    table = subgroup_scores([0, 1, 1, 0], [0, 1, 0, 1], subgroups=["a"] * 4, groups=np.array([1, "x", 1, 2.5], object))
    assert table.loc["a", "n_groups"] == 3


def test_integers_that_may_be_missing_stay_integers():
    view = pd.Series([1, 2], dtype="Int64", name="view")
    assert make_subgroups(view).tolist() == ["view=1", "view=2"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: subgroup_scores([0, 1], subgroups=[0, 1]), "needs y_pred"),
        (lambda: subgroup_scores([0, 1], [0, 1], subgroups=[0]), "subgroups has 1 rows"),
        (lambda: subgroup_scores([0, 1], [0, 1], subgroups=[0, None]), "row 1 has none"),
        (lambda: subgroup_scores([0, 1], [0, np.nan], subgroups=[0, 1]), "y_pred: row 1 has no label"),
        (lambda: subgroup_accuracy([0, 1], [0, 1], subgroups=[0, 1], train_subgroups=[0]), "weight the average"),
        (
            lambda: subgroup_accuracy([0, 1], [0, 1], subgroups=[0, 1], summary="average", train_subgroups=[2]),
            "train_subgroups has 2",
        ),
        (lambda: subgroup_accuracy([], [], subgroups=[]), "empty"),
        (lambda: subgroup_scores([0, 1], [0, 1], subgroups=np.array([1, "a"], object)), "mixes the types"),
        (
            lambda: subgroup_scores([0, 1, 0, 1], subgroups=list("aabb"), y_score=[0, 1, 0, 2]),
            "y_score: row 3 has 2.0, which is no probability",
        ),
        (lambda: make_subgroups(), "at least one attribute"),
        (lambda: make_subgroups([0, 1], pd.DataFrame({"a": [0, 1], "b": [1, 1]})), r"number 1 has shape \(2, 2\)"),
        (lambda: make_subgroups(pd.Series([1, None], name="view")), "'view' has no value in row 1"),
        (lambda: expected_calibration_error([0, 1], [0.5, 1.5]), "row 1 has 1.5"),
        (lambda: expected_calibration_error([0, 1], [np.nan, 0.5]), "score of row 0 is nan"),
        (lambda: expected_calibration_error([0, 1], [0.5]), "1 scores, but 2 labels"),
        (lambda: expected_calibration_error([0, 1, 2], [0.5, 0.5, 0.5]), "one or two are needed"),
        (lambda: expected_calibration_error(["n", "y"], [[1, 0], [0, 1]], pos_label="y"), "y_prob must be one score"),
        (lambda: subgroup_scores([0, 1], subgroups=[0, 0], y_score=[[1, 0], [0, 1]]), "y_score must be one score"),
        (lambda: subgroup_scores([0, 1], [0, 1], subgroups=[0, 0], groups=[1, np.nan]), "groups: row 1 has no group"),
        (lambda: subgroup_scores([0, 1], ["0", "1"], subgroups=[0, 0]), "y_pred has labels of type <U1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
