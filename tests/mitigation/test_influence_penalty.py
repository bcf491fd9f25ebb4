"""The penalty on influence: its values by hand, its gradients by finite differences, and what it refuses."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_shortcuts.mitigation import InfluencePenalty
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
from tests.mitigation.networks import gradient_error, make_batch, penalize, smooth_cnn


def batch_for(kind="multiclass", n_outputs=3, n_masks=None, **options):
    batch = make_batch(n_outputs, kind=kind, **options)
    batch["X"].requires_grad_()
    if n_masks is not None:
        n_rows, *shape = batch["masks"].shape
        batch["masks"] = torch.from_numpy(np.random.default_rng(1).random((n_rows, n_masks, *shape)) < 0.3)
    return batch


def steep(n_outputs=3, **options):
    """Network whose influences are not so small that everything agrees."""
    network = smooth_cnn(n_outputs, **options)
    network[-1].weight.data.mul_(10)
    return network


def cross_entropy(logits, y, kind):
    if kind == "multilabel" or logits.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(logits[0], y.reshape(-1).double())
    return nn.functional.cross_entropy(logits[0], y)


def by_hand(network, batch, kind):
    """One row at a time, the influence by central differences of the gradient of its loss."""
    values = []
    for row, image in enumerate(batch["X"].detach()):
        influence = torch.zeros_like(image)
        for place in np.ndindex(*image.shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = image.clone()
                moved[place] += step
                loss = cross_entropy(network(moved[None]), batch["y"][row], kind)
                sides.append(sum(g.sum() for g in torch.autograd.grad(loss, list(network.parameters()))))
            influence[place] = (sides[0] - sides[1]) / 2e-5
        image = image.clone().requires_grad_()
        logits = network(image[None])[0]
        if kind == "multilabel" or len(logits) == 1:
            scores = nn.functional.logsigmoid(logits) + nn.functional.logsigmoid(-logits)
        else:
            scores = logits.log_softmax(0)
        masks = batch["masks"][row].double()
        jobs = [(scores.sum(), masks)] if masks.ndim < image.ndim else list(zip(scores, masks))
        value = 0.0
        for score, mask in jobs:
            (gradient,) = torch.autograd.grad(score, image, retain_graph=True)
            value += float((mask * influence * gradient).square().sum())
        values.append(value if batch["has_mask"][row] else 0.0)
    return values


CASES = [("multiclass", 3, None), ("multiclass", 3, 3), ("binary", 1, None), ("multilabel", 3, 3)]


@pytest.mark.parametrize(("kind", "n_outputs", "n_masks"), CASES)
def test_value_is_the_loop(kind, n_outputs, n_masks):
    network, batch = smooth_cnn(n_outputs), batch_for(kind, n_outputs, n_masks, n_rows=3)
    found = penalize(InfluencePenalty().build(3, n_outputs, kind), network, batch)
    np.testing.assert_allclose(found.detach(), by_hand(network, batch, kind), rtol=1e-5)
    assert found[-1] == 0


@pytest.mark.parametrize(("kind", "n_outputs", "n_masks"), CASES)
@pytest.mark.parametrize("scores", ["sum_log_prob", "true", "max"])
def test_parameter_gradient_matches_finite_differences(kind, n_outputs, n_masks, scores):
    network, batch = steep(n_outputs), batch_for(kind, n_outputs, n_masks)
    assert gradient_error(InfluencePenalty(scores).build(5, n_outputs, kind), network, batch, step=1e-6) < 1e-5


def test_parameter_gradient_through_group_normalization():
    network, batch = steep(), batch_for()
    network[1] = nn.GroupNorm(1, 3).double()
    assert gradient_error(InfluencePenalty().build(5, 3, "multiclass"), network, batch, step=1e-6) < 1e-5


def test_parameter_gradient_with_statistics_of_evaluation():
    network, batch = steep(norm=True), batch_for()
    network[1].running_var.mul_(1.7)
    network[1].momentum = 0.0  # finite differences need the same statistics in every training pass
    built = InfluencePenalty(statistics="evaluation").build(5, 3, "multiclass")
    assert gradient_error(built, network, batch, step=1e-6) < 1e-5
    twin = InfluencePenalty().build(5, 3, "multiclass")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.eval()
    expected = penalize(twin, network, batch)
    network.train()
    found = built(network, {**batch, "logits": torch.zeros(5, 3).double()})
    torch.testing.assert_close(found, expected)
    assert network[1].training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def with_norm(layer):
    network = smooth_cnn()
    network[1] = layer.double()
    return network


@pytest.mark.parametrize(
    ("layer", "statistics", "message"),
    [
        (nn.BatchNorm2d(3), "training", r"'1' \(BatchNorm2d\).*set statistics='evaluation', or use group"),
        (nn.BatchNorm2d(3, track_running_stats=False), "evaluation", r"'1' \(BatchNorm2d\).*row; use group"),
        (nn.InstanceNorm2d(3), "evaluation", r"'1' \(InstanceNorm2d\).*; use group"),
        (nn.InstanceNorm2d(3, track_running_stats=True), "evaluation", r"'1' \(InstanceNorm2d\)"),
    ],
)
def test_statistics_of_the_batch_are_refused_with_a_remedy(layer, statistics, message):
    built = InfluencePenalty(statistics=statistics).build(5, 3, "multiclass")
    network, batch = with_norm(layer), batch_for()
    with pytest.raises(ValueError, match=message), built.watch(network):
        pass
    with pytest.raises(ValueError, match=message):
        built(network, {**batch, "logits": network(batch["X"])})


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), nn.InstanceNorm2d(3, track_running_stats=True)])
def test_layers_in_evaluation_mode_are_taken(layer):
    network, batch = with_norm(layer.eval()), batch_for()
    assert (penalize(InfluencePenalty().build(5, 3, "multiclass"), network, batch)[:-1] > 0).all()


def test_frozen_weights_have_no_influence():
    network, batch = steep(), batch_for()
    built = InfluencePenalty().build(5, 3, "multiclass")
    everything = penalize(built, network, batch)
    network[0].requires_grad_(False)
    assert not torch.isclose(penalize(built, network, batch), everything, atol=0)[:-1].any()
    network.requires_grad_(False)
    assert torch.equal(penalize(built, network, batch), torch.zeros(5).double())


def test_training_with_and_without_the_remedy():
    rng = np.random.default_rng(0)
    X, y, masks = rng.normal(size=(12, 8, 8)), np.arange(12) % 2, np.ones((12, 8, 8))
    options = {"max_epochs": 1, "random_state": 0}
    module = SmallCNN(2, depth=1, norm="batch")
    with pytest.raises(ValueError, match=r"'features.0.1' \(BatchNorm2d\)"):
        NeuralImageClassifier(module, penalty=InfluencePenalty(), **options).fit(X, y, masks=masks)
    for penalty, network in (
        (InfluencePenalty(statistics="evaluation"), module),
        (InfluencePenalty(), SmallCNN(2, depth=1)),
    ):
        model = NeuralImageClassifier(network, penalty=penalty, **options).fit(X, y, masks=masks)
        assert model.history_.train_penalty.iloc[0] > 0
