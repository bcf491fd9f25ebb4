"""A report on models of which it is known what they read, against loops over rows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from sklearn_shortcuts.audit import shortcut_report, tcav_score
from sklearn_shortcuts.audit._model_metrics import Uncertainty
from sklearn_shortcuts.audit._shortcut_measures import macro_f1
from sklearn_shortcuts.audit._shortcut_report import MEASURES, PERFORMANCE, REPAIR
from sklearn_shortcuts.datasets import ArtifactInjector
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.latent import ConceptVector, LayerFeatures
from sklearn_shortcuts.metrics import artifact_relevance, gap_closed, paired_recovery
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

N = 120


class Leaky:
    """Fitted classifier whose evidence is a pixel of the lesion plus so many times a pixel of the artifact."""

    classes_ = np.array([0, 1])

    def __init__(self, weight, n_labels=None):
        self.weight, self.n_labels = weight, n_labels

    def decision_function(self, X):
        X = np.asarray(X)
        evidence = X[:, 2, 2] + self.weight * X[:, 6, 6] - 0.5
        return evidence if self.n_labels is None else evidence[:, None] - 0.2 * np.arange(self.n_labels)

    def predict_proba(self, X):
        share = 1 / (1 + np.exp(-4 * self.decision_function(X)))
        return share if self.n_labels else np.column_stack([1 - share, share])

    def predict(self, X):
        return (self.decision_function(X) > 0).astype(int)


class Mute(Leaky):
    """The same without scores."""

    predict_proba = decision_function = property(doc="none")

    def __getattribute__(self, name):
        if name in ("predict_proba", "decision_function"):
            raise AttributeError(name)
        return super().__getattribute__(name)

    def predict(self, X):
        return (Leaky.decision_function(self, X) > 0).astype(int)


def make_study(n=N, seed=0):
    """Rows as they are, with the artifact in most of class 1, their twins, and all attacked."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    clean = rng.normal(0, 0.1, (n, 8, 8))
    clean[:, 2, 2] = 0.5 + (y - 0.5) * rng.uniform(-0.2, 1, n)
    attacked = clean.copy()
    attacked[:, 6, 6] += 1
    artifact = np.where(rng.random(n) < 0.1, 1 - y, y)
    masks = np.zeros((n, 8, 8), bool)
    masks[:, 6, 6] = True
    images = np.where(artifact[:, None, None] == 1, attacked, clean)
    study = ImageBunch(
        images,
        target=y,
        artifact=artifact,
        artifact_masks=masks & (artifact[:, None, None] == 1),
        twin=clean,
        groups=np.arange(n) // 2,
    )
    return study, study.with_images(attacked, artifact=np.ones(n, int), artifact_masks=masks)


MODELS = {"before": Leaky(0.6), "after": Leaky(0.2), "honest": Leaky(0.0)}


@pytest.fixture(scope="module")
def report():
    study, attacked = make_study()
    return shortcut_report(
        MODELS,
        study,
        X_attacked=attacked,
        baseline="before",
        maps=where_it_reads,
        dilate=0,
        n_resamples=200,
        random_state=0,
    )


def where_it_reads(model, X):
    maps = np.zeros((len(X), 8, 8))
    maps[:, 2, 2], maps[:, 6, 6] = 1, model.weight
    return maps


def test_performance_is_that_of_scikit_learn(report):
    study, attacked = make_study()
    copies = {"as_is": study, "clean": study.twin, "attacked": attacked}
    for name, model in MODELS.items():
        for copy, X in copies.items():
            row, predicted = report.loc[name], model.predict(X)
            assert row[f"accuracy_{copy}"] == pytest.approx(np.mean(predicted == study.target))
            assert row[f"macro_f1_{copy}"] == pytest.approx(f1_score(study.target, predicted, average="macro"))
            assert row[f"auc_{copy}"] == pytest.approx(roc_auc_score(study.target, model.predict_proba(X)[:, 1]))
            for metric in ("accuracy", "macro_f1", "auc"):
                assert row[f"{metric}_{copy}_low"] <= row[f"{metric}_{copy}"] <= row[f"{metric}_{copy}_high"]


def test_gaps_flips_and_groups_are_those_of_loops(report):
    study, attacked = make_study()
    clean = study.twin
    for name, model in MODELS.items():
        n_flipped = lost = 0
        right = {}
        for row in range(N):
            with_it, without, as_is = (int(model.predict(X[row][None])[0]) for X in (attacked, clean, study))
            n_flipped += with_it != without
            lost += (without == study.target[row]) - int(with_it == study.target[row])
            right.setdefault((study.target[row], study.artifact[row]), []).append(as_is == study.target[row])
        assert report.loc[name, "flip_rate"] == pytest.approx(n_flipped / N)
        assert report.loc[name, "gap"] == pytest.approx(lost / N)
        worst = min(right, key=lambda group: np.mean(right[group]))
        assert report.loc[name, "worst_group_accuracy"] == pytest.approx(np.mean(right[worst]))
        assert report.loc[name, "worst_group"] == f"class {worst[0]} {'with' if worst[1] else 'without'} the artifact"
    assert (report["n_rows"] == N).all()
    assert (report["n_pairs"] == N).all()
    assert (report["n_groups"] == N // 2).all()
    assert report.loc["honest", "gap"] == report.loc["honest", "flip_rate"] == 0


def test_repair_is_measured_against_the_baseline(report):
    study, attacked = make_study()
    for name in ("after", "honest"):
        scores = [MODELS[model].predict_proba(X)[:, 1] for model in ("before", name) for X in (attacked, study.twin)]
        recovery = paired_recovery(*scores)
        assert report.loc[name, "recovery"] == pytest.approx(recovery.value)
        assert report.loc[name, "off_target"] == pytest.approx(recovery.off_target)
        labels = [MODELS[model].predict(X) for model in ("before", name) for X in (attacked, study.twin)]
        assert report.loc[name, "gap_closed"] == pytest.approx(gap_closed(study.target, *labels).value)
        change = report.loc[name, "accuracy_clean"] - report.loc["before", "accuracy_clean"]
        assert report.loc[name, "clean_accuracy_change"] == pytest.approx(change)
        for measure in REPAIR:
            assert (
                report.loc[name, f"{measure}_low"] <= report.loc[name, measure] <= report.loc[name, f"{measure}_high"]
            )
            assert "before" in report.attrs["notes"][measure]
    assert report.loc["honest", "recovery"] == pytest.approx(1)
    assert report.loc["before", list(REPAIR)].isna().all()
    assert report.attrs["notes"]["recovery"]["before"] == "is the baseline"


def test_relevance_of_the_artifact(report):
    _, attacked = make_study()
    for name, model in MODELS.items():
        expected = artifact_relevance(where_it_reads(model, attacked), attacked.artifact_masks)
        assert report.loc[name, "artifact_relevance"] == pytest.approx(expected.value)
        assert report.loc[name, "artifact_relevance"] == pytest.approx(model.weight / (1 + model.weight))
        assert report.loc[name, "artifact_relevance_chance"] == pytest.approx(1 / 64)


def test_every_measure_has_a_column_or_a_reason():
    study, _ = make_study()
    bare = shortcut_report(Leaky(0.5), np.asarray(study), study.target, n_resamples=100, random_state=0)
    assert bare.index.tolist() == ["Leaky"]
    for measure in MEASURES:
        assert {measure, f"{measure}_low", f"{measure}_high"} <= set(bare.columns)
        assert np.isfinite(bare.loc["Leaky", measure]) != ("Leaky" in bare.attrs["notes"].get(measure, {}))
    assert "give X_clean" in bare.attrs["notes"]["accuracy_clean"]["Leaky"]
    assert "give artifact" in bare.attrs["notes"]["worst_group_accuracy"]["Leaky"]
    assert bare.loc["Leaky", "n_pairs"] == 0


def test_twins_alone_make_pairs_of_the_rows_that_have_the_artifact():
    study, attacked = make_study()
    found = shortcut_report({"model": Leaky(0.6)}, study, n_resamples=100, random_state=0).loc["model"]
    rows = study.artifact == 1
    change = Leaky(0.6).predict(attacked)[rows] != Leaky(0.6).predict(study.twin)[rows]
    assert found["flip_rate"] == pytest.approx(change.mean())
    assert found["n_pairs"] == rows.sum()
    assert np.isnan(found["accuracy_attacked"])
    notes = shortcut_report({"model": Leaky(0.6)}, study, n_resamples=100, random_state=0).attrs["notes"]
    assert f"of the {rows.sum()} rows" in notes["flip_rate"]["model"]


def test_an_attacked_study_is_its_own_attacked_copy():
    study, attacked = make_study()
    alone = shortcut_report(MODELS, attacked, n_resamples=100, random_state=0)
    both = shortcut_report(MODELS, study, X_attacked=attacked, n_resamples=100, random_state=0)
    for measure in ("accuracy_attacked", "accuracy_clean", "gap", "flip_rate"):
        np.testing.assert_array_equal(alone[measure], both[measure])
    assert alone.attrs["notes"]["worst_group_accuracy"]["before"] == "of the clean and attacked copies together"


def test_several_labels():
    study, attacked = make_study()
    y = pd.DataFrame(np.random.default_rng(1).integers(0, 2, (N, 3)), columns=["MI", "LVH", "CD"])
    models = {"before": Leaky(0.6, 3), "after": Leaky(0.1, 3)}
    found = shortcut_report(
        models, study, y, X_attacked=attacked, baseline="before", maps=where_it_reads, n_resamples=100, random_state=0
    )
    for name, model in models.items():
        predicted = model.predict(study)
        assert found.loc[name, "accuracy_as_is"] == pytest.approx(np.mean(predicted == y.to_numpy()))
        assert found.loc[name, "macro_f1_as_is"] == pytest.approx(f1_score(y, predicted, average="macro"))
        assert found.loc[name, "auc_as_is"] == pytest.approx(roc_auc_score(y, model.predict_proba(study)))
        flips = model.predict(attacked) != model.predict(study.twin)
        assert found.loc[name, "flip_rate"] == pytest.approx(flips.mean())
        worst = min(
            np.mean(predicted[rows, label] == value)
            for label in range(3)
            for value in (0, 1)
            for present in (0, 1)
            if (rows := (y.iloc[:, label].to_numpy() == value) & (study.artifact == present)).any()
        )
        assert found.loc[name, "worst_group_accuracy"] == pytest.approx(worst)
        assert found.loc[name, "worst_group"].split(" = ")[0] in y.columns
    assert np.isfinite(found.loc["after", "recovery"])


def test_models_without_scores_have_no_areas():
    study, attacked = make_study()
    found = shortcut_report(
        {"before": Mute(0.6), "after": Mute(0.0)}, study, X_attacked=attacked, baseline="before", n_resamples=100
    )
    assert found[["auc_as_is", "recovery"]].isna().all(axis=None)
    assert "neither predict_proba" in found.attrs["notes"]["recovery"]["after"]
    assert found.loc["after", "gap_closed"] == 1


def test_the_baseline_may_stand_outside():
    study, attacked = make_study()
    options = {"X_attacked": attacked, "n_resamples": 100, "random_state": 0}
    outside = shortcut_report({"after": MODELS["after"]}, study, baseline=MODELS["before"], **options)
    assert outside.index.tolist() == ["baseline", "after"]
    inside = shortcut_report(MODELS, study, baseline=MODELS["before"], **options)
    assert outside.loc["after", "recovery"] == inside.loc["after", "recovery"]


def test_an_artifact_that_is_everywhere_has_no_relevance():
    study, _ = make_study()
    bright = ImageBunch(np.clip(np.tile(np.asarray(study), (1, 2, 2)), 0, 1), target=study.target)
    attacked = ArtifactInjector("brightness", random_state=0).fit(bright).attack(bright)
    maps = np.random.default_rng(0).random((N, 16, 16))
    found = shortcut_report(Leaky(0.6), attacked, maps=lambda model, X: maps, n_resamples=100, random_state=0)
    assert np.isnan(found.loc["Leaky", "artifact_relevance"])
    assert "everywhere in the image" in found.attrs["notes"]["artifact_relevance"]["Leaky"]


def test_maps_by_name():
    study, attacked = make_study(40)
    network = NeuralImageClassifier(SmallCNN(width=2, depth=1), max_epochs=1, random_state=0).fit(
        np.asarray(study), study.target
    )
    models = {"network": network, "other": Leaky(0.6)}
    found = shortcut_report(
        models, study, X_attacked=attacked, maps="gradient_x_input", n_resamples=100, random_state=0
    )
    assert 0 < found.loc["network", "artifact_relevance"] < 1
    assert "Leaky cannot be explained by 'gradient_x_input'" in found.attrs["notes"]["artifact_relevance"]["other"]
    with pytest.raises(ValueError, match="The 'maps' parameter"):
        shortcut_report(models, study, X_attacked=attacked, maps="guess", n_resamples=100)


@pytest.fixture(scope="module")
def networks():
    study, _ = make_study(60)
    settings = {"module": SmallCNN(width=4, depth=1), "random_state": 0}
    X, y = np.asarray(study), study.target
    return {
        "before": NeuralImageClassifier(**settings, max_epochs=3).fit(X, y),
        "after": NeuralImageClassifier(**settings, max_epochs=1).fit(X, y),
    }


def test_concepts_in_a_layer(networks):
    study, attacked = make_study(60)
    features = [LayerFeatures(networks["before"], "last").fit_transform(np.asarray(X)) for X in (study.twin, attacked)]
    concept = ConceptVector(layer="last").fit(np.concatenate(features), np.repeat([0, 1], 60))
    models = {**networks, "other": Leaky(0.6)}
    found = shortcut_report(models, study, X_attacked=attacked, concept=concept, n_resamples=100, random_state=0)
    for name, network in networks.items():
        score = tcav_score(network, attacked, concept, 1)
        assert found.loc[name, "tcav"] == score.value
        assert found.loc[name, "tcav_magnitude"] == score.magnitude
        assert (
            found.loc[name, "decodability_low"]
            <= found.loc[name, "decodability"]
            <= found.loc[name, "decodability_high"]
        )
    other = shortcut_report(
        networks, study, X_attacked=attacked, concept=concept, target_class=0, n_resamples=100, random_state=0
    )
    assert other.loc["before", "tcav"] == pytest.approx(1 - found.loc["before", "tcav"])
    assert "Leaky has no layers" in found.attrs["notes"]["tcav"]["other"]
    assert "Leaky has no layers" in found.attrs["notes"]["decodability"]["other"]
    part = study.with_fields(twin=None)
    alone = shortcut_report(networks, part, concept=concept, n_resamples=100, random_state=0)
    score = tcav_score(networks["before"], part[part.artifact == 1], concept, 1)
    assert alone.loc["before", "tcav"] == score.value
    assert np.isnan(alone.loc["before", "decodability"])
    all_attacked = shortcut_report(networks, attacked, concept=concept, n_resamples=100, random_state=0)
    assert "name it by target_class" in all_attacked.attrs["notes"]["tcav"]["before"]


def test_a_layer_alone_gives_the_decodability(networks):
    study, attacked = make_study(60)
    found = shortcut_report(networks, study, X_attacked=attacked, layer="last", n_resamples=100, random_state=0)
    assert found["decodability"].notna().all()
    assert found["tcav"].isna().all()
    few, all_of_them = make_study(4)
    found = shortcut_report(networks, few, X_attacked=all_of_them, layer="last", n_resamples=100, random_state=0)
    assert "2 patients with the artifact are too few" in found.attrs["notes"]["decodability"]["before"]
    with pytest.raises(ValueError, match="nowhere"):
        shortcut_report(networks, study, X_attacked=attacked, layer="nowhere", n_resamples=100)


def test_limits_of_macro_f1_are_those_of_resampled_rows():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    predicted = np.where(rng.random(200) < 0.3, rng.integers(0, 3, 200), y)
    value, low, high = macro_f1(y, predicted, None, Uncertainty(0.95, 2000, 0))
    drawn = []
    for _ in range(500):
        rows = rng.integers(0, 200, 200)
        drawn.append(f1_score(y[rows], predicted[rows], average="macro"))
    assert value == pytest.approx(f1_score(y, predicted, average="macro"))
    assert [low, high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.012)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X_attacked": np.zeros((3, 8, 8))}, r"X_attacked has shape \(3, 8, 8\)"),
        ({"artifact": np.full(N, 2)}, "artifact: row 0 has 2"),
        ({"artifact": np.zeros(4)}, "one value per row"),
        ({"baseline": "first"}, "baseline='first' is not among the estimators"),
        ({"estimators": {}}, "models is empty"),
        ({"y": np.full(N, np.nan)}, "row 0 has no label"),
    ],
)
def test_bad_input(change, message):
    study, _ = make_study()
    with pytest.raises(ValueError, match=message):
        shortcut_report(**{"estimators": MODELS, "X": study, "n_resamples": 100, **change})


def test_nothing_is_changed_and_all_is_repeatable(report):
    study, attacked = make_study()
    state = np.random.get_state()[1].copy()
    again = shortcut_report(
        MODELS,
        study,
        X_attacked=attacked,
        baseline="before",
        maps=where_it_reads,
        dilate=0,
        n_resamples=200,
        random_state=0,
    )
    pd.testing.assert_frame_equal(again, report)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert again.columns.is_unique
    assert set(PERFORMANCE) <= set(again.columns)
