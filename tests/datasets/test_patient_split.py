"""Parts that share no patient: exact sizes, strata in proportion, and refusals."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.datasets import check_no_patient_overlap, split_by_patient

SHARES = (0.6, 0.3, 0.1)


def quiet_split(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # small studies: parts without a stratum
        return split_by_patient(*arguments, **options)


def largest_deviation(parts, shares, strata):
    """Largest difference from proportion, in rows, over parts and strata."""
    return max(
        abs((strata[part] == stratum).sum() - share * (strata == stratum).sum())
        for part, share in zip(parts, shares)
        for stratum in np.unique(strata)
    )


@settings(deadline=None, max_examples=150)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=4, max_size=40),
    shares=st.lists(st.integers(1, 10), min_size=2, max_size=4),
    seed=st.integers(0, 1000),
)
def test_every_row_once_no_patient_twice_sizes_within_the_largest_patient(sizes, shares, seed):
    rng = np.random.default_rng(seed)
    shares = np.array(shares) / np.sum(shares)
    groups = np.repeat([f"p{number}" for number in range(len(sizes))], sizes)
    order = rng.permutation(len(groups))
    groups, y = groups[order], rng.integers(0, 3, len(groups))
    try:
        parts = quiet_split(groups, y, groups=groups, fractions=shares, random_state=seed)
    except ValueError:  # a part for which no patient is small enough
        if shares.min() * len(groups) > max(sizes):
            raise
        return
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(groups)))
    for number, part in enumerate(parts):
        assert len(part)
        assert (np.diff(part) > 0).all()
        assert abs(len(part) - shares[number] * len(groups)) <= max(sizes) + 1e-6
        rest = np.concatenate([other for place, other in enumerate(parts) if place != number])
        assert not set(groups[part]) & set(groups[rest])
    check_no_patient_overlap(*parts, groups=groups)


def test_the_head_ct_study():
    """684 patients with one study each, two manufacturers, two sexes: every stratum to the nearest row."""
    groups = np.arange(684)
    manufacturer = np.repeat(["GE", "Siemens"], 342)
    sex = np.where(np.arange(684) % 342 < 190, "m", "f")
    parts = split_by_patient(groups, manufacturer, groups=groups, stratify=sex, random_state=0)
    strata = np.char.add(manufacturer, sex)
    assert largest_deviation(parts, SHARES, strata) < 1
    assert largest_deviation(parts, SHARES, np.zeros(684)) < 1


@pytest.mark.parametrize("seed", range(6))
def test_strata_are_kept_at_least_as_well_as_by_stratified_group_k_fold(seed):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(80), rng.integers(1, 12, 80))
    y = (rng.random(80)[groups] + 0.3 * rng.random(len(groups)) > 0.8).astype(int)
    scanner = rng.integers(0, 3, 80)[groups]
    strata = 3 * y + scanner
    ours = split_by_patient(groups, y, groups=groups, stratify=scanner, fractions=[0.2] * 5, random_state=seed)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    theirs = [test for _, test in splitter.split(groups, strata, groups)]
    assert largest_deviation(ours, [0.2] * 5, strata) <= largest_deviation(theirs, [0.2] * 5, strata)


def test_labels_are_kept_in_proportion_one_by_one():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 3)
    labels = rng.random((600, 5)) < [0.5, 0.2, 0.1, 0.05, 0.3]
    parts = split_by_patient(groups, labels.astype(int), groups=groups, random_state=0)
    for label in labels.T:
        for part, share in zip(parts, SHARES):
            assert abs(label[part].sum() - share * label.sum()) <= 2


def test_random_state_decides():
    groups = np.repeat(np.arange(60), 2)
    first, again, other = (
        split_by_patient(groups, groups=groups, random_state=seed) for seed in (0, np.random.RandomState(0), 1)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.array_equal(first[0], other[0])


def test_fields_of_a_bunch():
    rng = np.random.default_rng(0)
    groups = np.repeat([f"p{number}" for number in range(50)], 2)
    scanner = np.repeat(["GE", "Siemens"], 50)
    table = pd.DataFrame({"scanner": scanner, "age_group": rng.choice(["old", "young"], 100)})
    target = rng.integers(0, 2, 100)
    bunch = ImageBunch(np.zeros((100, 2, 2)), groups=groups, target=target, metadata=table)
    for name in ("scanner", ["scanner", "age_group"]):
        expected = split_by_patient(groups, target, groups=groups, stratify=table[name], random_state=3)
        parts = split_by_patient(bunch, stratify=name, random_state=3)
        assert all(np.array_equal(a, b) for a, b in zip(parts, expected))
    check_no_patient_overlap(*(bunch[part] for part in parts))
    check_no_patient_overlap(*(groups[part] for part in parts))
    with pytest.raises(ValueError, match="stratify='site' is neither a field of the rows nor"):
        split_by_patient(bunch, stratify="site")


def test_overlap_is_refused_without_naming_patients():
    groups = np.array(["Quagmire", "Quagmire", "b", "c", "c"])
    bunch = ImageBunch(np.zeros((5, 2, 2)), groups=groups)
    message = r"1 patients are in more than one part, such as the patient of row 0 \(part 0\) and row {} \(part 1\)"
    for parts, options, row in (
        (([0, 2], [1, 3]), {"groups": groups}, 1),
        ((bunch[[0, 2]], bunch[[3, 1]]), {}, 1),
        ((groups[[0, 2]], groups[[3, 1]]), {}, 1),
    ):
        with pytest.raises(ValueError, match=message.format(row)) as caught:
            check_no_patient_overlap(*parts, **options)
        assert "Quagmire" not in str(caught.value)
    with pytest.raises(ValueError, match=r"row 2 is more than once in the parts \(part 0, part 1\)"):
        check_no_patient_overlap([2], [2, 3], groups=groups)
    with pytest.raises(ValueError, match=r"row 2 is more than once in the parts \(part 0\)"):
        check_no_patient_overlap([2, 2], [3], groups=groups)
    with pytest.raises(ValueError, match="part 1 must hold row numbers from 0 to 4"):
        check_no_patient_overlap([2], [5], groups=groups)
    with pytest.raises(ValueError, match="at least two parts"):
        check_no_patient_overlap([2], groups=groups)
    check_no_patient_overlap([0, 1], [], groups=groups)


def test_absent_strata_are_said():
    groups = np.arange(20)
    with pytest.warns(
        UserWarning, match="1 times a part has no row of a stratum, such as part . of the stratum of row 4,"
    ):
        split_by_patient(groups, groups == 4, groups=groups, fractions=(0.5, 0.5), random_state=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": None}, "needs the patients"),
        ({"groups": [1, 2, None, 4]}, r"groups: row 2 has no patient \(1 such rows\)"),
        ({"groups": [1, 2, 3]}, "inconsistent numbers of samples"),
        ({"groups": [1, 1, 2, 2]}, "2 patients for 3 parts"),
        ({"fractions": (0.6, 0.3)}, "positive numbers with sum 1"),
        ({"fractions": (0.6, 0.4, 0.0)}, "positive numbers with sum 1"),
        ({"fractions": (1.0,)}, "at least two"),
        ({"stratify": [0.1, 0.25, 0.3, 0.7]}, "divide them into bins first"),
        ({"stratify": "scanner"}, "X is no ImageBunch"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        split_by_patient([0, 1, 2, 3], **{"groups": [1, 2, 3, 4], **options})


def test_a_part_that_cannot_get_a_patient():
    groups = np.repeat([0, 1], [99, 1])
    parts = split_by_patient(groups, groups=groups, fractions=(0.99, 0.01))
    assert [len(part) for part in parts] == [99, 1]
    groups = np.repeat([0, 1, 2], [90, 5, 5])
    for part in split_by_patient(groups, groups=groups, fractions=(0.05, 0.05, 0.9)):
        assert len(part)
    with pytest.raises(ValueError, match="part 1 would have no patient"):
        split_by_patient([0, 1, 2, 3], groups=[0, 1, 2, 3], fractions=(1 / 9, 1 / 9, 7 / 9), random_state=0)
