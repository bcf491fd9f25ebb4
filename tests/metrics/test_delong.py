"""Uncertainty of areas under ROC curves."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from sklearn_shortcuts.metrics import auc_covariance, delong_roc_test

# 43 patients with ovarian cancer, the complete rows of the example of DeLong et al. (1988): albumin, total protein,
# Krebs-Goplerud score, and whether the patient benefited from surgery. The rows and the expected figures are those of
# the SAS/STAT User's Guide, LOGISTIC procedure, example "Comparing Receiver Operating Characteristic Curves".
_TABLE = """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
    3.8 5.7 5 1   3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
    2.3 4.4 6 1   4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
    3.1 6.6 6 1   4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
    3.7 6.1 5 1   3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
    3.3 5.7 6 1   3.7 6.9 5 1  3.6 6.6 5 1
"""
OVARIAN = np.array(_TABLE.split(), dtype=float).reshape(-1, 4)


def brute_force(y, scores, groups=None):
    """Areas and covariance straight from the definitions, pair by pair and cluster by cluster."""
    y = np.asarray(y, bool)
    groups = np.arange(len(y)) if groups is None else np.asarray(groups)
    kernel = [np.subtract.outer(s[y], s[~y]) for s in np.asarray(scores, float).T]
    kernel = np.stack([(k > 0) + 0.5 * (k == 0) for k in kernel])
    m, n = kernel.shape[1:]
    areas = kernel.mean(axis=(1, 2))
    clusters = np.unique(groups)
    x_sums, y_sums = [], []
    for cluster in clusters:
        x_sums.append((kernel.mean(axis=2) - areas[:, None])[:, groups[y] == cluster].sum(axis=1))
        y_sums.append((kernel.mean(axis=1) - areas[:, None])[:, groups[~y] == cluster].sum(axis=1))
    x_sums, y_sums = np.array(x_sums), np.array(y_sums)
    i10, i01, i = len(np.unique(groups[y])), len(np.unique(groups[~y])), len(clusters)
    s10 = i10 / ((i10 - 1) * m) * x_sums.T @ x_sums
    s01 = i01 / ((i01 - 1) * n) * y_sums.T @ y_sums
    s11 = i / (i - 1) * x_sums.T @ y_sums
    return areas, s10 / m + s01 / n + (s11 + s11.T) / (m * n)


def make_scores(n=80, k=3, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    scores = y[:, None] * np.linspace(0, 1.5, k) + rng.normal(size=(n, k))
    return y, (scores.round() if ties else scores)


@pytest.mark.parametrize("ties", [False, True])
def test_equals_the_definition(ties):
    y, scores = make_scores(ties=ties)
    areas, covariance = auc_covariance(y, scores)
    expected_areas, _ = brute_force(y, scores)
    above = np.stack([[np.mean((a > s[y == 0]) + 0.5 * (a == s[y == 0])) for a in s[y == 1]] for s in scores.T])
    below = np.stack([[np.mean((s[y == 1] > b) + 0.5 * (s[y == 1] == b)) for b in s[y == 0]] for s in scores.T])
    np.testing.assert_allclose(areas, expected_areas, rtol=1e-12)
    np.testing.assert_allclose(areas, [roc_auc_score(y, s) for s in scores.T], rtol=1e-12)
    np.testing.assert_allclose(
        covariance, np.cov(above) / (y == 1).sum() + np.cov(below) / (y == 0).sum(), rtol=1e-10, atol=1e-14
    )


def test_published_example():
    benefit = OVARIAN[:, 3]
    albumin, protein, score = OVARIAN[:, 0], OVARIAN[:, 1], 10 - OVARIAN[:, 2]
    areas, covariance = auc_covariance(benefit, np.c_[albumin, protein, score])
    np.testing.assert_allclose(areas, [0.7366, 0.6478, 0.7258], atol=5e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), [0.0927, 0.1000, 0.1028], atol=5e-5)
    first = delong_roc_test(benefit, albumin, score)
    assert first.difference == pytest.approx(0.0108, abs=5e-5)
    assert first.standard_error == pytest.approx(0.0953, abs=5e-5)
    assert first.interval == pytest.approx((-0.1761, 0.1976), abs=5e-5)
    assert first.statistic**2 == pytest.approx(0.0127, abs=5e-5)
    assert first.pvalue == pytest.approx(0.9102, abs=5e-5)
    second = delong_roc_test(benefit, protein, score)
    assert second.difference == pytest.approx(-0.0780, abs=5e-5)
    assert second.standard_error == pytest.approx(0.1046, abs=5e-5)
    assert second.pvalue == pytest.approx(0.4561, abs=5e-5)
    contrasts = np.array([[1, 0, -1], [0, 1, -1]])
    shift = contrasts @ areas
    overall = shift @ np.linalg.solve(contrasts @ covariance @ contrasts.T, shift)
    assert overall == pytest.approx(2.5340, abs=5e-5)


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=30, deadline=None)
def test_clusters_equal_the_definition(seed, mixed):
    rng = np.random.default_rng(seed)
    groups = np.r_[np.arange(8), rng.integers(0, 8, 30)]
    y = rng.integers(0, 2, len(groups)) if mixed else (groups % 2)
    y[:8] = np.arange(8) % 2
    scores = (y[:, None] + rng.normal(size=(len(y), 2)) + rng.normal(size=8)[groups, None]).round(1)
    areas, covariance = auc_covariance(y, scores, groups=groups)
    expected_areas, expected = brute_force(y, scores, groups)
    np.testing.assert_allclose(areas, expected_areas, rtol=1e-12)
    np.testing.assert_allclose(covariance, expected, rtol=1e-9, atol=1e-15)
    assert np.linalg.eigvalsh(covariance).min() > -1e-15
    result = delong_roc_test(y, scores[:, 0], scores[:, 1], groups=groups)
    assert result.standard_error**2 == pytest.approx(expected[0, 0] + expected[1, 1] - 2 * expected[0, 1], abs=1e-12)


def test_groups_of_one_row_change_nothing():
    y, scores = make_scores(ties=True)
    names = [f"p{i}" for i in np.random.default_rng(1).permutation(len(y))]
    np.testing.assert_allclose(auc_covariance(y, scores)[1], auc_covariance(y, scores, groups=names)[1], rtol=1e-12)


def test_repeated_rows_count_once_with_groups():
    y, scores = make_scores(n=60)
    once = delong_roc_test(y, scores[:, 0], scores[:, 2])
    rows = np.repeat(np.arange(60), 5)
    repeated = delong_roc_test(y[rows], scores[rows, 0], scores[rows, 2], groups=rows)
    naive = delong_roc_test(y[rows], scores[rows, 0], scores[rows, 2])
    assert repeated.pvalue == pytest.approx(once.pvalue, rel=1e-9)
    assert repeated.standard_error == pytest.approx(once.standard_error, rel=1e-9)
    assert naive.standard_error < once.standard_error / 2


def test_only_ranks_matter_and_the_order_does_not():
    y, scores = make_scores()
    a, b = scores[:, 0], scores[:, 2]
    expected = delong_roc_test(y, a, b)
    warped = delong_roc_test(y, np.exp(a), b**3)
    assert warped == expected
    order = np.random.default_rng(0).permutation(len(y))
    shuffled = delong_roc_test(y[order], a[order], b[order])
    assert shuffled.statistic == pytest.approx(expected.statistic, rel=1e-9)
    swapped = delong_roc_test(y, b, a)
    assert swapped.statistic == pytest.approx(-expected.statistic)
    assert swapped.interval == pytest.approx((-expected.interval[1], -expected.interval[0]))


def test_alternatives_agree():
    y, scores = make_scores()
    two = delong_roc_test(y, scores[:, 2], scores[:, 0])
    greater = delong_roc_test(y, scores[:, 2], scores[:, 0], alternative="greater", confidence_level=0.975)
    less = delong_roc_test(y, scores[:, 2], scores[:, 0], alternative="less", confidence_level=0.975)
    assert greater.pvalue == pytest.approx(two.pvalue / 2)
    assert less.pvalue == pytest.approx(1 - two.pvalue / 2)
    assert greater.interval == pytest.approx((two.interval[0], 1.0))
    assert less.interval == pytest.approx((-1.0, two.interval[1]))


def test_one_classifier_against_a_fixed_area():
    y, scores = make_scores()
    areas, covariance = auc_covariance(y, scores[:, 2])
    result = delong_roc_test(y, scores[:, 2], null=0.7)
    assert result.auc_b == 0.7
    assert result.statistic == pytest.approx((areas[0] - 0.7) / np.sqrt(covariance[0, 0]))
    assert delong_roc_test(y, scores[:, 2]).auc_b == 0.5
    with pytest.raises(ValueError, match="leave one of them out"):
        delong_roc_test(y, scores[:, 2], scores[:, 1], null=0.5)


@pytest.mark.parametrize("scores", [np.arange(20.0), np.ones(20)])
def test_equal_areas_without_variance_have_p_one(scores):
    y = np.arange(20) >= 10
    result = delong_roc_test(y, scores, 2 * scores)
    assert (result.difference, result.standard_error, result.statistic, result.pvalue) == (0, 0, 0, 1)


def test_unequal_areas_without_variance_have_no_p():
    y = np.arange(20) >= 10
    with pytest.warns(RuntimeWarning, match="estimated variance of their difference is zero"):
        result = delong_roc_test(y, y, 1 - y.astype(int))
    assert result.difference == 1
    assert math.isnan(result.pvalue)
    with pytest.warns(RuntimeWarning, match="permutation test"):
        assert math.isnan(delong_roc_test(y, y, null=0.9).pvalue)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_perfect_separation_has_the_exact_p(alternative):
    y = np.r_[np.zeros(6), np.ones(4)]
    scores = np.arange(10.0)
    expected = mannwhitneyu(scores[6:], scores[:6], alternative=alternative, method="exact").pvalue
    assert delong_roc_test(y, scores, alternative=alternative).pvalue == pytest.approx(expected)
    groups = np.repeat(np.arange(5), 2)
    grouped = delong_roc_test(y, scores, groups=groups, alternative="greater").pvalue
    assert grouped == pytest.approx(1 / math.comb(5, 2))


def test_labels_of_any_kind():
    y, scores = make_scores()
    expected = delong_roc_test(y, scores[:, 1])
    words = np.where(y == 1, "ill", "healthy")
    assert delong_roc_test(words, scores[:, 1], pos_label="ill") == expected
    assert delong_roc_test(2 * y - 1, scores[:, 1].tolist()) == expected
    assert delong_roc_test(y.astype(bool), scores[:, 1].astype(object)) == expected
    assert delong_roc_test(np.array(list(y), dtype=object), scores[:, 1]) == expected
    reversed_ = delong_roc_test(words.tolist(), scores[:, 1], pos_label="healthy")
    assert reversed_.auc_a == pytest.approx(1 - expected.auc_a)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_true": np.ones(8)}, "has 1 class"),
        ({"y_true": [0, 1, 2, 0, 1, 2, 0, 1]}, "has 3 classes"),
        ({"y_true": list("abababab")}, "pos_label"),
        ({"y_true": [1, 2] * 4}, "pos_label"),
        ({"y_true": [0, 1] * 4, "pos_label": 3}, "pos_label=3 is not among"),
        ({"y_true": [0, 1, np.nan, 1, 0, 1, 0, 1]}, "row 2 has no label"),
        ({"y_true": [0, 1] * 3}, "inconsistent numbers of samples"),
        ({"y_true": [0] * 7 + [1]}, "at least two independent rows"),
        ({"scores_a": [0, 1, 2, np.nan, 4, 5, 6, 7]}, "score of row 3 is nan"),
        ({"scores_a": [0, 1, 2, 3, 4, 5, 6, np.inf]}, "score of row 7 is inf"),
        ({"scores_a": list("abcdefgh")}, "must be numbers"),
        ({"scores_a": np.zeros((8, 2))}, "one score per row"),
        ({"scores_b": np.zeros((8, 2))}, "one score per row"),
        ({"scores_b": np.zeros(7)}, "inconsistent numbers of samples"),
        ({"groups": [1, 2, 3]}, "groups has 3 rows"),
        ({"groups": ["a", None] * 4}, "groups: row 1 has no group"),
        ({"groups": [0] * 8}, "at least two independent rows"),
        ({"alternative": "both"}, "alternative"),
        ({"confidence_level": 1.0}, "confidence_level"),
    ],
)
def test_bad_input_is_named(change, message):
    given_ = {"y_true": [0, 1] * 4, "scores_a": np.arange(8.0), **change}
    with pytest.raises(ValueError, match=message):
        delong_roc_test(**given_)


@pytest.mark.parametrize(("per_patient", "use_groups", "limits"), [(1, False, (0.03, 0.08)), (4, True, (0.03, 0.09))])
def test_size_of_the_test(per_patient, use_groups, limits):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), per_patient)
    rejected = 0
    for _ in range(600):
        y = rng.integers(0, 2, 100)
        y[:4] = [0, 1, 0, 1]
        patient = y[:, None] + rng.normal(size=(100, 2))
        scores = patient[groups] + 0.5 * rng.normal(size=(len(groups), 2))
        pvalue = delong_roc_test(y[groups], *scores.T, groups=groups if use_groups else None).pvalue
        rejected += pvalue < 0.05
    assert limits[0] < rejected / 600 < limits[1]


def test_ignoring_patients_rejects_too_often():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 4)
    rejected = 0
    for _ in range(200):
        y = rng.permutation(np.arange(60) % 2)
        scores = (y[:, None] + rng.normal(size=(60, 2)))[groups] + 0.3 * rng.normal(size=(240, 2))
        rejected += delong_roc_test(y[groups], *scores.T).pvalue < 0.05
    assert rejected / 200 > 0.2
