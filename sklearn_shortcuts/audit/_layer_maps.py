"""Activations or relevances of one layer at every position, batch by batch, with what each position sees."""

import contextlib
import threading

import torch

from ..explain._formulas import as_map
from ..explain._targets import select_scores
from ..neural._channel_axis import has_channels_last
from ..neural._layer_names import resolve_layer
from ..neural._plain_attention import plain_attention
from ..neural._receptive_field import GeometryRecorder, receptive_field
from ..neural._structure import find_head


class LayerMaps:
    """What a layer puts out for a batch, or what part of a score comes from it.

    Parameters
    ----------
    subject : Subject
        Network and rows.
    layer : str
        Name of the layer; "last" means the input of the network's last linear layer, or convolution.
    channel_axis : {None, 1, -1}
        Axis of the channels in the layer's output; None tells it from the layer and the number of axes.

    Attributes
    ----------
    map_size : tuple of int or None
        Cells of the map per axis of the image; None until the first batch, and of layers without positions.
    windows : tuple of Window or None
        What the cells see of the image; None where ``map_size`` is.
    """

    def __init__(self, subject, layer, channel_axis):
        self.subject = subject
        self.layer = layer if layer == "last" else resolve_layer(subject.module, layer)
        self.channel_axis = channel_axis
        self.map_size = None
        self.windows = None
        self._seen = None
        self._operations = ()
        self._with_graph = False

    def activations(self, batch):
        """Give the outputs of the layer.

        Parameters
        ----------
        batch : dict
            With ``"X"``.

        Returns
        -------
        Tensor of shape (n, n_channels, n_positions)
            Outputs, float32 or float64.
        """
        with torch.no_grad(), self._watch(with_graph=False):
            self.subject.infer(batch["X"])
        return self._arranged(self._taken(), batch)

    def relevances(self, batch):
        """Give gradient times activation of the scores in ``batch["target"]``.

        Parameters
        ----------
        batch : dict
            With ``"X"`` and ``"target"``, what :func:`select_scores` takes.

        Returns
        -------
        Tensor of shape (n, n_channels, n_positions)
            Relevances, float32 or float64.
        """
        with torch.enable_grad(), plain_attention(), self._watch(with_graph=True):
            scores = select_scores(self.subject.infer(batch["X"]), batch["target"], self.subject.kind).sum()
        values = self._taken()
        gradient = None
        if scores.requires_grad:
            (gradient,) = torch.autograd.grad(scores, values, allow_unused=True)
        if gradient is None:
            raise ValueError(f"layer: the score does not depend on {self.layer!r}; name another layer")
        return self._arranged(values.detach() * gradient, batch)

    @contextlib.contextmanager
    def _watch(self, *, with_graph):
        caller, module = threading.get_ident(), self.subject.module
        self._seen, self._with_graph = None, with_graph
        geometry = GeometryRecorder(lambda: self._seen is not None)

        def after(part, inputs, output):
            return self._keep(part, output) if threading.get_ident() == caller else None

        def before(part, inputs):
            return self._keep(part, inputs) if threading.get_ident() == caller else None

        if self.layer == "last":
            hook = find_head(module)[1].register_forward_pre_hook(before)
        else:
            hook = module.get_submodule(self.layer).register_forward_hook(after)
        try:
            with geometry if self.windows is None else contextlib.nullcontext():
                yield
        finally:
            hook.remove()
        if self.windows is None:
            self._operations = geometry.operations

    def _keep(self, part, output):
        several = isinstance(output, (tuple, list)) and len(output) > 0
        values = output[0] if several else output
        if not isinstance(values, torch.Tensor) or values.ndim < 2:
            raise ValueError(
                f"layer: {self.layer!r} gives no tensor with channels for each image; name a layer within it"
            )
        kept = values.detach().clone()  # later layers may overwrite it
        self._seen = part, kept
        if not self._with_graph:
            return None
        handed_on = kept.requires_grad_().clone()
        if not several:
            return handed_on
        handed_on = (handed_on, *output[1:])
        return type(output)(*handed_on) if hasattr(output, "_fields") else type(output)(handed_on)

    def _taken(self):
        if self._seen is None:
            raise ValueError(f"layer: {self.layer!r} took no part in the forward pass; name another layer")
        return self._seen[1]

    def _arranged(self, values, batch):
        values = values.to(torch.promote_types(values.dtype, torch.float32))  # sums in bfloat16 lose small parts
        spatial = tuple(batch["X"].shape[2:])
        last = has_channels_last(self._seen[0], values, batch["X"].ndim, self.channel_axis)
        self._seen = None
        if last and values.ndim == 3 and len(spatial) == 2:
            with contextlib.suppress(ValueError):  # tokens of which none stands for a part of the image
                values, last = as_map(values, spatial), False
        if last and values.ndim > 2:
            values = values.movedim(-1, 1)
        if values.ndim == len(spatial) + 2:
            self.map_size = tuple(values.shape[2:])
            self.windows = self.windows or receptive_field(self._operations, spatial, self.map_size)
        return values.flatten(2) if values.ndim > 2 else values[:, :, None]
