"""From areas under ROC curves to one sentence: is there a shortcut outside the region?"""

import math

import pandas as pd

from ..metrics import holm_correction

# Controls that see nothing but the mask. Where they predict the label, so may every image cut out by that mask.
_LEAKS = {"mask_only": "the outline of the mask alone", "kept_fraction": "the size of the mask alone"}


def judge(labels, folded, cells, *, confidence_level, region_name):
    """Decide for every label whether a shortcut lies outside the region.

    A shortcut is called where a model that never saw the region ranks the left-out rows above chance. If the mask
    itself predicts the label, the model must beat the mask as well.

    Parameters
    ----------
    labels : list
        Label names.
    folded : list of FoldAUC
        Areas per label.
    cells : list of (str, str)
        What their columns are.
    confidence_level : float
        Of the intervals; the tests are one-sided at half of what it leaves.
    region_name : str
        What the region is called.

    Returns
    -------
    verdicts : DataFrame
        One row per label: ``status`` ("shortcut", "none" or "undecided"), the area without the region with its
        interval and p-values, the control that leaks most, and the sentence.
    sentence : str
        All of it in one sentence.
    """
    level = (1 - confidence_level) / 2
    without = next((name for name in ("background", "background_box") if (name, name) in cells), None)
    if without is None:
        reason = f"no model was trained and tested without the {region_name}"
        verdicts = pd.DataFrame({"label": labels, "status": "undecided", "sentence": f"Undecided: {reason}."})
        return verdicts.set_index("label"), f"Undecided: {reason}."
    column = cells.index((without, without))
    pvalues = [areas.chance_pvalue(column) for areas in folded]
    records = []
    for label, areas, pvalue, adjusted in zip(labels, folded, pvalues, holm_correction(pvalues)):
        low, high = areas.interval(column, confidence_level)
        record = {
            "label": label,
            "status": "none",
            "auc": areas.mean[column],
            "low": low,
            "high": high,
            "pvalue": pvalue,
            "pvalue_holm": adjusted,
        }
        leak = _worst_leak(areas, cells, level)
        record["leak"] = None if leak is None else leak[0]
        record["leak_auc"] = math.nan if leak is None else areas.mean[leak[1]]
        full = cells.index(("all", "all")) if ("all", "all") in cells else None
        if adjusted <= level:
            beaten = leak is None or areas.difference_pvalue(column, leak[1], "greater") <= level
            record["status"] = "shortcut" if beaten else "undecided"
        elif full is not None and areas.chance_pvalue(full) > level:
            record["status"] = "undecided"
        record["sentence"] = _sentence(record, areas, cells, full, confidence_level, region_name)
        records.append(record)
    verdicts = pd.DataFrame(records).set_index("label")
    return verdicts, _summary(verdicts, region_name)


def _worst_leak(areas, cells, level):
    leaks = [
        (name, cells.index((name, name)))
        for name in _LEAKS
        if (name, name) in cells and areas.chance_pvalue(cells.index((name, name))) <= level
    ]
    return max(leaks, key=lambda leak: areas.mean[leak[1]], default=None)


def _sentence(record, areas, cells, full, confidence_level, region_name):
    interval = f"({100 * confidence_level:g} % interval {record['low']:.2f} to {record['high']:.2f})"
    against = "" if full is None else f", against {areas.mean[full]:.2f} on the full image"
    if record["status"] == "shortcut":
        mask = ""
        if ("mask_only", "mask_only") in cells:
            mask = f" and {areas.mean[cells.index(('mask_only', 'mask_only'))]:.2f} from the outline of the mask alone"
        return (
            f"Shortcut: a model trained and tested without the {region_name} keeps an AUC of {record['auc']:.2f} "
            f"{interval}{against}{mask}."
        )
    if (
        record["leak"] is not None
        and record["status"] == "undecided"
        and record["pvalue_holm"] <= (1 - confidence_level) / 2
    ):
        return (
            f"Undecided, leaky masks: a model trained and tested without the {region_name} has an AUC of "
            f"{record['auc']:.2f} {interval}{against}, but {_LEAKS[record['leak']]} predicts the label about as well "
            f"(AUC {record['leak_auc']:.2f})."
        )
    if record["status"] == "undecided":
        return (
            f"Undecided: the full image does not predict the label (AUC {areas.mean[full]:.2f}), so that an AUC of "
            f"{record['auc']:.2f} {interval} without the {region_name} says nothing."
        )
    return (
        f"No shortcut found: a model trained and tested without the {region_name} has an AUC of {record['auc']:.2f} "
        f"{interval}{against}."
    )


def _summary(verdicts, region_name):
    if len(verdicts) == 1:
        return verdicts["sentence"].iloc[0]
    n = len(verdicts)
    found = verdicts[verdicts["status"] == "shortcut"].sort_values("auc", ascending=False)
    undecided = verdicts[verdicts["status"] == "undecided"]
    rest = f"; {len(undecided)} undecided ({_listed(undecided.index)})" if len(undecided) else ""
    if len(found):
        top = found.iloc[0]
        return (
            f"Shortcut for {len(found)} of {n} labels ({_listed(found.index)}): a model trained and tested without the "
            f"{region_name} keeps an AUC of up to {top['auc']:.2f} ({found.index[0]}, interval {top['low']:.2f} to "
            f"{top['high']:.2f}){rest}."
        )
    top = verdicts.loc[verdicts["auc"].idxmax()]
    start = "Undecided" if len(undecided) == n else "No shortcut found"
    return (
        f"{start} for {n} labels: a model trained and tested without the {region_name} has an AUC of at most "
        f"{top['auc']:.2f} ({top.name}, interval {top['low']:.2f} to {top['high']:.2f})"
        f"{rest if len(undecided) < n else ''}."
    )


def _listed(names):
    return ", ".join(map(str, names))
