"""Networks of the families that concepts are removed from, at the scale of two processor cores."""

from collections import OrderedDict

from torch import nn
from torchvision.models import VisionTransformer
from torchvision.models.resnet import BasicBlock, ResNet

from sklearn_shortcuts.neural import ModuleSpec


class VGGLike(ModuleSpec):
    """Blocks of two convolutions with batch normalization and ReLU, each followed by max-pooling, and a linear layer.

    Parameters
    ----------
    width : int
        Channels of the first block; each further block has twice as many.
    depth : int
        Number of blocks.
    """

    _n_axes = (3,)

    def __init__(self, width=8, depth=4):
        self.width = width
        self.depth = depth

    def _build(self, input_shape, n_outputs):
        blocks, n_channels = OrderedDict(), input_shape[0]
        for block in range(self.depth):
            layers, n_out = [], self.width * 2**block
            for _ in range(2):
                layers += [nn.Conv2d(n_channels, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
                n_channels = n_out
            blocks[f"block{block + 1}"] = nn.Sequential(*layers, nn.MaxPool2d(2))
        blocks.update(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), head=nn.Linear(n_channels, n_outputs))
        return nn.Sequential(blocks)


class ResNet18(ModuleSpec):
    """torchvision's ResNet-18 at half its width, for images of any number of channels."""

    _n_axes = (3,)

    def _build(self, input_shape, n_outputs):
        network = _HalfWidth(BasicBlock, [2, 2, 2, 2])
        network.conv1 = nn.Conv2d(input_shape[0], 64, 7, stride=2, padding=3, bias=False)
        network.fc = nn.Linear(256, n_outputs)
        return network


class _HalfWidth(ResNet):
    def _make_layer(self, block, planes, *args, **options):
        return super()._make_layer(block, planes // 2, *args, **options)


class ViTSmall(ModuleSpec):
    """torchvision's vision transformer, small; convolutions in place of patches let it learn from few images.

    Parameters
    ----------
    width : int
        Channels of a token.
    depth : int
        Number of layers.
    """

    _n_axes = (3,)

    def __init__(self, width=64, depth=3):
        self.width = width
        self.depth = depth

    def _build(self, input_shape, n_outputs):
        stem, n_channels = [], input_shape[0]
        for n_out in (self.width // 4, self.width // 2, self.width):
            stem += [nn.Conv2d(n_channels, n_out, 3, stride=2, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()]
            n_channels = n_out
        transformer = VisionTransformer(
            image_size=input_shape[1] // 8,
            patch_size=1,
            num_layers=self.depth,
            num_heads=4,
            hidden_dim=self.width,
            mlp_dim=2 * self.width,
            num_classes=n_outputs,
        )
        transformer.conv_proj = nn.Identity()
        return nn.Sequential(OrderedDict(stem=nn.Sequential(*stem), transformer=transformer))
