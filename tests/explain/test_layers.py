"""The layer that is explained."""

import pytest
import torch
from torch import nn

from sklearn_shortcuts.explain._layers import find_layer
from sklearn_shortcuts.neural import ECGResNet, SmallCNN
from sklearn_shortcuts.neural._layer_names import resolve_layer

from .networks import assert_same_state, state_of


def build(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


def torchvision_model(name):
    import torchvision

    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return build(lambda: torchvision.models.get_model(name, num_classes=3, **options))


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("resnet18", 64, "layer4"),
        ("vgg11", 64, "features"),
        ("densenet121", 64, "features"),
        ("mobilenet_v2", 64, "features"),
        ("squeezenet1_1", 64, "features"),
        ("googlenet", 64, "inception5b"),
        ("shufflenet_v2_x0_5", 64, "conv5"),
        ("swin_t", 64, "permute"),
        ("resnet18", 32, "layer3"),  # the last block gives one position only
    ],
)
def test_layers_of_torchvision(name, size, layer):
    assert find_layer(torchvision_model(name), torch.zeros(2, 3, size, size)) == layer


@pytest.mark.parametrize(
    ("make", "shape", "layer"),
    [
        (lambda: SmallCNN(width=4).build((1, 32, 24), 2), (1, 32, 24), "features"),
        (lambda: SmallCNN(width=4).build((2, 64), 2), (2, 64), "features"),
        (lambda: ECGResNet((1, 1), width=4).build((12, 100), 2), (12, 100), "stage2"),
        # Pooling by itself does not count, without a head the last map does.
        (lambda: nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout2d()), (1, 9, 9), "0"),
        # A head of convolutions: what comes before it.
        (
            lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1)),
            (1, 9, 9),
            "1",
        ),
        (lambda: nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)), (1, 4, 4), "0"),
    ],
)
def test_layers_of_other_networks(make, shape, layer):
    assert find_layer(build(make), torch.zeros(1, *shape)) == layer


@pytest.mark.parametrize(("dropout", "n_blocks"), [(0.0, 3), (0.1, 2)])
def test_layer_of_a_vision_transformer_is_the_last_at_which_all_tokens_count(dropout, n_blocks):
    import torchvision

    def make():
        network = torchvision.models.VisionTransformer(32, 8, n_blocks, 2, 16, 32, dropout=dropout, num_classes=3)
        nn.init.normal_(network.heads.head.weight)
        return network

    images = torch.ones(1, 3, 32, 32)
    assert find_layer(build(make), images) == f"encoder.layers.encoder_layer_{n_blocks - 1}.ln_1"


class _MeanOfTokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.norm, self.head = nn.Conv2d(1, 4, 4, stride=4), nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, images):
        return self.head(self.norm(self.patches(images).flatten(2).transpose(1, 2)).mean(1))


def test_layer_of_a_transformer_that_averages_is_its_last():
    assert find_layer(build(_MeanOfTokens), torch.ones(1, 1, 8, 12)) == "norm"


class _TokensOfASignal(nn.Module):
    def __init__(self, back):
        super().__init__()
        self.patches, self.norm = nn.Conv1d(2, 8, 5, stride=4, padding=2), nn.LayerNorm(8)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
        self.last, self.head, self.back = nn.ReLU(), nn.Linear(8, 2), back

    def forward(self, signals):
        tokens = self.encoder(self.norm(self.patches(signals).transpose(1, 2)))
        if self.back:
            return self.head(self.last(tokens.transpose(1, 2)).mean(2))
        return self.head(self.last(tokens).mean(1))


@pytest.mark.parametrize(("back", "layer"), [(False, "patches"), (True, "last")])
def test_layers_that_give_tokens_of_signals_do_not_count(back, layer):
    assert find_layer(build(lambda: _TokensOfASignal(back)), torch.ones(1, 2, 40)) == layer


def test_searching_leaves_no_trace():
    network = torchvision_model("resnet18").train()
    before, images = state_of(network), torch.zeros(2, 3, 32, 32)
    find_layer(network, images)
    assert_same_state(before, state_of(network))
    assert not images.requires_grad


def test_a_network_without_maps_is_refused():
    network = nn.Sequential(nn.Flatten(), nn.ReLU())
    with pytest.raises(ValueError, match="no layer of Sequential gives a map with more than one position"):
        find_layer(network, torch.zeros(1, 1, 4, 4))


def test_layers_are_named():
    network = build(lambda: SmallCNN(width=4).build((1, 16, 16), 2))
    assert resolve_layer(network, "features.1") == "features.1"
    assert resolve_layer(network, network.features[1]) == "features.1"
    with pytest.raises(ValueError, match="layer='conv' is no layer of Sequential"):
        resolve_layer(network, "conv")
    with pytest.raises(ValueError, match="this ReLU is no part"):
        resolve_layer(network, nn.ReLU())
