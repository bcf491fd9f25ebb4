import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from sklearn_shortcuts.explain import occlusion
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

from .networks import Recorder, class_logit, linear_network, make_network


@pytest.mark.parametrize(
    ("name", "window", "stride"),
    [
        ("small", (4, 3), (2, 3)),
        ("small", (5, 7), (3, 2)),
        ("one_logit", (4, 4), (4, 4)),
        ("densenet", (16, 16), (8, 16)),
        ("vision_transformer", (4, 4), (4, 4)),
        ("ecg", (9,), (4,)),
        ("overwriting", (2, 3), (1, 1)),
    ],
)
@pytest.mark.parametrize("fill", [0.0, 0.7])
def test_equals_captum(name, window, stride, fill):
    attr = pytest.importorskip("captum.attr")
    network, images = make_network(name, n_rows=2)
    n_channels = images.shape[1]
    with torch.no_grad():
        expected = attr.Occlusion(class_logit(network)).attribute(
            images, (n_channels, *window), (1, *stride), baselines=fill
        )
    maps = occlusion(network, images, 1, window=window, stride=stride, fill=fill)
    np.testing.assert_allclose(maps, expected[:, 0], rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_equals_brute_force():
    network, images = make_network("resnet", n_rows=2)
    maps = occlusion(network, images, 2, window=(12, 16), stride=(10, 16), fill="mean")
    score = class_logit(network, 2)
    total, count = np.zeros((2, 32, 32)), np.zeros((32, 32))
    with torch.no_grad():
        for top in (0, 10, 20):
            for left in (0, 16):
                covered = images.clone()
                rows, columns = slice(top, top + 12), slice(left, left + 16)
                covered[:, :, rows, columns] = images.mean((2, 3), keepdim=True)
                total[:, rows, columns] += (score(images) - score(covered)).numpy()[:, None, None]
                count[rows, columns] += 1
    np.testing.assert_allclose(maps, total / count, rtol=1e-5, atol=1e-7)


def test_default_window_and_stride():
    network, images = make_network("small")
    np.testing.assert_array_equal(occlusion(network, images), occlusion(network, images, window=2, stride=1))
    network, images = make_network("ecg")
    np.testing.assert_array_equal(occlusion(network, images), occlusion(network, images, window=8, stride=4))


def test_fills_agree():
    network, images = make_network("ecg", n_rows=3)
    mean = images.mean(2, keepdim=True).expand_as(images)
    np.testing.assert_allclose(
        occlusion(network, images, fill="mean"), occlusion(network, images, fill=mean), rtol=1e-5, atol=1e-7
    )
    blurred = gaussian_filter1d(images.numpy(), 64 / 16, mode="reflect", truncate=4)
    maps, expected = (occlusion(network, images, 1, fill=fill) for fill in ("blur", blurred))
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-7)
    assert expected.any()


def test_fill_has_the_units_of_the_images():
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    model = NeuralImageClassifier(SmallCNN(width=4), normalize="channel", max_epochs=1, random_state=0)
    model.fit(images, np.arange(12) % 2)
    covered = images.copy()
    covered[:, :4, :4] = 200
    fall = model.decision_function(images) - model.decision_function(covered)
    maps = occlusion(model, images, 1, window=4, stride=4, fill=200)
    logits = maps - occlusion(model, images, 0, window=4, stride=4, fill=200)
    assert maps.shape == (12, 8, 8)
    np.testing.assert_allclose(logits[:, :4, :4], np.broadcast_to(fall[:, None, None], (12, 4, 4)), atol=1e-5)


def test_parts_are_no_larger_than_a_batch():
    network, images = make_network("small", n_rows=2)
    recorder = Recorder(network)
    occlusion(recorder, images, window=4, stride=4, batch_size=5)  # 4 x 3 windows, two of them with both rows
    assert [len(part) for part in recorder.seen] == [2] + [4] * 6


def test_linear_network_in_closed_form():
    weights = np.random.default_rng(0).normal(size=(2, 6, 6))
    images = np.random.default_rng(1).normal(size=(3, 2, 6, 6))
    maps = occlusion(linear_network(weights), images, 1, window=3, stride=3, fill="zero")
    blocks = (weights * images).sum(1).reshape(3, 2, 3, 2, 3).sum((2, 4))
    np.testing.assert_allclose(maps, blocks.repeat(3, axis=1).repeat(3, axis=2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 13}, r"window=\(13, 13\) is larger than the images, \(16, 12\)"),
        ({"window": (2, 2, 2)}, "window must be a positive integer or one per axis"),
        ({"window": (2, 1.5)}, "window must be a positive integer or one per axis"),
        ({"window": 0}, "'window' parameter"),
        ({"window": 2, "stride": 3}, r"stride=\(3, 3\) leaves gaps"),
        ({"fill": "shuffle"}, "fill must be a finite number, an array or one of"),
    ],
)
def test_unknown_options(options, message):
    network, images = make_network("small")
    with pytest.raises(ValueError, match=message):
        occlusion(network, images, **options)
