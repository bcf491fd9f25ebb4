"""Mean and standard deviation per channel, for normalizing images."""

import numpy as np
import torch

from ._batches import BatchLoader

# Of the photographs that published weights were trained on, RGB in [0, 1] (torchvision's documented constants).
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet_statistics(n_channels):
    """Published constants for 3 channels; their average for one gray channel.

    Parameters
    ----------
    n_channels : int
        1 or 3.

    Returns
    -------
    mean, std : ndarray of shape (n_channels,)
        In units of images in [0, 1].

    Raises
    ------
    ValueError
        If there is another number of channels.
    """
    if n_channels not in (1, 3):
        raise ValueError(f"normalize='imagenet' needs images with 1 or 3 channels, X has {n_channels}")
    mean, std = np.array(_IMAGENET_MEAN), np.array(_IMAGENET_STD)
    return (mean, std) if n_channels == 3 else (mean.mean(keepdims=True), std.mean(keepdims=True))


def channel_statistics(reader, batch_size, n_threads):
    """Compute weighted mean and standard deviation of each channel in one pass over the rows.

    Parameters
    ----------
    reader : RowReader
        Training rows; the field ``"sample_weight"`` is used if there.
    batch_size : int
        Rows read at a time.
    n_threads : int or None
        Threads that read ahead.

    Returns
    -------
    mean, std : ndarray of shape (C,)
        In the units that the network sees; the deviation of a constant channel is given as 1.
    """
    total, mean, spread = 0.0, 0.0, 0.0
    for images, fields in BatchLoader(reader, batch_size, n_threads=n_threads):
        values = images.double().flatten(2)
        if images.dtype == torch.uint8:
            values /= 255
        weights = fields["sample_weight"].double() if "sample_weight" in fields else torch.ones(len(values)).double()
        weight = weights.sum()
        weights = weights[:, None]
        batch_mean = (values.mean(2) * weights).sum(0) / weight
        deviations = (values - batch_mean[:, None]).square().mean(2)
        batch_spread = (deviations * weights).sum(0)
        # Chan, Golub and LeVeque: sums of squared deviations add up once the shift between the means is accounted for.
        shift = batch_mean - mean
        mean = mean + shift * weight / (total + weight)
        spread = spread + batch_spread + shift.square() * total * weight / (total + weight)
        total = total + weight
    mean, std = mean.numpy(), np.sqrt((spread / total).numpy())
    constant = std <= 1e-6 * np.abs(mean)  # what rounding leaves of zero
    return mean, np.where(constant, 1.0, std)
