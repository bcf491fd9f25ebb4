"""Where and in what numbers a network runs, and who may draw random numbers meanwhile."""

import contextlib
import threading

import torch

# torch draws initial weights and dropout masks from one generator per process. Fits that run in threads take turns,
# or each would depend on what the others draw.
_GLOBAL_GENERATOR = threading.RLock()

_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.float32}


def resolve_device(device):
    """Turn the ``device`` parameter into a torch device.

    Parameters
    ----------
    device : str
        ``"auto"`` (a CUDA GPU if there is one, otherwise the CPU) or anything ``torch.device`` takes.

    Returns
    -------
    torch.device
        Device that exists here.

    Raises
    ------
    ValueError
        If torch does not know the device or this machine does not have it.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is not a device that torch knows; use 'auto', 'cpu' or 'cuda'") from error
    if resolved.type == "cuda" and (
        not torch.cuda.is_available() or (resolved.index or 0) >= torch.cuda.device_count()
    ):
        raise ValueError(f"device={device!r} is not available here; device='auto' takes what there is")
    return resolved


def parameter_dtype(precision):
    """Data type of the weights; ``"bfloat16"`` computes in bfloat16 on float32 weights."""
    return _DTYPES[precision]


@contextlib.contextmanager
def own_random_state(seed, device):
    """Give the block torch's random numbers from ``seed`` and put the caller's state back afterwards.

    Parameters
    ----------
    seed : int
        Start of the sequence.
    device : torch.device
        Device whose generator is seeded and restored besides that of the CPU.
    """
    # Without an index this is the current device, which is not necessarily the first.
    devices = [device if device.index is not None else torch.cuda.current_device()] if device.type == "cuda" else []
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
