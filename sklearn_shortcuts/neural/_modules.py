"""From whatever a user gives as ``module`` to a network that fits the rows."""

import copy
import inspect

from torch import nn

from ._freeze import set_freeze
from ._probe import probe_outputs
from ._spec import check_shapes
from ._weights import load_weights


def resolve_module(module, input_shape, n_outputs, *, weights=None, freeze=None):
    """Make the network that an estimator trains.

    Initial weights are drawn from torch's global generator; the caller seeds it (inside ``torch.random.fork_rng``).

    Parameters
    ----------
    module : ModuleSpec, str, type, callable or torch.nn.Module
        Description with ``build(input_shape, n_outputs)``; the name of a torchvision classification model; a class
        or function that is called with ``(input_shape, n_outputs)``; or a network, of which a copy is made, weights
        included, so that the given one never changes.
    input_shape : tuple of int
        Shape of one row, ``(C, H, W)`` or ``(C, T)``.
    n_outputs : int
        Number of outputs per row.
    weights : str or path, default=None
        Local file with weights, see :func:`load_weights`; what was loaded is kept as ``weights_report`` on the
        network.
    freeze : str or int, default=None
        Layers next to the input that are not trained, see :func:`apply_freeze`.

    Returns
    -------
    torch.nn.Module
        Network in training mode that belongs to the caller.

    Raises
    ------
    TypeError
        If ``module`` is none of the above, or its class cannot be called with ``(input_shape, n_outputs)``.
    ValueError
        If the network cannot take the rows or gives another number of outputs.
    """
    input_shape, n_outputs = check_shapes(input_shape, n_outputs)
    network = _make(module, input_shape, n_outputs)
    _check_outputs(network, input_shape, n_outputs)
    network.train()
    if weights is not None:
        network.weights_report = load_weights(network, weights)
    if freeze is not None:
        set_freeze(network, freeze)
    return network


def _make(module, input_shape, n_outputs):
    if isinstance(module, str):
        from ._torchvision import TorchvisionModule

        return TorchvisionModule(module).build(input_shape, n_outputs)
    if isinstance(module, nn.Module):
        return copy.deepcopy(module)
    if hasattr(module, "build") and not isinstance(module, type):
        network, builder = module.build(input_shape, n_outputs), f"{type(module).__name__}.build"
    elif callable(module) and not hasattr(module, "build"):
        network, builder = _call(module, input_shape, n_outputs), getattr(module, "__name__", repr(module))
    else:
        hint = f"; give an instance, {module.__name__}()" if isinstance(module, type) else ""
        raise TypeError(
            "module must be a description such as SmallCNN(), the name of a torchvision model, a torch.nn.Module "
            f"or a class of one, got {module!r}{hint}"
        )
    if not isinstance(network, nn.Module):
        raise TypeError(f"module: {builder} must give a torch.nn.Module, got {type(network).__name__}")
    return network


def _call(function, input_shape, n_outputs):
    name = getattr(function, "__name__", repr(function))
    try:
        inspect.signature(function).bind(input_shape, n_outputs)
    except TypeError as error:
        raise TypeError(
            f"module={name} is called as {name}(input_shape, n_outputs), which its signature does not allow; "
            f"give an instance of the network, a description with a build method, or, for a model of torchvision, "
            f"its name as a string"
        ) from error
    try:
        return function(input_shape, n_outputs)
    except Exception as error:
        error.add_note(f"raised by {name}(input_shape={input_shape}, n_outputs={n_outputs}), given as module")
        raise


def _check_outputs(network, input_shape, n_outputs):
    name = type(network).__name__
    try:
        shape = probe_outputs(network, input_shape)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"module {name} cannot take rows of shape {input_shape}: {reason}") from error
    if shape == (2, n_outputs):
        return
    if isinstance(shape, tuple) and len(shape) == 2 and shape[0] == 2:
        raise ValueError(
            f"module {name} gives {shape[1]} outputs per row, but {n_outputs} are needed: one per class or label of y"
        )
    raise ValueError(f"module {name} must give outputs of shape (n, {n_outputs}); for 2 rows it gave {shape}")
