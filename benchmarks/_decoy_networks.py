"""Networks of the experiments with decoys: one that can say where something is, and one that cannot."""

from collections import OrderedDict

from torch import nn

from sklearn_shortcuts.neural import ModuleSpec


class FlatCNN(ModuleSpec):
    """Three convolutions without normalization, read by two linear layers that see where everything is.

    Parameters
    ----------
    width : int, default=16
        Channels of the first convolution; the others have twice as many.
    """

    _n_axes = (3,)

    def __init__(self, width=16):
        self.width = width

    def _build(self, input_shape, n_outputs):
        n_channels, height, width = input_shape
        features = _convolutions(n_channels, self.width, normalized=False)
        cells = (height // 4) * (width // 4)
        head = nn.Sequential(nn.Flatten(), nn.Linear(2 * self.width * cells, 64), nn.ReLU(), nn.Linear(64, n_outputs))
        return nn.Sequential(OrderedDict(features=features, head=head))


class PooledCNN(ModuleSpec):
    """The same convolutions with group normalization, averaged over the image before one linear layer.

    Parameters
    ----------
    width : int, default=16
        Channels of the first convolution; the others have twice as many.
    """

    _n_axes = (3,)

    def __init__(self, width=16):
        self.width = width

    def _build(self, input_shape, n_outputs):
        features = _convolutions(input_shape[0], self.width, normalized=True)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * self.width, n_outputs))
        return nn.Sequential(OrderedDict(features=features, head=head))


def _convolutions(n_channels, width, normalized):
    layers = []
    for index, n_out in enumerate((width, 2 * width, 2 * width)):
        layers.append(nn.Conv2d(n_channels, n_out, 3, padding=1))
        if normalized:
            layers.append(nn.GroupNorm(4, n_out))
        layers.append(nn.ReLU())
        if index < 2:
            layers.append(nn.MaxPool2d(2))
        n_channels = n_out
    return nn.Sequential(*layers)
