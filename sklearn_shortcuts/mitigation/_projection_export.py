"""An edited network without hooks: the edit folded into its last layer, or a layer of its own."""

import contextlib
import copy

import torch
from torch import nn

from ..neural._layer_hook import LayerHook
from ..neural._modes import explaining
from ..neural._structure import find_head, main_output
from ._activation_edit import AboveThreshold, edit_hooks


def export_network(module, layer, image_shape, channel_axis):
    """Give a copy of an edited network that needs no hook.

    Parameters
    ----------
    module : torch.nn.Module
        Network with an edit in it; is not changed.
    layer : str
        Name of the edited layer, or "last".
    image_shape : tuple of int
        Shape of one row.
    channel_axis : {None, 1, -1}
        Axis of the channels in the layer's output.

    Returns
    -------
    torch.nn.Module
        With the edit folded into the last linear layer where that gives the same, or in a layer of its own.

    Raises
    ------
    ValueError
        If the edit depends on more than the network's own activations, there is another edit, or the layer cannot be
        replaced.
    """
    plain = copy.deepcopy(module)
    hooks = edit_hooks(plain)
    if len(hooks) > 1:
        raise ValueError(
            f"the network has {len(hooks)} edits, one of which was put in before by another estimator; export that one "
            f"first and edit what it gives"
        )
    ((place, key, edit),) = hooks
    if not (edit.condition is None or isinstance(edit.condition, AboveThreshold)):
        raise ValueError(
            "only the conditions 'always' and 'concept', the latter with a linear detector, can be exported; others "
            "need a second network or code that is no part of a network"
        )
    del place[key]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = torch.randn(3, *image_shape, dtype=torch.float64)
    wanted = _outputs(module, images)
    # Weights of other precisions than float64 are rounded when something is folded into them.
    double = all(part.dtype == torch.float64 for part in plain.parameters())
    tolerance = 1e-9 if double else 1e-3
    for change in (_fold, _insert):
        exported = copy.deepcopy(plain)
        if change(exported, edit, layer, images, channel_axis):
            with contextlib.suppress(AttributeError, TypeError, RuntimeError):  # of code that expects the old layer
                given = _outputs(exported, images)
                if torch.allclose(given, wanted, rtol=tolerance, atol=tolerance * float(wanted.abs().max())):
                    return exported
    raise ValueError(
        f"layer {layer!r} of {type(module).__name__} cannot be replaced by one with the edit: the network uses it in "
        f"other ways than by calling it once; go on with estimator_, which pickle keeps"
    )


def _fold(module, edit, layer, images, channel_axis):
    """Put an edit into the last linear layer, if that gives the same; tell whether it does."""
    head = find_head(module)[1]
    if edit.condition is not None or not isinstance(head, nn.Linear):
        return False
    if not _feeds_head(module, edit.pool, layer, images, channel_axis):
        return False
    weight = head.weight.detach().to(torch.float64)
    vectors, levels = edit.vectors.to(weight), edit.levels.to(weight)
    bias = weight @ vectors.T @ levels
    bias = bias if head.bias is None else bias + head.bias.detach()
    weight = weight - weight @ vectors.T @ vectors
    trained = head.weight.requires_grad
    head.weight, head.bias = (
        nn.Parameter(part.to(head.weight.dtype), requires_grad=trained) for part in (weight, bias)
    )
    return True


def _feeds_head(module, pool, layer, images, channel_axis):
    """Whether the last layer's input is what the edit pools, whatever values there are."""
    probe = _in_float64(module)
    seen, inputs = [], []

    def replace(values):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(len(seen))
            seen.append(torch.randn(values.shape, dtype=values.dtype))
        return seen[-1]

    LayerHook(replace, images.ndim, channel_axis).attach(probe, layer)
    find_head(probe)[1].register_forward_pre_hook(lambda head, given: inputs.append(given[0]))
    _run(probe, images)
    if len(seen) != 1 or len(inputs) != 1 or (seen[0].shape[2] > 1 and pool != "mean"):
        return False
    pooled = seen[0].mean(2)
    return inputs[0].shape == pooled.shape and torch.allclose(inputs[0], pooled, rtol=1e-12, atol=1e-12)


def _insert(module, edit, layer, images, channel_axis):
    """Put a layer with the edit in the place of one without."""
    name = find_head(module)[0] if layer == "last" else layer
    parent, _, child = name.rpartition(".")
    old = module.get_submodule(name)
    new = EditedLayer(old, edit, images.ndim, channel_axis, before=layer == "last").train(old.training)
    setattr(module.get_submodule(parent), child, new)
    return True


class EditedLayer(nn.Module):
    """A layer whose output, or input, is edited.

    Parameters
    ----------
    layer : torch.nn.Module
        Layer.
    edit : ActivationEdit
        Edit.
    image_ndim : int
        Axes of a batch of images.
    channel_axis : {None, 1, -1}
        Axis of the channels.
    before : bool
        Whether the input is edited.
    """

    def __init__(self, layer, edit, image_ndim, channel_axis, before):
        super().__init__()
        self.layer = layer
        self.edit = edit
        self.image_ndim = image_ndim
        self.channel_axis = channel_axis
        self.before = before

    def forward(self, *inputs, **options):
        """Run the layer with the edit."""
        hook = LayerHook(self.edit, self.image_ndim, self.channel_axis)
        if self.before:
            return self.layer(*hook.change(self.layer, inputs), **options)
        return hook.change(self.layer, self.layer(*inputs, **options))

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:  # networks may ask their layers for their sizes
            return getattr(super().__getattr__("layer"), name)


def _in_float64(module):
    return copy.deepcopy(module).to("cpu", torch.float64)


def _outputs(module, images):
    return _run(_in_float64(module), images)


def _run(module, images):
    with explaining(module), torch.no_grad():
        return main_output(module(images))
