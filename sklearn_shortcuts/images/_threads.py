"""Worker threads that all readers of a process share."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()
_worker = threading.local()


def thread_map(function, items, n_threads=None):
    """Apply a function to every item in worker threads and keep the order.

    The pools are made when first needed, once per process: nothing is pickled with a reader, and a forked process,
    which inherits no threads, makes its own.

    Parameters
    ----------
    function : callable
        ``function(item) -> result``; spends its time outside the interpreter lock, as decoders do.
    items : sequence
        What to apply it to.
    n_threads : int, default=None
        Number of threads; by default one per available processor, at most 8.

    Returns
    -------
    list
        Results in the order of the items.
    """
    if n_threads is None:
        n_threads = min(8, joblib.cpu_count())
    if n_threads == 1 or len(items) <= 1 or getattr(_worker, "busy", False):  # a worker must not wait for workers
        return [function(item) for item in items]
    with _lock:
        if n_threads not in _pools:
            _pools[n_threads] = ThreadPoolExecutor(n_threads, "sklearn_shortcuts", initializer=_mark_worker)
        pool = _pools[n_threads]
    return list(pool.map(function, items))


def _mark_worker():
    _worker.busy = True


def _after_fork():
    global _lock
    _lock = threading.Lock()
    _pools.clear()
    _worker.busy = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
