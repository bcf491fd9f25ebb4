"""A residual network for signals."""

from collections import OrderedDict
from numbers import Integral, Real

import torch
from sklearn.utils._param_validation import Interval, Options
from torch import nn

from ._spec import ModuleSpec


class ECGResNet(ModuleSpec):
    """One-dimensional residual network for ECGs and other signals, after xresnet1d50.

    Three strided convolutions, max-pooling, four (or more, or fewer) stages of residual blocks, and one linear layer
    on the maximum and the mean over time of every channel. The children ``stem``, ``stage1``, ``stage2``, ...,
    ``pool`` can be hooked by name; nothing downstream overwrites their outputs in place. ``pool`` gives twice the
    width times the expansion: 512 features by default.

    Parameters
    ----------
    layers : sequence of int, default=(3, 4, 6, 3)
        Residual blocks per stage; every stage after the first halves the time axis. ``(3, 4, 6, 3)`` is the depth
        of xresnet1d50.
    width : int, default=64
        Inner channels of the residual blocks, the same in all stages. At least 1.
    expansion : {1, 4}, default=4
        4 for bottleneck blocks (1, k, 1), which give four times ``width`` channels; 1 for blocks of two
        k-convolutions.
    kernel_size : int, default=5
        Samples a convolution looks at; odd.
    dropout : float, default=0.5
        Share of the pooled features left out during training, in [0, 1).

    References
    ----------
    N. Strodthoff, P. Wagner, T. Schaeffter and W. Samek, "Deep Learning for ECG Analysis: Benchmarks and Insights
    from PTB-XL", IEEE Journal of Biomedical and Health Informatics 25 (2021).

    T. He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks", CVPR (2019).

    Examples
    --------
    >>> from sklearn_shortcuts.neural import ECGResNet
    >>> ECGResNet(layers=(1, 1), width=8)
    ECGResNet(layers=(1, 1), width=8)
    >>> import torch
    >>> with torch.random.fork_rng(devices=[]):
    ...     network = ECGResNet(layers=(1, 1), width=8).build((12, 250), 3)
    >>> network(torch.zeros(5, 12, 250)).shape
    torch.Size([5, 3])
    """

    _n_axes = (2,)
    _parameter_constraints: dict = {
        "layers": ["array-like"],
        "width": [Interval(Integral, 1, None, closed="left")],
        "expansion": [Options(Integral, {1, 4})],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(self, layers=(3, 4, 6, 3), *, width=64, expansion=4, kernel_size=5, dropout=0.5):
        self.layers = layers
        self.width = width
        self.expansion = expansion
        self.kernel_size = kernel_size
        self.dropout = dropout

    def _build(self, input_shape, n_outputs):
        counts = list(self.layers)
        if not counts or not all(isinstance(count, Integral) and count > 0 for count in counts):
            raise ValueError(f"layers must be one or more positive integers, got {self.layers!r}")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {self.kernel_size}")
        half = max(self.width // 2, 1)
        stem = nn.Sequential(
            _convolution(input_shape[0], half, self.kernel_size, stride=2),
            _convolution(half, half, self.kernel_size),
            _convolution(half, self.width, self.kernel_size),
            nn.MaxPool1d(3, stride=2, padding=1),
        )
        layers = OrderedDict(stem=stem)
        n_channels, n_out = self.width, self.width * self.expansion
        for stage, count in enumerate(counts, start=1):
            blocks = []
            for block in range(count):
                stride = 2 if stage > 1 and block == 0 else 1
                blocks.append(_ResidualBlock(n_channels, self.width, self.expansion, self.kernel_size, stride))
                n_channels = n_out
            layers[f"stage{stage}"] = nn.Sequential(*blocks)
        layers.update(pool=_MaxMeanPool(), dropout=nn.Dropout(self.dropout), head=nn.Linear(2 * n_channels, n_outputs))
        return nn.Sequential(layers)


def _convolution(n_in, n_out, kernel_size, stride=1, relu=True):
    convolution = nn.Conv1d(n_in, n_out, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return nn.Sequential(convolution, nn.BatchNorm1d(n_out), *([nn.ReLU()] if relu else []))


class _ResidualBlock(nn.Module):
    def __init__(self, n_in, width, expansion, kernel_size, stride):
        super().__init__()
        n_out = width * expansion
        if expansion == 1:
            parts = [
                _convolution(n_in, width, kernel_size, stride),
                _convolution(width, n_out, kernel_size, relu=False),
            ]
        else:
            parts = [
                _convolution(n_in, width, 1),
                _convolution(width, width, kernel_size, stride),
                _convolution(width, n_out, 1, relu=False),
            ]
        self.convolutions = nn.Sequential(*parts)
        nn.init.zeros_(self.convolutions[-1][1].weight)  # every block starts as the identity
        shortcut = []
        if stride > 1:
            shortcut.append(nn.AvgPool1d(stride, ceil_mode=True))
        if n_in != n_out:
            shortcut.append(_convolution(n_in, n_out, 1, relu=False))
        self.shortcut = nn.Sequential(*shortcut)
        self.relu = nn.ReLU()

    def forward(self, rows):
        return self.relu(self.convolutions(rows) + self.shortcut(rows))


class _MaxMeanPool(nn.Module):
    """Maximum and mean over time, side by side."""

    def forward(self, rows):
        return torch.cat([rows.amax(dim=-1), rows.mean(dim=-1)], dim=1)
