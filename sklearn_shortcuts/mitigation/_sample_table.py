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
    predictions : ndarray of shape (n,) or (n, n_labels)
        Classes or labels.
    probability : ndarray of shape (n,)
        Of the row's label; of several the smallest.
    wrong : ndarray of bool of shape (n,)
        Whether the prediction, or that of any label, is wrong.
    bucket : ndarray of str of shape (n,)
        See :func:`sort_into_buckets`.
    """

    codes: np.ndarray
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
        Of all rows.
    """
    encoding = classifier._encoding
    codes = encoding.encode_rows(labels, known).astype(np.int64)
    logits = classifier._logits(bunch)
    probabilities = label_probabilities(logits, codes, encoding.kind, loss)
    if encoding.kind == "binary" and logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    predictions = encoding.decode(logits)
    return Judgment(
        codes=codes,
        predictions=predictions,
        probability=probabilities.min(axis=1),
        wrong=(predictions != labels).reshape(len(labels), -1).any(axis=1),
        bucket=sort_into_buckets(probabilities, codes, encoding.kind, low, high),
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
            "prediction": list(judgment.predictions) if labels.ndim > 1 else judgment.predictions,
            "probability": judgment.probability,
            "bucket": judgment.bucket,
            "hard": hard,
            "easy": easy,
            "held_out": held_out,
            "weight": weight,
            **scores,
        }
    )
    if metadata is None:
        return table
    clashes = {name: f"metadata_{name}" for name in metadata if name in table}
    return table.join(metadata.reset_index(drop=True).rename(columns=clashes))
