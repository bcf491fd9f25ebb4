"""Permutations of acquisitions between patients: what could have been, had the images nothing to do with it."""

import math
import warnings
from collections import Counter

import numpy as np
from scipy.special import expit, gammaln

_STEPS = 50  # of the chain that leads from one permutation to an independent one, as Berrett et al. take
_AT_ONCE = 100  # draws that are made side by side
_FEWEST = 5  # patients of a band of sizes


class PatientPermutations:
    """Draw exchangeable arrangements of the rows' acquisitions, patient by patient.

    What a patient's rows were acquired with moves to another patient as a whole, along with the fold that it stands in:
    every arrangement has as well-filled folds as the true one. It moves between patients with about as many rows (1, 2,
    3 to 4, 5 to 8, ...; bands of few patients join a neighbor), because sick patients have more rows. Between patients
    with as many rows it moves row by row; otherwise the rows that are too many are left out, or repeated, at even
    distances from a random start, so that shares of acquisitions stay what they are on average.

    With probabilities of the acquisitions, arrangements are drawn in proportion to their probability given the
    covariates, which keeps the association of acquisition and covariates [1]_. Every patient counts once.

    Parameters
    ----------
    profile : ndarray of int of shape (n, k)
        What moves: the acquisition in the first column, folds in the others.
    patients : ndarray of int of shape (n,)
        Patient of every row.
    log_probabilities : ndarray of shape (n, n_acquisitions), default=None
        Logarithms of the probabilities of the acquisitions in every row; by default all arrangements are alike.

    Attributes
    ----------
    log_arrangements : float
        Logarithm of the number of different arrangements of acquisitions.

    References
    ----------
    .. [1] Berrett, Wang, Barber and Samworth (2020). The conditional permutation test for independence while
       controlling for confounders. Journal of the Royal Statistical Society B 82(1), 175-197, algorithm 1.
    """

    def __init__(self, profile, patients, log_probabilities=None):
        self._order = np.argsort(patients, kind="stable")
        self._starts = np.flatnonzero(np.r_[True, np.diff(patients[self._order]) > 0])
        self._sizes = np.diff(np.r_[self._starts, len(patients)])
        number = np.repeat(np.arange(len(self._sizes)), self._sizes)
        self._patient, self._place = np.empty_like(number), np.empty_like(number)
        self._patient[self._order] = number
        self._place[self._order] = np.arange(len(patients)) - self._starts[number]
        self._strata = _bands(self._sizes)
        codes = profile[:, 0]
        self._shares = self._means(np.eye(codes.max() + 1)[codes])
        self._log_chance = None if log_probabilities is None else self._means(log_probabilities)
        self.log_arrangements = self._count_arrangements(codes)

    def draw(self, n_draws, rng):
        """Draw arrangements.

        Parameters
        ----------
        n_draws : int
            How many.
        rng : numpy.random.RandomState
            Decides them.

        Returns
        -------
        ndarray of int of shape (n_draws, n)
            Row from which each row takes its profile.
        """
        n_patients = len(self._sizes)
        if self._log_chance is None:
            slots = np.tile(np.arange(n_patients), (n_draws, 1))
            for members in self._strata:
                slots[:, members] = members[np.argsort(rng.random_sample((n_draws, len(members))), axis=1)]
        else:
            # Chains that start where one from the truth has arrived are exchangeable with the truth itself.
            hub = self._walk(np.arange(n_patients)[None], rng)
            sizes = [min(_AT_ONCE, n_draws - first) for first in range(0, n_draws, _AT_ONCE)]
            slots = np.concatenate([self._walk(np.repeat(hub, size, axis=0), rng) for size in sizes])
        start = rng.random_sample(slots.shape)
        start[self._sizes[slots] == self._sizes] = 0.0  # row by row
        slots = slots[:, self._patient]
        place = (self._place + start[:, self._patient]) * self._sizes[slots] / self._sizes[self._patient]
        return self._order[self._starts[slots] + np.floor(place + 1e-9).astype(int)]

    # -- inside ----------------------------------------------------------------------------------------------------
    def _means(self, values):
        """Means over the rows of each patient."""
        return np.add.reduceat(values[self._order], self._starts, axis=0) / self._sizes[:, None]

    def _walk(self, slots, rng):
        """Let pairs of patients exchange what they have, at random, with the odds of the exchange."""
        slots = slots.copy()
        chains = np.arange(len(slots))[:, None]
        for _ in range(_STEPS):
            for members in self._strata:
                half = len(members) // 2
                drawn = members[np.argsort(rng.random_sample((len(slots), len(members))), axis=1)]
                one, other = drawn[:, :half], drawn[:, half : 2 * half]
                mine, yours = slots[chains, one], slots[chains, other]
                gained = self._shares[yours] - self._shares[mine]
                gain = ((self._log_chance[one] - self._log_chance[other]) * gained).sum(axis=2)
                swap = rng.random_sample(gain.shape) < expit(gain)
                slots[chains, one] = np.where(swap, yours, mine)
                slots[chains, other] = np.where(swap, mine, yours)
        return slots

    def _count_arrangements(self, codes):
        total = 0.0
        rows = np.split(self._order, self._starts[1:])
        for members in self._strata:
            kinds = [tuple(codes[rows[slot]].tolist()) for slot in members]
            kinds = [kind if len(set(kind)) > 1 else kind[:1] for kind in kinds]
            counts = np.array(list(Counter(kinds).values()))
            total += gammaln(len(members) + 1) - gammaln(counts + 1).sum()
        return float(total)


def warn_if_few(permutations, level):
    """Warn where no p-value could be as small as a level, whatever the images show.

    Parameters
    ----------
    permutations : PatientPermutations
        Arrangements.
    level : float
        Of the test.
    """
    if permutations.log_arrangements < -math.log(level):
        warnings.warn(
            f"the acquisitions of the patients can be arranged in {math.exp(permutations.log_arrangements):.0f} ways "
            "only, since what a patient was acquired with moves to a patient with about as many rows: no p-value can "
            f"be {level:g} or less; give more patients, or one row per patient",
            UserWarning,
            stacklevel=3,
        )


def _bands(sizes):
    """Patients with about as many rows, band by band."""
    band = np.ceil(np.log2(sizes)).astype(int)
    strata = [np.flatnonzero(band == number) for number in np.unique(band)]
    while len(strata) > 1:
        smallest = min(range(len(strata)), key=lambda number: len(strata[number]))
        if len(strata[smallest]) >= _FEWEST:
            break
        # The smaller neighbor, so that larger sizes do not pile up in one band.
        beside = [number for number in (smallest - 1, smallest + 1) if 0 <= number < len(strata)]
        joined = min(beside, key=lambda number: len(strata[number]))
        first, second = sorted((smallest, joined))
        strata[first : second + 1] = [np.sort(np.concatenate([strata[first], strata[second]]))]
    return strata
