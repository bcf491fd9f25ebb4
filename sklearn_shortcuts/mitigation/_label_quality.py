"""Which labels a model that was trained on other patients does not believe."""

import numpy as np
import pandas as pd
from sklearn.utils._param_validation import HasMethods, validate_params
from sklearn.utils.validation import _num_samples

from .._random_state import draw_seed, make_random_state
from ..images import ImageBunch
from ..neural._targets import TargetEncoding, check_target
from ..neural._training import check_weights
from ._confident_learning import METHODS, find_label_issues
from ._network_meta import given_or_field
from ._out_of_fold import out_of_fold_probabilities


@validate_params(
    {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        "cv": ["cv_object"],
        "methods": [list, tuple],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def label_quality(
    estimator,
    X,
    y=None,
    *,
    groups=None,
    sample_weight=None,
    cv=5,
    methods=("self_confidence", "normalized_margin", "confidence_weighted_entropy"),
    n_jobs=None,
    random_state=None,
):
    """Judge every label by models that were trained on other patients, to tell mislabeled rows from hard ones.

    Scores of :class:`BAMHardSampleMiner` and of all training dynamics are high for rows against a shortcut and for
    mislabeled rows alike. Here no model has seen the row that it judges. A low score still is no proof: a model that
    follows a shortcut disbelieves the right labels of rows against it. Such rows are what the miner is after; look at
    rows that are hard and disbelieved, and correct labels before weighting rows up. A model that cannot use the
    shortcut, behind :class:`~sklearn_shortcuts.preprocessing.ROIMasker` for instance, disbelieves fewer of them.

    Parameters
    ----------
    estimator : classifier or Pipeline with ``predict_proba``
        Clones of it are trained; any of scikit-learn's or this library's.
    X : ImageBunch or array-like of n rows
        Whatever the estimator takes.
    y : array-like of shape (n,), or array-like or DataFrame of shape (n, n_labels), default=None
        Classes, or one 0/1 column per label; by default the bunch's field ``target``.
    groups : array-like of shape (n,), default=None
        Patients; whole groups are held out. By default the bunch's field.
    sample_weight : array-like of shape (n,), default=None
        Weights for training, not negative, given to ``fit`` if it has that argument; in a bunch they also travel as the
        field. A row of weight 0 counts as absent and gets no scores. By default the bunch's field.
    cv : int, splitter or iterable of (train, test), default=5
        Number of folds, which are shuffled, have the classes (with several labels the rarest label of a row) in
        proportion and keep groups together; or how to split the rows of positive weight. Of rows that are tested in
        several folds the probabilities are averaged.
    methods : list or tuple of str, default=("self_confidence", "normalized_margin", "confidence_weighted_entropy")
        Scores to give, see Notes.
    n_jobs : int, default=None
        Folds that are trained at the same time, as joblib counts them.
    random_state : int, RandomState instance or None, default=None
        Shuffles rows where ``cv`` is a number; the estimator has a state of its own.

    Returns
    -------
    DataFrame of n rows
        In the order of ``X``: ``label``; a column per method, from 0 to 1, low for labels that are probably wrong;
        ``probability`` of the label; ``prediction``, the most probable class; and ``label_issue``, whether the row is
        confidently of another class. NaN, and no issue, for rows that no fold tests. With several labels these columns
        stand under the name of each label.

    Raises
    ------
    ValueError
        If a patient is on both sides of a fold, the training part of a fold lacks a class, or the input does not fit
        together.

    See Also
    --------
    BAMHardSampleMiner : Rows that are hard for a network that has seen them.

    Notes
    -----
    With out-of-fold probabilities p of K classes and the label k:

    - "self_confidence": p_k;
    - "normalized_margin": (1 + p_k - max_{j != k} p_j) / 2;
    - "confidence_weighted_entropy": log(1 + s) / s with s = H / p_k and H = -sum_j p_j log p_j / log K; 1 for a model
      that is sure of the label, and 0 where p_k is. (The package cleanlab has the same scores, but divides by no less
      than 1e-6 here, and so gives values near 0 to labels that the model is all but sure of.)

    A row has a label issue if it lies off the diagonal of the confident joint: of the classes whose probability is at
    least its mean over the rows labeled so, the most probable one is not the label, and neither is the most probable
    of all. With several labels each one is judged by itself, as a choice between presence and absence.

    References
    ----------
    C. Northcutt, L. Jiang and I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of
    Artificial Intelligence Research 70 (2021), Equations 1 and 2.
    J. Kuan and J. Mueller, "Model-agnostic label quality scoring to detect real-world label errors", ICML DataPerf
    Workshop (2022).

    Examples
    --------
    Five of 100 labels are wrong.

    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_shortcuts.mitigation import label_quality
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(100) % 2
    >>> X = rng.normal(size=(100, 2)) + 3 * y[:, None]
    >>> y[:5] = 1 - y[:5]
    >>> table = label_quality(LogisticRegression(), X, y, groups=np.arange(100) // 2, random_state=0)
    >>> sorted(table["normalized_margin"].nsmallest(5).index.tolist())
    [0, 1, 2, 3, 4]
    >>> np.flatnonzero(table["label_issue"]).tolist()
    [0, 1, 2, 3, 4]
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise ValueError(f"methods={methods!r} must name at least one of {list(METHODS)}")
    if isinstance(X, ImageBunch):
        y = given_or_field(X, "target", y)
        groups, sample_weight = given_or_field(X, "groups", groups), given_or_field(X, "sample_weight", sample_weight)
    labels, names = check_target(y, "label_quality")
    if len(labels) != _num_samples(X):
        raise ValueError(f"y has {len(labels)} rows, but X has {_num_samples(X)}")
    weights = check_weights(sample_weight, labels)
    encoding = TargetEncoding.learn(labels[weights.used], names)
    probabilities = out_of_fold_probabilities(
        estimator,
        X,
        labels,
        encoding,
        weights=weights,
        groups=groups,
        cv=cv,
        n_jobs=n_jobs,
        seed=draw_seed(make_random_state(random_state)),
    )
    codes = encoding.encode_rows(labels, weights.used).astype(np.int64)
    if encoding.kind != "multilabel":
        return _table(labels, codes, probabilities, encoding.classes, methods)
    return pd.concat(
        {
            name: _table(
                labels[:, column],
                codes[:, column],
                np.column_stack([1 - probabilities[:, column], probabilities[:, column]]),
                encoding.classes[column],
                methods,
            )
            for column, name in enumerate(encoding.label_names.tolist())
        },
        axis=1,
    )


def _table(labels, codes, probabilities, classes, methods):
    """What is known of one decision per row; NaN where there are no probabilities."""
    known = np.flatnonzero(~np.isnan(probabilities[:, 0]))
    probabilities, codes = probabilities[known], codes[known]
    columns = {name: METHODS[name](probabilities, codes) for name in methods}
    columns["probability"] = METHODS["self_confidence"](probabilities, codes)
    columns["prediction"] = classes[probabilities.argmax(axis=1)]
    table = pd.DataFrame(columns, index=known).reindex(range(len(labels)))
    issue = np.zeros(len(labels), dtype=bool)
    issue[known] = find_label_issues(probabilities, codes)
    table.insert(0, "label", labels)
    return table.assign(label_issue=issue)
