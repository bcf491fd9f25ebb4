"""Saliency maps against regions, what all scores have in common."""

import numpy as np
import pytest

from sklearn_shortcuts.metrics import _saliency_rows as saliency_rows
from sklearn_shortcuts.metrics import (
    activation_precision,
    artifact_relevance,
    pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
    saliency_iou,
    wrong_reason_score,
)
from tests.metrics.maps import make_maps

SCORES = {
    "activation_precision": activation_precision,
    "artifact_relevance": artifact_relevance,
    "pointing_game": pointing_game,
    "relevance_mass_accuracy": relevance_mass_accuracy,
    "relevance_rank_accuracy": relevance_rank_accuracy,
    "saliency_iou": saliency_iou,
    "wrong_reason_score": wrong_reason_score,
}
every_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)


@every_score
def test_maps_without_a_signal_are_counted(score):
    maps, masks = make_maps()
    maps[[2, 5]] = 0
    result = score(maps, masks)
    assert (result.n_used, result.n_zero) == (10, 2)
    np.testing.assert_array_equal(np.isnan(result.scores), np.isin(np.arange(12), [2, 5]))
    others = np.delete(np.arange(12), [2, 5])
    alone = score(maps[others], masks[others])
    assert (alone.value, alone.chance) == pytest.approx((result.value, result.chance))


@every_score
def test_rows_without_a_region_are_counted(score):
    maps, masks = make_maps()
    masks[3] = False
    listed = list(masks)
    listed[7] = None
    result = score(maps, listed)
    assert (result.n_used, result.n_zero, result.n_missing, result.n_empty) == (10, 0, 1, 1)
    assert np.isnan(result.scores[[3, 7]]).all()
    floats = masks.astype(float)
    floats[7] = np.nan
    present = np.arange(12) != 7
    for same in (score(maps, floats), score(maps, masks, has_mask=present), score(maps, 255 * masks, has_mask=present)):
        np.testing.assert_array_equal(same.scores, result.scores)


@every_score
def test_only_zero_maps_give_no_value(score):
    result = score(np.zeros((3, 4, 4)), np.tile(np.eye(4), (3, 1, 1)))
    assert np.isnan(result.value)
    assert np.isnan(result.chance)
    assert (result.n_used, result.n_zero) == (0, 3)


@every_score
def test_signals_and_pieces(score, monkeypatch):
    maps, masks = make_maps(shape=(30,))
    whole = score(maps, masks)
    monkeypatch.setattr(saliency_rows, "_BYTES_AT_ONCE", 8 * 30 * 5)
    np.testing.assert_allclose(score(maps, masks).scores, whole.scores)
    as_image = score(maps[:, None], masks[:, None])
    np.testing.assert_allclose(as_image.scores, whole.scores)


@every_score
def test_scale_of_a_map_does_not_matter(score):
    maps, masks = make_maps()
    scaled = maps.astype(np.float64) * np.geomspace(1e-30, 1e30, 12)[:, None, None]
    np.testing.assert_allclose(score(scaled, masks).scores, score(maps, masks).scores, rtol=1e-6)


@every_score
def test_maps_that_know_nothing_are_at_chance(score):
    rng = np.random.default_rng(3)
    maps = np.abs(rng.normal(size=(400, 16, 16))) ** 3
    masks = np.zeros((400, 16, 16), dtype=bool)
    masks[:, :6, :8] = True
    result = score(maps, masks)
    error = np.std(result.scores, ddof=1) / 20
    assert abs(result.value - result.chance) < 4 * error + (0.01 if score is saliency_iou else 0)


@every_score
def test_bad_input(score):
    maps, masks = make_maps()
    with pytest.raises(ValueError, match=r"maps have shape \(12, 9, 11\), but masks \(12, 5, 5\)"):
        score(maps, masks[:, :5, :5])
    with pytest.raises(ValueError, match="masks has 3 rows, but there are 12 maps"):
        score(maps, masks[:3])
    with pytest.raises(ValueError, match="the map of row 4 contains NaN"):
        score(np.where(np.arange(12)[:, None, None] == 4, np.nan, maps), masks)
    with pytest.raises(ValueError, match="the masks of all rows are empty"):
        score(maps, np.zeros_like(masks))
    with pytest.raises(ValueError, match="no row has a mask"):
        score(maps, masks, has_mask=np.zeros(12, dtype=bool))
    with pytest.raises(ValueError, match="has_mask must hold one boolean per row"):
        score(maps, masks, has_mask=np.ones(11, dtype=bool))
    with pytest.raises(ValueError, match="add up the channels"):
        score(maps[:, None], masks)
    with pytest.raises(ValueError, match="real numbers"):
        score(maps.astype(str), masks)


def test_maps_that_are_not_finite_may_be_left_out():
    maps, masks = make_maps()
    maps[4] = np.inf
    assert activation_precision(maps, masks, has_mask=np.arange(12) != 4).n_used == 11


def test_ratio():
    score = relevance_mass_accuracy(np.ones((2, 4, 4)), np.eye(4)[None].repeat(2, axis=0))
    assert score.ratio == pytest.approx(1)
    assert float(score) == score.value
