"""Sheets on which people answer, row by row, whether there is an artifact, and their answers."""

import csv
import hashlib
import io
import uuid
from numbers import Integral
from pathlib import Path

import numpy as np

from ..images import ImageBunch
from ..images._sources import as_row_indices
from ._page import make_page
from ._pictures import picture

_HEADER = ("row", "answer", "batch", "digest")
_LABELS = {"artifact": 1, "no artifact": 0, "unsure": -1}
_ANSWERS = {label: answer for answer, label in _LABELS.items()}
_WRITTEN_OTHERWISE = {"1": 1, "0": 0, "-1": -1, "yes": 1, "no": 0}
_LONGEST = 40  # characters of a wrong value that are shown
_MOST_BYTES = 64 * 2**20


def write_review_sheet(
    path,
    X,
    rows,
    *,
    labels=None,
    pool="",
    columns=(),
    title="Which rows show the artifact?",
    value_range=None,
    signal=False,
):
    """Write a sheet on which a person answers for each row whether it shows the artifact.

    A path that ends in ``.html`` gives one page with everything in it, which needs no network: every row's picture,
    the answers artifact, no artifact and unsure by mouse or by keys, and a button that saves them as CSV. One that ends
    in ``.csv`` gives the table of answers alone, to be filled in beside a viewer of one's own. Rows are named by
    position; the sheet says nothing else of them unless ``columns`` does.

    Parameters
    ----------
    path : path-like
        File to write; its folder must exist. A file that is there is replaced.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        All rows of the pool; of these only the ``rows`` are read.
    rows : array-like of int of shape (n_asked,)
        Rows to ask for, in the order to show.
    labels : array-like of int of shape (n,), default=None
        Answers of all rows of the pool to fill in where they are known: 1 artifact, 0 none, -1 unknown. By default none
        is filled in, so that people judge on their own.
    pool : str, default=""
        Any text that tells this pool from others; :func:`read_review_sheet` wants the same.
    columns : sequence of str, default=()
        Fields of the bunch, or columns of its metadata, to show. Nothing of them is left out: choose none that tells
        who the patient is.
    title : str, default="Which rows show the artifact?"
        Heading.
    value_range : tuple of float, default=None
        What is black and what is white, or for signals how high traces go; by default the range of each row.
    signal : bool, default=False
        Read an array ``X`` of shape ``(n, C, T)`` as signals; a bunch knows.

    Returns
    -------
    str
        Number of the batch, drawn at random, which every answer carries.

    Raises
    ------
    ValueError
        If no row or one row twice is asked for, a name is not known, or the path has another ending.
    IndexError
        If there is no such row.

    See Also
    --------
    read_review_sheet : Reads the answers.
    ConceptAnnotator : Chooses the rows, and learns from the answers.

    Notes
    -----
    The answers carry a digest of ``pool``, of the number of rows of ``X`` and of the rows asked for: those of another
    pool or batch, or with lines that were added or lost, are refused when read.

    Images with three channels are shown in colors, others by the mean of their channels; larger ones are shrunk to 512
    pixels. Of signals the lowest and highest sample of each of 600 pieces are drawn if there are more than twice as
    many samples.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_shortcuts import make_chest_phantoms
    >>> from sklearn_shortcuts.review import read_review_sheet, write_review_sheet
    >>> X = make_chest_phantoms(20, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "sheet.csv"
    ...     batch = write_review_sheet(path, X, rows=[3, 11], labels=X.artifact)
    ...     rows, labels = read_review_sheet(path, n_rows=20, batch=batch)
    >>> rows.tolist(), labels.tolist()
    ([3, 11], [0, 0])
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".html", ".csv"):
        raise ValueError(f"path: {path.name!r} must end in .html, for a page, or in .csv, for a table")
    bunch = X if isinstance(X, ImageBunch) else ImageBunch(X, signal=signal)
    if isinstance(columns, str):
        raise ValueError(f"columns={columns!r}: give a list of names")
    rows = _checked_rows(rows, len(bunch))
    answers = [""] * len(rows)
    if labels is not None:
        answers = [_ANSWERS[label] if label >= 0 else "" for label in _checked_labels(labels, len(bunch))[rows]]
    if value_range is not None:
        value_range = tuple(float(value) for value in value_range)
        if len(value_range) != 2 or not value_range[0] < value_range[1] or not np.isfinite(value_range).all():
            raise ValueError(f"value_range={value_range}: give two finite numbers, the smaller one first")
    batch = f"b-{uuid.uuid4().hex}"  # with a letter in front no table program takes it for a number
    digest = _digest(rows, len(bunch), pool)
    if kind == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(_HEADER)
            table.writerows([row, answer, batch, digest] for row, answer in zip(rows.tolist(), answers))
        return batch
    known = {name: bunch.column(name, "columns").iloc[rows].tolist() for name in columns}
    page = make_page(
        rows.tolist(),
        (picture(bunch[int(row)], signal=bunch.signal, value_range=value_range) for row in rows),
        [{name: values[place] for name, values in known.items()} for place in range(len(rows))],
        answers,
        title=title,
        sheet={"batch": batch, "digest": digest, "header": ",".join(_HEADER), "file": f"answers-{batch[2:10]}.csv"},
        wide=bunch.signal,
    )
    path.write_text(page, encoding="utf-8")
    return batch


def read_review_sheet(path, *, n_rows, pool="", batch=None):
    """Read the answers of a sheet.

    Parameters
    ----------
    path : path-like
        CSV file with the columns ``row``, ``answer``, ``batch`` and ``digest``; others are passed over. Semicolons or
        tabs may stand for the commas.
    n_rows : int
        Number of rows of the pool.
    pool : str, default=""
        The text given to :func:`write_review_sheet`.
    batch : str, default=None
        Number of the batch; by default any.

    Returns
    -------
    rows : ndarray of int of shape (n_answered,)
        Rows with an answer, in the order of the file.
    labels : ndarray of int of shape (n_answered,)
        1 for "artifact", 0 for "no artifact", -1 for "unsure".

    Raises
    ------
    ValueError
        If the file is none of a sheet, lines of the sheet are missing, an answer is not known, a row does not exist or
        is answered twice in different ways, or the sheet is of another pool or batch.

    See Also
    --------
    write_review_sheet : Writes the sheet.

    Notes
    -----
    Answers may be written as 1 and yes, 0 and no, and -1 too, in any case. Lines without an answer are passed over, but
    must be there.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from sklearn_shortcuts.review import read_review_sheet, write_review_sheet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "sheet.csv"
    ...     batch = write_review_sheet(path, np.zeros((9, 8, 8)), rows=[7, 2])
    ...     text = path.read_text().replace("7,,", "7,artifact,").replace("2,,", "2,unsure,")
    ...     _ = path.write_text(text)  # as a person would
    ...     rows, labels = read_review_sheet(path, n_rows=9)
    >>> rows.tolist(), labels.tolist()
    ([7, 2], [1, -1])
    """
    found, digests, batches = {}, set(), set()
    for line, (row, label, its_batch, digest) in _lines(Path(path), n_rows):
        if row in found and found[row] != label and None not in (found[row], label):
            raise ValueError(
                f"line {line}: row {row} is answered {_ANSWERS[label]!r}, but {_ANSWERS[found[row]]!r} in an earlier "
                "line; keep one of them"
            )
        if label is not None or row not in found:
            found[row] = label
        batches.add(its_batch)
        digests.add(digest)
    if len(batches) > 1 or len(digests) > 1:
        raise ValueError(f"the file holds lines of {max(len(batches), len(digests))} batches; give each its own file")
    if not found:
        raise ValueError("the file holds no rows; save the answers again")
    if batch is not None and batches != {batch}:
        raise ValueError("the answers are of another batch than batch=...; give the file of this one")
    if digests != {_digest(found, n_rows, pool)}:
        raise ValueError(
            "the rows of the file are not those of the sheet: it was written for another pool, or lines were added, "
            "removed or renumbered; lines without an answer must stay in the file"
        )
    answered = {row: label for row, label in found.items() if label is not None}
    return np.array(list(answered), dtype=np.int64), np.array(list(answered.values()), dtype=np.int64)


def _lines(path, n_rows):
    """Give the number of each line and the row, label or None, batch and digest in it."""
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"the file has more than {_MOST_BYTES // 2**20} MiB, so that it cannot be one of answers")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("the file is no text in UTF-8; save the answers as CSV again") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"the file is no CSV: {error}; save the answers again") from error
    names = [name.strip().lower() for name in table[0]] if table else []
    missing = [name for name in _HEADER if names.count(name) != 1]
    if missing:
        hint = "; the page itself is no table: press 'Save answers' in it" if "<html" in text[:1000].lower() else ""
        raise ValueError(f"the file needs one column {missing[0]!r}; its columns must be {', '.join(_HEADER)}{hint}")
    places = [names.index(name) for name in _HEADER]
    for line, cells in enumerate(table[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) <= max(places):
            raise ValueError(f"line {line} has {len(cells)} columns of {len(names)}; save the answers again")
        row, answer, batch, digest = (cells[place].strip() for place in places)
        yield line, (_read_row(row, n_rows, line), _read_answer(answer, line), batch, digest)


def _read_row(text, n_rows, line):
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(f"line {line}: row {text[:_LONGEST]!r} is no whole number from 0")
    if int(text) >= n_rows:
        raise ValueError(f"line {line}: there is no row {text}; the pool has {n_rows} rows, numbered from 0")
    return int(text)


def _read_answer(text, line):
    if not text:
        return None
    plain = text.lower()
    if plain in _LABELS:
        return _LABELS[plain]
    if plain in _WRITTEN_OTHERWISE:
        return _WRITTEN_OTHERWISE[plain]
    raise ValueError(
        f"line {line}: answer {text[:_LONGEST]!r} is none of {', '.join(map(repr, _LABELS))}; leave it empty for none"
    )


def _digest(rows, n_rows, pool):
    """Tell the rows of a pool from others, in whatever order they stand."""
    text = f"{pool}\n{n_rows}\n{','.join(map(str, sorted(int(row) for row in rows)))}"
    return f"d-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _checked_rows(rows, n_rows):
    rows = as_row_indices(rows, n_rows)
    if len(rows) == 0:
        raise ValueError("rows: no row is asked for")
    values, counts = np.unique(rows, return_counts=True)
    if counts.max() > 1:
        raise ValueError(f"rows: row {values[counts.argmax()]} is asked for twice")
    return rows


def _checked_labels(labels, n_rows):
    labels = np.asarray(labels)
    if labels.shape != (n_rows,):
        raise ValueError(f"labels has shape {labels.shape}, but X has {n_rows} rows; give one label for each")
    wrong = np.flatnonzero(~np.isin(labels, list(_ANSWERS)))
    if len(wrong):
        value = labels[wrong[0]]
        shown = value if isinstance(value, Integral) else repr(value)
        raise ValueError(f"labels: row {wrong[0]} has {shown}; labels are 1 (artifact), 0 (none) and -1 (unknown)")
    return labels.astype(int)
