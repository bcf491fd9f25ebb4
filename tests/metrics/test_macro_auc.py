"""Averages of areas over labels."""

import numpy as np
import pytest

from sklearn_shortcuts.metrics import auc_interval, delong_roc_test
from sklearn_shortcuts.metrics._macro_auc import MacroAUC


def make_scores(n=80, n_labels=3, k=2, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 1))
    answers = rng.random((n, n_labels)) < 0.4
    return answers, 0.8 * answers + shared + rng.normal(size=(k, n, n_labels))


@pytest.mark.parametrize("grouped", [False, True])
def test_one_label_is_delong(grouped):
    answers, scores = make_scores(n_labels=1)
    groups = np.arange(80) // 2 if grouped else None
    areas = MacroAUC(answers, scores, ["a"], groups)
    for model in range(2):
        expected = auc_interval(answers[:, 0], scores[model, :, 0], groups=groups)
        assert (areas.auc[model], *areas.interval(model, 0.95)) == pytest.approx(expected[:3])
    expected = delong_roc_test(answers[:, 0], *scores[:, :, 0], groups=groups)
    difference, low, high, pvalue = areas.difference(0, 1, 0.95)
    assert (difference, low, high, pvalue) == pytest.approx((expected.difference, *expected.interval, expected.pvalue))


@pytest.mark.parametrize("rows_per_patient", [1, 4])
def test_standard_error_is_the_spread_over_studies(rows_per_patient):
    rng = np.random.default_rng(0)
    averages, errors, differences, difference_errors = [], [], [], []
    groups = np.repeat(np.arange(50), rows_per_patient)
    for _ in range(300):
        answers = np.repeat(rng.random((50, 2)) < 0.5, rows_per_patient, axis=0)
        shared = np.repeat(rng.normal(size=(2, 50, 1)), rows_per_patient, axis=1)  # one disturbance for both labels
        scores = answers + shared + 0.5 * rng.normal(size=(2, len(groups), 2))
        areas = MacroAUC(answers, scores, ["a", "b"], groups)
        averages.append(areas.auc[0])
        errors.append(areas.standard_error([1, 0]))
        differences.append(areas.auc[0] - areas.auc[1])
        difference_errors.append(areas.standard_error([1, -1]))
    assert np.mean(errors) == pytest.approx(np.std(averages), rel=0.12)
    assert np.mean(difference_errors) == pytest.approx(np.std(differences), rel=0.12)


def test_the_same_model_twice():
    answers, scores = make_scores(k=1)
    areas = MacroAUC(answers, np.concatenate([scores, scores]), list("abc"))
    assert areas.difference(0, 1, 0.95) == (0, 0, 0, 1)


def test_perfect_models():
    answers, _ = make_scores()
    reverse = 1.0 - answers
    areas = MacroAUC(answers, np.stack([answers * 1.0, reverse]), list("abc"))
    low, high = areas.interval(0, 0.95)
    assert 0 < low < high == 1
    difference, *rest = areas.difference(0, 1, 0.95)
    assert difference == 1
    assert np.isnan(rest).all()


def test_labels_without_both_answers_are_named():
    answers, scores = make_scores()
    answers[:, 1] = False
    with pytest.raises(ValueError, match="none of the 80 rows are 'b'"):
        MacroAUC(answers, scores, list("abc"))
