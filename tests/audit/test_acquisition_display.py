"""Figures of the acquisition probe say what its tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.audit import AcquisitionProbe, AcquisitionProbeDisplay
from sklearn_shortcuts.datasets import apply_scanner, make_chest_phantoms
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
from sklearn_shortcuts.preprocessing import AcquisitionFeatures


@pytest.fixture(autouse=True)
def figures_closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def study():
    phantoms = make_chest_phantoms(48, size=32, random_state=0)
    scanner = np.where(np.arange(48) % 2, "GE", "Siemens")
    settings = {"GE": {"border": 0.08, "border_value": 1.0}, "Siemens": {}}
    return apply_scanner(phantoms, scanner, settings, random_state=0)


@pytest.fixture(scope="module")
def probe(study):
    network = NeuralImageClassifier(SmallCNN(width=4, depth=2), max_epochs=4, batch_size=16, lr=0.01)
    features = AcquisitionFeatures(families=["geometry", "frequency"])
    probe = AcquisitionProbe(network, method="both", features=features, cv=2, n_permutations=9, random_state=0)
    return probe.fit(study, "scanner")


def test_everything(probe, study):
    display = AcquisitionProbeDisplay.from_estimator(probe, study)
    assert list(display.axes_) == ["confusion", "families", "spectra", "saliency"]
    assert len(display.axes_["saliency"]) == 8
    for _, image, heat in display.saliency:
        assert image.shape == heat.shape == (32, 32)
    named = [title.split(" taken for ")[1] for title, _, _ in display.saliency]
    assert sorted(named) == ["GE", "GE", "Siemens", "Siemens"]
    assert "network probe" in display.axes_["confusion"].get_title()
    shown = AcquisitionProbeDisplay.from_estimator(probe, study, rows=[5], panels=["saliency"]).saliency
    np.testing.assert_allclose(shown[0][1], np.asarray(study[[5]])[0])


def test_confusion(probe):
    ax = AcquisitionProbeDisplay.from_estimator(probe, which="fast", panels=["confusion"]).axes_["confusion"]
    counts = probe.confusion_["fast"].to_numpy()
    assert [int(text.get_text().split("\n")[0]) for text in ax.texts] == counts.ravel().tolist()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["GE", "Siemens"]
    np.testing.assert_allclose(ax.images[0].get_array(), counts / counts.sum(axis=1, keepdims=True))


def test_families_and_spectra(probe):
    axes = AcquisitionProbeDisplay.from_estimator(probe).axes_
    assert "saliency" not in axes
    table = probe.evidence_.sort_values("auc")
    points = {line.get_marker(): line.get_xdata() for line in axes["families"].lines}
    np.testing.assert_allclose(points["o"], table["auc"])
    np.testing.assert_allclose(points["D"], table["auc_without"])
    segments = np.array(axes["families"].collections[0].get_segments())[:, :, 0]
    np.testing.assert_allclose(segments, table[["low", "high"]])
    for line, name in zip(axes["spectra"].lines, probe.spectra_.columns):
        assert line.get_label() == name
        np.testing.assert_allclose(line.get_ydata(), 10 * np.log10(np.exp(probe.spectra_[name])))


def test_saved_tables(tmp_path, probe):
    probe.evidence_.to_csv(tmp_path / "evidence.csv")
    evidence = pd.read_csv(tmp_path / "evidence.csv", index_col=0)
    _, ax = plt.subplots()
    options = {"evidence": evidence, "panels": ["families"], "ax": ax}
    assert AcquisitionProbeDisplay.from_results(probe.confusion_["fast"], **options).axes_ == {"families": ax}


def test_bad_choices(probe, study):
    confusion = probe.confusion_["fast"]
    with pytest.raises(ValueError, match="'spectra' has nothing to show"):
        AcquisitionProbeDisplay.from_results(confusion, panels=["spectra"])
    with pytest.raises(ValueError, match="'sketch' is not one of them"):
        AcquisitionProbeDisplay.from_results(confusion, panels=["sketch"])
    with pytest.raises(ValueError, match="the probe has no 'slow'"):
        AcquisitionProbeDisplay.from_estimator(probe, which="slow")
    with pytest.raises(ValueError, match="ax takes one panel other than 'saliency'"):
        AcquisitionProbeDisplay.from_estimator(probe, study, panels=["saliency"], ax=plt.gca())
    fast = AcquisitionProbe(features=AcquisitionFeatures(["geometry"]), cv=2, n_permutations=1, random_state=0)
    with pytest.raises(ValueError, match="the probe has none; fit it with method='both'"):
        AcquisitionProbeDisplay.from_estimator(fast.fit(study, "scanner"), study)
