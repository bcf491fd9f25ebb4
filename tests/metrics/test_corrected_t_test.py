"""Comparison over the folds of a cross-validation."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from sklearn_shortcuts.metrics import corrected_t_test

A, B = np.array([0.81, 0.84, 0.80, 0.86, 0.83]), np.array([0.78, 0.80, 0.79, 0.81, 0.80])


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_without_overlap_it_is_the_paired_t_test(alternative):
    reference = ttest_rel(A, B, alternative=alternative)
    result = corrected_t_test(A, B, n_train=1, n_test=1e-12, alternative=alternative)
    assert result.statistic == pytest.approx(reference.statistic)
    assert result.pvalue == pytest.approx(reference.pvalue)
    assert result.df == reference.df


def test_variance_grows_with_the_test_share():
    result = corrected_t_test(A, B, n_train=80, n_test=20)
    assert result.statistic == pytest.approx(np.mean(A - B) / math.sqrt((1 / 5 + 1 / 4) * np.var(A - B, ddof=1)))
    low, high = corrected_t_test(A, B, n_train=80, n_test=20, confidence_level=1 - result.pvalue).interval
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(2 * result.difference)


def test_size_under_overlapping_training_sets():
    # Scores of a fold share a part that comes from the common training rows: correlation n_test / (n_test + n_train).
    rng = np.random.default_rng(0)
    share = 0.2
    fold = rng.normal(size=(2000, 5)) * math.sqrt(1 - share) + rng.normal(size=(2000, 1)) * math.sqrt(share)
    corrected = np.mean([corrected_t_test(d, np.zeros(5), n_train=80, n_test=20).pvalue < 0.05 for d in fold])
    naive = np.mean(ttest_rel(fold, np.zeros_like(fold), axis=1).pvalue < 0.05)
    assert 0.035 < corrected < 0.065
    assert naive > 0.12


def test_no_variance():
    assert corrected_t_test(A, A, n_train=80, n_test=20, alternative="greater").pvalue == 1
    with pytest.warns(RuntimeWarning, match="all folds differ by the same amount"):
        assert math.isnan(corrected_t_test(A, A - 0.1, n_train=80, n_test=20).pvalue)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="at least two shared folds"):
        corrected_t_test([0.5], [0.4], n_train=4, n_test=1)
    with pytest.raises(ValueError, match="fold 1 are not finite"):
        corrected_t_test([0.5, np.nan], [0.4, 0.5], n_train=4, n_test=1)
    with pytest.raises(ValueError, match="n_train"):
        corrected_t_test(A, B, n_train=0, n_test=1)
