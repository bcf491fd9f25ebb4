"""Means of row scores with intervals and tests that respect patients."""

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student_t

from .._random_state import make_random_state
from ._inputs import check_groups

_CELLS_AT_ONCE = 4_000_000  # drawn groups held in memory at a time
_ROUNDING = 1e-12  # sums of shares that differ by less are equal


class RowMeans:
    """Means of one or several scores of the same rows.

    Parameters
    ----------
    scores : ndarray of shape (n, k)
        One column per score, all finite.
    groups : array-like of shape (n,), default=None
        Patient of every row; by default each row is its own.
    weights : ndarray of shape (n,), default=None
        Weights of the rows, from 0 on; by default all are 1.

    Attributes
    ----------
    mean : ndarray of shape (k,)
        Means over the rows.
    n_groups : int
        Number of patients.
    """

    def __init__(self, scores, groups=None, weights=None):
        if weights is not None:
            counted = weights > 0
            scores, weights = scores[counted], weights[counted]
            groups = None if groups is None else np.asarray(groups)[counted]
        self.mean = np.average(scores, axis=0, weights=weights)
        counts = np.ones(len(scores)) if weights is None else weights
        weighted = scores if weights is None else scores * weights[:, None]
        if groups is None:
            self._sums, self._counts = weighted, counts
        else:
            index = check_groups(groups, len(scores))
            self._sums = np.stack([np.bincount(index, column) for column in weighted.T], axis=1)
            self._counts = np.bincount(index, counts)
        self.n_groups = len(self._counts)
        self._is_extreme = [bool(np.isin(column, value).all()) for value in (0, 1) for column in scores.T]

    def intervals(self, confidence_level, n_resamples, random_state, *, shares=True):
        """Give expanded percentile intervals from resampled patients.

        Parameters
        ----------
        confidence_level : float
            Wanted coverage.
        n_resamples : int
            Bootstrap samples.
        random_state : int or RandomState
            Decides them.
        shares : bool, default=True
            Whether scores lie in [0, 1]. Resampling never leaves a mean of exactly 0 or 1; the other limit then is
            the exact (Clopper-Pearson) one of as many independent rows as there are patients.

        Returns
        -------
        ndarray of shape (2, k)
            Lower and upper limits; NaN where there is one patient.
        """
        if self.n_groups < 2:
            return np.full((2, len(self.mean)), np.nan)
        outer = self.outer_percentile(confidence_level)
        limits = np.quantile(self.replicates(n_resamples, random_state), [outer, 1 - outer], axis=0)
        if shares:
            bound = ((1 - confidence_level) / 2) ** (1 / self.n_groups)
            none, every = np.reshape(self._is_extreme, (2, -1))
            limits[1, none] = 1 - bound
            limits[0, every] = bound
        return limits

    def replicates(self, n_resamples, random_state):
        """Give the means of resampled patients.

        Parameters
        ----------
        n_resamples : int
            Bootstrap samples.
        random_state : int or RandomState
            Decides them.

        Returns
        -------
        ndarray of shape (n_resamples, k)
            Means; all scores meet the same patients.
        """
        rng = make_random_state(random_state)
        means = []
        at_once = max(1, _CELLS_AT_ONCE // self.n_groups)
        for first in range(0, n_resamples, at_once):
            drawn = rng.randint(self.n_groups, size=(min(at_once, n_resamples - first), self.n_groups))
            sums = np.stack([column[drawn].sum(axis=1) for column in self._sums.T], axis=1)
            means.append(sums / self._counts[drawn].sum(axis=1)[:, None])
        return np.concatenate(means)

    def outer_percentile(self, confidence_level):
        """Give the share of replicates below the lower limit of an interval, and above the upper one."""
        # Percentiles are too narrow for few patients, as normal limits are: by the factor between these and Student's.
        # The percentiles taken are those that make up for it (Hesterberg 2015, The American Statistician 69, 371-386).
        n = self.n_groups
        return norm.sf(np.sqrt(n / (n - 1)) * student_t.isf((1 - confidence_level) / 2, n - 1))

    def pvalues(self, n_resamples, random_state):
        """Give two-sided p-values of the hypothesis that a mean is zero, for paired differences.

        The signs of the patients' sums are flipped at random: exact where, without an effect, a difference is as
        likely as its opposite.

        Parameters
        ----------
        n_resamples : int
            Random flips; all of them are tried where they are no more than these.
        random_state : int or RandomState
            Decides them.

        Returns
        -------
        ndarray of shape (k,)
            P-values.
        """
        observed = np.abs(self._sums.sum(axis=0))
        close = _ROUNDING * np.maximum(np.abs(self._sums).sum(axis=0), 1)
        counted = np.flatnonzero((np.abs(self._sums) > _ROUNDING).any(axis=1))  # flipping a zero changes nothing
        sums = self._sums[counted]
        if 2.0 ** len(sums) <= n_resamples:
            signs = 1 - 2 * ((np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1)
            return (np.abs(signs @ sums) >= observed - close).mean(axis=0)
        rng = make_random_state(random_state)
        n_reached = np.zeros(len(observed))
        at_once = max(1, _CELLS_AT_ONCE // len(sums))
        for first in range(0, n_resamples, at_once):
            signs = 1.0 - 2 * rng.randint(2, size=(min(at_once, n_resamples - first), len(sums)))
            n_reached += (np.abs(signs @ sums) >= observed - close).sum(axis=0)
        return (n_reached + 1) / (n_resamples + 1)
