"""How much each of a few regions contributes to a score, exactly."""

from dataclasses import dataclass
from itertools import combinations
from math import comb, factorial
from numbers import Integral

import numpy as np
import pandas as pd
import torch
from sklearn.utils._param_validation import Interval, validate_params

from .._random_state import draw_seed, make_random_state
from ..preprocessing import ROIMasker
from ._coalitions import Regions, as_bunch, coalition_rows, make_filling
from ._subject import resolve_subject
from ._targets import check_positions, predicted_positions, resolve_target, select_scores


@dataclass(frozen=True, eq=False)
class RegionShapley:
    """Contributions of regions to the score of every row.

    Attributes
    ----------
    values : DataFrame of shape (n, n_regions)
        Shapley values in units of the logit, one column per region. A row's values add up to ``score - base``.
    interactions : DataFrame of shape (n, n_pairs)
        Shapley interaction index of every pair of regions [1]_, one column per pair: what the two add together beyond
        what each adds alone. Negative where either suffices, positive where both are needed.
    score : ndarray of shape (n,)
        Explained logit of the whole image.
    base : ndarray of shape (n,)
        The same logit with all regions filled.
    coalitions : ndarray of shape (n, 2**n_regions)
        The logit of every subset of visible regions; in column ``c`` region ``k`` is visible if bit ``k`` of ``c`` is
        set.

    References
    ----------
    .. [1] Grabisch and Roubens (1999). An axiomatic approach to the concept of interaction among players in
       cooperative games. International Journal of Game Theory 28, 547-565.
    """

    values: pd.DataFrame
    interactions: pd.DataFrame
    score: np.ndarray
    base: np.ndarray
    coalitions: np.ndarray


@validate_params(
    {
        "border": [Interval(Integral, 0, None, closed="left")],
        "fill": ROIMasker._parameter_constraints["fill"],
        "blur_sigma": ROIMasker._parameter_constraints["blur_sigma"],
    },
    prefer_skip_nested_validation=True,
)
def region_shapley(
    estimator,
    X,
    regions="mask",
    target="predicted",
    *,
    y=None,
    border=0,
    fill="mean",
    blur_sigma=0.0625,
    random_state=None,
    batch_size=None,
    precision=None,
):
    """Compute how much each of a few regions contributes to the score of a class.

    A region's Shapley value is the change of the logit when the region becomes visible, averaged over all orders in
    which the regions can become visible [1]_. With ``K`` regions that takes ``2**K`` forward passes per row. Nothing is
    sampled: the values are exact, and add up to the difference between the whole image and the one with all regions
    filled.

    Parameters
    ----------
    estimator : fitted estimator or torch.nn.Module
        As in :func:`grad_cam`. The regions of a pipeline are filled before its first step.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Rows.
    regions : "mask", dict of str to array-like, or array-like, default="mask"
        Two to six regions that do not overlap; what belongs to none is always visible.

        - "mask": "inside" and "outside" of the masks of the bunch;
        - a dict: by name, masks of shape (n, H, W) or, the same for all rows, (H, W); of signals (n, T) or (T,);
        - an array of shape (n, n_regions, H, W) or, the same for all rows, (n_regions, H, W); likewise for signals.
    target : object, default="predicted"
        Class, as in :func:`grad_cam`; "predicted" is that of the whole image.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    border : int, default=0
        With ``regions="mask"``: pixels along the edge of the image that are outside the mask and become a region of
        their own, "border". Text markers and collimation lie there.
    fill : {"zero", "mean", "noise", "shuffle", "blur"} or float, default="mean"
        What takes the place of pixels that are not visible, as in :class:`~sklearn_shortcuts.preprocessing.ROIMasker`.
        The values depend on it: compare two.
    blur_sigma : float, default=0.0625
        Standard deviation of ``fill="blur"`` as a share of the longer side.
    random_state : int, RandomState instance or None, default=None
        Decides noise and shuffling.
    batch_size : int, default=None
        Images per forward pass; by default the estimator's.
    precision : {"float32", "bfloat16"}, default=None
        As in :func:`grad_cam`.

    Returns
    -------
    RegionShapley
        Values and interactions by row.

    Raises
    ------
    ValueError
        If regions are too few or too many, overlap, differ in size from the images, or a row has none.

    References
    ----------
    .. [1] Shapley (1953). A value for n-person games. Contributions to the Theory of Games 2, 307-317.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_shortcuts import ImageBunch
    >>> from sklearn_shortcuts.explain import region_shapley
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    >>> with torch.no_grad():
    ...     network[1].weight[:] = torch.tensor([[0.0, 0, 0, 0], [1.0, 2, 3, 4]])
    ...     network[1].bias[:] = 0
    >>> bunch = ImageBunch(np.ones((1, 2, 2), dtype=np.float32), masks=np.array([[[1, 1], [0, 0]]]))
    >>> region_shapley(network, bunch, target=1, fill="zero").values
       inside  outside
    0     3.0      7.0
    """
    subject = resolve_subject(estimator, X)
    target = resolve_target(subject, target, y)
    bunch = as_bunch(X, signal=len(subject.spatial) == 1)
    regions = Regions(bunch, regions, border)
    masking = make_filling(bunch, fill, blur_sigma, draw_seed(make_random_state(random_state)))
    coalitions = coalition_rows(bunch, regions, masking)
    subject = resolve_subject(estimator, coalitions, batch_size=batch_size, precision=precision)
    table = _worths(subject, target, len(bunch))
    pairs = [f"{first} x {second}" for first, second in combinations(regions.names, 2)]
    return RegionShapley(
        values=pd.DataFrame(shapley_values(table), columns=regions.names),
        interactions=pd.DataFrame(interaction_indices(table), columns=pairs),
        score=table[:, -1].copy(),
        base=table[:, 0].copy(),
        coalitions=table,
    )


def shapley_values(coalitions):
    """Compute Shapley values from the worth of every coalition.

    Parameters
    ----------
    coalitions : ndarray of shape (n, 2**K)
        Worth; player ``k`` is a member of coalition ``c`` if bit ``k`` of ``c`` is set.

    Returns
    -------
    ndarray of shape (n, K)
        Values.
    """
    n_players, sizes = _players(coalitions)
    numbers = np.arange(coalitions.shape[1])
    values = []
    for k in range(n_players):
        without = numbers[numbers >> k & 1 == 0]
        weights = np.array([1 / (n_players * comb(n_players - 1, sizes[c])) for c in without])
        values.append((coalitions[:, without | 1 << k] - coalitions[:, without]) @ weights)
    return np.stack(values, axis=1)


def interaction_indices(coalitions):
    """Compute the Shapley interaction index of all pairs, in the order of :func:`itertools.combinations`.

    Parameters
    ----------
    coalitions : ndarray of shape (n, 2**K)
        Worth, as in :func:`shapley_values`.

    Returns
    -------
    ndarray of shape (n, K * (K - 1) / 2)
        Indices.
    """
    n_players, sizes = _players(coalitions)
    numbers = np.arange(coalitions.shape[1])
    indices = []
    for i, j in combinations(range(n_players), 2):
        neither = numbers[(numbers >> i & 1 == 0) & (numbers >> j & 1 == 0)]
        weights = np.array(
            [factorial(sizes[c]) * factorial(n_players - sizes[c] - 2) / factorial(n_players - 1) for c in neither]
        )
        together = coalitions[:, neither | 1 << i | 1 << j] + coalitions[:, neither]
        indices.append((together - coalitions[:, neither | 1 << i] - coalitions[:, neither | 1 << j]) @ weights)
    return np.stack(indices, axis=1)


def _worths(subject, target, n_rows):
    """Score of every coalition of every row, of shape (n, 2**K)."""
    with subject.explaining(), torch.no_grad():
        logits = torch.cat([subject.infer(batch["X"]).cpu() for batch in subject.batches()]).double()
    n_coalitions = len(logits) // n_rows
    finite = logits.isfinite().all(dim=1)
    if not finite.all():
        row = int((~finite).nonzero()[0]) // n_coalitions
        raise ValueError(f"the network's outputs for row {row} are not finite; look at the row, or try another fill")
    if isinstance(target, str) and target == "predicted":
        target = predicted_positions(logits[n_coalitions - 1 :: n_coalitions], subject.kind).numpy()
    if not isinstance(target, str):
        if subject.encoding is None:
            check_positions(target, logits.shape[1])
        target = np.repeat(target, n_coalitions, axis=0)
    return select_scores(logits, target, subject.kind).numpy().reshape(n_rows, n_coalitions)


def _players(coalitions):
    return coalitions.shape[1].bit_length() - 1, [int(c).bit_count() for c in range(coalitions.shape[1])]
