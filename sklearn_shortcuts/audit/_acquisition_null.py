"""Permutations of acquisitions between patients: what could have been, had the images nothing to do with it."""

import math
import warnings

import numpy as np
from scipy.special import expit, gammaln

_STEPS = 50  # of the chain that leads from one permutation to an independent one, as Berrett et al. take
_AT_ONCE = 100  # draws that are made side by side


class PatientPermutations:
    """Draw exchangeable arrangements of the rows' acquisitions, patient by patient.

    What a patient's rows were acquired with moves to another patient as a whole, along with the fold that it stands in:
    every arrangement has as well-filled folds as the true one. It moves

    - between all patients with about as many rows (1, 2, 3 to 4, 5 to 8, ...) where the rows of each of them have one
      acquisition;
    - where a patient has rows of several, between patients with exactly as many rows, whose order then is kept.

    The acquisitions of patients that have no match stay where they are. The test remains exact, but has less power.

    With probabilities of the acquisitions, arrangements are drawn in proportion to their probability given the
    covariates, which keeps the association of acquisition and covariates [1]_.

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
        rows = np.split(self._order, self._starts[1:])
        self._is_constant = np.array([(profile[own] == profile[own[0]]).all() for own in rows])
        band = np.ceil(np.log2(self._sizes)).astype(int)
        divided = np.isin(band, np.unique(band[~self._is_constant]))
        self._stratum = np.where(divided, -self._sizes, band)  # bands count from 0 on, exact sizes below it
        self._kinds, self._kind = self._find_kinds(profile[:, 0], rows)
        self._log_likelihood = None
        if log_probabilities is not None:
            self._log_likelihood = self._likelihoods(log_probabilities, rows)
        self.log_arrangements = self._count_arrangements()

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
        if self._log_likelihood is None:
            slots = np.tile(np.arange(n_patients), (n_draws, 1))
            for members in self._strata():
                slots[:, members] = members[np.argsort(rng.random_sample((n_draws, len(members))), axis=1)]
        else:
            # Chains that start where one from the truth has arrived are exchangeable with the truth itself.
            hub = self._walk(np.arange(n_patients)[None], rng)
            sizes = [min(_AT_ONCE, n_draws - first) for first in range(0, n_draws, _AT_ONCE)]
            slots = np.concatenate([self._walk(np.repeat(hub, size, axis=0), rng) for size in sizes])
        slots = slots[:, self._patient]
        place = np.where(self._is_constant[slots], 0, self._place)  # of rows that are alike, the first stands for all
        return self._order[self._starts[slots] + place]

    # -- inside ----------------------------------------------------------------------------------------------------
    def _strata(self):
        for stratum in np.unique(self._stratum):
            members = np.flatnonzero(self._stratum == stratum)
            if len(members) > 1:
                yield members

    def _find_kinds(self, codes, rows):
        """Number the different acquisitions that patients have: of one for all rows, or one by one."""
        kinds = [
            (int(codes[own[0]]),) if constant else tuple(codes[own].tolist())
            for own, constant in zip(rows, self._is_constant)
        ]
        numbers = {kind: number for number, kind in enumerate(dict.fromkeys(zip(self._is_constant.tolist(), kinds)))}
        return list(numbers), np.array([numbers[key] for key in zip(self._is_constant.tolist(), kinds)])

    def _likelihoods(self, log_probabilities, rows):
        """Log-likelihood of every kind (column) in every patient (row) that it may move to."""
        table = np.zeros((len(rows), len(self._kinds)))
        means = np.stack([log_probabilities[own].mean(axis=0) for own in rows])
        for members in self._strata():
            for kind in np.unique(self._kind[members]):
                is_constant, codes = self._kinds[kind]
                if is_constant:  # drawn once, however many rows show it
                    table[members, kind] = means[members, codes[0]]
                else:
                    for patient in members:
                        table[patient, kind] = log_probabilities[rows[patient], list(codes)].sum()
        return table

    def _walk(self, slots, rng):
        """Let pairs of patients exchange what they have, at random, with the odds of the exchange."""
        slots, table = slots.copy(), self._log_likelihood
        chains = np.arange(len(slots))[:, None]
        strata = list(self._strata())
        for _ in range(_STEPS):
            for members in strata:
                half = len(members) // 2
                drawn = members[np.argsort(rng.random_sample((len(slots), len(members))), axis=1)]
                one, other = drawn[:, :half], drawn[:, half : 2 * half]
                mine, yours = slots[chains, one], slots[chains, other]
                my_kind, your_kind = self._kind[mine], self._kind[yours]
                gain = table[one, your_kind] + table[other, my_kind] - table[one, my_kind] - table[other, your_kind]
                swap = rng.random_sample(gain.shape) < expit(gain)
                slots[chains, one] = np.where(swap, yours, mine)
                slots[chains, other] = np.where(swap, mine, yours)
        return slots

    def _count_arrangements(self):
        total = 0.0
        for members in self._strata():
            counts = np.unique(self._kind[members], return_counts=True)[1]
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
            "only, since what a patient was acquired with moves to a patient with as many rows: no p-value can be "
            f"{level:g} or less; give more patients, or one row per patient",
            UserWarning,
            stacklevel=3,
        )
