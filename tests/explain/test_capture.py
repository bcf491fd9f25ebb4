"""What is recorded during a forward pass."""

import threading
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_shortcuts.explain._capture import LayerRecorder

from .networks import MAKERS, assert_same_state, make_network, state_of


def in_place_network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(32, 2)).double()


IMAGES = torch.linspace(-1, 1, 72, dtype=torch.float64).reshape(2, 1, 6, 6)


@pytest.mark.parametrize("cut", [False, True])
def test_later_in_place_operations_change_nothing(cut):
    network = in_place_network()
    recorder = LayerRecorder("0", cut=cut)
    with recorder.watch(network):
        logits = network(IMAGES)
    expected = network[0](IMAGES)
    assert (expected < 0).any()
    torch.testing.assert_close(recorder.activation, expected)
    torch.testing.assert_close(logits, network(IMAGES))
    gradient = recorder.gradient(logits[:, 1].sum())
    closed = network[3].weight[1].reshape(2, 4, 4) * (expected > 0)
    torch.testing.assert_close(gradient, closed)


def test_gradients_of_the_network_are_those_without_recording():
    network = in_place_network()
    (expected,) = torch.autograd.grad(network(IMAGES)[:, 0].sum(), network[0].weight)
    with LayerRecorder("0").watch(network):
        logits = network(IMAGES)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), network[0].weight)
    torch.testing.assert_close(gradient, expected)


def test_cut_graph_begins_at_the_layer():
    network = in_place_network()
    recorder = LayerRecorder("0", cut=True)
    with recorder.watch(network):
        logits = network(IMAGES)
    assert recorder.activation.is_leaf
    assert torch.autograd.grad(logits.sum(), network[0].weight, allow_unused=True) == (None,)


@pytest.mark.parametrize("name", MAKERS)
def test_second_derivatives_exist(name):
    """The fused kernels of attention have none."""
    network, X = make_network(name)
    recorder = LayerRecorder()
    X = X.requires_grad_()
    with recorder.watch(network):
        logits = network(X * 1)
    gradient = recorder.gradient(logits.square().sum(), create_graph=True)
    parameters = list(network.parameters())
    derivatives = torch.autograd.grad((recorder.activation * gradient).square().sum(), parameters, allow_unused=True)
    assert any(derivative is not None and derivative.any() for derivative in derivatives)


def test_the_layer_is_found_in_the_first_pass():
    network, X = make_network("resnet")
    network.train()
    before = state_of(network)
    recorder = LayerRecorder()
    with recorder.watch(network):
        network.eval()(X)
    assert recorder.layer == "layer3"
    network.train()
    assert_same_state(before, state_of(network))
    with recorder.watch(network.eval()):
        network(X)
    torch.testing.assert_close(recorder.activation, network.layer3(network.layer2(network.layer1(stem(network, X)))))


def stem(network, X):
    return network.maxpool(network.relu(network.bn1(network.conv1(X))))


class _Shared(nn.Module):
    """One layer used twice, another that gives a tuple, a third without part in the output."""

    def __init__(self):
        super().__init__()
        self.act, self.split, self.idle = nn.Tanh(), _Pair(), nn.ReLU()

    def forward(self, images):
        first, rest = self.split(self.act(self.act(images)))
        return (first + rest).flatten(1)[:, :2]


class _Pair(nn.Module):
    def forward(self, images):
        return images * 2, images


def test_last_use_and_first_of_several_outputs():
    network = _Shared()
    for layer, expected in (("act", IMAGES.tanh().tanh()), ("split", 2 * IMAGES.tanh().tanh())):
        recorder = LayerRecorder(layer, cut=True)
        with recorder.watch(network):
            logits = network(IMAGES)
        torch.testing.assert_close(recorder.activation, expected.requires_grad_())
        assert recorder.gradient(logits.sum()).any()


def test_a_layer_without_part_is_refused():
    recorder = LayerRecorder("idle")
    with pytest.raises(ValueError, match="'idle' took no part in the forward pass"), recorder.watch(_Shared()) as _:
        pass
    network = _Shared()
    recorder = LayerRecorder("act", cut=True)
    with recorder.watch(network):
        network(IMAGES)
    with pytest.raises(ValueError, match="the score does not depend on 'act'"):
        recorder.gradient(torch.zeros(()))


def test_errors_leave_no_hook_and_keep_their_type():
    network = in_place_network()
    for layer in ("0", "auto"):
        with pytest.raises(RuntimeError, match="channels"), LayerRecorder(layer).watch(network):
            network(torch.zeros(1, 3, 6, 6, dtype=torch.float64))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_passes_of_other_threads_are_not_recorded():
    network = in_place_network()
    recorder = LayerRecorder("0", cut=True)
    with recorder.watch(network):
        network(IMAGES)
        other = threading.Thread(target=network, args=(IMAGES[:1] * 0,))
        other.start()
        other.join()
    assert len(recorder.activation) == 2
    np.testing.assert_array_equal(recorder.activation.detach(), network[0](IMAGES).detach())


class Both(nn.Module):
    """Gives more than one value, in a container of some kind."""

    Pair = namedtuple("Pair", ["map", "images"])

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, images):
        if self.kind is dict:
            return {"map": 2 * images}
        return self.Pair(2 * images, images) if self.kind is tuple else [2 * images, images]


@pytest.mark.parametrize("kind", [tuple, list])
def test_containers_of_outputs_are_kept(kind):
    layer = Both(kind)
    types = []
    network = nn.Sequential(layer)
    network.register_forward_hook(lambda part, inputs, output: types.append(type(output)))
    recorder = LayerRecorder("0")
    with recorder.watch(network):
        outputs = network(IMAGES)
    assert types == [Both.Pair if kind is tuple else list]
    torch.testing.assert_close(outputs[0], 2 * IMAGES)
    torch.testing.assert_close(recorder.activation, 2 * IMAGES)


def test_a_layer_that_gives_no_tensor_is_refused():
    network = nn.Sequential(Both(dict))
    with pytest.raises(ValueError, match="layer: '0' gives dict, no tensor"), LayerRecorder("0").watch(network):
        network(IMAGES)
    assert not network[0]._forward_hooks


def attention_kernels():
    choices = ("flash", "mem_efficient", "math", "cudnn")
    return {name: getattr(torch.backends.cuda, f"{name}_sdp_enabled")() for name in choices}


def test_the_choice_of_attention_kernels_outlives_threads_that_overlap():
    before, network, inside = attention_kernels(), nn.Sequential(Both(list)), []
    both_in, one_out = threading.Barrier(2), threading.Event()

    def record(first):
        with LayerRecorder("0").watch(network):
            network(IMAGES)
            both_in.wait(10)
            if not first:
                one_out.wait(10)
                inside.append(attention_kernels())
        one_out.set()

    threads = [threading.Thread(target=record, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == [{"flash": False, "mem_efficient": False, "math": True, "cudnn": False}]
    assert attention_kernels() == before
