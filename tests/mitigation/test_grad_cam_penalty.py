"""The penalty on class activation maps: values by hand, gradients by finite differences, any network."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.mitigation import GradCAMPenalty
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

from .networks import gradient_error, make_batch, penalize, smooth_cnn

VARIANTS = ["repaired", "published"]


def build(penalty, n_outputs=3, kind="multiclass"):
    return penalty.build(100, n_outputs, kind)


# -- values ----------------------------------------------------------------------------------------------------------
def test_published_form_by_hand():
    network, batch = smooth_cnn(), make_batch()
    logits = network(batch["X"])
    activation = network[:6](batch["X"]).detach().requires_grad_()
    scores = network[6:](activation)
    (gradient,) = torch.autograd.grad(scores.gather(1, logits.argmax(1, keepdim=True)).sum(), activation)
    maps = torch.einsum("nc,nchw->nhw", gradient.mean((2, 3)), activation).detach()
    maps = maps - maps.amin((1, 2), keepdim=True)
    maps = maps / (maps.amax((1, 2), keepdim=True) + 1e-6)
    # Antialiased interpolation to half the size: a triangle of four pixels, cut off at the border.
    weights = torch.zeros(4, 8, dtype=torch.float64)
    for cell in range(4):
        for pixel in range(8):
            weights[cell, pixel] = max(0, 1 - abs(pixel + 0.5 - (2 * cell + 1)) / 2)
    weights = weights / weights.sum(1, keepdim=True)
    masks = weights @ batch["masks"].double() @ weights.T
    expected = (masks * maps).square().sum((1, 2))
    expected[-1] = 0
    values = penalize(build(GradCAMPenalty("published")), network, batch)
    torch.testing.assert_close(values, expected)


def test_repaired_form_by_hand():
    network, batch = smooth_cnn(), make_batch()
    activation = network[0](batch["X"]).detach().requires_grad_()
    log_probabilities = network[1:](activation).log_softmax(1)
    (gradient,) = torch.autograd.grad(log_probabilities.sum(), activation)
    maps = (activation * gradient).abs().sum(1).detach()
    grown = nn.functional.max_pool2d(batch["masks"].double(), 3, stride=1, padding=1)  # a 3-convolution sees one more
    expected = (grown * maps).square().sum((1, 2))
    assert expected[-1] == 0
    torch.testing.assert_close(penalize(build(GradCAMPenalty()), network, batch), expected)


def test_every_ingredient_counts():
    network, batch = smooth_cnn(), make_batch()
    ingredients = {
        "layer": "4",
        "score": "true",
        "cam": "hires_cam",
        "normalize": "min_max",
        "mask_resize": "bilinear",
    }
    default = penalize(build(GradCAMPenalty(layer="last")), network, batch)
    for name, value in ingredients.items():
        changed = penalize(build(GradCAMPenalty(**{"layer": "last", name: value})), network, batch)
        assert not torch.allclose(changed[:-1], default[:-1]), name
    signed = penalize(build(GradCAMPenalty(cam="hires_cam")), network, batch)
    rectified = penalize(build(GradCAMPenalty(cam="hires_cam", relu=True)), network, batch)
    assert (rectified <= signed).all()
    assert (rectified < signed).any()


# -- gradients -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("n_outputs", "kind", "n_axes", "norm"),
    [(3, "multiclass", 2, False), (3, "multiclass", 2, True), (1, "binary", 2, False), (3, "multilabel", 1, False)],
)
def test_gradient_of_all_parameters(variant, n_outputs, kind, n_axes, norm):
    network = smooth_cnn(n_outputs, n_axes=n_axes, norm=norm)
    batch = make_batch(n_outputs, n_axes=n_axes, kind=kind)
    assert gradient_error(build(GradCAMPenalty(variant), n_outputs, kind), network, batch) < 1e-5


@pytest.mark.parametrize("cam", ["absolute", "grad_cam", "grad_cam_plus_plus", "hires_cam"])
@pytest.mark.parametrize("score", ["sum_log_prob", "true"])
def test_gradient_of_every_map(cam, score):
    penalty = GradCAMPenalty(layer="4", cam=cam, score=score)
    assert gradient_error(build(penalty), smooth_cnn(), make_batch()) < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_with_masks_per_class(variant):
    batch = make_batch()
    batch["masks"] = torch.from_numpy(np.random.default_rng(1).random((5, 3, 8, 8)) < 0.2)
    assert gradient_error(build(GradCAMPenalty(variant)), smooth_cnn(), batch) < 1e-5


def test_the_head_is_trained_by_the_second_order_term():
    network, batch = smooth_cnn(), make_batch()
    penalize(build(GradCAMPenalty("published")), network, batch).sum().backward()
    assert network[-1].weight.grad.abs().max() > 0


# -- masks -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_without_mask_cost_nothing(variant):
    network, batch = smooth_cnn(), make_batch()
    values = penalize(build(GradCAMPenalty(variant)), network, batch)
    assert (values[:-1] > 0).all()
    assert values[-1] == 0
    batch["has_mask"] = torch.zeros(5, dtype=torch.bool)
    values = penalize(build(GradCAMPenalty(variant)), network, batch)
    assert not values.any()
    assert values.shape == (5,)


def test_masks_per_class_are_compared_with_the_map_of_their_class():
    network, batch = smooth_cnn(), make_batch()
    masks = torch.zeros(5, 3, 8, 8, dtype=torch.float64)
    masks[:, 1] = batch["masks"]
    batch["masks"] = masks
    values = penalize(build(GradCAMPenalty()), network, batch)
    activation = network[0](batch["X"]).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network[1:](activation).log_softmax(1)[:, 1].sum(), activation)
    maps = (activation * gradient).abs().sum(1).detach()
    grown = nn.functional.max_pool2d(masks[:, 1], 3, stride=1, padding=1)
    torch.testing.assert_close(values, (grown * maps).square().sum((1, 2)))
    masks[0, 1] = torch.nan  # missing
    partial = penalize(build(GradCAMPenalty()), network, batch)
    assert partial[0] == 0
    torch.testing.assert_close(partial[1:], values[1:])


def test_one_logit_has_two_classes_with_masks():
    network, batch = smooth_cnn(1), make_batch(1, kind="binary")
    batch["masks"] = batch["masks"][:, None].repeat(1, 2, 1, 1)
    values = penalize(build(GradCAMPenalty(), 1, "binary"), network, batch)
    assert (values[:-1] > 0).all()


@pytest.mark.parametrize(("shape", "message"), [((5, 7, 8), "one size"), ((5, 2, 8, 8), "2 per row, but 3 classes")])
def test_masks_that_do_not_fit(shape, message):
    batch = {**make_batch(), "masks": torch.ones(shape)}
    with pytest.raises(ValueError, match=message):
        penalize(build(GradCAMPenalty()), smooth_cnn(), batch)


def test_an_empty_mask_costs_nothing_and_a_full_one_the_whole_map():
    network, batch = smooth_cnn(), make_batch()
    batch["has_mask"][:] = True
    batch["masks"] = torch.zeros(5, 8, 8)
    assert not penalize(build(GradCAMPenalty()), network, batch).any()
    batch["masks"] = torch.ones(5, 8, 8)
    full = penalize(build(GradCAMPenalty()), network, batch)
    half = torch.ones(5, 8, 8)
    half[:, :4] = 0
    assert (penalize(build(GradCAMPenalty()), network, {**batch, "masks": half}) < full).all()


# -- networks --------------------------------------------------------------------------------------------------------
def _torchvision(name, **options):
    models = pytest.importorskip("torchvision.models")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return models.get_model(name, weights=None, num_classes=3, **options)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2", "vit_b_32"])
def test_networks_of_torchvision(name, variant):
    options = {"image_size": 64, "num_layers": 2} if name == "vit_b_32" else {}
    if name == "vit_b_32":
        from torchvision.models import VisionTransformer

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = VisionTransformer(64, 16, 2, 2, 16, 32, num_classes=3)
            nn.init.normal_(network.heads[0].weight)  # torchvision starts it at 0, and with it all gradients
    else:
        network = _torchvision(name, **options)
    network.train()
    modes = [part.training for part in network.modules()]
    batch = make_batch(n_channels=3, size=64, n_rows=3)
    batch["X"] = batch["X"].float()
    with torch.random.fork_rng(devices=[]):
        values = penalize(build(GradCAMPenalty(variant)), network, batch)
        values.sum().backward()
    assert (values[:-1] > 0).all()
    assert values.dtype == torch.float32
    assert [part.training for part in network.modules()] == modes
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[-2].abs().max() > 0  # weights of the head
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_operations_in_place_do_not_change_the_map():
    batch = make_batch()
    values = []
    for inplace in (False, True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = nn.Sequential(
                nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(inplace), nn.Flatten(), nn.Linear(192, 3)
            ).double()
        values.append(penalize(build(GradCAMPenalty(layer="0", cam="hires_cam")), network, batch))
        values.append(penalize(build(GradCAMPenalty("published", layer="0")), network, batch))
    torch.testing.assert_close(values[0], values[2])
    torch.testing.assert_close(values[1], values[3])


def test_layers_below_the_map_may_be_frozen():
    network, batch = smooth_cnn(), make_batch()
    network[0].requires_grad_(False)
    values = penalize(build(GradCAMPenalty()), network, batch)
    values.sum().backward()
    assert network[0].weight.grad is None
    assert network[-1].weight.grad.abs().max() > 0


def test_a_network_without_convolution_needs_another_layer():
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double()
    with pytest.raises(ValueError, match="has no convolution"):
        penalize(build(GradCAMPenalty()), network, make_batch())


def test_a_layer_without_influence_is_refused():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.idle, self.used = nn.Conv2d(1, 1, 3), smooth_cnn()

        def forward(self, x):
            self.idle(x)
            return self.used(x)

    with torch.random.fork_rng(devices=[]):
        network = Idle().double()
    with pytest.raises(ValueError, match="do not depend on 'idle'"):
        penalize(build(GradCAMPenalty(layer="idle")), network, make_batch())


def test_the_last_layer_is_looked_for_once():
    network, batch = smooth_cnn(), make_batch()
    built, calls = build(GradCAMPenalty("published")), []
    with network[0].register_forward_hook(lambda *_: calls.append(1)):
        first = penalize(built, network, batch)
        n_calls = len(calls)
        torch.testing.assert_close(penalize(built, network, batch), first)
    assert len(calls) == n_calls + 1


def test_half_precision_gives_values_of_full_precision():
    network, batch = smooth_cnn().float(), make_batch()
    batch["X"] = batch["X"].float()
    built = build(GradCAMPenalty())
    with built.watch(network), torch.autocast("cpu", torch.bfloat16):
        logits = network(batch["X"])
    values = built(network, {**batch, "logits": logits.float()})
    values.sum().backward()
    exact = penalize(built, network, batch)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, exact, rtol=0.1, atol=0)


# -- as a parameter of the classifier --------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", VARIANTS)
def test_training_lowers_it(variant):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 16, 16)).astype(np.float32), np.arange(40) % 2
    X[y == 1, :4, :4] += 2
    masks = np.zeros((40, 16, 16), dtype=bool)
    masks[:30, :4, :4] = True
    bunch = ImageBunch(X, masks=[mask if mask.any() else None for mask in masks])
    penalty = GradCAMPenalty(variant)
    classifier = NeuralImageClassifier(SmallCNN(4), penalty=penalty, max_epochs=15, lr=1e-2, random_state=0)
    classifier.fit(bunch, y)
    values = [epoch["train_penalty"] for epoch in classifier.net_.history]
    assert np.mean(values[-3:]) < values[0]


def test_parameters_are_checked_and_copied():
    penalty = GradCAMPenalty("published", layer="features", relu=True)
    assert clone(penalty).get_params() == penalty.get_params()
    for wrong in ({"variant": "best"}, {"score": "loss"}, {"cam": "lrp"}, {"normalize": "max"}, {"mask_resize": "no"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            build(GradCAMPenalty(**wrong))
