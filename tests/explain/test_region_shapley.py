"""Exact Shapley values of regions: against all orderings, on networks whose answer is known, on every kind of row."""

from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline

from sklearn_shortcuts.explain import region_shapley
from sklearn_shortcuts.explain._region_shapley import interaction_indices, shapley_values
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
from sklearn_shortcuts.preprocessing import ROIMasker


def by_orderings(worth, n_players):
    """Mean marginal contribution of every player over all orders; worth is a dict by frozenset."""
    values = np.zeros(n_players)
    orders = list(permutations(range(n_players)))
    for order in orders:
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            values[player] += worth[before | {player}] - worth[before]
    return values / len(orders)


def interaction_by_merging(worth, n_players, i, j):
    """Value of the pair merged into one player, less the values of each in the game without the other."""

    def value(players, player):
        total, orders = 0.0, list(permutations(players))
        for order in orders:
            before = frozenset().union(*order[: order.index(player)])
            total += worth[before | player] - worth[before]
        return total / len(orders)

    rest = [frozenset([k]) for k in range(n_players) if k not in (i, j)]
    merged = value([*rest, frozenset([i, j])], frozenset([i, j]))
    return merged - value([*rest, frozenset([i])], frozenset([i])) - value([*rest, frozenset([j])], frozenset([j]))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(0, 2**31))
def test_values_are_the_mean_over_all_orderings(n_players, seed):
    table = np.random.default_rng(seed).normal(size=(2, 2**n_players))
    values, interactions = shapley_values(table), interaction_indices(table)
    pairs = list(combinations(range(n_players), 2))
    for row in range(2):
        worth = {frozenset(k for k in range(n_players) if c >> k & 1): table[row, c] for c in range(2**n_players)}
        np.testing.assert_allclose(values[row], by_orderings(worth, n_players), atol=1e-12)
        expected = [interaction_by_merging(worth, n_players, i, j) for i, j in pairs]
        np.testing.assert_allclose(interactions[row], expected, atol=1e-12)


def with_seed(make):
    """Make a network without touching torch's global random state."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def linear_network(weights):
    network = with_seed(lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(weights[0].size, len(weights))))
    with torch.no_grad():
        network[1].weight[:] = torch.tensor(np.array([part.ravel() for part in weights]))
        network[1].bias[:] = 0
    return network


class Both(torch.nn.Module):
    """Score 1 is there only if both halves of the image are visible, score 2 if either is."""

    def forward(self, X):
        left, right = X[..., :2].amax((1, 2, 3)), X[..., 2:].amax((1, 2, 3))
        return torch.stack([torch.zeros_like(left), left * right, torch.maximum(left, right)], dim=1)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    masks = np.zeros((5, 8, 6))
    masks[:, 2:6, 1:4] = 1
    return ImageBunch(rng.random((5, 8, 6), dtype=np.float32), masks=masks)


@pytest.fixture(scope="module")
def classifier():
    rng = np.random.default_rng(1)
    y = np.tile(["a", "b", "c"], 10)
    images = rng.random((30, 8, 6), dtype=np.float32) + (y == "b")[:, None, None]
    return NeuralImageClassifier(SmallCNN(width=2, depth=1), max_epochs=2, normalize="channel", random_state=0).fit(
        images, y
    )


def test_additive_network_gets_the_sum_of_its_regions(rows):
    weights = np.random.default_rng(2).normal(size=(2, 8, 6)).astype(np.float32)
    result = region_shapley(linear_network(weights), rows, target=1, fill="zero", border=1)
    parts = np.asarray(rows) * weights[1]
    frame = np.ones((8, 6), dtype=bool)
    frame[1:-1, 1:-1] = False
    inside = rows.masks > 0
    for name, region in {"inside": inside, "outside": ~inside & ~frame, "border": ~inside & frame}.items():
        np.testing.assert_allclose(result.values[name], (parts * region).sum((1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result.interactions, 0, atol=1e-5)
    assert list(result.interactions) == ["inside x outside", "inside x border", "outside x border"]
    np.testing.assert_allclose(result.base, 0)
    np.testing.assert_allclose(result.score, parts.sum((1, 2)), rtol=1e-4)


def test_regions_that_need_and_that_replace_each_other():
    halves = np.zeros((2, 4, 4))
    halves[0, :, :2], halves[1, :, 2:] = 1, 1
    images = np.ones((1, 4, 4), dtype=np.float32)
    needed = region_shapley(Both(), images, halves, target=1, fill="zero")
    np.testing.assert_allclose(needed.values, [[0.5, 0.5]])
    np.testing.assert_allclose(needed.interactions, [[1.0]])
    either = region_shapley(Both(), images, halves, target=2, fill="zero")
    np.testing.assert_allclose(either.values, [[0.5, 0.5]])
    np.testing.assert_allclose(either.interactions, [[-1.0]])
    assert list(either.values) == ["region 0", "region 1"]
    np.testing.assert_allclose(either.coalitions, [[0, 1, 1, 1]])


@pytest.mark.parametrize("fill", ["zero", "mean", "noise", "shuffle", "blur", 0.3])
def test_values_add_up_and_coalitions_are_what_the_classifier_sees(classifier, rows, fill):
    result = region_shapley(classifier, rows, fill=fill, random_state=0)
    np.testing.assert_allclose(result.values.sum(axis=1), result.score - result.base, atol=1e-6)
    logits = classifier.decision_function(rows)
    np.testing.assert_allclose(result.score, logits.max(axis=1), rtol=1e-5)
    if fill not in ("noise", "shuffle"):  # whose draws come from another seed
        predicted = logits.argmax(axis=1)
        alone = classifier.decision_function(ROIMasker(fill=fill).fit_transform(rows))
        np.testing.assert_allclose(result.coalitions[:, 1], alone[np.arange(5), predicted], rtol=1e-4, atol=1e-6)
    again = region_shapley(classifier, rows, fill=fill, random_state=0, batch_size=3)
    np.testing.assert_allclose(again.coalitions, result.coalitions, rtol=1e-5, atol=1e-6)


def test_targets_are_those_of_the_whole_image(classifier, rows):
    logits = classifier.decision_function(rows)
    np.testing.assert_allclose(region_shapley(classifier, rows, target="b").score, logits[:, 1], rtol=1e-5)
    each = ["c", "a", "b", "a", "c"]
    score = region_shapley(classifier, rows, target="true", y=each).score
    np.testing.assert_allclose(score, logits[np.arange(5), [2, 0, 1, 0, 2]], rtol=1e-5)
    np.testing.assert_allclose(region_shapley(classifier, rows, target=each).score, score)
    binary = with_seed(lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 1)))
    logit = binary(torch.tensor(np.asarray(rows))).detach().numpy()[:, 0]
    np.testing.assert_allclose(region_shapley(binary, rows).score, np.abs(logit), rtol=1e-5)
    log_probability = region_shapley(classifier, rows, target="sum_log_prob").score
    np.testing.assert_allclose(log_probability, np.log(classifier.predict_proba(rows)).sum(axis=1), rtol=1e-4)


def test_given_masks_in_every_form(classifier, rows):
    inside = rows.masks > 0
    expected = region_shapley(classifier, rows).values
    images = np.asarray(rows)
    as_dict = region_shapley(classifier, images, {"in": inside, "out": ~inside}).values
    np.testing.assert_allclose(as_dict, expected)
    assert list(as_dict) == ["in", "out"]
    stacked = np.stack([inside, ~inside], axis=1)
    np.testing.assert_allclose(region_shapley(classifier, images, stacked).values, expected)
    np.testing.assert_allclose(region_shapley(classifier, images, stacked[0]).values, expected)
    mixed = region_shapley(classifier, images, {"in": inside[0], "out": ~inside}).values
    np.testing.assert_allclose(mixed, expected)
    np.testing.assert_allclose(region_shapley(classifier, torch.tensor(images), stacked).values, expected)


def test_pixels_of_no_region_stay_visible():
    weights = np.ones((2, 4, 4), dtype=np.float32)
    parts = np.zeros((2, 4, 4))
    parts[0, 0], parts[1, 1] = 1, 1
    result = region_shapley(linear_network(weights), np.ones((1, 4, 4), dtype=np.float32), parts, target=1, fill="zero")
    np.testing.assert_allclose(result.base, 8)
    np.testing.assert_allclose(result.values, [[4, 4]])


def test_an_empty_region_contributes_nothing(classifier, rows):
    empty = rows.with_fields(masks=np.zeros((5, 8, 6)))
    np.testing.assert_allclose(region_shapley(classifier, empty).values["inside"], 0)


def test_six_regions_signals_colors_integers_and_pipelines(classifier, rows):
    rng = np.random.default_rng(3)
    layers = [torch.nn.ReLU(), torch.nn.Flatten()]
    network = with_seed(lambda: torch.nn.Sequential(torch.nn.Conv1d(3, 2, 3), *layers, torch.nn.Linear(20, 2)))
    parts = np.repeat(np.eye(6), 2, axis=1)
    signals = rng.normal(size=(3, 3, 12)).astype(np.float32)
    result = region_shapley(network, ImageBunch(signals, signal=True), parts)
    assert result.coalitions.shape == (3, 64)
    np.testing.assert_allclose(result.values.sum(axis=1), result.score - result.base, atol=1e-6)
    np.testing.assert_allclose(region_shapley(network, signals, parts).values, result.values)  # by the convolution
    colors = rng.integers(0, 256, (6, 3, 8, 6), dtype=np.uint8)
    model = NeuralImageClassifier(SmallCNN(width=2, depth=1), max_epochs=1, random_state=0)
    model.fit(colors, [0, 1] * 3)
    masked = ImageBunch(colors, masks=np.broadcast_to(rows.masks[0], (6, 8, 6)))
    result = region_shapley(model, masked, target=1, fill="blur")
    difference = model.decision_function(masked)
    logits = model.module_(next(iter(model.iter_batches(masked)))["X"]).detach().numpy()
    np.testing.assert_allclose(result.score, logits[:, -1] if logits.shape[1] == 2 else difference, rtol=1e-5)
    pipeline = make_pipeline(ROIMasker("roi"), NeuralImageClassifier(SmallCNN(width=2, depth=1), max_epochs=1))
    pipeline.fit(rows, [0, 1, 0, 1, 0])
    values = region_shapley(pipeline, rows, fill="zero").values
    np.testing.assert_allclose(values["outside"], 0, atol=1e-7)  # which the first step takes away


def test_the_network_is_left_as_it_was(classifier, rows):
    module = classifier.module_
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.zero_grad()
    region_shapley(classifier, rows)
    assert all(part.training for part in module.modules())
    assert all(value.requires_grad and value.grad is None for value in module.parameters())
    module.eval()
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("regions", "options", "message"),
    [
        ("masks", {}, "is not known"),
        (np.zeros((1, 8, 6)), {}, "there are 1, but"),
        (np.zeros((7, 8, 6)), {}, "there are 7, but"),
        (np.ones((2, 8, 6)), {}, "row 0 overlap"),
        (np.zeros((2, 8, 5)), {}, r"must be \(8, 6\) or"),
        (np.zeros((8, 6)), {}, "regions must have shape"),
        (np.zeros((2, 8, 6)), {"border": 1}, "border=1 goes with"),
        ("mask", {"border": 3}, "less than half"),
        ("mask", {"border": 1.5}, "'border' parameter .* int"),
        ("mask", {"fill": "inpaint"}, "fill"),
        ({"a": np.zeros((4, 8, 6)), "b": np.zeros((8, 6))}, {}, "'a' has shape"),
    ],
)
def test_what_does_not_fit_is_named(classifier, rows, regions, options, message):
    with pytest.raises(ValueError, match=message):
        region_shapley(classifier, rows, regions, **options)


def test_outputs_that_are_not_finite_are_named(rows):
    class Logarithm(torch.nn.Module):
        def forward(self, X):
            dark = X.sum((1, 2, 3))
            return torch.stack([dark, dark.log()], dim=1)

    with pytest.raises(ValueError, match="outputs for row 0 are not finite"):
        region_shapley(Logarithm(), rows, fill="zero")


def test_rows_without_a_mask_are_named(classifier, rows):
    masks = [mask if row != 3 else None for row, mask in enumerate(rows.masks)]
    with pytest.raises(ValueError, match="there is none in row 3"):
        region_shapley(classifier, rows.with_fields(masks=masks))
    with pytest.raises(ValueError, match="takes the masks of an ImageBunch"):
        region_shapley(classifier, np.asarray(rows))
    as_nan = np.where(np.arange(5)[:, None, None] == 3, np.nan, rows.masks)
    for missing in (masks, as_nan):
        with pytest.raises(ValueError, match="'a' is missing in row 3"):
            region_shapley(classifier, rows, {"a": missing, "b": np.zeros((8, 6))})


def test_tensors_of_any_type():
    with torch.random.fork_rng(devices=[]):
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    images = torch.arange(24.0).reshape(2, 3, 4)
    regions = np.stack([np.eye(3, 4), 1 - np.eye(3, 4)])
    expected = region_shapley(network, images.numpy(), regions, target=1).values
    for tensor in (images, images.bfloat16(), images.clone().requires_grad_()):
        pd.testing.assert_frame_equal(region_shapley(network, tensor, regions, target=1).values, expected)
