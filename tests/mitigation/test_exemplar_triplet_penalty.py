"""Learning from exemplary explanations: the published equations, the repaired form, margins, frozen exemplars."""

import pickle
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone
from torch import nn

from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.mitigation import ExemplarTripletPenalty, suggest_exemplars
from sklearn_shortcuts.neural import NeuralImageClassifier

from .networks import gradient_error, make_batch, penalize, smooth_cnn

VARIANTS = ["repaired", "published"]


def exemplars(network, variant="repaired", k=2, n_axes=2, **options):
    """Penalty with exemplars drawn at random, whatever its margin."""
    rows = np.random.default_rng(5).normal(size=(2, k, 1, *[8] * n_axes))
    bunches = [ImageBunch(part, signal=n_axes == 1) for part in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return ExemplarTripletPenalty(variant, **options).with_exemplars(network, *bunches), rows


def grad_cam_times_input(network, X):
    """Equations 1 to 5 of the paper: X times the interpolated Grad-CAM of the predicted class."""
    activation = network[:6](X).detach().requires_grad_()
    scores = network[6:](activation)
    (gradient,) = torch.autograd.grad(scores.gather(1, scores.argmax(1, keepdim=True)).sum(), activation)
    maps = torch.einsum("nc,nchw->nhw", gradient.mean((2, 3)), activation).relu().detach()
    maps = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)
    return X * F.interpolate(maps[:, None], size=X.shape[2:], mode="bilinear")


def attention(network, X, score):
    """Roots of the shares of the cells in the map of the first layer."""
    activation = network[0](X).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(score(network[1:](activation)).sum(), activation)
    maps = (activation * gradient).abs().sum(1).detach()
    maps = maps / maps.amax((1, 2), keepdim=True) + 1e-6
    return (maps / maps.sum((1, 2), keepdim=True)).sqrt()


# -- values -----------------------------------------------------------------------------------------------------------
def test_published_form_by_hand():
    network, batch = smooth_cnn(), make_batch()
    penalty, (good, bad) = exemplars(network, "published", k=1)
    mine, to_good, to_bad = (
        grad_cam_times_input(network, X) for X in (batch["X"], torch.from_numpy(good), torch.from_numpy(bad))
    )
    margin = (mine - to_good).flatten(1).norm(dim=1) - (mine - to_bad).flatten(1).norm(dim=1) + 1
    values = penalize(penalty.build(9, 3, "multiclass"), network, batch)
    torch.testing.assert_close(values, margin.clamp(min=0), rtol=1e-6, atol=1e-7)


def test_repaired_form_by_hand():
    network, batch = smooth_cnn(), make_batch()
    penalty, (good, bad) = exemplars(network, k=2, score="sum_log_prob")
    mine, good, bad = (
        attention(network, X, lambda logits: logits.log_softmax(1))
        for X in (batch["X"], torch.from_numpy(good), torch.from_numpy(bad))
    )
    expected = 0
    for to_good, to_bad in zip(good, bad):
        margin = 0.5 * (to_good - to_bad).norm()
        distance = (mine - to_good).flatten(1).norm(dim=1) - (mine - to_bad).flatten(1).norm(dim=1)
        expected = expected + (distance + margin).clamp(min=0) / 2
    values = penalize(penalty.build(9, 3, "multiclass"), network, batch)
    torch.testing.assert_close(values, expected, rtol=1e-6, atol=1e-7)


def test_classes_are_drawn_for_every_row_and_step():
    network, batch = smooth_cnn(), make_batch(n_rows=40)
    penalty, (good, bad) = exemplars(network, k=1)
    built = penalty.build(9, 3, "multiclass")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = (penalize(built, network, batch).detach() for _ in range(2))
    assert not torch.allclose(first, second)
    options = []
    to_good, to_bad = (
        attention(network, torch.from_numpy(X), lambda logits: logits.log_softmax(1)) for X in (good, bad)
    )
    for position in range(3):
        mine = attention(network, batch["X"], lambda logits: logits.log_softmax(1)[:, position])  # noqa: B023
        distance = (mine - to_good).flatten(1).norm(dim=1) - (mine - to_bad).flatten(1).norm(dim=1)
        options.append((distance + 0.5 * (to_good - to_bad).norm()).clamp(min=0))
    error = (torch.stack(options) - first).abs()
    assert error.amin(0).max() < 1e-6
    assert len(error.argmin(0).unique()) == 3


def test_the_good_exemplar_itself_costs_nothing():
    network = smooth_cnn()
    penalty, (good, bad) = exemplars(network, k=1, score="sum_log_prob")
    batch = {**make_batch(n_rows=2), "X": torch.from_numpy(np.concatenate([good, bad]))}
    values = penalize(penalty.build(9, 3, "multiclass"), network, batch)
    assert values[0] == 0
    distance = np.linalg.norm(penalty.good_explanations - penalty.bad_explanations)
    assert float(values[1].detach()) == pytest.approx(1.5 * distance, rel=1e-6)
    values.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


# -- gradients --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("n_outputs", "kind", "n_axes", "norm"),
    [(3, "multiclass", 2, False), (3, "multiclass", 2, True), (1, "binary", 2, False), (3, "multilabel", 1, False)],
)
def test_gradient_of_all_parameters(variant, n_outputs, kind, n_axes, norm):
    network = smooth_cnn(n_outputs, n_axes=n_axes, norm=norm)
    score = {"score": "sum_log_prob"} if variant == "repaired" else {"relu": False}
    penalty, _ = exemplars(network.eval(), variant, n_axes=n_axes, **score)
    network.train()
    batch = make_batch(n_outputs, n_axes=n_axes, kind=kind)
    assert gradient_error(penalty.build(9, n_outputs, kind), network, batch) < 1e-5


@pytest.mark.parametrize(("n_outputs", "kind"), [(3, "multiclass"), (1, "binary"), (3, "multilabel")])
def test_random_classes_are_differentiable_too(n_outputs, kind):
    network = smooth_cnn(n_outputs)
    penalty, _ = exemplars(network)
    built = penalty.build(9, n_outputs, kind)
    with torch.random.fork_rng(devices=[]):
        penalize(built, network, make_batch(n_outputs, kind=kind)).sum().backward()
    assert network[-1].weight.grad.abs().max() > 0


# -- exemplars --------------------------------------------------------------------------------------------------------
def test_margin_that_cannot_be_met_is_warned_of():
    network = smooth_cnn()
    good, bad = np.random.default_rng(5).normal(size=(2, 1, 1, 8, 8))
    with pytest.warns(UserWarning, match="margin=3 is not below the distance"):
        ExemplarTripletPenalty(margin=3).with_exemplars(network, good, bad)
    penalty = ExemplarTripletPenalty(margin=0.01).with_exemplars(network, good, bad)
    assert penalty.build(9, 3, "multiclass").margins.tolist() == [0.01]


def test_margin_follows_the_distance_of_each_pair():
    penalty, _ = exemplars(smooth_cnn(), k=3, alpha=0.3)
    distance = np.linalg.norm((penalty.good_explanations - penalty.bad_explanations).reshape(3, -1), axis=1)
    np.testing.assert_allclose(penalty.build(9, 3, "multiclass").margins, 0.3 * distance)


def test_exemplars_that_cannot_be_used():
    network, rows = smooth_cnn(), np.random.default_rng(0).normal(size=(2, 1, 8, 8))
    with pytest.raises(ValueError, match="2 good and 1 bad"):
        ExemplarTripletPenalty().with_exemplars(network, rows, rows[:1])
    with pytest.raises(ValueError, match="pair 0 have the same explanation"):
        ExemplarTripletPenalty().with_exemplars(network, rows, rows)
    with pytest.raises(ValueError, match="has no exemplars"):
        ExemplarTripletPenalty().build(9, 3, "multiclass")
    penalty, _ = exemplars(network)
    larger = {**make_batch(size=8), "X": torch.zeros(5, 1, 10, 8, dtype=torch.float64)}
    wide = nn.Sequential(*network[:6], nn.AdaptiveAvgPool2d(4), *network[6:])
    built = clone(penalty).set_params(score="true").build(9, 3, "multiclass")
    with pytest.raises(ValueError, match="belong to another network, layer or image size"):
        penalize(built, wide, larger)


def test_parts_of_explanations_can_be_left_out():
    network, rows = smooth_cnn(), np.random.default_rng(0).normal(size=(2, 1, 1, 8, 8))
    mask = np.zeros((1, 8, 8))
    mask[:, :4] = 1
    penalty = ExemplarTripletPenalty(normalize="unit").with_exemplars(
        network, *rows, good_masks=1 - mask, bad_masks=mask
    )
    assert not penalty.good_explanations[0, :3].any()
    assert not penalty.bad_explanations[0, 5:].any()
    assert np.linalg.norm(penalty.good_explanations - penalty.bad_explanations) == pytest.approx(2**0.5, abs=0.2)


def test_frozen_description_is_a_parameter_like_any_other():
    network = smooth_cnn()
    penalty, _ = exemplars(network)
    before = penalty.good_explanations.copy()
    with torch.no_grad():
        network[0].weight.mul_(2)
    copy = pickle.loads(pickle.dumps(clone(penalty)))
    np.testing.assert_array_equal(copy.good_explanations, before)
    assert ExemplarTripletPenalty().good_explanations is None
    for wrong in ({"alpha": 1.0}, {"margin": -1}, {"normalize": "l2"}, {"variant": "other"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            clone(penalty).set_params(**wrong).build(9, 3, "multiclass")


def test_explaining_leaves_the_network_as_it_was():
    network = smooth_cnn(norm=True).train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    exemplars(network)
    assert network.training
    assert network[1].training
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


# -- as a parameter of the classifier ---------------------------------------------------------------------------------
def test_two_exemplars_free_a_network_from_a_shortcut():
    rng = np.random.default_rng(0)
    X, y = rng.normal(0, 0.3, size=(200, 12, 12)).astype(np.float32), np.arange(200) % 2
    X[y == 1, :3, :3] += 1.5
    X[y == 1, 6:, 6:] += 0.4
    masks = np.zeros(X.shape, dtype=bool)
    masks[:, :3, :3] = True
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 2)
        )
    unrefined = NeuralImageClassifier(network, max_epochs=10, lr=1e-2, random_state=0).fit(X, y)
    found = suggest_exemplars(unrefined, X, y, k=2, masks=masks)
    penalty = ExemplarTripletPenalty().with_exemplars(unrefined, X[found.good], X[found.bad])
    refined = clone(unrefined).set_params(module=unrefined.module_, penalty=penalty).fit(X, y)
    values = [epoch["train_penalty"] for epoch in refined.net_.history]
    assert values[-1] < 0.5 * values[0]
    swapped = X.copy()
    swapped[:, :3, :3] = X[::-1, :3, :3]  # an even number of rows: each meets one of the other class
    assert unrefined.score(swapped, y) < 0.8
    assert refined.score(swapped, y) > 0.95
