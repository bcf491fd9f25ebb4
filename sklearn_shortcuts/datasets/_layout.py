"""What the loaders of public data sets share: find the files, say what is missing, make the bunch."""

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..images import ImageBunch

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})


@dataclass(frozen=True)
class Publication:
    """Where a data set is published and how its folder looks once unpacked.

    Parameters
    ----------
    name : str
        Name of the data set.
    url : str
        Page of the publisher.
    layout : str
        Folder tree, one entry a line.
    """

    name: str
    url: str
    layout: str

    def advice(self):
        """Say where the set comes from and how to lay it out."""
        tree = "\n".join(f"  {line}" for line in self.layout.strip("\n").split("\n"))
        return f"The set is published at {self.url} (nothing is downloaded for you). Expected layout:\n{tree}"

    def locate(self, root, **wanted):
        """Find the files and folders a loader cannot do without.

        Parameters
        ----------
        root : path-like
            Folder of the data set.
        **wanted : str or tuple of str
            Glob pattern, or alternatives in order of preference, of every part.

        Returns
        -------
        list of Path
            What was found, in the order asked for.

        Raises
        ------
        FileNotFoundError
            If parts are missing; one message names all of them.
        """
        root = Path(root).expanduser()
        patterns = {
            name: (value,) if isinstance(value, str) else tuple(dict.fromkeys(value)) for name, value in wanted.items()
        }
        found = {name: first_match(root, *value) for name, value in patterns.items()}
        if all(path is not None for path in found.values()):
            return list(found.values())
        lines = [
            f"  {'found  ' if found[name] is not None else 'missing'} {name.replace('_', ' ')}: {' or '.join(value)}"
            for name, value in patterns.items()
        ]
        raise FileNotFoundError(
            f"{self.name} is not complete in {str(root)!r}"
            f"{'' if root.is_dir() else ' (there is no such folder)'}; looked for\n"
            + "\n".join(lines)
            + "\n"
            + self.advice()
        )


def first_match(root, *patterns):
    """Give the first path below a folder that one of the glob patterns names, or None."""
    return next((path for pattern in patterns for path in sorted(Path(root).glob(pattern))), None)


def read_table(path, columns=(), **options):
    """Read a CSV table, with stray blanks around its column names removed.

    Parameters
    ----------
    path : path-like
        CSV file, possibly compressed.
    columns : sequence of str, default=()
        Columns that must be there.
    **options
        Passed on to :func:`pandas.read_csv`.

    Returns
    -------
    DataFrame
        The table.

    Raises
    ------
    ValueError
        If the file is no table, or columns are missing.
    """
    try:
        frame = pd.read_csv(path, low_memory=False, **options)
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} cannot be read as a table: {error}; save it as UTF-8") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read as a table: {error}; save it with commas between cells"
        ) from error
    frame.columns = [str(column).strip() for column in frame.columns]
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{str(path)!r} lacks the columns {missing}; it has {list(frame.columns)[:30]}")
    return frame


def list_files(folder, suffixes=IMAGE_SUFFIXES):
    """Find all files below a folder that end in one of the suffixes, hidden ones left out.

    Parameters
    ----------
    folder : path-like
        Where to look, at any depth.
    suffixes : collection of str, default=common image suffixes
        Lower-case suffixes with their dot.

    Returns
    -------
    list of str
        Paths in sorted order.
    """
    found, visited = [], set()
    # Image folders are often links to another disk; remembering real paths keeps a link upwards from looping.
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            folders[:] = []
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            os.path.join(parent, name)
            for name in sorted(files)
            if os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")
        ]
    return found


def by_name(paths, key=os.path.basename):
    """Index paths by name and refuse two files that would answer to the same one.

    Parameters
    ----------
    paths : sequence of str
        Files.
    key : callable, default=os.path.basename
        Gives the name of a path.

    Returns
    -------
    dict of str to str
        Path of every name.
    """
    index = {}
    for path in paths:
        name = key(path)
        if name in index:
            raise ValueError(f"two files answer to the name {name!r}: {index[name]!r} and {path!r}; remove one of them")
        index[name] = path
    return index


def stem(path):
    """Give the file name without folder and last suffix."""
    return os.path.splitext(os.path.basename(path))[0]


def files_present(paths):
    """Tell which files exist, listing every folder once.

    Parameters
    ----------
    paths : sequence of str or None
        Files; None counts as absent.

    Returns
    -------
    ndarray of bool of shape (n,)
        True where the file exists.
    """
    listings = {}
    present = np.zeros(len(paths), dtype=bool)
    for row, path in enumerate(paths):
        if not isinstance(path, str):
            continue
        folder, name = os.path.split(path)
        if folder not in listings:
            try:
                listings[folder] = frozenset(os.listdir(folder or "."))
            except (FileNotFoundError, NotADirectoryError):
                listings[folder] = frozenset()
        present[row] = name in listings[folder]
    return present


def check_choice(name, value, choices):
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {list(choices)}, got {value!r}")


def choose_labels(labels, known, name="labels"):
    """Give the chosen labels as a list, all known ones by default."""
    if labels is None:
        return list(known)
    chosen = [labels] if isinstance(labels, str) else list(labels)
    unknown = [label for label in chosen if label not in known]
    if unknown or not chosen:
        raise ValueError(f"{name} must be some of {list(known)}, got {unknown or 'none'}")
    return chosen


def indicator_table(sets, labels):
    """Turn sets of labels into one 0/1 column per label.

    Parameters
    ----------
    sets : sequence of collection of str
        Labels of every row.
    labels : sequence of str
        Columns to make.

    Returns
    -------
    DataFrame of shape (n, n_labels), dtype int8
        1 where the row carries the label.
    """
    return pd.DataFrame({label: np.fromiter((label in row for row in sets), np.int8, len(sets)) for label in labels})


def keep_present(frame, paths, on_missing, publication=None, what="images", name=None):
    """Leave out rows whose file does not exist, loudly.

    Parameters
    ----------
    frame : DataFrame of shape (n, n_columns)
        Rows.
    paths : sequence of str or None, length n
        File of every row; None where no file of that name was found.
    on_missing : {"error", "drop"}
        Raise, or leave the rows out with a warning that counts them.
    publication : Publication, default=None
        Ends the message with where to get the files.
    what : str, default="images"
        What the files are, for the message.
    name : str, default=None
        Column that names rows without path in the message; by default the first.

    Returns
    -------
    frame : DataFrame
        Rows that are left, renumbered.
    paths : list of str
        Their files.
    """
    check_choice("on_missing", on_missing, ("error", "drop"))
    paths = [path if isinstance(path, str) else None for path in paths]
    present = files_present(paths)
    if not present.all():
        lost = np.flatnonzero(~present)
        names = frame.iloc[:, 0] if name is None else frame[name]
        empty = names.isna().to_numpy()
        named = [paths[row] or (f"row {row} (empty)" if empty[row] else str(names.iloc[row])) for row in lost[:3]]
        message = f"{len(lost)} of {len(paths)} {what} named in the table have no file, such as {', '.join(named)}"
        if on_missing == "error" or not present.any():
            advice = "" if publication is None else f"\n{publication.advice()}"
            raise FileNotFoundError(f"{message}. Complete the folder, or pass on_missing='drop'.{advice}")
        warnings.warn(f"{message}; these rows are left out", UserWarning, stacklevel=3)
    rows = np.flatnonzero(present)
    return frame.iloc[rows].reset_index(drop=True), [paths[row] for row in rows]


def keep_rows(frame, keep, reason):
    """Leave out rows by a rule the caller chose, and raise when none is left.

    Parameters
    ----------
    frame : DataFrame of shape (n, n_columns)
        Rows.
    keep : array-like of bool of shape (n,)
        Rows to keep.
    reason : str
        The rule, for the message.

    Returns
    -------
    DataFrame
        Rows that are left, renumbered.
    """
    keep = np.asarray(keep, dtype=bool)
    if len(frame) and not keep.any():
        raise ValueError(f"no row is left: {len(frame)} rows before, none after {reason}")
    return frame.loc[keep].reset_index(drop=True)


def make_bunch(images, *, return_X_y, target, metadata, **fields):
    """Make the bunch a loader returns, or the pair ``(bunch, target)``."""
    bunch = ImageBunch(images, target=target, metadata=metadata, **fields)
    return (bunch, bunch.target) if return_X_y else bunch


def select_columns(frame, names):
    """Give the columns that are there under new names, blanks stripped from texts.

    Parameters
    ----------
    frame : DataFrame
        Table as published.
    names : dict of str to str
        New name of every wanted column.

    Returns
    -------
    DataFrame
        Wanted columns that exist.
    """
    chosen = frame[[column for column in names if column in frame.columns]].rename(columns=names)
    for column in chosen.columns:
        if pd.api.types.is_string_dtype(chosen[column]):
            chosen[column] = chosen[column].str.strip()
    return chosen


def add_drains(metadata, names, path, key):
    """Add the column ``drain`` from a NEATX table of chest drains.

    Parameters
    ----------
    metadata : DataFrame of shape (n, n_columns)
        Changed in place.
    names : Series of str of shape (n,)
        Image names as in the table.
    path : path-like
        Table with the column ``Drain``.
    key : str
        Column that holds the image names.
    """
    table = read_table(path, [key, "Drain"])
    wrong = ~table["Drain"].isin([0, 1]) | table[key].duplicated()
    if wrong.any():
        row = np.flatnonzero(wrong)[0]
        raise ValueError(
            f"{str(path)!r}: every image needs one Drain of 0 or 1, but row {row} says "
            f"{table['Drain'].iloc[row]!r} for {table[key].iloc[row]!r}"
        )
    metadata["drain"] = names.map(table.set_index(key)["Drain"]).astype(float).to_numpy()


def leading_number(values):
    """Read ages such as ``058Y`` or ``58`` as numbers; anything else becomes NaN."""
    text = pd.Series(values).astype("string").str.strip()
    return pd.to_numeric(text.str.extract(r"^(\d+(?:\.\d+)?)\s*Y?$", flags=re.IGNORECASE)[0]).astype("float64")
