import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import Pipeline
from torch import nn

from sklearn_shortcuts.explain import (
    input_gradients,
    integrated_gradients,
    occlusion,
    relevance,
    smooth_grad,
)
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

from .networks import MAKERS, assert_same_state, class_logit, linear_network, make_network, state_of

ALL = {
    "input_gradients": (input_gradients, {}),
    "integrated_gradients": (integrated_gradients, {"steps": 3}),
    "smooth_grad": (smooth_grad, {"n_samples": 2, "random_state": 0}),
    "occlusion": (occlusion, {"window": 4, "stride": 4}),
    "relevance": (relevance, {}),
}


@pytest.mark.parametrize("name", MAKERS)
def test_equals_captum(name):
    attr = pytest.importorskip("captum.attr")
    network, images = make_network(name)
    expected = attr.Saliency(class_logit(network)).attribute(images.clone().requires_grad_(), abs=False).sum(1)
    maps = input_gradients(network, images, target=1)
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-6 * expected.abs().max())
    assert maps.dtype == np.float32
    assert maps.method == "input_gradients"
    assert maps.layer is None


@pytest.mark.parametrize("name", MAKERS)
def test_equals_finite_differences(name):
    network, images = make_network(name, n_rows=2)
    maps = input_gradients(network, images, target=1, reduction="sum")
    step = 1e-6
    score = class_logit(network)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for _ in range(6):
            place = tuple(int(rng.integers(size)) for size in images.shape[2:])
            change = torch.zeros_like(images)
            change[(slice(None), slice(None), *place)] = step
            slope = (score(images + change) - score(images - change)) / (2 * step)
            np.testing.assert_allclose(maps[(slice(None), *place)], slope, rtol=1e-4, atol=1e-7)


def test_sum_of_log_probabilities():
    network, images = make_network("small")
    leaf = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(network(leaf).log_softmax(1).sum(), leaf)
    np.testing.assert_allclose(input_gradients(network, images, "sum_log_prob"), expected.sum(1), rtol=1e-5, atol=1e-9)


def test_predicted_true_and_given_targets():
    network, images = make_network("small", n_rows=6)
    by_class = np.stack([input_gradients(network, images, target=k) for k in range(3)])
    predicted = network(images).argmax(1).numpy()
    rows = np.arange(6)
    np.testing.assert_array_equal(input_gradients(network, images), by_class[predicted, rows])
    classes = np.array([0, 1, 2, 2, 1, 0])
    np.testing.assert_array_equal(input_gradients(network, images, classes), by_class[classes, rows])
    np.testing.assert_array_equal(input_gradients(network, images, "true", y=classes), by_class[classes, rows])


@pytest.mark.parametrize(("function", "options"), ALL.values(), ids=ALL)
def test_one_logit_speaks_for_both_classes(function, options):
    network, images = make_network("one_logit")
    first, second = (function(network, images, target=k, **options) for k in (0, 1))
    np.testing.assert_allclose(first, -second, rtol=1e-6)
    assert second.any()
    score = network(images)[:, 0] > 0
    expected = np.where(score[:, None, None], second, first)
    np.testing.assert_allclose(function(network, images, **options), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("reduction", "reduce"),
    [
        ("sum", lambda g: g.sum(1)),
        ("abs_sum", lambda g: np.abs(g).sum(1)),
        ("abs_max", lambda g: np.abs(g).max(1)),
        ("l2", lambda g: np.sqrt((g**2).sum(1))),
    ],
)
def test_reductions_and_multiplication(reduction, reduce):
    rng = np.random.default_rng(0)
    weights, images = rng.normal(size=(3, 4, 5)), rng.normal(size=(2, 3, 4, 5))
    network = linear_network(weights)
    maps = input_gradients(network, images, 1, reduction=reduction)
    np.testing.assert_allclose(maps, reduce(np.broadcast_to(weights, images.shape)), rtol=1e-6)
    maps = input_gradients(network, images, 1, reduction=reduction, multiply_by_input=True)
    np.testing.assert_allclose(maps, reduce(weights * images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["small", "resnet", "densenet", "vision_transformer", "ecg", "overwriting"])
@pytest.mark.parametrize(("function", "options"), ALL.values(), ids=ALL)
def test_leaves_no_trace(name, function, options):
    network, images = make_network(name, n_rows=2)
    network.train()
    parameters = list(network.parameters())
    parameters[0].requires_grad_(False)
    parameters[-1].grad = torch.ones_like(parameters[-1])
    array = images.numpy().copy()
    before = state_of(network)
    maps = function(network, images, target=2, **options)
    assert_same_state(before, state_of(network))
    np.testing.assert_array_equal(images.numpy(), array)
    np.testing.assert_array_equal(maps, function(network.eval(), images, target=2, **options))


@pytest.mark.parametrize(("function", "options"), ALL.values(), ids=ALL)
def test_leaves_no_trace_after_an_error(function, options):
    network, images = make_network("small")
    network.train()
    before = state_of(network)
    with pytest.raises(ValueError, match="not finite"):
        function(network, np.where(np.arange(16)[:, None] == 3, np.nan, images.numpy()), **options)
    assert_same_state(before, state_of(network))


@pytest.mark.parametrize(("function", "options"), ALL.values(), ids=ALL)
def test_batches_do_not_matter(function, options):
    network, images = make_network("small", n_rows=7)
    whole = function(network, images, **options)
    assert whole.shape == (7, 16, 12)
    for batch_size in (1, 3):
        parts = function(network, images, batch_size=batch_size, **options)
        np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6 * np.abs(whole).max())
        for name, values in whole.details.items():
            np.testing.assert_allclose(parts.details[name], values, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("function", "options"), ALL.values(), ids=ALL)
def test_bfloat16_is_close(function, options):
    network, images = make_network("small", n_rows=2)
    network, images = network.float(), images.float()
    exact = function(network, images, target=1, **options)
    rounded = function(network, images, target=1, precision="bfloat16", **options)
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    for one, other in zip(exact, rounded):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.97


class Narrow(nn.Module):
    """A network for which memory suffices for a few rows only."""

    def __init__(self, network, most):
        super().__init__()
        self.network = network
        self.most = most

    def forward(self, images):
        if len(images) > self.most:
            raise torch.OutOfMemoryError
        return self.network(images)


@pytest.mark.parametrize(("function", "options"), ALL.values(), ids=ALL)
def test_goes_on_with_fewer_rows_where_memory_ends(function, options):
    network, images = make_network("small", n_rows=7)
    whole = function(network, images, **options)
    with pytest.warns(UserWarning, match="explain 8 rows at once; going on with half as many"):
        parts = function(Narrow(network, 4), images, batch_size=8, **options)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6 * np.abs(whole).max())
    with pytest.raises(torch.OutOfMemoryError), pytest.warns(UserWarning, match="memory"):
        function(Narrow(network, 0), images, batch_size=2, **options)


def test_writes_into_a_memory_map(tmp_path):
    network, images = make_network("ecg", n_rows=5)
    out = np.lib.format.open_memmap(tmp_path / "maps.npy", mode="w+", dtype=np.float32, shape=(5, 64))
    maps = input_gradients(network, images, out=out, batch_size=2)
    assert np.shares_memory(maps, out)
    np.testing.assert_array_equal(out, input_gradients(network, images))
    with pytest.raises(ValueError, match="out must be"):
        input_gradients(network, images, out=np.empty((5, 63), dtype=np.float32))


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 10, 12), dtype=np.uint8)
    return images, np.where(np.arange(24) % 2, "sick", "healthy")


@pytest.fixture(scope="module")
def classifier(study):
    model = NeuralImageClassifier(
        SmallCNN(width=4), normalize="channel", precision="float64", max_epochs=2, random_state=0
    )
    return model.fit(*study)


def test_of_a_classifier(study, classifier):
    images, y = study
    seen = torch.from_numpy(images)[:, None] / 255
    normalized = ((seen - classifier.channel_mean_[0]) / classifier.channel_std_[0]).double()
    expected = input_gradients(classifier.module_, normalized, 1)
    np.testing.assert_allclose(input_gradients(classifier, images, "sick"), expected, rtol=1e-4, atol=1e-8)
    bunch = ImageBunch(images, target=y)
    positions = (y == "sick").astype(int)
    expected = input_gradients(classifier.module_, normalized, positions)
    np.testing.assert_allclose(input_gradients(classifier, bunch, "true"), expected, rtol=1e-4, atol=1e-8)
    pipeline = Pipeline([("nothing", "passthrough"), ("classifier", classifier)])
    np.testing.assert_allclose(input_gradients(pipeline, images, y), expected, rtol=1e-4, atol=1e-8)


def test_of_several_labels():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(12, 8, 8))
    y = pd.DataFrame({"effusion": np.arange(12) % 2, "nodule": np.arange(12) // 2 % 2})
    model = NeuralImageClassifier(SmallCNN(width=4), max_epochs=1, random_state=0).fit(images, y)
    by_label = [input_gradients(model, images, name) for name in y]
    for position, maps in enumerate(by_label):
        np.testing.assert_allclose(maps, input_gradients(model.module_, images, position), rtol=1e-4, atol=1e-7)
    present = sum(y[name].to_numpy()[:, None, None] * maps for name, maps in zip(y, by_label))
    maps = input_gradients(model, images, "true", y=y)
    np.testing.assert_allclose(maps, present, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(maps.zero_maps, y.sum(axis=1) == 0)


def test_a_network_without_derivative():
    class Rounding(nn.Module):
        def forward(self, images):
            with torch.no_grad():
                return images.flatten(1)[:, :2].round()

    with pytest.raises(ValueError, match="differentiate"):
        input_gradients(Rounding(), np.zeros((2, 3, 3)))


def test_unknown_options():
    network, images = make_network("small")
    with pytest.raises(ValueError, match="'reduction' parameter"):
        input_gradients(network, images, reduction="mean")
    with pytest.raises(ValueError, match="precision"):
        input_gradients(network, images, precision="float16")
