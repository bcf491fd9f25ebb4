import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from sklearn_shortcuts.audit import SpectralRelevanceAnalysis, SpectralRelevanceDisplay, _spectral_display


@pytest.fixture(scope="module")
def analysis():
    rows = np.random.default_rng(0).normal(1, 0.2, (200, 6))
    rows[:20, 0] += 3
    y = np.repeat([0, 1], 100)
    return SpectralRelevanceAnalysis(n_references=3, alpha=0.25, random_state=0).fit(rows, y)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_points_are_the_rows_of_the_class_by_cluster(analysis):
    display = SpectralRelevanceDisplay.from_estimator(analysis)
    assert display.target_ == 0  # the class of the first cluster
    drawn = [len(points.get_offsets()) for points in display.axes_["clusters"].collections]
    assert sorted(drawn) == sorted(np.bincount(analysis.labels_[:100]))
    outliers = display.axes_["outliers"].collections[0]
    np.testing.assert_array_equal(np.sort(outliers.get_array()), np.sort(analysis.outlier_scores_[:100]))
    best = np.argmax(analysis.outlier_scores_[:100])
    np.testing.assert_array_equal(outliers.get_offsets()[-1], analysis.embedding_[best, 1:3])


def test_eigenvalues_are_those_of_the_class(analysis):
    ax = SpectralRelevanceDisplay.from_estimator(analysis, target=1, panels=["eigenvalues"]).axes_["eigenvalues"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), analysis.eigenvalues_.loc[1])


def test_table_has_a_line_per_cluster(analysis):
    ax = SpectralRelevanceDisplay.from_estimator(analysis, panels=["table"]).axes_["table"]
    cells = ax.tables[0].get_celld()
    assert {row for row, _ in cells} == set(range(len(analysis.clusters_) + 1))
    assert cells[1, 2].get_text().get_text() == str(analysis.clusters_["rows"].iloc[0])


def test_axes_take_one_panel(analysis):
    _, ax = plt.subplots()
    display = SpectralRelevanceDisplay.from_estimator(analysis, ax=ax)
    assert display.axes_ == {"clusters": ax}
    with pytest.raises(ValueError, match="ax takes one panel"):
        SpectralRelevanceDisplay.from_estimator(analysis, panels=["clusters", "table"], ax=ax)


def test_the_most_suspicious_of_many_rows_are_drawn(analysis, monkeypatch):
    monkeypatch.setattr(_spectral_display, "_MOST_POINTS", 50)
    rows = SpectralRelevanceDisplay.from_estimator(analysis, panels=["clusters"]).rows_
    assert len(rows) == 50
    assert set(np.argsort(-analysis.outlier_scores_[:100])[:10]) <= set(rows)


def test_what_is_not_there_is_refused(analysis):
    with pytest.raises(ValueError, match="target=7"):
        SpectralRelevanceDisplay.from_estimator(analysis, target=7)
    with pytest.raises(NotFittedError):
        SpectralRelevanceDisplay.from_estimator(SpectralRelevanceAnalysis())
