import copy
import functools

import pytest
import torch
from torch import nn

from sklearn_shortcuts.neural import SmallCNN, TorchvisionModule
from sklearn_shortcuts.neural._modules import resolve_module
from sklearn_shortcuts.neural._probe import probe_outputs


class Tiny(nn.Module):
    def __init__(self, input_shape, n_outputs, width=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(input_shape[0], width, 3), nn.BatchNorm2d(width), nn.Dropout(0.5))
        self.head = nn.Linear(width, n_outputs)

    def forward(self, rows):
        return self.head(self.body(rows).mean(dim=(2, 3)))


class Awkward(Tiny):
    """Cannot run on shapes only: it looks at values, keeps a tensor outside its buffers, and draws numbers."""

    def __init__(self, input_shape, n_outputs):
        super().__init__(input_shape, n_outputs)
        self.offset = torch.ones(1)

    def forward(self, rows):
        shift = self.offset if rows.sum().item() < 1e9 else 0
        return super().forward(rows + shift + torch.rand(1))


class Lazy(nn.Module):
    def __init__(self, input_shape, n_outputs):
        super().__init__()
        self.head = nn.LazyLinear(n_outputs)

    def forward(self, rows):
        return self.head(rows.flatten(1))


class Several(Tiny):
    def forward(self, rows):
        return super().forward(rows), rows


class BuildsTiny:
    def build(self, input_shape, n_outputs):
        return Tiny(input_shape, n_outputs)


class BuildsNothing:
    def build(self, input_shape, n_outputs):
        return None


def same_state(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", [Tiny, Awkward, functools.partial(Tiny, width=6), lambda shape, n: Tiny(shape, n)])
def test_classes_and_functions_are_called_with_shape_and_outputs(build, noise, kind):
    network = build(resolve_module, kind, (2, 9, 9), 3)
    assert network.training
    assert build(network, noise(2, 2, 9, 9)).shape == (2, 3)


def test_lazy_layers_get_their_parameters_from_the_seed(build):
    one, two, other = (build(resolve_module, Lazy, (2, 3, 3), 3, seed=seed) for seed in (0, 0, 1))
    assert one.head.weight.shape == (3, 18)
    assert same_state(one, two)
    assert not same_state(one, other)


@pytest.mark.parametrize("kind", [Tiny, Awkward])
def test_instances_are_copied_and_never_changed(build, noise, kind):
    given = build(kind, (1, 9, 9), 2)
    given.body[1].eval()
    before = copy.deepcopy(given)
    network = build(resolve_module, given, (1, 9, 9), 2, freeze="body.1")
    assert same_state(network, given)  # looking at the outputs left no trace in the statistics
    build(network, noise(4, 1, 9, 9)).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert same_state(given, before)
    assert type(given.body[1]) is nn.BatchNorm2d
    assert [layer.training for layer in given.modules()] == [layer.training for layer in before.modules()]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in given.parameters())


@pytest.mark.parametrize("kind", [Tiny, Awkward])
def test_probing_leaves_no_trace(build, kind):
    network = build(kind, (1, 9, 9), 2)
    network.body[2].eval()
    before = copy.deepcopy(network)
    assert probe_outputs(network, (1, 9, 9)) == (2, 2)  # the fixture watches the random state
    assert same_state(network, before)
    assert [layer.training for layer in network.modules()] == [layer.training for layer in before.modules()]


def test_double_precision_networks_are_probed_in_double(build):
    network = build(Awkward, (1, 9, 9), 2).double()
    assert probe_outputs(network, (1, 9, 9)) == (2, 2)


def test_descriptions_and_names(build):
    assert same_state(
        build(resolve_module, SmallCNN(width=4), (1, 8, 8), 2), build(SmallCNN(width=4).build, (1, 8, 8), 2)
    )
    assert same_state(
        build(resolve_module, "resnet18", (1, 32, 32), 2), build(TorchvisionModule("resnet18").build, (1, 32, 32), 2)
    )
    assert isinstance(build(resolve_module, BuildsTiny(), (1, 8, 8), 2), Tiny)


def test_weights_and_freeze_are_applied_in_this_order(build, tmp_path):
    torch.save(build(SmallCNN(norm="batch").build, (1, 8, 8), 5, seed=7).state_dict(), tmp_path / "net.pth")
    network = build(
        resolve_module, SmallCNN(norm="batch"), (1, 8, 8), 2, weights=tmp_path / "net.pth", freeze="features.0"
    )
    other = build(SmallCNN(norm="batch").build, (1, 8, 8), 5, seed=7)
    assert torch.equal(network.features[0][0].weight, other.features[0][0].weight)
    assert not network.features[0][0].weight.requires_grad
    assert network.features[1][0].weight.requires_grad
    assert set(network.weights_report.skipped) == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (3, "module must be a description such as SmallCNN"),
        (SmallCNN, r"give an instance, SmallCNN\(\)"),
        (nn.ReLU, r"ReLU is called as ReLU\(input_shape, n_outputs\), which its signature does not allow"),
        (BuildsNothing(), r"BuildsNothing.build must give a torch.nn.Module, got NoneType"),
        (lambda shape, n: None, "must give a torch.nn.Module, got NoneType"),
    ],
)
def test_what_is_no_module(module, message):
    with pytest.raises(TypeError, match=message):
        resolve_module(module, (1, 8, 8), 2)


def test_errors_of_a_users_class_say_how_it_was_called():
    with pytest.raises(TypeError) as caught:
        resolve_module(nn.Linear, (1, 8, 8), 2)
    assert "raised by Linear(input_shape=(1, 8, 8), n_outputs=2), given as module" in caught.value.__notes__


def test_other_number_of_outputs_is_refused(build):
    given = build(Tiny, (1, 9, 9), 10)
    with pytest.raises(ValueError, match="module Tiny gives 10 outputs per row, but 3 are needed"):
        resolve_module(given, (1, 9, 9), 3)


def test_rows_it_cannot_take_are_refused(build):
    given = build(Tiny, (3, 9, 9), 2)
    with pytest.raises(ValueError, match=r"module Tiny cannot take rows of shape \(1, 9, 9\): .*channels"):
        resolve_module(given, (1, 9, 9), 2)
    with pytest.raises(ValueError, match=r"module Tiny cannot take rows of shape \(3, 2, 2\): "):
        resolve_module(given, (3, 2, 2), 2)


def test_outputs_of_another_form_are_refused(build):
    with pytest.raises(ValueError, match=r"outputs of shape \(n, 2\); for 2 rows it gave tuple"):
        resolve_module(build(Several, (1, 9, 9), 2), (1, 9, 9), 2)
    with pytest.raises(ValueError, match=r"for 2 rows it gave \(2, 1, 9, 9\)"):
        resolve_module(nn.Identity(), (1, 9, 9), 2)
