"""On which axis of a layer's output the channels are."""

from torch import nn

_ON_LAST_AXIS = (nn.Linear, nn.LayerNorm, nn.TransformerEncoderLayer)


def has_channels_last(layer, values, image_ndim, channel_axis=None):
    """Tell whether the channels of a layer's output are on its last axis.

    Parameters
    ----------
    layer : torch.nn.Module
        Layer.
    values : Tensor of shape (n, ...)
        Its output, or the input that it takes.
    image_ndim : int
        Axes of the batch that the network was given.
    channel_axis : {None, 1, -1}
        The axis, where the user says it; None tells it from the layer and the number of axes.

    Returns
    -------
    bool
        Whether it is the last axis and not the second. With two axes both are the same.
    """
    if channel_axis is not None:
        return channel_axis == -1
    # Subclasses of these may compute on another axis, as torchvision's normalization of maps does.
    if type(layer) in _ON_LAST_AXIS:
        return True
    return values.ndim == 3 and image_ndim == 4
