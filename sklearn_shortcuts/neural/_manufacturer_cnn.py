"""The network that named the manufacturer of CT scanners."""

from collections import OrderedDict
from numbers import Integral, Real

from sklearn.utils._param_validation import Interval
from torch import nn

from ._spec import ModuleSpec


class ManufacturerCNN(ModuleSpec):
    """Three convolution blocks and a dense layer, the network of the scanner-manufacturer study.

    Every block is a 3 x 3 convolution, batch normalization, ReLU and max-pooling by two; the last map is flattened
    and read by the dense layer, so the network is made for one image size. The study feeds three axial slices as
    channels. It states the blocks and the dense layer; widths, ReLU and the order within a block are our choice.

    Parameters
    ----------
    widths : sequence of int, default=(16, 32, 64)
        Channels of the blocks, as many blocks as there are entries.
    dropout : float, default=0.0
        Share of the flattened features (and of the hidden units) left out during training, in [0, 1).
    hidden : int, default=0
        Units of a further dense layer with ReLU before the outputs; 0 for none.

    References
    ----------
    G. P. Biondetti, R. Gauriau, C. P. Bridge, C. Lu and K. P. Andriole, "'Name that manufacturer'. Relating image
    acquisition bias with task complexity when training deep learning models: experiments on head CT",
    arXiv:2008.08525 (2020).

    Examples
    --------
    >>> from sklearn_shortcuts.neural import ManufacturerCNN
    >>> ManufacturerCNN(dropout=0.2)
    ManufacturerCNN(dropout=0.2)
    >>> import torch
    >>> with torch.random.fork_rng(devices=[]):
    ...     network = ManufacturerCNN().build((3, 64, 64), 2)
    >>> network(torch.zeros(5, 3, 64, 64)).shape
    torch.Size([5, 2])
    """

    _n_axes = (3,)
    _parameter_constraints: dict = {
        "widths": ["array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "hidden": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(self, widths=(16, 32, 64), *, dropout=0.0, hidden=0):
        self.widths = widths
        self.dropout = dropout
        self.hidden = hidden

    def _build(self, input_shape, n_outputs):
        widths = list(self.widths)
        if not widths or not all(isinstance(width, Integral) and width > 0 for width in widths):
            raise ValueError(f"widths must be one or more positive integers, got {self.widths!r}")
        n_channels, height, width = input_shape
        smallest = 2 ** len(widths)
        if min(height, width) < smallest:
            raise ValueError(
                f"ManufacturerCNN with {len(widths)} blocks needs images of at least {smallest} x {smallest} pixels, "
                f"got {height} x {width}; give fewer widths or larger images"
            )
        blocks = []
        for n_out in widths:
            convolution = nn.Conv2d(n_channels, n_out, 3, padding=1)
            blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)))
            n_channels, height, width = n_out, height // 2, width // 2
        n_features = n_channels * height * width
        head = OrderedDict()
        if self.hidden:
            head.update(dropout_in=nn.Dropout(self.dropout), hidden=nn.Linear(n_features, self.hidden), relu=nn.ReLU())
            n_features = self.hidden
        head.update(dropout=nn.Dropout(self.dropout), outputs=nn.Linear(n_features, n_outputs))
        layers = OrderedDict(features=nn.Sequential(*blocks), flatten=nn.Flatten(), head=nn.Sequential(head))
        return nn.Sequential(layers)
