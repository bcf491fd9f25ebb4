"""Attention that can be differentiated twice."""

import contextlib
import threading

import torch

_KINDS = ("flash", "mem_efficient", "cudnn", "math")


class _PlainAttention:
    """Keeps torch from the fused kernels of attention, which have no second derivative.

    torch has one choice of kernels per process. It is put back when the last of several threads is done, which
    torch's own context manager does not do: a thread that puts back what it found may have found another's choice.
    """

    def __init__(self):
        self._lock, self._users, self._found = threading.Lock(), 0, {}

    @contextlib.contextmanager
    def use(self):
        with self._lock:
            if self._users == 0:
                self._found = {kind: getattr(torch.backends.cuda, f"{kind}_sdp_enabled")() for kind in _KINDS}
                self._choose({kind: kind == "math" for kind in _KINDS})
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._choose(self._found)

    @staticmethod
    def _choose(kinds):
        for kind, enabled in kinds.items():
            getattr(torch.backends.cuda, f"enable_{kind}_sdp")(enabled)


plain_attention = _PlainAttention().use
