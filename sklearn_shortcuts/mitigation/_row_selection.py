"""From scores to a choice of rows."""

import numpy as np
from scipy.stats import rankdata


def preferences(scores, strata, keep):
    """Turn scores into an order in which rows are taken.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Higher is harder; NaN where it is not known.
    strata : ndarray of int of shape (n,)
        Rows of different strata are not compared.
    keep : {"hard", "easy", "ambiguous"}
        Whether the largest, the smallest or the middle scores come first.

    Returns
    -------
    ndarray of shape (n,)
        From 0 for the row that is taken last to 1 for the first, evenly spaced by rank, ties sharing theirs; 1 for a
        row without company, NaN without a score.
    """
    result = np.full(len(scores), np.nan)
    for rows in _rows_of_strata(scores, strata):
        place = _even_ranks(scores[rows])
        wanted = {"hard": place, "easy": 1 - place, "ambiguous": -np.abs(place - 0.5)}[keep]
        result[rows] = _even_ranks(wanted) if len(rows) > 1 else 1.0
    return result


def first_rows(preference, strata, counts):
    """Take the rows that come first in every stratum, of equal ones those with smaller numbers.

    Parameters
    ----------
    preference : ndarray of shape (n,)
        What :func:`preferences` gives.
    strata : ndarray of int of shape (n,)
        Strata.
    counts : callable
        Numbers of rows to take by the numbers of rows there are, in the order of the strata.

    Returns
    -------
    ndarray of bool of shape (n,)
        Which rows are taken.
    """
    parts = _rows_of_strata(preference, strata)
    taken = np.zeros(len(preference), dtype=bool)
    for rows, count in zip(parts, counts(np.array([len(rows) for rows in parts]))):
        taken[rows[np.argsort(-preference[rows], kind="stable")[:count]]] = True
    return taken


def share_of_each(sizes, share):
    """Numbers of rows that are a share of every stratum, at least one."""
    return np.maximum(1, np.rint(share * sizes)).astype(int)


def divide_among(sizes, k):
    """Divide k rows among strata in proportion to their sizes (largest remainders)."""
    exact = k * sizes / sizes.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: k - counts.sum()]] += 1
    return counts


def _rows_of_strata(values, strata):
    known = ~np.isnan(values)
    return [np.flatnonzero(known & (strata == stratum)) for stratum in np.unique(strata[known])]


def _even_ranks(values):
    """Ranks from 0 to 1."""
    return (rankdata(values) - 1) / max(1, len(values) - 1)
