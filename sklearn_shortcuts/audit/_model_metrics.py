"""What several models score on the same rows, by metric: estimates, and paired differences between models."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..metrics import (
    activation_precision,
    artifact_relevance,
    pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
    saliency_iou,
    wrong_reason_score,
)
from ..metrics._counterfactual import flip_scores, removal_scores, right_share, rows_to_exchange, swap_scores
from ..metrics._inputs import UnmeasurableError
from ..metrics._label_scores import evaluation_target, label_scores
from ..metrics._macro_auc import MacroAUC
from ..metrics._region_rows import RegionRows
from ..metrics._row_means import RowMeans

PLAIN = ("accuracy", "auc")
FLIPPED = ("flipped_accuracy", "flipped_auc")
REGION = ("region_swap_accuracy", "flip_rate", "region_removal_auc")
ARTIFACT = "artifact_relevance"
_SALIENCY = {
    "activation_precision": activation_precision,
    "wrong_reason_score": wrong_reason_score,
    "relevance_mass_accuracy": relevance_mass_accuracy,
    "relevance_rank_accuracy": relevance_rank_accuracy,
    "pointing_game": pointing_game,
    "saliency_iou": saliency_iou,
    ARTIFACT: artifact_relevance,
}
SALIENCY = tuple(_SALIENCY)
METRICS = (*PLAIN, *FLIPPED, *REGION, *SALIENCY)


@dataclass(frozen=True)
class Uncertainty:
    """How intervals and tests are made: confidence level, bootstrap samples, and the seed of both."""

    confidence_level: float
    n_resamples: int
    seed: int


class ShareMetric:
    """Average over rows of a score from 0 to 1, per model.

    Parameters
    ----------
    scores : ndarray of shape (n, k)
        One column per model; NaN for rows that do not count.
    groups : ndarray of shape (n,) or None
        Patients.
    n_rows : int
        Rows that there were, with those that have no region.
    chance : sequence of float, default=None
        Per model what a model would score that knows nothing.
    n_zero : sequence of int, default=None
        Per model the rows that do not count because their map says nothing.
    """

    def __init__(self, scores, groups, n_rows, chance=None, n_zero=None):
        self.scores, self.groups, self.n_rows = scores, groups, n_rows
        self.chance, self.n_zero = chance, n_zero

    def estimate(self, model, uncertainty):
        """Give value, limits and counts of one model."""
        used = np.isfinite(self.scores[:, model])
        record = {"value": np.nan, "low": np.nan, "high": np.nan, "n_groups": 0}
        if used.any():
            means = self._means(self.scores[:, model], used)
            low, high = means.intervals(uncertainty.confidence_level, uncertainty.n_resamples, uncertainty.seed)[:, 0]
            record = {"value": means.mean[0], "low": low, "high": high, "n_groups": means.n_groups}
        return {
            **record,
            "chance": np.nan if self.chance is None else self.chance[model],
            "n_rows": int(used.sum()),
            "n_left_out": int(self.n_rows - used.sum()),
            "n_zero": 0 if self.n_zero is None else self.n_zero[model],
        }

    def difference(self, one, other, uncertainty):
        """Give the difference of two models over the rows that count for both, with limits and p-value."""
        differences = self.scores[:, one] - self.scores[:, other]
        used = np.isfinite(differences)
        if not used.any():
            return {"difference": np.nan, "low": np.nan, "high": np.nan, "pvalue": np.nan, "n_rows": 0}
        means = self._means(differences, used)
        limits = means.intervals(uncertainty.confidence_level, uncertainty.n_resamples, uncertainty.seed, shares=False)[
            :, 0
        ]
        return {
            "difference": means.mean[0],
            "low": limits[0],
            "high": limits[1],
            "pvalue": means.pvalues(uncertainty.n_resamples, uncertainty.seed)[0],
            "n_rows": int(used.sum()),
        }

    def _means(self, column, used):
        return RowMeans(column[used, None], None if self.groups is None else self.groups[used])


class AreaMetric:
    """Area under the ROC curve, averaged over classes or labels, per model.

    Parameters
    ----------
    areas : MacroAUC
        Areas of all models.
    groups : ndarray of shape (n_used,) or None
        Patients.
    n_used, n_rows : int
        Rows that count, and rows that there were.
    """

    def __init__(self, areas, groups, n_used, n_rows):
        self.areas, self.n_used, self.n_rows = areas, n_used, n_rows
        areas.standard_error(np.eye(len(areas.auc))[0])  # raises here what would spoil the intervals of all models
        self.n_groups = n_used if groups is None else len(pd.unique(groups))

    def estimate(self, model, uncertainty):
        """Give value, limits and counts of one model."""
        low, high = self.areas.interval(model, uncertainty.confidence_level)
        return {
            "value": self.areas.auc[model],
            "low": low,
            "high": high,
            "n_groups": self.n_groups,
            "chance": 0.5,
            "n_rows": self.n_used,
            "n_left_out": self.n_rows - self.n_used,
            "n_zero": 0,
        }

    def difference(self, one, other, uncertainty):
        """Give the difference of two models with limits and p-value."""
        values = self.areas.difference(one, other, uncertainty.confidence_level)
        return {**dict(zip(("difference", "low", "high", "pvalue"), values)), "n_rows": self.n_used}


def plain_metrics(models, X, y, groups, wanted, prefix=""):
    """Measure models on rows as they are.

    Parameters
    ----------
    models : list of fitted classifiers
        Models.
    X : rows
        Test rows, in the form in which the models take them.
    y : array-like of shape (n,) or (n, n_labels)
        Labels.
    groups : array-like of shape (n,) or None
        Patients.
    wanted : collection of str
        Names of metrics.
    prefix : str, default=""
        What the names begin with here.

    Yields
    ------
    name : str
        Metric.
    outcome : ShareMetric, AreaMetric or UnmeasurableError
        Scores of all models, or why these rows allow none.
    """
    groups = None if groups is None else np.asarray(groups)
    if f"{prefix}accuracy" in wanted:
        scores = [right_share(model.predict(X), y) for model in models]
        yield f"{prefix}accuracy", ShareMetric(np.stack(scores, axis=1), groups, len(y))
    if f"{prefix}auc" in wanted:
        target = evaluation_target(y, models[0])
        scores = np.stack([label_scores(model, X, target) for model in models])
        yield f"{prefix}auc", attempt(area_metric, target, scores, groups, len(y))


def region_metrics(models, X, y, masks, groups, wanted, seed, *, mask_role, content, n_draws, fill):
    """Measure models on rows whose regions are exchanged or filled, the same for all models.

    Parameters
    ----------
    models : list of fitted classifiers
        Models.
    X : ImageBunch or array-like
        Test rows.
    y : array-like of shape (n,) or (n, n_labels)
        Labels.
    masks, groups : array-like or None
        In place of the fields of a bunch.
    wanted : collection of str
        Names of metrics.
    seed : int
        Decides exchanges and noise.
    mask_role, content, n_draws, fill
        As in :func:`compare_models`.

    Yields
    ------
    name : str
        Metric.
    outcome : ShareMetric, AreaMetric or UnmeasurableError
        Scores of all models, or why these rows allow none.
    """
    if not set(REGION) & set(wanted):
        return
    exchanged = attempt(rows_to_exchange, X, masks, groups, content, mask_role)
    exchange = {"content": content, "mask_role": mask_role, "n_draws": n_draws}
    for name, measure, how in (
        ("region_swap_accuracy", swap_scores, "any"),
        ("flip_rate", flip_scores, "other_class"),
    ):
        if name in wanted and isinstance(exchanged, UnmeasurableError):
            yield name, exchanged
        elif name in wanted:
            yield name, attempt(_exchange_metric, models, exchanged, y, measure, seed, how=how, **exchange)
    if "region_removal_auc" in wanted:
        removal = {"fill": fill, "blur_sigma": 0.0625, "mask_role": mask_role}
        yield "region_removal_auc", attempt(_removal_metric, models, X, y, masks, groups, seed, **removal)


def saliency_metrics(models, X, bunch, wanted, explainer):
    """Measure where models look.

    Parameters
    ----------
    models : list of fitted classifiers
        Models.
    X : ImageBunch or ndarray
        Test rows, in the form in which the explainer takes them.
    bunch : ImageBunch
        The same rows with their masks.
    wanted : collection of str
        Names of metrics.
    explainer : callable
        ``explainer(model, X) -> maps``.

    Yields
    ------
    name : str
        Metric.
    outcome : ShareMetric or UnmeasurableError
        Scores of all models, or why these rows allow none.
    """
    names = [name for name in _SALIENCY if name in wanted]
    if not names:
        return
    # Which artifact masks are empty is known when they are read.
    needed = np.ones(len(bunch), dtype=bool) if ARTIFACT in names else bunch.has_mask
    if not needed.any():
        yield from ((name, UnmeasurableError("no row has a mask; give masks for at least some rows")) for name in names)
        return
    rows, shown = bunch[needed], X[needed]
    found: dict = {name: [] for name in names}
    for model in models:
        maps = np.asarray(explainer(model, shown))  # let go before the next model's
        for name in names:
            regions = {"artifact_masks": rows.artifact_masks} if name == ARTIFACT else {"masks": rows.masks}
            has_mask = None if name == ARTIFACT else rows.has_mask
            found[name].append(attempt(_SALIENCY[name], maps, **regions, has_mask=has_mask))
    groups = np.asarray(bunch.groups) if "groups" in bunch.fields else None
    for name, scores in found.items():
        if isinstance(scores[0], UnmeasurableError):
            yield name, scores[0]
            continue
        by_row = np.full((len(bunch), len(models)), np.nan)
        by_row[needed] = np.stack([score.scores for score in scores], axis=1)
        chance, n_zero = [score.chance for score in scores], [score.n_zero for score in scores]
        yield name, ShareMetric(by_row, groups, len(bunch), chance, n_zero)


def attempt(measure, *args, **options):
    """Give what a function gives, or why these rows do not allow it."""
    try:
        return measure(*args, **options)
    except UnmeasurableError as error:
        return error


def _exchange_metric(models, rows, y, measure, seed, **exchange):
    labels = rows.labels(y)
    scores = [measure(model, rows, labels, rng=np.random.RandomState(seed), **exchange) for model in models]
    return ShareMetric(np.stack(scores, axis=1), rows.groups, len(rows.found))


def _removal_metric(models, X, y, masks, groups, seed, *, mask_role, **fill):
    rows = RegionRows(X, masks, groups, mask_role)
    target = evaluation_target(rows.labels(y), models[0])
    scores = [
        removal_scores(model, rows, target, mask_role=mask_role, rng=np.random.RandomState(seed), **fill)
        for model in models
    ]
    return area_metric(target, np.stack(scores), rows.groups, len(rows.found))


def area_metric(target, scores, groups, n_rows):
    areas = MacroAUC(target.positive, scores, target.label_names, groups)
    return AreaMetric(areas, groups, len(target.positive), n_rows)
