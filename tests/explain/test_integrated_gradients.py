import pickle

import numpy as np
import pytest
import torch

from sklearn_shortcuts.explain import integrated_gradients
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.images._fill import fill_removed
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

from .networks import MAKERS, Recorder, class_logit, linear_network, make_network

RULES = ["gauss_legendre", "left", "middle", "right"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [1, 5])
def test_closed_form_of_a_linear_network(rule, steps):
    rng = np.random.default_rng(0)
    weights, images, start = rng.normal(size=(2, 4, 5)), rng.normal(size=(3, 2, 4, 5)), rng.normal(size=(2, 4, 5))
    maps = integrated_gradients(linear_network(weights), images, 1, baseline=start, steps=steps, rule=rule)
    np.testing.assert_allclose(maps, (weights * (images - start)).sum(1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(maps.details["completeness_gap"], 0, atol=1e-12)
    difference = (weights * (images - start)).sum((1, 2, 3))
    np.testing.assert_allclose(maps.details["score_difference"], difference, rtol=1e-12)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("rule", RULES)
def test_equals_captum(name, rule):
    attr = pytest.importorskip("captum.attr")
    network, images = make_network(name, n_rows=2)
    start = torch.from_numpy(np.random.default_rng(0).normal(size=images.shape[1:]))  # constant: max-pooling has ties
    method = "gausslegendre" if rule == "gauss_legendre" else f"riemann_{rule}"
    expected = attr.IntegratedGradients(class_logit(network)).attribute(
        images.clone().requires_grad_(), baselines=start[None], n_steps=6, method=method
    )
    maps = integrated_gradients(network, images, 1, baseline=start, steps=6, rule=rule)
    scale = float(expected.detach().abs().max())
    np.testing.assert_allclose(maps, expected.detach().sum(1), rtol=1e-5, atol=1e-6 * scale)
    maps = integrated_gradients(network, images, 1, baseline=start, steps=6, rule=rule, reduction="l2")
    np.testing.assert_allclose(maps, expected.detach().norm(dim=1), rtol=1e-5, atol=1e-6 * scale)


def test_completeness():
    network, images = make_network("small")
    score = class_logit(network, 2)
    start = images.flip(0, 2)
    with torch.no_grad():
        difference = score(images) - score(start)
    gaps = []
    for steps in (4, 256):
        maps = integrated_gradients(network, images, 2, baseline=start, steps=steps)
        details = maps.details
        np.testing.assert_allclose(details["score_difference"], difference, rtol=1e-9)
        gap = maps.astype(np.float64).sum((1, 2)) - difference.numpy()
        np.testing.assert_allclose(details["completeness_gap"], gap, atol=1e-5)
        gaps.append(np.abs(details["completeness_gap"]).max())
    assert gaps[1] < 0.1 * gaps[0]
    assert gaps[1] < 0.02 * difference.abs().max()


def test_details_follow_the_rows():
    network, images = make_network("small", n_rows=5)
    maps = integrated_gradients(network, images, steps=2)
    gap = maps.details["completeness_gap"]
    assert gap.shape == (5,)
    for rows in (slice(1, 4), slice(None, None, -1), [3, 0], np.arange(5) > 2):
        np.testing.assert_array_equal(maps[rows].details["completeness_gap"], gap[rows])
        np.testing.assert_array_equal(maps[rows, 2:].details["completeness_gap"], gap[rows])
    copied = pickle.loads(pickle.dumps(maps))
    np.testing.assert_array_equal(copied.details["completeness_gap"], gap)
    for changed in (maps[0], maps[0, 0, 0], maps[maps > 0], maps.mean(), maps + 1, np.take(maps, [1, 0], axis=0)):
        assert not getattr(changed, "details", None)


def test_the_prediction_for_the_image_stays_the_target():
    network, images = make_network("small", n_rows=6)
    classes = network(images).argmax(1).numpy()
    far = -5 * images.numpy()
    assert (network(-5 * images).argmax(1).numpy() != classes).any()
    predicted = integrated_gradients(network, images, baseline=far, steps=3)
    np.testing.assert_array_equal(predicted, integrated_gradients(network, images, classes, baseline=far, steps=3))


def test_baseline_per_row():
    network, images = make_network("small", n_rows=4)
    starts = np.random.default_rng(0).normal(size=(4, 1, 16, 12))
    one_by_one = [
        integrated_gradients(network, images[row : row + 1], 1, baseline=starts[row], steps=3)[0] for row in range(4)
    ]
    for given in (starts, starts[:, 0], torch.from_numpy(starts)):
        maps = integrated_gradients(network, images, 1, baseline=given, steps=3, batch_size=3)
        np.testing.assert_allclose(maps, one_by_one, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("signal", [False, True])
def test_computed_baselines(signal):
    network, images = make_network("ecg" if signal else "resnet", n_rows=2)
    mean = images.mean(tuple(range(2, images.ndim)), keepdim=True).expand_as(images).numpy()
    maps = integrated_gradients(network, images, 1, baseline="mean", steps=2)
    np.testing.assert_allclose(maps, integrated_gradients(network, images, 1, baseline=mean, steps=2), rtol=1e-5)
    planes = images.numpy().reshape(2, images.shape[1], -1, images.shape[-1])
    blurred = np.empty_like(planes)
    for plane, target in zip(planes, blurred):
        nothing = np.zeros(plane.shape[1:], dtype=bool)
        fill_removed(plane, nothing, target, "blur", blur_sigma=1 / 16, seed=0)
    maps = integrated_gradients(network, images, 1, baseline="blur", steps=2)
    expected = integrated_gradients(network, images, 1, baseline=blurred.reshape(images.shape), steps=2)
    np.testing.assert_array_equal(maps, expected)
    zero, number = (integrated_gradients(network, images, 1, baseline=value, steps=2) for value in ("zero", 0))
    np.testing.assert_array_equal(zero, number)


@pytest.fixture(scope="module")
def classifier():
    images = np.random.default_rng(0).integers(0, 256, (16, 3, 8, 9), dtype=np.uint8)
    model = NeuralImageClassifier(
        SmallCNN(width=4), normalize="channel", precision="float64", max_epochs=1, random_state=0
    )
    return model.fit(images, np.arange(16) % 2), images


def test_baselines_have_the_units_of_the_images(classifier):
    model, images = classifier

    def as_seen(values):
        mean, std = (part[:, None, None] for part in (model.channel_mean_, model.channel_std_))
        return (np.asarray(values) / 255 - mean) / std

    given = np.random.default_rng(1).integers(0, 256, (16, 3, 8, 9), dtype=np.uint8)
    averages = images.mean((2, 3), keepdims=True) * np.ones((8, 9))
    for baseline, raw in [(51, np.full(images.shape, 51)), (given, given), (given[2], given[2]), ("mean", averages)]:
        maps = integrated_gradients(model, images, 1, baseline=baseline, steps=2)
        expected = integrated_gradients(model.module_, as_seen(images), 1, baseline=as_seen(raw), steps=2)
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-7)
    expected = integrated_gradients(model, images, 1, baseline=51, steps=2)
    for same in (list(images), torch.from_numpy(images)):
        np.testing.assert_array_equal(integrated_gradients(model, same, 1, baseline=51, steps=2), expected)
    bunch = ImageBunch(images)[::2]
    maps = integrated_gradients(model, bunch, 1, baseline=given[::2], steps=2)
    expected = integrated_gradients(model, images, 1, baseline=given, steps=2)
    np.testing.assert_allclose(maps, expected[::2], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_numbers_without_axes_are_numbers(kind):
    network, images = make_network("small")
    expected = integrated_gradients(network, images, 1, baseline=0.5, steps=2)
    np.testing.assert_array_equal(integrated_gradients(network, images, 1, baseline=kind(0.5), steps=2), expected)


def test_sums_of_a_bfloat16_network_have_more_digits():
    weights = torch.linspace(0.5, 2, 12, dtype=torch.bfloat16)
    network = linear_network(weights).bfloat16()
    maps = integrated_gradients(network, np.ones((1, 3, 4), np.float32), 1, steps=300, rule="middle", batch_size=7)
    np.testing.assert_allclose(maps[0].ravel(), weights.float(), rtol=1e-4)


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "n_passes"), [(1, 5, 2 + 2), (3, 6, 2 + 5), (10, 4, 3 * 2 + 10 + 10 + 5)]
)
def test_parts_are_no_larger_than_a_batch(n_rows, batch_size, n_passes):
    network, images = make_network("small", n_rows=n_rows)
    recorder = Recorder(network)
    integrated_gradients(recorder, images, 1, steps=10, batch_size=batch_size)
    assert len(recorder.seen) == n_passes
    assert max(map(len, recorder.seen)) <= batch_size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "noise"}, "baseline must be a finite number, an array or one of zero, mean, blur, got 'noise'"),
        ({"baseline": np.nan}, "baseline must be a finite number"),
        ({"baseline": None}, "baseline must be a finite number, .* got None"),
        ({"baseline": torch.tensor(np.inf)}, "baseline must be a finite number"),
        ({"baseline": np.zeros((5, 12))}, r"baseline has shape \(5, 12\); one image for all rows has \(1, 16, 12\)"),
        ({"baseline": np.full((16, 12), np.inf)}, "not finite|infinity"),
        ({"steps": 0}, "'steps' parameter"),
        ({"rule": "simpson"}, "'rule' parameter"),
    ],
)
def test_unknown_options(options, message):
    network, images = make_network("small")
    with pytest.raises(ValueError, match=message):
        integrated_gradients(network, images, **options)
