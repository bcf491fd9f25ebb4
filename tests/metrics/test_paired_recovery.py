import numpy as np
import pytest

from sklearn_shortcuts.metrics import gap_closed, paired_recovery


def scores(n=60, seed=0, k=None):
    rng = np.random.default_rng(seed)
    shape = (n,) if k is None else (n, k)
    twin = rng.random(shape)
    before = twin + rng.uniform(0.1, 0.6, shape)
    after_twin = twin + rng.normal(0, 0.05, shape)
    return before, twin, after_twin + 0.3 * (before - twin), after_twin


@pytest.mark.parametrize("k", [None, 3])
def test_recovery_is_that_of_a_loop(k):
    before, before_twin, after, after_twin = scores(k=k)
    found = paired_recovery(before, before_twin, after, after_twin, random_state=0)
    old = new = side = 0.0
    for row in range(60):
        a, b = np.mean(np.abs(before[row] - before_twin[row])), np.mean(np.abs(after[row] - after_twin[row]))
        old, new = old + a, new + b
        side += np.mean(np.abs(after_twin[row] - before_twin[row]))
        assert found.scores[row] == pytest.approx(1 - b / a)
    assert found.value == float(found) == pytest.approx(1 - new / old)
    assert found.value == pytest.approx(0.7)
    assert (found.effect_before, found.effect_after) == pytest.approx((old / 60, new / 60))
    assert found.off_target == pytest.approx(side / 60)
    assert found.off_target_low < found.off_target < found.off_target_high
    assert (found.n_used, found.n_unaffected, found.n_groups) == (60, 0, 60)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (1.0, 0.0), (1.5, -0.5)])
def test_closed_forms(share, expected):
    before, twin, _, _ = scores()
    found = paired_recovery(before, twin, twin + share * (before - twin), twin, random_state=0)
    assert found.value == pytest.approx(expected)
    assert (found.low, found.high) == pytest.approx((expected, expected))  # the ratio is the same in every sample
    assert found.off_target == 0


def test_rows_that_were_not_affected_count_in_the_ratio_alone():
    found = paired_recovery([0.5, 0.9], [0.5, 0.4], [0.6, 0.5], [0.5, 0.4], random_state=0)
    assert found.value == pytest.approx(1 - 0.2 / 0.5)
    assert np.isnan(found.scores[0])
    assert found.scores[1] == pytest.approx(0.8)
    assert found.n_unaffected == 1


def test_without_an_effect_there_is_nothing_to_recover():
    found = paired_recovery([0.5, 0.2], [0.5, 0.2], [0.6, 0.5], [0.5, 0.4])
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.effect_after == pytest.approx(0.1)


def test_the_interval_is_that_of_the_delta_method():
    rng = np.random.default_rng(1)
    old, new = rng.uniform(0.5, 1.5, 2000), rng.uniform(0, 0.8, 2000)
    zero = np.zeros(2000)
    found = paired_recovery(old, zero, new, zero, random_state=0)
    ratio = new.mean() / old.mean()
    error = np.std((new - ratio * old) / old.mean()) / np.sqrt(2000)
    assert found.low == pytest.approx(1 - ratio - 1.96 * error, abs=0.2 * error)
    assert found.high == pytest.approx(1 - ratio + 1.96 * error, abs=0.2 * error)
    again = paired_recovery(old, zero, new, zero, random_state=0)
    assert (again.low, again.high) == (found.low, found.high)


def test_rows_of_a_patient_are_no_evidence_of_their_own():
    given = scores(20)
    one = paired_recovery(*given, groups=np.arange(20), random_state=0)
    repeated = [np.repeat(values, 5) for values in given]
    grouped = paired_recovery(*repeated, groups=np.repeat(np.arange(20), 5), random_state=0)
    assert (grouped.value, grouped.low, grouped.high) == pytest.approx((one.value, one.low, one.high))
    assert grouped.n_groups == 20
    alone = paired_recovery(*given, groups=np.zeros(20))
    assert np.isnan([alone.low, alone.high, alone.off_target_low]).all()
    assert alone.value == pytest.approx(one.value)


@pytest.mark.parametrize("n_labels", [None, 4])
def test_the_gap_is_that_of_a_loop(n_labels):
    rng = np.random.default_rng(0)
    shape = (80,) if n_labels is None else (80, n_labels)
    y = rng.integers(0, 2, shape)
    predicted = [np.where(rng.random(shape) < share, 1 - y, y) for share in (0.5, 0.1, 0.3, 0.12)]
    found = gap_closed(y, *predicted, random_state=0)
    accuracy = [np.mean([np.mean(p == t) for p, t in zip(one, y)]) for one in predicted]
    before, after = accuracy[1] - accuracy[0], accuracy[3] - accuracy[2]
    assert (found.gap_before, found.gap_after) == pytest.approx((before, after))
    assert found.value == float(found) == pytest.approx((before - after) / before)
    assert found.low < found.value < found.high


def test_a_gap_that_may_be_none_has_no_limits():
    y = np.tile([0, 1], 20)
    wrong = y.copy()
    wrong[0] = 1
    small = gap_closed(y, wrong, y, y, y, random_state=0)
    assert small.value == 1
    assert np.isnan([small.low, small.high]).all()
    none = gap_closed(y, y, y, wrong, y)
    assert np.isnan(none.value)
    assert none.gap_after == pytest.approx(1 / 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: [*given[:3], given[3][:5]], r"after_twin has shape \(5,\), but before has \(60,\)"),
        (lambda given: [np.where(np.arange(60) == 7, np.nan, given[0]), *given[1:]], "the score of row 7 is nan"),
        (lambda given: [[], [], [], []], "before is empty"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        paired_recovery(*change(list(scores())))


def test_labels_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="before has labels of type"):
        gap_closed([0, 1], ["a", "b"], [0, 1], [0, 1], [0, 1])
