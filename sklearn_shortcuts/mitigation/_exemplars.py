"""From what a user points at to the exemplars that a penalty learns from."""

import numpy as np

from ..images import ImageBunch
from ._regularization import MASK_FIELDS
from ._suggest_exemplars import choose_exemplars

N_PAIRS = 5


def freeze_exemplars(penalty, exemplars, unrefined, annotations, y, mask_role, used, before):
    """Give a penalty its exemplars, as the unrefined network explains them.

    Parameters
    ----------
    penalty : ExemplarTripletPenalty
        Description; not changed.
    exemplars : "suggest", or pair of int, of array-like of int, or of rows of images
        Good and bad ones; "suggest" finds them by the masks.
    unrefined : NeuralImageClassifier
        Fitted classifier.
    annotations : Annotations
        Rows that numbers refer to, and their masks.
    y : ndarray of shape (n,) or (n, n_labels)
        Their labels.
    mask_role : {"avoid", "attend"}
        What the masks show.
    used : ndarray of int
        Rows that are trained on, which suggestions are made from.
    before : Pipeline or None
        Fitted transformers that the rows have passed through, as exemplars given as rows have not.

    Returns
    -------
    ExemplarTripletPenalty
        Copy with the explanations frozen in it.

    Raises
    ------
    ValueError
        If exemplars cannot be suggested, or are no pair of rows.
    """
    bunch = annotations.bunch
    if isinstance(exemplars, str):
        if annotations.mask_fields != MASK_FIELDS:
            raise ValueError(
                f"{type(penalty).__name__} learns from exemplars, which are suggested by one mask per row: give masks, "
                f"or exemplars=(good, bad) with row numbers"
            )
        rows = used[annotations.annotated[used]]
        if len(rows) == 0:
            raise ValueError(
                f"{type(penalty).__name__} learns from exemplars, which are suggested by masks, but no row that counts "
                f"has one that marks something: give such masks, or exemplars=(good, bad) with row numbers"
            )
        found = choose_exemplars(
            unrefined, bunch[rows], y[rows], N_PAIRS, penalty=penalty, mask_role=mask_role, or_fewer=True
        )
        exemplars = rows[found.good], rows[found.bad]
    if len(exemplars) != 2:
        raise ValueError(f"exemplars must be a pair (good, bad) of row numbers or images, got {len(exemplars)} parts")
    rows, labels = zip(*(_find(part, name, bunch, y, before) for part, name in zip(exemplars, ("good", "bad"))))
    known = all(one is not None for one in labels)
    options = {"good_y": labels[0], "bad_y": labels[1]} if known else {}
    return penalty.with_exemplars(unrefined, *rows, **options)


def _find(part, name, bunch, y, before):
    """Rows of images as the classifier takes them and, where they are known, their labels."""
    if isinstance(part, ImageBunch) or np.ndim(part) > 1:
        labels = np.asarray(part.get("target")) if isinstance(part, ImageBunch) and "target" in part.fields else None
        part = part if before is None else before.transform(part)
        return part if isinstance(part, ImageBunch) else np.asarray(part), labels
    numbers = np.atleast_1d(np.asarray(part))
    if numbers.dtype.kind not in "iu":
        raise ValueError(f"exemplars: the {name} ones must be row numbers or images, got dtype {numbers.dtype}")
    outside = (numbers < 0) | (numbers >= len(bunch))
    if outside.any():
        raise ValueError(f"exemplars: there is no row {numbers[outside][0]}, fit was given {len(bunch)} rows")
    return bunch[numbers], y[numbers]
