"""A hook sees channels over positions whatever the layer's shape, and what it gives takes their place."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn

from sklearn_shortcuts.neural._layer_hook import LayerHook


class Add:
    """Add a value to the first channel; has a state that copies must have too."""

    def __init__(self, amount):
        self.amount = amount

    def __call__(self, values):
        change = torch.zeros_like(values)
        change[:, 0] = self.amount
        return values + change


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(16, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 2)

    def forward(self, X):
        return self.head(self.norm(self.embed(X.flatten(2))).mean(1))


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def convolutional():
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 2))


@pytest.mark.parametrize(("layer", "channel"), [("0", 0), ("1", 0), ("last", 0)])
def test_the_function_decides_what_is_handed_on(layer, channel):
    network, X = convolutional(), torch.randn(5, 1, 4, 4)
    plain = network(X)
    handle = LayerHook(Add(2.0), 4).attach(network, layer)
    edited = network(X)
    handle.remove()
    torch.testing.assert_close(network(X), plain)
    values = {"0": network[0](X), "1": network[:2](X), "last": network[:3](X)}[layer]
    values[:, channel] += 2
    rest = {"0": network[1:], "1": network[2:], "last": network[3:]}[layer]
    torch.testing.assert_close(edited, rest(values))


def test_channels_of_tokens_are_on_the_last_axis():
    network, X = Tokens(), torch.randn(5, 3, 4, 4)
    seen = []
    handle = LayerHook(lambda values: seen.append(values.shape), 4).attach(network, "norm")
    network(X)
    handle.remove()
    assert seen == [(5, 6, 3)]
    LayerHook(Add(1.0), 4).attach(network, "norm")
    expected = network.embed(X.flatten(2))
    expected = nn.functional.layer_norm(expected, (6,)) + torch.eye(6)[0]
    torch.testing.assert_close(network(X), network.head(expected.mean(1)))


def test_networks_with_a_hook_can_be_copied_and_pickled():
    network, X = convolutional(), torch.randn(5, 1, 4, 4)
    hook = LayerHook(Add(2.0), 4)
    hook.attach(network, "0")
    edited = network(X)
    copied, restored = copy.deepcopy(network), pickle.loads(pickle.dumps(network))
    hook.function.amount = 0.0  # of the original alone
    assert not torch.allclose(network(X), edited)
    for other in (copied, restored):
        torch.testing.assert_close(other(X), edited)


def test_passes_of_other_threads_are_left_alone():
    network, X = convolutional(), torch.randn(2, 1, 4, 4)
    plain = network(X)
    LayerHook(Add(2.0), 4, thread=threading.get_ident()).attach(network, "0")
    results = []
    other = threading.Thread(target=lambda: results.append(network(X)))
    other.start()
    other.join()
    torch.testing.assert_close(results[0], plain)
    assert not torch.allclose(network(X), plain)


def test_layers_without_a_tensor_are_named():
    network = nn.LSTM(4, 3)
    LayerHook(Add(1.0), 3).change(network, (torch.zeros(2, 3, 4), None))
    with pytest.raises(ValueError, match="LSTM gives no tensor with channels for each image; name a layer within it"):
        LayerHook(Add(1.0), 3).change(network, {"output": 1})
