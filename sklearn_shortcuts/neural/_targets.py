"""From labels as people write them to the numbers a criterion takes, and back."""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets


@dataclass(frozen=True)
class TargetEncoding:
    """How the target of a fitted classifier is written.

    Attributes
    ----------
    kind : {"binary", "multiclass", "multilabel"}
        What is predicted.
    classes : ndarray of shape (n_classes,) or (n_labels, 2)
        Sorted classes; for ``"multilabel"`` the two values of every label. With one row per label scikit-learn's
        scorers recognize such a classifier even with two labels, and ``cross_val_predict`` counts its columns.
    label_names : ndarray of shape (n_labels,) or None
        Names of the labels; None unless ``"multilabel"``.
    dtype : numpy.dtype
        Data type in which predictions are given back.
    """

    kind: str
    classes: object
    label_names: object
    dtype: object

    @property
    def n_outputs(self):
        """Number of values the network gives per row."""
        return len(self.classes)

    @classmethod
    def learn(cls, y, names=None, classes=None):
        """Learn the encoding from a checked target.

        Parameters
        ----------
        y : ndarray of shape (n,) or (n, n_labels)
            Target as :func:`check_target` gives it.
        names : sequence of str, default=None
            Names of the labels.
        classes : array-like, default=None
            All classes there are, if ``y`` may lack some.

        Returns
        -------
        TargetEncoding
            What was learned.

        Raises
        ------
        ValueError
            If there are fewer than two classes, or the label names repeat.
        """
        if y.ndim == 2:
            names = np.arange(y.shape[1]) if names is None else as_array(names)
            if len(set(names.tolist())) < len(names):
                raise ValueError(f"the labels of y must have different names, got {names.tolist()}")
            return cls("multilabel", np.tile(np.array([0, 1], dtype=y.dtype), (y.shape[1], 1)), names, y.dtype)
        classes = np.unique(y if classes is None else _as_classes(classes, "classes"))
        if len(classes) < 2:
            # The wording "one class" is what scikit-learn's own checks look for.
            raise ValueError(f"a classifier needs rows of at least two classes, but y has only one class: {classes}")
        return cls("binary" if len(classes) == 2 else "multiclass", classes, None, classes.dtype)

    def encode(self, y):
        """Turn a checked target into codes.

        Parameters
        ----------
        y : ndarray of shape (n,) or (n, n_labels)
            Target.

        Returns
        -------
        ndarray of int64 of shape (n,), or of float64 of shape (n, n_labels)
            Positions in ``classes``, or zeros and ones.

        Raises
        ------
        ValueError
            If there is a class or a number of labels that was not learned.
        """
        if (y.ndim == 2) != (self.kind == "multilabel") or (y.ndim == 2 and y.shape[1] != self.n_outputs):
            known = f"{self.n_outputs} labels" if self.kind == "multilabel" else f"the classes {self.classes}"
            raise ValueError(f"y has shape {y.shape}, but the classifier was fitted on {known}")
        if y.ndim == 2:
            return y.astype(np.float64)
        if (y.dtype.kind in "OUS") != (self.classes.dtype.kind in "OUS"):
            raise ValueError(
                f"y has classes of type {y.dtype}, but the classifier was fitted on {self.classes.tolist()} of type "
                f"{self.classes.dtype}"
            )
        codes = np.searchsorted(self.classes, y)
        codes[codes == len(self.classes)] = 0
        unknown = self.classes[codes] != y
        if unknown.any():
            (example,) = y[unknown][:1].tolist()
            raise ValueError(f"y has the class {example!r}, which is not among the classes {self.classes.tolist()}")
        return codes.astype(np.int64)

    def encode_rows(self, y, rows):
        """Encode some rows of a checked target; the codes of the others, which may be of any class, are 0."""
        encoded = self.encode(y[rows])
        codes = np.zeros((len(y), *encoded.shape[1:]), encoded.dtype)
        codes[rows] = encoded
        return codes

    def decode(self, logits):
        """Turn logits of shape (n, n_outputs) into predicted classes or label indicators."""
        if self.kind == "multilabel":
            return (logits > 0).astype(self.dtype)
        return self.classes[logits.argmax(axis=1)]


def check_target(y, estimator_name):
    """Check a target and give it as an array.

    Parameters
    ----------
    y : array-like of shape (n,), or array-like, DataFrame or sparse matrix of shape (n, n_labels)
        Classes, or one 0/1 column per label.
    estimator_name : str
        For the error message.

    Returns
    -------
    y : ndarray
        One- or two-dimensional.
    names : list or None
        Column names if ``y`` was a table of several labels.

    Raises
    ------
    ValueError
        If ``y`` is missing, has missing values, is continuous, or labels are neither 0 nor 1.
    """
    if y is None:
        raise ValueError(
            f"This {estimator_name} estimator requires y to be passed, but the target y is None; an ImageBunch can "
            f"bring it as its field 'target'"
        )
    names = list(y.columns) if isinstance(y, pd.DataFrame) and y.shape[1] > 1 else None
    y = y.toarray() if sparse.issparse(y) else np.asarray(y)
    if y.ndim != 2 or y.shape[1] == 1:
        y = _as_classes(column_or_1d(y, warn=True), "y")
        check_classification_targets(y)
        return y, None
    return _check_indicators(y, names), names


def as_array(names):
    """Give names as an array that keeps every one as it is, also where they differ in type or are tuples."""
    if len({type(name) for name in names}) == 1 and isinstance(names[0], (str, Integral)):
        return np.array(names)
    result = np.empty(len(names), dtype=object)
    result[:] = names
    return result


def _as_classes(y, what):
    """Classes of one type as an array whose type says so; raise where some are missing or types are mixed."""
    y = column_or_1d(y)
    missing = pd.isna(y)
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise ValueError(
            f"Input {what} contains NaN: row {row} has no class ({missing.sum()} such rows); leave these rows out"
        )
    if y.dtype.kind == "T":
        return y.astype(object)
    if y.dtype != object:
        assert_all_finite(y, input_name=what)
        return y
    if all(isinstance(value, str) for value in y):
        return y
    if all(isinstance(value, (Real, np.bool_)) for value in y):  # columns of tables often lose their type
        return np.array(y.tolist())
    types = sorted({type(value).__name__ for value in y})
    if len(types) > 1:
        raise ValueError(f"{what} mixes the types {', '.join(types)}; write all classes alike")
    return y


def _check_indicators(y, names):
    missing = pd.isna(y)
    if missing.any():
        row, column = np.argwhere(missing)[0]
        label = column if names is None else repr(names[column])
        raise ValueError(
            f"y with several columns must hold one 0/1 column per label, but row {row} of label {label} is missing; "
            f"decide what unknown labels mean before fitting"
        )
    if y.dtype == object or y.dtype.kind in "USmM":
        try:
            y = y.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError("y with several columns must hold one 0/1 column per label, but it holds text") from error
    wrong = ~np.isin(y, (0, 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        label = column if names is None else repr(names[column])
        raise ValueError(
            f"y with several columns must hold one 0/1 column per label, but row {row} of label {label} is "
            f"{y[row, column]}; decide what unknown labels mean before fitting"
        )
    return y.astype(np.int64) if y.dtype == bool else y
