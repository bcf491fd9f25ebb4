"""From cells of the benchmark of explanation regularization to tables that a person reads."""

import pandas as pd

from ._regularization_methods import DEFAULT, FEW_EXEMPLARS

_COLUMNS = {
    "in_distribution": "in-distribution",
    "decorrelated": "decorrelated",
    "decorrelated_auc": "decorrelated AUC",
    "region_swap": "region swap",
    "flip_rate": "flip rate",
    "activation_precision": "activation precision",
    "chance": "chance",
    "seconds": "seconds",
}
_DECOYS = ("digits", "mnist")  # what the names of the studies with decoys begin with


def summarize(cells):
    """Give mean and standard deviation over seeds.

    Parameters
    ----------
    cells : DataFrame
        One row per study, seed and method.

    Returns
    -------
    DataFrame of str
        One row per study and method.
    """
    records = []
    for (study, method), part in cells.groupby(["study", "method"], sort=False):
        record = {"study": study, "method": method}
        for column, title in _COLUMNS.items():
            values = part[column].dropna() if column in part else []
            digits = 1 if column == "seconds" else 3
            if len(values) == 0:
                record[title] = ""
            elif len(values) == 1 or column in ("chance", "seconds"):
                record[title] = f"{values.mean():.{digits}f}"
            else:
                record[title] = f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"
        notes = part["note"].dropna() if "note" in part else []
        record["note"] = f"{len(notes)} of {len(part)}: {notes.iloc[0]}" if len(notes) else ""
        records.append(record)
    table = pd.DataFrame(records)
    return table if (table["note"] != "").any() else table.drop(columns="note")


def bars(cells):
    """Compare means over seeds with what the library promises; studies without decoys are shown beside.

    Parameters
    ----------
    cells : DataFrame
        One row per study, seed and method.

    Returns
    -------
    DataFrame
        One row per study and bar: ``value``, ``bar`` and ``verdict``. Studies with decoys must reach the bars;
        elsewhere the verdict is in brackets.
    """
    records = []
    for study, part in cells.groupby("study", sort=False):
        means = part.groupby("method")[["in_distribution", "decorrelated"]].mean()
        if not {"unrefined", "clean data"} <= set(means.index):
            continue
        plain, clean = means.loc["unrefined"], means.loc["clean data"]

        def judge(method, name, value, bar, reached, study=study):
            verdict = "reached" if reached else "FAILED"
            if not study.startswith(_DECOYS):
                verdict = f"({verdict.lower()})"
            records.append(
                {
                    "study": study,
                    "method": method,
                    "what": name,
                    "value": round(value, 3),
                    "bar": bar,
                    "verdict": verdict,
                }
            )

        for method in (DEFAULT, *FEW_EXEMPLARS):
            if method not in means.index or means.loc[method].isna().any():
                continue
            own = means.loc[method]
            if method == DEFAULT:
                short = clean["decorrelated"] - own["decorrelated"]
                judge(method, "decorrelated accuracy below clean data", short, "<= 0.02", short <= 0.02)
            else:
                gap = clean["decorrelated"] - plain["decorrelated"]
                share = (own["decorrelated"] - plain["decorrelated"]) / gap
                judge(method, "share of the gap to clean data recovered", share, ">= 0.8", share >= 0.8)
            # What the shortcut adds in distribution cannot be kept without it: the clean network says how much that is.
            lost = plain["in_distribution"] - own["in_distribution"]
            judge(method, "in-distribution accuracy below unrefined", lost, "<= 0.02", lost <= 0.02)
            lost = clean["in_distribution"] - own["in_distribution"]
            judge(method, "in-distribution accuracy below clean data", lost, "<= 0.02", lost <= 0.02)
    return pd.DataFrame(records, columns=["study", "method", "what", "value", "bar", "verdict"])
