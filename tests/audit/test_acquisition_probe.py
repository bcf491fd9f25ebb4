"""The probe finds scanners that differ, says by what and whether it matters, and stays silent where they do not."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import binomtest, chi2_contingency
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts.audit import AcquisitionProbe
from sklearn_shortcuts.audit._acquisition_balance import weigh, weigh_permuted
from sklearn_shortcuts.audit._acquisition_tables import independence_pvalue
from sklearn_shortcuts.datasets import apply_scanner, load_study, make_chest_phantoms, make_ecg
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.neural import ECGResNet, ManufacturerCNN, NeuralImageClassifier
from sklearn_shortcuts.preprocessing import AcquisitionFeatures, acquisition_weights
from tests.audit.planted import flatten


def numbers(**options):
    """A probe of rows that are features already."""
    options = {"features": FunctionTransformer(), "cv": 3, "n_permutations": 19, "random_state": 0, **options}
    return AcquisitionProbe(**options)


def linear():
    return make_pipeline(FunctionTransformer(flatten), LogisticRegression(C=0.1))


def told(n=120, shift=1.0, seed=0, n_classes=2):
    """Features of which the first tells the scanner."""
    rng = np.random.default_rng(seed)
    scanner = rng.permutation(np.arange(n) % n_classes)
    X = rng.normal(size=(n, 4))
    X[:, 0] += shift * scanner
    return X, np.array(["GE", "Philips", "Siemens"])[scanner]


@pytest.fixture(scope="module")
def phantoms():
    return make_chest_phantoms(120, size=32, random_state=0)


# -- it says by what ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("setting", "family"),
    [({"noise": 0.03}, "noise"), ({"blur": 0.5}, "frequency"), ({"border": 0.04}, "geometry"), ({}, None)],
)
def test_evidence_names_the_family(phantoms, setting, family):
    scanner = np.random.default_rng(1).permutation(np.arange(120) % 2).astype(str)
    both = {"noise": 0.02}  # of the detector, behind the optics that blur
    study = apply_scanner(phantoms, scanner, {"0": both, "1": {**both, **setting}}, random_state=0)
    features = AcquisitionFeatures(thumbnail_size=4)
    probe = AcquisitionProbe(features=features, cv=3, n_permutations=39, random_state=0).fit(study, "scanner")
    assert probe.acquisition_told_ == (family is not None)
    assert not probe.tied_to_label_
    if family is None:
        assert probe.verdict_.startswith("No sign that the acquisition can be told")
        assert (probe.evidence_["pvalue_holm"] > 0.05).all()
    else:
        assert probe.evidence_["auc"].idxmax() == family
        assert probe.evidence_.loc[family, "pvalue"] == 1 / 40
        assert probe.evidence_.loc["content_inside", "auc"] < 0.7


def test_evidence_names_the_side_of_the_region():
    study = make_chest_phantoms(100, size=32, random_state=0)
    scanner = np.random.default_rng(1).permutation(np.arange(100) % 2)
    images = np.asarray(study).copy()
    images[scanner == 1, -8:, :8] += 0.3  # below the lungs
    features = AcquisitionFeatures(families=["content"])
    probe = AcquisitionProbe(features=features, cv=3, n_permutations=19, random_state=0)
    evidence = probe.fit(study.with_images(images), scanner).evidence_
    assert evidence["auc"].idxmax() == "content_outside"
    assert evidence.loc["content_outside", "drop"] > 0.2
    assert evidence.loc["content_outside", "drop_low"] > 0
    assert evidence.loc["content_inside", "pvalue"] > 0.05


# -- it knows whether that matters -------------------------------------------------------------------------------------
def test_shortcut_risk():
    X, scanner = told(n=300, shift=3.0)
    rng = np.random.default_rng(1)
    y = (rng.random(300) < np.where(scanner == "GE", 0.2, 0.7)).astype(int)
    probe = numbers().fit(X, scanner, y=y)
    assert probe.acquisition_told_
    assert probe.tied_to_label_
    assert "it goes with the label" in probe.verdict_
    assert "AcquisitionBalancer" in probe.verdict_
    risk, scores = probe.shortcut_risk_.loc[1], probe.scores_.loc["fast"]
    assert risk["auc_true"] == pytest.approx(roc_auc_score(y, scanner != "GE"), abs=0.01)
    assert 0.5 < risk["low"] < risk["auc"] <= risk["auc_true"] + 0.03
    assert risk["risk"] == pytest.approx((2 * scores["auc"] - 1) * probe.association_.loc[1, "cramers_v"])
    free = numbers().fit(X, scanner, y=rng.permutation(y))
    assert free.acquisition_told_
    assert not free.tied_to_label_
    assert "no sign that it goes with the label" in free.verdict_
    assert abs(free.shortcut_risk_.loc[1, "auc"] - 0.5) < 0.12
    unlabeled = numbers().fit(X, scanner)
    assert unlabeled.association_ is unlabeled.shortcut_risk_ is unlabeled.tied_to_label_ is None
    assert "not known without y" in unlabeled.verdict_


def test_several_labels():
    X, scanner = told(n=200, shift=3.0)
    rng = np.random.default_rng(0)
    y = pd.DataFrame({"drain": (scanner == "GE") ^ (rng.random(200) < 0.1), "mass": rng.random(200) < 0.5}).astype(int)
    probe = numbers().fit(X, scanner, y=y)
    assert probe.association_.index.tolist() == ["drain", "mass"]
    assert probe.association_["pvalue_holm"].tolist() == [pytest.approx(0, abs=1e-9), pytest.approx(1, abs=0.95)]
    assert "the label 'drain'" in probe.verdict_
    assert set(probe.errors_.index.get_level_values("covariate")) == {"drain", "mass"}


def test_test_of_independence():
    rng = np.random.default_rng(0)
    codes, positive = rng.integers(0, 3, 400), rng.random(400) < 0.3
    pearson = chi2_contingency(pd.crosstab(codes, positive), correction=False).pvalue
    assert independence_pvalue(codes, positive) == pytest.approx(pearson, abs=0.02)
    assert independence_pvalue(codes, codes == 1) < 1e-50
    # Copies of a row are one row.
    copies = independence_pvalue(np.repeat(codes, 7), np.repeat(positive, 7), np.repeat(np.arange(400), 7))
    assert copies == pytest.approx(independence_pvalue(codes, positive))
    pvalues = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        patients = np.repeat(np.arange(40), rng.integers(1, 9, 40))
        of_patient, label = rng.random((2, 40)) < 0.5
        pvalues.append(independence_pvalue(of_patient[patients].astype(int), label[patients], patients))
    assert 0.01 < np.mean(np.array(pvalues) <= 0.05) < 0.09


def test_association_interval_counts_patients():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 10)
    scanner, y = (np.repeat(rng.permutation(np.arange(30) % 2), 10) for _ in range(2))
    X = rng.normal(size=(300, 2))
    patients = numbers().fit(X, scanner, y=y, groups=groups).association_.loc[1]
    rows = numbers().fit(X, scanner, y=y).association_.loc[1]
    assert patients["high"] - patients["low"] > 1.5 * (rows["high"] - rows["low"])


# -- covariates --------------------------------------------------------------------------------------------------------
def aged(seed, n=200):
    """Images that show the age, and a scanner that goes with it."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 90, n)
    scanner = np.where(rng.random(n) < expit((age - 55) / 12), "GE", "Siemens")
    X = rng.normal(size=(n, 4))
    X[:, 0] = (age - 55) / 20 + 0.3 * X[:, 0]
    return X, scanner, pd.DataFrame({"age": age, "sex": rng.permutation(np.arange(n) % 2)})


def test_what_shows_the_age_is_no_scanner():
    pvalues = []
    for seed in range(8):
        X, scanner, covariates = aged(seed)
        assert numbers().fit(X, scanner).acquisition_told_
        probe = numbers().fit(X, scanner, covariates=covariates)
        pvalues.append(probe.scores_["pvalue"].item())
        assert abs(probe.scores_["auc"].item() - 0.5) < 0.15
        assert abs(probe.null_.mean() - 0.5) < 0.07
    assert np.sum(np.array(pvalues) <= 0.05) <= 2
    assert 0.2 < np.mean(pvalues) < 0.8


def test_a_scanner_is_told_in_spite_of_the_age():
    X, scanner, covariates = aged(0)
    X[:, 1] += 2 * (scanner == "GE")
    metadata = covariates.assign(scanner=scanner)
    bunch = ImageBunch(X[:, None, None], metadata=metadata)
    probe = numbers(features=FunctionTransformer(flatten)).fit(bunch, "scanner", covariates=["age", "sex"])
    assert probe.acquisition_told_
    assert "with the covariates balanced" in probe.verdict_
    squared = covariates.assign(squared=(covariates["age"] - covariates["age"].mean()) ** 2)
    weights = acquisition_weights(scanner, covariates=squared, target="covariates", method="overlap")
    np.testing.assert_allclose(probe.weights_, weights, rtol=1e-5)
    # All scores are weighted.
    predicted = probe.predictions_["fast"]
    areas = [
        roc_auc_score(scanner[rows] == "Siemens", predicted.loc[rows, "Siemens"], sample_weight=weights[rows])
        for rows in (probe.fold_ == fold for fold in range(3))
    ]
    scores = probe.scores_.loc["fast"]
    assert scores["auc"] == pytest.approx(np.mean(areas))
    correct = predicted.idxmax(axis=1).to_numpy() == scanner
    assert scores["accuracy"] == pytest.approx(np.average(correct, weights=weights))
    assert set(probe.errors_.loc["fast"].index.get_level_values("covariate")) == {"age", "sex"}
    assert len(probe.errors_.loc[("fast", "age")]) == 4


def test_the_label_can_be_adjusted_for():
    """Sick patients are imaged in bed: the images show the disease, not the bed."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    view = np.where(rng.random(200) < 0.2 + 0.6 * y, "AP", "PA")
    X = rng.normal(size=(200, 3))
    X[:, 0] += 2 * y
    assert numbers().fit(X, view, y=y).acquisition_told_
    assert not numbers(adjust_for_target=True).fit(X, view, y=y).acquisition_told_
    with pytest.raises(ValueError, match="adjust_for_target needs the label"):
        numbers(adjust_for_target=True).fit(X, view)


def test_a_rare_category_does_not_stop_the_permutations():
    X, scanner = told(shift=2.0)
    rare = np.full(120, "usual", dtype=object)
    rare[[np.flatnonzero(scanner == name)[0] for name in ("GE", "Philips")]] = "rare"
    probe = numbers().fit(X, scanner, covariates=pd.DataFrame({"protocol": rare}))
    assert probe.acquisition_told_
    assert np.isfinite(probe.null_).all()
    permuted = rare == "rare"  # both rare rows in one acquisition
    codes = np.where(permuted, 1, np.arange(120) % 2)
    adjusted = pd.DataFrame({"protocol": rare})
    with pytest.raises(ValueError, match="no overlap"):
        weigh(codes, adjusted=adjusted, patients=None)
    assert ((weigh_permuted(codes, adjusted=adjusted, patients=None) == 0) == permuted).all()
    told_apart = pd.DataFrame({"place": np.where(codes == 1, "here", "there")})
    assert weigh_permuted(codes, adjusted=told_apart, patients=None) is None


def test_covariates_that_tell_the_scanner():
    X, scanner = told()
    with pytest.raises(ValueError, match="no overlap"):
        numbers().fit(X, scanner, covariates=pd.DataFrame({"site": np.where(scanner == "GE", 1.0, 2.0)}))


# -- the numbers are right ---------------------------------------------------------------------------------------------
def test_scores_follow_from_the_predictions():
    X, scanner = told(n=150, n_classes=3)
    probe = numbers(evidence=False).fit(X, scanner)
    predicted, scores = probe.predictions_["fast"], probe.scores_.loc["fast"]
    named = predicted.idxmax(axis=1).to_numpy()
    correct = named == scanner
    assert scores["accuracy"] == pytest.approx(correct.mean())
    exact = binomtest(int(correct.sum()), 150).proportion_ci(0.95, method="exact")
    assert (scores["accuracy_low"], scores["accuracy_high"]) == pytest.approx((exact.low, exact.high))
    recalls = probe.recall_.loc["fast"]
    for name in probe.classes_:
        rows = scanner == name
        exact = binomtest(int(correct[rows].sum()), int(rows.sum())).proportion_ci(0.95, method="exact")
        assert recalls.loc[name, ["recall", "low", "high"]].tolist() == pytest.approx(
            [correct[rows].mean(), exact.low, exact.high]
        )
    assert scores["balanced_accuracy"] == pytest.approx(recalls["recall"].mean())
    assert scores["balanced_accuracy_low"] < scores["balanced_accuracy"] < scores["balanced_accuracy_high"]
    areas = [
        roc_auc_score(scanner[rows], predicted[rows], multi_class="ovr", labels=probe.classes_)
        for rows in (probe.fold_ == fold for fold in range(3))
    ]
    assert scores["auc"] == pytest.approx(np.mean(areas))
    assert scores["auc_low"] < scores["auc"] < scores["auc_high"]
    np.testing.assert_array_equal(probe.confusion_["fast"], confusion_matrix(scanner, named))
    assert scores["chance_accuracy"] == pytest.approx(1 / 3)
    assert scores["pvalue"] == 1 / 20
    assert (probe.null_ < scores["auc"]).all()


def test_intervals_of_several_rows_per_patient_are_wider():
    X, scanner = told(n=60, shift=1.5)
    groups = np.repeat(np.arange(60), 5)
    probe = numbers().fit(np.repeat(X, 5, axis=0), np.repeat(scanner, 5), groups=groups)
    single = numbers().fit(X, scanner).scores_.loc["fast"]
    scores = probe.scores_.loc["fast"]
    for name in ("accuracy", "balanced_accuracy", "auc"):  # five copies of a row are one row
        width, alone = (one[f"{name}_high"] - one[f"{name}_low"] for one in (scores, single))
        assert width == pytest.approx(alone, rel=0.35)
    assert probe.recall_["n_patients"].sum() == 60


def test_given_folds_and_rows_that_are_never_tested():
    X, scanner = told()
    cv = [(np.arange(30, 110), np.arange(30)), (np.arange(30), np.arange(30, 60))]
    probe = numbers(cv=cv).fit(X, scanner)
    assert np.bincount(probe.fold_ + 1).tolist() == [60, 30, 30]
    assert probe.predictions_.notna().all(axis=1).sum() == 60
    assert probe.confusion_["fast"].to_numpy().sum() == 60
    assert probe.acquisition_told_


def test_repeatable_whatever_the_number_of_processes():
    X, scanner = told(shift=0.3)
    probe = numbers().fit(X, scanner)
    again = clone(probe).set_params(n_jobs=2).fit(X, scanner)
    pd.testing.assert_frame_equal(probe.scores_, again.scores_)
    np.testing.assert_array_equal(probe.null_, again.null_)
    assert not np.array_equal(probe.null_, numbers(random_state=1).fit(X, scanner).null_)
    loaded = pickle.loads(pickle.dumps(probe))
    np.testing.assert_array_equal(loaded.predict_proba(X), probe.predict_proba(X))


# -- images, signals, networks -----------------------------------------------------------------------------------------
def test_new_rows(phantoms):
    scanner = np.where(np.arange(120) % 2, "GE", "Siemens")
    study = apply_scanner(phantoms, scanner, {"GE": {"noise": 0.05}, "Siemens": {}}, random_state=0)
    probe = AcquisitionProbe(cv=3, n_permutations=19, evidence=False, random_state=0).fit(study[:80], "scanner")
    assert probe.score(study[80:], scanner[80:]) > 0.95
    assert probe.predict_proba(study[80:]).sum(axis=1) == pytest.approx(1)
    assert list(probe.spectra_.columns) == ["GE", "Siemens"]
    high = probe.spectra_.iloc[-4:]
    assert (high["GE"] > high["Siemens"]).all()
    with pytest.raises(ValueError, match="features"):
        probe.predict(np.zeros((2, 16, 16)))


def test_signals():
    study = make_ecg(60, n_leads=3, length=300, shortcut="mains_hum", prevalence=0.5, random_state=0)
    recorder = np.where(study.artifact == 1, "old", "new")
    tiny = NeuralImageClassifier(ECGResNet(layers=(1,), width=4), max_epochs=2, batch_size=16)
    probe = AcquisitionProbe(tiny, method="both", cv=2, n_permutations=39, random_state=0).fit(study, recorder)
    assert probe.acquisition_told_
    assert probe.evidence_.loc["frequency", "auc"] > 0.95
    assert probe.scores_.index.tolist() == ["fast", "network"]
    assert probe.predict_proba(study[:4]).shape == (4, 2)


def test_network_of_the_study(phantoms, monkeypatch):
    from sklearn_shortcuts.audit import _acquisition_network, _acquisition_probe

    network = _acquisition_network.default_network(phantoms)
    assert isinstance(network.module, ManufacturerCNN)
    assert (network.optimizer, network.lr) == ("adam", 1e-3)
    assert (network.augmentation.hflip, network.augmentation.vflip) == (0.5, 0.5)
    signal = _acquisition_network.default_network(make_ecg(2, length=200, random_state=0))
    assert isinstance(signal.module, ECGResNet)
    monkeypatch.setattr(
        _acquisition_probe, "default_network", lambda bunch: network.set_params(max_epochs=6, module__widths=(8, 8))
    )
    scanner = np.random.default_rng(1).permutation(np.arange(120) % 2)
    study = apply_scanner(phantoms, scanner, {0: {"border": 0.08, "border_value": 1.0}, 1: {}}, random_state=0)
    probe = AcquisitionProbe(method="network", cv=2, random_state=0).fit(study, "scanner")
    assert probe.scores_.loc["network", "auc"] > 0.95
    assert probe.acquisition_told_
    assert probe.evidence_ is probe.spectra_ is probe.features_ is None
    assert probe.score(study, scanner) > 0.9


def test_network_is_cross_fitted_with_the_weights():
    X, scanner, covariates = aged(0, n=120)
    probe = AcquisitionProbe(LogisticRegression(), method="network", cv=GroupKFold(3), random_state=0)
    groups = np.arange(120)
    probe.fit(X, scanner, covariates=covariates, groups=groups)
    for train, test in GroupKFold(3).split(X, groups=groups):
        model = LogisticRegression().fit(X[train], scanner[train], sample_weight=probe.weights_[train])
        np.testing.assert_allclose(probe.predictions_["network"].iloc[test], model.predict_proba(X[test]))
    model = LogisticRegression().fit(X, scanner, sample_weight=probe.weights_)
    np.testing.assert_allclose(probe.predict_proba(X), model.predict_proba(X))


def test_the_network_test_holds_its_level():
    pvalues = []
    for seed in range(40):
        X, scanner = told(n=60, shift=0.0, seed=seed)
        probe = AcquisitionProbe(LogisticRegression(), method="network", cv=4, random_state=seed).fit(X, scanner)
        pvalues.append(probe.scores_["pvalue"].item())
    assert np.sum(np.array(pvalues) <= 0.05) <= 6  # more would come of a true level of 0.05 once in 300 such tests
    assert 0.35 < np.mean(pvalues) < 0.65


# -- bad input ---------------------------------------------------------------------------------------------------------
def refuse(message, X=None, acquisition=None, error=ValueError, **options):
    default = told()
    X = default[0] if X is None else X
    acquisition = default[1] if acquisition is None else acquisition
    with pytest.raises(error, match=message):
        numbers().fit(X, acquisition, **options)


def test_bad_acquisition():
    X, scanner = told()
    missing = scanner.astype(object)
    missing[[5, 9]] = None
    refuse(r"acquisition: row 5 has none \(2 such rows", acquisition=missing)
    refuse("only one class", acquisition=np.repeat("GE", 120))
    refuse("acquisition has 100 rows, but X has 120", acquisition=scanner[:100])
    refuse("bin numbers by pandas.cut", acquisition=np.linspace(20.5, 80, 120))
    refuse("must have one value per row, got 2 columns", acquisition=np.stack([scanner, scanner], axis=1))
    rare = scanner.copy()
    rare[:4] = "Toshiba"
    refuse("acquisition 'Toshiba' has 4 rows, but cv=3 needs 6", acquisition=rare)
    refuse(
        "acquisition 'GE' has 3 patients, but cv=3 needs 6",
        groups=np.where(scanner == "GE", np.arange(120) % 3, 3 + np.arange(120) % 50),
    )
    bunch = ImageBunch(X[:, None, None], metadata=pd.DataFrame({"Scanner": scanner}))
    refuse("acquisition='scanner' is neither a field .* did you mean 'Scanner'", X=bunch, acquisition="scanner")
    with pytest.raises(ValueError, match="requires y to be passed"):
        numbers().fit(X, None)


def test_bad_company():
    age = pd.DataFrame({"age": np.r_[np.nan, np.arange(119)]})
    refuse("covariates: 'age' is missing in row 0", covariates=age)
    refuse("covariates has 119 rows, but X has 120", covariates=age[1:])
    refuse("values without names", covariates=np.arange(120))
    refuse("y has 60 rows, but X has 120", y=np.arange(60) % 2)
    refuse("groups", groups=np.arange(60))
    constant = ImageBunch(told()[0][:, None, None], target=np.zeros(120, int))
    refuse("field 'target' of the rows cannot be compared.*only one class.*with_fields", X=constant)
    refuse("Input y contains NaN: row 1 has no class", y=np.r_[0, np.nan, np.arange(118) % 2])
    with pytest.raises(ValueError, match="features must be a table with one row per image"):
        numbers(features=FunctionTransformer(np.ravel)).fit(*told())
    with pytest.raises(ValueError, match="the features of row 0 contain NaN"):
        numbers(features=FunctionTransformer(lambda X: np.full_like(X, np.nan))).fit(*told())


def test_hardly_any_arrangement():
    X, _ = told(n=24)
    groups = np.repeat(np.arange(12), np.repeat([1, 3], 6))  # all patients of a scanner have as many rows
    with pytest.warns(UserWarning, match="can be arranged in 1 ways only"):
        numbers().fit(X, np.repeat(["GE", "Siemens"], [6, 18]), groups=groups)


# -- real images -------------------------------------------------------------------------------------------------------
def test_view_of_real_radiographs(real_data):
    study = load_study(real_data / "cxr_nih64")
    rows = np.flatnonzero(study.metadata[["age", "sex", "view"]].notna().all(axis=1))[::3]
    probe = AcquisitionProbe(cv=3, n_permutations=19, random_state=0)
    probe.fit(study[rows], "view", covariates=["age", "sex"])
    assert probe.acquisition_told_
    assert probe.tied_to_label_
    assert probe.scores_.loc["fast", "auc_low"] > 0.7
    risk = probe.shortcut_risk_.iloc[0]
    assert 0.5 < risk["auc"] < 0.75
    assert (probe.weights_ > 0).all()
