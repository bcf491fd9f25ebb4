"""Counterexamples: what the copies show, and that their loss is the cross-entropy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sklearn_shortcuts.mitigation import CounterexampleAugmentation

from .networks import make_batch, smooth_cnn


class Keep(nn.Module):
    """Keeps what it is given."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.seen = []

    def forward(self, X):
        self.seen.append(X.detach().clone())
        return self.module(X)


@pytest.fixture(autouse=True)
def own_random_numbers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def penalize(penalty, batch, n_outputs=3, kind="multiclass", **options):
    module = Keep(smooth_cnn(n_outputs, batch["X"].shape[1], batch["X"].ndim - 2, **options))
    logits = module.module(batch["X"])
    values = penalty.build(len(logits), n_outputs, kind)(module, {**batch, "logits": logits})
    return values, module


def penalize_flat(penalty, batch, n_outputs=3):
    module = Keep(nn.Sequential(nn.Flatten(), nn.Linear(batch["X"][0].numel(), n_outputs)).double())
    logits = module.module(batch["X"])
    return penalty.build(len(logits), n_outputs, "multiclass")(module, {**batch, "logits": logits}), module


@pytest.mark.parametrize("fill", ["swap", "noise", "mean", "shuffle"])
@pytest.mark.parametrize(("n_axes", "n_channels"), [(2, 1), (2, 3), (1, 2)])
def test_only_regions_of_annotated_rows_change(fill, n_axes, n_channels):
    batch = make_batch(n_axes=n_axes, n_channels=n_channels)
    batch["masks"][:-1].flatten(1)[:, :2] = True  # so that no mask is empty
    values, module = penalize(CounterexampleAugmentation(fill), batch)
    (copies,) = module.seen
    images, masks = batch["X"][:-1], batch["masks"][:-1][:, None].expand(4, *batch["X"].shape[1:])
    assert copies.shape == images.shape
    assert torch.equal(copies[~masks], images[~masks])
    assert not torch.equal(copies[masks], images[masks])
    assert values[-1] == 0
    assert (values[:-1] > 0).all()


def test_noise_covers_the_range_of_the_batch_and_no_more():
    batch = make_batch(size=24, n_rows=9)
    images, masks = batch["X"], batch["masks"][:-1, None]
    _, module = penalize_flat(CounterexampleAugmentation("noise"), batch)
    drawn = module.seen[0][masks]
    assert drawn.min() >= images.min()
    assert drawn.max() <= images.max()
    share = (drawn - images.min()) / (images.max() - images.min())
    assert float(share.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(share.std()) == pytest.approx(1 / np.sqrt(12), abs=0.03)


def test_mean_is_that_of_the_pixels_outside():
    batch = make_batch(n_channels=2)
    batch["masks"][1] = True  # nothing is left: the mean of the whole row
    _, module = penalize(CounterexampleAugmentation("mean"), batch)
    for row in range(4):
        mask = batch["masks"][row]
        for plane, copy in zip(batch["X"][row], module.seen[0][row]):
            expected = plane.mean() if row == 1 else plane[~mask].mean()
            torch.testing.assert_close(copy[mask], expected.expand(int(mask.sum())))


def test_shuffling_permutes_the_pixels_of_all_channels_alike():
    batch = make_batch(n_channels=2, size=12)
    _, module = penalize_flat(CounterexampleAugmentation("shuffle"), batch)
    for row in range(4):
        mask = batch["masks"][row]
        before, after = (images[:, mask].T.tolist() for images in (batch["X"][row], module.seen[0][row]))
        assert sorted(before) == sorted(after)
        assert before != after


def test_swapped_pixels_are_those_of_another_row_at_the_same_place():
    batch = make_batch(n_rows=6)
    _, module = penalize(CounterexampleAugmentation("swap"), batch)
    for row in range(5):
        mask = batch["masks"][row]
        same = [torch.equal(module.seen[0][row][0][mask], other[0][mask]) for other in batch["X"]]
        assert sum(same) == 1
        assert not same[row]


def exchange_batch(marked):
    """Rows with masks in different places, of which only those ``marked`` are not empty."""
    batch = make_batch(n_rows=len(marked))
    batch["has_mask"][:] = True
    batch["masks"] = torch.zeros(len(marked), 8, 8, dtype=torch.bool)
    for row in np.flatnonzero(marked):
        batch["masks"][row, row, :] = True
    return batch


def test_exchanged_regions_are_those_of_both_rows():
    batch = exchange_batch([True] * 6)
    for seed in range(5):
        torch.manual_seed(seed)
        _, module = penalize(CounterexampleAugmentation("exchange"), batch)
        for row, copy in enumerate(module.seen[0][:, 0]):
            changed = torch.nonzero((copy != batch["X"][row, 0]).any(1))[:, 0].tolist()
            assert len(changed) == 2
            (donor,) = set(changed) - {row}
            assert torch.equal(copy[changed], batch["X"][donor, 0, changed])


def test_a_row_with_an_empty_mask_gets_the_region_of_another():
    batch = exchange_batch([False, False, True, True, False, False])
    values, module = penalize(CounterexampleAugmentation("exchange"), batch)
    assert len(module.seen[0]) == 6
    assert (values > 0).all()
    for row in (0, 1, 4, 5):
        changed = torch.nonzero((module.seen[0][row] != batch["X"][row])[0].any(1))[:, 0].tolist()
        assert changed in ([2], [3])
    # Of a row without a mask nothing is known, neither what to change nor what to give.
    batch["has_mask"][[0, 2]] = False
    values, module = penalize(CounterexampleAugmentation("exchange"), batch)
    assert values[0] == values[2] == 0
    for row, copy in zip((1, 4, 5), module.seen[0][[0, 2, 3]]):
        changed = torch.nonzero((copy != batch["X"][row])[0].any(1))[:, 0].tolist()
        assert changed in ([3], [])


def test_nothing_to_exchange():
    batch = exchange_batch([False] * 4)
    values, module = penalize(CounterexampleAugmentation("exchange"), batch)
    assert not values.any()
    assert module.seen == []
    alone = {name: value[:1] if isinstance(value, torch.Tensor) else value for name, value in make_batch().items()}
    for fill in ("exchange", "swap"):
        values, module = penalize(CounterexampleAugmentation(fill), alone)
        assert not values.any()


def test_copies_that_did_not_change_do_not_dilute_the_mean():
    batch = exchange_batch([True, False, False])
    batch["has_mask"][1] = False
    values, module = penalize(CounterexampleAugmentation("exchange", n_copies=8), batch)
    copies, logits = module.seen[0], module.module(module.seen[0]).detach()
    for row in (0, 2):
        mine = [torch.equal(copy[0, 3:], batch["X"][row, 0, 3:]) for copy in copies]
        losses = F.cross_entropy(logits[mine], batch["y"][row].expand(sum(mine)), reduction="none")
        torch.testing.assert_close(values[row].detach(), losses.mean())


@pytest.mark.parametrize("n_copies", [1, 3])
def test_value_is_the_mean_cross_entropy_of_the_copies(n_copies):
    batch = make_batch()
    values, module = penalize(CounterexampleAugmentation("noise", n_copies=n_copies), batch)
    logits = module.module(module.seen[0]).detach()
    losses = F.cross_entropy(logits, batch["y"][:-1].repeat(n_copies), reduction="none")
    torch.testing.assert_close(values[:-1].detach(), losses.reshape(n_copies, -1).mean(0))


def test_one_logit_and_several_labels():
    batch = make_batch(n_outputs=1)
    values, module = penalize(CounterexampleAugmentation("noise"), batch, n_outputs=1, kind="binary")
    logits = module.module(module.seen[0]).detach()[:, 0]
    expected = F.binary_cross_entropy_with_logits(logits, batch["y"][:-1].double(), reduction="none")
    torch.testing.assert_close(values[:-1].detach(), expected)

    batch = make_batch(kind="multilabel")
    values, module = penalize(CounterexampleAugmentation("noise"), batch, kind="multilabel")
    logits = module.module(module.seen[0]).detach()
    expected = F.binary_cross_entropy_with_logits(logits, batch["y"][:-1], reduction="none").mean(1)
    torch.testing.assert_close(values[:-1].detach(), expected)


def test_gradient_is_that_of_training_on_the_copies():
    batch = make_batch()
    values, module = penalize(CounterexampleAugmentation("mean"), batch)
    values.sum().backward()
    ours = [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]
    module.zero_grad()
    F.cross_entropy(module.module(module.seen[0]), batch["y"][:-1], reduction="sum").backward()
    peer = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    assert len(ours) == len(peer) > 0
    for mine, theirs in zip(ours, peer):
        torch.testing.assert_close(mine, theirs)


def test_a_single_annotated_row_trains_batch_normalization():
    batch = make_batch()
    batch["has_mask"][1:] = False
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    logits = module(batch["X"])
    values = CounterexampleAugmentation("noise").build(5, 3, "multiclass")(module, {**batch, "logits": logits})
    assert values[0] > 0
    assert torch.equal(values[1:], torch.zeros(4, dtype=torch.float64))


def test_rows_without_a_marked_pixel_have_no_penalty_and_no_forward_pass():
    batch = make_batch()
    batch["masks"][:] = False
    values, module = penalize(CounterexampleAugmentation("noise"), batch)
    assert not values.any()
    assert module.seen == []


def test_an_empty_mask_of_a_class_says_nothing_of_it():
    batch = make_batch(n_rows=6)
    batch["has_mask"][:] = True
    batch["y"] = torch.tensor([0, 0, 1, 1, 2, 0])
    masks = batch["masks"][:, None].repeat(1, 3, 1, 1).double()
    masks[:, :, 0, 0] = 1
    masks[0, 0] = torch.nan  # of the row's own class
    masks[5, 1:] = torch.nan  # of others
    values, _ = penalize(CounterexampleAugmentation("exchange"), {**batch, "masks": masks})
    assert (values > 0).tolist() == [False, True, True, True, True, True]
    # Nor does it tell what another row gets: the region is the row's own then.
    donors = {"masks": masks.clone(), "y": torch.tensor([0, 1, 1, 1, 1, 1])}
    donors["masks"][1:, 0] = torch.nan
    donors["masks"][0, 0] = 0
    donors["masks"][0, 0, 2, 2] = 1
    _, module = penalize(CounterexampleAugmentation("exchange"), {**batch, **donors})
    changed = (module.seen[0][0] != batch["X"][0]).nonzero()[:, 1:].tolist()
    assert changed == [[2, 2]]


def test_of_masks_per_class_that_of_the_own_class_is_filled():
    batch = make_batch()
    batch["masks"] = torch.from_numpy(np.random.default_rng(1).random((5, 3, 8, 8)) < 0.3)
    _, module = penalize(CounterexampleAugmentation("noise"), batch)
    own = batch["masks"][torch.arange(5), batch["y"]][:-1]
    torch.testing.assert_close((module.seen[0] != batch["X"][:-1])[:, 0], own)


def test_of_masks_per_label_one_is_filled_and_that_label_counts():
    batch = make_batch(kind="multilabel")
    batch["masks"] = torch.zeros(5, 3, 8, 8)
    labels = [0, 1, 2, 1]
    for row, label in enumerate(labels):
        batch["masks"][row, label, row : row + 3, 2:6] = 1
        batch["masks"][row, (label + 1) % 3] = torch.nan  # nothing is known of that label
    values, module = penalize(CounterexampleAugmentation("noise"), batch, kind="multilabel")
    changed = (module.seen[0] != batch["X"][:-1])[:, 0]
    logits = module.module(module.seen[0]).detach()
    losses = F.binary_cross_entropy_with_logits(logits, batch["y"][:-1], reduction="none")
    for row, label in enumerate(labels):
        assert torch.equal(changed[row], batch["masks"][row, label] == 1)
        torch.testing.assert_close(values[row].detach(), losses[row, label])


@pytest.mark.parametrize("wrong", [{"fill": "blur"}, {"n_copies": 0}])
def test_parameters_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CounterexampleAugmentation(**wrong).build(1, 2, "binary")
