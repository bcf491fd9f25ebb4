"""Rows to choose exemplars from: those whose explanations lie most and least where they should."""

from numbers import Integral
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ..images import ImageBunch
from ..images._array_rows import bunch_of_arrays
from ..neural._receptive_field import dilate_to_cells
from ._cam_penalty import CAMPenalty
from ._exemplar_triplet_penalty import ExemplarTripletPenalty
from ._recorded_maps import explain_rows

MASK_FIELDS = ("masks", "has_mask")
_CANDIDATES = 10  # times as many rows as are wanted


class SuggestedExemplars(NamedTuple):
    """What :func:`suggest_exemplars` gives.

    Attributes
    ----------
    good, bad : ndarray of int of shape (k,)
        Row numbers, the best and the worst first.
    scores : DataFrame of shape (n, 4)
        For every row ``"wrong_share"``, the share of the attention on the wrong region (NaN without a mask),
        ``"wrong_area"``, the share of the map's cells that see it, ``"correct"``, whether the row is classified
        correctly, and ``"suggested"``, ``"good"``, ``"bad"`` or ``""``.
    """

    good: np.ndarray
    bad: np.ndarray
    scores: pd.DataFrame


@validate_params(
    {
        "k": [Interval(Integral, 1, None, closed="left")],
        "penalty": [CAMPenalty, None],
        "mask_role": [StrOptions({"avoid", "attend"})],
    },
    prefer_skip_nested_validation=True,
)
def suggest_exemplars(estimator, X, y=None, k=1, *, masks=None, penalty=None, mask_role="avoid"):
    """Find rows with good and with bad explanations, to learn from with :class:`ExemplarTripletPenalty`.

    Of the correctly classified rows that have a mask, the good ones have the smallest share of attention on the wrong
    region. The first bad one has the largest; the others are taken from the ``10 * k`` rows with the largest shares,
    each as different as can be from those before in where in the wrong region the attention lies, so that a shortcut
    that moves about is shown at several places. Explanations are those that the penalty compares. A person should
    look at the rows before they become exemplars.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Unrefined network, fitted; explained in evaluation mode and left as it was.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Rows to choose from.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes; by default the bunch's field ``target``. A row with several labels must have all of them right.
    k : int, default=1
        Number of pairs.
    masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, default=None
        Regions, 1 inside; by default the bunch's field ``masks``.
    penalty : CAMPenalty, default=None
        Whose explanations are used; by default those of ``ExemplarTripletPenalty()``.
    mask_role : {"avoid", "attend"}, default="avoid"
        Whether masks are 1 in the wrong or in the right region. A cell of the map belongs to the wrong region if it
        sees a part of it.

    Returns
    -------
    SuggestedExemplars
        Row numbers ``good`` and ``bad``, and the ``scores`` of all rows.

    Raises
    ------
    ValueError
        If masks or true classes are missing, or fewer than ``2 * k`` rows can be chosen from.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.mitigation import suggest_exemplars
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(20, 16, 16)), np.arange(20) % 2
    >>> masks = np.zeros((20, 16, 16))
    >>> masks[:, :6, :6] = 1
    >>> classifier = NeuralImageClassifier(SmallCNN(4), max_epochs=5, random_state=0).fit(X, y)
    >>> found = suggest_exemplars(classifier, X, y, k=2, masks=masks)
    >>> bool(found.scores["wrong_share"][found.bad].min() > found.scores["wrong_share"][found.good].max())
    True
    """
    return choose_exemplars(estimator, _with_masks(X, masks), y, k, penalty=penalty, mask_role=mask_role)


def choose_exemplars(estimator, bunch, y, k, *, penalty, mask_role, or_fewer=False):
    """Do what :func:`suggest_exemplars` does, where ``or_fewer`` with as many pairs as there are if that is fewer."""
    recipe = (ExemplarTripletPenalty() if penalty is None else penalty).recipe()
    share = np.full(len(bunch), np.nan)
    area = np.full(len(bunch), np.nan)
    correct = np.zeros(len(bunch), dtype=bool)
    for maps, batch, windows in explain_rows(recipe, estimator, bunch, y, MASK_FIELDS, with_y=True):
        rows = batch["index"].cpu().numpy()
        wrong = _wrong_cells(batch, windows, maps, mask_role)
        weights = maps.abs().flatten(1)
        shares = (weights * wrong.flatten(1)).sum(1) / weights.sum(1)  # NaN for a map of zeros
        known = batch["has_mask"].cpu().numpy()
        share[rows] = np.where(known, shares.cpu().numpy(), np.nan)
        area[rows] = np.where(known, wrong.flatten(1).to(weights.dtype).mean(1).cpu().numpy(), np.nan)
        correct[rows] = _is_correct(batch["logits"], batch["y"]).cpu().numpy()
    order = _best_first(share, correct, 1 if or_fewer else k)
    k = min(k, len(order) // 2)
    good = order[:k]
    candidates = order[::-1][: max(k, min(_CANDIDATES * k, len(order) // 2))]
    attention = [
        (maps.abs() * _wrong_cells(batch, windows, maps, mask_role)).flatten(1).cpu()
        for maps, batch, windows in explain_rows(
            recipe, estimator, bunch[candidates], None if y is None else np.asarray(y)[candidates], MASK_FIELDS
        )
    ]
    bad = candidates[_spread(torch.cat(attention), k)]
    suggested = np.full(len(bunch), "", dtype=object)
    suggested[good], suggested[bad] = "good", "bad"
    scores = pd.DataFrame({"wrong_share": share, "wrong_area": area, "correct": correct, "suggested": suggested})
    return SuggestedExemplars(good, bad, scores)


def _with_masks(X, masks):
    if not isinstance(X, ImageBunch):
        X, _ = bunch_of_arrays(np.asarray(X), masks)
    elif masks is not None:
        X = X.with_fields(masks=masks)
    if "masks" not in X.fields:
        raise ValueError(f"suggest_exemplars needs masks: give masks=..., or an ImageBunch with them, not {X!r}")
    return X


def _is_correct(logits, codes):
    if codes.ndim == 2:
        return ((logits > 0) == (codes > 0)).all(1)
    predicted = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
    return predicted == codes


def _wrong_cells(batch, windows, maps, mask_role):
    inside = batch["masks"] >= 0.5
    return dilate_to_cells(inside if mask_role == "avoid" else ~inside, windows, tuple(maps.shape[1:]))


def _best_first(share, correct, k):
    eligible = np.flatnonzero(correct & ~np.isnan(share))
    if len(eligible) < 2 * k:
        raise ValueError(
            f"k={k} pairs need {2 * k} rows that are classified correctly and have a mask and an explanation, but only "
            f"{len(eligible)} of {len(share)} do"
        )
    return eligible[np.argsort(share[eligible], kind="stable")]


def _spread(attention, k):
    """The first row, and again and again the one whose attention differs most from all that were taken."""
    roots = torch.nn.functional.normalize(attention.sqrt(), dim=1)
    taken, nearest = [0], torch.linalg.vector_norm(roots - roots[0], dim=1)
    while len(taken) < k:
        nearest[taken] = -1
        taken.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, torch.linalg.vector_norm(roots - roots[taken[-1]], dim=1))
    return taken
