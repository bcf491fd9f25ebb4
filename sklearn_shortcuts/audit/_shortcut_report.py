"""One table that tells whether models use a shortcut, and whether a repair took it away and what that cost."""

from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params

from .._random_state import draw_seed, make_random_state
from ..explain import relevance
from ..explain._relevance import _METHODS
from ..images import ImageBunch
from ..metrics._inputs import UnmeasurableError
from ._model_comparison import _check_classes, _check_groups, _check_labels, _check_names
from ._model_metrics import Uncertainty, attempt
from ._shortcut_measures import (
    Answers,
    against_baseline,
    paired_means,
    performance,
    relevance_of_artifact,
    reliance_on_concept,
    remaining_concept,
    worst_group,
)

COPIES = ("as_is", "clean", "attacked")
PERFORMANCE = tuple(f"{metric}_{copy}" for metric in ("accuracy", "macro_f1", "auc") for copy in COPIES)
RELIANCE = ("worst_group_accuracy", "gap", "flip_rate", "artifact_relevance", "decodability")
REPAIR = ("recovery", "off_target", "gap_closed", "clean_accuracy_change")
MEASURES = (*PERFORMANCE, *RELIANCE, *REPAIR)
TCAV = ("tcav", "tcav_standard_error", "tcav_magnitude", "tcav_relative_magnitude")
_LACK_CLEAN = "there are no rows without the artifact: give X_clean, or an ImageBunch with the field 'twin'"
_LACK_ATTACKED = (
    "there are no rows of all classes with the artifact: give X_attacked, such as ArtifactInjector.attack makes"
)
_LACK_PAIRS = "there are no pairs of rows with and without the artifact: give X_clean and X_attacked"


@validate_params(
    {
        "estimators": [Mapping, HasMethods(["predict"])],
        "y": ["array-like", None],
        "artifact": ["array-like", None],
        "groups": ["array-like", None],
        "baseline": [str, HasMethods(["predict"]), None],
        "maps": [StrOptions(set(_METHODS)), callable, None],
        "dilate": [Interval(Real, 0, 0.5, closed="both")],
        "concept": [HasMethods("decision_function"), "array-like", None],
        "layer": [str, None],
        "target_class": [Integral, str, "boolean", None],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_resamples": [Interval(Integral, 100, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def shortcut_report(
    estimators,
    X,
    y=None,
    *,
    X_clean=None,
    X_attacked=None,
    artifact=None,
    groups=None,
    baseline=None,
    maps=None,
    dilate=8 / 224,
    concept=None,
    layer=None,
    target_class=None,
    confidence_level=0.95,
    n_resamples=2000,
    random_state=None,
):
    """Tell in one table how much models rely on an artifact, and what a repair took away of it and cost.

    Parameters
    ----------
    estimators : fitted classifier, or dict of str to fitted classifier
        Models, which all know the same classes. One without a name goes by that of its type.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
        Test rows as they are, which no model was fitted on.
    y : array-like of shape (n,) or (n, n_labels), default=None
        Labels; by default the bunch's field ``target``.
    X_clean : ImageBunch or array-like, default=None
        The same rows without the artifact; by default the field ``twin`` of ``X`` or of ``X_attacked``.
    X_attacked : ImageBunch or array-like, default=None
        The same rows all with the artifact, whatever their class, as
        :meth:`ArtifactInjector.attack <sklearn_shortcuts.datasets.ArtifactInjector.attack>` makes them; by default
        ``X`` if all its rows have the artifact.
    artifact : array-like of shape (n,), default=None
        Which rows of ``X`` have the artifact, 0 or 1; by default the bunch's field.
    groups : array-like of shape (n,), default=None
        Patients; by default the bunch's field. They are resampled as a whole.
    baseline : str or fitted classifier, default=None
        Model before the repair, by its name among ``estimators`` or itself. The fair one is a model that was trained
        further for as long without the penalty.
    maps : str or callable, default=None
        How to explain models: a method of :func:`~sklearn_shortcuts.explain.relevance`, then for the true class (the
        predicted one where rows have several labels), or ``maps(model, X) -> maps``. By default no artifact relevance.
    dilate : float, default=8/224
        How the masks grow for the artifact relevance (see :func:`~sklearn_shortcuts.metrics.artifact_relevance`).
    concept : ConceptVector, ConceptSubspace or array-like of shape (n_channels,), default=None
        The artifact in a layer that all models share, for :func:`tcav_score`.
    layer : str, default=None
        Name of that layer; by default the concept's own. Given alone, only the ``decodability`` is measured there.
    target_class : int or str, default=None
        Class or label that the artifact goes with, whose score TCAV differentiates. By default the class whose rows in
        ``X`` most often have the artifact.
    confidence_level : float, default=0.95
        Of all intervals.
    n_resamples : int, default=2000
        Bootstrap samples of patients.
    random_state : int, RandomState instance or None, default=None
        Decides them. All models meet the same samples.

    Returns
    -------
    DataFrame
        One row per model. Every measure has a column with its limits beside it, under its name with ``_low`` and
        ``_high``:

        - ``accuracy_``, ``macro_f1_`` and ``auc_`` with ``as_is``, ``clean`` and ``attacked`` (of several labels the
          share that is right, and averages over the labels);
        - ``worst_group_accuracy``, the lowest of the combinations of class and artifact, and ``worst_group``, which;
        - ``gap``: accuracy without the artifact minus accuracy with it, of the same rows;
        - ``flip_rate``: share of predictions that the artifact changes;
        - ``artifact_relevance``: share of the relevance that lies on the artifact, and ``artifact_relevance_chance``;
        - ``tcav``, which is 0.5 where the concept has no consistent influence, without limits but with
          ``tcav_standard_error``, for independent rows, ``tcav_magnitude`` and ``tcav_relative_magnitude``, on rows
          with the artifact;
        - ``decodability``: area under the ROC curve of a new linear probe for the artifact at the layer (see
          :func:`concept_decodability`), between the clean and attacked copies;
        - against the baseline ``recovery`` and ``off_target`` (see
          :func:`~sklearn_shortcuts.metrics.paired_recovery`), ``gap_closed`` (see
          :func:`~sklearn_shortcuts.metrics.gap_closed`) and ``clean_accuracy_change``;
        - ``n_rows``, ``n_groups`` (patients) and ``n_pairs``.

        What cannot be measured is NaN, and ``attrs["notes"]`` tells why: a dict of measures, each a dict of models to
        reasons. What qualifies a measure stands there as well.

    Raises
    ------
    ValueError
        If labels are missing, copies have other numbers of rows, models know different classes, or there is no model
        of the name ``baseline``.

    See Also
    --------
    ShortcutReportDisplay : Draws the table.
    compare_models : Tests differences of models without a copy of the rows.

    Notes
    -----
    Where there is no attacked copy, pairs are the rows of ``X`` that have the artifact and a twin. These are rows of
    the classes that go with the artifact: their gap and flip rate say little of the others, and are noted.

    Without ``artifact`` the worst group is sought in the clean and attacked copies together. Its limits are those of
    the group as if it had been chosen beforehand.

    References
    ----------
    .. [1] Pahde, Wiegand, Lapuschkin and Samek (2025). Ensuring Medical AI Safety: Interpretability-Driven Detection
       and Mitigation of Spurious Model Behavior and Associated Data. Machine Learning 114, 206.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_shortcuts.audit import shortcut_report
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 100)
    >>> clean = rng.normal(size=(200, 3)) + np.outer(y, [2, 0, 0])
    >>> attacked = clean + [0, 0, 4]
    >>> artifact = y * (np.arange(200) % 2)
    >>> biased = np.where(artifact[:, None] == 1, attacked, clean)
    >>> models = {"biased": LogisticRegression().fit(biased, y), "honest": LogisticRegression().fit(clean, y)}
    >>> report = shortcut_report(
    ...     models, biased, y, X_clean=clean, X_attacked=attacked, artifact=artifact, baseline="biased", random_state=0
    ... )
    >>> report[["accuracy_clean", "accuracy_attacked", "flip_rate"]].round(2)
            accuracy_clean  accuracy_attacked  flip_rate
    model
    biased            0.80               0.72       0.34
    honest            0.85               0.85       0.02
    >>> float(report.loc["honest", "gap_closed"].round(1))
    1.0
    >>> report.attrs["notes"]["gap_closed"]["biased"]
    'is the baseline'
    """
    models, baseline = _models(estimators, baseline)
    names, fitted = list(models), list(models.values())
    rows = _Rows(X, y, X_clean, X_attacked, artifact, groups)
    _check_classes(models, rows.y)
    seed = draw_seed(make_random_state(random_state))
    uncertainty = Uncertainty(confidence_level, n_resamples, seed)
    answers = {copy: Answers.ask(fitted, part, rows.y) for copy, part in rows.copies.items()}
    pairs = rows.pairs(answers)
    table = _Table(names)
    for number, name in enumerate(names):
        table.set(name, "n_rows", len(rows.y))
        table.set(name, "n_groups", len(rows.y) if rows.groups is None else len(pd.unique(pd.Series(rows.groups))))
        table.set(name, "n_pairs", 0 if pairs is None else len(pairs[0].right))
        for copy in COPIES:
            if copy not in answers:
                table.lack(name, [f"{metric}_{copy}" for metric in ("accuracy", "macro_f1", "auc")], rows.lacks[copy])
                continue
            for metric, estimate in performance(answers[copy], number, rows.groups, uncertainty):
                table.put(name, f"{metric}_{copy}", estimate)
        _put_worst_group(table, name, number, rows, answers, uncertainty)
        _put_pairs(table, name, number, rows, pairs, baseline, names, uncertainty)
        _put_relevance(table, name, models[name], rows, maps, dilate, uncertainty)
        _put_concept(table, name, models[name], rows, concept, layer, target_class)
        _put_decodability(table, name, models[name], rows, concept, layer, uncertainty)
    return table.frame()


class _Table:
    """Values by model and column, and the reasons why some are missing."""

    def __init__(self, names):
        self.names, self.values, self.notes = names, {name: {} for name in names}, {}

    def set(self, name, column, value):
        self.values[name][column] = value

    def put(self, name, measure, estimate):
        """Take in a value with its limits, or the reason why there is none."""
        if isinstance(estimate, UnmeasurableError):
            self.lack(name, [measure], str(estimate))
            return
        for column, value in zip((measure, f"{measure}_low", f"{measure}_high"), estimate):
            self.set(name, column, value)

    def lack(self, name, measures, reason):
        for measure in measures:
            self.note(name, measure, reason)

    def note(self, name, measure, remark):
        self.notes.setdefault(measure, {})[name] = remark

    def frame(self):
        columns = ["n_rows", "n_groups", "n_pairs"]
        for measure in MEASURES:
            columns += [measure, f"{measure}_low", f"{measure}_high"]
            columns += {
                "worst_group_accuracy": ["worst_group"],
                "artifact_relevance": ["artifact_relevance_chance"],
            }.get(measure, [])
        columns += TCAV
        frame = pd.DataFrame.from_dict(self.values, orient="index").reindex(index=self.names, columns=columns)
        frame["worst_group"] = frame["worst_group"].astype(object)
        frame.attrs["notes"] = self.notes
        return frame.rename_axis("model")


class _Rows:
    """The rows as they are, without, and with the artifact, as far as they are known."""

    def __init__(self, X, y, X_clean, X_attacked, artifact, groups):
        X = X if isinstance(X, ImageBunch) else np.asarray(X)
        bunch = X if isinstance(X, ImageBunch) else None
        fields = () if bunch is None else bunch.fields
        self.y = _check_labels(bunch.target if y is None and "target" in fields else y, len(X), "y")
        groups = bunch.groups if groups is None and "groups" in fields else groups
        self.groups = _check_groups(groups, len(X))
        artifact = bunch.artifact if artifact is None and "artifact" in fields else artifact
        self.artifact = None if artifact is None else _check_artifact(artifact, len(X))
        self.lacks = {"clean": _LACK_CLEAN, "attacked": _LACK_ATTACKED}
        if X_clean is None:
            X_clean = _twins(X) if _twins(X) is not None else _twins(X_attacked)
        if X_attacked is None and self.artifact is not None and self.artifact.all():
            X_attacked = X
        self.copies = {"as_is": X}
        for copy, part in (("clean", X_clean), ("attacked", X_attacked)):
            if part is None:
                continue
            part = part if isinstance(part, ImageBunch) else np.asarray(part)
            if part.shape != X.shape:
                raise ValueError(f"X_{copy} has shape {part.shape}, but X {X.shape}; give the same rows in that order")
            self.copies[copy] = part

    def pairs(self, answers):
        """Give answers for rows with and without the artifact, their patients, and a remark; None without pairs."""
        if "clean" not in answers:
            return None
        if "attacked" in answers:
            return answers["attacked"], answers["clean"], self.groups, None
        if self.artifact is None or not self.artifact.any():
            return None
        rows = np.flatnonzero(self.artifact)
        groups = None if self.groups is None else self.groups[rows]
        remark = f"of the {len(rows)} rows of X that have the artifact, which need not be of all classes"
        return answers["as_is"].rows(rows), answers["clean"].rows(rows), groups, remark

    def with_artifact(self):
        """Give the rows that have the artifact with their labels; or say why there are none."""
        if "attacked" in self.copies:
            return self.copies["attacked"], self.y
        if self.artifact is None or not self.artifact.any():
            raise UnmeasurableError("no row is known to have the artifact: give X_attacked or artifact")
        rows = np.flatnonzero(self.artifact)
        return self.copies["as_is"][rows], self.y.iloc[rows] if hasattr(self.y, "iloc") else self.y[rows]

    def attacked_class(self):
        """Give the class whose rows most often have the artifact; or say why there is none."""
        if self.artifact is None or len(np.unique(self.artifact)) < 2 or np.ndim(self.y) == 2:
            raise UnmeasurableError("it is not known which class the artifact goes with: name it by target_class")
        shares = pd.Series(self.artifact).groupby(np.asarray(self.y)).mean()
        return np.asarray(shares.index)[shares.to_numpy().argmax()].item()

    def with_masks(self):
        """Give the rows that have an artifact and its mask, with labels; or say why there are none."""
        part = self.copies.get("attacked", self.copies["as_is"])
        if not isinstance(part, ImageBunch) or "artifact_masks" not in part.fields:
            raise UnmeasurableError("there are no artifact_masks: give X_attacked or X as an ImageBunch that has them")
        fields = {"target": self.y}
        if self.groups is not None:
            fields["groups"] = self.groups
        part = part.with_fields(**fields)
        if "attacked" in self.copies or self.artifact is None:
            return part
        if not self.artifact.any():
            raise UnmeasurableError("no row has the artifact")
        return part[np.flatnonzero(self.artifact)]


def _models(estimators, baseline):
    """Give models by name, and the name of the baseline."""
    models = dict(estimators) if isinstance(estimators, Mapping) else {type(estimators).__name__: estimators}
    if baseline is not None and not isinstance(baseline, str):
        known = [name for name, model in models.items() if model is baseline]
        if not known:
            if "baseline" in models:
                raise ValueError('one of the estimators is called "baseline", but is not the baseline; rename it')
            models = {"baseline": baseline, **models}
        baseline = known[0] if known else "baseline"
    _check_names(models, None)
    if baseline is not None and baseline not in models:
        raise ValueError(f"baseline={baseline!r} is not among the estimators {list(models)}")
    return models, baseline


def _check_artifact(artifact, n_rows):
    artifact = np.asarray(artifact)
    if artifact.shape != (n_rows,):
        raise ValueError(f"artifact must have one value per row, got shape {artifact.shape} for {n_rows} rows")
    wrong = np.flatnonzero(~np.isin(artifact, (0, 1)))
    if len(wrong):
        raise ValueError(
            f"artifact: row {wrong[0]} has {artifact[wrong[0]]}, but 0 or 1 is wanted; leave such rows out"
        )
    return artifact.astype(np.int64)


def _twins(X):
    if not isinstance(X, ImageBunch) or "twin" not in X.fields:
        return None
    lost = dict.fromkeys(name for name in ("twin", "artifact", "artifact_masks") if name in X.fields)
    return X.with_images(X.get("twin"), **lost)


def _put_worst_group(table, name, number, rows, answers, uncertainty):
    if rows.artifact is not None and len(np.unique(rows.artifact)) == 2:
        y, predicted, artifact, groups = rows.y, answers["as_is"].predicted[number], rows.artifact, rows.groups
    elif "clean" in answers and "attacked" in answers:
        table.note(name, "worst_group_accuracy", "of the clean and attacked copies together")
        y = pd.concat([rows.y] * 2) if hasattr(rows.y, "iloc") else np.concatenate([rows.y] * 2)
        predicted = np.concatenate([answers[copy].predicted[number] for copy in ("clean", "attacked")])
        artifact = np.repeat([0, 1], len(rows.y))
        groups = np.tile(np.arange(len(rows.y)) if rows.groups is None else rows.groups, 2)
    else:
        table.lack(name, ["worst_group_accuracy"], "it is not known which rows have the artifact: give artifact")
        return
    worst, *estimate = worst_group(y, predicted, artifact, groups, uncertainty)
    table.put(name, "worst_group_accuracy", estimate)
    table.set(name, "worst_group", worst)


def _put_pairs(table, name, number, rows, pairs, baseline, names, uncertainty):
    if pairs is None:
        table.lack(name, ["gap", "flip_rate", *REPAIR], _LACK_PAIRS)
        return
    attacked, clean, groups, remark = pairs
    change = clean.right[:, number] - attacked.right[:, number]
    table.put(name, "gap", paired_means(change, groups, uncertainty, shares=False))
    flipped = np.asarray(attacked.predicted[number]) != np.asarray(clean.predicted[number])
    flipped = flipped.reshape(len(flipped), -1).mean(axis=1)
    table.put(name, "flip_rate", paired_means(flipped, groups, uncertainty, shares=True))
    noted = ["gap", "flip_rate"]
    if baseline is None:
        table.lack(name, REPAIR, "there is no baseline")
    elif name == baseline:
        table.lack(name, REPAIR, "is the baseline")
    else:
        noted += REPAIR
        for measure, estimate in against_baseline(attacked, clean, names.index(baseline), number, groups, uncertainty):
            table.put(name, measure, estimate)
    if remark is not None:
        for measure in noted:
            if measure in table.values[name]:
                table.note(name, measure, remark)


def _put_relevance(table, name, model, rows, maps, dilate, uncertainty):
    if maps is None:
        table.lack(name, ["artifact_relevance"], "there are no maps: name a method or give an explainer")
        return
    shown = attempt(rows.with_masks)
    if isinstance(shown, UnmeasurableError):
        table.put(name, "artifact_relevance", shown)
        return
    if callable(maps):
        found = attempt(relevance_of_artifact, model, shown, maps, dilate, uncertainty)
    else:
        target = "predicted" if np.ndim(rows.y) == 2 else "true"

        def explainer(model, X):
            return relevance(model, X, target, method=maps)

        try:
            found = attempt(relevance_of_artifact, model, shown, explainer, dilate, uncertainty)
        except TypeError as error:  # no network
            found = UnmeasurableError(f"{type(model).__name__} cannot be explained by {maps!r}: {error}")
    if isinstance(found, UnmeasurableError):
        table.put(name, "artifact_relevance", found)
        return
    table.put(name, "artifact_relevance", found[:3])
    table.set(name, "artifact_relevance_chance", found[3])


def _put_concept(table, name, model, rows, concept, layer, target_class):
    if concept is None:
        table.lack(name, TCAV, "there is no concept")
        return
    shown = attempt(rows.with_artifact)
    target = attempt(rows.attacked_class) if target_class is None else target_class
    reason = next((found for found in (shown, target) if isinstance(found, UnmeasurableError)), None)
    if reason is None:
        part, y = shown
        try:
            for column, value in reliance_on_concept(model, part, concept, layer, target, y).items():
                table.set(name, column, value)
            return
        except TypeError as error:  # no network
            reason = f"{type(model).__name__} has no layers: {error}"
    table.lack(name, TCAV, str(reason))


def _put_decodability(table, name, model, rows, concept, layer, uncertainty):
    layer = getattr(concept, "layer_", None) if layer is None else layer
    if layer is None:
        reason = "there is no layer"
    elif "clean" not in rows.copies or "attacked" not in rows.copies:
        reason = _LACK_PAIRS
    else:
        try:
            found = remaining_concept(
                model, rows.copies["clean"], rows.copies["attacked"], layer, rows.groups, uncertainty
            )
            table.put(name, "decodability", found)
            return
        except TypeError as error:  # no network
            reason = f"{type(model).__name__} has no layers: {error}"
        except ValueError as error:
            if not str(error).startswith("artifact:"):  # too few rows
                raise
            reason = str(error).removeprefix("artifact: ")
    table.lack(name, ["decodability"], reason)
