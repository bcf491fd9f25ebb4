"""Where saliency maps point, compared with counting pixels one by one."""

import numpy as np
import pytest

from sklearn_shortcuts.metrics import activation_precision, pointing_game, saliency_iou, wrong_reason_score
from tests.metrics.maps import make_maps


def test_activation_precision_takes_the_top_pixels():
    maps, masks = make_maps(shape=(20, 20))
    score = activation_precision(maps, masks, tau=5)
    for one, mask, found in zip(maps, masks, score.scores):
        top = np.argsort(one.ravel())[-20:]  # 5 % of 400 pixels, no ties
        assert found == pytest.approx(mask.ravel()[top].mean())
    assert score.value == pytest.approx(score.scores.mean())
    assert score.chance == pytest.approx(masks.mean())


def test_activation_precision_of_ties():
    masks = np.zeros((3, 10, 10), dtype=bool)
    masks[:, :, :3] = True
    maps = np.zeros((3, 10, 10))
    maps[0] = 2.0  # constant: everything is at the threshold
    maps[1, 0, 0] = 1.0  # fewer than 5 % above zero: only those count
    maps[2] = -1.0
    maps[2, :2, :5] = -0.5  # nothing above zero: ties at the threshold all count
    score = activation_precision(maps, masks)
    np.testing.assert_allclose(score.scores, [0.3, 1.0, 0.6])
    assert (score.n_used, score.n_zero) == (3, 0)


@pytest.mark.parametrize("threshold", [None, 0.4])
def test_wrong_reason_score_counts_pixels(threshold):
    maps, masks = make_maps()
    maps[6] = -1  # nothing above zero
    maps[8] = 3  # constant
    scaled = {}
    for row, one in enumerate(np.maximum(maps, 0).astype(np.float64)):
        if one.max() > one.min():
            scaled[row] = (one - one.min()) / (one.max() - one.min())
    limit = np.mean(list(scaled.values())) if threshold is None else threshold
    score = wrong_reason_score(maps, masks, threshold=threshold)
    expected = [np.mean([value > limit for value in one[masks[row]]]) for row, one in scaled.items()]
    np.testing.assert_allclose(score.scores[list(scaled)], expected)
    assert score.n_zero == 2
    assert score.chance == pytest.approx(np.mean([(one > limit).mean() for one in scaled.values()]))


def test_pointing_game_with_tolerance():
    maps, masks = make_maps()
    score, near = pointing_game(maps, masks), pointing_game(maps, masks & (np.arange(11) < 3), tolerance=2.5)
    grid = np.indices((9, 11)).reshape(2, -1).T
    for row in range(12):
        top = np.unravel_index(maps[row].argmax(), (9, 11))
        assert score.scores[row] == masks[row][top]
        region = np.argwhere(masks[row] & (np.arange(11) < 3))
        distances = np.sqrt(((grid[:, None] - region[None]) ** 2).sum(axis=2)).min(axis=1).reshape(9, 11)
        assert near.scores[row] == (distances[top] <= 2.5)
    tied = np.zeros((1, 9, 11))
    tied[0, 0, :4] = 1
    left = np.zeros((1, 9, 11))
    left[0, :, 0] = 1
    assert pointing_game(tied, left).value == 0.25
    assert pointing_game(tied, left, tolerance=1).value == 0.5


def test_iou_at_a_share_of_the_maximum():
    maps, masks = make_maps()
    score = saliency_iou(maps, masks, threshold=0.3)
    for one, mask, found in zip(maps, masks, score.scores):
        part = {tuple(place) for place in np.argwhere(one >= 0.3 * one.max())}
        region = {tuple(place) for place in np.argwhere(mask)}
        assert found == pytest.approx(len(part & region) / len(part | region))
    perfect = saliency_iou(masks.astype(float), masks)
    assert perfect.value == 1
    areas = masks.reshape(12, -1).mean(axis=1)
    assert perfect.chance == pytest.approx(np.mean(areas / (2 - areas)))
