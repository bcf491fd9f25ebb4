import pytest
import torch
from torch import nn

from sklearn_shortcuts.neural import ManufacturerCNN


def test_layers_of_the_study(build):
    network = build(ManufacturerCNN().build, (3, 256, 256), 2)
    kinds = [[type(layer) for layer in block] for block in network.features]
    assert kinds == [[nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]] * 3
    assert [block[0].out_channels for block in network.features] == [16, 32, 64]
    assert all(block[0].kernel_size == (3, 3) for block in network.features)
    assert network.head.outputs.in_features == 64 * 32 * 32
    expected = 3 * 16 * 9 + 16 * 32 * 9 + 32 * 64 * 9 + 3 * (16 + 32 + 64) + 64 * 32 * 32 * 2 + 2
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("shape", [(1, 8, 8), (5, 17, 30)])
@pytest.mark.parametrize("options", [{}, {"widths": [4]}, {"widths": (2, 4), "hidden": 6, "dropout": 0.5}])
def test_outputs_and_gradients(build, noise, shape, options):
    network = build(ManufacturerCNN(**options).build, shape, 3)
    outputs = build(network, noise(4, *shape))
    assert outputs.shape == (4, 3)
    outputs.square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    assert sum(isinstance(layer, nn.Linear) for layer in network.modules()) == (2 if options.get("hidden") else 1)


def test_too_small_images_are_refused_with_the_minimum():
    with pytest.raises(ValueError, match="at least 8 x 8 pixels, got 7 x 90"):
        ManufacturerCNN().build((1, 7, 90), 2)


@pytest.mark.parametrize("widths", [(), (16, 0), (16, 2.5)])
def test_widths_are_checked(widths):
    with pytest.raises(ValueError, match="widths must be one or more positive integers"):
        ManufacturerCNN(widths=widths).build((1, 16, 16), 2)
