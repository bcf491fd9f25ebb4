"""Maps as part of a loss."""

import numpy as np
import pytest
import torch

from sklearn_shortcuts.explain import differentiable_cam, grad_cam, grad_cam_plus_plus, hires_cam
from sklearn_shortcuts.explain._formulas import upsample

from .networks import MAKERS, assert_same_state, make_network, state_of

METHODS = {"grad_cam": grad_cam, "grad_cam_plus_plus": grad_cam_plus_plus, "hires_cam": hires_cam}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("method", METHODS)
def test_values_are_those_of_the_functions(name, method):
    network, X = make_network(name)
    maps, logits = differentiable_cam(network, X, 1, method=method)
    torch.testing.assert_close(logits, network(X.clone()))
    expected = METHODS[method](network, X, 1, signed=True, size="layer")
    np.testing.assert_allclose(maps.detach(), expected, atol=1e-6 * max(np.abs(expected).max(), 1e-3))
    full, _ = differentiable_cam(network, X, 1, method=method, signed=False, size="image")
    torch.testing.assert_close(full, upsample(maps.relu(), X.shape[2:]))


@pytest.mark.parametrize("method", [*METHODS, "absolute"])
@pytest.mark.parametrize("name", ["small", "resnet", "densenet", "vision_transformer", "ecg"])
def test_gradient_of_a_penalty_is_that_of_finite_differences(name, method):
    network, X = make_network(name)
    with torch.no_grad():
        for parameter in network.parameters():  # far from where activations are zero
            parameter.add_(0.01)
    layer = differentiable_cam_layer(network, X)

    def penalty():
        maps, _ = differentiable_cam(network, X, "sum_log_prob", method=method, layer=layer)
        return maps.square().sum()

    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(penalty(), parameters, allow_unused=True)
    gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients)]
    generator = torch.Generator().manual_seed(0)
    directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    along = sum((gradient * direction).sum() for gradient, direction in zip(gradients, directions)).item()

    def at(step):
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions):
                parameter.add_(step * direction)
        value = penalty().item()
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions):
                parameter.sub_(step * direction)
        return value

    step = 1e-7
    assert along == pytest.approx((at(step) - at(-step)) / (2 * step), rel=1e-3)
    assert along != 0


def differentiable_cam_layer(network, X):
    return grad_cam(network, X).layer


def test_training_mode_stays():
    network, X = make_network("resnet")
    network.train()
    before = state_of(network)
    maps, _ = differentiable_cam(network, X, 0)
    after = state_of(network)
    assert after["modes"] == before["modes"]
    assert not torch.equal(before["weights"]["bn1.running_mean"], after["weights"]["bn1.running_mean"])
    maps.sum().backward()
    assert all(parameter.grad is not None for parameter in network.layer1.parameters())


def test_evaluation_mode_changes_nothing():
    network, X = make_network("resnet")
    before = state_of(network)
    differentiable_cam(network, X, 0)
    assert_same_state(before, state_of(network))


def test_maps_under_autocast_are_float32():
    network, X = make_network("small")
    network, X = network.float(), X.float()
    expected, _ = differentiable_cam(network, X, 0)
    with torch.autocast("cpu", torch.bfloat16):
        maps, _ = differentiable_cam(network, X, 0)
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, expected, atol=0.05 * expected.abs().max().item(), rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "lime"}, "'method' parameter"),
        ({"size": "full"}, "'size' parameter"),
        ({"method": "absolute", "signed": False}, "no negative values"),
        ({"layer": "block"}, "is no layer"),
        ({"target": "best"}, "is no score"),
    ],
)
def test_bad_arguments_are_named(options, message):
    network, X = make_network("small")
    with pytest.raises(ValueError, match=message):
        differentiable_cam(network, X, **options)


class Odd(torch.nn.Module):
    """Gives its outputs in another form than a table of logits."""

    def __init__(self, wrap):
        super().__init__()
        self.layer, self.wrap = torch.nn.Conv2d(1, 2, 3), wrap

    def forward(self, images):
        return self.wrap(self.layer(images).mean((2, 3)))


@pytest.mark.parametrize(("wrap", "message"), [(lambda x: {"logits": x}, "gave dict"), (lambda x: x[:, 0], r"\(2,\)")])
def test_outputs_that_are_no_logits_are_named(wrap, message):
    with torch.random.fork_rng(devices=[]):
        network = Odd(wrap)
    with pytest.raises(ValueError, match=message):
        differentiable_cam(network, torch.ones(2, 1, 6, 6), layer="layer")
