"""The copy in which a network runs fastest."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import utils
from torch.nn.utils import prune

from sklearn_shortcuts.explain._working_copy import working_copy

from .networks import MAKERS, assert_same_state, make_network, state_of


def normalizations(network):
    return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "ecg"])
def test_outputs_stay(name):
    network, X = make_network(name)
    network.train()
    before = state_of(network)
    layer = next(part for part, _ in network.named_modules() if part)
    copied = working_copy(network, X, layer)
    assert_same_state(before, state_of(network))
    assert copied is not network
    assert not copied.training
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    torch.testing.assert_close(copied(X.clone()), network.eval()(X.clone()))


def test_normalization_is_folded_except_where_its_input_is_explained():
    network, X = make_network("resnet")
    assert normalizations(network) == 12
    assert normalizations(working_copy(network, X, "layer4")) == 0
    for layer, kept in (("layer1.0.bn1", 0), ("layer1.0.conv1", 1)):
        copied, seen = working_copy(network, X, layer), []
        assert normalizations(copied) == kept
        for one in (network, copied):
            hook = one.get_submodule(layer).register_forward_hook(lambda *call, seen=seen: seen.append(call[2].clone()))
            one(X)
            hook.remove()
        torch.testing.assert_close(*seen)


def test_normalization_before_a_convolution_stays():
    network, X = make_network("densenet")
    copied = working_copy(network, X, "features")
    assert 0 < normalizations(copied) < normalizations(network)


class _UsedTwice(nn.Module):
    """The convolution's output goes past the normalization too."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.convolution, self.norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
            self.norm.running_mean.normal_()

    def forward(self, images):
        values = self.convolution(images)
        return (values + self.norm(values)).mean((2, 3))


def test_a_convolution_that_is_used_elsewhere_is_not_changed():
    network = _UsedTwice().eval()
    X = torch.ones(2, 1, 5, 5)
    copied = working_copy(network, X, "norm")
    assert normalizations(copied) == 1
    torch.testing.assert_close(copied(X), network(X))


def test_a_shared_normalization_is_not_folded():
    shared = nn.BatchNorm2d(2)
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(nn.Conv2d(2, 2, 1), shared, nn.Conv2d(2, 2, 1), shared, nn.Flatten()).eval()
    shared.running_mean.fill_(0.5)
    X = torch.ones(1, 2, 3, 3)
    copied = working_copy(network, X, "0")
    assert normalizations(copied) == 1
    torch.testing.assert_close(copied(X), network(X))


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "computed", [lambda layer: prune.l1_unstructured(layer, "weight", 0.3), utils.spectral_norm, utils.weight_norm]
)
def test_weights_that_are_computed_in_each_pass_are_not_folded(computed):
    network, X = make_network("resnet")
    with torch.random.fork_rng(devices=[]):
        computed(network.conv1)
    with torch.no_grad():
        network(X)  # leaves a weight without graph, which can be copied
    copied = working_copy(network, X, "layer4")
    assert copied is not network
    assert normalizations(copied) == 1
    torch.testing.assert_close(copied(X.clone()), network(X.clone()))


def test_weights_are_shared_where_they_stay():
    network, X = make_network("resnet")
    copied = working_copy(network, X, "layer4")
    assert copied.fc.weight.data_ptr() == network.fc.weight.data_ptr()
    assert copied.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


class _Uncopyable(nn.Module):
    def forward(self, images):
        return images.flatten(1)

    def __deepcopy__(self, memo):
        raise TypeError("no copies")


def test_a_network_that_cannot_be_copied_is_used_as_it_is():
    network = nn.Sequential(_Uncopyable())
    with pytest.raises(TypeError):
        copy.deepcopy(network)
    assert working_copy(network, torch.ones(1, 1, 2, 2), "0") is network
