"""Comparison of fitted models: what they score as rows are, and what becomes of it without the shortcut."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, validate_params

from .._random_state import draw_seed, make_random_state
from ..images import ImageBunch
from ..metrics import holm_correction
from ..metrics._counterfactual import REMOVAL_CONSTRAINTS
from ..metrics._inputs import UnmeasurableError, check_groups
from ..metrics._label_scores import check_label_names
from ..metrics._region_rows import as_bunch
from ..metrics._region_swap import EXCHANGE_CONSTRAINTS
from ._model_metrics import (
    ARTIFACT,
    FLIPPED,
    METRICS,
    REGION,
    SALIENCY,
    Uncertainty,
    plain_metrics,
    region_metrics,
    saliency_metrics,
)

_NEEDS_CLASSES = ("auc", "flip_rate", "region_removal_auc")
_NEEDS_SCORES = ("auc", "flipped_auc", "region_removal_auc")


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """What :func:`compare_models` found.

    Attributes
    ----------
    table_ : DataFrame
        One row per ``metric`` and ``model``: ``value``, its limits ``low`` and ``high``, the level of ``chance`` where
        there is one, ``n_rows`` that count, ``n_left_out`` that do not because they have no region or their map says
        nothing, ``n_zero`` of these for their map, and ``n_groups``, the patients.
    differences_ : DataFrame or None
        One row per ``metric`` and ``model`` other than the ``reference``: ``difference`` from it with ``low``,
        ``high`` and two-sided ``pvalue``, ``pvalue_holm`` corrected over all of them, and ``n_rows`` that count for
        both. None without a reference.
    wide_ : DataFrame of shape (n_models, n_metrics)
        The values alone.
    left_out_ : dict of str to str
        Metrics that could not be measured, and why; only filled where none were named.
    """

    table_: pd.DataFrame
    differences_: pd.DataFrame | None
    left_out_: dict

    @property
    def wide_(self):
        wide = self.table_.pivot(index="model", columns="metric", values="value")
        wide = wide.loc[pd.unique(self.table_["model"]), pd.unique(self.table_["metric"])]
        return wide.rename_axis(columns=None)


@validate_params(
    {
        "models": [Mapping],
        "y": ["array-like", None],
        "masks": ["array-like", None],
        "groups": ["array-like", None],
        "metrics": ["array-like", None],
        "explainer": [callable, None],
        "flipped": [ImageBunch, tuple, None],
        "reference": [str, None],
        "content": EXCHANGE_CONSTRAINTS["content"],
        "n_draws": EXCHANGE_CONSTRAINTS["n_draws"],
        "mask_role": EXCHANGE_CONSTRAINTS["mask_role"],
        "fill": REMOVAL_CONSTRAINTS["fill"],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_resamples": [Interval(Integral, 100, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def compare_models(
    models,
    X,
    y=None,
    *,
    masks=None,
    groups=None,
    metrics=None,
    explainer=None,
    flipped=None,
    reference=None,
    mask_role="avoid",
    content="auto",
    n_draws=5,
    fill="mean",
    confidence_level=0.95,
    n_resamples=2000,
    random_state=None,
):
    """Compare fitted models by what they score with and without their shortcut, on the same rows.

    Parameters
    ----------
    models : dict of str to fitted classifier
        Models by name, in the order of tables and figures; all know the same classes.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
        Test rows that no model was fitted on.
    y : array-like of shape (n,) or (n, n_labels), default=None
        Labels; by default the bunch's field ``target``.
    masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
        Regions; by default the bunch's field. Metrics of regions leave out rows without one, and count them.
    groups : array-like of shape (n,), default=None
        Patients; by default the bunch's field. All intervals and tests take their rows for dependent.
    metrics : sequence of str, default=None
        What to measure; by default all that is possible with what was given:

        - "accuracy", "auc": on the rows as they are (of several labels the share of them that is right and the average
          area, with more than two classes the average area of each against the rest);
        - "region_swap_accuracy", "flip_rate", "region_removal_auc": see the functions of these names in
          :mod:`sklearn_shortcuts.metrics`; they need masks. All models meet the same exchanges;
        - "flipped_accuracy", "flipped_auc": on the rows ``flipped``;
        - "activation_precision", "wrong_reason_score", "relevance_mass_accuracy", "relevance_rank_accuracy",
          "pointing_game", "saliency_iou", "artifact_relevance": see the functions of these names; they need an
          ``explainer`` and masks, the last one the field ``artifact_masks`` of a bunch.
    explainer : callable, default=None
        ``explainer(model, X) -> maps``, such as :func:`sklearn_shortcuts.explain.grad_cam`; use ``functools.partial``
        to set its options.
    flipped : ImageBunch with the field ``target``, or tuple (X, y), default=None
        Rows in which the shortcut points to the other class, or is absent. The patients are those of the bunch.
    reference : str, default=None
        Name of the model that the others are compared with. A mitigation is best compared with a model that was
        trained further for as long without its penalty.
    mask_role : {"avoid", "attend"}, default="avoid"
        Whether masks show what must not matter or what should: exchanged or filled is the mask, or all but the mask.
    content : {"auto", "exchange", "place", "region"}, default="auto"
        What is exchanged (see :func:`~sklearn_shortcuts.metrics.swap_regions`).
    n_draws : int, default=5
        Exchanges over which "region_swap_accuracy" and "flip_rate" are averaged.
    fill : {"zero", "mean", "noise", "shuffle", "blur"} or float, default="mean"
        What takes the place of the region in "region_removal_auc".
    confidence_level : float, default=0.95
        Of all intervals.
    n_resamples : int, default=2000
        Bootstrap samples of patients, and random flips of the tests.
    random_state : int, RandomState instance or None, default=None
        Decides exchanges, bootstrap and flips.

    Returns
    -------
    ModelComparison
        Tables.

    Raises
    ------
    ValueError
        If a named metric lacks what it needs, labels are missing, models know different classes, or there is no model
        of the name ``reference``.

    See Also
    --------
    ModelComparisonDisplay : Draws the result.

    Notes
    -----
    Areas and their differences have DeLong's variances (with patients Obuchowski's). Other metrics are averages of
    rows: patients are resampled for intervals (expanded percentiles [1]_; still too narrow for shares near 0 or 1 of
    fewer than about 30 patients), with the same samples for both models of a difference, and p-values
    come from flipping the signs of the patients' differences, which is exact where two models are interchangeable.
    Holm's correction counts all metrics and models of the table: name the metrics that decide. All intervals hold for
    these models, not for others that are trained alike: repeat the training for that.

    References
    ----------
    .. [1] Hesterberg (2015). What teachers should know about the bootstrap. The American Statistician 69, 371-386.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from sklearn_shortcuts.audit import compare_models
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 100)
    >>> X = rng.normal(size=(200, 4))
    >>> X[:, 0] += 2 * y
    >>> X[:, 3] += 9 * y  # the shortcut
    >>> masks = np.tile([0, 0, 0, 1], (200, 1))
    >>> models = {
    ...     "as trained": LogisticRegression().fit(X, y),
    ...     "blind": make_pipeline(FunctionTransformer(lambda X: X[:, :3]), LogisticRegression()).fit(X, y),
    ... }
    >>> comparison = compare_models(models, X, y, masks=masks, reference="as trained", random_state=0)
    >>> comparison.wide_[["accuracy", "region_swap_accuracy"]].round(1)
                accuracy  region_swap_accuracy
    model
    as trained       1.0                   0.5
    blind            0.8                   0.8
    >>> differences = comparison.differences_.set_index("metric")
    >>> bool(differences.loc["region_swap_accuracy", "pvalue_holm"] < 0.01)
    True
    """
    names = _check_names(models, reference)
    fitted = list(models.values())
    X, bunch, y, groups = _given_rows(X, y, masks, groups)
    flipped_rows = None if flipped is None else _flipped_rows(flipped)
    reasons = _impossible(fitted, bunch, y, explainer, flipped_rows)
    wanted = _choose(metrics, reasons)
    rng = make_random_state(random_state)
    swap_seed, seed = (draw_seed(rng) for _ in range(2))
    for labels in (y,) if flipped_rows is None else (y, flipped_rows[1]):
        _check_classes(models, labels)

    outcomes = dict(plain_metrics(fitted, X, y, groups, wanted))
    if flipped_rows is not None:
        outcomes.update(plain_metrics(fitted, *flipped_rows, wanted, prefix="flipped_"))
    options = {"mask_role": mask_role, "content": content, "n_draws": n_draws, "fill": fill}
    outcomes.update(region_metrics(fitted, X, y, masks, groups, wanted, swap_seed, **options))
    outcomes.update(saliency_metrics(fitted, X, bunch, wanted, explainer))
    measured = {}
    for metric in wanted:
        outcome = outcomes[metric]
        if not isinstance(outcome, UnmeasurableError):
            measured[metric] = outcome
        elif metrics is None:
            reasons[metric] = str(outcome)
        else:
            raise ValueError(f"metrics: {metric!r} cannot be measured, {outcome}") from outcome

    uncertainty = Uncertainty(confidence_level, n_resamples, seed)
    table = pd.DataFrame(
        [
            {"metric": metric, "model": name, **measured[metric].estimate(number, uncertainty)}
            for metric in measured
            for number, name in enumerate(names)
        ]
    )
    columns = ["metric", "model", "value", "low", "high", "chance", "n_rows", "n_left_out", "n_zero", "n_groups"]
    differences = None
    if reference is not None:
        differences = _differences(measured, names, reference, uncertainty)
    left_out = {} if metrics is not None else {metric: reasons[metric] for metric in METRICS if metric in reasons}
    return ModelComparison(table[columns], differences, left_out)


def _differences(measured, names, reference, uncertainty):
    other = names.index(reference)
    differences = pd.DataFrame(
        [
            {
                "metric": metric,
                "model": name,
                "reference": reference,
                **measured[metric].difference(number, other, uncertainty),
            }
            for metric in measured
            for number, name in enumerate(names)
            if number != other
        ]
    )
    differences.insert(7, "pvalue_holm", holm_correction(differences["pvalue"].to_numpy()))
    return differences


# -- what was given ----------------------------------------------------------------------------------------------------
def _check_names(models, reference):
    names = list(models)
    if not names:
        raise ValueError("models is empty; give at least one fitted model by name")
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"models must have names of type str, got {name!r}")
        if not hasattr(models[name], "predict"):
            raise ValueError(f"models: {name!r} is of type {type(models[name]).__name__}, which has no predict")
    if reference is not None and reference not in names:
        raise ValueError(f"reference={reference!r} is not among the models {names}")
    if reference is not None and len(names) < 2:
        raise ValueError(f"reference={reference!r} is the only model; give others to compare with it")
    return names


def _check_classes(models, y):
    """Refuse models whose scores do not answer the same questions."""
    if y.ndim == 2:  # classes of several labels have no common form: their number shows in predictions
        for model in models.values():
            check_label_names(model, y)
        return
    known = {
        name: [np.ravel(one).tolist() for one in model.classes_]
        for name, model in models.items()
        if hasattr(model, "classes_")
    }
    first = next(iter(known), None)
    for name, classes in known.items():
        if classes != known[first]:
            raise ValueError(
                f"the models {first!r} and {name!r} know different classes: {list(models[first].classes_)} and "
                f"{list(models[name].classes_)}; compare models of the same task"
            )


def _given_rows(X, y, masks, groups):
    """Give ``X``, the same rows as a bunch (None for an array without masks), labels, and patients."""
    if not isinstance(X, ImageBunch):
        X = np.asarray(X)
        bunch = None if masks is None else as_bunch(X, masks, groups)[0]
    else:
        fields = {name: value for name, value in (("masks", masks), ("groups", groups)) if value is not None}
        X = bunch = X.with_fields(**fields) if fields else X
        groups = bunch.groups if "groups" in bunch.fields else None
        y = bunch.target if y is None and "target" in bunch.fields else y
    return X, bunch, _check_labels(y, len(X), "y"), _check_groups(groups, len(X))


def _flipped_rows(flipped):
    if isinstance(flipped, tuple):
        if len(flipped) != 2:
            raise ValueError(f"flipped must be an ImageBunch or a tuple (X, y), got a tuple of {len(flipped)}")
        X, y = flipped
    else:
        X, y = flipped, flipped.target if "target" in flipped.fields else None
    X = X if isinstance(X, ImageBunch) else np.asarray(X)
    groups = X.groups if isinstance(X, ImageBunch) and "groups" in X.fields else None
    return X, _check_labels(y, len(X), "flipped"), groups


def _check_labels(y, n_rows, name):
    if y is None:
        where = "in flipped" if name == "flipped" else "for X"
        raise ValueError(f"there are no labels {where}: give them beside it, or an ImageBunch with the field 'target'")
    y = y if hasattr(y, "iloc") else np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y)
    if len(y) != n_rows:
        raise ValueError(f"{name} has {len(y)} labels for {n_rows} rows")
    missing = np.asarray(pd.isna(y)).reshape(n_rows, -1).any(axis=1)
    if missing.any():
        raise ValueError(f"{name}: row {np.flatnonzero(missing)[0]} has no label ({missing.sum()} such rows)")
    return y


def _check_groups(groups, n_rows):
    if groups is None:
        return None
    groups = np.asarray(groups)
    check_groups(groups, n_rows)
    return groups


def _impossible(models, bunch, y, explainer, flipped_rows):
    """Say which metrics cannot be measured, and why."""
    reasons = {}
    if any(not hasattr(model, "predict_proba") and not hasattr(model, "decision_function") for model in models):
        reasons.update(dict.fromkeys(_NEEDS_SCORES, "a model has neither predict_proba nor decision_function"))
    if _is_one_class(y):
        reasons.update(dict.fromkeys(_NEEDS_CLASSES, "all rows are of one class"))
    if explainer is None:
        reasons.update(dict.fromkeys(SALIENCY, "there is no explainer"))
    elif bunch is None or "artifact_masks" not in bunch.fields:
        reasons[ARTIFACT] = "there are no artifact_masks"
    if bunch is None or "masks" not in bunch.fields:
        reasons.update(dict.fromkeys([*REGION, *(name for name in SALIENCY if name != ARTIFACT)], "there are no masks"))
    if flipped_rows is None:
        reasons.update(dict.fromkeys(FLIPPED, "there are no flipped rows"))
    elif _is_one_class(flipped_rows[1]):
        reasons["flipped_auc"] = "all flipped rows are of one class"
    return reasons


def _is_one_class(y):
    labels = np.asarray(y).reshape(len(y), -1)
    return bool((labels == labels[:1]).all())


def _choose(metrics, reasons):
    if metrics is None:
        return [metric for metric in METRICS if metric not in reasons]
    metrics = list(metrics)
    for metric in metrics:
        if metric not in METRICS:
            raise ValueError(f"metrics: {metric!r} is not known; there are {list(METRICS)}")
        if metric in reasons:
            raise ValueError(f"metrics: {metric!r} cannot be measured, {reasons[metric]}")
    if len(set(metrics)) < len(metrics) or not metrics:
        raise ValueError(f"metrics must name at least one metric, and none twice, got {metrics}")
    return metrics
