"""Intervals and tests of averages over rows of patients."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp
from scipy.stats import t as student_t

from sklearn_shortcuts.metrics import _row_means as row_means
from sklearn_shortcuts.metrics._row_means import RowMeans


def test_interval_is_that_of_resampled_patients():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 12, 50)
    scores = rng.random((50, 2))
    low, high = RowMeans(scores, groups).intervals(0.9, 4000, 0)
    means = []
    for _ in range(4000):
        drawn = [np.flatnonzero(groups == g) for g in rng.choice(np.unique(groups), 12)]
        means.append(scores[np.concatenate(drawn)].mean(axis=0))
    outer = norm.cdf(-np.sqrt(12 / 11) * student_t.ppf(0.95, 11))
    np.testing.assert_allclose([low, high], np.quantile(means, [outer, 1 - outer], axis=0), atol=0.005)


def test_interval_does_not_depend_on_the_memory_used(monkeypatch):
    scores = np.random.default_rng(0).random((30, 1))
    whole = RowMeans(scores).intervals(0.95, 200, 3)
    monkeypatch.setattr(row_means, "_CELLS_AT_ONCE", 90)
    np.testing.assert_array_equal(RowMeans(scores).intervals(0.95, 200, 3), whole)


def test_interval_covers_the_truth():
    """About 95 of 100 intervals of clustered shares hold the true one."""
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(400):
        share = rng.beta(6, 2, 40)  # of each patient; their mean is 0.75
        scores = (rng.random((40, 3)) < share[:, None]).astype(float).reshape(-1, 1)
        low, high = RowMeans(scores, np.repeat(np.arange(40), 3)).intervals(0.95, 300, seed)[:, 0]
        held += low <= 0.75 <= high
    assert 0.91 < held / 400 < 0.98


def test_interval_of_few_patients_covers_the_truth():
    """Plain percentiles of eight patients hold the true share in 87 to 90 of 100 intervals."""
    rng = np.random.default_rng(2)
    held = 0
    for seed in range(1000):
        share = rng.beta(1.8, 1.2, 8)  # their mean is 0.6
        scores = (rng.random((8, 5)) < share[:, None]).astype(float).reshape(-1, 1)
        low, high = RowMeans(scores, np.repeat(np.arange(8), 5)).intervals(0.95, 300, seed)[:, 0]
        held += low <= 0.6 <= high
    assert 0.93 < held / 1000 < 0.97


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_limits_of_scores_without_exception(value):
    low, high = RowMeans(np.full((30, 1), value), np.arange(30) // 3).intervals(0.95, 100, 0)[:, 0]
    bound = 0.025**0.1  # ten patients: all are right with probability p ** 10
    assert (low, high) == pytest.approx((bound, 1) if value else (0, 1 - bound))


def test_one_patient_has_no_interval():
    assert np.isnan(RowMeans(np.ones((5, 1)), np.zeros(5)).intervals(0.95, 100, 0)).all()


def test_pvalue_by_all_flips():
    rng = np.random.default_rng(0)
    groups = np.arange(24) // 3
    differences = rng.choice([-1.0, 0.0, 1.0], size=(24, 1), p=[0.1, 0.4, 0.5])
    sums = np.bincount(groups, differences[:, 0])
    flipped = np.array([np.dot(signs, sums) for signs in product([-1, 1], repeat=8)])
    expected = (np.abs(flipped) >= abs(sums.sum()) - 1e-9).mean()
    assert RowMeans(differences, groups).pvalues(2**8, 0)[0] == pytest.approx(expected)
    assert RowMeans(differences, groups).pvalues(255, 0)[0] == pytest.approx(expected, abs=0.1)
    assert RowMeans(np.zeros((9, 1))).pvalues(100, 0)[0] == 1


def test_pvalue_of_many_rows_is_that_of_a_t_test():
    differences = np.random.default_rng(0).normal(0.1, 1, size=(400, 1))
    assert RowMeans(differences).pvalues(20_000, 0)[0] == pytest.approx(
        ttest_1samp(differences[:, 0], 0).pvalue, abs=0.01
    )


def test_pvalues_are_uniform_where_models_are_alike():
    """Two models with the same error rate, rows of a patient alike: no more rejections than the level says."""
    rng = np.random.default_rng(2)
    pvalues = []
    for seed in range(500):
        hard = rng.random(30) < 0.5  # rows of hard patients are a coin toss
        right = rng.binomial(7, np.where(hard, 0.5, 0.95)[:, None], size=(2, 30, 4)) / 7
        differences = (right[0] - right[1]).reshape(-1, 1)
        pvalues.append(RowMeans(differences, np.repeat(np.arange(30), 4)).pvalues(400, seed)[0])
    for level in (0.05, 0.1, 0.3, 0.5):
        error = np.sqrt(level * (1 - level) / 500)
        # Sums of whole numbers tie, which makes the test a little conservative.
        assert 0.9 * level - 3 * error < np.mean(np.array(pvalues) <= level) < level + 3 * error


def test_whole_weights_are_repetitions():
    rng = np.random.default_rng(0)
    groups, scores, weights = rng.integers(0, 15, 60), rng.random((60, 2)), rng.integers(0, 4, 60)
    rows = np.repeat(np.arange(60), weights)
    weighted, repeated = RowMeans(scores, groups, weights), RowMeans(scores[rows], groups[rows])
    np.testing.assert_allclose(weighted.mean, repeated.mean)
    np.testing.assert_allclose(weighted.intervals(0.9, 500, 0), repeated.intervals(0.9, 500, 0))
    alone = RowMeans(scores, None, weights)
    assert alone.n_groups == (weights > 0).sum()
    np.testing.assert_allclose(alone.mean, np.average(scores, axis=0, weights=weights))
