"""Permutations keep patients whole, follow the covariates, and make tests that hold their level."""

import math
from itertools import permutations

import numpy as np
import pytest
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts.audit import AcquisitionProbe
from sklearn_shortcuts.audit._acquisition_null import PatientPermutations, _bands, warn_if_few


def draws(codes, patients, n_draws=200, folds=None, log_probabilities=None):
    codes = np.asarray(codes)
    profile = codes[:, None] if folds is None else np.column_stack([codes, folds])
    null = PatientPermutations(profile, np.asarray(patients), log_probabilities)
    return null, null.draw(n_draws, np.random.RandomState(0))


def test_patients_move_as_a_whole_and_with_their_fold():
    patients = np.repeat(np.arange(5), 2)
    codes, folds = np.repeat([[0, 1, 1, 0, 0], [1, 2, 1, 2, 1]], 2, axis=1)
    _, sources = draws(codes, patients, folds=folds)
    pairs = np.stack([codes[sources], folds[sources]], axis=2).reshape(200, 5, 2, 2)
    assert (pairs[:, :, 0] == pairs[:, :, 1]).all()
    assert {tuple(row) for row in pairs[:, :, 0, 0].tolist()} == set(permutations([0, 1, 1, 0, 0]))
    assert (np.sort(pairs[:, :, 0] @ [10, 1], axis=1) == [1, 1, 2, 11, 12]).all()  # the counts stay


def test_patients_with_as_many_rows_exchange_them_row_by_row():
    patients = np.repeat(np.arange(6), 3)
    codes = np.array([0, 1, 1, *[0] * 9, *[1] * 6])
    _, sources = draws(codes, patients)
    assert {tuple(codes[source][patients == 1].tolist()) for source in sources} == {(0, 1, 1), (0, 0, 0), (1, 1, 1)}
    assert (np.sort(sources, axis=1) == np.arange(18)).all()


def test_between_patients_with_more_and_fewer_rows_shares_stay_on_average():
    patients = np.repeat(np.arange(10), [3, 4] * 5)
    codes = np.zeros(35, int)
    codes[[0, 4, 8]] = 1  # one row of three, one of four and one of three again
    _, sources = draws(codes, patients, n_draws=4000)
    assert (np.diff(sources[:, patients == 0], axis=1) >= 0).all()  # the order is kept
    assert {2, 4} <= set(codes[sources].sum(axis=1).tolist())
    shares = np.array([np.bincount(patients, codes[source]) / np.bincount(patients) for source in sources])
    np.testing.assert_allclose(shares.mean(axis=0), (1 / 3 + 1 / 4 + 1 / 3) / 10, atol=0.012)


def test_bands_of_sizes():
    bands = _bands(np.array([1] * 20 + [2] * 6 + [3, 4, 4, 3, 3] + [5, 8, 9, 60]))
    assert [len(band) for band in bands] == [20, 6, 9]
    assert [len(band) for band in _bands(np.array([1, 1, 7, 9]))] == [4]


def test_number_of_arrangements():
    null, _ = draws([0, 0, 1, 1], [0, 1, 2, 3])
    assert null.log_arrangements == pytest.approx(math.log(6))
    with pytest.warns(UserWarning, match="can be arranged in 6 ways only"):
        warn_if_few(null, 0.05)
    warn_if_few(null, 0.2)
    null, _ = draws([0, 1, 0, 0, 0, 1, 1, 1, 1, 1], np.repeat(np.arange(5), 2))
    assert null.log_arrangements == pytest.approx(math.log(30))  # 5! / (2! 2!): two have both, two have 1


def test_covariates_weigh_the_arrangements():
    """Three patients, one with scanner 1: it is each one's with a chance in proportion to the odds."""
    chance = np.array([0.2, 0.5, 0.8])
    log_probabilities = np.log(np.column_stack([1 - chance, chance]))
    null = PatientPermutations(np.array([[1], [0], [0]]), np.arange(3), log_probabilities)
    rng = np.random.RandomState(0)
    owners = np.concatenate([null.draw(100, rng).argmin(axis=1) for _ in range(15)])  # row 0 has scanner 1
    odds = chance / (1 - chance)
    np.testing.assert_allclose(np.bincount(owners) / len(owners), odds / odds.sum(), atol=0.07)


def pvalue(groups, seed):
    """Forty patients with four images each that are alike, and scanners that are names only."""
    rng = np.random.default_rng(seed)
    features = np.repeat(rng.normal(size=(40, 4)), 4, axis=0) + 0.3 * rng.normal(size=(160, 4))
    scanner = np.repeat(rng.permutation(np.arange(40) % 2), 4)
    probe = AcquisitionProbe(features=FunctionTransformer(), cv=3, n_permutations=19, random_state=seed)
    return probe.fit(features, scanner, groups=np.repeat(np.arange(40), 4) if groups else None).scores_["pvalue"].item()


def test_permuting_patients_holds_the_level_and_permuting_images_does_not():
    by_patient = np.array([pvalue(True, seed) for seed in range(18)])
    by_image = np.array([pvalue(False, seed) for seed in range(18)])
    assert (by_patient <= 0.05).sum() <= 4  # more would come of a true level of 0.05 once in 500 such tests
    assert 0.3 < by_patient.mean() < 0.7
    assert (by_image <= 0.05).mean() > 0.4
