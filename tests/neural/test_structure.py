from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from sklearn_shortcuts.neural import ECGResNet, ManufacturerCNN, MobileNetV2, SmallCNN
from sklearn_shortcuts.neural._structure import feature_blocks, find_head, find_head_block, find_stem


@pytest.mark.parametrize(
    ("name", "stem", "head", "block", "blocks"),
    [
        ("resnet18", "conv1", "fc", "fc", ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]),
        ("vgg11", "features.0", "classifier.6", "classifier", [f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)]),
        ("squeezenet1_1", "features.0", "classifier.1", "classifier.1", ["features.0", "features.3", "features.4"]),
        ("mobilenet_v2", "features.0.0", "classifier.1", "classifier", [f"features.{i}" for i in range(19)]),
        ("densenet121", "features.conv0", "classifier", "classifier", ["features.conv0", "features.norm0"]),
        ("vit_b_32", "conv_proj", "heads.head", "heads", ["conv_proj", "encoder.layers.encoder_layer_0"]),
        ("googlenet", "conv1.conv", "fc", "fc", ["conv1", "conv2", "conv3", "inception3a"]),
        ("maxvit_t", "stem.0.0", "classifier.5", "classifier", ["stem", "blocks.0", "blocks.1", "blocks.2"]),
    ],
)
def test_parts_of_torchvision_networks(build, name, stem, head, block, blocks):
    options = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    options |= {"input_size": (224, 224)} if name == "maxvit_t" else {}
    with torch.device("meta"):
        network = build(get_model, name, num_classes=7, **options)
    assert find_stem(network)[0] == stem
    assert find_head(network)[0] == head
    assert find_head_block(network) == block
    assert feature_blocks(network)[: len(blocks)] == blocks
    assert not any(found == block or block.startswith(found + ".") for found in feature_blocks(network))


def test_regnet_trunk_is_opened(build):
    network = build(get_model, "regnet_y_400mf", num_classes=3)
    assert feature_blocks(network) == ["stem", *(f"trunk_output.block{i}" for i in (1, 2, 3, 4))]


@pytest.mark.parametrize(
    ("spec", "shape", "block", "blocks"),
    [
        (SmallCNN(depth=2), (1, 8, 8), "head", ["features.0", "features.1"]),
        (ManufacturerCNN([2, 2]), (1, 8, 8), "head", ["features.0", "features.1"]),
        (ECGResNet((1, 1), width=2), (1, 64), "head", ["stem", "stage1", "stage2"]),
        (MobileNetV2(width_mult=0.1), (1, 32, 32), "classifier", [f"features.{i}" for i in range(19)]),
    ],
)
def test_parts_of_own_networks(build, spec, shape, block, blocks):
    network = build(spec.build, shape, 2)
    assert find_head_block(network) == block
    assert feature_blocks(network) == blocks


def test_networks_inside_others_are_opened(build):
    inner = build(SmallCNN(depth=1).build, (1, 8, 8), 2)
    network = nn.Sequential(OrderedDict(scale=nn.Identity(), network=inner))
    assert find_head(network) == ("network.head", inner.head)
    assert find_stem(network) == ("network.features.0.0", inner.features[0][0])
    assert feature_blocks(network) == ["network.features.0"]


def test_flat_networks(build):
    network = build(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)))
    assert find_head_block(network) == "3"
    assert feature_blocks(network) == ["0"]


def test_networks_without_the_parts():
    with pytest.raises(ValueError, match="Flatten has neither a linear layer nor a convolution"):
        find_head(nn.Flatten())
    assert find_stem(nn.Flatten()) == (None, None)
    assert find_head_block(nn.Flatten()) is None
    assert feature_blocks(nn.Sequential(nn.LayerNorm(3))) == ["0"]
