"""What is known of every row after the first training, in one table."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ._buckets import label_probabilities, sort_into_buckets


@dataclass(frozen=True)
class Judgment:
    """What a network says of rows whose labels are known.

    Attributes
    ----------
    codes : ndarray of int64 of shape (n,) or (n, n_labels)
        Class positions, or 0/1; 0 for rows that take no part.
    known : ndarray of int
        Rows that take part.
    predictions : ndarray of shape (n_known,) or (n_known, n_labels)
        Classes or labels of these.
    probability : ndarray of shape (n,)
        Of the row's label; of several the smallest. NaN for rows that take no part.
    wrong : ndarray of bool of shape (n,)
        Whether the prediction, or that of any label, is wrong; False for rows that take no part.
    bucket : ndarray of str of shape (n_known,)
        See :func:`sort_into_buckets`.
    """

    codes: np.ndarray
    known: np.ndarray
    predictions: np.ndarray
    probability: np.ndarray
    wrong: np.ndarray
    bucket: np.ndarray


def judge_rows(classifier, bunch, labels, known, *, loss, low, high):
    """Let a network judge rows.

    Parameters
    ----------
    classifier : NeuralImageClassifier
        Fitted.
    bunch : ImageBunch
        Rows.
    labels : ndarray of shape (n,) or (n, n_labels)
        Labels.
    known : ndarray of int
        Rows that take part; labels of others may be of any class.
    loss : {"cross_entropy", "squared"}
        What the network was trained by.
    low, high : float
        Borders of the buckets.

    Returns
    -------
    Judgment
        Images of rows that take no part are not read.
    """
    encoding, known = classifier._encoding, np.sort(known)
    codes = encoding.encode_rows(labels, known).astype(np.int64)
    logits = classifier._logits(bunch[known])
    probabilities = label_probabilities(logits, codes[known], encoding.kind, loss)
    if encoding.kind == "binary" and logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    predictions = encoding.decode(logits)
    probability, wrong = np.full(len(labels), np.nan), np.zeros(len(labels), dtype=bool)
    probability[known] = probabilities.min(axis=1)
    wrong[known] = (predictions != labels[known]).reshape(len(known), -1).any(axis=1)
    return Judgment(
        codes=codes,
        known=known,
        predictions=predictions,
        probability=probability,
        wrong=wrong,
        bucket=sort_into_buckets(probabilities, codes[known], encoding.kind, low, high),
    )


def make_sample_table(labels, judgment, *, hard, easy, held_out, weight, scores, metadata):
    """Put together what is known of every row.

    Parameters
    ----------
    labels : ndarray of shape (n,) or (n, n_labels)
        Labels.
    judgment : Judgment
        What the network says.
    hard, easy, held_out : ndarray of bool of shape (n,)
        Which rows are so.
    weight : ndarray of shape (n,)
        Weights of the second training.
    scores : DataFrame of n rows
        Difficulty.
    metadata : DataFrame of n rows or None
        Columns named like others get "metadata_" in front.

    Returns
    -------
    DataFrame of n rows
        The table.
    """
    table = pd.DataFrame(
        {
            "label": list(labels) if labels.ndim > 1 else labels,
            "prediction": _of_known(judgment.predictions, judgment, len(labels)),
            "probability": judgment.probability,
            "bucket": _of_known(judgment.bucket, judgment, len(labels)),
            "hard": hard,
            "easy": easy,
            "held_out": held_out,
            "weight": weight,
            **scores,
        },
        index=range(len(labels)),
    )
    if metadata is None:
        return table
    clashes = {name: f"metadata_{name}" for name in metadata if name in table}
    return table.join(metadata.reset_index(drop=True).rename(columns=clashes))


def _of_known(values, judgment, n_rows):
    """A column with missing values for rows that take no part."""
    column = pd.Series(list(values) if values.ndim > 1 else values, judgment.known)
    return column.reindex(range(n_rows))
