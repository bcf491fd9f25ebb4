"""Adjustment of p-values for the number of tests."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_shortcuts.metrics import holm_correction


def rejected_by_holm(pvalues, level):
    """The procedure as Holm words it: smallest first, stop at the first that is not small enough."""
    order = np.argsort(pvalues, kind="stable")
    rejected = np.zeros(len(pvalues), bool)
    for step, test in enumerate(order):
        if pvalues[test] * (len(pvalues) - step) > level:
            break
        rejected[test] = True
    return rejected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 1, exclude_max=True))
@settings(max_examples=50, deadline=None)
def test_rejects_what_the_procedure_rejects(pvalues, level):
    pvalues = np.array(pvalues)
    np.testing.assert_array_equal(holm_correction(pvalues) <= level, rejected_by_holm(pvalues, level))


def test_shape_missing_tests_and_input_are_kept():
    pvalues = np.array([[0.01, np.nan], [0.04, 0.03]])
    before = pvalues.copy()
    np.testing.assert_allclose(holm_correction(pvalues), [[0.03, np.nan], [0.06, 0.06]])
    np.testing.assert_array_equal(pvalues, before)
    np.testing.assert_allclose(holm_correction(pd.Series([0.5, 0.9])), [1, 1])
    assert holm_correction([]).shape == (0,)


def test_values_outside_are_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 1.2"):
        holm_correction([0.1, 1.2])
