"""Cramér's V: against scipy and the closed form, and how often its interval holds the truth."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats.contingency import association

from sklearn_shortcuts.metrics import cramers_v


def rows_of(table):
    """Two attributes with a given table of counts."""
    a, b = np.indices(table.shape)
    return np.repeat(a.ravel(), table.ravel()), np.repeat(b.ravel(), table.ravel())


def bergsma(table):
    """The corrected coefficient, by the formulas of the paper, cell by cell."""
    n, (r, k) = table.sum(), table.shape
    expected = np.outer(table.sum(1), table.sum(0)) / n
    phi = ((table - expected) ** 2 / expected).sum() / n
    phi = max(0, phi - (r - 1) * (k - 1) / (n - 1))
    r, k = r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)
    return np.sqrt(phi / min(r - 1, k - 1))


@pytest.mark.parametrize("size", [(2, 2), (2, 5), (4, 3)])
def test_agrees_with_scipy_and_the_closed_form(size):
    table = np.random.default_rng(sum(size)).integers(3, 40, size)
    a, b = rows_of(table)
    assert cramers_v(a, b, bias_correction=False) == pytest.approx(association(table, method="cramer"), rel=1e-12)
    assert cramers_v(a, b) == pytest.approx(bergsma(table), rel=1e-12)
    names = np.array(["GE", "Siemens", "Philips", "Canon"])[a]
    assert cramers_v(names, pd.Categorical(b)) == pytest.approx(cramers_v(b, a), rel=1e-12)


def test_weights_are_counts_rescaled_to_the_number_of_rows():
    table = np.array([[30, 10, 8], [12, 40, 20]])
    a, b = rows_of(table)
    weights = np.where((a == 0) & (b == 0), 2.0, 0.5)
    weighted = np.where([[True, False, False], [False, False, False]], 2.0, 0.5) * table
    assert cramers_v(a, b, sample_weight=weights, bias_correction=False) == pytest.approx(
        association((weighted * 1e6).astype(int), method="cramer"), rel=1e-6
    )
    assert cramers_v(a, b, sample_weight=weights) == pytest.approx(bergsma(weighted * len(a) / weighted.sum()))
    assert cramers_v(a, b, sample_weight=7 * weights) == pytest.approx(cramers_v(a, b, sample_weight=weights))
    kept = b < 2  # a weight of 0 is a row that is not there, and its category neither
    assert cramers_v(a, b, sample_weight=kept) == pytest.approx(bergsma(table[:, :2]))


def test_ends_of_the_scale():
    a = np.repeat([0, 1, 2], 20)
    assert cramers_v(a, a) == pytest.approx(1)
    assert cramers_v(a, np.tile([0, 1], 30)) == 0
    assert cramers_v(np.arange(10), np.tile([0, 1], 5)) == 0  # every category a row of its own
    assert cramers_v(np.arange(10), np.tile([0, 1], 5), bias_correction=False) == pytest.approx(1)


def test_chance_gives_nothing_on_average_only_with_the_correction():
    rng = np.random.default_rng(0)
    draws = [(rng.integers(0, 8, 100), rng.integers(0, 2, 100)) for _ in range(100)]
    assert np.mean([cramers_v(*draw, bias_correction=False) for draw in draws]) > 0.2
    assert np.mean([cramers_v(*draw) for draw in draws]) < 0.1


@pytest.mark.parametrize("patients", [False, True])
@pytest.mark.parametrize("strength", [0.0, 0.35])
def test_interval_holds_the_truth(strength, patients):
    """Both attributes of a patient's rows are the same, so that rows alone would be four times too sure."""
    rng, hits, n_runs = np.random.default_rng(1), 0, 200
    for run in range(n_runs):
        a = rng.integers(0, 2, 120)
        b = np.where(rng.random(120) < strength, a, rng.integers(0, 2, 120))  # phi of this table is ``strength``
        groups = None
        if patients:
            a, b, groups = (np.repeat(values, 4) for values in (a, b, np.arange(120)))
        _, low, high = cramers_v(a, b, confidence_level=0.9, groups=groups, n_resamples=200, random_state=run)
        assert 0 <= low <= high <= 1
        hits += low <= strength <= high
    assert 0.84 * n_runs <= hits
    assert strength == 0 or hits <= 0.96 * n_runs  # no value lies below 0: one limit cannot miss it


def test_interval_is_decided_by_the_random_state_and_narrower_for_rows_than_for_patients():
    rng = np.random.default_rng(2)
    a, groups = np.repeat(rng.integers(0, 2, 50), 4), np.repeat(np.arange(50), 4)
    b = np.where(np.repeat(rng.random(50) < 0.5, 4), a, 1 - a)
    before = np.random.get_state()[1].copy()
    options = {"confidence_level": 0.95, "random_state": 3}
    by_row, by_patient = cramers_v(a, b, **options), cramers_v(a, b, groups=groups, **options)
    assert by_row == cramers_v(a, b, **options)
    assert by_patient.high - by_patient.low > by_row.high - by_row.low
    assert cramers_v(a, b, sample_weight=np.full(200, 2.0), **options) == by_row
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        ([0, 1], [0, 1, 1], {}, "inconsistent numbers of samples"),
        ([0, None, 1], [0, 1, 1], {}, "a: row 1 has no value"),
        ([0, 1, 1], [0.0, 1.0, np.nan], {}, "b: row 2 has no value"),
        ([0, 0, 0], [0, 1, 1], {}, "a has 1 distinct values"),
        ([0, 1, 1], [0, 1, 1], {"sample_weight": [1, 0, 0]}, "a has 1 distinct values"),
        ([0, 1, 1], [0, 1, 1], {"sample_weight": [1, -1, 0]}, "sample_weight: row 1 has -1"),
        ([[0, 1]], [0], {}, "a must have one value per row"),
        ([0, 1, 1], [0, 1, 1], {"confidence_level": 0.9, "groups": ["x", None, "y"]}, "row 1 has no group"),
    ],
)
def test_bad_input(a, b, options, message):
    with pytest.raises(ValueError, match=message):
        cramers_v(a, b, **options)
