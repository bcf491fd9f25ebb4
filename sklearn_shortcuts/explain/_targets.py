"""What is explained: from a class as the user names it to one score per row."""

import numpy as np
import torch
import torch.nn.functional as F

from ..neural._targets import check_target

_WORDS = ("predicted", "true", "sum_log_prob")


def select_scores(logits, target, kind="multiclass"):
    """Choose from the logits the score of every row whose gradient is wanted.

    Parameters
    ----------
    logits : Tensor of shape (n, n_outputs)
        Outputs of the network.
    target : {"predicted", "sum_log_prob"}, int or Tensor of int of shape (n,), or Tensor of shape (n, n_outputs)
        ``"predicted"`` is the class (of several labels the label) with the largest logit, ``"sum_log_prob"`` the sum
        of all log-probabilities, which sees evidence for and against every class. Numbers are positions of classes
        or labels. A table of 0 and 1 stands for the labels that are present: the sum of their logits.
    kind : {"binary", "multiclass", "multilabel"}, default="multiclass"
        What is predicted. A network with one output is binary whatever is given here, unless it has one label: class 1
        is its logit, class 0 minus that.

    Returns
    -------
    Tensor of shape (n,)
        Scores, differentiable.

    Raises
    ------
    ValueError
        If the target is another word, or does not fit the logits.
    """
    one_logit = kind != "multilabel" and logits.shape[1] == 1
    if isinstance(target, str):
        if target == "sum_log_prob":
            if kind == "multilabel" or one_logit:
                return (F.logsigmoid(logits) + F.logsigmoid(-logits)).sum(1)
            return F.log_softmax(logits, dim=1).sum(1)
        if target != "predicted":
            raise ValueError(f"target={target!r} is no score: give 'predicted', 'sum_log_prob' or positions")
        target = predicted_positions(logits, kind)
    target = torch.as_tensor(target, device=logits.device)
    if target.ndim == 2:
        if target.shape != logits.shape:
            raise ValueError(f"target has shape {tuple(target.shape)}, but the logits {tuple(logits.shape)}")
        return (logits * target.to(logits.dtype)).sum(1)
    target = target.long().expand(len(logits))
    if one_logit:
        return logits[:, 0] * (2 * target - 1).to(logits.dtype)
    return logits.gather(1, target[:, None])[:, 0]


def predicted_positions(logits, kind="multiclass"):
    """Positions of the classes, of several labels of the label, with the largest logits.

    Parameters
    ----------
    logits : Tensor of shape (n, n_outputs)
        Outputs of the network.
    kind : {"binary", "multiclass", "multilabel"}, default="multiclass"
        As in :func:`select_scores`.

    Returns
    -------
    Tensor of int64 of shape (n,)
        Positions, which :func:`select_scores` takes.
    """
    if kind != "multilabel" and logits.shape[1] == 1:
        return (logits[:, 0] > 0).long()
    return logits.detach().argmax(dim=1)


def resolve_target(subject, target="predicted", y=None):
    """Turn the parameter ``target`` of the explanations into what :func:`select_scores` takes.

    Parameters
    ----------
    subject : Subject
        What is explained.
    target : str, class, label name, int or array-like of shape (n,), default="predicted"
        ``"predicted"``, ``"true"``, ``"sum_log_prob"``; a class, a label or an output position for all rows; or an
        array of those, one per row.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``"true"``; by default the bunch's field ``target``.

    Returns
    -------
    str or ndarray of shape (n,) or (n, n_outputs)
        Word that the logits decide, or positions, or the labels that are present. Those of a bare network are kept in
        ``subject.positions`` too, to be compared with its outputs.

    Raises
    ------
    ValueError
        If there is no such class, there are not as many targets as rows, or ``"true"`` lacks ``y``.
    """
    known = None if subject.encoding is None else _names(subject.encoding)
    target = _resolved(subject, target, y, known)
    if known is None and not isinstance(target, str):
        subject.positions = target  # compared with the outputs of the network as soon as there are any
    return target


def check_logits(logits, n_rows):
    """Refuse outputs of a network that are no table of logits, otherwise give them.

    Parameters
    ----------
    logits : object
        What the network gave.
    n_rows : int
        For how many rows.

    Returns
    -------
    Tensor of shape (n_rows, n_outputs)
        The same.

    Raises
    ------
    ValueError
        Saying what it is.
    """
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != n_rows:
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"the network must give outputs of shape (n, n_outputs); for {n_rows} rows it gave {got}")
    return logits


def check_positions(positions, n_outputs):
    """Refuse positions that a network has no output for.

    Parameters
    ----------
    positions : ndarray of shape (n,) or (n, n_outputs)
        Of each row the position of a class, or a table of the labels that are present.
    n_outputs : int
        Outputs of the network; one stands for two classes.

    Raises
    ------
    ValueError
        Naming the first row that does not fit.
    """
    if positions.ndim == 2:
        if positions.shape[1] != n_outputs:
            raise ValueError(f"y has {positions.shape[1]} columns, but the network has {n_outputs} outputs")
        return
    n_classes = max(2, n_outputs)
    wrong = np.flatnonzero((positions < 0) | (positions >= n_classes))
    if len(wrong):
        raise ValueError(
            f"target: row {wrong[0]} asks for class {positions[wrong[0]]}, but of this network with {n_outputs} "
            f"output{'s' * (n_outputs > 1)} it must be from 0 to {n_classes - 1}"
        )


def _resolved(subject, target, y, known):
    if isinstance(target, str) and target in _WORDS and (known is None or target not in known):
        if target != "true":
            return target
        return _true_target(subject, y)
    n_rows = subject.n_rows
    values = np.asarray(target)
    if values.ndim > 1:
        raise ValueError(f"target must be one class or one per row, got an array of shape {values.shape}")
    if values.ndim == 1 and len(values) != n_rows:
        raise ValueError(f"target has {len(values)} entries, but X has {n_rows} rows; give one per row")
    if known is None:
        if values.dtype.kind not in "iu":
            raise ValueError(f"target={target!r}: of a bare network a class is the position of its output, an integer")
        codes = values
    else:
        codes = _positions(values, known)
    return np.broadcast_to(codes, (n_rows,))


def _true_target(subject, y):
    y = subject.field("target") if y is None else y
    if y is None:
        raise ValueError("target='true' needs the true classes: give y, or an ImageBunch with the field 'target'")
    n_given = len(y) if np.ndim(y) else "a single value, not"
    if n_given != subject.n_rows:
        raise ValueError(f"y has {n_given} rows, but X has {subject.n_rows}; give one class per row")
    if subject.encoding is None:
        y = np.asarray(y)
        if y.dtype.kind not in "iu" and y.ndim == 1:
            raise ValueError("y: of a bare network a class is the position of its output, an integer")
        if y.ndim == 2 and not np.isin(y, (0, 1)).all():
            row = np.flatnonzero(~np.isin(y, (0, 1)).all(axis=1))[0]
            raise ValueError(f"y: row {row} has other values than 0 and 1, which say whether a label is present")
        return y
    y, names = check_target(y, "explained")
    known = subject.encoding.label_names
    if names is not None and known is not None and names != known.tolist():
        raise ValueError(f"y has the labels {names}, but the classifier knows {known.tolist()}")
    return subject.encoding.encode(y)


def _names(encoding):
    return (encoding.classes if encoding.label_names is None else encoding.label_names).tolist()


def _positions(values, known):
    positions = {name: position for position, name in enumerate(known)}
    entries = np.atleast_1d(values).tolist()
    unknown = next(((row, entry) for row, entry in enumerate(entries) if entry not in positions), None)
    if unknown is not None:
        row, entry = unknown
        where = f"target={entry!r}" if values.ndim == 0 else f"target has {entry!r} in row {row}, which"
        raise ValueError(f"{where} is not among {known}")
    codes = np.array([positions[entry] for entry in entries])
    return codes if values.ndim else codes[0]
