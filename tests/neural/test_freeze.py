import copy
import io
import pickle

import pytest
import torch
from torch import nn

from sklearn_shortcuts.neural import ECGResNet, SmallCNN, TorchvisionModule, apply_freeze


class CountingNorm(nn.BatchNorm2d):
    """Normalization layer of a user's own class."""


def small(norm="batch"):
    return SmallCNN(width=4, depth=3, norm=norm).build((1, 16, 16), 2)


def train_one_step(network, rows):
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    network(rows).square().sum().backward()
    optimizer.step()


def copied(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before, network):
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("freeze", [2, "features.1", "features.1.1"])
def test_frozen_layers_stay_bit_identical_through_training(build, noise, freeze):
    network = build(small)
    frozen = apply_freeze(network, freeze)
    assert set(frozen) == {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    before = copied(network)
    train_one_step(network, noise(8, 1, 16, 16))
    moved = changed(before, network)
    assert {name for name in before if name.startswith(("features.2.", "head."))} == moved


def test_statistics_would_move_without_it(build, noise):
    network = build(small)
    for parameter in network.features.parameters():
        parameter.requires_grad_(False)  # what freezing parameters alone does
    before = copied(network)
    train_one_step(network, noise(8, 1, 16, 16))
    assert "features.0.1.running_mean" in changed(before, network)


@pytest.mark.parametrize(
    "travel",
    [
        copy.deepcopy,
        lambda network: pickle.loads(pickle.dumps(network)),
        lambda network: pickle.loads(pickle.dumps(copy.deepcopy(network), protocol=2)),
    ],
    ids=["deepcopy", "pickle", "both"],
)
def test_copies_stay_frozen(build, noise, travel):
    network = build(small)
    apply_freeze(network, 2)
    other = travel(network)
    before = copied(network)
    train_one_step(other, noise(8, 1, 16, 16))
    assert not changed(before, network)  # the copy shares nothing with the original
    assert changed(before, other) == {name for name in before if name.startswith(("features.2.", "head."))}
    assert isinstance(other.features[0][1], nn.BatchNorm2d)
    assert type(other.features[0][1]) is type(network.features[0][1])


def test_torch_files_keep_it(build, noise):
    network = build(small)
    apply_freeze(network, 2)
    file = io.BytesIO()
    torch.save(network, file)
    other = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    before = copied(network)
    train_one_step(other, noise(8, 1, 16, 16))
    assert changed(before, other) == {name for name in before if name.startswith(("features.2.", "head."))}


def test_state_dict_fits_a_network_that_is_not_frozen_and_back(build, noise):
    frozen, free = build(small), build(small, seed=1)
    apply_freeze(frozen, 2)
    assert list(frozen.state_dict()) == list(free.state_dict())
    free.load_state_dict(frozen.state_dict())
    rows = noise(3, 1, 16, 16)
    torch.testing.assert_close(free.eval()(rows), frozen.eval()(rows))
    free.train()
    train_one_step(free, noise(8, 1, 16, 16))
    frozen.load_state_dict(free.state_dict())
    assert not frozen.train().features[0][1].training
    torch.testing.assert_close(free.eval()(rows), frozen.eval()(rows))


def test_outputs_of_frozen_part_are_those_of_evaluation(build, noise):
    network = build(small)
    rows = noise(4, 1, 16, 16)
    expected = network.eval().features[:2](rows)
    apply_freeze(network, 2)
    assert torch.equal(network.train().features[:2](rows), expected)


def test_freezing_twice_and_further(build):
    network = build(small)
    apply_freeze(network, 1)
    kind = type(network.features[0][1])
    apply_freeze(network, 2)
    assert type(network.features[0][1]) is kind
    assert type(network.features[1][1]) is kind
    network.eval().train()
    assert [block[1].training for block in network.features] == [False, False, True]


def test_layers_of_any_class_are_kept(build, noise):
    network = build(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), CountingNorm(2), nn.Flatten(), nn.Linear(72, 2)))
    apply_freeze(network, "1")
    other = pickle.loads(pickle.dumps(network)).train()
    assert isinstance(other[1], CountingNorm)
    assert not other[1].training
    assert other[3].training


def test_norms_without_statistics_are_left_alone(build):
    network = build(small, norm="group")
    apply_freeze(network, 3)
    assert type(network.features[0][1]) is nn.GroupNorm


@pytest.mark.parametrize(
    ("name", "freeze", "last", "first_trained"),
    [
        ("resnet18", "layer3", "layer3.1.bn2.bias", "layer4.0.conv1.weight"),
        ("resnet18", 3, "layer1.1.bn2.bias", "layer2.0.conv1.weight"),
        ("vgg16", "features.29", "features.28.bias", "classifier.0.weight"),
        ("vgg16", 1, "features.0.bias", "features.2.weight"),
        (
            "densenet121",
            "features.denseblock4.denselayer15",
            "features.denseblock4.denselayer15.conv2.weight",
            "features.denseblock4.denselayer16.norm1.weight",
        ),
        ("mobilenet_v2", "features.6.conv.1", "features.6.conv.1.1.bias", "features.6.conv.2.weight"),
    ],
)
def test_layers_of_torchvision_networks(build, name, freeze, last, first_trained):
    with torch.device("meta"):
        network = build(TorchvisionModule(name).build, (1, 32, 32), 2)
    frozen = apply_freeze(network, freeze)
    assert frozen[-1] == last
    names = [parameter for parameter, _ in network.named_parameters()]
    assert list(frozen) == names[: names.index(first_trained)]


def test_token_and_positions_of_a_transformer_freeze_with_its_first_layers(build):
    with torch.device("meta"):
        network = build(TorchvisionModule("vit_b_32").build, (1, 32, 32), 2)
    frozen = apply_freeze(network, 2)
    assert {"class_token", "encoder.pos_embedding", "conv_proj.weight"} <= set(frozen)
    assert network.encoder.layers.encoder_layer_1.ln_1.weight.requires_grad


def test_stages_of_a_signal_network(build, noise):
    network = build(ECGResNet((1, 1), width=4, dropout=0).build, (2, 64), 2)
    apply_freeze(network, "stage1")
    before = copied(network)
    train_one_step(network, noise(4, 2, 64))
    moved = changed(before, network)
    assert moved
    assert all(name.startswith(("stage2.", "head.")) for name in moved)


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("feature.1", "names no layer of the network; did you mean one of features"),
        ("zzz", "did you mean one of features, pool, flatten, head"),
        ("", "names no layer"),
        (True, "names no layer"),
        (0, "must be between 1 and 3, the blocks are features.0, features.1, features.2"),
        (4, "must be between 1 and 3"),
        ("head", "leaves no parameter of the network to train"),
    ],
)
def test_what_cannot_be_frozen(build, freeze, message):
    network = build(small)
    with pytest.raises(ValueError, match=message):
        apply_freeze(network, freeze)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(layer.training for layer in network.train().modules())
