"""Love plot: every variable stands where its difference is."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from sklearn.exceptions import NotFittedError

from sklearn_shortcuts.audit import BalanceDisplay
from sklearn_shortcuts.preprocessing import AcquisitionBalancer, AcquisitionResampler, balance_table


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    scanner = rng.choice(["GE", "Siemens"], 300)
    frame = pd.DataFrame({"scanner": scanner, "age": rng.normal(50 + 8 * (scanner == "GE"), 10)})
    frame["sex"] = np.where(rng.random(300) < 0.3 + 0.2 * (scanner == "GE"), "F", "M")
    return frame, rng.integers(0, 2, 300)


def points_of(ax):
    """Coordinates of the markers, by their label."""
    markers = [part for part in ax.collections if isinstance(part, PathCollection)]
    return {part.get_label(): np.asarray(part.get_offsets()) for part in markers}


@pytest.mark.parametrize("cls", [AcquisitionBalancer, AcquisitionResampler])
def test_markers_stand_at_the_differences_of_the_estimator(rows, cls):
    fitted = cls(acquisition="scanner", covariates=["age", "sex"], target="both", random_state=0, on_empty="drop")
    fitted.fit(*rows)
    display = BalanceDisplay.from_estimator(fitted)
    smd = fitted.balance_table_.xs("smd", level="statistic")
    names = [tick.get_text() for tick in display.ax_.get_yticklabels()]
    assert names == display.variables_ == smd["before"].sort_values(ascending=False).index.tolist()
    points = points_of(display.ax_)
    for moment in ("before", "after"):
        np.testing.assert_allclose(points[moment][:, 0], smd.loc[names, moment])
        np.testing.assert_array_equal(points[moment][:, 1], display.ax_.get_yticks())
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["before", "after"]


def test_a_table_without_weights_has_one_marker_per_variable_and_goes_into_given_axes(rows):
    frame, y = rows
    _, ax = plt.subplots()
    display = BalanceDisplay.from_table(
        balance_table(frame["scanner"], y, covariates=frame[["age"]]), threshold=0.2, ax=ax
    )
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert set(points_of(ax)) == {"before"}
    assert any(np.allclose(line.get_xdata(), 0.2) for line in ax.lines)


def test_differences_without_variation_stand_at_the_edge():
    table = balance_table([0, 0, 1, 1], covariates={"dose": [1.0, 1.0, 2.0, 2.0], "age": [1.0, 4.0, 2.0, 4.0]})
    assert np.isinf(table.loc[("dose", "smd"), "before"])
    display = BalanceDisplay.from_table(table)
    assert np.isfinite(display.ax_.get_xlim()).all()
    assert display.variables_ == ["dose", "age"]
    arrows = [part for part in display.ax_.collections if len(part.get_offsets()) == 1]
    assert len(arrows) == 2  # one finite, one at the edge


def test_what_is_no_such_table_or_not_fitted_is_refused():
    with pytest.raises(ValueError, match="no statistic 'smd'"):
        BalanceDisplay.from_table(pd.DataFrame({"before": [1.0]}, index=["ks"]))
    with pytest.raises(NotFittedError):
        BalanceDisplay.from_estimator(AcquisitionBalancer(acquisition="scanner"))
