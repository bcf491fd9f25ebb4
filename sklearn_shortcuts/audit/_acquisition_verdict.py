"""From the tables of an acquisition probe to one sentence: can the acquisition be told, by what, and does it matter?"""

import math


def judge(scores, evidence, association, risk, *, confidence_level, is_balanced):
    """Decide whether the acquisition can be told, and whether it goes with the label.

    Parameters
    ----------
    scores : DataFrame
        One row per probe, with ``auc``, its limits, ``balanced_accuracy``, ``pvalue`` and ``pvalue_holm``.
    evidence : DataFrame or None
        One row per feature family.
    association, risk : DataFrame or None
        One row per label; None where no label is known.
    confidence_level : float
        Of the intervals; tests are made at what it leaves.
    is_balanced : bool
        Whether covariates were balanced.

    Returns
    -------
    told : bool
        Whether any probe beats chance.
    tied : bool or None
        Whether the acquisition goes with any label; None where none is known.
    sentence : str
        Both, with the numbers, and what to do.
    """
    level = 1 - confidence_level
    told = bool((scores["pvalue_holm"] <= level).any())
    tied = None if association is None else bool((association["pvalue_holm"] <= level).any())
    sentence = _told_part(scores, evidence, told, confidence_level, is_balanced)
    return told, tied, f"{sentence}{_tied_part(association, risk, told, tied, confidence_level)}."


def _told_part(scores, evidence, told, confidence_level, is_balanced):
    deciding = scores[scores["pvalue_holm"] <= 1 - confidence_level] if told else scores
    best = deciding.sort_values("auc").iloc[-1]
    percent = f"{100 * confidence_level:g} %"
    numbers = (
        f"{best.name} probe: AUC {best['auc']:.2f}, {percent} interval {best['auc_low']:.2f} to "
        f"{best['auc_high']:.2f}, p = {best['pvalue_holm']:.2g}; balanced accuracy {best['balanced_accuracy']:.2f}"
    )
    given = " with the covariates balanced" if is_balanced else ""
    if not told:
        return f"No sign that the acquisition can be told from the images{given} ({numbers})"
    source = ""
    if evidence is not None:
        significant = evidence[evidence["pvalue_holm"] <= 1 - confidence_level]
        if len(significant):
            top = significant.sort_values("auc", ascending=False)
            source = f", most of all by {top.index[0]} (AUC {top['auc'].iloc[0]:.2f} alone)"
    return f"The acquisition can be told from the images{given} ({numbers}){source}"


def _tied_part(association, risk, told, tied, confidence_level):
    if tied is None:
        return "; whether it goes with the label is not known without y"
    worst = (risk["risk"] if told else association["cramers_v"]).idxmax()
    row = association.loc[worst]
    which = f" {worst!r}" if len(association) > 1 else ""
    strength = (
        f"(Cramér's V {row['cramers_v']:.2f}, interval {row['low']:.2f} to {row['high']:.2f}, p = "
        f"{row['pvalue_holm']:.2g})"
    )
    if not tied:
        finding = f"; there is no sign that it goes with the label{which} {strength}"
        return finding + (", so that it is no shortcut in these rows, but may be one in others" if told else "")
    if not told:
        return f", although it goes with the label{which} {strength}; a network may still see what the probe does not"
    chance = risk.loc[worst]
    predicted = ""
    if not math.isnan(chance["auc"]):
        predicted = (
            f", which the predicted acquisition alone predicts with an AUC of {chance['auc']:.2f} (interval "
            f"{chance['low']:.2f} to {chance['high']:.2f})"
        )
    return (
        f", and it goes with the label{which} {strength}{predicted}: a network can learn the acquisition for the "
        "label; balance the training rows by AcquisitionBalancer, and audit what was trained"
    )
