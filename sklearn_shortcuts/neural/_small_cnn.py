"""The default network: small, free of batch statistics, content with any image size."""

from collections import OrderedDict
from numbers import Integral

from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from ._spec import ModuleSpec

_CONV = {1: nn.Conv1d, 2: nn.Conv2d}
_BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
_MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d}
_AVERAGE_POOL = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d}


class SmallCNN(ModuleSpec):
    """Small convolutional network for images or signals of any size: the default of the estimators.

    Blocks of 3-convolution, normalization, ReLU and max-pooling are averaged onto a coarse grid and read by one
    linear layer. Group normalization makes every row independent of its batch, so that row weights act exactly and
    batches of one row work. The grid, unlike a global average, lets the linear layer see where something is.

    Parameters
    ----------
    width : int, default=16
        Channels of the first block; each further block has twice as many. At least 1.
    depth : int, default=3
        Number of blocks; each halves the axes (never below one). At least 1.
    grid : int, default=4
        Cells per axis of the map that the linear layer reads; fewer where the map is smaller. At least 1.
    norm : {"group", "batch"}, default="group"
        Normalization after each convolution: over all channels of a row, or over the batch.

    Examples
    --------
    >>> from sklearn_shortcuts.neural import SmallCNN
    >>> SmallCNN(width=8)
    SmallCNN(width=8)
    >>> import torch
    >>> with torch.random.fork_rng(devices=[]):
    ...     network = SmallCNN(width=8).build((1, 64, 48), 2)
    >>> network(torch.zeros(5, 1, 64, 48)).shape
    torch.Size([5, 2])
    """

    _parameter_constraints: dict = {
        "width": [Interval(Integral, 1, None, closed="left")],
        "depth": [Interval(Integral, 1, None, closed="left")],
        "grid": [Interval(Integral, 1, None, closed="left")],
        "norm": [StrOptions({"group", "batch"})],
    }

    def __init__(self, width=16, *, depth=3, grid=4, norm="group"):
        self.width = width
        self.depth = depth
        self.grid = grid
        self.norm = norm

    def _build(self, input_shape, n_outputs):
        n_channels, *sizes = input_shape
        n_axes = len(sizes)
        blocks = []
        for depth in range(self.depth):
            n_out = self.width * 2**depth
            norm = nn.GroupNorm(1, n_out) if self.norm == "group" else _BATCH_NORM[n_axes](n_out)
            pool = _MAX_POOL[n_axes](2, ceil_mode=True)
            blocks.append(nn.Sequential(_CONV[n_axes](n_channels, n_out, 3, padding=1), norm, nn.ReLU(), pool))
            n_channels, sizes = n_out, [-(-size // 2) for size in sizes]
        cells = [min(self.grid, size) for size in sizes]
        n_features = n_channels
        for n_cells in cells:
            n_features *= n_cells
        layers = OrderedDict(
            features=nn.Sequential(*blocks),
            pool=_AVERAGE_POOL[n_axes](tuple(cells) if n_axes == 2 else cells[0]),
            flatten=nn.Flatten(),
            head=nn.Linear(n_features, n_outputs),
        )
        return nn.Sequential(layers)
