"""Rows in batches: one read per batch, ahead of the network where reading takes time."""

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from torch.utils.data import Dataset

from ._inputs import check_finite, is_scaled

_DEFAULT_THREADS = 2


class RowReader(Dataset):
    """Reads images and the fields that belong to them.

    Parameters
    ----------
    rows : Rows
        Checked images.
    dtype : torch.dtype
        Floating-point type of the network.
    index : ndarray of int, default=None
        Which rows, in which order; by default all of them.
    fields : dict, default=None
        Aligned with all of the images: arrays, tables or lazy sources.
    pin_memory : bool, default=False
        Give tensors in page-locked memory, which copies to a GPU faster.

    Attributes
    ----------
    probabilities : ndarray of shape (n,) or None
        By which training draws the rows of an epoch, with replacement; by default it takes each once.
    """

    probabilities = None

    def __init__(self, rows, dtype, *, index=None, fields=None, pin_memory=False):
        self.rows = rows
        self.index = np.arange(len(rows)) if index is None else index
        self.fields = fields or {}
        self.pin_memory = pin_memory
        self._tensor_dtype = dtype
        self._array_dtype = np.float64 if dtype == torch.float64 else np.float32

    def __len__(self):
        return len(self.index)

    @property
    def is_lazy(self):
        """Whether reading takes more than looking into memory."""
        return any(_is_lazy(value) for value in (self.rows.images, *self.fields.values()))

    def read(self, positions):
        """Read some rows.

        Parameters
        ----------
        positions : ndarray of int
            Positions within ``index``.

        Returns
        -------
        images : Tensor of shape (n, *image_shape)
            In [0, 1] if the source has unsigned integers; bytes stay bytes, the device scales them.
        fields : dict
            ``"index"`` and the fields, as tensors where they are numbers.

        Raises
        ------
        ValueError
            If an image has a value that is not finite.
        """
        index = self.index[positions]
        images = np.asarray(self.rows.images[index])
        if not self.rows.checked:
            check_finite(images, index)
        fields = {"index": torch.from_numpy(index)}
        fields.update((name, self._field(value, index)) for name, value in self.fields.items())
        return self._images(images, len(index)), fields

    def _images(self, images, n_rows):
        if is_scaled(images.dtype) and images.dtype.itemsize == 2:
            images = images / self._array_dtype(np.iinfo(np.uint16).max)
        elif images.dtype != np.uint8:
            images = images.astype(self._array_dtype, copy=False)
        tensor = _as_tensor(images).reshape(n_rows, *self.rows.image_shape)
        return tensor.pin_memory() if self.pin_memory else tensor

    def _field(self, value, index):
        if hasattr(value, "iloc"):
            return value.iloc[index]
        values = np.asarray(value[index])
        if values.dtype.kind not in "biuf":
            return values
        tensor = _as_tensor(values)
        return tensor.to(self._tensor_dtype) if tensor.is_floating_point() else tensor


def _is_lazy(value):
    value = getattr(value, "source", value)  # a bunch shows its rows through a view
    return isinstance(value, np.memmap) or not (isinstance(value, np.ndarray) or hasattr(value, "iloc"))


def _as_tensor(array):
    # Rows of a lazy source may be anything: views that must not be written to, foreign byte order, odd strides.
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return torch.from_numpy(array if array.flags.writeable else array.copy())


class BatchLoader:
    """Goes through as many rows as a reader has per iteration.

    Parameters
    ----------
    reader : RowReader
        What to read.
    batch_size : int
        Rows per batch.
    rng : numpy.random.Generator, default=None
        Shuffles the rows, or draws them by the reader's probabilities, anew in every iteration; by default they come in
        order.
    n_threads : int, default=None
        Threads that read ahead; 0 reads when asked. By default 2 for lazy sources and 0 for arrays in memory.
    """

    def __init__(self, reader, batch_size, *, rng=None, n_threads=None):
        self.reader = reader
        self.batch_size = batch_size
        self.rng = rng
        if n_threads is None:
            n_threads = min(_DEFAULT_THREADS, os.cpu_count() or 1) if reader.is_lazy else 0
        self.n_threads = n_threads

    def __iter__(self):
        n_rows = len(self.reader)
        if self.rng is None:
            order = np.arange(n_rows)
        elif self.reader.probabilities is None:
            order = self.rng.permutation(n_rows)
        else:
            order = self.rng.choice(n_rows, n_rows, p=self.reader.probabilities)
        parts = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        if self.rng is not None and self.batch_size > 1 and len(parts) > 1 and len(parts[-1]) == 1:
            # Batch normalization cannot train on one row; it joins the batch before.
            parts[-2:] = [np.concatenate(parts[-2:])]
        return read_ahead(self.reader.read, parts, self.n_threads)


def read_ahead(function, items, n_threads):
    """Yield ``function(item)`` in order, computed by threads up to ``n_threads + 1`` items ahead.

    Parameters
    ----------
    function : callable
        Called with one item.
    items : iterable
        Arguments.
    n_threads : int
        Number of threads; 0 computes when asked.

    Yields
    ------
    object
        Results in the order of the items; an exception is raised where its result would have come.
    """
    if n_threads == 0:
        yield from map(function, items)
        return
    remaining = iter(items)
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="sklearn_shortcuts-read")
    pending = deque(pool.submit(function, item) for item in islice(remaining, n_threads + 1))
    try:
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
