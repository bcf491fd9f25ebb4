"""Reference rows against a full sort, boxes against gradients, and an artifact that the rows must show."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import normalize
from torch import nn

from sklearn_shortcuts import ImageBunch, NeuralImageClassifier, make_chest_phantoms
from sklearn_shortcuts.audit import (
    ConceptPrototypes,
    NeuronOutlierDetector,
    ReferenceSamples,
    ReferenceSamplesDisplay,
    top_reference_samples,
)
from sklearn_shortcuts.audit._layer_maps import LayerMaps
from sklearn_shortcuts.explain._subject import resolve_subject
from sklearn_shortcuts.neural import SmallCNN
from tests.explain.networks import assert_same_state, state_of

N = 11


class Tokens(nn.Module):
    """A transformer on four patches of 4 x 4 pixels and a class token."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(1, 4, 4, stride=4)
        self.block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, X):
        tokens = self.patches(X).flatten(2).transpose(1, 2)
        return self.head(self.block(torch.cat([tokens.mean(1, keepdim=True), tokens], 1))[:, 0])


def build(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().double().eval()


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 5, 3, stride=2),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    )


def cnn_of_signals():
    return nn.Sequential(nn.Conv1d(2, 4, 5, padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30, 2))


def images(*shape):
    return np.random.default_rng(0).normal(size=(N, *shape))


def sorted_rows(values, k):
    return [sorted(range(len(values)), key=lambda row: (-values[row, c], row))[:k] for c in range(values.shape[1])]


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_rows_by_activation_are_those_of_a_full_sort(pool):
    network, X = build(cnn), images(16, 20)
    before = state_of(network)
    found = top_reference_samples(network, X, "3", k=4, pool=pool, batch_size=3)
    assert_same_state(before, state_of(network))
    maps = network[:4](torch.as_tensor(X)[:, None]).detach().numpy()
    values = maps.max(axis=(2, 3)) if pool == "max" else maps.mean(axis=(2, 3))
    assert found.rows.tolist() == sorted_rows(values, 4)
    for channel in range(5):
        np.testing.assert_allclose(found.values[channel], values[found.rows[channel], channel])
        for row, position in zip(found.rows[channel], found.positions[channel]):
            assert maps[row, channel][tuple(position)] == maps[row, channel].max()


def test_rows_by_relevance_are_those_of_autograd():
    network, X = build(cnn), images(16, 20)
    found = top_reference_samples(network, X, "3", k=4, by="relevance", target=1, batch_size=4)
    activation = network[:4](torch.as_tensor(X)[:, None]).detach().requires_grad_()
    upper = nn.Sequential(nn.ReLU(), *network[5:])
    (gradient,) = torch.autograd.grad(upper(activation)[:, 1].sum(), activation)
    maps = (activation * gradient).detach().numpy()
    sums = maps.sum(axis=(2, 3))
    shares = sums / np.abs(sums).sum(axis=1, keepdims=True)
    assert found.rows.tolist() == sorted_rows(shares, 4)
    for channel in range(5):
        np.testing.assert_allclose(found.values[channel], shares[found.rows[channel], channel], rtol=1e-9)
        for row, position in zip(found.rows[channel], found.positions[channel]):
            assert maps[row, channel][tuple(position)] == maps[row, channel].max()


@pytest.mark.parametrize("by", ["activation", "relevance"])
def test_the_batch_size_decides_nothing_and_ties_go_to_the_first(by):
    X = np.tile(images(16, 20)[:2], (6, 1, 1))
    network = build(cnn)
    one, other = (top_reference_samples(network, X, "3", k=8, by=by, batch_size=size) for size in (12, 5))
    np.testing.assert_array_equal(one.positions, other.positions)
    for found in (one, other):
        for rows, values in zip(found.rows.tolist(), found.values):
            if values.any():
                assert rows[:6] in ([0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11])
            assert len(set(rows)) == 8


def test_what_is_outside_a_box_does_not_matter():
    network, X = build(cnn), images(16, 20)
    found = top_reference_samples(network, X, "3", k=3)
    for channel in range(5):
        for row, position, box in zip(found.rows[channel], found.positions[channel], found.boxes[channel]):
            image = torch.as_tensor(X[[row]])[:, None].requires_grad_()
            value = network[:4](image)[0, channel][tuple(position)]
            (gradient,) = torch.autograd.grad(value, image)
            seen = np.argwhere(gradient[0, 0].numpy())
            assert (seen >= box[:2]).all()
            assert (seen < box[2:]).all()
            assert (box[2:] - box[:2]).max() <= 8  # pool 2 of 3 by 3, of which 3 by 3 at twice the stride


def test_signals_have_intervals():
    network, X = build(cnn_of_signals), images(2, 30)
    found = top_reference_samples(network, X, "0", k=3)
    assert found.positions.shape == (4, 3, 1)
    center = found.positions[..., 0]
    np.testing.assert_array_equal(found.boxes[..., 0], np.maximum(center - 2, 0))
    np.testing.assert_array_equal(found.boxes[..., 1], np.minimum(center + 3, 30))


@pytest.mark.parametrize(("layer", "n_channels"), [("last", 5), ("7", 3)])
def test_layers_without_positions_see_the_whole_image(layer, n_channels):
    found = top_reference_samples(build(cnn), images(16, 20), layer, k=2)
    assert found.positions is None
    assert found.boxes.shape == (n_channels, 2, 4)
    assert (found.boxes == [0, 0, 16, 20]).all()


def test_tokens_have_the_place_of_their_patch():
    found = top_reference_samples(build(Tokens), images(8, 8), "block", k=3)
    np.testing.assert_array_equal(found.boxes[..., :2], 4 * found.positions)
    np.testing.assert_array_equal(found.boxes[..., 2:], 4 * found.positions + 4)


def test_features_at_hand():
    features = np.random.default_rng(1).normal(size=(20, 4))
    found = ReferenceSamples.from_features(features, 5)
    assert found.rows.tolist() == sorted_rows(features, 5)
    shares = features / np.abs(features).sum(axis=1, keepdims=True)
    by_relevance = ReferenceSamples.from_features(features, 5, by="relevance")
    assert by_relevance.rows.tolist() == sorted_rows(shares, 5)
    assert by_relevance.positions is None
    assert by_relevance.boxes is None


def test_errors():
    network, X = build(cnn), images(16, 20)
    with pytest.raises(ValueError, match="k=12 rows per channel, but there are 11"):
        top_reference_samples(network, X, "3", k=12)
    with pytest.raises(ValueError, match="is no layer of"):
        top_reference_samples(network, X, "nowhere")
    with pytest.raises(ValueError, match="k must be a positive integer"):
        ReferenceSamples.from_features(np.ones((3, 3)), 0)


@pytest.mark.parametrize("crop", [True, False])
def test_display_shows_the_crops(crop):
    network, X = build(cnn), images(16, 20)
    display = ReferenceSamplesDisplay.from_estimator(network, X, "3", channels=[4, 1], k=3, crop=crop)
    assert display.axes_.shape == (2, 3)
    assert display.channels_ == [4, 1]
    samples = top_reference_samples(network, X, "3", k=3)
    top, left, bottom, right = samples.boxes[1, 2]
    shown = np.asarray(display.axes_[1, 2].images[0].get_array())
    image = X[samples.rows[1, 2]]
    np.testing.assert_allclose(shown, image[top:bottom, left:right] if crop else image)
    assert len(display.axes_[1, 2].patches) == (0 if crop else 1)
    assert f"row {samples.rows[1, 2]}" in display.axes_[1, 2].get_title()


def test_display_of_signals_and_its_errors():
    network, X = build(cnn_of_signals), images(2, 30)
    samples = top_reference_samples(network, X, "0", k=2)
    display = ReferenceSamplesDisplay.from_samples(samples, ImageBunch(X, signal=True))
    assert display.axes_.shape == (4, 2)
    start, stop = samples.boxes[display.channels_[0], 0]
    assert len(display.axes_[0, 0].lines[0].get_xdata()) == stop - start
    assert ReferenceSamplesDisplay.from_samples(samples, X, channels=[0], crop=False).axes_.shape == (1, 2)
    with pytest.raises(ValueError, match="channels: 4 is not from 0 to 3"):
        ReferenceSamplesDisplay.from_samples(samples, X, channels=[4])
    with pytest.raises(ValueError, match="but X has 1 rows"):
        ReferenceSamplesDisplay.from_samples(samples, X[:1])
    with pytest.raises(ValueError, match="ax must hold 2 axes"):
        ReferenceSamplesDisplay.from_samples(samples, X, channels=[0], ax=display.axes_[0, 0])


def test_a_planted_text_is_found_in_a_network():
    """Without a word about it, its strategy stands out, and images of one of the first three channels show it."""
    study = make_chest_phantoms(
        160,
        size=32,
        shortcut={"marker": {"text": "AP", "scale": 1.5}},
        prevalence={0: 0, 1: 0.3},
        sign_contrast=0.25,
        random_state=1,
    )
    network = NeuralImageClassifier(
        SmallCNN(width=8, norm="batch"), precision="float64", max_epochs=30, lr=0.01, random_state=1
    ).fit(study, study.target)
    rows = np.flatnonzero(study.target == 1)
    with_sign, artifact = study[rows], study.artifact[rows] == 1
    subject = resolve_subject(network, with_sign)
    maps = LayerMaps(subject, "features.2", None)
    with subject.explaining():
        batches = [maps.relevances({**batch, "target": 1}).detach().amax(2) for batch in subject.batches()]
    relevances = np.maximum(torch.cat(batches).numpy(), 0)
    first = NeuronOutlierDetector().fit(relevances).ranking_[:3]
    samples = top_reference_samples(network, with_sign, "features.2", k=8, by="relevance", target=1)
    assert artifact.mean() < 0.35
    assert artifact[samples.rows[first]].mean(axis=1).max() >= 0.9
    prototypes = ConceptPrototypes(random_state=0).fit(normalize(relevances, norm="l1"))
    assert artifact[prototypes.labels_ == prototypes.ranking_[0]].mean() >= 0.9
