"""Figures: the numbers that stand in them, and what cannot be drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sklearn_shortcuts.audit import RegionSensitivity, RegionSensitivityDisplay
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
from sklearn_shortcuts.preprocessing import ROIMasker
from tests.audit.planted import linear, planted


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fitted():
    X, y = planted(["outside"], n=80)
    return RegionSensitivity(linear(), cv=2, dilations=(0, 2), region_name="lungs", random_state=0).fit(X, y), X


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_panels_and_numbers(fitted):
    audit, X = fitted
    display = RegionSensitivityDisplay.from_estimator(audit, X)
    assert set(display.axes_) == {"matrix", "controls", "dilation", "examples"}
    matrix = texts(display.axes_["matrix"])
    assert f"{audit.matrix_.loc['all', 'background']:.2f}" in matrix
    cell = audit.cells_.set_index(["train", "test"]).loc[("roi", "all")]
    assert f"{cell['low']:.2f} to {cell['high']:.2f}" in matrix
    assert len(matrix) == 2 * 25
    labels = [tick.get_text().replace("\n", " ") for tick in display.axes_["matrix"].get_xticklabels()]
    assert labels == ["full image", "lungs only", "without lungs", "box of lungs only", "without box of lungs"]
    controls = [tick.get_text() for tick in display.axes_["controls"].get_yticklabels()]
    assert controls[-3:] == ["outline of the mask", "mask of another row", "size of the mask"]
    assert len(display.axes_["examples"]) == 2 * 5
    image = display.axes_["examples"][2].images[0].get_array()  # first row without the region
    np.testing.assert_array_equal(image, np.where(X.masks[0], 0, X[0]))
    display.figure_.canvas.draw()


def test_all_panels_with_a_network():
    X, y = planted(["outside"], n=40)
    network = NeuralImageClassifier(SmallCNN(width=4, depth=1), max_epochs=1)
    audit = RegionSensitivity(network, maskings=("all", "roi"), controls=(), cv=2, random_state=0).fit(X, y)
    display = RegionSensitivityDisplay.from_estimator(audit)
    assert set(display.axes_) == {"matrix", "embedding"}
    names = [text.get_text() for text in display.axes_["embedding"].get_legend().get_texts()]
    corrected = audit.embedding_similarity_.loc[("roi", "all"), "corrected_cosine"]
    assert names == ["full image", f"region of interest only (corrected cosine {corrected:.2f})"]


def test_from_saved_tables(fitted, tmp_path):
    import pandas as pd

    audit, _ = fitted
    audit.cells_.to_csv(tmp_path / "cells.csv", index=False)
    audit.dilation_curve_.to_csv(tmp_path / "curve.csv", index=False)
    display = RegionSensitivityDisplay.from_results(
        pd.read_csv(tmp_path / "cells.csv"), dilation_curve=pd.read_csv(tmp_path / "curve.csv"), region_name="lungs"
    )
    expected = RegionSensitivityDisplay.from_estimator(audit)
    for panel in ("matrix", "controls"):
        assert texts(display.axes_[panel]) == texts(expected.axes_[panel])
    for ours, theirs in zip(display.axes_["dilation"].lines, expected.axes_["dilation"].lines):
        np.testing.assert_allclose(ours.get_ydata(), theirs.get_ydata())


def test_given_axes(fitted):
    audit, X = fitted
    figure, (left, right) = plt.subplots(1, 2)
    display = RegionSensitivityDisplay.from_estimator(audit, ax=left)
    assert display.figure_ is figure
    assert display.axes_ == {"matrix": left}
    RegionSensitivityDisplay.from_estimator(audit, panels=["controls"], ax=right)
    assert len(right.lines) == 2 * 8 + 1
    with pytest.raises(ValueError, match="ax takes one panel"):
        RegionSensitivityDisplay.from_estimator(audit, X, panels=["examples"], ax=right)


def test_one_of_several_labels():
    X, y = planted(["outside"], n=120)
    names = np.array(["a", "b", "c"])[y + (np.arange(120) % 3 == 0)]
    audit = RegionSensitivity(linear(), maskings=("all", "roi"), cv=2, random_state=0).fit(X, names)
    with pytest.raises(ValueError, match="several labels"):
        RegionSensitivityDisplay.from_estimator(audit)
    with pytest.raises(ValueError, match="'z' is not among"):
        RegionSensitivityDisplay.from_estimator(audit, label="z")
    display = RegionSensitivityDisplay.from_estimator(audit, label="b")
    assert f"{audit.matrix_.loc[('b', 'all'), 'roi']:.2f}" in texts(display.axes_["matrix"])
    assert display.axes_["matrix"].get_title() == "b"


def test_colors_signals_and_segmenters():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    options = {"maskings": ("all", "roi"), "controls": (), "cv": 2, "random_state": 0}
    colored = ImageBunch(rng.random((40, 3, 8, 8)), masks=planted(n=40)[0].masks)
    audit = RegionSensitivity(linear(), **options).fit(colored, y)
    examples = RegionSensitivityDisplay.from_estimator(audit, colored, rows=[5]).axes_["examples"]
    assert examples[0].images[0].get_array().shape == (8, 8, 3)
    signals = ImageBunch(rng.random((40, 2, 30)), masks=np.arange(30) < 10 * np.ones((40, 1)), signal=True)
    audit = RegionSensitivity(linear(), **options).fit(signals, y)
    examples = RegionSensitivityDisplay.from_estimator(audit, signals).axes_["examples"]
    np.testing.assert_allclose(examples[0].lines[0].get_ydata(), signals[0][0])
    masker = ROIMasker(segmenter=np.ones_like)
    images = rng.random((40, 8, 8))
    audit = RegionSensitivity(linear(), masker=masker, **options).fit(images, y)
    examples = RegionSensitivityDisplay.from_estimator(audit, images).axes_["examples"]
    np.testing.assert_array_equal(examples[1].images[0].get_array(), images[0])


@pytest.mark.parametrize(("panel", "message"), [("embedding", "has nothing to show"), ("map", "is not one of them")])
def test_panels_that_are_not_there(fitted, panel, message):
    with pytest.raises(ValueError, match=message):
        RegionSensitivityDisplay.from_estimator(fitted[0], panels=[panel])


def test_unfitted():
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        RegionSensitivityDisplay.from_estimator(RegionSensitivity())
