import sys

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from sklearn_shortcuts.neural import MobileNetV2, TorchvisionModule
from sklearn_shortcuts.neural._stem import GrayConv2d, spread_kernel
from sklearn_shortcuts.neural._structure import find_stem


@pytest.mark.parametrize("n_channels", [1, 3, 5])
@pytest.mark.parametrize(
    "spec",
    [
        TorchvisionModule("resnet18"),
        TorchvisionModule("mobilenet_v2", options={"width_mult": 0.1}),
        TorchvisionModule("densenet121", options={"drop_rate": 0.2}),
        TorchvisionModule("shufflenet_v2_x0_5"),
        TorchvisionModule("squeezenet1_1"),
        MobileNetV2(hidden=8, width_mult=0.1),
    ],
    ids=lambda spec: getattr(spec, "name", "eXBL"),
)
def test_outputs_and_gradients(build, noise, spec, n_channels):
    shape = (n_channels, 32, 40)
    network = build(spec.build, shape, 3)
    assert network.training
    outputs = build(network, noise(2, *shape))
    assert outputs.shape == (2, 3)
    outputs.square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    assert find_stem(network)[1].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("n_channels", [1, 3, 5])
@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("resnet50", 32),
        ("vgg16", 32),
        ("vgg16_bn", 48),
        ("densenet121", 32),
        ("vit_b_16", 32),
        ("swin_t", 32),
        ("convnext_tiny", 32),
        ("efficientnet_b0", 32),
        ("googlenet", 32),
        ("inception_v3", 80),
        ("maxvit_t", 224),
    ],
)
def test_large_networks_take_the_channels_there_are(build, name, side, n_channels):
    with torch.device("meta"):
        network = build(TorchvisionModule(name).build, (n_channels, side, side), 3)
        assert network(torch.zeros(2, n_channels, side, side)).shape == (2, 3)
    assert find_stem(network)[1].in_channels == n_channels


def test_layer_names_stay_those_of_torchvision(build):
    for stem in ("adapt", "repeat"):
        with torch.device("meta"):
            ours = build(TorchvisionModule("vgg16", stem=stem).build, (1, 32, 32), 3)
            theirs = build(get_model, "vgg16", num_classes=3)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        assert str(ours.classifier) == str(theirs.classifier)
        in_place = [layer.inplace for layer in ours.modules() if isinstance(layer, nn.ReLU)]
        assert in_place == [layer.inplace for layer in theirs.modules() if isinstance(layer, nn.ReLU)]


def test_repeat_is_three_equal_channels(build, noise):
    repeat = build(TorchvisionModule("resnet18", stem="repeat").build, (1, 32, 32), 2).eval()
    color = build(TorchvisionModule("resnet18").build, (3, 32, 32), 2).eval()
    color.load_state_dict(repeat.state_dict())
    rows = noise(2, 1, 32, 32)
    assert isinstance(repeat.conv1, GrayConv2d)
    torch.testing.assert_close(repeat(rows), color(rows.repeat(1, 3, 1, 1)))


def test_color_images_leave_the_stem_alone(build):
    for stem in ("adapt", "repeat"):
        network = build(TorchvisionModule("resnet18", stem=stem).build, (3, 32, 32), 2)
        theirs = build(get_model, "resnet18", num_classes=2)
        assert type(network.conv1) is nn.Conv2d
        assert torch.equal(network.conv1.weight, theirs.conv1.weight)
        assert torch.equal(network.fc.weight, theirs.fc.weight)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 5])
def test_spread_kernel_answers_equal_channels_alike(noise, n_channels):
    kernel, slice_ = noise(4, 3, 3, 3).double(), noise(2, 1, 9, 9, seed=1).double()
    spread = spread_kernel(kernel, n_channels)
    color = nn.functional.conv2d(slice_.repeat(1, 3, 1, 1), kernel)
    torch.testing.assert_close(nn.functional.conv2d(slice_.repeat(1, n_channels, 1, 1), spread), color)
    if n_channels == 1:
        torch.testing.assert_close(spread, kernel.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("n_channels", [1, 8])
def test_new_stem_keeps_the_scale_of_its_outputs(build, noise, n_channels):
    color = build(TorchvisionModule("resnet18").build, (3, 32, 32), 2)
    other = build(TorchvisionModule("resnet18").build, (n_channels, 32, 32), 2)
    scale = other.conv1(noise(4, n_channels, 32, 32)).std() / color.conv1(noise(4, 3, 32, 32)).std()
    assert 0.8 < scale < 1.25
    if n_channels > 1:
        assert not torch.equal(other.conv1.weight[:, 0], other.conv1.weight[:, 1])


@pytest.mark.parametrize(("name", "smallest"), [("vgg16", 32), ("densenet121", 29), ("alexnet", 63)])
def test_too_small_images_are_refused_with_the_minimum(name, smallest):
    with torch.device("meta"):
        message = f"{name} needs images of at least {smallest} x {smallest} pixels, got {smallest - 1} x 100"
        with pytest.raises(ValueError, match=message):
            TorchvisionModule(name).build((1, smallest - 1, 100), 2)
        assert TorchvisionModule(name).build((1, smallest, smallest), 2) is not None


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("vit_b_16", (1, 40, 40), "multiple of 16, got 40 x 40"),
        ("vit_b_32", (1, 32, 64), "square images"),
        ("maxvit_t", (1, 64, 64), "multiples of 224, got 64 x 64"),
        ("resnet81", (1, 64, 64), "no classification model called 'resnet81'; did you mean resnet18"),
        ("fcn_resnet50", (1, 64, 64), "no classification model"),
    ],
)
def test_what_a_network_cannot_be_built_for(name, shape, message):
    with pytest.raises(ValueError, match=message):
        TorchvisionModule(name).build(shape, 2)


def test_options_are_checked():
    with pytest.raises(ValueError, match="cannot hold num_classes, weights: the library sets them"):
        TorchvisionModule(options={"weights": "DEFAULT", "num_classes": 2}).build((1, 32, 32), 2)
    with pytest.raises(ValueError, match="resnet18 does not take the options"):
        TorchvisionModule(options={"dropuot": 0.5}).build((1, 32, 32), 2)
    with pytest.raises(ValueError, match="images have 2; use stem='adapt'"), torch.device("meta"):
        TorchvisionModule(stem="repeat").build((2, 32, 32), 2)


def test_head_of_the_exbl_study(build, noise):
    network = build(MobileNetV2(width_mult=0.1).build, (1, 32, 32), 4)
    linear, relu, dropout, outputs = network.classifier
    assert (linear.in_features, linear.out_features, outputs.in_features, outputs.out_features) == (1280, 256, 256, 4)
    assert isinstance(relu, nn.ReLU)
    assert dropout.p == 0.5


def test_frozen_part_of_the_exbl_study_is_what_keras_counts_as_fifty_layers(build):
    with torch.device("meta"):
        network = build(MobileNetV2().build, (3, 64, 64), 4)
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU6)
    n_layers = 1  # Keras counts the input
    for name, layer in network.named_modules():
        n_layers += isinstance(layer, kinds)
        if name in ("features.2.conv.0.2", "features.4.conv.0.2"):
            n_layers += 1  # and the padding before a convolution with stride
        if name in ("features.3", "features.5"):
            n_layers += 1  # and the addition of a residual block, which is no layer in torch
        if name == "features.6.conv.1.1":
            break
    assert n_layers == 50


def test_torchvision_is_imported_when_it_is_needed():
    import subprocess

    code = "import sys, sklearn_shortcuts.neural._torchvision; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
