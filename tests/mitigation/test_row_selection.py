"""Orders and numbers of rows, by their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sklearn_shortcuts.mitigation._row_selection import divide_among, first_rows, preferences, share_of_each

ONE = np.zeros(5, dtype=int)


def test_orders():
    scores = np.array([3.0, 1.0, 2.0, 5.0, 4.0])
    assert preferences(scores, ONE, "hard").tolist() == [0.5, 0, 0.25, 1, 0.75]
    assert preferences(scores, ONE, "easy").tolist() == [0.5, 1, 0.75, 0, 0.25]
    assert preferences(scores, ONE, "ambiguous").argmax() == 0
    assert preferences(scores, ONE, "ambiguous").tolist() == [1, 0.125, 0.625, 0.125, 0.625]


def test_strata_ties_and_unknown_scores():
    scores = np.array([1.0, 2.0, np.nan, 9.0, 9.0, 7.0])
    strata = np.array([0, 0, 0, 1, 1, 2])
    np.testing.assert_array_equal(preferences(scores, strata, "hard"), [0, 1, np.nan, 0.5, 0.5, 1])


@settings(max_examples=60, deadline=None)
@given(
    arrays(float, st.integers(1, 40), elements=st.integers(0, 8).map(float)),
    st.sampled_from(["hard", "easy"]),
    st.floats(0.01, 1),
    st.integers(1, 3),
)
def test_a_share_of_each_stratum_is_extreme_in_it(scores, keep, share, n_strata):
    strata = np.arange(len(scores)) % n_strata
    preference = preferences(scores, strata, keep)
    taken = first_rows(preference, strata, lambda sizes: share_of_each(sizes, share))
    sign = 1 if keep == "hard" else -1
    for stratum in np.unique(strata):
        rows = strata == stratum
        assert taken[rows].sum() == max(1, round(share * rows.sum()))
        left = sign * scores[rows & ~taken]
        assert not len(left) or (sign * scores[rows & taken]).min() >= left.max()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.data())
def test_rows_are_divided_in_proportion(sizes, data):
    sizes = np.array(sizes)
    k = data.draw(st.integers(0, int(sizes.sum())))
    counts = divide_among(sizes, k)
    assert counts.sum() == k
    assert (counts <= sizes).all()
    assert (np.abs(counts - k * sizes / sizes.sum()) < 1).all()


@pytest.mark.parametrize("keep", ["hard", "easy", "ambiguous"])
def test_equal_scores_are_taken_in_the_order_of_rows(keep):
    taken = first_rows(preferences(np.ones(5), ONE, keep), ONE, lambda sizes: np.array([2]))
    assert np.flatnonzero(taken).tolist() == [0, 1]
