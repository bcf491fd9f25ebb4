"""The penalty on input gradients: its values by hand, its gradients by finite differences and by torch."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.mitigation import InputGradientPenalty
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
from tests.mitigation.networks import gradient_error, make_batch, penalize, smooth_cnn

CASES = [  # kind, outputs, number of masks per row or None for one
    ("multiclass", 3, None),
    ("multiclass", 3, 3),
    ("binary", 2, None),
    ("binary", 1, None),
    ("binary", 1, 2),
    ("multilabel", 3, None),
    ("multilabel", 3, 3),
    ("multilabel", 1, 1),
]


def batch_for(kind, n_outputs, n_masks, **options):
    batch = make_batch(n_outputs, kind=kind, **options)
    batch["X"].requires_grad_()
    if n_masks is not None:
        rng = np.random.default_rng(1)
        n_rows, *shape = batch["masks"].shape
        batch["masks"] = torch.from_numpy(rng.random((n_rows, n_masks, *shape)) < 0.3)
    return batch


def answers(logits, kind):
    """Probabilities of a row's answers: one list per question."""
    if kind != "multilabel" and len(logits) > 1:
        return [list(torch.exp(logits) / torch.exp(logits).sum())]
    return [[1 / (1 + torch.exp(logit)), 1 / (1 + torch.exp(-logit))] for logit in logits]


def by_hand(network, batch, kind, scores, distance):
    """The penalty, one row, one mask and one answer at a time."""
    values = []
    for row, image in enumerate(batch["X"].detach()):
        image = image.clone().requires_grad_()
        questions = answers(network(image[None])[0], kind)
        truth = batch["y"][row].reshape(-1).long().tolist()
        if scores == "sum_log_prob":
            picked = [list(range(len(options))) for options in questions]
        elif scores == "true":
            picked = [[answer] for answer in truth]
        else:
            picked = [[int(torch.stack(options).argmax())] for options in questions]
        masks = batch["masks"][row].double()
        if masks.ndim == image.ndim - 1:
            jobs = [(masks, [(q, a) for q, several in enumerate(picked) for a in several])]
        elif kind == "multilabel":
            jobs = [(masks[q], [(q, a) for a in several]) for q, several in enumerate(picked)]
        else:
            jobs = [(masks[a], [(0, a)]) for a in picked[0]]
        value = 0.0
        for mask, terms in jobs:
            score = sum(torch.log(questions[q][a]) for q, a in terms)
            (gradient,) = torch.autograd.grad(score, image, retain_graph=True)
            if distance == "squared":
                value += sum(float(m * g) ** 2 for channel in gradient for m, g in zip(mask.ravel(), channel.ravel()))
            else:
                mask = mask.expand_as(gradient)
                norms = float(gradient.square().sum() ** 0.5 * mask.square().sum() ** 0.5)
                value += float((gradient.abs() * mask).sum()) / norms if norms else 0.0
        values.append(value if batch["has_mask"][row] else 0.0)
    return values


@pytest.mark.parametrize(("kind", "n_outputs", "n_masks"), CASES)
@pytest.mark.parametrize("scores", ["sum_log_prob", "true", "max"])
@pytest.mark.parametrize("distance", ["squared", "cosine"])
def test_value_is_the_loop(kind, n_outputs, n_masks, scores, distance):
    network = smooth_cnn(n_outputs, n_channels=2)
    batch = batch_for(kind, n_outputs, n_masks, n_channels=2)
    built = InputGradientPenalty(scores, distance=distance).build(5, n_outputs, kind)
    found = penalize(built, network, batch)
    assert found.dtype == torch.float64
    expected = by_hand(network, batch, kind, scores, distance)
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-10, atol=1e-14)
    assert found[-1] == 0  # has no mask
    assert (found[:-1] > 0).all()


@pytest.mark.parametrize(("kind", "n_outputs", "n_masks"), CASES[:2] + CASES[-2:])
@pytest.mark.parametrize("scores", ["sum_log_prob", "true", "max"])
@pytest.mark.parametrize("norm", [False, True])
def test_parameter_gradient_matches_finite_differences(kind, n_outputs, n_masks, scores, norm):
    network = smooth_cnn(n_outputs, norm=norm)
    batch = batch_for(kind, n_outputs, n_masks)
    assert gradient_error(InputGradientPenalty(scores).build(5, n_outputs, kind), network, batch, step=1e-6) < 1e-6


@pytest.mark.parametrize("norm", [False, True])
def test_parameter_gradient_of_the_cosine_matches_finite_differences(norm):
    network, batch = smooth_cnn(norm=norm), batch_for("multiclass", 3, None)
    built = InputGradientPenalty(distance="cosine").build(5, 3, "multiclass")
    assert gradient_error(built, network, batch) < 1e-5


def test_signals():
    network, batch = smooth_cnn(n_axes=1), batch_for("multiclass", 3, 3, n_axes=1)
    built = InputGradientPenalty().build(5, 3, "multiclass")
    expected = by_hand(network, batch, "multiclass", "sum_log_prob", "squared")
    np.testing.assert_allclose(penalize(built, network, batch).detach(), expected, rtol=1e-10)


@pytest.mark.parametrize("training", [True, False])
def test_parameter_gradient_of_a_residual_network_is_torchs(training):
    from torchvision.models.resnet import BasicBlock, ResNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3).double().train(training)
    X = torch.randn(6, 3, 24, 24, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    masks = torch.zeros(6, 24, 24)
    masks[:, 4:12, :9] = 1
    batch = {"X": X, "y": torch.arange(6) % 3, "masks": masks, "has_mask": torch.ones(6, dtype=torch.bool)}
    built = InputGradientPenalty().build(6, 3, "multiclass")
    ours = penalize(built, network, batch)
    (gradient,) = torch.autograd.grad(network(X).log_softmax(1).sum(), X, create_graph=True)
    theirs = (gradient * masks[:, None]).square().sum((1, 2, 3))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)
    weights = list(network.parameters())
    pairs = [torch.autograd.grad(value.sum(), weights, allow_unused=True) for value in (ours, theirs)]
    assert sum(gradient is not None for gradient in pairs[0]) >= len(weights) - 1
    for (name, _), mine, other in zip(network.named_parameters(), *pairs):
        torch.testing.assert_close(mine, other, rtol=1e-7, atol=1e-12, msg=name)


def test_vision_transformers_need_nothing_special():
    from torchvision.models import VisionTransformer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8, "num_classes": 3}
        network = VisionTransformer(8, 4, **sizes).double()
        nn.init.normal_(network.heads.head.weight)
    batch = batch_for("multiclass", 3, None, n_channels=3)
    built = InputGradientPenalty().build(5, 3, "multiclass")
    expected = by_hand(network, batch, "multiclass", "sum_log_prob", "squared")
    np.testing.assert_allclose(penalize(built, network, batch).detach(), expected, rtol=1e-8)
    assert gradient_error(built, network, batch, step=1e-6) < 1e-5


def test_cosine_does_not_depend_on_scale():
    network, batch = smooth_cnn(), batch_for("multiclass", 3, None)
    built = InputGradientPenalty("true", distance="cosine").build(5, 3, "multiclass")
    before = penalize(built, network, batch)
    batch["X"] = (batch["X"].detach() / 7).requires_grad_()  # seven times larger gradients at the same place
    network[0].weight.data.mul_(7)
    torch.testing.assert_close(penalize(built, network, batch), before, rtol=1e-10, atol=0)
    assert ((before >= 0) & (before <= 1)).all()


@pytest.mark.parametrize("distance", ["squared", "cosine"])
def test_flat_networks_and_empty_masks_leave_no_nan(distance):
    network, batch = smooth_cnn(), batch_for("multiclass", 3, None)
    batch["masks"][1] = False
    nn.init.zeros_(network[-1].weight)
    values = penalize(InputGradientPenalty(distance=distance).build(5, 3, "multiclass"), network, batch)
    assert torch.equal(values, torch.zeros(5).double())
    values.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_rows_without_mask():
    network, batch = smooth_cnn(), batch_for("multiclass", 3, 3)
    built = InputGradientPenalty().build(5, 3, "multiclass")
    batch["masks"] = batch["masks"].double()
    all_known = penalize(built, network, batch)
    batch["masks"][0, 1] = float("nan")  # this class of this row is not annotated
    assert 0 < penalize(built, network, batch)[0] < all_known[0]
    batch["has_mask"][:] = False
    assert torch.equal(penalize(built, network, batch), torch.zeros(5).double())


@pytest.mark.parametrize(
    ("shape", "message"), [((5, 8, 7), "masks have size"), ((5, 2, 8, 8), "there are 2 per row, but 3 classes")]
)
def test_masks_that_do_not_fit(shape, message):
    network, batch = smooth_cnn(), batch_for("multiclass", 3, None)
    batch["masks"] = torch.ones(shape)
    with pytest.raises(ValueError, match=message):
        penalize(InputGradientPenalty().build(5, 3, "multiclass"), network, batch)


def test_parameters_are_checked_and_cloned():
    penalty = clone(InputGradientPenalty("max", distance="cosine"))
    assert penalty.get_params() == {"scores": "max", "distance": "cosine"}
    with pytest.raises(ValueError, match="'scores' parameter"):
        InputGradientPenalty("mean").build(5, 3, "multiclass")
    with pytest.raises(ValueError, match="'distance' parameter"):
        InputGradientPenalty(distance="l1").build(5, 3, "multiclass")


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_training_takes_the_network_off_a_patch(norm):
    """A patch in the corner gives the class away; without penalty the network follows it."""
    rng = np.random.default_rng(0)
    y = np.arange(96) % 2
    X = rng.normal(0.4, 0.25, (96, 12, 12))
    X[np.arange(96), 4 + 3 * y, 4:10] += 0.45
    swapped = X.copy()
    X[:, :3, :3], swapped[:, :3, :3] = y[:, None, None], 1 - y[:, None, None]
    masks = np.zeros((96, 12, 12))
    masks[:, :3, :3] = 1
    bunch = ImageBunch(X, masks=masks)
    options = {"max_epochs": 25, "lr": 0.01, "batch_size": 16, "random_state": 0}
    module = SmallCNN(4, depth=1, norm=norm)
    fooled = NeuralImageClassifier(module, **options).fit(bunch, y).score(swapped, y)
    model = NeuralImageClassifier(module, penalty=InputGradientPenalty(), **options).fit(bunch, y)
    assert fooled < 0.4
    assert model.score(swapped, y) > 0.8
