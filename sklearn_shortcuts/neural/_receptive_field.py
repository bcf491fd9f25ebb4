"""Which pixels a cell of a layer's map sees, and masks of pixels brought to the cells by it."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode


class Window(NamedTuple):
    """What the cells of a map see along one axis: cell ``i`` sees ``size`` pixels from ``start + i * stride`` on.

    Attributes
    ----------
    start : float
        First pixel of cell 0; negative where it sees padding.
    size : float
        Number of pixels.
    stride : float
        Pixels from one cell to the next.
    """

    start: float
    size: float
    stride: float


class GeometryRecorder(TorchDispatchMode):
    """Notes the convolutions and poolings of a forward pass, however the network calls them.

    Parameters
    ----------
    is_over : callable
        Tells whether the layer has been reached; what comes after it is not noted.

    Attributes
    ----------
    operations : list of dict
        ``"input"`` and ``"output"`` (sizes of the map before and after), ``"reach"`` (pixels of its input that a cell
        sees beyond the first), ``"padding"`` (in front) and ``"stride"``, each a tuple with one value per axis.
    """

    def __init__(self, is_over):
        super().__init__()
        self.is_over = is_over
        self.operations = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        read = _READERS.get(function.overloadpacket)
        if read is not None and not self.is_over():
            output = result[0] if isinstance(result, tuple) else result
            self.operations.append(_noted(args[0], output, *read(args)))
        return result


def _noted(before, after, kernel, dilation, padding, stride):
    n_axes = len(kernel)
    sizes = tuple(before.shape[-n_axes:])
    reach = tuple((k - 1) * d for k, d in zip(kernel, dilation))
    return {
        "input": sizes,
        "output": tuple(after.shape[-n_axes:]),
        # A kernel as large as the map looks everywhere: such global averages are no part of a receptive field.
        "reach": tuple(0 if k > 1 and k >= size else r for k, size, r in zip(kernel, sizes, reach)),
        "padding": tuple(padding),
        "stride": tuple(stride),
    }


def _read_convolution(args):
    _, weight, _, stride, padding, dilation, transposed = args[:7]
    n_axes = weight.ndim - 2
    stride = _per_axis(stride, n_axes)
    if transposed:
        stride = [1 / step for step in stride]
    return weight.shape[2:], _per_axis(dilation, n_axes), _per_axis(padding, n_axes), stride


def _read_pooling(args):
    image, kernel, stride, padding, dilation = (*args, *_POOLING_DEFAULTS[len(args) - 1 :])[:5]
    n_axes = image.ndim - 2
    kernel = _per_axis(kernel, n_axes)
    dilation = dilation if isinstance(dilation, (list, tuple, int)) and not isinstance(dilation, bool) else 1
    return kernel, _per_axis(dilation, n_axes), _per_axis(padding, n_axes), _per_axis(stride or kernel, n_axes)


def _read_adaptive_pooling(args):
    image, sizes = args[0], _per_axis(args[1], args[0].ndim - 2)
    pairs = list(zip(image.shape[2:], sizes))
    # Where the sizes do not divide, windows begin and end up to one pixel beyond even ones.
    extra = [int(before % after > 0) for before, after in pairs]
    reach = [math.ceil(before / after) - 1 + 2 * more for (before, after), more in zip(pairs, extra)]
    kernel = [before if after == 1 else 2 for before, after in pairs]  # all of the map, or two ends that far apart
    return kernel, reach, extra, [before / after for before, after in pairs]


def _read_padding(args):
    before = list(reversed(args[1][::2]))  # torch gives the last axis first
    return [1] * len(before), [1] * len(before), before, [1] * len(before)


def _per_axis(values, n_axes):
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    return values * n_axes if len(values) == 1 else values


_POOLING_DEFAULTS = (None, None, 0, 1)  # kernel, stride, padding, dilation
_READERS = {
    torch.ops.aten.convolution: _read_convolution,
    torch.ops.aten.max_pool2d_with_indices: _read_pooling,
    torch.ops.aten.max_pool3d_with_indices: _read_pooling,
    torch.ops.aten.avg_pool2d: _read_pooling,
    torch.ops.aten.avg_pool3d: _read_pooling,
    torch.ops.aten._adaptive_avg_pool2d: _read_adaptive_pooling,
    torch.ops.aten._adaptive_avg_pool3d: _read_adaptive_pooling,
    torch.ops.aten.adaptive_max_pool2d: _read_adaptive_pooling,
    torch.ops.aten.adaptive_max_pool3d: _read_adaptive_pooling,
    torch.ops.aten.constant_pad_nd: _read_padding,
}


def receptive_field(operations, input_size, map_size):
    """Compute what the cells of a map see of the image.

    Local operations count: convolutions, poolings and padding. Normalization, attention and gates that look at the
    whole map do not. Operations on parallel branches are added up as if they followed each other, which gives at
    least the true field.

    Parameters
    ----------
    operations : list of dict
        Of :class:`GeometryRecorder`, in the order of the forward pass.
    input_size : tuple of int
        Pixels of the image per axis.
    map_size : tuple of int
        Cells of the map per axis.

    Returns
    -------
    tuple of Window
        One per axis.
    """
    windows = []
    for axis in range(len(input_size)):
        n_pixels, n_cells = input_size[axis], map_size[axis]
        from_end = axis - len(input_size)  # torch pools signals as images that are one pixel high
        strides = {n_pixels: 1}  # of maps by their size: both branches of a residual block have the same
        start, size = 0, 1
        for operation in operations:
            if len(operation["input"]) < len(input_size):
                continue
            n_before, n_after = operation["input"][from_end], operation["output"][from_end]
            stride = strides.get(n_before, n_pixels / n_before)
            size += operation["reach"][from_end] * stride
            start -= operation["padding"][from_end] * stride
            strides.setdefault(n_after, stride * operation["stride"][from_end])
        stride = strides.get(n_cells, n_pixels / n_cells)
        windows.append(Window(start, max(size, stride), stride))
    return tuple(windows)


def dilate_to_cells(masks, windows, map_size):
    """Mark the cells that see at least one pixel of the region.

    Parameters
    ----------
    masks : Tensor of shape (..., H, W) or (..., T)
        Pixels of at least 0.5 are inside the region.
    windows : tuple of Window
        What the cells see.
    map_size : tuple of int
        Cells per axis.

    Returns
    -------
    Tensor of shape (..., h, w) or (..., t), dtype bool
        Marked cells.
    """
    marked = masks >= 0.5
    for axis, (window, n_cells) in enumerate(zip(windows, map_size), start=marked.ndim - len(windows)):
        n_pixels = marked.shape[axis]
        starts = [window.start + cell * window.stride for cell in range(n_cells)]
        first = [min(max(math.floor(start), 0), n_pixels) for start in starts]
        last = [min(max(math.ceil(start + window.size), 0), n_pixels) for start in starts]
        counts = F.pad(marked.movedim(axis, -1).cumsum(-1), (1, 0))
        inside = counts[..., last] > counts[..., first]
        marked = inside.movedim(-1, axis)
    return marked


def average_to_cells(values, map_size):
    """Interpolate values of pixels to cells, with antialiasing: what lies between two cells counts in both.

    Parameters
    ----------
    values : Tensor of shape (n, H, W) or (n, T)
        Values of pixels, such as masks.
    map_size : tuple of int
        Cells per axis.

    Returns
    -------
    Tensor of shape (n, h, w) or (n, t)
        Values of cells.
    """
    image = values[:, None] if values.ndim == 3 else values[:, None, None]  # signals: one pixel high
    size = tuple(map_size) if values.ndim == 3 else (1, *map_size)
    return F.interpolate(image, size=size, mode="bilinear", antialias=True).reshape(len(values), *map_size)
