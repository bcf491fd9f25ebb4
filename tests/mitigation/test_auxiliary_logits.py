"""Auxiliary logits against autograd and against the published form."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_shortcuts.mitigation._auxiliary_logits import AuxiliaryLogits, auxiliary_scores
from sklearn_shortcuts.neural import CrossEntropy, NeuralImageClassifier

N = 6
KINDS = [("binary", 2), ("binary", 1), ("multiclass", 4), ("multilabel", 3)]


def batch_of(kind, n_outputs, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, (N, n_outputs)).astype(float) if kind == "multilabel" else np.arange(N) % max(2, n_outputs)
    logits = torch.from_numpy(rng.normal(size=(N, n_outputs)))
    return logits, {"y": torch.from_numpy(y), "index": torch.arange(N)}


@pytest.mark.parametrize(("kind", "n_outputs"), KINDS)
@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
@pytest.mark.parametrize("aux_shape", ["class", "scalar"])
def test_steps_go_against_the_gradient(kind, n_outputs, loss, aux_shape):
    logits, batch = batch_of(kind, n_outputs)
    spec = AuxiliaryLogits(0.25, loss=loss, aux_shape=aux_shape, mode="offset")
    module = spec.build(N, n_outputs, kind).double()
    module(logits, batch, True)  # so that the values are not zero
    before = module.offsets().clone().requires_grad_()
    losses = module._losses(logits + module._spread(before, logits, batch["y"]), batch)
    factor = n_outputs if kind == "multilabel" else 1  # the loss is a mean over labels, the step that of each label
    (expected,) = torch.autograd.grad(losses.sum() * factor, before)
    given = module(logits, batch, True)
    torch.testing.assert_close(given, losses.detach())
    torch.testing.assert_close(module.offsets(), before.detach() - 0.25 * expected)
    held_out = module(logits, batch, False)
    torch.testing.assert_close(held_out, module._losses(logits, batch))


@pytest.mark.parametrize(("kind", "n_outputs"), KINDS)
def test_without_amplification_it_is_cross_entropy(kind, n_outputs):
    logits, batch = batch_of(kind, n_outputs)
    module = AuxiliaryLogits(0.0).build(N, n_outputs, kind).double()
    expected = CrossEntropy().build(N, n_outputs, kind)(logits, batch, True)
    torch.testing.assert_close(module(logits, batch, True), expected)
    assert not module.offsets().any()


def test_squared_loss_is_the_published_one():
    logits, batch = batch_of("multiclass", 4)
    module = AuxiliaryLogits(0.0, loss="squared").build(N, 4, "multiclass").double()
    expected = (logits - nn.functional.one_hot(batch["y"], 4)).square().sum(1)
    torch.testing.assert_close(module(logits, batch, True), expected)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_agrees_with_the_published_form_without_momentum(loss, n_classes):
    """Parameters times lambda in the same SGD are offsets with a step of lr lambda^2 / batch size."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(48, 6)), np.arange(48) % n_classes
    lr, lambda_, batch_size = 0.05, 6.0, 12
    with torch.random.fork_rng(devices=[]):
        start = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, n_classes))
    fitted = {}
    for mode in ("offset", "paper"):
        criterion = AuxiliaryLogits(lr * lambda_**2 / batch_size, loss=loss, mode=mode, lambda_=lambda_)
        network = NeuralImageClassifier(
            start,
            criterion=criterion,
            optimizer="sgd",
            momentum=0.0,
            lr=lr,
            batch_size=batch_size,
            precision="float64",
            random_state=0,
        )
        fitted[mode] = network.fit(X, y)
    offsets = [network.net_.criterion_.offsets().numpy() for network in fitted.values()]
    assert np.abs(offsets[0]).max() > 0.1
    np.testing.assert_allclose(*offsets, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(*(network.decision_function(X) for network in fitted.values()), rtol=1e-9)


def test_scores_of_the_offsets():
    module = AuxiliaryLogits().build(3, 3, "multiclass").double()
    module.values.copy_(torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0], [-1.0, 2.0, 0.0]]))
    aux, margin = auxiliary_scores(module, torch.tensor([0, 1, 1]))
    np.testing.assert_allclose(aux, [5, 0, 5**0.5])
    np.testing.assert_allclose(margin, [-1, 0, 2])
    module = AuxiliaryLogits(aux_shape="scalar").build(2, 3, "multiclass")
    module.values.copy_(torch.tensor([[2.0], [-1.0]]))
    aux, margin = auxiliary_scores(module, torch.tensor([0, 1]))
    assert (aux.tolist(), margin.tolist()) == ([2, 1], [2, -1])
