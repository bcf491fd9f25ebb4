"""Random geometry: exact cases against NumPy, masks that follow, and repeatable draws."""

import numpy as np
import pytest
import torch

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.neural import Criterion, NeuralImageClassifier, RandomGeometry, SmallCNN
from sklearn_shortcuts.neural._augmentation import _transform


def batch_of(n=3, height=8, width=8, seed=0):
    images = torch.from_numpy(np.random.default_rng(seed).random((n, 2, height, width)))
    return images, {"masks": (images[:, 0] > 0.5).double(), "y": torch.arange(n)}


@pytest.mark.parametrize(("flip", "axis"), [("hflip", -1), ("vflip", -2)])
def test_mirroring_is_exact(flip, axis):
    images, batch = batch_of(height=6, width=9)
    changed, fields = RandomGeometry(**{flip: 1.0}).apply(images, batch, np.random.default_rng(0))
    np.testing.assert_allclose(changed, np.flip(images.numpy(), axis), atol=1e-12)
    np.testing.assert_array_equal(fields["masks"], np.flip(batch["masks"].numpy(), axis))
    assert fields["y"] is batch["y"]


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_quarter_turns_are_exact(quarter):
    images, _ = batch_of()
    angle = quarter * np.pi / 2
    turn = torch.tensor([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]).expand(3, 2, 2)
    for mode in ("bilinear", "nearest"):
        turned = _transform(images, turn, mode)
        expected = [np.rot90(images.numpy(), sign * quarter, (-2, -1)) for sign in (1, -1)]
        assert any(np.allclose(turned, wanted, atol=1e-9) for wanted in expected)


def test_angles_are_true_in_oblong_images():
    """A disk stays a disk: its second moments do not depend on the angle."""
    y, x = np.mgrid[:64, :128]
    disk = torch.from_numpy((np.hypot(x - 63.5, y - 31.5) < 20).astype(float))[None, None]
    angle = torch.tensor(0.7)
    turn = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()]).reshape(1, 2, 2).double()
    turned = _transform(disk, turn, "bilinear")[0, 0].numpy()
    assert np.abs(turned - disk[0, 0].numpy()).sum() < 0.05 * disk.sum()


def test_size_changes_areas_by_its_square():
    image = torch.zeros(400, 1, 64, 64, dtype=torch.float64)
    image[:, :, 24:40, 24:40] = 1
    batch = {"masks": image[:, 0]}
    changed, fields = RandomGeometry(scale=0.2).apply(image, batch, np.random.default_rng(0))
    sizes = np.sqrt(changed.sum((1, 2, 3)).numpy()) / 16
    assert sizes.min() == pytest.approx(0.8, abs=0.01)
    assert sizes.max() == pytest.approx(1.2, abs=0.01)
    mask_sizes = np.sqrt(fields["masks"].sum((1, 2)).numpy()) / 16
    np.testing.assert_allclose(mask_sizes, sizes, atol=1 / 16)  # whole pixels on either side


def test_masks_follow_their_image_and_stay_binary():
    images = torch.zeros(50, 1, 40, 40, dtype=torch.float64)
    images[:, :, 10:20, 5:25] = 1
    batch = {"masks": images[:, 0].bool(), "artifact_masks": images[:, 0]}
    geometry = RandomGeometry(rotation=30, hflip=0.5, vflip=0.5, scale=0.2)
    changed, fields = geometry.apply(images, batch, np.random.default_rng(0))
    assert fields["masks"].dtype == torch.bool
    assert set(fields["artifact_masks"].unique().tolist()) == {0.0, 1.0}
    agreement = ((changed[:, 0] > 0.5) == fields["masks"]).double().mean()
    assert agreement > 0.98
    assert not torch.equal(fields["masks"][0], fields["masks"][1])


def test_rows_are_mirrored_as_often_as_asked():
    images = torch.arange(2.0).expand(4000, 1, 2, 2)
    changed, _ = RandomGeometry(hflip=0.25).apply(images, {}, np.random.default_rng(0))
    assert (changed[:, 0, 0, 0] == 1).double().mean() == pytest.approx(0.25, abs=0.02)


def test_brightness_multiplies_and_leaves_masks_alone():
    images, batch = batch_of(n=500)
    changed, fields = RandomGeometry(brightness=0.3).apply(images, batch, np.random.default_rng(0))
    factors = (changed / images).flatten(1)
    np.testing.assert_allclose(factors.std(1), 0, atol=1e-12)
    assert 0.7 <= factors.min() < 0.72
    assert 1.28 < factors.max() <= 1.3
    assert fields["masks"] is batch["masks"]


class Spy(Criterion):
    fields = ("masks",)

    def build(self, n_samples, n_outputs, kind):
        return _Spy()


class _Spy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.agreement = []

    def forward(self, logits, batch, training):
        self.agreement.append((training, float(((batch["X"][:, 0] > 0.5) == (batch["masks"] > 0.5)).double().mean())))
        return torch.nn.functional.cross_entropy(logits, batch["y"], reduction="none")


def test_training_batches_are_changed_with_their_masks_and_others_are_not():
    images = np.zeros((40, 16, 16), np.float32)
    images[:, 2:10, 3:8] = 1
    options = {"module": SmallCNN(width=2), "max_epochs": 2, "random_state": 0, "batch_size": 8}
    geometry = RandomGeometry(hflip=0.5, vflip=0.5)
    bunch = ImageBunch(images, masks=images)
    codes = np.arange(40) % 2
    fitted = NeuralImageClassifier(augmentation=geometry, criterion=Spy(), early_stopping=True, **options)
    fitted.fit(bunch, codes)
    assert all(agreement == 1 for _, agreement in fitted.net_.criterion_.agreement)
    again = NeuralImageClassifier(augmentation=geometry, criterion=Spy(), early_stopping=True, **options)
    np.testing.assert_array_equal(again.fit(bunch, codes).predict_proba(images), fitted.predict_proba(images))
    plain = NeuralImageClassifier(criterion=Spy(), early_stopping=True, **options).fit(bunch, codes)
    assert not np.array_equal(plain.predict_proba(images), fitted.predict_proba(images))
    np.testing.assert_array_equal(next(fitted.iter_batches(images, batch_size=40))["X"][:, 0], images)


def test_signals_have_no_geometry():
    options = {"image_shape": (2, 32), "module": SmallCNN(width=2, depth=1), "max_epochs": 1}
    signals = np.random.default_rng(0).normal(size=(8, 2, 32))
    NeuralImageClassifier(augmentation=RandomGeometry(brightness=0.1), **options).fit(signals, [0, 1] * 4)
    with pytest.raises(ValueError, match="signals have no geometry"):
        NeuralImageClassifier(augmentation=RandomGeometry(rotation=5), **options).fit(signals, [0, 1] * 4)


def test_parameters_are_checked_in_fit():
    with pytest.raises(ValueError, match="'hflip' parameter of RandomGeometry"):
        NeuralImageClassifier(augmentation=RandomGeometry(hflip=2)).fit(np.zeros((4, 8, 8)), [0, 1, 0, 1])
