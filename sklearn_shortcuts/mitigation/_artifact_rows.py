"""Which rows have the artifact, as far as it is known."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d
from sklearn.utils.validation import has_fit_parameter


@dataclass(frozen=True)
class ConceptRows:
    """Rows with known labels of the artifact, to fit concepts and detectors to.

    Attributes
    ----------
    features : ndarray of shape (n, n_features)
        Pooled activations.
    labels : ndarray of shape (n,)
        1 with the artifact, 0 without, between for soft labels.
    sample_weight : ndarray of shape (n,) or None
        Weights.
    target : ndarray of shape (n,) or (n, n_labels), or None
        Diagnosis.
    groups : ndarray of int of shape (n,) or None
        Patients.
    """

    features: np.ndarray
    labels: np.ndarray
    sample_weight: object = None
    target: object = None
    groups: object = None

    @classmethod
    def of(cls, rows, known, labels, features):
        """Take the rows with known labels out of :class:`TrainingRows`."""
        weight, target = rows.weights.sample_weight, rows.labels
        return cls(
            features,
            labels[known],
            None if weight is None else weight[known],
            None if target is None else target[known],
            group_codes(rows.groups, known),
        )

    def fit(self, estimator, rows=slice(None)):
        """Fit an estimator to some of the rows, with weights and diagnosis if its ``fit`` takes them."""
        options = {"sample_weight": self.sample_weight, "target": self.target}
        options = {
            name: value[rows]
            for name, value in options.items()
            if value is not None and has_fit_parameter(estimator, name)
        }
        return estimator.fit(self.features[rows], self.labels[rows], **options)


def group_codes(groups, rows):
    """Patients of some rows as numbers; raise ValueError if one of them has none."""
    if groups is None:
        return None
    codes = pd.factorize(column_or_1d(groups))[0][rows]
    if (codes < 0).any():
        raise ValueError(f"groups: row {rows[codes < 0][0]} has no group; give it one of its own")
    return codes


def find_artifact(given, named, X, n_rows, owner):
    """Find the labels of the artifact.

    Parameters
    ----------
    given : array-like of shape (n,) or None
        Argument of ``fit``, which goes first.
    named : str, callable or None
        Name of a field, or of a column of the metadata, of an ImageBunch; or what gives the labels of ``X``.
    X : ImageBunch or other rows
        Rows; a bunch if there is a name.
    n_rows : int
        Their number.
    owner : str
        Name of the estimator, for the error message.

    Returns
    -------
    ndarray of float64 of shape (n,)
        1 with the artifact, 0 without, between for soft labels, NaN where it is not known.

    Raises
    ------
    ValueError
        If there are no labels, one is neither -1 nor in [0, 1], or their number is not that of the rows.
    """
    if given is None and callable(named):
        given = named(X)
    elif given is None and named is not None:
        fields = X.fields
        known = [*fields, *(X.get("metadata").columns if "metadata" in fields else ())]
        if named != "artifact" or named in known:
            given = X.column(named, "artifact")
    if given is None:
        raise ValueError(
            f"{owner} needs to know which rows have the artifact: give fit(X, ..., artifact=...), set the parameter "
            f"artifact, or give a fitted concept"
        )
    labels = pd.Series(column_or_1d(given))
    try:
        labels = pd.to_numeric(labels).astype(np.float64).to_numpy(copy=True)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{owner}: artifact must be 1 for rows with it, 0 without and -1 where it is not known, but it is text"
        ) from error
    if len(labels) != n_rows:
        raise ValueError(f"artifact has {len(labels)} values, but X has {n_rows} rows")
    labels[labels == -1] = np.nan
    wrong = np.flatnonzero((labels < 0) | (labels > 1))
    if len(wrong):
        raise ValueError(
            f"artifact must be 1 for rows with it, 0 without and -1 where it is not known, but row {wrong[0]} has "
            f"{labels[wrong[0]]:.6g}"
        )
    return labels


def require_artifact(labels, used, owner, both):
    """Give the rows whose label is known.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Labels, NaN where they are not known.
    used : ndarray of int
        Rows that count.
    owner : str
        Name of the estimator, for the error message.
    both : bool
        Whether rows with the artifact are needed besides those without.

    Returns
    -------
    ndarray of int
        Rows.

    Raises
    ------
    ValueError
        If one kind of rows is missing.
    """
    known = used[np.isfinite(labels[used])]
    for found, which in ((labels[known] >= 0.5, "with"), (labels[known] < 0.5, "without")):
        if not found.any() and (both or which == "without"):
            raise ValueError(f"artifact: no row is known to be {which} the artifact, but {owner} needs some")
    return known
