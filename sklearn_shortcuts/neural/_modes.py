"""Look at a network without leaving a trace in it."""

import contextlib
import threading
import weakref

import torch

_LOCK = threading.Lock()
_EXPLAINED: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def explaining(module):
    """Have a network in evaluation mode, its parameters asking for no gradient, and put everything back afterwards.

    Blocks may be nested and run in several threads: the network is put back when the last of them ends. Inside there
    can be gradients even where the caller is in inference mode.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    """
    with _LOCK:
        state = _EXPLAINED.setdefault(module, _State())
        state.users += 1
        if state.users == 1:
            state.take(module)
    try:
        eager = torch.compiler.set_stance("force_eager") if _is_compiled(module) else contextlib.nullcontext()
        with eager, torch.inference_mode(False):
            yield
    finally:
        with _LOCK:
            state.users -= 1
            if state.users == 0:
                state.restore()
                _EXPLAINED.pop(module, None)


class _State:
    def __init__(self):
        self.users = 0
        self.training, self.trained = [], []

    def take(self, module):
        self.training = [part for part in module.modules() if part.training]
        self.trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        # Part by part: train(False) of a network may be its own and do more than that.
        for part in self.training:
            part.training = False
        for parameter in self.trained:
            parameter.requires_grad_(False)

    def restore(self):
        for part in self.training:
            part.training = True
        for parameter in self.trained:
            parameter.requires_grad_(True)


def _is_compiled(module):
    # Compiled code sees no hooks.
    return any(part._compiled_call_impl is not None or hasattr(part, "_orig_mod") for part in module.modules())
