"""The task itself across acquisitions: train on one scanner or hospital, test on every other."""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils._param_validation import HasMethods, Interval, validate_params

from .._random_state import draw_seed, make_random_state
from ..images import ImageBunch
from ..metrics._label_scores import label_scores
from ._acquisition_rows import as_given, read_acquisition, read_label
from ._fold_auc import FoldAUC
from ._folds import make_folds, number_patients
from ._region_rows import gather_rows
from ._region_training import seed_where_unset


@dataclass(frozen=True)
class CrossAcquisition:
    """How well a task learned on one acquisition is done on others.

    Attributes
    ----------
    matrix : DataFrame
        Areas under the ROC curve; rows say what was trained on, columns what was tested on. Averaged over the labels
        where there are several.
    summary : DataFrame
        By acquisition trained on: ``self``, ``mean_others`` and ``percent_drop``, ``100 (self - mean_others) / self``.
    cells : DataFrame
        One row per ``train``, ``test`` and ``label``: ``auc``, ``std`` over folds, limits ``low`` and ``high``.
    """

    matrix: pd.DataFrame
    summary: pd.DataFrame
    cells: pd.DataFrame


@validate_params(
    {
        "estimator": [HasMethods(["fit", "get_params"])],
        "X": "no_validation",
        "y": ["array-like", str, None],
        "acquisition": ["array-like", str],
        "groups": ["array-like", None],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def cross_acquisition_matrix(
    estimator, X, y, acquisition, *, groups=None, cv=5, confidence_level=0.95, n_jobs=None, random_state=None
):
    """Train a task on each acquisition and test it on all of them.

    Rows are divided into folds once, with patients together and every acquisition and class in each. Trained is on the
    training part of one acquisition, tested on the test part of each: all models are tested on the same rows, none of
    them on patients that it has seen, though these may have been imaged on both scanners.

    Parameters
    ----------
    estimator : classifier
        With ``predict_proba`` or ``decision_function``; cloned, never fitted itself.
    X : ImageBunch or array-like of shape (n, n_features), (n, H, W) or (n, C, H, W)
        Rows.
    y : array-like of shape (n,) or (n, n_labels), str or None
        Label of the task, or the name of a field or metadata column; None takes the bunch's field ``target``.
    acquisition : array-like of shape (n,) or str
        Scanner or hospital of every row, or the name of a field or metadata column of the bunch.
    groups : array-like of shape (n,), default=None
        Patient of every row; by default the bunch's field.
    cv : int, default=5
        Number of folds. Every acquisition needs two patients of each class in every fold.
    confidence_level : float, default=0.95
        Of the intervals, which have DeLong's variance by patients, doubled because folds train on each other's test
        rows.
    n_jobs : int, default=None
        Trainings at a time, as in joblib; there are folds times acquisitions of them.
    random_state : int, RandomState instance or None, default=None
        Decides the folds, and every ``random_state`` of the estimator that is None.

    Returns
    -------
    CrossAcquisition
        ``matrix``, ``summary`` and ``cells``.

    Raises
    ------
    ValueError
        If an acquisition has too few patients of a class, values are missing, or lengths differ.

    See Also
    --------
    AcquisitionProbe : Asks whether the acquisition itself can be told.

    References
    ----------
    A. Torralba and A. A. Efros, "Unbiased look at dataset bias", CVPR (2011), section 3.1 and table 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_shortcuts.audit import cross_acquisition_matrix
    >>> rng = np.random.default_rng(0)
    >>> y, site = np.arange(120) % 2, np.repeat(["A", "B"], 60)
    >>> X = rng.normal(size=(120, 2))
    >>> X[site == "A", 0] += 3 * y[site == "A"]  # each site shows the label in a place of its own
    >>> X[site == "B", 1] += 3 * y[site == "B"]
    >>> result = cross_acquisition_matrix(LogisticRegression(), X, y, site, cv=3, random_state=0)
    >>> bool((result.summary["percent_drop"] > 20).all())
    True
    """
    name = "cross_acquisition_matrix"
    bunch, _ = gather_rows(X, groups=groups)
    array_shape = None if isinstance(X, ImageBunch) else np.asarray(X).shape[1:]
    target, label = read_acquisition(acquisition, bunch, name), read_label(y, bunch, name)
    if label is None:
        raise ValueError("y is None and the rows have no field 'target': give the label of the task")
    patients, generator = number_patients(bunch), make_random_state(random_state)
    seed = draw_seed(generator)
    folds = _make_folds(cv, target, label, patients, seed)
    names = target.classes.tolist()
    plan = [(code, fold) for code in range(len(names)) for fold in range(len(folds))]
    results = Parallel(n_jobs=n_jobs)(
        delayed(_train_and_score)(
            seed_where_unset(clone(estimator), seed),
            bunch,
            array_shape,
            label,
            *_rows(folds.splits[fold], target.codes == code),
        )
        for code, fold in plan
    )
    scores = np.full((len(names), *label.positive.shape), np.nan)
    for (code, fold), values in zip(plan, results):
        scores[code, folds.splits[fold][1]] = values
    records = []
    for test_code, test_name in enumerate(names):
        rows = target.codes == test_code
        for number, label_name in enumerate(label.label_names):
            areas = FoldAUC(
                label.positive[rows, number],
                scores[:, rows, number].T,
                folds.number[rows],
                None if patients is None else patients[rows],
                test_share=folds.test_share,
            )
            for train_code, train_name in enumerate(names):
                low, high = areas.interval(train_code, confidence_level)
                record = {"train": train_name, "test": test_name, "label": label_name}
                std = areas.fold_auc[:, train_code].std(ddof=1)
                records.append({**record, "auc": areas.mean[train_code], "std": std, "low": low, "high": high})
    cells = pd.DataFrame(records)
    matrix = cells.groupby(["train", "test"])["auc"].mean().unstack("test").loc[names, names]
    own = np.diag(matrix)
    others = (matrix.to_numpy().sum(axis=1) - own) / (len(names) - 1)
    summary = pd.DataFrame(
        {"self": own, "mean_others": others, "percent_drop": 100 * (own - others) / own}, index=matrix.index
    )
    return CrossAcquisition(matrix, summary, cells)


def _make_folds(cv, target, label, patients, seed):
    """Folds in which every acquisition has every class, and lacks it, on both sides."""
    columns, names = [], []
    for code, acquisition in enumerate(target.classes.tolist()):
        for number, name in enumerate(label.label_names):
            for has in (True, False):
                columns.append((target.codes == code) & (label.positive[:, number] == has))
                names.append(f"{acquisition}, {'' if has else 'not '}{name}")
    positive = np.stack(columns, axis=1)
    codes = None
    if label.codes is not None:
        codes = target.codes * len(label.classes) + label.codes
    return make_folds(cv, positive, codes, patients, names, seed)


def _rows(split, is_trained):
    train, test = split
    return train[is_trained[train]], test


def _train_and_score(estimator, bunch, array_shape, label, train, test):
    estimator.fit(as_given(bunch[train], array_shape), label.y[train])
    return label_scores(estimator, as_given(bunch[test], array_shape), label)
