"""Rows suggested as exemplars are those whose attention lies most and least on the wrong region."""

import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.mitigation import ExemplarTripletPenalty, GradCAMPenalty, suggest_exemplars
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    X, y = rng.normal(0, 0.3, size=(40, 1, 12, 12)).astype(np.float32), np.arange(40) % 2
    X[y == 1, :, 6:, 6:] += 1
    masks = np.zeros((40, 12, 12), dtype=bool)
    for mask, size in zip(masks, rng.integers(2, 7, 40)):
        mask[:size, :size] = True
    bunch = ImageBunch(X, masks=[None if row % 10 == 0 else mask for row, mask in enumerate(masks)], target=y)
    classifier = NeuralImageClassifier(SmallCNN(4), max_epochs=4, lr=5e-3, random_state=0).fit(X, y)
    return classifier, bunch, y


def shares(classifier, bunch):
    """Share of the attention on the mask, grown by one cell, without any of the library's explanations."""
    module = classifier.module_
    X = torch.from_numpy(np.asarray(bunch))
    activation = module.features[0][0](X).detach().requires_grad_()
    logits = module[1:](module.features[1:](module.features[0][1:](activation)))
    (gradient,) = torch.autograd.grad(logits.log_softmax(1).sum(), activation)
    maps = (activation * gradient).abs().sum(1)
    grown = torch.nn.functional.max_pool2d(torch.from_numpy(np.asarray(bunch.masks, dtype=np.float32)), 3, 1, 1)
    return ((maps * grown).sum((1, 2)) / maps.sum((1, 2))).detach().numpy()


def test_shares_and_choice(study):
    classifier, bunch, y = study
    found = suggest_exemplars(classifier, bunch, k=3)
    expected = np.where(bunch.has_mask, shares(classifier, bunch), np.nan)
    assert isinstance(found.scores, pd.DataFrame)
    np.testing.assert_allclose(found.scores["wrong_share"], expected, rtol=1e-4)
    correct = classifier.predict(bunch) == y
    np.testing.assert_array_equal(found.scores["correct"], correct)
    order = [row for row in np.argsort(expected) if correct[row] and bunch.has_mask[row]]
    assert found.good.tolist() == order[:3]
    assert found.bad[0] == order[-1]
    assert set(found.bad) <= set(order[len(order) // 2 :])
    assert found.scores["suggested"][found.good].tolist() == ["good"] * 3
    assert (found.scores["suggested"] == "bad").sum() == 3
    area = np.asarray(bunch.masks)[1]
    size = int(area.sum() ** 0.5)
    assert found.scores["wrong_area"][1] == pytest.approx((size + 1) ** 2 / 144)


def test_bad_exemplars_show_the_shortcut_at_all_its_places():
    rng = np.random.default_rng(0)
    X, y = rng.normal(0, 0.1, size=(120, 12, 12)).astype(np.float32), np.arange(120) % 2
    masks = np.zeros(X.shape, dtype=bool)
    corners = rng.integers(0, 3, 120)
    places = [(slice(0, 3), slice(0, 3)), (slice(0, 3), slice(9, 12)), (slice(9, 12), slice(4, 7))]
    for row, corner in enumerate(corners):
        masks[(row, *places[corner])] = True
    X[masks] += np.repeat(y, 9)
    classifier = NeuralImageClassifier(SmallCNN(4), max_epochs=12, lr=1e-2, random_state=0).fit(X, y)
    found = suggest_exemplars(classifier, X, y, k=3, masks=masks)
    assert sorted(corners[found.bad]) == [0, 1, 2]


def test_masks_of_the_right_region_turn_the_choice(study):
    classifier, bunch, _ = study
    avoided = suggest_exemplars(classifier, bunch, k=2)
    right = bunch.with_fields(masks=[~mask if known else None for mask, known in zip(bunch.masks, bunch.has_mask)])
    attended = suggest_exemplars(classifier, right, k=2, mask_role="attend")
    assert attended.good.tolist() == avoided.good.tolist()
    pd.testing.assert_frame_equal(attended.scores, avoided.scores)


def test_plain_arrays_and_the_explanations_of_other_penalties(study):
    classifier, bunch, y = study
    X, masks = np.asarray(bunch), np.asarray(bunch.masks)
    default = suggest_exemplars(classifier, X, y, masks=masks)
    same = suggest_exemplars(classifier, X, y, masks=masks, penalty=ExemplarTripletPenalty())
    other = suggest_exemplars(classifier, X, y, masks=masks, penalty=GradCAMPenalty("published"))
    pd.testing.assert_frame_equal(default.scores, same.scores)
    assert not np.allclose(default.scores["wrong_share"], other.scores["wrong_share"])


def test_what_cannot_be_chosen(study):
    classifier, bunch, y = study
    with pytest.raises(ValueError, match=r"k=30 pairs need 60 rows"):
        suggest_exemplars(classifier, bunch, k=30)
    with pytest.raises(ValueError, match="needs masks"):
        suggest_exemplars(classifier, np.asarray(bunch), y)
    with pytest.raises(ValueError, match="true classes"):
        suggest_exemplars(classifier, bunch.with_fields(target=None))
    with pytest.raises(ValueError, match="mask_role"):
        suggest_exemplars(classifier, bunch, mask_role="both")


def test_signals_with_several_labels():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 2, 40)).astype(np.float32), rng.integers(0, 2, (30, 2))
    masks = np.zeros((30, 40), dtype=bool)
    masks[:, :10] = True
    bunch = ImageBunch(X, masks=masks, signal=True)
    classifier = NeuralImageClassifier(SmallCNN(8), max_epochs=60, lr=1e-2, random_state=0).fit(bunch, y)
    found = suggest_exemplars(classifier, bunch, y, k=2)
    np.testing.assert_array_equal(found.scores["correct"], (classifier.predict(bunch) == y).all(axis=1))
    assert found.scores["wrong_share"].between(0, 1).all()
