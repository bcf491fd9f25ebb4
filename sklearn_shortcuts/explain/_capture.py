"""Record what a layer gives, in a form that gradients can be taken with respect to."""

import contextlib
import threading

import torch

from ..neural._layer_names import resolve_layer
from ..neural._plain_attention import plain_attention
from ._layers import find_layer


class LayerRecorder:
    """Record one layer's output during forward passes.

    Parameters
    ----------
    layer : str or torch.nn.Module, default="auto"
        Name of a layer, the layer itself, or ``"auto"``: what :func:`find_layer` finds in the first forward pass.
    cut : bool, default=False
        Whether the graph of the forward pass begins at this layer. What lies below is then not differentiated, and
        the activation is a leaf.

    Attributes
    ----------
    activation : Tensor
        Output of the layer in the last forward pass, part of that pass's graph. Later operations of the network that
        overwrite their input do not change it. If a layer is used several times in a pass, this is the last use; if
        it gives several tensors, the first of them.
    layer : str
        Name of the layer; of ``"auto"`` known after the first pass.

    Examples
    --------
    >>> import torch
    >>> from sklearn_shortcuts.explain._capture import LayerRecorder
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(inplace=True), torch.nn.Flatten())
    >>> recorder = LayerRecorder("0")
    >>> with recorder.watch(network):
    ...     outputs = network(torch.zeros(1, 1, 4, 4))
    >>> recorder.activation.shape
    torch.Size([1, 2, 2, 2])
    """

    def __init__(self, layer="auto", *, cut=False):
        self.layer = layer
        self.cut = cut
        self.activation = None

    @contextlib.contextmanager
    def watch(self, module):
        """Record while the block runs; no hook stays behind.

        Parameters
        ----------
        module : torch.nn.Module
            Network that the layer is part of.

        Yields
        ------
        LayerRecorder
            The recorder itself.

        Raises
        ------
        ValueError
            If the network has no such layer, or the layer took no part in a forward pass.
        """
        caller = threading.get_ident()
        self.activation = None

        def keep(layer, inputs, output):
            if threading.get_ident() != caller:  # others may predict with the same network meanwhile
                return None
            first = output[0] if isinstance(output, (tuple, list)) and output else output
            if not isinstance(first, torch.Tensor):
                raise ValueError(
                    f"layer: {self.layer!r} gives {type(first).__name__}, no tensor; name a layer within it"
                )
            # Below frozen layers there is no graph to be part of; the layer's output then becomes its begin.
            starts = self.cut or not first.requires_grad
            recorded = first.detach().clone().requires_grad_() if starts else first.clone()
            self.activation = recorded
            handed_on = recorded.clone()
            if first is output:
                return handed_on
            handed_on = (handed_on, *output[1:])
            return type(output)(*handed_on) if hasattr(output, "_fields") else type(output)(handed_on)

        def find(network, inputs):
            if threading.get_ident() == caller:
                hooks.pop().remove()  # the search runs the network itself
                self.layer = find_layer(network, inputs[0])
                hooks.append(network.get_submodule(self.layer).register_forward_hook(keep))

        hooks = []
        if isinstance(self.layer, str) and self.layer == "auto":
            hooks.append(module.register_forward_pre_hook(find))
        else:
            self.layer = resolve_layer(module, self.layer)
            hooks.append(module.get_submodule(self.layer).register_forward_hook(keep))
        try:
            with contextlib.nullcontext() if self.cut else plain_attention():
                yield self
        finally:
            for hook in hooks:
                hook.remove()
        if self.activation is None:
            raise ValueError(f"layer: {self.layer!r} took no part in the forward pass; name another layer")

    def gradient(self, score, *, create_graph=False):
        """Differentiate a score with respect to the activation.

        Parameters
        ----------
        score : Tensor of shape ()
            Sum of scores of the last forward pass.
        create_graph : bool, default=False
            Whether the gradient can be differentiated in turn.

        Returns
        -------
        Tensor
            Gradient in the shape of :attr:`activation`.

        Raises
        ------
        ValueError
            If the score does not depend on the layer.
        """
        gradient = None
        if score.requires_grad:
            (gradient,) = torch.autograd.grad(score, self.activation, create_graph=create_graph, allow_unused=True)
        if gradient is None:
            raise ValueError(f"layer: the score does not depend on {self.layer!r}; name another layer")
        return gradient
