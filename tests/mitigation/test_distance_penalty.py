"""The penalty that grows with the distance from the right region."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from sklearn_shortcuts.mitigation import DistancePenalty
from sklearn_shortcuts.mitigation._distance_penalty import distances

from .networks import gradient_error, make_batch, penalize, smooth_cnn

VARIANTS = ["repaired", "published"]


@pytest.mark.parametrize("shape", [(6, 9, 13), (6, 20)])
def test_distances_are_euclidean(shape):
    masks = np.random.default_rng(0).random(shape) < 0.1
    masks[0], masks[1] = False, True
    expected = np.stack([distance_transform_edt(~mask) for mask in masks]) / np.linalg.norm(np.array(shape[1:]) - 1)
    expected[0] = 1  # empty: as far away as can be
    found = distances(torch.from_numpy(masks))
    np.testing.assert_allclose(found.numpy()[1:], expected[1:], rtol=1e-5)
    assert (found[0] == 1).all()
    assert found.max() <= 1


def test_repaired_form_by_hand():
    network, batch = smooth_cnn(), make_batch()
    activation = network[0](batch["X"]).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network[1:](activation).log_softmax(1).sum(), activation)
    maps = (activation * gradient).abs().sum(1).detach()
    away = np.stack([distance_transform_edt(~mask) for mask in batch["masks"][:-1].numpy()]) / np.hypot(7, 7)
    expected = (torch.from_numpy(away) * maps[:-1]).square().sum((1, 2))
    values = penalize(DistancePenalty().build(9, 3, "multiclass"), network, batch)
    torch.testing.assert_close(values[:-1], expected, rtol=1e-6, atol=0)
    assert values[-1] == 0


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("n_outputs", "kind", "n_axes"), [(3, "multiclass", 2), (1, "binary", 1), (3, "multilabel", 2)]
)
def test_gradient_of_all_parameters(variant, n_outputs, kind, n_axes):
    network, batch = smooth_cnn(n_outputs, n_axes=n_axes), make_batch(n_outputs, n_axes=n_axes, kind=kind)
    built = DistancePenalty(variant).build(9, n_outputs, kind)
    values = penalize(built, network, batch)
    assert (values[:-1] > 0).any()
    assert values[-1] == 0
    if variant == "repaired" or values.detach().count_nonzero() == 4:
        assert gradient_error(built, network, batch) < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_attention_farther_away_costs_more(variant):
    network, batch = smooth_cnn(), make_batch()
    batch["has_mask"][:] = True
    built = DistancePenalty(variant, layer="0", cam="absolute").build(9, 3, "multiclass")
    costs = []
    for size in (8, 5, 2):
        batch["masks"] = torch.zeros(5, 8, 8)
        batch["masks"][:, :size, :size] = 1
        costs.append(penalize(built, network, batch).detach())
    assert (costs[0] == 0).all()
    assert (costs[0] < costs[1]).all()
    assert (costs[1] < costs[2]).all()


def test_masks_per_class():
    network, batch = smooth_cnn(), make_batch()
    one = penalize(DistancePenalty(score="true").build(9, 3, "multiclass"), network, batch)
    masks = torch.full((5, 3, 8, 8), torch.nan, dtype=torch.float64)
    masks[torch.arange(5), batch["y"]] = batch["masks"].double()
    several = penalize(DistancePenalty(score="true").build(9, 3, "multiclass"), network, {**batch, "masks": masks})
    torch.testing.assert_close(several, one)
