"""HINT rewards maps that cover the right region."""

import pytest
import torch
import torch.nn.functional as F

from sklearn_shortcuts.mitigation import HINTPenalty

from .networks import gradient_error, make_batch, penalize, smooth_cnn


def test_value_by_hand():
    network, batch = smooth_cnn(), make_batch()
    activation = network[:6](batch["X"]).detach().requires_grad_()
    scores = network[6:](activation).gather(1, batch["y"][:, None])
    (gradient,) = torch.autograd.grad(scores.sum(), activation)
    maps = torch.einsum("nc,nchw->nhw", gradient.mean((2, 3)), activation).detach()
    lowest, highest = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    maps = (maps - lowest) / (highest - lowest + 1e-6)
    maps = F.interpolate(maps[:, None], size=(8, 8), mode="bilinear")[:, 0]
    expected = (maps - batch["masks"].double()).square().sum((1, 2))
    expected[-1] = 0  # has no mask
    values = penalize(HINTPenalty().build(9, 3, "multiclass"), network, batch)
    torch.testing.assert_close(values, expected)


@pytest.mark.parametrize(
    ("n_outputs", "kind", "n_axes"), [(3, "multiclass", 2), (1, "binary", 1), (3, "multilabel", 2)]
)
def test_gradient_of_all_parameters(n_outputs, kind, n_axes):
    network, batch = smooth_cnn(n_outputs, n_axes=n_axes), make_batch(n_outputs, n_axes=n_axes, kind=kind)
    assert gradient_error(HINTPenalty().build(9, n_outputs, kind), network, batch) < 1e-5


def test_a_map_that_covers_the_region_costs_less():
    network, batch = smooth_cnn(), make_batch()
    batch["has_mask"][:] = True
    built = HINTPenalty(relu=True, cam="hires_cam").build(9, 3, "multiclass")
    penalize(built, network, batch)
    with built.watch(network):
        logits = network(batch["X"])
    maps = built.recorded.maps({**batch, "logits": logits}).detach()
    covered = F.interpolate(maps[:, None], size=(8, 8), mode="bilinear")[:, 0]
    middle = covered.flatten(1).median(1).values[:, None, None]
    batch["masks"] = covered > middle
    right = penalize(built, network, batch)
    batch["masks"] = covered <= middle
    assert (right < penalize(built, network, batch)).all()


def test_role_of_masks():
    assert HINTPenalty.mask_role == "attend"
    assert HINTPenalty.fields == ("masks", "has_mask")
