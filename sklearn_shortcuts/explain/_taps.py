"""Look at what layers give while a network runs, and hand on something in its place."""

import contextlib
import threading

import torch

from ..neural._layer_names import resolve_layer
from ..neural._structure import find_head


@contextlib.contextmanager
def tapped(module, layers, function, *, first=False):
    """Have a function called with the outputs of layers during the block, in this thread; no hook stays behind.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    layers : sequence of str
        Names of layers; ``"last"`` is what the network makes its logits from, the input of its last linear layer, or
        of its last convolution if there is none.
    function : callable
        ``function(name, layer, values) -> Tensor or None``: what goes on in the place of the layer's output, of
        several the first; None leaves it.
    first : bool, default=False
        Whether to go before the hooks that the network has already, and see what the layer itself gives, not what they
        make of it.

    Raises
    ------
    ValueError
        If the network has no such layer, or the layer gives no tensor with one row per image.
    """
    caller = threading.get_ident()

    def hand_on(name, layer, outputs):
        if threading.get_ident() != caller:  # others may predict with the same network meanwhile
            return None
        several = isinstance(outputs, (tuple, list)) and len(outputs) > 0
        values = outputs[0] if several else outputs
        if not isinstance(values, torch.Tensor):
            raise ValueError(f"layers: {name!r} gives {type(values).__name__}, no tensor; name a layer within it")
        changed = function(name, layer, values)
        if changed is None or not several:
            return changed
        changed = (changed, *outputs[1:])
        return type(outputs)(*changed) if hasattr(outputs, "_fields") else type(outputs)(changed)

    def attach(name):
        if name == "last":
            return find_head(module)[1].register_forward_pre_hook(
                lambda layer, inputs: hand_on(name, layer, inputs), prepend=first
            )
        layer = module.get_submodule(resolve_layer(module, name))
        return layer.register_forward_hook(lambda layer, inputs, outputs: hand_on(name, layer, outputs), prepend=first)

    with contextlib.ExitStack() as hooks:
        for name in layers:
            hooks.callback(attach(name).remove)
        yield
