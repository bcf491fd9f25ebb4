"""How well does a classifier do in each part of its rows, and in the worst?"""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ._auc_interval import auc_interval
from ._calibration_error import expected_calibration_error
from ._inputs import check_groups, check_labels, check_probabilities
from ._label_scores import equal_labels
from ._row_means import RowMeans

_SUMMARIES = ("worst", "gap", "average")


def make_subgroups(*attributes):
    """Cross attributes of rows into one subgroup per combination.

    Robustness is measured in the combinations of class and shortcut, such as "pneumothorax without a drain".

    Parameters
    ----------
    *attributes : array-like of shape (n,)
        Labels, metadata columns, whether a row has the artifact. Those with a name (a Series) are named in the result.

    Returns
    -------
    ndarray of str of shape (n,)
        Such as ``"y=1, tube=False"``, or ``"1, False"`` for attributes without a name.

    Raises
    ------
    ValueError
        If an attribute has missing values, or lengths differ.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_shortcuts.metrics import make_subgroups
    >>> make_subgroups(pd.Series([1, 1, 0], name="y"), pd.Series([True, False, False], name="tube")).tolist()
    ['y=1, tube=True', 'y=1, tube=False', 'y=0, tube=False']
    """
    if not attributes:
        raise ValueError("make_subgroups needs at least one attribute")
    check_consistent_length(*attributes)
    parts = []
    for position, attribute in enumerate(attributes):
        if np.ndim(attribute) != 1:
            raise ValueError(
                f"attribute number {position} has shape {np.shape(attribute)}; give the columns of a table one by one"
            )
        name = getattr(attribute, "name", None)
        values = pd.Series(attribute)  # keeps integers that may be missing, which an array would turn into floats
        missing = np.flatnonzero(pd.isna(values))
        if len(missing):
            what = repr(name) if name is not None else f"number {position}"
            raise ValueError(
                f"attribute {what} has no value in row {missing[0]} ({len(missing)} such rows); fill it in"
            )
        parts.append([f"{value}" if name is None else f"{name}={value}" for value in values.tolist()])
    return np.array([", ".join(values) for values in zip(*parts)], dtype=object).astype(str)


@validate_params(
    {
        "y_true": ["array-like"],
        "y_pred": ["array-like", None],
        "subgroups": ["array-like"],
        "y_score": ["array-like", None],
        "groups": ["array-like", None],
        "pos_label": [Real, str, "boolean", None],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_resamples": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def subgroup_scores(
    y_true,
    y_pred=None,
    *,
    subgroups,
    y_score=None,
    groups=None,
    pos_label=None,
    confidence_level=0.95,
    n_resamples=2000,
    random_state=0,
):
    """Score a classifier in every subgroup, with intervals that respect patients.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels.
    y_pred : array-like of shape (n,), default=None
        Predicted labels; gives the accuracies.
    subgroups : array-like of shape (n,)
        Subgroup of every row, such as :func:`make_subgroups` gives. Patients are not meant: these are ``groups``.
    y_score : array-like of shape (n,), default=None
        Probability of the positive class of two; gives AUC and calibration error.
    groups : array-like of shape (n,), default=None
        Patient of every row.
    pos_label : int, float, bool or str, default=None
        Label of the positive class, needed for ``y_score`` unless labels are 0/1, -1/1 or booleans.
    confidence_level : float, default=0.95
        Wanted coverage of every interval by itself; the worst of many subgroups is partly so by chance.
    n_resamples : int, default=2000
        Bootstrap samples of the accuracies' intervals.
    random_state : int, RandomState instance or None, default=0
        Decides these samples.

    Returns
    -------
    DataFrame
        One row per subgroup, sorted by name: ``n_rows``, ``n_groups`` (patients), then ``accuracy``, ``auc`` and
        ``calibration_error`` as far as they were asked for, the first two with ``_low`` and ``_high``. The AUC of a
        subgroup that has one class only, and intervals of too few patients, are NaN.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing, or neither ``y_pred`` nor ``y_score`` is given.

    Examples
    --------
    >>> from sklearn_shortcuts.metrics import subgroup_scores
    >>> table = subgroup_scores([0, 0, 1, 1], [0, 0, 1, 0], subgroups=["a", "b", "a", "b"])
    >>> table["accuracy"].to_dict()
    {'a': 1.0, 'b': 0.5}
    """
    if y_pred is None and y_score is None:
        raise ValueError("subgroup_scores needs y_pred for accuracies, y_score for AUCs, or both")
    y_true, subgroups = column_or_1d(y_true), check_subgroups(subgroups, y_true)
    patients = check_groups(groups, len(y_true))
    correct = None if y_pred is None else _correct_rows(y_true, y_pred)
    if y_score is not None:
        positive = check_labels(y_true, pos_label, needs_both=False)
        scores = check_probabilities(y_score, len(y_true), "y_score")
    records = {}
    for name in np.unique(subgroups).tolist():
        rows = np.flatnonzero(subgroups == name)
        record = {"n_rows": len(rows), "n_groups": len(pd.unique(patients[rows]))}
        if correct is not None:
            means = RowMeans(correct[rows, None].astype(np.float64), patients[rows])
            low, high = means.intervals(confidence_level, n_resamples, random_state)[:, 0]
            record.update(accuracy=float(means.mean[0]), accuracy_low=low, accuracy_high=high)
        if y_score is not None:
            record.update(_auc_record(positive[rows], scores[rows], patients[rows], confidence_level))
            record["calibration_error"] = expected_calibration_error(positive[rows], scores[rows])
        records[name] = record
    return pd.DataFrame.from_dict(records, orient="index").rename_axis("subgroup")


@validate_params(
    {
        "y_true": ["array-like"],
        "y_pred": ["array-like"],
        "subgroups": ["array-like"],
        "summary": [StrOptions(set(_SUMMARIES))],
        "train_subgroups": ["array-like", None],
    },
    prefer_skip_nested_validation=True,
)
def subgroup_accuracy(y_true, y_pred, *, subgroups, summary="worst", train_subgroups=None):
    """Sum up the accuracies of the subgroups in one number.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels.
    y_pred : array-like of shape (n,)
        Predicted labels.
    subgroups : array-like of shape (n,)
        Subgroup of every row.
    summary : {"worst", "gap", "average"}, default="worst"
        The smallest accuracy, the difference of the largest and the smallest, or the mean. The mean weights every
        subgroup by its share of the rows, or of the training rows.
    train_subgroups : array-like of shape (n_train,), default=None
        Subgroups of the training rows. "average" then is the train-adjusted average that papers on Waterbirds report;
        the plain one of the same predictions is lower, because test sets hold more rows of the rare subgroups.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If lengths differ, a value is missing, ``train_subgroups`` is given for another summary than the average, or
        has a subgroup that the rows do not have.

    Examples
    --------
    >>> from sklearn_shortcuts.metrics import subgroup_accuracy
    >>> rows = {"y_true": [0, 0, 1, 1], "y_pred": [0, 0, 1, 0], "subgroups": ["a", "b", "a", "b"]}
    >>> subgroup_accuracy(**rows), subgroup_accuracy(**rows, summary="gap")
    (0.5, 0.5)
    >>> subgroup_accuracy(**rows, summary="average", train_subgroups=["a"] * 9 + ["b"])
    0.95
    """
    y_true = column_or_1d(y_true)
    subgroups = check_subgroups(subgroups, y_true)
    if train_subgroups is not None and summary != "average":
        raise ValueError(f"train_subgroups weight the average; they do not go with summary={summary!r}")
    names, index = np.unique(subgroups, return_inverse=True)
    accuracy = np.bincount(index, _correct_rows(y_true, y_pred)) / np.bincount(index)
    if summary == "worst":
        return float(accuracy.min())
    if summary == "gap":
        return float(accuracy.max() - accuracy.min())
    if train_subgroups is None:
        return float(np.average(accuracy, weights=np.bincount(index)))
    train = check_subgroups(train_subgroups, None)
    unknown = np.setdiff1d(train, names)
    if len(unknown):
        raise ValueError(f"train_subgroups has {unknown[0].item()!r}, of which there is no row to score")
    return float(np.average(accuracy, weights=[np.sum(train == name) for name in names]))


def worst_class_accuracy(y_true, y_pred):
    """Give the accuracy in the class that is predicted worst, for selecting models without subgroups.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels.
    y_pred : array-like of shape (n,)
        Predicted labels.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> from sklearn_shortcuts.metrics import worst_class_accuracy
    >>> worst_class_accuracy([0, 0, 1, 1], [0, 0, 1, 0])
    0.5
    """
    return subgroup_accuracy(y_true, y_pred, subgroups=y_true)


def class_difference(y_true, y_pred):
    """Sum the differences of accuracy over all pairs of classes, for selecting models without subgroups.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels.
    y_pred : array-like of shape (n,)
        Predicted labels.

    Returns
    -------
    float
        At least 0; smaller is better.

    Notes
    -----
    It is blind to a classifier that is equally bad in all classes: a constant difference of 0 is also that of random
    guessing, and of a shortcut that harms both classes alike. :func:`worst_class_accuracy` is not.

    References
    ----------
    .. [1] Li, Liu and Hu (2024). Bias amplification enhances minority group performance.
       Transactions on Machine Learning Research; their criterion ClassDiff.

    Examples
    --------
    >>> from sklearn_shortcuts.metrics import class_difference
    >>> class_difference([0, 0, 1, 1, 2, 2], [0, 0, 1, 0, 0, 0])
    2.0
    """
    y_true = column_or_1d(y_true)
    _, index = np.unique(check_subgroups(y_true, y_true), return_inverse=True)
    accuracy = np.sort(np.bincount(index, _correct_rows(y_true, y_pred)) / np.bincount(index))
    # In sorted order each value is added once per smaller one and subtracted once per larger one.
    return float(accuracy @ (2 * np.arange(len(accuracy)) - len(accuracy) + 1))


def check_subgroups(subgroups, y_true):
    """Check the subgroups of rows.

    Parameters
    ----------
    subgroups : array-like of shape (n,)
        Subgroup of every row.
    y_true : array-like of shape (n,) or None
        What they must be as long as.

    Returns
    -------
    ndarray of shape (n,)
        Subgroups, none missing.
    """
    subgroups = column_or_1d(subgroups)
    if y_true is not None and len(subgroups) != len(y_true):
        raise ValueError(f"subgroups has {len(subgroups)} rows, but there are {len(y_true)} labels")
    missing = np.flatnonzero(pd.isna(subgroups))
    if len(missing):
        raise ValueError(f"subgroups: row {missing[0]} has none ({len(missing)} such rows); give it one of its own")
    if len(subgroups) == 0:
        raise ValueError("subgroups is empty: there is no row to score")
    types = sorted({type(name).__name__ for name in subgroups.tolist()})
    if "str" in types and len(types) > 1:
        raise ValueError(f"subgroups mixes the types {types}, which have no order; name them by make_subgroups")
    return subgroups


def _correct_rows(y_true, y_pred):
    y_pred = column_or_1d(y_pred)
    check_consistent_length(y_true, y_pred)
    for name, values in (("y_true", y_true), ("y_pred", y_pred)):
        missing = np.flatnonzero(pd.isna(values))
        if len(missing):
            raise ValueError(f"{name}: row {missing[0]} has no label ({len(missing)} such rows); leave it out")
    return equal_labels(y_pred, y_true, "y_pred has", "y_true")


def _auc_record(positive, scores, patients, confidence_level):
    nothing = dict.fromkeys(("auc", "auc_low", "auc_high"), np.nan)
    if positive.all() or not positive.any():
        return nothing
    try:
        interval = auc_interval(positive, scores, groups=patients, confidence_level=confidence_level)
    except ValueError:  # a class with one patient has an area, but no variance
        return {**nothing, "auc": float(roc_auc_score(positive, scores))}
    return {"auc": interval.auc, "auc_low": interval.low, "auc_high": interval.high}
