"""As many units of every acquisition in each stratum: some left out, or some repeated."""

import numpy as np

from ._cohort import complete_strata


def selected_counts(cohort, *, oversample, n_bins, on_empty, rng):
    """Say how often each unit is taken.

    Parameters
    ----------
    cohort : Cohort
        Units.
    oversample : bool
        Whether to repeat units of rarer acquisitions instead of leaving out units of others.
    n_bins : int
        Quantile bins of numbers.
    on_empty : {"raise", "drop"}
        What to do about strata that lack an acquisition.
    rng : RandomState
        Decides which ones.

    Returns
    -------
    ndarray of int of shape (n_units,)
        Times; in each stratum their sum is the same for all acquisitions.
    """
    strata = cohort.strata(n_bins)
    kept = rng.permutation(np.flatnonzero(complete_strata(strata, cohort, on_empty)))
    cells = strata.values[kept] * cohort.n_levels + cohort.acquisition.values[kept]
    sizes = np.bincount(cells, minlength=len(strata.levels) * cohort.n_levels).reshape(-1, cohort.n_levels)
    wanted = np.repeat(sizes.max(axis=1) if oversample else sizes.min(axis=1), cohort.n_levels)[cells]
    size = sizes.ravel()[cells]
    # Place of each unit within its cell, in random order: the first ones get what cannot be divided evenly.
    order = np.argsort(cells, kind="stable")
    starts = np.cumsum(sizes.ravel()) - sizes.ravel()
    place = np.empty(len(cells), dtype=np.intp)
    place[order] = np.arange(len(cells)) - starts[cells[order]]
    counts = np.zeros(len(cohort), dtype=np.intp)
    counts[kept] = wanted // size + (place < wanted % size)
    return counts
