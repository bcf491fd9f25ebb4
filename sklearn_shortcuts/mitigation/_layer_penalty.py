"""Penalties and edits that look at one layer while the layers behind it are trained."""

import contextlib
import threading

from torch.nn.modules.batchnorm import _BatchNorm

from ..neural import Penalty
from ..neural._layer_hook import LayerHook


class LayerPenalty(Penalty):
    """Base of what :class:`ConceptRefinement` trains with; not public. By itself it adds nothing to the loss.

    Statistics of batch normalization stand still in all of the network: a row's outputs are then its own, in training
    as at prediction. With those of the batch, what all rows have in common would be subtracted again, and the outputs
    could not depend on it.

    Parameters
    ----------
    layer : str
        Name of the layer, or "last".
    image_ndim : int
        Axes of a batch of images.
    channel_axis : {None, 1, -1}
        Axis of the channels in the layer's output; None tells it from the layer.

    Attributes
    ----------
    always_watches : bool
        Class attribute: whether the forward passes are watched though the strength is 0.
    """

    always_watches = True

    def __init__(self, layer, image_ndim, channel_axis=None):
        self.layer = layer
        self.image_ndim = image_ndim
        self.channel_axis = channel_axis

    def build(self, n_samples, n_outputs, kind):
        """Make the callable, see :meth:`Penalty.build`."""
        return LayerWatcher(self)


class LayerWatcher:
    """What :meth:`LayerPenalty.build` gives.

    Parameters
    ----------
    spec : LayerPenalty
        Description.
    """

    def __init__(self, spec):
        self.spec = spec

    @contextlib.contextmanager
    def watch(self, module):
        """Keep the statistics of batch normalization as they are, with the hooks of :meth:`watched` in place."""
        handles = []
        try:
            handles += self.watched(module)
            with still_statistics(module):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def watched(self, module):
        """Handles of hooks for the time of a forward pass."""
        return []

    def __call__(self, module, batch):
        """Values per row."""
        return batch["losses"].new_zeros(len(batch["losses"]))

    def hook(self, function):
        """A hook on the layer that counts in this thread only."""
        spec = self.spec
        return LayerHook(function, spec.image_ndim, spec.channel_axis, thread=threading.get_ident())


@contextlib.contextmanager
def still_statistics(module):
    """Have batch normalization use its running statistics, and leave them as they are.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    """
    layers = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.training]
    layers = [part for part in layers if part.running_mean is not None]
    for part in layers:
        part.training = False
    try:
        yield
    finally:
        for part in layers:
            part.training = True


def spread(direction, values):
    """Give a direction of the channels at all positions, over their number.

    Parameters
    ----------
    direction : Tensor of shape (n_channels,)
        Direction.
    values : Tensor of shape (n, n_channels, n_positions)
        Output of the layer.

    Returns
    -------
    Tensor of shape (n, n_channels, n_positions)
        The same for all rows and positions.
    """
    direction = direction.to(values) / values.shape[2]
    return direction[:, None].expand(values.shape).contiguous()
