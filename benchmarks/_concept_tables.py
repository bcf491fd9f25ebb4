"""From cells of the benchmark of concept removal to tables that a person reads, and to verdicts."""

import pandas as pd

from ._concept_methods import METHODS, UNREFINED

_CELL = ["study", "network", "artifact"]
_COLUMNS = {
    "clean": "clean",
    "attacked": "attacked",
    "flip_rate": "flip rate",
    "recovery": "recovery",
    "off_target": "change of clean logits",
    "artifact_relevance": "artifact relevance",
    "tcav": "TCAV",
    "tcav_magnitude": "TCAV magnitude",
    "seconds": "seconds",
}
_GAP, _CLOSED, _LOST = 0.2, 0.5, 0.02


def summarize(cells):
    """Give mean and standard deviation over seeds.

    Parameters
    ----------
    cells : DataFrame
        One row per cell, seed and method.

    Returns
    -------
    DataFrame of str
        One row per cell and method.
    """
    records = []
    for key, part in cells.groupby([*_CELL, "method"], sort=False):
        record = dict(zip((*_CELL, "method"), key))
        for column, title in _COLUMNS.items():
            values = part[column].dropna()
            digits = 1 if column == "seconds" else 3
            if len(values) == 0:
                record[title] = ""
            elif len(values) == 1 or column == "seconds":
                record[title] = f"{values.mean():.{digits}f}"
            else:
                record[title] = f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"
        records.append(record)
    return pd.DataFrame(records)


def judge(cells):
    """Tell which repairs work in each cell, by means over seeds.

    A repair works if it closes at least half of the gap between clean and attacked accuracy, loses no more than 0.02
    of the clean accuracy, lowers the flip rate, and has a higher attacked accuracy than the same training without it.

    Parameters
    ----------
    cells : DataFrame
        One row per cell, seed and method.

    Returns
    -------
    DataFrame
        One row per cell: ``gap`` of the unrefined network, ``works`` (repairs that do), ``verdict`` ("works", "FAILED"
        or, where the gap is below 0.2, "no gap") and ``reason``: what the best of those that fail lack.
    """
    records = []
    for key, part in cells.groupby(_CELL, sort=False):
        means = part.groupby("method")[["clean", "attacked", "flip_rate"]].mean()
        if UNREFINED not in means.index:
            continue
        plain = means.loc[UNREFINED]
        gap = plain["clean"] - plain["attacked"]
        lacks = {}
        for name, method in METHODS.items():
            if method.control in means.index and name in means.index:
                lacks[name] = _missing(means.loc[name], plain, means.loc[method.control], gap)
        works = [name for name, reasons in lacks.items() if not reasons]
        best = min(lacks, key=lambda name: len(lacks[name])) if lacks else ""
        verdict = "no gap" if gap < _GAP else "works" if works else "FAILED"
        reason = f"{best}: {'; '.join(lacks[best])}" if verdict == "FAILED" else ""
        records.append(
            {
                **dict(zip(_CELL, key)),
                "gap": round(gap, 3),
                "works": ", ".join(works) if gap >= _GAP else "",
                "verdict": verdict,
                "reason": reason,
            }
        )
    return pd.DataFrame(records, columns=[*_CELL, "gap", "works", "verdict", "reason"])


def _missing(own, plain, control, gap):
    """What a repair lacks."""
    reasons = []
    closed = 1 - (own["clean"] - own["attacked"]) / gap
    if closed < _CLOSED:
        reasons.append(f"closes {closed:.0%} of the gap")
    lost = plain["clean"] - own["clean"]
    if lost > _LOST:
        reasons.append(f"loses {lost:.3f} of the clean accuracy")
    if own["flip_rate"] >= plain["flip_rate"]:
        reasons.append("does not lower the flip rate")
    if own["attacked"] <= control["attacked"]:
        reasons.append("is no better on attacked rows than training without it")
    return reasons
