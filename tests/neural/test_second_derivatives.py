"""Second derivatives written by hand are those of torch, and everything else is what it was."""

import contextlib
import copy
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_shortcuts.neural import NeuralImageClassifier, Penalty, SmallCNN
from sklearn_shortcuts.neural._convolution_derivatives import convolution
from sklearn_shortcuts.neural._norm_derivatives import batch_norm, group_norm
from sklearn_shortcuts.neural._second_derivatives import fast_second_derivatives


def leaf(noise, *shape, seed=0):
    return noise(*shape, seed=seed).double().requires_grad_()


def assert_exact(function, inputs):
    """Compare first and second derivatives with numerical ones."""
    with torch.random.fork_rng(devices=[]):
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs)


# -- against numerical derivatives ---------------------------------------------------------------------------------
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("sizes", [(), (5,), (3, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_has_exact_second_derivatives(noise, affine, sizes, training):
    x, *parameters = (leaf(noise, *shape, seed=seed) for seed, shape in enumerate([(4, 3, *sizes), (3,), (3,)]))
    running = noise(3).double(), noise(3).double().abs() + 0.5

    def function(x, weight=None, bias=None):
        return batch_norm(x, *running, weight, bias, training, 0.0)

    inputs = (x, *parameters) if affine else (x,)
    assert_exact(function, inputs)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("n_groups", "sizes"), [(1, (3, 2)), (2, (3, 2)), (4, (5,)), (2, (2, 2, 2))])
def test_group_norm_has_exact_second_derivatives(noise, affine, n_groups, sizes):
    x, *parameters = (leaf(noise, *shape, seed=seed) for seed, shape in enumerate([(3, 4, *sizes), (4,), (4,)]))
    inputs = (x, *parameters) if affine else (x,)
    assert_exact(lambda x, *rest: group_norm(x, n_groups, *rest), inputs)


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((2, 4, 5, 6), (6, 2, 3, 2), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}),
        ((2, 4, 5, 6), (2, 4, 2, 3), {"padding": "same"}),
        ((2, 4, 6), (3, 4, 3), {"padding": "valid", "stride": 2}),
        ((1, 2, 3, 3, 4), (2, 2, 2, 2, 2), {"padding": 1}),
        ((4, 5, 6), (2, 4, 2, 3), {}),
        ((2, 1, 6, 7), (3, 1, 3, 2), {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}),
    ],
)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")  # torch's, of the reference
def test_convolution_has_exact_second_derivatives(noise, shape, kernel, options, with_bias):
    inputs = (leaf(noise, *shape), leaf(noise, *kernel, seed=1), *([leaf(noise, kernel[0], seed=2)] * with_bias))

    def function(x, weight, bias=None):
        return convolution(x, weight, bias, **options)

    reference = getattr(F, f"conv{len(kernel) - 2}d")
    torch.testing.assert_close(function(*inputs), reference(*inputs, **options), rtol=0, atol=0)
    assert_exact(function, inputs)


# -- against torch's own double backward ---------------------------------------------------------------------------
def blocks(norm, activation=nn.ReLU):
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1, bias=False), norm(8), activation(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, stride=2, groups=2), norm(8), activation(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(8, 3)),
    )


NORMS = {
    "batch": nn.BatchNorm2d,
    "batch without scale": lambda n: nn.BatchNorm2d(n, affine=False),
    "batch without momentum": lambda n: nn.BatchNorm2d(n, momentum=None),
    "batch without running statistics": lambda n: nn.BatchNorm2d(n, track_running_stats=False),
    "group": lambda n: nn.GroupNorm(2, n),
    "row": lambda n: nn.GroupNorm(1, n, affine=False),
}


def step(network, X, *, fast):
    """Loss with the gradients of the images in it, as the penalties have it."""
    X = X.clone().requires_grad_()
    with fast_second_derivatives() if fast else contextlib.nullcontext():
        logits = network(X)
    (gradient,) = torch.autograd.grad(logits.log_softmax(1).sum(), X, create_graph=True)
    loss = logits.square().mean() + gradient.square().sum()
    loss.backward(inputs=[weight for weight in network.parameters() if weight.requires_grad])
    return loss


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_a_step_is_what_torch_makes_of_it(build, noise, norm, training, memory_format):
    network = build(blocks, NORMS[norm]).double().to(memory_format=memory_format).train(training)
    with torch.no_grad():
        for index, layer in enumerate(network):
            if getattr(layer, "running_mean", None) is not None:
                layer.running_mean.copy_(noise(8, seed=index))
                layer.running_var.copy_(noise(8, seed=index + 1).square() + 0.5)
            if isinstance(layer, nn.BatchNorm2d) and layer.affine:
                layer.weight.copy_(noise(8, seed=index))
                layer.weight[3] = 0  # as networks begin that start with every block as the identity
    twin = copy.deepcopy(network)
    X = noise(6, 3, 9, 8).double().contiguous(memory_format=memory_format)
    for _ in range(2):
        torch.testing.assert_close(step(network, X, fast=True), step(twin, X, fast=False), rtol=1e-10, atol=1e-12)
    for (name, ours), theirs in zip(network.named_parameters(), twin.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-8, atol=1e-10, msg=name)
    for (name, ours), theirs in zip(network.named_buffers(), twin.buffers()):
        # The second convolution reads what the first normalization gave, to the rounding of that.
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13, msg=name)


@pytest.mark.parametrize("options", [{}, {"momentum": None}, {"momentum": 0.3, "affine": False}])
def test_running_statistics_are_updated_exactly_as_torch_does(noise, options):
    ours, theirs = nn.BatchNorm2d(5, **options), nn.BatchNorm2d(5, **options)
    for seed in range(3):
        X = noise(4, 5, 6, 7, seed=seed) * 3 + 1
        with fast_second_derivatives():
            output = ours(X)
        assert torch.equal(output, theirs(X))
    for mine, other in zip(ours.buffers(), theirs.buffers()):
        assert torch.equal(mine, other)
    assert ours.num_batches_tracked == 3


def test_frozen_layers_get_no_gradient(build, noise):
    network = build(blocks, nn.BatchNorm2d).double()
    for layer in network[:2]:
        layer.requires_grad_(False)
    step(network, noise(4, 3, 9, 8).double(), fast=True)
    gradients = [weight.grad is not None for weight in network.parameters()]
    assert gradients == [weight.requires_grad for weight in network.parameters()]


@pytest.mark.parametrize("norm", ["group", "row", "batch"])
def test_third_derivatives_are_exact_where_torch_has_them(build, noise, norm):
    network = build(blocks, NORMS[norm], nn.Softplus).double().eval()
    network[3] = nn.AvgPool2d(2)
    weights = list(network.parameters())
    results = []
    for fast in (True, False):
        X = noise(3, 3, 9, 8).double().requires_grad_()
        with fast_second_derivatives() if fast else contextlib.nullcontext():
            losses = network(X).logsumexp(1)
        firsts = torch.autograd.grad(losses.sum(), weights, create_graph=True)
        (second,) = torch.autograd.grad(sum(first.sum() for first in firsts), X, create_graph=True)
        results.append(torch.autograd.grad(second.square().sum(), weights, allow_unused=True))
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_third_derivatives_that_do_not_exist_are_an_error(build, noise):
    network = build(blocks, nn.BatchNorm2d).double()
    X = noise(4, 3, 9, 8).double().requires_grad_()
    with fast_second_derivatives():
        score = network(X).logsumexp(1).sum()
    (first,) = torch.autograd.grad(score, X, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), X, create_graph=True)
    with pytest.raises(RuntimeError, match="3rd"):
        second.sum().backward()


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_half_precision(build, noise, norm):
    network = build(blocks, NORMS[norm]).to(memory_format=torch.channels_last)
    gradients = []
    for dtype in (torch.bfloat16, torch.float32):
        twin = copy.deepcopy(network)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            step(twin, noise(16, 3, 9, 8).contiguous(memory_format=torch.channels_last), fast=True)
        assert all(weight.grad.dtype == torch.float32 for weight in twin.parameters())
        gradients.append(torch.cat([weight.grad.flatten() for weight in twin.parameters()]))
    assert torch.corrcoef(torch.stack(gradients))[0, 1] > 0.98


# -- what it is for --------------------------------------------------------------------------------------------------
class _Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.forward, self.inputs, self.kernels = 0, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket._qualified_op_name
        if name == "aten::convolution":
            self.forward += 1
        elif name == "aten::convolution_backward":
            self.inputs += bool(args[10][0])
            self.kernels += bool(args[10][1])
        return func(*args, **(kwargs or {}))


def test_a_step_is_six_convolutions_per_layer(build, noise):
    """Forward, input gradient; then forward and kernel gradient through that; input and kernel gradient at last."""
    network = build(blocks, nn.BatchNorm2d)
    with _Counting() as ours:
        step(network, noise(4, 3, 9, 8), fast=True)
    n_layers = 2
    assert ours.forward == 2 * n_layers
    assert ours.kernels == 2 * n_layers
    assert ours.inputs == 2 * n_layers - 1  # of the last pass nobody needs the gradient of the images


def test_nothing_stays_behind_and_other_threads_are_left_alone(build, noise):
    layer, seen = build(nn.Conv2d, 3, 2, 3), []
    state = vars(layer).keys()
    X = noise(1, 3, 5, 5)
    with fast_second_derivatives():
        inside = layer(X).grad_fn
        thread = threading.Thread(target=lambda: seen.append(layer(X).grad_fn))
        thread.start()
        thread.join()
    assert vars(layer).keys() == state
    assert [type(node).__name__ for node in (*seen, layer(X).grad_fn)] == ["ConvolutionBackward0"] * 2
    assert type(inside).__name__ != "ConvolutionBackward0"


def test_one_value_per_channel_is_torchs_error():
    with fast_second_derivatives(), pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm1d(3)(torch.zeros(1, 3))


class _SquaredGradient(Penalty):
    needs_input_grad = True

    def build(self, n_samples, n_outputs, kind):
        return _squared_gradient


def _squared_gradient(module, batch):
    (gradient,) = torch.autograd.grad(batch["losses"].sum(), batch["X"], create_graph=True)
    assert gradient.is_contiguous(memory_format=torch.channels_last)
    return gradient.square().flatten(1).sum(1)


def test_training_with_input_gradients_works_for_transformers(spots, build):
    from torchvision.models import VisionTransformer

    images, codes = spots(n=16)
    options = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8, "num_classes": 2}
    network = build(VisionTransformer, 16, 8, **options)
    nn.init.eye_(network.heads.head.weight)  # torchvision starts it at 0, where there is no gradient
    X = np.repeat(images[:, None], 3, axis=1)
    model = NeuralImageClassifier(network, penalty=_SquaredGradient(), max_epochs=1, random_state=0).fit(X, codes)
    assert model.history_.train_penalty.iloc[0] > 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_such_penalty_trains_with_the_channels_last(spots, precision):
    images, codes = spots(n=32)
    model = NeuralImageClassifier(
        SmallCNN(4, norm="batch"), penalty=_SquaredGradient(), precision=precision, max_epochs=1, random_state=0
    )
    model.fit(np.repeat(images[:, None], 3, axis=1), codes)
    assert model.history_.train_penalty.iloc[0] > 0
