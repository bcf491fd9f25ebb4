"""Figures of comparisons say what the tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.audit import ModelComparison, ModelComparisonDisplay


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


def make_table(metrics=("accuracy", "region_swap_accuracy", "auc"), models=("A", "B", "C"), seed=0):
    rng = np.random.default_rng(seed)
    records = []
    for metric in metrics:
        for model in models:
            value = rng.uniform(0.4, 0.9)
            chance = 0.5 if metric == "auc" else np.nan
            records.append((metric, model, value, value - 0.1, value + 0.05, chance))
    return pd.DataFrame(records, columns=["metric", "model", "value", "low", "high", "chance"])


def points(ax):
    return [line.get_xydata()[0] for line in ax.lines if line.get_marker() in "os^D"]


def test_points_and_intervals():
    table = make_table()
    display = ModelComparisonDisplay.from_comparison(ModelComparison(table, None, {}))
    assert list(display.axes_) == ["accuracy", "region_swap_accuracy", "auc"]
    for metric, ax in display.axes_.items():
        rows = table[table["metric"] == metric]
        np.testing.assert_allclose([x for x, _ in points(ax)], rows["value"])
        limits = [line.get_xdata() for line in ax.lines if line.get_linestyle() == "-"]
        np.testing.assert_allclose(limits, rows[["low", "high"]])
        marks = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "|"]
        assert marks == ([0.5] * 3 if metric == "auc" else [])
    assert [label.get_text() for label in display.axes_["accuracy"].get_yticklabels()] == ["A", "B", "C"]
    assert display.axes_["region_swap_accuracy"].get_title() == "accuracy, regions exchanged"
    assert len(display.figure_.legends) == 1
    no_chance = ModelComparisonDisplay.from_results(table.drop(columns="chance"), metrics=["auc"])
    assert no_chance.figure_.legends == []


@pytest.mark.parametrize("connect", [False, True])
def test_tradeoff(connect):
    table = make_table(models=[f"lambda {number}" for number in range(9)])
    display = ModelComparisonDisplay.from_results(table, kind="tradeoff", connect=connect)
    wide = table.pivot(index="model", columns="metric", values="value")
    np.testing.assert_allclose(points(display.axes_["tradeoff"]), wide[["accuracy", "region_swap_accuracy"]])
    curve = [line for line in display.axes_["tradeoff"].lines if len(line.get_xdata()) == 9]
    assert len(curve) == connect
    texts = [text.get_text() for text in display.axes_["tradeoff"].get_legend().get_texts()]
    assert texts == list(wide.index)
    other = ModelComparisonDisplay.from_results(table, kind="tradeoff", metrics=["auc", "accuracy"])
    assert other.axes_["tradeoff"].get_xlabel() == "AUC"


def test_given_axes_and_many_panels():
    table = make_table(metrics=[f"metric_{number}" for number in range(6)])
    display = ModelComparisonDisplay.from_results(table)
    assert len(display.figure_.axes) == 8
    assert sum(ax.get_visible() for ax in display.figure_.axes) == 6
    _, ax = plt.subplots()
    one = ModelComparisonDisplay.from_results(table, metrics=["metric_2"], ax=ax)
    assert one.axes_ == {"metric_2": ax}
    assert one.figure_ is ax.figure


def test_values_that_are_missing_are_not_drawn():
    table = make_table()
    table.loc[table["model"] == "B", ["value", "low", "high"]] = np.nan
    for kind in ("points", "tradeoff"):
        display = ModelComparisonDisplay.from_results(table, kind=kind)
        display.figure_.canvas.draw()


def test_bad_input():
    table = make_table()
    with pytest.raises(ValueError, match="kind must be one of"):
        ModelComparisonDisplay.from_results(table, kind="bars")
    with pytest.raises(ValueError, match="'brier' is not in the table"):
        ModelComparisonDisplay.from_results(table, metrics=["brier"])
    with pytest.raises(ValueError, match="draws one metric over another"):
        ModelComparisonDisplay.from_results(table, kind="tradeoff", metrics=["accuracy"])
    with pytest.raises(ValueError, match="'region_swap_accuracy' is not in the table"):
        ModelComparisonDisplay.from_results(table[table["metric"] != "region_swap_accuracy"], kind="tradeoff")
    with pytest.raises(ValueError, match="connect=True"):
        ModelComparisonDisplay.from_results(table, connect=True)
    with pytest.raises(ValueError, match="ax takes one panel"):
        ModelComparisonDisplay.from_results(table, ax=plt.subplots()[1])
    for metrics in ([], ["auc", "auc"]):
        with pytest.raises(ValueError, match="at least one metric, and none twice"):
            ModelComparisonDisplay.from_results(table, metrics=metrics)
    with pytest.raises(ValueError, match="at least one metric"):
        ModelComparisonDisplay.from_results(table.iloc[:0])
    with pytest.raises(ValueError, match="no column 'low'"):
        ModelComparisonDisplay.from_results(table.drop(columns="low"))
    with pytest.raises(ValueError, match=f"row {len(table)} is the second of 'accuracy'"):
        ModelComparisonDisplay.from_results(pd.concat([table, table]))


def test_one_metric_by_its_name():
    assert list(ModelComparisonDisplay.from_results(make_table(), metrics="auc").axes_) == ["auc"]
