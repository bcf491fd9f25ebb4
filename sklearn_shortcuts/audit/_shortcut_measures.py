"""What a report on a shortcut measures of models, each on the rows as they are, without, and with the artifact."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..images import ImageBunch
from ..metrics import artifact_relevance, gap_closed, paired_recovery
from ..metrics._counterfactual import right_share
from ..metrics._inputs import UnmeasurableError
from ..metrics._label_scores import Target, evaluation_target, label_scores
from ..metrics._row_means import RowMeans
from ._concept_decodability import concept_decodability
from ._model_metrics import ShareMetric, area_metric, attempt
from ._tcav import tcav_score


@dataclass(frozen=True)
class Answers:
    """What all models say of one copy of the rows.

    Attributes
    ----------
    y : array-like of shape (n,) or (n, n_labels)
        Labels.
    predicted : list of ndarray of shape (n,) or (n, n_labels)
        Predicted labels, per model.
    right : ndarray of shape (n, n_models)
        Share of labels that are right.
    target : Target or None
        What is scored; None where a model gives no scores.
    scores : ndarray of shape (n_models, n, n_labels) or None
        Scores.
    """

    y: Any
    predicted: list
    right: np.ndarray
    target: Target | None
    scores: np.ndarray | None

    @classmethod
    def ask(cls, models, X, y):
        """Ask all models once."""
        predicted = [np.asarray(model.predict(X)) for model in models]
        right = np.stack([right_share(labels, y) for labels in predicted], axis=1)
        if not all(hasattr(model, "predict_proba") or hasattr(model, "decision_function") for model in models):
            return cls(y, predicted, right, None, None)
        target = evaluation_target(y, models[0])
        return cls(y, predicted, right, target, np.stack([label_scores(model, X, target) for model in models]))

    def rows(self, rows):
        """Give the answers for some of the rows."""
        y = self.y.iloc[rows] if hasattr(self.y, "iloc") else self.y[rows]
        scores = None if self.scores is None else self.scores[:, rows]
        return Answers(y, [labels[rows] for labels in self.predicted], self.right[rows], None, scores)


def performance(answers, model, groups, uncertainty):
    """Measure accuracy, macro F1 and AUC of one model on one copy.

    Parameters
    ----------
    answers : Answers
        What the models say.
    model : int
        Number of the model.
    groups : ndarray of shape (n,) or None
        Patients.
    uncertainty : Uncertainty
        How intervals are made.

    Yields
    ------
    name : str
        Measure.
    estimate : tuple of float or UnmeasurableError
        Value and limits, or why there is none.
    """
    yield "accuracy", _limits(ShareMetric(answers.right, groups, len(answers.right)).estimate(model, uncertainty))
    yield "macro_f1", macro_f1(answers.y, answers.predicted[model], groups, uncertainty)
    if answers.scores is None:
        yield "auc", UnmeasurableError("a model has neither predict_proba nor decision_function")
        return
    areas = attempt(area_metric, answers.target, answers.scores, groups, len(answers.right))
    failed = isinstance(areas, UnmeasurableError)
    yield "auc", areas if failed else _limits(areas.estimate(model, uncertainty))


def macro_f1(y, predicted, groups, uncertainty):
    """Average the F1 scores of the classes (labels) that are true or predicted in any row.

    Parameters
    ----------
    y, predicted : array-like of shape (n,) or (n, n_labels)
        Labels.
    groups : ndarray of shape (n,) or None
        Patients, who are resampled as a whole.
    uncertainty : Uncertainty
        How the interval is made.

    Returns
    -------
    value, low, high : float
        Of several labels the average over those that have a positive row or prediction. NaN limits with one patient.
    """
    y, predicted = np.asarray(y), np.asarray(predicted)
    if y.ndim == 1:
        classes = pd.unique(pd.Series(np.concatenate([y, predicted])))
        true, said = (np.stack([labels == name for name in classes], axis=1) for labels in (y, predicted))
    else:
        true, said = y.astype(bool), predicted.astype(bool)
    counts = np.concatenate([true & said, true, said], axis=1).astype(np.float64)
    means = RowMeans(counts, groups)
    value = float(_f1(means.mean[None])[0])
    if means.n_groups < 2:
        return value, np.nan, np.nan
    drawn = _f1(means.replicates(uncertainty.n_resamples, uncertainty.seed))
    outer = means.outer_percentile(uncertainty.confidence_level)
    return (value, *(float(limit) for limit in np.nanquantile(drawn, [outer, 1 - outer])))


def _f1(counts):
    both, true, said = np.split(counts, 3, axis=1)
    total = true + said
    scores = np.divide(2 * both, total, out=np.full(both.shape, np.nan), where=total > 0)
    some = np.isfinite(scores).any(axis=1)
    return np.where(some, np.nansum(scores, axis=1) / np.maximum(np.isfinite(scores).sum(axis=1), 1), np.nan)


def paired_means(columns, groups, uncertainty, *, shares):
    """Give the mean of a paired measure with its limits."""
    means = RowMeans(np.asarray(columns, dtype=np.float64)[:, None], groups)
    low, high = means.intervals(uncertainty.confidence_level, uncertainty.n_resamples, uncertainty.seed, shares=shares)
    return float(means.mean[0]), float(low[0]), float(high[0])


def worst_group(y, predicted, artifact, groups, uncertainty):
    """Find the combination of class and artifact that a model does worst in.

    Parameters
    ----------
    y, predicted : array-like of shape (n,) or (n, n_labels)
        Labels; each value of each of several labels is a class.
    artifact : ndarray of shape (n,)
        Whether a row has the artifact, 0 or 1.
    groups : ndarray of shape (n,) or None
        Patients.
    uncertainty : Uncertainty
        How the interval is made.

    Returns
    -------
    name : str
        Such as "class 1 without the artifact".
    value, low, high : float
        Accuracy there, with the limits of that group alone.
    """
    names = list(y.columns) if hasattr(y, "columns") else None
    y, predicted = np.asarray(y), np.asarray(predicted)
    several = y.ndim == 2
    worst = None
    for label in range(y.shape[1] if several else 1):
        true, said = (y[:, label], predicted[:, label]) if several else (y, predicted)
        prefix = f"{names[label] if names else f'label {label}'} = " if several else "class "
        for value in pd.unique(pd.Series(true)):
            for present in (0, 1):
                rows = np.flatnonzero((true == value) & (artifact == present))
                if len(rows):
                    accuracy = float((said[rows] == value).mean())
                    if worst is None or accuracy < worst[0]:
                        worst = (
                            accuracy,
                            f"{prefix}{value} {'with' if present else 'without'} the artifact",
                            rows,
                            (said[rows] == value),
                        )
    _, name, rows, right = worst
    return name, *paired_means(right, None if groups is None else groups[rows], uncertainty, shares=True)


def against_baseline(attacked, clean, baseline, model, groups, uncertainty):
    """Compare one model with the baseline on pairs of rows.

    Parameters
    ----------
    attacked, clean : Answers
        What the models say of the rows with and without the artifact.
    baseline, model : int
        Numbers of the models.
    groups : ndarray of shape (n,) or None
        Patients.
    uncertainty : Uncertainty
        How intervals are made.

    Yields
    ------
    name : str
        Measure.
    estimate : tuple of float or UnmeasurableError
        Value and limits, or why there is none.
    """
    options = {
        "groups": groups,
        "confidence_level": uncertainty.confidence_level,
        "n_resamples": uncertainty.n_resamples,
        "random_state": uncertainty.seed,
    }
    if attacked.scores is None:
        reason = UnmeasurableError("a model has neither predict_proba nor decision_function")
        yield from ((name, reason) for name in ("recovery", "off_target"))
    else:
        scores = [copy.scores[number] for number in (baseline, model) for copy in (attacked, clean)]
        found = paired_recovery(*scores, **options)
        if np.isnan(found.value):
            yield "recovery", UnmeasurableError("the artifact changes no score of the baseline")
        else:
            yield "recovery", (found.value, found.low, found.high)
        yield "off_target", (found.off_target, found.off_target_low, found.off_target_high)
    predicted = [copy.predicted[number] for number in (baseline, model) for copy in (attacked, clean)]
    closed = gap_closed(attacked.y, *predicted, **options)
    if np.isnan(closed.value):
        yield "gap_closed", UnmeasurableError("the baseline loses no accuracy to the artifact")
    else:
        yield "gap_closed", (closed.value, closed.low, closed.high)
    difference = clean.right[:, model] - clean.right[:, baseline]
    yield "clean_accuracy_change", paired_means(difference, groups, uncertainty, shares=False)


def relevance_of_artifact(model, rows, explainer, dilate, uncertainty):
    """Measure what share of a model's relevance lies on the artifact.

    Parameters
    ----------
    model : fitted classifier
        Model.
    rows : ImageBunch
        Rows with ``artifact_masks``.
    explainer : callable
        ``explainer(model, X) -> maps``.
    dilate : float
        As in :func:`~sklearn_shortcuts.metrics.artifact_relevance`.
    uncertainty : Uncertainty
        How the interval is made.

    Returns
    -------
    value, low, high, chance : float
        Share with its limits, and the share of the area.

    Raises
    ------
    UnmeasurableError
        If no row tells anything.
    """
    maps = np.asarray(explainer(model, rows))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the region of", UserWarning)  # said in the notes
        score = artifact_relevance(maps, rows.artifact_masks, dilate=dilate)
    if not score.n_used:
        why = "the artifact is everywhere in the image" if score.n_full else "the maps say nothing"
        raise UnmeasurableError(f"{why} in all rows that have one")
    groups = np.asarray(rows.groups) if "groups" in rows.fields else None
    metric = ShareMetric(score.scores[:, None], groups, len(rows))
    return (*_limits(metric.estimate(0, uncertainty)), score.chance)


def reliance_on_concept(model, rows, concept, layer, target, y):
    """Measure by TCAV how a concept changes the score of a class.

    Parameters
    ----------
    model : fitted classifier
        Model that contains a network.
    rows : rows
        Rows with the artifact.
    concept : ConceptVector, ConceptSubspace or ndarray of shape (n_channels,)
        The artifact in a layer.
    layer : str or None
        Name of the layer; by default the concept's own.
    target : class
        Whose score is differentiated.
    y : array-like of shape (n,) or (n, n_labels)
        Labels.

    Returns
    -------
    dict of str to float
        Columns of the table.
    """
    score = tcav_score(model, rows, concept, target, y=y, layer=layer)
    return {
        "tcav": score.value,
        "tcav_standard_error": score.standard_error,
        "tcav_magnitude": score.magnitude,
        "tcav_relative_magnitude": score.relative_magnitude,
    }


def remaining_concept(model, clean, attacked, layer, groups, uncertainty):
    """Measure how well a layer tells rows with the artifact from their twins, which stand on one side of each split.

    Parameters
    ----------
    model : fitted classifier
        Model that contains a network.
    clean, attacked : rows
        The same rows without and with the artifact.
    layer : str
        Name of the layer.
    groups : ndarray of shape (n,) or None
        Patients.
    uncertainty : Uncertainty
        How the interval is made.

    Returns
    -------
    value, low, high : float
        Area under the ROC curve.
    """
    both = np.concatenate([np.asarray(clean), np.asarray(attacked)])
    signal = isinstance(clean, ImageBunch) and clean.signal
    interval = concept_decodability(
        model,
        ImageBunch(both, signal=signal),
        np.repeat([0, 1], len(clean)),
        layer=layer,
        groups=np.tile(np.arange(len(clean)) if groups is None else pd.factorize(groups)[0], 2),
        confidence_level=uncertainty.confidence_level,
        random_state=uncertainty.seed,
    )
    return interval.auc, interval.low, interval.high


def _limits(record):
    return tuple(float(record[name]) for name in ("value", "low", "high"))
