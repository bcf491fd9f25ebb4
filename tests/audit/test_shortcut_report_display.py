"""Figures of a report say what its table says."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.audit import ShortcutReportDisplay


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


def make_report(measures=("accuracy_clean", "accuracy_attacked", "flip_rate", "recovery")):
    values = np.random.default_rng(0).uniform(0.2, 0.8, (3, len(measures)))
    report = pd.DataFrame(values, index=["before", "after", "honest"], columns=measures)
    for measure in measures:
        report[f"{measure}_low"], report[f"{measure}_high"] = report[measure] - 0.1, report[measure] + 0.05
    report.loc["before", "recovery"] = np.nan
    return report


def limits(axis):
    """Ends of all vertical lines, by color group."""
    return [segment[:, 1] for lines in axis.collections for segment in lines.get_segments()]


def test_bars_and_intervals():
    report = make_report()
    display = ShortcutReportDisplay.from_report(report)
    assert list(display.axes_) == ["accuracy", "flip_rate", "recovery"]
    heights = [bar.get_height() for bar in display.axes_["accuracy"].patches]
    np.testing.assert_allclose(heights, [*report["accuracy_clean"], *report["accuracy_attacked"]])
    np.testing.assert_allclose(limits(display.axes_["flip_rate"]), report[["flip_rate_low", "flip_rate_high"]])
    labels = [text.get_text() for text in display.axes_["accuracy"].get_legend().get_texts()]
    assert labels == ["without the artifact", "with the artifact"]
    assert [label.get_text() for label in display.axes_["recovery"].get_xticklabels()] == list(report.index)


def test_panels_can_be_chosen():
    _, ax = plt.subplots()
    display = ShortcutReportDisplay.from_report(make_report(), panels="recovery", ax=ax)
    assert display.axes_ == {"recovery": ax}
    assert ShortcutReportDisplay.from_report(make_report(), ax=ax).axes_ == {"accuracy": ax}
    with pytest.raises(ValueError, match="ax takes one panel"):
        ShortcutReportDisplay.from_report(make_report(), panels=["recovery", "flip_rate"], ax=ax)
    with pytest.raises(ValueError, match="'gap' has nothing to show"):
        ShortcutReportDisplay.from_report(make_report(), panels=["gap"])
    with pytest.raises(ValueError, match="'loss' is not one of them"):
        ShortcutReportDisplay.from_report(make_report(), panels=["loss"])
    with pytest.raises(ValueError, match="no measure to show"):
        ShortcutReportDisplay.from_report(pd.DataFrame({"a": [1.0]}))


def test_relevance_stands_beside_its_chance():
    report = make_report(("artifact_relevance", "recovery"))
    report["artifact_relevance_chance"] = 0.1
    axis = ShortcutReportDisplay.from_report(report).axes_["artifact_relevance"]
    dashed = [lines for lines in axis.collections if lines.get_label() == "chance"]
    assert [segment[0, 1] for segment in dashed[0].get_segments()] == [0.1] * 3
