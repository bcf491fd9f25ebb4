"""See and change what a layer puts out while the network runs."""

import threading

import torch

from ._channel_axis import has_channels_last
from ._layer_names import resolve_layer
from ._structure import find_head


class LayerHook:
    """Show a function what a layer puts out, as channels over positions, and hand on what the function gives.

    If function and network can be copied and pickled, so can the network with the hook in it.

    Parameters
    ----------
    function : callable
        Called as ``function(values)`` with a Tensor of shape (n, n_channels, n_positions); one position for layers
        without any. Gives a tensor of the same shape that takes their place, or None to leave them.
    image_ndim : int
        Axes of a batch of images as the network takes it: 4 for images, 3 for signals.
    channel_axis : {None, 1, -1}, default=None
        Axis of the channels in the layer's output; None tells it from the layer and the number of axes.
    thread : int, default=None
        Identifier of the only thread whose passes count; None means all. Hooks that stay for the time of one call
        give that of the caller, since others may predict with the same network meanwhile.

    Examples
    --------
    >>> import torch
    >>> from sklearn_shortcuts.neural._layer_hook import LayerHook
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 1))
    >>> hook = LayerHook(lambda values: print(tuple(values.shape)), image_ndim=4)
    >>> handles = [hook.attach(network, layer) for layer in ("0", "last")]
    >>> output = network(torch.zeros(5, 1, 4, 4))
    (5, 2, 4)
    (5, 8, 1)
    >>> for handle in handles:
    ...     handle.remove()
    """

    def __init__(self, function, image_ndim, channel_axis=None, thread=None):
        self.function = function
        self.image_ndim = image_ndim
        self.channel_axis = channel_axis
        self.thread = thread

    def attach(self, module, layer):
        """Register the hook.

        Parameters
        ----------
        module : torch.nn.Module
            Network, changed in place until the handle is removed.
        layer : str
            Name of a layer, or "last": what the network makes its outputs from, which is the input of its last linear
            layer, or of its last convolution if there is none.

        Returns
        -------
        torch.utils.hooks.RemovableHandle
            Its ``remove()`` takes the hook away.

        Raises
        ------
        ValueError
            If the network has no such layer.
        """
        if layer == "last":
            return find_head(module)[1].register_forward_pre_hook(self._before)
        return module.get_submodule(resolve_layer(module, layer)).register_forward_hook(self._after)

    def _before(self, layer, inputs):
        return self.change(layer, inputs)

    def _after(self, layer, inputs, outputs):
        return self.change(layer, outputs)

    def change(self, layer, outputs):
        """Apply the function to what a layer gives or takes.

        Parameters
        ----------
        layer : torch.nn.Module
            Layer.
        outputs : Tensor, or tuple or list with one first
            Its output, or its inputs.

        Returns
        -------
        Tensor, tuple, list or None
            The same with what the function gives; None to leave it.

        Raises
        ------
        ValueError
            If there is no tensor with channels for each image.
        """
        if self.thread is not None and threading.get_ident() != self.thread:
            return None
        several = isinstance(outputs, (tuple, list)) and len(outputs) > 0
        values = outputs[0] if several else outputs
        if not isinstance(values, torch.Tensor) or values.ndim < 2:
            raise ValueError(
                f"layer: {type(layer).__name__} gives no tensor with channels for each image; name a layer within it"
            )
        last = has_channels_last(layer, values, self.image_ndim, self.channel_axis)
        moved = values.movedim(-1, 1) if last else values
        given = self.function(moved.flatten(2) if moved.ndim > 2 else moved[:, :, None])
        if given is None:
            return None
        changed = given.reshape(moved.shape)
        changed = changed.movedim(1, -1) if last else changed
        if not several:
            return changed
        changed = (changed, *outputs[1:])
        return type(outputs)(*changed) if hasattr(outputs, "_fields") else type(outputs)(changed)


def is_edited(module):
    """Tell whether a network has a LayerHook for all threads, which changes it for good."""
    hooks = [
        hook for part in module.modules() for hook in (*part._forward_hooks.values(), *part._forward_pre_hooks.values())
    ]
    owners = [getattr(hook, "__self__", None) for hook in hooks]
    return any(isinstance(owner, LayerHook) and owner.thread is None for owner in owners)
