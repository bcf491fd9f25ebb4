import numpy as np
import pytest
import torch

from sklearn_shortcuts.explain import input_gradients, smooth_grad

from .networks import MAKERS, Recorder, class_logit, linear_network, make_network


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("aggregate", "noise_type"), [("mean", "smoothgrad"), ("mean_square", "smoothgrad_sq")])
def test_without_noise_equals_captum(name, aggregate, noise_type):
    attr = pytest.importorskip("captum.attr")
    network, images = make_network(name, n_rows=2)
    tunnel = attr.NoiseTunnel(attr.Saliency(class_logit(network)))
    with torch.random.fork_rng(devices=[]):
        expected = tunnel.attribute(images.requires_grad_(), nt_type=noise_type, nt_samples=3, stdevs=0.0, abs=False)
    maps = smooth_grad(network, images, 1, n_samples=3, noise=0, aggregate=aggregate, random_state=0)
    scale = float(expected.abs().max())
    np.testing.assert_allclose(maps, expected.detach().sum(1), rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
@pytest.mark.parametrize("aggregate", ["mean", "mean_square", "variance"])
def test_equals_brute_force_over_the_same_copies(batch_size, aggregate):
    network, images = make_network("small", n_rows=2)
    recorder = Recorder(network)
    maps = smooth_grad(
        recorder, images, 1, n_samples=5, aggregate=aggregate, reduction="sum", random_state=0, batch_size=batch_size
    )
    seen = torch.cat(recorder.seen)
    copies = seen.unflatten(0, (2, 5)).transpose(0, 1) if batch_size == 1 else seen.unflatten(0, (5, 2))
    assert max(map(len, recorder.seen)) <= batch_size
    gradients = np.stack([input_gradients(network, part, 1) for part in copies]).astype(np.float64)
    expected = {
        "mean": gradients.mean(0),
        "mean_square": (gradients**2).mean(0),
        "variance": gradients.var(0),
    }[aggregate]
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_noise_is_a_share_of_the_range_of_each_image():
    network = Recorder(linear_network(np.ones((1, 30, 30))))
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(2, 1, 30, 30)) * np.array([1.0, 10.0])[:, None, None, None]
    smooth_grad(network, images, 1, n_samples=20, noise=0.3, random_state=0)
    noise = torch.cat(network.seen).unflatten(0, (20, 2)) - torch.from_numpy(images)
    span = images.max((1, 2, 3)) - images.min((1, 2, 3))
    np.testing.assert_allclose(noise.std((0, 2, 3, 4)), 0.3 * span, rtol=0.02)
    np.testing.assert_allclose(noise.mean((0, 2, 3, 4)).numpy() / span, 0, atol=0.01)
    flat = noise.flatten(2).flatten(0, 1) / torch.from_numpy(np.tile(span, 20))[:, None]
    between = np.corrcoef(flat) - np.eye(40)  # no two copies share their noise
    assert np.abs(between).max() < 0.2


def test_a_linear_network_is_not_changed_by_noise():
    weights = np.random.default_rng(0).normal(size=(2, 4, 5))
    network = linear_network(weights)
    images = np.random.default_rng(1).normal(size=(3, 2, 4, 5))
    mean = smooth_grad(network, images, 1, n_samples=4, random_state=0)
    np.testing.assert_allclose(mean, np.broadcast_to(weights.sum(0), (3, 4, 5)), rtol=1e-6)
    assert smooth_grad(network, images, 1, n_samples=4, aggregate="variance", random_state=0).max() < 1e-20


def test_the_prediction_for_the_image_is_the_target_of_its_copies():
    network, images = make_network("small", n_rows=6)
    classes = network(images).argmax(1).numpy()
    options = {"n_samples": 3, "noise": 1.0, "random_state": 0}
    recorder = Recorder(network)
    predicted = smooth_grad(recorder, images, **options)
    assert (network(torch.cat(recorder.seen[1:])).argmax(1).numpy() != np.tile(classes, 3)).any()
    np.testing.assert_array_equal(predicted, smooth_grad(network, images, classes, **options))


def test_random_state_decides():
    network, images = make_network("ecg", n_rows=4)
    first = smooth_grad(network, images, 1, n_samples=3, random_state=0)
    np.testing.assert_array_equal(first, smooth_grad(network, images, 1, n_samples=3, random_state=0))
    assert not np.array_equal(first, smooth_grad(network, images, 1, n_samples=3, random_state=1))
    assert not np.array_equal(
        smooth_grad(network, images, 1, n_samples=3), smooth_grad(network, images, 1, n_samples=3)
    )
    generator = np.random.RandomState(0)
    np.testing.assert_array_equal(first, smooth_grad(network, images, 1, n_samples=3, random_state=generator))
    same_rows = smooth_grad(network, images.clone(), 1, n_samples=3, random_state=0, batch_size=2)
    np.testing.assert_allclose(same_rows, first, rtol=1e-5, atol=1e-6 * np.abs(first).max())


@pytest.mark.parametrize("options", [{"n_samples": 0}, {"noise": -0.1}, {"aggregate": "median"}])
def test_unknown_options(options):
    network, images = make_network("small")
    with pytest.raises(ValueError, match=f"'{next(iter(options))}' parameter"):
        smooth_grad(network, images, **options)


def test_sums_of_a_bfloat16_network_have_more_digits():
    weights = torch.linspace(0.5, 2, 12, dtype=torch.bfloat16)
    network = linear_network(weights).bfloat16()
    images = np.random.default_rng(0).random((1, 3, 4), dtype=np.float32)
    maps = smooth_grad(network, images, 1, n_samples=60, batch_size=7, aggregate="mean_square", random_state=0)
    np.testing.assert_allclose(maps[0].ravel(), weights.float() ** 2, rtol=1e-5)
