"""What a network gives for rows of a shape, found out without leaving a trace in it."""

from contextlib import contextmanager

import torch
from torch import nn
from torch.func import functional_call


def probe_outputs(module, input_shape):
    """Send two blank rows through a network in evaluation mode.

    The rows go through shapes only (torch's meta device) where the network allows it, and through the real layers
    where it does not. Weights, statistics, modes and the random state stay as they are; a network with lazy layers
    gets its parameters here.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    input_shape : tuple of int
        Shape of one row.

    Returns
    -------
    tuple of int or str
        Shape of the outputs, or, where these are no tensor, the name of their type.

    Raises
    ------
    Exception
        Whatever the network raises for rows of this shape.
    """
    with _evaluation(module), torch.no_grad():
        try:
            outputs = _on_meta(module, input_shape)
        except Exception:  # not every network can run on shapes only; the real layers decide
            outputs = _on_real(module, input_shape)
    return tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__


def accepts(module, input_shape):
    """Tell whether a network that can run on shapes only takes rows of a shape.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    input_shape : tuple of int
        Shape of one row.

    Returns
    -------
    bool
        Whether the forward pass succeeds.
    """
    with _evaluation(module), torch.no_grad():
        try:
            _on_meta(module, input_shape)
        except (RuntimeError, AssertionError):
            return False
    return True


@contextmanager
def _evaluation(module):
    """Evaluation mode, and every layer back in its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _on_meta(module, input_shape):
    tensors = dict(module.named_parameters(), **dict(module.named_buffers()))
    shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
    rows = torch.empty((2, *input_shape), device="meta", dtype=_floating(tensors.values())[1])
    return functional_call(module, shapes, (rows,))


def _on_real(module, input_shape):
    device, dtype = _floating([*module.parameters(), *module.buffers()])
    rows = torch.zeros((2, *input_shape), device=device, dtype=dtype)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        return module(rows)


def _floating(tensors):
    """Device and dtype of the first tensor that has both already."""
    for tensor in tensors:
        if tensor.is_floating_point() and not nn.parameter.is_lazy(tensor):
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.get_default_dtype()
