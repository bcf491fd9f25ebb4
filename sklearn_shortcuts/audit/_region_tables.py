"""Tables of a region audit: areas per fold, per cell with tests, derived numbers, and the dilation curve."""

import math

import numpy as np
import pandas as pd

from ..metrics import holm_correction
from ._fold_auc import FoldAUC

FULL = ("all", "all")


def fold_areas(target, scores, cells, folds, groups, *, n_resamples=0, random_state=None):
    """Average the areas under the ROC curves over the folds, for every label.

    Parameters
    ----------
    target : Target
        Labels.
    scores : dict of (str, str) to ndarray of shape (n, n_labels)
        Out-of-fold scores by train and test masking.
    cells : list of (str, str)
        Which of them, in this order.
    folds : Folds
        Splits.
    groups : ndarray of int of shape (n,) or None
        Patients.
    n_resamples : int, default=0
        Bootstrap samples; 0 for DeLong.
    random_state : int, default=None
        Decides them.

    Returns
    -------
    list of FoldAUC
        One per label.
    """
    return [
        FoldAUC(
            target.positive[:, label],
            np.column_stack([scores[cell][:, label] for cell in cells]),
            folds.number,
            groups,
            test_share=folds.test_share,
            reciprocal=folds.reciprocal,
            n_resamples=n_resamples,
            random_state=random_state,
        )
        for label in range(len(target.label_names))
    ]


def rows_table(target, areas, cells, folds, groups):
    """One row per label, cell and fold: the area, and how many rows and patients it rests on."""
    records = []
    for label, (name, folded) in enumerate(zip(target.label_names, areas)):
        for fold, (_, test) in enumerate(folds.splits):
            counts = {"n": len(test), "n_positive": int(target.positive[test, label].sum())}
            if groups is not None:
                counts["n_groups"] = len(np.unique(groups[test]))
            for column, (train_masking, test_masking) in enumerate(cells):
                records.append(
                    {
                        "train": train_masking,
                        "test": test_masking,
                        "label": name,
                        "fold": fold,
                        "auc": folded.fold_auc[fold, column],
                        **counts,
                    }
                )
    return pd.DataFrame(records)


def cells_table(target, areas, cells, confidence_level):
    """One row per label and cell: mean and spread over folds, interval, and tests against chance and the full image.

    All tests of one kind form one family for Holm's correction.
    """
    records = []
    for name, folded in zip(target.label_names, areas):
        for column, (train_masking, test_masking) in enumerate(cells):
            low, high = folded.interval(column, confidence_level)
            record = {
                "label": name,
                "train": train_masking,
                "test": test_masking,
                "auc": folded.mean[column],
                "std": folded.fold_auc[:, column].std(ddof=1) if len(folded.fold_auc) > 1 else math.nan,
                "low": low,
                "high": high,
                "pvalue_chance": folded.chance_pvalue(column),
                "difference_from_full": math.nan,
                "pvalue_full": math.nan,
            }
            if FULL in cells and cells[column] != FULL:
                full = cells.index(FULL)
                record["difference_from_full"] = folded.mean[column] - folded.mean[full]
                record["pvalue_full"] = folded.difference_pvalue(column, full)
            records.append(record)
    table = pd.DataFrame(records)
    table.insert(8, "pvalue_chance_holm", holm_correction(table["pvalue_chance"].to_numpy()))
    table["pvalue_full_holm"] = holm_correction(table["pvalue_full"].to_numpy())
    return table


def matrix_table(table, train_maskings, maskings, kind):
    """Mean areas, rows by what models were trained on and columns by what they were tested on."""
    table = table[table["train"].isin(train_maskings) & table["test"].isin(maskings)]
    matrix = table.set_index(["label", "train", "test"])["auc"].unstack("test")
    labels = table["label"].unique()
    order = pd.MultiIndex.from_product([labels, train_maskings], names=["label", "train"])
    matrix = matrix.reindex(order)[list(maskings)]
    return matrix.droplevel("label") if kind == "binary" else matrix


def summary_table(target, areas, cells, confidence_level):
    """The numbers derived from the matrix, each with interval and p-value, by label and name."""
    records = []
    for name, folded in zip(target.label_names, areas):
        for quantity, values in _derived(folded, cells, confidence_level):
            records.append({"label": name, "quantity": quantity, **values})
    columns = ["label", "quantity", "value", "low", "high", "pvalue"]
    return pd.DataFrame(records, columns=columns).set_index(["label", "quantity"])


def _derived(folded, cells, confidence_level):
    where = {cell: column for column, cell in enumerate(cells)}
    without, full = where.get(("background", "background")), where.get(FULL)
    on_without, on_region = where.get(("all", "background")), where.get(("all", "roi"))
    if without is not None:
        low, high = folded.interval(without, confidence_level)
        yield (
            "excess_no_roi",
            {
                "value": folded.mean[without] - 0.5,
                "low": low - 0.5,
                "high": high - 0.5,
                "pvalue": folded.chance_pvalue(without),
            },
        )
    for quantity, one, other in (("shortcut_gap", on_without, on_region), ("roi_necessity", full, on_without)):
        if one is not None and other is not None:
            low, high = folded.difference_interval(one, other, confidence_level)
            value = folded.mean[one] - folded.mean[other]
            yield (
                quantity,
                {"value": value, "low": low, "high": high, "pvalue": folded.difference_pvalue(one, other)},
            )
    if full is not None and on_region is not None:
        low, high = folded.ratio_interval(on_region, full, confidence_level)
        value = folded.mean[on_region] / folded.mean[full] if folded.mean[full] > 0 else math.nan
        pvalue = folded.difference_pvalue(on_region, full)
        yield "roi_sufficiency", {"value": value, "low": low, "high": high, "pvalue": pvalue}


def dilation_table(target, scores, dilations, folds, groups, confidence_level):
    """Areas of the full-image model over the margin of the region, all rows or those of one class alone dilated.

    Where only the positive (or negative) rows get the margin and the others keep the smallest one, a model that reads
    the size of the blank area gives itself away: the areas move apart.
    """
    records = []
    smallest = min(dilations)
    for kept in ("roi", "background"):
        base = scores["all", dilated_name(kept, smallest)]
        variants, keys = {}, []
        for margin in dilations:
            own = scores["all", dilated_name(kept, margin)]
            for dilated, rows in (
                ("all", np.ones_like(target.positive)),
                ("positive", target.positive),
                ("negative", ~target.positive),
            ):
                variants[dilated, margin] = np.where(rows, own, base)
                keys.append((dilated, margin))
        areas = fold_areas(target, variants, keys, folds, groups)
        for name, folded in zip(target.label_names, areas):
            for column, (dilated, margin) in enumerate(keys):
                low, high = folded.interval(column, confidence_level)
                records.append(
                    {
                        "label": name,
                        "kept": kept,
                        "dilated": dilated,
                        "margin": margin,
                        "auc": folded.mean[column],
                        "std": folded.fold_auc[:, column].std(ddof=1) if len(folded.fold_auc) > 1 else math.nan,
                        "low": low,
                        "high": high,
                    }
                )
    return pd.DataFrame(records)


def dilated_name(kept, margin):
    """Name of a test masking with a margin of its own, such as ``"background+5"``."""
    return f"{kept}{margin:+g}"
