"""First convolutions made for color images, for images with another number of channels."""

import math

import torch
from torch import nn

from ._structure import find_stem


class GrayConv2d(nn.Conv2d):
    """Convolution over three channels that is given one and repeats it.

    Examples
    --------
    >>> import torch
    >>> from sklearn_shortcuts.neural._stem import GrayConv2d
    >>> with torch.random.fork_rng(devices=[]):
    ...     layer = GrayConv2d(3, 4, 3)
    >>> layer(torch.zeros(2, 1, 5, 5)).shape
    torch.Size([2, 4, 3, 3])
    """

    def forward(self, rows):
        """Convolve the repeated channel.

        Parameters
        ----------
        rows : Tensor of shape (n, 1, H, W)
            Gray images.

        Returns
        -------
        Tensor of shape (n, out_channels, H', W')
            Maps.
        """
        return super().forward(rows.expand(-1, self.in_channels, -1, -1))


def fit_stem(module, n_channels, stem):
    """Make a new network's first convolution take another number of channels, in place.

    Parameters
    ----------
    module : torch.nn.Module
        Network whose first convolution is two-dimensional and not grouped.
    n_channels : int
        Channels of the images.
    stem : {"adapt", "repeat"}
        ``"adapt"`` replaces the convolution by one for ``n_channels`` channels, with new random weights of a size
        that leaves the scale of its outputs as it was. ``"repeat"`` repeats the one channel of gray images.

    Raises
    ------
    ValueError
        If ``stem="repeat"`` and the images are not gray.
    """
    name, old = find_stem(module)
    if n_channels == old.in_channels:
        return
    if stem == "repeat":
        if n_channels != 1:
            raise ValueError(
                f"stem='repeat' repeats the channel of gray images, but images have {n_channels}; use stem='adapt'"
            )
        new = _like(old, GrayConv2d, old.in_channels)
        new.load_state_dict(old.state_dict())
    else:
        new = _like(old, nn.Conv2d, n_channels)
        with torch.no_grad():
            new.weight.normal_().mul_(old.weight.std() * math.sqrt(old.in_channels / n_channels))
            if old.bias is not None:
                new.bias.copy_(old.bias)
    module.set_submodule(name, new)


def spread_kernel(kernel, n_channels):
    """Turn a kernel over some input channels into one over another number.

    Every new channel gets the sum of the old ones divided by the new number. Gray images then give exactly what
    they give when they are repeated over the old channels, and so do ``n_channels`` equal slices.

    Parameters
    ----------
    kernel : Tensor of shape (n_out, n_in, ...)
        Weights of a convolution.
    n_channels : int
        New number of input channels.

    Returns
    -------
    Tensor of shape (n_out, n_channels, ...)
        Kernel.
    """
    total = kernel.sum(dim=1, keepdim=True)
    return (total / n_channels).expand(-1, n_channels, *kernel.shape[2:]).clone()


def _like(old, kind, n_channels):
    return kind(
        n_channels,
        old.out_channels,
        old.kernel_size,
        stride=old.stride,
        padding=old.padding,
        dilation=old.dilation,
        bias=old.bias is not None,
        padding_mode=old.padding_mode,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )
