"""The outputs of layers, as channels over positions, while batches go through the network."""

import contextlib
import threading

import torch

from ..neural._channel_axis import has_channels_last
from ..neural._structure import find_head


class Activations:
    """Give what layers put out for a batch.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    layers : sequence of str
        Names of layers. If the first is "last", its place is taken by the input of the network's last layer.
    channel_axis : {None, 1, -1}
        Axis of the channels; None tells it from the layer and the number of axes.
    """

    def __init__(self, module, layers, channel_axis):
        self.module = module
        self.layers = list(layers)
        self.channel_axis = channel_axis
        self._seen = {}

    @contextlib.contextmanager
    def watch(self):
        """Keep the outputs of this thread's forward passes while the block runs; no hook stays behind.

        Yields
        ------
        Activations
            Itself.
        """
        caller = threading.get_ident()

        def keep_output(name):
            def hook(layer, inputs, output):
                if threading.get_ident() == caller:  # others may predict with the same network meanwhile
                    self._seen[name] = layer, _copied(output)

            return hook

        def keep_input(layer, inputs):
            if threading.get_ident() == caller:
                self._seen["last"] = layer, _copied(inputs)

        hooks = []
        try:
            for name in self.layers:
                if name == "last":
                    hooks.append(find_head(self.module)[1].register_forward_pre_hook(keep_input))
                else:
                    hooks.append(self.module.get_submodule(name).register_forward_hook(keep_output(name)))
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    def of(self, X, dtype):
        """Send a batch through the network.

        Parameters
        ----------
        X : Tensor of shape (n, C, H, W) or (n, C, T)
            Images as the network takes them.
        dtype : torch.dtype
            Of the results.

        Returns
        -------
        dict of str to tuple of Tensor of shape (n, n_channels, n_positions) and bool
            Output of each layer, and whether its positions are tokens.

        Raises
        ------
        ValueError
            If a layer takes no part in the pass, or gives no tensor with one row per image.
        """
        self._seen.clear()
        self.module(X)
        found = {}
        for name in self.layers:
            if name not in self._seen:
                raise ValueError(f"layers: {name!r} took no part in the forward pass; name another layer")
            layer, values = self._seen[name]
            if not isinstance(values, torch.Tensor):
                raise ValueError(f"layers: {name!r} gives {values.__name__}, no tensor; name a layer within it")
            found[name] = over_positions(name, layer, values.to(dtype), X, self.channel_axis)
        self._seen.clear()
        return found


def over_positions(name, layer, values, X, channel_axis):
    """Give what belongs to a layer's output as channels over positions.

    Parameters
    ----------
    name : str
        Name of the layer, for messages.
    layer : torch.nn.Module
        The layer.
    values : Tensor of shape (n, ...)
        Its output, or something of that shape.
    X : Tensor of shape (n, C, H, W) or (n, C, T)
        Images that the network was given.
    channel_axis : {None, 1, -1}
        Axis of the channels; None tells it from the layer and the number of axes.

    Returns
    -------
    values : Tensor of shape (n, n_channels, n_positions)
        The same.
    tokens : bool
        Whether the positions are tokens.

    Raises
    ------
    ValueError
        If there is not one row per image.
    """
    if values.ndim < 2 or len(values) != len(X):
        raise ValueError(
            f"layers: {name!r} gives an output of shape {tuple(values.shape)} for {len(X)} images; name a "
            "layer that gives channels for each image"
        )
    last = has_channels_last(layer, values, X.ndim, channel_axis)
    tokens = last and values.ndim == 3
    if last:
        values = values.movedim(-1, 1)
    return values.flatten(2) if values.ndim > 2 else values[:, :, None], tokens


def _copied(values):
    """Copy of the first tensor, which later layers may overwrite, or the type of what is none."""
    first = values[0] if isinstance(values, (tuple, list)) and values else values
    return first.detach().clone() if isinstance(first, torch.Tensor) else type(first)
