"""Features in a file that is written batch by batch and can be gone on with."""

import json
import os
from pathlib import Path

import numpy as np

_CHECKED_ROWS = 8


class FeatureFile:
    """An array on disk, and how many of its rows are written.

    Parameters
    ----------
    path : path-like
        File, ending in ``.npy``. Beside it lies ``.json``, which tells the number of written rows.
    description : dict
        What the features are, in values that JSON can hold; another description is another array.
    shape : tuple of int
        Rows and columns.
    dtype : numpy.dtype
        Data type.

    Attributes
    ----------
    array : numpy.memmap
        The array.
    n_done : int
        Rows that are written, from the first on.

    Raises
    ------
    ValueError
        If the file has another name or holds something else.
    """

    def __init__(self, path, description, shape, dtype):
        self.path = Path(path)
        if self.path.suffix != ".npy":
            raise ValueError(f"path must end in .npy, got {self.path.name!r}")
        self._progress = self.path.with_suffix(".json")
        self._description = json.loads(json.dumps({**description, "shape": shape, "dtype": np.dtype(dtype).name}))
        if self.path.exists():
            self.n_done = self._read_progress()
            self.array = np.lib.format.open_memmap(self.path, mode="r+")
        else:
            self.n_done = 0
            self.array = np.lib.format.open_memmap(self.path, mode="w+", dtype=dtype, shape=shape)
            self._write_progress()

    def write(self, values):
        """Append rows.

        Parameters
        ----------
        values : ndarray of shape (n, n_columns)
            Next rows.
        """
        self.array[self.n_done : self.n_done + len(values)] = values
        self.array.flush()  # before the rows count as written
        self.n_done += len(values)
        self._write_progress()

    def sample(self):
        """Give the numbers of some written rows, the first and the last among them."""
        return np.unique(np.linspace(0, self.n_done - 1, _CHECKED_ROWS).astype(int)) if self.n_done else np.arange(0)

    def _read_progress(self):
        try:
            progress = json.loads(self._progress.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ValueError(f"path: {self.path.name!r} exists, but was not written by LayerFeatures") from None
        n_done = progress.pop("n_done")
        odd = [name for name, value in self._description.items() if progress.get(name) != value]
        if odd:
            raise ValueError(
                f"path: {self.path.name!r} holds other features ({', '.join(odd)} differ); remove it or name another"
            )
        return n_done

    def _write_progress(self):
        partial = self._progress.with_suffix(".json.part")
        partial.write_text(json.dumps({**self._description, "n_done": self.n_done}), encoding="utf-8")
        os.replace(partial, self._progress)
