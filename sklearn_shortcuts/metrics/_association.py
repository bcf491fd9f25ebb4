"""How strongly do two attributes of the rows go together?"""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval, validate_params

from .._random_state import make_random_state
from ..images._fields import refuse_wrong_weights
from ._inputs import UnmeasurableError, check_groups

_CELLS_AT_ONCE = 4_000_000  # counts of drawn patients held in memory at a time


class AssociationInterval(NamedTuple):
    """Strength of an association with its confidence limits; unpacks as ``value, low, high``.

    Attributes
    ----------
    value : float
        Cramér's V, in [0, 1].
    low, high : float
        Confidence limits, within [0, 1].
    """

    value: float
    low: float
    high: float


@validate_params(
    {
        "a": ["array-like"],
        "b": ["array-like"],
        "sample_weight": ["array-like", None],
        "bias_correction": ["boolean"],
        "confidence_level": [Interval(Real, 0, 1, closed="neither"), None],
        "groups": ["array-like", None],
        "n_resamples": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def cramers_v(
    a,
    b,
    *,
    sample_weight=None,
    bias_correction=True,
    confidence_level=None,
    groups=None,
    n_resamples=1000,
    random_state=None,
):
    """Measure by Cramér's V how strongly two categorical attributes go together: 0 not at all, 1 one tells the other.

    Parameters
    ----------
    a, b : array-like of shape (n,)
        Two attributes of the same rows, such as scanner and label; every distinct value is a category.
    sample_weight : array-like of shape (n,), default=None
        Non-negative weights; rows of weight 0 do not count. The weighted table is rescaled to the number of rows that
        do.
    bias_correction : bool, default=True
        Take off what chance alone gives in a table of this size [1]_: in small samples or with many categories the
        plain coefficient of independent attributes lies far above 0.
    confidence_level : float, default=None
        Coverage of an interval from resampled patients; by default there is none.
    groups : array-like of shape (n,), default=None
        Patient of every row, for the interval; by default each row is its own.
    n_resamples : int, default=1000
        Bootstrap samples of the interval.
    random_state : int, RandomState instance or None, default=None
        Decides these samples.

    Returns
    -------
    float or AssociationInterval
        The coefficient; with ``confidence_level``, ``value, low, high``.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing, or an attribute has one value only.

    Notes
    -----
    With :math:`\\varphi^2 = \\chi^2 / n` of a table of r rows and k columns the coefficient is
    :math:`\\sqrt{\\varphi^2 / \\min(r - 1, k - 1)}`. Bergsma's correction puts
    :math:`\\max(0, \\varphi^2 - (r-1)(k-1)/(n-1))`, :math:`r - (r-1)^2/(n-1)` and :math:`k - (k-1)^2/(n-1)` in the
    place of :math:`\\varphi^2`, r and k.

    A resampled table has a larger :math:`\\varphi^2` than the table it comes from, on average, as this one has against
    the truth. The limits are percentiles of :math:`\\varphi^2` from which this excess is taken off: once, and, with
    ``bias_correction``, a second time.

    References
    ----------
    .. [1] Bergsma (2013). A bias-correction for Cramér's V and Tschuprow's T. Journal of the Korean Statistical
       Society 42(3), 323-328.

    Examples
    --------
    >>> from sklearn_shortcuts.metrics import cramers_v
    >>> scanner, label = ["GE"] * 60 + ["Siemens"] * 40, [1] * 45 + [0] * 15 + [1] * 10 + [0] * 30
    >>> cramers_v(scanner, label)
    0.484...
    >>> cramers_v(scanner, label, bias_correction=False)
    0.492...
    >>> value, low, high = cramers_v(scanner, label, confidence_level=0.95, random_state=0)
    >>> 0.2 < low < value < high < 0.7
    True
    """
    codes, sizes, weights = _check_attributes(a, b, sample_weight)
    if confidence_level is not None:
        patients = check_groups(groups, len(codes))[weights > 0]
    codes, weights = codes[weights > 0], weights[weights > 0]
    n_rows, n_cells = len(codes), sizes[0] * sizes[1]
    phi = _phi_squared(np.bincount(codes, weights, minlength=n_cells)[None], sizes)
    value = float(_coefficient(phi, sizes, n_rows, bias_correction)[0])
    if confidence_level is None:
        return value
    drawn = _resampled(codes, weights, patients, n_cells, n_resamples, make_random_state(random_state))
    replicates = np.concatenate([_phi_squared(tables, sizes) for tables in drawn])
    replicates = replicates[np.isfinite(replicates)]  # samples in which an attribute has one value only
    if len(replicates) < 2:
        return AssociationInterval(value, np.nan, np.nan)
    replicates -= (1 + bias_correction) * (replicates.mean() - phi[0])
    tail = (1 - confidence_level) / 2
    limits = np.quantile(replicates, [tail, 1 - tail])
    scale = min(_sizes_without_bias(sizes, n_rows) if bias_correction else sizes) - 1
    low, high = np.sqrt(np.clip(limits / scale, 0, 1)) if scale > 0 else (0.0, 1.0)
    return AssociationInterval(value, float(low), float(high))


def _check_attributes(a, b, sample_weight):
    """Give the cell of every row in the table of both attributes, the table's size, and the weights."""
    a, b = _as_column(a, "a"), _as_column(b, "b")
    check_consistent_length(a, b)
    if sample_weight is None:
        weights = np.ones(len(a))
    else:
        weights = column_or_1d(sample_weight, dtype=np.float64)
        check_consistent_length(a, weights)
        refuse_wrong_weights(weights)
    places, sizes = [], []
    for name, values in (("a", a), ("b", b)):
        place, categories = pd.factorize(values)
        missing = np.flatnonzero(place < 0)
        if len(missing):
            raise ValueError(
                f"{name}: row {missing[0]} has no value ({len(missing)} such rows); give it a category of its own or "
                "leave it out"
            )
        counted = np.bincount(place, weights > 0, minlength=len(categories)) > 0
        if counted.sum() < 2:
            raise UnmeasurableError(f"{name} has {counted.sum()} distinct values, but an association needs two or more")
        places.append((np.cumsum(counted) - 1)[place])
        sizes.append(int(counted.sum()))
    return places[0] * sizes[1] + places[1], tuple(sizes), weights


def _as_column(values, name):
    if np.ndim(values) != 1:
        raise ValueError(f"{name} must have one value per row, got shape {np.shape(values)}")
    return values if isinstance(values, pd.Series) else pd.Series(values)


def _phi_squared(tables, sizes):
    """Mean square contingency of tables of shape (m, r * k); NaN where an attribute has one value only."""
    tables = tables.reshape(-1, *sizes)
    tables = tables / tables.sum(axis=(1, 2), keepdims=True)
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)
    expected = rows[:, :, None] * columns[:, None, :]
    phi = (np.divide(tables**2, expected, out=np.zeros_like(tables), where=expected > 0)).sum(axis=(1, 2)) - 1
    alone = ((rows > 0).sum(axis=1) < 2) | ((columns > 0).sum(axis=1) < 2)
    return np.where(alone, np.nan, np.maximum(phi, 0))


def _coefficient(phi, sizes, n_rows, bias_correction):
    if not bias_correction:
        return np.sqrt(np.clip(phi / (min(sizes) - 1), 0, 1))
    scale = min(_sizes_without_bias(sizes, n_rows)) - 1
    phi = np.maximum(phi - (sizes[0] - 1) * (sizes[1] - 1) / (n_rows - 1), 0)
    # Categories of one row each tell everything by chance, hence nothing.
    return np.sqrt(np.clip(phi / scale, 0, 1)) if scale > 0 else np.zeros_like(phi)


def _sizes_without_bias(sizes, n_rows):
    return [size - (size - 1) ** 2 / (n_rows - 1) for size in sizes]


def _resampled(codes, weights, patients, n_cells, n_resamples, rng):
    """Tables of patients drawn with replacement, some at a time."""
    if len(np.unique(patients)) == len(patients) and (weights == weights[0]).all():
        kinds, counts = np.eye(n_cells), np.bincount(codes, minlength=n_cells)
    else:
        # Patients whose rows are alike are drawn together: what counts is how many of each kind are.
        patients = pd.factorize(patients)[0]
        tables = np.bincount(patients * n_cells + codes, weights, minlength=(patients.max() + 1) * n_cells)
        kinds, counts = np.unique(tables.reshape(-1, n_cells), axis=0, return_counts=True)
    at_once = max(1, _CELLS_AT_ONCE // max(len(counts), n_cells))
    n_patients = int(counts.sum())
    for first in range(0, n_resamples, at_once):
        drawn = rng.multinomial(n_patients, counts / n_patients, size=min(at_once, n_resamples - first))
        yield drawn @ kinds
