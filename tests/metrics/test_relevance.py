"""Shares of relevance in a region, compared with counting pixels one by one."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from sklearn_shortcuts.metrics import artifact_relevance, relevance_mass_accuracy, relevance_rank_accuracy
from tests.metrics.maps import make_maps


def test_relevance_mass_of_positive_and_absolute_values():
    maps, masks = make_maps()
    for row, (one, mask) in enumerate(zip(maps.astype(np.float64), masks)):
        positive = sum(v for v, m in zip(one.ravel(), mask.ravel()) if m and v > 0) / one[one > 0].sum()
        absolute = sum(abs(v) for v, m in zip(one.ravel(), mask.ravel()) if m) / np.abs(one).sum()
        assert relevance_mass_accuracy(maps, masks).scores[row] == pytest.approx(positive)
        assert relevance_mass_accuracy(maps, masks, values="absolute").scores[row] == pytest.approx(absolute)
        assert artifact_relevance(maps, masks).scores[row] == pytest.approx(absolute)
    negative = -np.abs(maps)
    assert relevance_mass_accuracy(negative, masks).n_zero == 12
    assert relevance_mass_accuracy(negative, masks, values="absolute").n_zero == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4))
def test_relevance_rank_is_the_mean_over_orders_of_ties(seed, n_levels):
    rng = np.random.default_rng(seed)
    one, mask = rng.integers(0, n_levels, 12).astype(float), rng.random(12) < 0.4
    one[0], mask[1] = max(one[0], 1), True
    found = relevance_rank_accuracy(one[None], mask[None]).value
    # Position of each group of ties, counted from the top: how much of it finds room among the first K.
    size, expected = mask.sum(), 0.0
    first = rankdata(-one, method="min") - 1
    for place in np.unique(first):
        tied = first == place
        room = min(max(size - place, 0), tied.sum())
        expected += room * mask[tied].mean()
    assert found == pytest.approx(expected / size)


# -- dilation, and regions that are everywhere -------------------------------------------------------------------------
def test_masks_grow_by_the_published_blur():
    rng = np.random.default_rng(0)
    mask = np.zeros((224, 224))
    mask[60:80, 100:140] = mask[150:153, 30:33] = 1
    maps = rng.normal(size=(1, 224, 224))
    blurred = cv2.GaussianBlur(mask, (41, 41), 8)
    grown = blurred > 0.3 * blurred.max()
    expected = np.abs(maps[0])[grown | (mask > 0)].sum() / np.abs(maps).sum()
    score = artifact_relevance(maps, mask[None], dilate=8 / 224)
    assert score.value == pytest.approx(expected, rel=1e-12)
    assert score.chance == pytest.approx((grown | (mask > 0)).mean())
    assert grown.sum() > 1.2 * mask.sum()


def test_positive_relevance_of_an_artifact():
    maps = np.array([[[3.0, 1.0], [0.0, -4.0]]])
    masks = np.array([[[1, 0], [0, 1]]])
    assert artifact_relevance(maps, masks, values="positive").value == 0.75
    assert artifact_relevance(maps, masks).value == 0.875


@pytest.mark.parametrize("measure", [artifact_relevance, relevance_mass_accuracy, relevance_rank_accuracy])
def test_regions_that_are_everywhere_are_left_out_and_said(measure):
    rng = np.random.default_rng(0)
    maps, masks = rng.random((3, 6, 6)), np.zeros((3, 6, 6))
    masks[:, :3] = 1
    expected = measure(maps[:2], masks[:2])
    masks[2] = 1
    with pytest.warns(UserWarning, match="the region of 1 rows is the whole image"):
        score = measure(maps, masks)
    assert (score.value, score.n_used, score.n_full, score.n_zero) == (expected.value, 2, 1, 0)
    assert np.isnan(score.scores[2])
    with pytest.warns(UserWarning, match="the region of 3 rows is the whole image"):
        assert np.isnan(measure(maps, np.ones((3, 6, 6))).value)
