"""Confidence intervals of areas under ROC curves."""

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import roc_auc_score

from sklearn_shortcuts.metrics import auc_covariance, auc_interval


def make_scores(n=120, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return y, y * shift + rng.normal(size=n)


@pytest.mark.parametrize("method", ["delong", "bootstrap", "bca"])
def test_unpacks_and_contains_the_area(method):
    y, scores = make_scores()
    result = auc_interval(y, scores, method=method, random_state=0)
    auc, low, high, standard_error = result
    assert auc == pytest.approx(roc_auc_score(y, scores))
    assert 0 < low < auc < high < 1
    assert result.standard_error == standard_error > 0


def test_delong_interval_is_symmetric_in_the_logit():
    y, scores = make_scores(shift=2.5)
    auc, low, high, standard_error = auc_interval(y, scores, confidence_level=0.9)
    reach = 1.6448536269514722 * standard_error / (auc * (1 - auc))
    for bound, sign in ((low, -1), (high, 1)):
        assert np.log(bound / (1 - bound)) == pytest.approx(np.log(auc / (1 - auc)) + sign * reach)
    assert standard_error == pytest.approx(np.sqrt(auc_covariance(y, scores)[1].item()))


def test_bootstrap_agrees_with_scipy():
    y, scores = make_scores(n=100, shift=1.5)
    positive, negative = scores[y == 1], scores[y == 0]

    def area(x, y, axis):
        return np.mean(x[..., :, None] > y[..., None, :], axis=(-2, -1))

    for ours, theirs in (("bootstrap", "percentile"), ("bca", "BCa")):
        reference = bootstrap(
            (positive, negative), area, n_resamples=4000, method=theirs, rng=np.random.default_rng(0), batch=200
        )
        result = auc_interval(y, scores, method=ours, n_resamples=20_000, random_state=0)
        assert result.low == pytest.approx(reference.confidence_interval.low, abs=0.006)
        assert result.high == pytest.approx(reference.confidence_interval.high, abs=0.006)
        assert result.standard_error == pytest.approx(reference.standard_error, rel=0.05)


def test_bootstrap_agrees_with_delong_and_obuchowski():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(150), 4)
    y = (np.arange(150) % 2)[groups]
    y[:80] = rng.integers(0, 2, 80)  # twenty patients with both classes
    scores = (y + rng.normal(size=150)[groups] + 0.4 * rng.normal(size=600)).round(1)
    for ids in (None, groups):
        exact = auc_interval(y, scores, groups=ids)
        drawn = auc_interval(y, scores, groups=ids, method="bootstrap", n_resamples=4000, random_state=0)
        assert drawn.standard_error == pytest.approx(exact.standard_error, rel=0.06)
        assert drawn.low == pytest.approx(exact.low, abs=0.01)
        assert drawn.high == pytest.approx(exact.high, abs=0.01)


def test_each_replicate_is_the_area_of_the_resampled_rows():
    from sklearn_shortcuts.metrics._auc_interval import _weighted_auc

    rng = np.random.default_rng(0)
    scores = np.sort(rng.normal(size=30).round(1))
    y = rng.integers(0, 2, 30)
    counts = rng.integers(0, 4, (5, 30))
    starts = np.flatnonzero(np.r_[True, np.diff(scores) > 0])
    areas = _weighted_auc(np.where(y, counts, 0), np.where(y, 0, counts), starts)
    expected = [roc_auc_score(np.repeat(y, c), np.repeat(scores, c)) for c in counts]
    np.testing.assert_allclose(areas, expected, rtol=1e-12)


def test_random_state_decides_and_memory_is_bounded(monkeypatch):
    y, scores = make_scores()
    first = auc_interval(y, scores, method="bootstrap", n_resamples=50, random_state=3)
    assert auc_interval(y, scores, method="bootstrap", n_resamples=50, random_state=3) == first
    assert auc_interval(y, scores, method="bootstrap", n_resamples=50, random_state=4) != first
    assert auc_interval(y, scores, method="bootstrap", n_resamples=50) != first
    monkeypatch.setattr("sklearn_shortcuts.metrics._auc_interval._CELLS_AT_ONCE", 7 * len(y))
    chunked = auc_interval(y, scores, method="bootstrap", n_resamples=500, random_state=3)
    assert chunked.standard_error == pytest.approx(first.standard_error, rel=0.3)


@pytest.mark.parametrize("method", ["delong", "bootstrap", "bca"])
@pytest.mark.parametrize("sign", [1, -1])
def test_perfect_separation_has_the_exact_limit(method, sign):
    y = np.r_[np.zeros(20), np.ones(8)]
    result = auc_interval(y, sign * np.arange(28.0), method=method, random_state=0)
    exact = binomtest(8, 8).proportion_ci(method="exact")
    expected = (1.0, exact.low, 1.0) if sign == 1 else (0.0, 0.0, 1 - exact.low)
    assert tuple(result)[:3] == pytest.approx(expected)


def test_perfect_separation_counts_patients():
    # two patients with both classes, one with negative rows, three with positive ones: three pairs of patients
    groups = [0, 0, 1, 1, 2, 3, 4, 5]
    y = [0, 1, 0, 1, 0, 1, 1, 1]
    low = auc_interval(y, y, groups=groups).low
    assert low == pytest.approx(0.025 ** (1 / 3))


def test_equal_scores_have_no_width():
    assert tuple(auc_interval([0, 1] * 5, np.ones(10))) == pytest.approx((0.5, 0.5, 0.5, 0.0))


@pytest.mark.parametrize("method", ["delong", "bootstrap", "bca"])
def test_coverage(method):
    from scipy.stats import norm

    shift, truth = 1.8, norm.cdf(1.8 / np.sqrt(2))
    covered = 0
    for seed in range(300):
        y, scores = make_scores(n=80, shift=shift, seed=seed)
        result = auc_interval(y, scores, method=method, n_resamples=400, random_state=0)
        covered += result.low <= truth <= result.high
    assert 0.91 < covered / 300 < 0.985


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="one score per row"):
        auc_interval([0, 1, 0, 1], np.zeros((4, 2)))
    with pytest.raises(ValueError, match="score of row 1 is nan"):
        auc_interval([0, 1, 0, 1], [0, np.nan, 1, 2])
    with pytest.raises(ValueError, match="method"):
        auc_interval([0, 1, 0, 1], [0, 1, 1, 2], method="jackknife")
