"""Explainers of shap on our rows: exact where that is known, additive, reproducible, without traces."""

import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_shortcuts.explain import shap_values
from sklearn_shortcuts.explain._region_shapley import shapley_values
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((4, 3, 8, 6), dtype=np.float32)


@pytest.fixture(scope="module")
def classifier(images):
    model = NeuralImageClassifier(SmallCNN(width=3, depth=1), max_epochs=2, normalize="channel", random_state=0)
    return model.fit(np.concatenate([images, images[::-1] + 0.3]), np.tile(["a", "b", "c", "d"], 2))


def with_seed(make):
    """Make a network without touching torch's global random state."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def linear_network(images):
    network = with_seed(lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(images[0].size, 2)))
    with torch.no_grad():
        network[1].weight[:] = torch.tensor(np.random.default_rng(1).normal(size=network[1].weight.shape))
    return network, network[1].weight.detach().numpy()[1].reshape(images.shape[1:])


def test_partition_of_a_linear_network_is_exact(images):
    network, weights = linear_network(images)
    maps = shap_values(network, images, target=1, fill="zero", max_evals=5000)
    np.testing.assert_allclose(maps, (weights * images).sum(1), atol=1e-4)
    maps = shap_values(network, images, target=1, fill=images[::-1], max_evals=5000)
    np.testing.assert_allclose(maps, (weights * (images - images[::-1])).sum(1), atol=1e-4)
    assert maps.method == "shap_values"
    assert maps.layer is None
    assert maps.dtype == np.float32


def test_partition_equals_a_direct_call_with_shaps_own_filling():
    import shap

    images = np.random.default_rng(0).random((2, 1, 9, 7), dtype=np.float32)
    layers = [torch.nn.ReLU(), torch.nn.Flatten()]
    network = with_seed(lambda: torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), *layers, torch.nn.Linear(140, 2)))
    ours = shap_values(network, images, target=0, fill="mean", max_evals=41, random_state=4)

    def scores(batch):
        with torch.no_grad():
            return network(torch.tensor(batch).moveaxis(-1, 1))[:, 0].numpy()

    state = np.random.get_state()
    seeds = np.random.RandomState(np.random.RandomState(4).randint(2**31 - 1)).randint(2**31 - 1, size=2)
    for row, image in enumerate(np.moveaxis(images, 1, -1)):
        explainer = shap.PartitionExplainer(scores, shap.maskers.Image(np.full_like(image, image.mean())))
        np.random.seed(seeds[row])
        theirs = explainer(image[None], max_evals=41, batch_size=32, silent=True).values[0, ..., 0]
        np.testing.assert_allclose(ours[row], theirs, rtol=1e-4, atol=1e-6)
    np.random.set_state(state)


def test_partition_of_two_pixels_is_the_shapley_value():
    class Product(torch.nn.Module):
        def forward(self, X):
            first, second = X[:, 0, 0, 0], X[:, 0, 0, 1]
            return torch.stack([first * second + 2 * first, first], dim=1)

    images = np.array([[[3.0, 5.0]]], dtype=np.float32)
    worth = np.array([[0.0, 6.0, 0.0, 21.0]])  # nothing, first, second, both
    maps = shap_values(Product(), images, target=0, fill="zero", max_evals=50)
    np.testing.assert_allclose(maps[0], shapley_values(worth), atol=1e-5)


def test_gradients_of_a_linear_network_add_up_on_average(images):
    network, weights = linear_network(images)
    background = images[:3]
    maps = shap_values(network, images, target=1, method="gradient", background=background, max_evals=3000)
    expected = (weights * (images - background.mean(0))).sum(1)
    np.testing.assert_allclose(maps, expected, atol=0.15)
    assert np.corrcoef(maps.ravel(), expected.ravel())[0, 1] > 0.995
    score, base = ((weights * part).sum((1, 2, 3)) for part in (images, background))
    np.testing.assert_allclose(maps.details["score_difference"], score - base.mean(), atol=1e-4)


def test_gradients_equal_a_direct_call(images, classifier):
    import shap

    state = np.random.get_state()
    module = classifier.module_
    inputs = next(iter(classifier.iter_batches(images)))["X"]
    explainer = shap.GradientExplainer(module, inputs[1:3])
    ours = shap_values(
        classifier, images, target="b", method="gradient", background=images[1:3], max_evals=10, random_state=4
    )
    generator = np.random.RandomState(np.random.RandomState(4).randint(2**31 - 1))
    samples = generator.randint(2**31 - 1, size=4)
    for row in range(4):
        np.random.seed(samples[row])
        theirs = explainer.shap_values(inputs[row : row + 1], nsamples=10, rseed=np.random.randint(2**31 - 1))
        np.testing.assert_allclose(ours[row], theirs[0, ..., 1].sum(0), rtol=1e-4, atol=1e-6)
    np.random.set_state(state)


@pytest.mark.parametrize("fill", ["zero", "mean", "blur", 0.5])
def test_partition_adds_up(images, classifier, fill):
    maps = shap_values(classifier, images, fill=fill, max_evals=60, random_state=0)
    np.testing.assert_allclose(maps.details["completeness_gap"], 0, atol=1e-5)
    logits = classifier.decision_function(images)
    hidden = np.broadcast_to(0.5 if fill == 0.5 else 0, images.shape).astype(np.float32)
    if fill in ("zero", 0.5):  # numbers have the units of the images, not of the normalized ones
        base = classifier.decision_function(hidden)[np.arange(4), logits.argmax(1)]
        np.testing.assert_allclose(maps.details["score_difference"], logits.max(1) - base, atol=1e-5)


@pytest.mark.parametrize("options", [{"max_evals": 60}, {"method": "gradient", "max_evals": 70}])
def test_reproducible_in_any_batches_and_without_traces(images, classifier, options):
    module = classifier.module_
    module.train()
    for value in module.parameters():
        value.grad = torch.ones_like(value)
    first = shap_values(classifier, images, random_state=3, **options)
    again = shap_values(classifier, images, random_state=3, **options)
    np.testing.assert_array_equal(first, again)
    for batch_size in (1, 3):
        parts = shap_values(classifier, images, random_state=3, batch_size=batch_size, **options)
        np.testing.assert_allclose(parts, first, rtol=1e-4, atol=1e-6)
    out = np.empty((4, 8, 6), dtype=np.float32)
    with torch.no_grad():
        kept = shap_values(classifier, images, random_state=3, out=out, **options)
    np.testing.assert_array_equal(kept, out)
    assert np.shares_memory(kept, out)
    assert all(part.training for part in module.modules())
    for value in module.parameters():
        assert value.requires_grad
        assert torch.equal(value.grad, torch.ones_like(value))
        value.grad = None
    assert not any(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks for part in module.modules())
    module.eval()


def test_targets(images, classifier):
    options = {"max_evals": 40, "random_state": 0}
    codes = classifier.decision_function(images).argmax(1)
    predicted = shap_values(classifier, images, **options)
    given = shap_values(classifier, images, classifier.classes_[codes], **options)
    np.testing.assert_array_equal(predicted, given)
    labels = NeuralImageClassifier(SmallCNN(width=2, depth=1), max_epochs=1, random_state=0)
    labels.fit(images, np.array([[0, 1], [1, 1], [1, 0], [0, 0]]))
    present = np.array([[1, 1], [0, 1], [1, 0], [1, 1]])
    both = shap_values(labels, images, "true", y=present, **options)
    np.testing.assert_allclose(both.details["completeness_gap"], 0, atol=1e-5)
    gradients = shap_values(labels, images, "true", y=present, method="gradient", max_evals=20, random_state=0)
    apart = [shap_values(labels, images, k, method="gradient", max_evals=20, random_state=0) for k in (0, 1)]
    np.testing.assert_allclose(gradients[0], apart[0][0] + apart[1][0], atol=1e-5)
    np.testing.assert_allclose(gradients[1], apart[1][1], atol=1e-5)


def test_residual_networks_that_overwrite_their_activations():
    from torchvision.models import resnet18

    network = with_seed(lambda: resnet18(num_classes=3)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    maps = shap_values(network, images, max_evals=20, random_state=0)
    np.testing.assert_allclose(maps.details["completeness_gap"], 0, atol=1e-4)
    maps = shap_values(network, images, method="gradient", max_evals=8, random_state=0)
    assert not maps.zero_maps.any()
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())  # batch statistics too


@pytest.mark.parametrize("options", [{"fill": "mean"}, {"method": "gradient"}])
def test_networks_that_overwrite_the_images_themselves(options):
    linear = with_seed(lambda: torch.nn.Linear(24, 2))
    images = np.random.default_rng(0).normal(size=(3, 1, 4, 6)).astype(np.float32)
    kept = images.copy()
    overwriting, careful = (
        shap_values(
            torch.nn.Sequential(torch.nn.ReLU(inplace=inplace), torch.nn.Flatten(), linear),
            images,
            max_evals=20,
            random_state=0,
            **options,
        )
        for inplace in (True, False)
    )
    np.testing.assert_array_equal(overwriting, careful)
    np.testing.assert_array_equal(overwriting.details["completeness_gap"], careful.details["completeness_gap"])
    np.testing.assert_array_equal(images, kept)


def test_rows_and_background_in_every_form(images, classifier):
    options = {"method": "gradient", "max_evals": 6, "random_state": 0}
    expected = shap_values(classifier, images, background=images[:3], **options)
    for form in (list, torch.tensor, ImageBunch):
        np.testing.assert_array_equal(
            shap_values(classifier, form(images), background=form(images[:3]), **options), expected
        )
    table = NeuralImageClassifier(SmallCNN(width=2, depth=1), image_shape=(3, 8, 6), max_epochs=1, random_state=0)
    frame = pd.DataFrame(images.reshape(4, -1)).rename(columns=str)
    table.fit(frame, [0, 1, 0, 1])
    for chosen in (options, {"max_evals": 6}):
        assert shap_values(table, frame, **chosen).shape == (4, 8, 6)


def test_signals():
    layers = [torch.nn.ReLU(inplace=True), torch.nn.Flatten()]
    network = with_seed(lambda: torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3), *layers, torch.nn.Linear(54, 2)))
    signals = np.random.default_rng(0).normal(size=(2, 2, 20)).astype(np.float32)
    for X in (signals, ImageBunch(signals, signal=True)):
        maps = shap_values(network, X, max_evals=60, random_state=0)
        assert maps.shape == (2, 20)
        np.testing.assert_allclose(maps.details["completeness_gap"], 0, atol=1e-5)
        assert shap_values(network, X, method="gradient", max_evals=5).shape == (2, 20)


@pytest.mark.parametrize("options", [{"max_evals": 20}, {"method": "gradient", "max_evals": 5}])
def test_no_trace_of_a_call_that_fails(images, options):
    class Fails(torch.nn.Module):
        calls = 0

        def forward(self, X):
            self.calls += 1
            if self.calls > 4:
                raise RuntimeError("out of order")
            return X.sum((2, 3))

    network = Fails().train()
    with pytest.raises(RuntimeError, match="out of order"):  # the fixture looks at the global random state
        shap_values(network, images, **options)
    assert network.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "deep"}, "method"),
        ({"fill": "inpaint_telea"}, "fill"),
        ({"background": np.zeros((2, 3, 8, 6))}, "background goes with"),
        ({"max_evals": 3}, "max_evals"),
        ({"method": "gradient", "fill": "mean"}, "fill goes with"),
        ({"method": "gradient", "background": np.zeros((1, 3, 8, 6))}, "at least two rows"),
    ],
)
def test_what_does_not_fit_is_named(images, classifier, options, message):
    with pytest.raises(ValueError, match=message):
        shap_values(classifier, images, **options)


def test_background_of_another_shape_is_named(images):
    layers = [torch.nn.AvgPool2d(6), torch.nn.Flatten()]
    network = with_seed(lambda: torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), *layers))
    for background in (images[:, :1], images[..., :5]):
        with pytest.raises(ValueError, match=r"background has images of shape .*, but X of \(3, 8, 6\)"):
            shap_values(network, images, method="gradient", background=background)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gradients_of_networks_in_other_numbers(images, dtype):
    network, _ = linear_network(images)
    options = {"method": "gradient", "max_evals": 5, "random_state": 0}
    expected = shap_values(network, images, target=1, **options)
    maps = shap_values(network.to(dtype), images, target=1, **options)
    np.testing.assert_allclose(maps, expected, atol=0.1 if dtype == torch.bfloat16 else 1e-5)
