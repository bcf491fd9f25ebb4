"""Many paths, kept small: what they have in common is stored once."""

import os
from collections.abc import Iterable, Mapping, Set

import numpy as np
import pandas as pd


class PathTable:
    """Paths of the rows of a study.

    Parameters
    ----------
    paths : array-like of shape (n,)
        One path per row, or one list of paths per row. ``None``, NaN and "" stand for a missing path.
    root : str or path-like, default=None
        Folder that relative paths start from; by default the current one.
    argument : str, default="paths"
        Name of the argument, for error messages.
    """

    def __init__(self, paths, root=None, argument="paths"):
        if isinstance(paths, (str, bytes, os.PathLike)):
            raise ValueError(f"{argument} must be a list with one path per row, got one path; give [path]")
        if not isinstance(paths, Iterable) or isinstance(paths, (Set, Mapping, pd.DataFrame)):
            raise TypeError(f"{argument} must be a list with one path per row, in order, got {type(paths).__name__}")
        self.argument = argument
        folder = os.path.abspath("" if root is None else os.fspath(root))
        rows = [_as_tuple(entry, row, argument) for row, entry in enumerate(paths)]
        absolute = [tuple([os.path.join(folder, path) for path in files]) for files in rows]
        self._root = _common_folder([path for files in absolute for path in files])
        self._names = np.empty(len(rows), dtype=object)
        start = len(self._root)
        self._names[:] = [
            None if not files else files[0][start:] if len(files) == 1 else tuple([path[start:] for path in files])
            for files in absolute
        ]

    def __len__(self):
        return len(self._names)

    def __getitem__(self, row):
        """Give the paths of one row as a tuple, empty where they are missing."""
        names = self._names[row]
        if names is None:
            return ()
        return tuple([self._root + name for name in ((names,) if isinstance(names, str) else names)])

    def take(self, rows):
        """Give some rows as a table of their own.

        Parameters
        ----------
        rows : ndarray of int
            Row numbers.

        Returns
        -------
        PathTable
            Those rows.
        """
        table = object.__new__(type(self))
        table._root, table._names, table.argument = self._root, self._names[rows], self.argument
        return table

    def n_files(self):
        """Count the paths of every row.

        Returns
        -------
        ndarray of int of shape (n,)
            0 where the path is missing.
        """
        names = self._names
        return np.array([0 if n is None else 1 if isinstance(n, str) else len(n) for n in names], dtype=np.intp)

    def require_files(self, labels=None):
        """Look whether every file exists.

        Parameters
        ----------
        labels : sequence, default=None
            Names of the rows, for the error message.

        Raises
        ------
        FileNotFoundError
            Says how many files are missing, and which.
        """
        absent = [(row, path) for row in range(len(self)) for path in self[row] if not os.path.isfile(path)]
        if absent:
            names = [f"row {row}" if labels is None else f"row {row} (index {labels[row]!r})" for row, _ in absent[:5]]
            shown = ", ".join(f"{name} {path}" for name, (_, path) in zip(names, absent))
            more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
            raise FileNotFoundError(
                f"{self.argument}: {len(absent)} files of {len(self)} rows do not exist: {shown}{more}; "
                "correct the paths, give their folder as root=, or drop the rows"
            )

    def keys(self):
        """Give a text for every row that is equal where the files are.

        Returns
        -------
        list of str
            Names of the files.
        """
        return [str(names) for names in self._names]

    def fingerprint(self, rows):
        """Describe the content of files without reading them.

        Parameters
        ----------
        rows : iterable of int
            Row numbers.

        Yields
        ------
        str
            Path, size and time of the last change (in nanoseconds) of each row's files.
        """
        for row in rows:
            for path in self[row]:
                try:
                    status = os.stat(path)
                    yield f"{path}|{status.st_size}|{status.st_mtime_ns}"
                except FileNotFoundError:  # the reader decides what an absent file means
                    yield f"{path}|absent"
            yield "end of row"


def is_missing(entry):
    """Tell whether an entry of a table says that there is nothing.

    Parameters
    ----------
    entry : object
        Cell of a table.

    Returns
    -------
    bool
        True for ``None``, NaN, ``pandas.NA`` and blank text.
    """
    if isinstance(entry, str):
        return not entry.strip()
    return entry is None or (np.ndim(entry) == 0 and not isinstance(entry, os.PathLike) and bool(pd.isna(entry)))


def _as_tuple(entry, row, argument):
    if isinstance(entry, (str, os.PathLike)):
        entries = [entry]
    else:
        entries = list(entry) if isinstance(entry, (list, tuple, np.ndarray)) else [entry]
    present = [one for one in entries if not is_missing(one)]
    if any(not isinstance(one, (str, os.PathLike)) for one in present):
        raise TypeError(f"{argument}: row {row} must be a path or a list of paths, got {entry!r}")
    return [os.fspath(one) for one in present]


def _common_folder(paths):
    """Give the longest start that all paths share and that ends at a separator."""
    prefix = os.path.commonprefix([min(paths), max(paths)]) if paths else ""  # noqa: RUF071 (by character is meant)
    return prefix[: prefix.rfind(os.sep) + 1]
