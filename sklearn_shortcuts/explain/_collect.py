"""Explain rows batch by batch and collect the maps."""

import warnings

import numpy as np
import torch

from ._maps import SaliencyMaps
from ._targets import resolve_target


def collect_maps(subject, explain, *, target, method, y=None, layer=None, details=None, out=None):
    """Explain all rows of a subject.

    The network is in evaluation mode meanwhile and as it was afterwards. Where the device's memory
    does not suffice for a batch it is explained in parts.

    Parameters
    ----------
    subject : Subject
        Network and rows.
    explain : callable
        ``explain(batch) -> Tensor`` of shape (n, H, W) or (n, T). ``batch`` is one of :meth:`Subject.batches`, with
        ``"target"``, what :func:`select_scores` takes, added.
    target : object
        See :func:`resolve_target`.
    method : str
        Name of the method.
    y : array-like, default=None
        True classes.
    layer : str or callable, default=None
        Name of the explained layer, or a function that gives it when all is done.
    details : dict of str to list, default=None
        Lists to which ``explain``, before it ends, appends a tensor of shape (n, ...) with what else it found out.
    out : ndarray of shape (n, H, W) or (n, T), dtype float32, default=None
        Where to write the maps, for instance a memory map.

    Returns
    -------
    SaliencyMaps
        Maps; a view of ``out`` if that is given.

    Raises
    ------
    ValueError
        If ``out`` has another shape or type, or the outputs or the map of a row are not finite.
    """
    target = resolve_target(subject, target, y)
    maps, start = out, 0
    with subject.explaining():
        for batch in subject.batches():
            index = batch["index"].cpu().numpy()
            batch["target"] = target if isinstance(target, str) else torch.as_tensor(target[index]).to(subject.device)
            part = _in_parts(subject, explain, batch).detach().float().cpu().numpy()
            _check_finite(part, index)
            if start == 0:
                maps = _storage(out, (subject.n_rows, *part.shape[1:]))
            maps[start : start + len(part)] = part
            start += len(part)
    found = {name: torch.cat(parts).cpu().numpy() for name, parts in (details or {}).items()}
    return SaliencyMaps(maps, method=method, layer=layer() if callable(layer) else layer, details=found)


def _storage(out, shape):
    if out is None:
        return np.empty(shape, dtype=np.float32)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != np.float32 or not out.flags.writeable:
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out must be a writable float32 array of shape {shape}, got {got}")
    return out


def _check_finite(maps, index):
    finite = np.isfinite(maps).reshape(len(maps), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"the map of row {index[~finite][0]} is not finite; look at the network's outputs for it, and try "
            f"precision='float32'"
        )


def _in_parts(subject, explain, batch):
    n_rows, start, parts = len(batch["X"]), 0, []
    while start < n_rows:
        rows = slice(start, start + subject.rows_per_pass)
        try:
            parts.append(explain(_rows(batch, rows)))
            start = rows.stop
        except torch.OutOfMemoryError:
            if subject.rows_per_pass == 1:
                raise
            _lower_rows_per_pass(subject)
    return torch.cat(parts)


def _lower_rows_per_pass(subject):
    warnings.warn(
        f"the device has not enough memory to explain {subject.rows_per_pass} rows at once; going on with half as "
        f"many. A lower batch_size avoids the detour",
        UserWarning,
        stacklevel=6,
    )
    subject.rows_per_pass = -(-subject.rows_per_pass // 2)
    if subject.device.type == "cuda":
        torch.cuda.empty_cache()


def _rows(batch, rows):
    return {name: value if isinstance(value, str) else value[rows] for name, value in batch.items()}
