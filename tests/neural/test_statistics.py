"""Normalization per channel against NumPy."""

import numpy as np
import pytest
import torch

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
from sklearn_shortcuts.neural._batches import RowReader
from sklearn_shortcuts.neural._inputs import Rows
from sklearn_shortcuts.neural._statistics import channel_statistics


def reader_of(bunch, **options):
    return RowReader(Rows(bunch.images, bunch.image_shape, False, bunch), torch.float32, **options)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("signal", [False, True])
def test_one_pass_equals_numpy(batch_size, signal):
    rng = np.random.default_rng(0)
    scale = np.array([1.0, 20.0]).reshape(1, 2, *[1] * (1 if signal else 2))
    images = 1000 + scale * rng.normal(size=(11, 2, 5) if signal else (11, 2, 5, 3))
    weights = rng.uniform(0.1, 3, 11)
    bunch = ImageBunch(images.astype(np.float32), signal=signal)
    axes = (0, 2) if signal else (0, 2, 3)
    mean, std = channel_statistics(reader_of(bunch), batch_size, 2)
    values = np.asarray(bunch, dtype=np.float64)
    np.testing.assert_allclose(mean, values.mean(axes), rtol=1e-12)
    np.testing.assert_allclose(std, values.std(axes), rtol=1e-9)
    mean, std = channel_statistics(reader_of(bunch, fields={"sample_weight": weights}), batch_size, 0)
    flat = np.moveaxis(values, 1, 0).reshape(2, -1)
    spread = np.repeat(weights, flat.shape[1] // 11)
    expected = np.average(flat, axis=1, weights=spread)
    np.testing.assert_allclose(mean, expected, rtol=1e-6)  # weights pass through float32
    variance = np.average((flat - expected[:, None]) ** 2, axis=1, weights=spread)
    np.testing.assert_allclose(std, np.sqrt(variance), rtol=1e-6)


def test_bytes_are_scaled_first_and_constant_channels_stay():
    images = np.full((4, 2, 3, 3), 51, np.uint8)
    images[:2, 1] = 255
    mean, std = channel_statistics(reader_of(ImageBunch(images)), 3, 0)
    np.testing.assert_allclose(mean, [0.2, 0.6])
    np.testing.assert_allclose(std, [1.0, 0.4])


def test_only_training_rows_count_and_the_network_gets_normalized_rows(spots):
    images, codes = spots(n=40)
    images = np.stack([images, 5 * images + 2], axis=1)
    images[codes == 0] += 3
    parameters = {"module": SmallCNN(width=2), "max_epochs": 1, "normalize": "channel", "random_state": 0}
    fitted = NeuralImageClassifier(**parameters).fit(images, codes)
    np.testing.assert_allclose(fitted.channel_mean_, images.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(fitted.channel_std_, images.std((0, 2, 3)), rtol=1e-5)
    seen = torch.cat([batch["X"] for batch in fitted.iter_batches(images, batch_size=7)]).numpy()
    np.testing.assert_allclose(seen.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std((0, 2, 3)), 1, rtol=1e-5)
    balanced = NeuralImageClassifier(class_weight={0: 9.0, 1: 1.0}, **parameters).fit(images, codes)
    np.testing.assert_array_equal(balanced.channel_mean_, fitted.channel_mean_)
    weights = np.arange(40) % 2
    part = NeuralImageClassifier(**parameters).fit(images, codes * (np.arange(40) // 20), sample_weight=weights)
    np.testing.assert_allclose(part.channel_mean_, images[1::2].mean((0, 2, 3)), rtol=1e-5)


def test_published_constants():
    parameters = {"module": SmallCNN(width=2), "max_epochs": 1, "normalize": "imagenet"}
    for n_channels in (1, 3):
        fitted = NeuralImageClassifier(**parameters).fit(np.zeros((4, n_channels, 8, 8), np.uint8), [0, 1, 0, 1])
        assert fitted.channel_mean_.mean() == pytest.approx((0.485 + 0.456 + 0.406) / 3)
        (batch,) = fitted.iter_batches(np.zeros((4, n_channels, 8, 8), np.uint8))
        np.testing.assert_allclose(batch["X"][0, 0], -fitted.channel_mean_[0] / fitted.channel_std_[0], rtol=1e-6)
    with pytest.raises(ValueError, match="1 or 3 channels, X has 2"):
        NeuralImageClassifier(**parameters).fit(np.zeros((4, 2, 8, 8)), [0, 1, 0, 1])
