import threading

import pytest
import torch
from torch import nn

from sklearn_shortcuts.explain._stem_gradient import fast_stem_gradient


def gradient_of(network, images):
    leaf = images.clone().requires_grad_()
    return torch.autograd.grad(network(leaf).square().sum(), leaf)[0]


def make(*, channels=1, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(channels, 5, **options), nn.ReLU(inplace=True), nn.Conv2d(5, 2, 1)).double()
        return network.requires_grad_(False), torch.randn(3, channels, 13, 16, dtype=torch.float64)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 7, "stride": 2, "padding": 3, "bias": False},
        {"kernel_size": (3, 5), "stride": (2, 3), "padding": (0, 2), "dilation": (1, 2)},
    ],
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradient_is_the_same(options, memory_format):
    network, images = make(**options)
    images = images.contiguous(memory_format=memory_format)
    expected = gradient_of(network, images)
    kinds = []
    with fast_stem_gradient(network):
        network[0].register_forward_hook(lambda layer, inputs, output: kinds.append(type(output.grad_fn).__name__))
        torch.testing.assert_close(gradient_of(network, images), expected, rtol=1e-12, atol=1e-12)
    assert kinds == ["_PatchGradientBackward"]


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "channels": 3},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    ],
)
def test_other_layers_are_left_alone(options):
    network, _ = make(**options)
    with fast_stem_gradient(network):
        assert not network[0]._forward_hooks


def test_without_convolution():
    with fast_stem_gradient(nn.Flatten()):
        pass


def test_other_threads_do_not_see_it():
    network, images = make(kernel_size=3)
    kinds = []

    def run():
        leaf = images.clone().requires_grad_()
        kinds.append(type(network[0](leaf).grad_fn).__name__)

    with fast_stem_gradient(network):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert kinds == ["ConvolutionBackward0"]


def test_no_hook_stays_behind():
    network, _ = make(kernel_size=3)
    with pytest.raises(IndexError), fast_stem_gradient(network):
        network(torch.zeros(1, 1, 2, 2)[0, 0, 5])
    assert not network[0]._forward_hooks


def test_hooks_of_others_count():
    network, images = make(kernel_size=3)
    network[0].register_forward_hook(lambda layer, inputs, output: output * torch.arange(5.0)[:, None, None])
    expected = gradient_of(network, images)
    with fast_stem_gradient(network):
        torch.testing.assert_close(gradient_of(network, images), expected, rtol=1e-12, atol=1e-12)
