"""Shares of relevance in a region, compared with counting pixels one by one."""

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
