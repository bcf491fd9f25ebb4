"""Comparison of models of which it is known what they read."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts.audit import compare_models
from sklearn_shortcuts.audit._model_metrics import METRICS, REGION, SALIENCY
from sklearn_shortcuts.explain import grad_cam
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.metrics import (
    activation_precision,
    auc_interval,
    delong_roc_test,
    flip_rate,
    holm_correction,
    region_removal_auc,
    region_swap_accuracy,
    relevance_rank_accuracy,
)
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
from tests.audit.planted import flatten
from tests.metrics.readers import INSIDE, OUTSIDE, Reader, make_rows

MODELS = {"shortcut": Reader(INSIDE), "honest": Reader(OUTSIDE)}


def where_it_reads(model, X):
    """Explainer that knows the one pixel."""
    maps = np.zeros((len(X), 8, 8))
    maps[:, model.place[0], model.place[1]] = 1
    return maps


def test_metrics_that_the_rows_do_not_allow_are_left_out():
    bunch, y = make_rows(n=40)
    masks = np.asarray(bunch.masks).copy()
    masks[y == 1] = 0  # an artifact that one class has
    artifact = bunch.with_fields(masks=masks)
    comparison = compare_models(MODELS, artifact, reference="honest", random_state=0)
    measured = ["accuracy", "auc", "region_swap_accuracy", "flip_rate"]
    assert comparison.wide_.columns.tolist() == measured
    assert comparison.differences_["metric"].tolist() == measured
    assert comparison.left_out_["region_removal_auc"].startswith("none of the 20 rows are 1")
    with pytest.raises(ValueError, match="'region_removal_auc' cannot be measured, none of the 20 rows are 1"):
        compare_models(MODELS, artifact, metrics=["region_removal_auc"])
    comparison = compare_models(MODELS, artifact, content="place", explainer=where_it_reads, random_state=0)
    assert comparison.left_out_["flip_rate"].startswith("row ")

    nowhere = bunch.with_fields(masks=np.zeros_like(masks))
    comparison = compare_models(MODELS, nowhere, explainer=where_it_reads)
    assert comparison.wide_.columns.tolist() == ["accuracy", "auc"]
    assert comparison.left_out_["region_swap_accuracy"].startswith("no row has a region")
    assert comparison.left_out_["pointing_game"].startswith("the masks of all rows are empty")
    nobody_looked = bunch.with_fields(masks=np.full(masks.shape, np.nan))
    comparison = compare_models(MODELS, nobody_looked, explainer=where_it_reads)
    assert comparison.left_out_["pointing_game"].startswith("no row has a mask")

    few = np.arange(40) == np.flatnonzero(y)[0]
    comparison = compare_models(MODELS, np.asarray(bunch), few.astype(int)[:, None])
    assert comparison.wide_.columns.tolist() == ["accuracy"]
    assert "at least two independent rows" in comparison.left_out_["auc"]


def test_models_of_several_labels_whose_classes_have_different_forms():
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 2, (60, 2))
    X = Y + rng.normal(size=(60, 2))
    models = {
        "several": MultiOutputClassifier(GaussianNB()).fit(X, Y),
        "one by one": OneVsRestClassifier(GaussianNB()).fit(X, Y),
    }
    wide = compare_models(models, X, Y, n_resamples=100, random_state=0).wide_
    models["several"].label_names_ = ["mass", "nodule"]
    with pytest.raises(ValueError, match="give these columns in this order"):
        compare_models(models, X, Y, flipped=(X, pd.DataFrame(Y, columns=["nodule", "mass"])), metrics=["accuracy"])
    pd.testing.assert_series_equal(wide.loc["several"], wide.loc["one by one"], check_names=False)


def flipped_rows():
    """Rows whose region shows the other class."""
    bunch, y = make_rows(n=40, seed=9)
    images = np.asarray(bunch).copy()
    images[:, 1, 1] = 1 - y
    return bunch.with_images(images)


def cell(comparison, metric, model, column="value"):
    table = comparison.table_.set_index(["metric", "model"])
    return table.loc[(metric, model), column]


def test_everything_that_is_possible_is_measured():
    bunch, _ = make_rows()
    comparison = compare_models(MODELS, bunch, random_state=0)
    assert comparison.table_["metric"].unique().tolist() == ["accuracy", "auc", *REGION]
    assert comparison.left_out_ == {
        **dict.fromkeys(SALIENCY, "there is no explainer"),
        "flipped_accuracy": "there are no flipped rows",
        "flipped_auc": "there are no flipped rows",
    }
    assert comparison.differences_ is None
    bunch = bunch.with_fields(artifact_masks=bunch.masks)
    comparison = compare_models(MODELS, bunch, explainer=where_it_reads, flipped=flipped_rows())
    assert comparison.wide_.columns.tolist() == list(METRICS)
    assert comparison.wide_.index.tolist() == ["shortcut", "honest"]
    assert comparison.left_out_ == {}
    plain = compare_models(MODELS, bunch.with_fields(masks=None, artifact_masks=None), explainer=where_it_reads)
    assert plain.table_["metric"].unique().tolist() == ["accuracy", "auc"]
    assert plain.left_out_["flip_rate"] == "there are no masks"


def test_the_shortcut_shows():
    bunch, _ = make_rows()
    bunch = bunch.with_fields(artifact_masks=bunch.masks)
    comparison = compare_models(
        MODELS, bunch, explainer=where_it_reads, flipped=flipped_rows(), reference="shortcut", random_state=0
    )
    wide = comparison.wide_
    assert (wide[["accuracy", "auc"]] == 1).all(axis=None)
    assert wide["flip_rate"].tolist() == [1, 0]
    assert wide["flipped_accuracy"].tolist() == [0, 1]
    assert wide["flipped_auc"].tolist() == [0, 1]
    assert wide["artifact_relevance"].tolist() == [1, 0]
    assert wide.loc["honest", "region_swap_accuracy"] == 1
    assert wide.loc["shortcut", "region_swap_accuracy"] < 0.7
    differences = comparison.differences_.set_index("metric")
    assert differences.loc["accuracy", "pvalue"] == 1
    assert differences.loc["flip_rate", "difference"] == -1
    assert differences.loc["flip_rate", "pvalue_holm"] < 0.01
    assert differences.loc["region_swap_accuracy", ["low", "high"]].between(0.2, 0.8).all()


def test_values_are_those_of_the_metrics():
    bunch, y = make_rows(n=60, noise=0.5)
    masks = list(np.asarray(bunch.masks))
    masks[5], masks[6] = None, np.zeros((8, 8))
    groups = np.arange(60) // 2
    bunch = bunch.with_fields(masks=masks, groups=groups)
    model = MODELS["honest"]
    comparison = compare_models({"a": model}, bunch, explainer=where_it_reads, n_draws=300, random_state=0)
    low_high = [cell(comparison, "auc", "a", column) for column in ("value", "low", "high")]
    assert low_high == pytest.approx(auc_interval(y, model.predict_proba(bunch)[:, 1], groups=groups)[:3])
    assert cell(comparison, "accuracy", "a") == (model.predict(bunch) == y).mean()
    for measure in (region_swap_accuracy, flip_rate):
        expected = measure(model, bunch, n_draws=300, random_state=5).value
        assert cell(comparison, measure.__name__, "a") == pytest.approx(expected, abs=0.02)
    removed = region_removal_auc(model, bunch)
    assert cell(comparison, "region_removal_auc", "a") == removed.value
    assert cell(comparison, "region_removal_auc", "a", "low") == pytest.approx(removed.low)
    maps = where_it_reads(model, bunch)
    for measure in (activation_precision, relevance_rank_accuracy):
        score = measure(maps, bunch.masks, has_mask=bunch.has_mask)
        assert cell(comparison, measure.__name__, "a") == score.value
        assert cell(comparison, measure.__name__, "a", "chance") == score.chance
    counts = comparison.table_.set_index("metric")[["n_rows", "n_left_out", "n_groups"]]
    assert counts.loc["accuracy"].tolist() == [60, 0, 30]
    assert counts.loc["flip_rate"].tolist() == [59, 1, 30]  # the empty mask says that there is nothing to see
    for metric in ("region_removal_auc", "activation_precision"):
        assert counts.loc[metric].tolist() == [58, 2, 30]


def test_all_models_meet_the_same_exchanges():
    bunch, _ = make_rows(noise=0.5)
    twice = {"one": Reader(INSIDE), "two": Reader(INSIDE)}
    differences = compare_models(twice, bunch, reference="two").differences_
    assert (differences["difference"] == 0).all()
    assert (differences["pvalue"] == 1).all()
    assert (differences["low"] == 0).all()


def test_the_random_state_decides_everything():
    bunch, _ = make_rows(noise=0.5)
    options = {"reference": "honest", "fill": "noise", "n_resamples": 200}
    one, same, other = (compare_models(MODELS, bunch, random_state=seed, **options) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.table_, same.table_)
    pd.testing.assert_frame_equal(one.differences_, same.differences_)
    assert not one.table_.equals(other.table_)


def test_differences_are_paired_and_corrected():
    bunch, y = make_rows(n=80, noise=0.6)
    models = {**MODELS, "third": Reader((5, 6))}
    groups = np.arange(80) // 4
    comparison = compare_models(
        models, bunch, groups=groups, metrics=["auc", "accuracy"], reference="honest", random_state=0
    )
    table = comparison.differences_
    assert table[["metric", "model"]].to_numpy().tolist() == [
        ["auc", "shortcut"],
        ["auc", "third"],
        ["accuracy", "shortcut"],
        ["accuracy", "third"],
    ]
    scores = {name: model.predict_proba(bunch)[:, 1] for name, model in models.items()}
    for row in table[:2].itertuples():
        expected = delong_roc_test(y, scores[row.model], scores["honest"], groups=groups)
        assert (row.difference, row.low, row.high) == pytest.approx((expected.difference, *expected.interval))
        assert row.pvalue == pytest.approx(expected.pvalue)
    for row in table[2:].itertuples():
        right = {name: model.predict(bunch) == y for name, model in models.items()}
        difference = right[row.model] * 1.0 - right["honest"]
        assert row.difference == pytest.approx(difference.mean())
        # The error of a mean of patients' sums gives about the interval of resampled patients.
        sums = np.bincount(groups, difference) / 80
        reach = 1.96 * np.sqrt(((sums - sums.mean()) ** 2).sum() * 20 / 19)
        assert (row.low, row.high) == pytest.approx((difference.mean() - reach, difference.mean() + reach), abs=0.04)
    np.testing.assert_allclose(table["pvalue_holm"], holm_correction(table["pvalue"]))


def test_maps_that_say_nothing_do_not_count():
    bunch, _ = make_rows(n=20)

    def explainer(model, X):
        maps = where_it_reads(model, X)
        maps[: 5 if model is MODELS["honest"] else 2] = 0
        return maps

    comparison = compare_models(
        MODELS, bunch, metrics=["activation_precision"], explainer=explainer, reference="honest"
    )
    assert comparison.table_["n_zero"].tolist() == [2, 5]
    assert comparison.table_["n_rows"].tolist() == [18, 15]
    assert comparison.differences_["n_rows"].tolist() == [15]
    silent = compare_models(
        MODELS,
        bunch,
        metrics=["activation_precision"],
        explainer=lambda _, X: np.zeros((len(X), 8, 8)),
        reference="honest",
    )
    assert silent.table_["value"].isna().all()
    assert silent.differences_[["difference", "pvalue", "pvalue_holm"]].isna().all(axis=None)


def test_the_explainer_sees_only_rows_it_is_needed_for():
    bunch, _ = make_rows(n=20)
    masks = list(np.asarray(bunch.masks))
    masks[4:] = [None] * 16
    seen = []

    def explainer(model, X):
        seen.append(len(X))
        return where_it_reads(model, X)

    compare_models(MODELS, bunch.with_fields(masks=masks), metrics=["saliency_iou"], explainer=explainer)
    assert seen == [4, 4]


def test_arrays_and_several_labels():
    bunch, y = make_rows(n=60, noise=0.3)
    labels = pd.DataFrame({"a": y, "b": np.arange(60) % 2})
    images, masks = np.asarray(bunch), np.asarray(bunch.masks)
    models = {
        f"k = {k}": make_pipeline(FunctionTransformer(flatten), KNeighborsClassifier(k)).fit(images, labels.to_numpy())
        for k in (3, 9)
    }
    comparison = compare_models(
        models, images, labels, masks=masks, groups=np.arange(60) // 2, reference="k = 3", random_state=0
    )
    as_bunch = compare_models(
        models, ImageBunch(images, masks=masks), labels, groups=np.arange(60) // 2, reference="k = 3", random_state=0
    )
    pd.testing.assert_frame_equal(comparison.table_, as_bunch.table_)
    right = models["k = 3"].predict(images) == labels.to_numpy()
    assert cell(comparison, "accuracy", "k = 3") == pytest.approx(right.mean())
    shares = [part[:, 1] for part in models["k = 3"].predict_proba(images)]
    areas = [auc_interval(labels[name], share).auc for name, share in zip("ab", shares)]
    assert cell(comparison, "auc", "k = 3") == pytest.approx(np.mean(areas))
    assert comparison.table_[["low", "high"]].notna().all(axis=None)


@pytest.mark.parametrize("signal", [False, True])
def test_networks_and_their_class_activation_maps(signal):
    rng = np.random.default_rng(0)
    y = np.arange(48) % 2
    shape = (1, 16) if signal else (12, 12)
    images, masks = rng.normal(size=(48, *shape)).astype(np.float32), np.zeros((48, *shape[signal:]), dtype=bool)
    masks[..., :4] = True
    images[..., :4] += 2 * y.reshape(-1, 1, 1)
    bunch = ImageBunch(images, masks=masks, target=y, signal=signal)
    network = NeuralImageClassifier(SmallCNN(width=4, depth=2), lr=0.01, batch_size=8, random_state=0).fit(bunch)
    untrained = NeuralImageClassifier(SmallCNN(width=4, depth=2), lr=1e-9, max_epochs=1, random_state=0).fit(bunch)
    models = {"trained": network, "untrained": untrained}
    comparison = compare_models(models, bunch, explainer=grad_cam, reference="untrained", n_draws=2, random_state=0)
    assert comparison.left_out_["artifact_relevance"] == "there are no artifact_masks"
    assert len(comparison.table_) == 2 * 11
    assert cell(comparison, "flip_rate", "trained") > 0.5


def test_models_without_scores_have_no_areas():
    class Hard(ClassifierMixin, BaseEstimator):
        classes_ = np.array([0, 1])

        def predict(self, X):
            return np.ones(len(X), dtype=int)

    bunch, y = make_rows(n=20)
    comparison = compare_models({"hard": Hard()}, bunch)
    assert comparison.table_["metric"].tolist() == ["accuracy", "region_swap_accuracy", "flip_rate"]
    assert "neither predict_proba" in comparison.left_out_["auc"]
    one_class = compare_models({"hard": Hard()}, bunch[y == 1])
    assert one_class.table_["metric"].tolist() == ["accuracy", "region_swap_accuracy"]


def test_equal_models_are_seldom_called_different():
    """Models with independent errors of the same size; images of a patient are alike."""
    rng = np.random.default_rng(0)

    class Noisy:
        classes_ = np.array([0, 1])

        def __init__(self, scores):
            self.scores = scores

        def predict_proba(self, X):
            return np.stack([1 - self.scores, self.scores], axis=1)

        def predict(self, X):
            return (self.scores > 0.5).astype(int)

    groups = np.repeat(np.arange(40), 3)
    rejected = []
    for seed in range(250):
        y = np.repeat(rng.random(40) < 0.5, 3).astype(int)
        noise = 0.8 * rng.normal(size=(2, 40)).repeat(3, axis=1) + 0.4 * rng.normal(size=(2, 120))
        models = {name: Noisy(1 / (1 + np.exp(0.5 - y - one))) for name, one in zip("ab", noise)}
        comparison = compare_models(
            models, np.zeros((120, 2)), y, groups=groups, reference="a", n_resamples=200, random_state=seed
        )
        rejected.append(comparison.differences_["pvalue"] <= 0.05)
    rates = np.mean(rejected, axis=0)
    assert ((rates > 0.01) & (rates < 0.095)).all(), rates  # three standard errors around 0.05


def test_bad_input():
    bunch, y = make_rows(n=20)
    with pytest.raises(ValueError, match="models is empty"):
        compare_models({}, bunch)
    with pytest.raises(ValueError, match="names of type str, got 1"):
        compare_models({1: Reader(INSIDE)}, bunch)
    with pytest.raises(ValueError, match="'a' is of type str, which has no predict"):
        compare_models({"a": "model"}, bunch)
    with pytest.raises(ValueError, match=r"reference='x' is not among the models \['shortcut', 'honest'\]"):
        compare_models(MODELS, bunch, reference="x")
    with pytest.raises(ValueError, match="is the only model"):
        compare_models({"a": Reader(INSIDE)}, bunch, reference="a")
    with pytest.raises(ValueError, match="know different classes"):
        compare_models({**MODELS, "other": Reader(INSIDE, classes=[0, 2])}, bunch)
    with pytest.raises(ValueError, match="'F1' is not known"):
        compare_models(MODELS, bunch, metrics=["F1"])
    with pytest.raises(ValueError, match="'saliency_iou' cannot be measured, there is no explainer"):
        compare_models(MODELS, bunch, metrics=["saliency_iou"])
    with pytest.raises(ValueError, match="'auc' cannot be measured, all rows are of one class"):
        compare_models(MODELS, bunch[y == 1], metrics=["auc"])
    with pytest.raises(ValueError, match="none twice"):
        compare_models(MODELS, bunch, metrics=["auc", "auc"])
    with pytest.raises(ValueError, match="there are no labels for X"):
        compare_models(MODELS, bunch.with_fields(target=None))
    with pytest.raises(ValueError, match="there are no labels in flipped"):
        compare_models(MODELS, bunch, flipped=bunch.with_fields(target=None))
    with pytest.raises(ValueError, match="got a tuple of 1"):
        compare_models(MODELS, bunch, flipped=(bunch,))
    with pytest.raises(ValueError, match="y has 3 labels for 20 rows"):
        compare_models(MODELS, bunch, y[:3])
    with pytest.raises(ValueError, match="y: row 2 has no label"):
        compare_models(MODELS, bunch, np.where(np.arange(20) == 2, np.nan, y))
    with pytest.raises(ValueError, match="groups has 3 rows"):
        compare_models(MODELS, np.asarray(bunch), y, groups=[1, 2, 3])
    with pytest.raises(ValueError, match="groups: row 4 has no group"):
        compare_models(
            MODELS, np.asarray(bunch), y, groups=np.where(np.arange(20) > 3, np.nan, 0), metrics=["accuracy"]
        )
    with pytest.raises(ValueError, match="masks has 20 rows, but there are 2 maps"):
        compare_models(MODELS, bunch, explainer=lambda *_: np.ones((2, 8, 8)))
