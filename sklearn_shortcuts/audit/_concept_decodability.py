"""What a layer still tells about an artifact."""

from numbers import Integral, Real

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from .._random_state import draw_seed, make_random_state
from ..images import ImageBunch
from ..latent import LayerFeatures
from ..metrics._auc_interval import AUCInterval
from ..metrics._inputs import check_groups
from ._fold_auc import FoldAUC


@validate_params(
    {
        "layer": [str],
        "pool": [StrOptions({"mean", "max", "mean_max", "token", "flat"})],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "C": [Interval(Real, 0, None, closed="neither")],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
    },
    prefer_skip_nested_validation=True,
)
def concept_decodability(
    estimator,
    X,
    artifact=None,
    *,
    layer="last",
    pool="mean",
    groups=None,
    cv=5,
    C=1.0,
    confidence_level=0.95,
    random_state=None,
    batch_size=None,
):
    """Measure how well a linear classifier can tell an artifact from what a layer gives.

    After a correction it shows what is left: a detector that fails says less than a probe that was fitted anew.
    Features are what the layer hands on, so that an edit of its output by a hook counts.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted classifier, something fitted that contains one, or a network.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Images that the network was not trained on.
    artifact : array-like of shape (n,), default=None
        Whether rows have the artifact, 0 or 1; rows with -1, unknown, are left out. By default the bunch's field.
    layer : str, default="last"
        Name of the layer; "last" is what the network makes its logits from.
    pool : {"mean", "max", "mean_max", "token", "flat"}, default="mean"
        What becomes of positions, as in :class:`~sklearn_shortcuts.latent.LayerFeatures`.
    groups : array-like of shape (n,), default=None
        Patients, who then stand on one side of each split and count as dependent; by default the bunch's field.
    cv : int, default=5
        Folds, at least 2, into which rows (patients) are drawn with the artifact in equal shares.
    C : float, default=1.0
        Inverse strength of the penalty of the logistic regression on standardized features.
    confidence_level : float, default=0.95
        Wanted coverage of the interval.
    random_state : int, RandomState instance or None, default=None
        Decides the folds.
    batch_size : int, default=None
        Images per batch; None means the classifier's.

    Returns
    -------
    AUCInterval
        ``auc, low, high, standard_error`` of the area under the ROC curve averaged over the folds: 0.5 if nothing is
        left that is linear. The interval allows for folds that train on each other's test rows.

    Raises
    ------
    ValueError
        If labels are missing or others than 0, 1 and -1, or if a class has fewer rows (patients) than folds.

    See Also
    --------
    tcav_score : Whether the network makes use of it.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_shortcuts.audit import concept_decodability
    >>> with torch.random.fork_rng(devices=[]):
    ...     network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    >>> rng = np.random.default_rng(0)
    >>> artifact = np.arange(60) % 2
    >>> X = rng.normal(size=(60, 4, 4)) + 3 * artifact[:, None, None]
    >>> concept_decodability(network, X, artifact, random_state=0).auc > 0.9
    True
    """
    X = X if isinstance(X, ImageBunch) or hasattr(X, "shape") else np.asarray(X)
    given = {"artifact": artifact, "groups": groups}
    for name, value in given.items():
        if value is None and isinstance(X, ImageBunch) and name in X.fields:
            given[name] = X.get(name)
    if given["artifact"] is None:
        raise ValueError("artifact: give the labels of the rows, or an ImageBunch with the field 'artifact'")
    labels = column_or_1d(given["artifact"])
    check_consistent_length(X, labels, given["groups"])
    wrong = np.flatnonzero(~np.isin(labels, (-1, 0, 1)))
    if len(wrong):
        raise ValueError(f"artifact: row {wrong[0]} has {labels[wrong[0]]!r}, but labels are 0, 1 or, if unknown, -1")
    rows = np.flatnonzero(labels != -1)
    positive = labels[rows].astype(bool)
    patients = None if given["groups"] is None else check_groups(np.asarray(given["groups"])[rows], len(rows))
    for side, name in ((positive, "with"), (~positive, "without")):
        n_units = side.sum() if patients is None else len(np.unique(patients[side]))
        if n_units < cv:
            units = "rows" if patients is None else "patients"
            raise ValueError(f"artifact: {n_units} {units} {name} the artifact are too few for cv={cv} folds")
    rng = make_random_state(random_state)
    splitter = (StratifiedKFold if patients is None else StratifiedGroupKFold)(
        cv, shuffle=True, random_state=draw_seed(rng)
    )
    features = LayerFeatures(estimator, layer, pool=pool, batch_size=batch_size).fit(X).transform(X)[rows]
    features = features.astype(np.float64)
    scores, fold = np.empty(len(rows)), np.empty(len(rows), dtype=int)
    for number, (train, test) in enumerate(splitter.split(features, positive, patients)):
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=10000))
        scores[test] = probe.fit(features[train], positive[train]).decision_function(features[test])
        fold[test] = number
    areas = FoldAUC(positive, scores[:, None], fold, patients)
    low, high = areas.interval(0, confidence_level)
    return AUCInterval(float(areas.mean[0]), low, high, areas.standard_error(0))
