"""The audit finds what was planted, and keeps to its contract."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts.audit import RegionSensitivity
from sklearn_shortcuts.images import ImageBunch, ImageFiles
from sklearn_shortcuts.images._sources import RowSource
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
from sklearn_shortcuts.preprocessing import ROIMasker
from tests.audit.planted import flatten, linear, planted

THREE = ("all", "roi", "background")


def audit(estimator=None, **options):
    options = {"maskings": THREE, "cv": 4, "random_state": 0, **options}
    return RegionSensitivity(linear() if estimator is None else estimator, **options)


# -- it finds what was planted -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("where", "leak", "status"),
    [
        (["inside"], None, "none"),
        (["outside"], None, "shortcut"),
        (["inside", "outside"], None, "shortcut"),
        ([], None, "undecided"),
        (["inside"], "size", "undecided"),
        (["inside"], "outline", "undecided"),
    ],
)
def test_planted_signal(where, leak, status):
    result = audit().fit(*planted(where, leak=leak))
    assert result.verdicts_["status"].tolist() == [status]
    assert result.shortcut_found_ == (status == "shortcut")
    control = result.cells_.set_index("train")["auc"]
    if leak == "size":
        assert control["kept_fraction"] > 0.99
    if leak == "outline":
        assert control["mask_only"] > 0.99
        assert control["kept_fraction"] == 0.5


def test_matrix_of_a_signal_inside():
    result = audit().fit(*planted(["inside"]))
    matrix = result.matrix_
    assert list(matrix.index) == list(matrix.columns) == list(THREE)
    assert matrix.loc["roi", "roi"] > 0.8
    assert matrix.loc["all", "background"] < 0.65
    assert matrix.loc["roi", "background"] == 0.5  # nothing of the region is left to see
    summary = result.summary_.loc[1]
    assert summary.loc["roi_necessity", "value"] == pytest.approx(
        matrix.loc["all", "all"] - matrix.loc["all", "background"]
    )
    assert summary.loc["shortcut_gap", "value"] == pytest.approx(
        matrix.loc["all", "background"] - matrix.loc["all", "roi"]
    )
    assert summary.loc["roi_sufficiency", "value"] == pytest.approx(matrix.loc["all", "roi"] / matrix.loc["all", "all"])
    assert summary.loc["excess_no_roi", "value"] == pytest.approx(matrix.loc["background", "background"] - 0.5)
    assert (summary["low"] <= summary["value"]).all()
    assert (summary["value"] <= summary["high"]).all()


def test_region_and_background_add_up_to_the_image():
    """A linear model's score of the region plus that of the background is that of the image, but for a constant."""
    linear_scores = make_pipeline(FunctionTransformer(flatten), RidgeClassifier())
    result = audit(linear_scores).fit(*planted(["inside"]))
    scores = result.predictions_["all"]
    rest = (scores["roi"] + scores["background"] - scores["all"]).to_numpy().ravel()
    for fold in range(4):
        np.testing.assert_allclose(rest[result.fold_ == fold], rest[result.fold_ == fold][0])


def test_tables_follow_from_the_predictions():
    X, y = planted(["outside"])
    result = audit(controls=("mask_only",)).fit(X, y)
    assert len(result.rows_) == (9 + 1) * 4
    for row in result.rows_.itertuples():
        tested = result.fold_ == row.fold
        assert row.n == tested.sum()
        assert row.n_positive == y[tested].sum()
        expected = roc_auc_score(y[tested], result.predictions_[row.train, row.test, 1][tested])
        assert row.auc == pytest.approx(expected)
    means = result.rows_.groupby(["train", "test"])["auc"].agg(["mean", "std"])
    cells = result.cells_.set_index(["train", "test"])
    np.testing.assert_allclose(cells["auc"], means["mean"].loc[cells.index])
    np.testing.assert_allclose(cells["std"], means["std"].loc[cells.index])
    assert result.matrix_.loc["roi", "all"] == pytest.approx(cells.loc[("roi", "all"), "auc"])
    full = cells.loc[("all", "all")]
    np.testing.assert_allclose(cells["difference_from_full"].dropna(), cells["auc"].drop(("all", "all")) - full["auc"])
    assert np.isnan(full["pvalue_full"])
    assert (cells["pvalue_chance_holm"] >= cells["pvalue_chance"]).all()


def test_out_of_fold_predictions_are_those_of_a_plain_loop():
    X, y = planted(["outside"])
    result = audit(cv=StratifiedKFold(4)).fit(X, y)
    masked = ROIMasker(keep="background").fit_transform(X)
    for train, test in StratifiedKFold(4).split(y, y):
        model = linear().fit(masked[train], y[train])
        np.testing.assert_allclose(
            result.predictions_["background", "background", 1][test], model.predict_proba(masked[test])[:, 1]
        )


# -- kinds of labels -----------------------------------------------------------------------------------------------
def test_names_as_classes():
    X, y = planted(["outside"])
    numbers = audit().fit(X, y)
    names = audit().fit(X, np.where(y == 1, "pneumonia", "healthy"))
    assert names.label_names_ == ["pneumonia"]
    np.testing.assert_allclose(numbers.matrix_, names.matrix_)


def test_several_classes():
    X, y = planted(["outside"], n=240, strength=3)
    rng = np.random.default_rng(1)
    third = rng.random(240) < 0.3
    images = np.asarray(X).copy()
    images[third, 4, 4] += 4  # the third class shows inside, the second outside
    y = np.where(third, "c", np.where(y == 1, "b", "a"))
    result = audit().fit(X.with_images(images), y)
    assert result.label_names_ == ["a", "b", "c"]
    assert result.matrix_.loc[("c", "roi"), "roi"] > 0.9
    assert result.verdicts_.loc["c", "status"] == "none"
    assert result.verdicts_.loc["b", "status"] == "shortcut"
    assert "b" in result.verdict_
    one = result.predictions_["all", "all", "b"]
    tested = result.fold_ == 0
    row = result.rows_.query("train == 'all' and test == 'all' and label == 'b' and fold == 0")
    assert row["auc"].item() == pytest.approx(roc_auc_score(y[tested] == "b", one[tested]))


@pytest.mark.parametrize("kind", ["frame", "array"])
def test_several_labels(kind):
    X, first = planted(["outside"], n=200, strength=3)
    second = np.random.default_rng(1).permutation(first)
    images = np.asarray(X).copy()
    images[:, 4, 4] += 3 * second
    y = np.column_stack([first, second])
    if kind == "frame":
        y = pd.DataFrame(y, columns=["effusion", "mass"])
    forest = make_pipeline(FunctionTransformer(flatten), RandomForestClassifier(20, max_features=None, max_depth=4))
    result = audit(forest, cv=3).fit(X.with_images(images), y)
    names = ["effusion", "mass"] if kind == "frame" else [0, 1]
    assert result.label_names_ == names
    assert result.verdicts_["status"].tolist() == ["shortcut", "none"]
    assert result.matrix_.loc[(names[1], "roi"), "roi"] > 0.9
    assert result.matrix_.loc[(names[1], "background"), "background"] < 0.7


def test_target_of_the_bunch():
    X, y = planted(["outside"])
    np.testing.assert_allclose(audit().fit(X.with_fields(target=y)).matrix_, audit().fit(X, y).matrix_)
    with pytest.raises(ValueError, match="requires y"):
        audit().fit(X)


# -- patients ------------------------------------------------------------------------------------------------------
def test_patients_stay_together_and_widen_the_intervals():
    X, y = planted(["outside"], n=60)
    rows = np.repeat(np.arange(60), 3)
    images = np.asarray(X)[rows] + 0.05 * np.random.default_rng(0).normal(size=(180, 8, 8))
    copies = ImageBunch(images, masks=X.masks[rows], groups=rows)
    result = audit(cv=3).fit(copies, y[rows])
    for patient in range(60):
        assert len(np.unique(result.fold_[rows == patient])) == 1
    assert (result.rows_["n_groups"] == 20).all()
    naive = audit(cv=[(np.flatnonzero(result.fold_ != f), np.flatnonzero(result.fold_ == f)) for f in range(3)]).fit(
        copies.with_fields(groups=None), y[rows]
    )
    np.testing.assert_allclose(naive.matrix_, result.matrix_)
    width = (result.cells_["high"] - result.cells_["low"])[0]
    assert width > 1.3 * (naive.cells_["high"] - naive.cells_["low"])[0]
    given = audit(cv=3).fit(copies.with_fields(groups=None), y[rows], groups=rows)
    pd.testing.assert_frame_equal(given.cells_, result.cells_)


def test_repeated_patients_without_groups_warn():
    X, y = planted(["outside"])
    table = pd.DataFrame({"patient_id": np.arange(160) // 2, "age": np.arange(160) % 7})
    with pytest.warns(UserWarning, match="patient_id"):
        result = audit().fit(X.with_fields(metadata=table), y)
    assert result.metadata_columns_ == ["age"]
    assert result.metadata_left_out_ == {"patient_id": "names the patient"}


# -- controls ------------------------------------------------------------------------------------------------------
def test_metadata_control():
    X, y = planted(["inside"])
    result = audit().fit(X, y)
    assert result.controls_missing_ == {"metadata": "there is no metadata"}
    table = pd.DataFrame({"scanner": np.where(np.arange(160) % 10 == 0, 1 - y, y).astype(str)})
    result = audit(controls=("metadata",)).fit(X, y, metadata=table)
    control = result.cells_.set_index("train").loc["metadata"]
    assert 0.8 < control["low"] < control["auc"] < 0.95
    assert not result.shortcut_found_  # metadata are reported beside the verdict
    result = audit(controls=("metadata",)).fit(X.with_fields(metadata=pd.DataFrame({"y": y})), y)
    assert result.controls_missing_ == {"metadata": "no column is left, see metadata_left_out_"}


def test_other_mask_shows_another_place():
    X, y = planted(["inside"], n=200)
    masks = np.asarray(X.masks).copy()
    masks[::2] = np.roll(masks[::2], 4, axis=2)  # half of the regions lie elsewhere
    result = audit(maskings=("roi",), controls=("other_mask",)).fit(X.with_fields(masks=masks), y)
    assert result.cells_.set_index("train").loc["other_mask", "auc"] > 0.6  # the signal is in half of the pictures


# -- dilation ------------------------------------------------------------------------------------------------------
def test_dilation_curve():
    X, y = planted(["inside"])
    result = audit(dilations=(-1, 0, 2, 8), controls=()).fit(X, y)
    curve = result.dilation_curve_.set_index(["kept", "dilated", "margin"])["auc"]
    assert curve["background", "all", 0] == pytest.approx(result.matrix_.loc["all", "background"])
    assert curve["roi", "all", 0] == pytest.approx(result.matrix_.loc["all", "roi"])
    assert curve["roi", "all", 8] == pytest.approx(result.matrix_.loc["all", "all"])
    assert curve["background", "all", 8] == 0.5  # nothing is left
    assert curve["background", "all", -1] > curve["background", "all", 0]  # the signal is at the edge of the region
    for kept in ("roi", "background"):
        assert curve[kept, "positive", -1] == curve[kept, "negative", -1] == curve[kept, "all", -1]
    # All pictures of one class are blank: the areas tell how a blank picture ranks, to opposite sides.
    blank = curve["background", "positive", 8], curve["background", "negative", 8]
    assert abs(blank[0] + blank[1] - 1) < 0.35
    assert ("all", "roi+2", 1) in result.predictions_.columns


# -- masks ---------------------------------------------------------------------------------------------------------
def middle(images):
    masks = np.zeros((len(images), 8, 8), dtype=bool)
    masks[:, 2:6, 2:6] = True
    return masks


@pytest.mark.parametrize("as_bunch", [True, False])
def test_masks_from_a_segmenter(as_bunch):
    X, y = planted(["inside"])
    images = X.with_fields(masks=None) if as_bunch else np.asarray(X)
    result = audit(masker=ROIMasker(segmenter=middle)).fit(images, y)
    np.testing.assert_allclose(result.matrix_, audit().fit(X, y).matrix_)
    np.testing.assert_allclose(result.kept_fraction_, 0.25)


def first_third(signals):
    return np.broadcast_to(np.arange(30) < 10, (len(signals), 30))


def test_segmented_signals():
    rng = np.random.default_rng(0)
    y = np.arange(100) % 2
    signals = rng.normal(size=(100, 2, 30))
    signals[:, 1, 20] += 2 * y
    result = audit(masker=ROIMasker(segmenter=first_third)).fit(ImageBunch(signals, signal=True), y)
    assert result.shortcut_found_
    assert result.image_shape_ == (2, 30)
    np.testing.assert_allclose(result.kept_fraction_, 1 / 3)
    assert result.matrix_.loc["roi", "background"] == 0.5


def test_masks_beside_arrays():
    X, y = planted(["inside"])
    expected = audit().fit(X, y).matrix_
    np.testing.assert_allclose(audit().fit(np.asarray(X), y, masks=np.asarray(X.masks)).matrix_, expected)
    flat = np.asarray(X).reshape(160, 64)
    np.testing.assert_allclose(audit().fit(flat, y, masks=np.asarray(X.masks).reshape(160, 64)).matrix_, expected)
    colored = np.repeat(np.asarray(X)[:, None], 3, axis=1)
    assert audit().fit(colored, y, masks=X.masks).image_shape_ == (3, 8, 8)


def test_no_masks():
    X, y = planted()
    with pytest.raises(ValueError, match=r"there are no masks.*segmenter"):
        audit().fit(np.asarray(X), y)


def test_rows_without_a_region():
    X, y = planted(["outside"])
    masks = list(np.asarray(X.masks))
    masks[7] = None
    X = X.with_fields(masks=masks)
    with pytest.raises(ValueError, match="row 7 has no region"):
        audit().fit(X, y)
    with pytest.raises(ValueError, match=r"row 7 has no region \(1 such rows\).*on_missing='fill'"):
        audit(masker=ROIMasker(on_missing="keep")).fit(X, y)
    result = audit(masker=ROIMasker(on_missing="fill")).fit(X, y)
    assert result.shortcut_found_
    assert result.kept_fraction_[7] == 0


def test_template_of_the_masker():
    X, y = planted(["inside"])
    result = audit(masker=ROIMasker(margin=2, fill="mean")).fit(X, y)
    assert (result.kept_fraction_ > 0.5).all()
    assert result.masker_.margin == 2


# -- estimators ----------------------------------------------------------------------------------------------------
def test_network_with_embeddings():
    X, y = planted(["outside"], n=60, strength=4)
    network = NeuralImageClassifier(SmallCNN(width=4, depth=1), max_epochs=3, lr=0.01, batch_size=16)
    result = audit(network, cv=2, controls=(), maskings=("all", "background")).fit(X, y)
    assert result.embeddings_missing_ is None
    table = result.embedding_similarity_
    assert table.index.tolist() == [("background", "all"), ("background", 0), ("background", 1)]
    assert table.loc[("background", "all"), "n"] == 60
    assert 0 < table.loc[("background", "all"), "cosine"] <= 1
    assert set(result.embedding_map_["masking"]) == {"all", "background"}
    assert len(result.embedding_map_) == 2 * (result.fold_ == 0).sum()
    again = audit(network, cv=2, controls=(), maskings=("all", "background")).fit(X, y)
    pd.testing.assert_frame_equal(result.predictions_, again.predictions_)
    assert network.random_state is None
    assert not hasattr(network, "classes_")


def test_default_network():
    X, y = planted(["outside"], n=24)
    result = RegionSensitivity(maskings=("background",), controls=(), cv=2, random_state=0).fit(X, y)
    assert result.matrix_.shape == (1, 1)
    assert "full image" in result.embeddings_missing_


def test_embeddings_that_are_not_there_are_explained():
    X, y = planted(["outside"])
    assert audit().fit(X, y).embeddings_missing_ == "LogisticRegression has no method 'embed'"
    assert audit(embeddings=False).fit(X, y).embeddings_missing_ == "embeddings=False"


def test_sample_weight():
    X, y = planted(["outside"])
    weight = np.random.default_rng(0).uniform(0.1, 5, 160)
    plain, given = audit().fit(X, y), audit().fit(X, y, sample_weight=weight)
    assert not np.allclose(plain.predictions_["all"], given.predictions_["all"])
    inside = audit().fit(X.with_fields(sample_weight=weight), y)
    pd.testing.assert_frame_equal(inside.predictions_, given.predictions_)
    neighbors = make_pipeline(FunctionTransformer(flatten), KNeighborsClassifier())
    with pytest.raises(ValueError, match="takes no sample_weight"):
        audit(neighbors).fit(np.asarray(X), y, masks=X.masks, sample_weight=weight)


def test_a_failing_fit_names_fold_and_masking():
    X, y = planted()
    broken = make_pipeline(FunctionTransformer(np.log, validate=False), linear())
    with np.errstate(invalid="ignore", divide="ignore"), pytest.raises(ValueError, match=r"NaN|infinity") as caught:
        audit(broken).fit(np.asarray(X) - 3, y, masks=X.masks)
    assert caught.value.__notes__ == ["(in fold 0 of the audit, trained on the masking 'all')"]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_spoilt_image_is_named_by_its_own_row(n_jobs):
    X, y = planted()
    images = np.array(X)
    images[57, 2, 3] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN: row 57"):
        audit(n_jobs=n_jobs).fit(X.with_images(images), y)


def test_predictions_are_found_by_cell():
    X, y = planted(["outside"])
    predictions = audit().fit(X, y).predictions_
    assert predictions["background", "background"].shape == (len(X), 1)  # warns where the columns are not sorted


def test_an_estimator_that_cannot_rank():
    with pytest.raises(ValueError, match="LinearRegression has neither predict_proba nor decision_function"):
        audit(LinearRegression()).fit(*planted())


# -- contract ------------------------------------------------------------------------------------------------------
def test_workers_change_nothing():
    X, y = planted(["outside"])
    forest = make_pipeline(FunctionTransformer(flatten), RandomForestClassifier(5))
    masker = ROIMasker(fill="noise")
    one = audit(forest, masker=masker).fit(X, y)
    two = audit(forest, masker=masker, n_jobs=2).fit(X, y)
    pd.testing.assert_frame_equal(one.predictions_, two.predictions_)
    pd.testing.assert_frame_equal(one.cells_, two.cells_)
    other = audit(forest, masker=masker, random_state=1).fit(X, y)
    assert not np.array_equal(one.fold_, other.fold_)


def test_bootstrap_intervals():
    X, y = planted(["outside"])
    delong, bootstrap = audit().fit(X, y), audit(interval="bootstrap", n_resamples=500).fit(X, y)
    np.testing.assert_allclose(bootstrap.matrix_, delong.matrix_)
    assert not np.allclose(bootstrap.cells_["low"], delong.cells_["low"])
    np.testing.assert_allclose(bootstrap.cells_["low"], delong.cells_["low"], atol=0.08)
    assert bootstrap.shortcut_found_


def test_pickle_and_clone():
    X, y = planted(["outside"])
    result = audit().fit(X, y)
    again = pickle.loads(pickle.dumps(result))
    pd.testing.assert_frame_equal(again.cells_, result.cells_)
    assert len(pickle.dumps(result)) < np.asarray(X).nbytes + 120_000  # tables, no images
    assert not hasattr(clone(result), "cells_")


def test_rows_given_stay_as_they_are():
    X, y = planted(["outside"])
    images, masks = np.asarray(X).copy(), np.asarray(X.masks).copy()
    audit(masker=ROIMasker(fill="mean")).fit(X, y)
    np.testing.assert_array_equal(np.asarray(X), images)
    np.testing.assert_array_equal(X.masks, masks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maskings": "all"}, "array-like"),
        ({"maskings": ()}, "name at least one"),
        ({"maskings": ("lungs",)}, "'lungs' is not one of"),
        ({"train_maskings": ("roi_box",)}, "'roi_box' is not one of"),
        ({"train_maskings": ()}, "or leave it None"),
        ({"controls": ("age",)}, "'age' is not one of"),
        ({"dilations": (0, 1), "train_maskings": ("roi",)}, "add 'all'"),
        ({"dilations": ()}, "at least one margin"),
        ({"cv": 1}, "cv"),
        ({"confidence_level": 1.0}, "confidence_level"),
    ],
)
def test_wrong_choices(options, message):
    with pytest.raises(ValueError, match=message):
        audit(**options).fit(*planted())


def test_trained_on_some_and_tested_on_more():
    result = audit(train_maskings=("all",)).fit(*planted(["outside"]))
    assert result.matrix_.shape == (1, 3)
    assert result.verdict_ == "Undecided: no model was trained and tested without the region of interest."


def test_progress(capsys):
    audit(verbose=1, controls=()).fit(*planted(["outside"]))
    assert "12/12" in capsys.readouterr().err


# -- rows on disk --------------------------------------------------------------------------------------------------
class CountedRows(RowSource):
    """Images that know how often they were read."""

    def __init__(self, images):
        self.array = images
        self.dtype = images.dtype
        self.reads = np.zeros(len(images), int)

    @property
    def shape(self):
        return self.array.shape

    def _read(self, rows):
        np.add.at(self.reads, rows, 1)
        return self.array[rows]


def test_every_image_is_decoded_once():
    X, y = planted(["outside"])
    images, masks = CountedRows(np.asarray(X)), CountedRows(np.asarray(X.masks).astype(np.uint8))
    result = audit(dilations=(0, 1)).fit(ImageBunch(images, masks=masks), y)
    assert (images.reads == 1).all()
    assert (masks.reads == 1).all()
    np.testing.assert_allclose(result.matrix_, audit().fit(X, y).matrix_)


def test_png_files_in_two_workers(tmp_path):
    from PIL import Image

    X, y = planted(["outside"])
    pixels = np.clip(np.asarray(X) * 30, 0, 255).astype(np.uint8)
    paths = [tmp_path / f"{row}.png" for row in range(len(y))]
    for path, image in zip(paths, pixels):
        Image.fromarray(image).save(path)
    lazy = ImageBunch(ImageFiles(paths, dtype="uint8"), masks=X.masks)
    cache = tmp_path / "cache"
    result = audit(n_jobs=2, cache_folder=cache).fit(lazy, y)
    np.testing.assert_allclose(result.matrix_, audit().fit(X.with_images(pixels), y).matrix_)
    stored = {path: path.stat().st_mtime_ns for path in cache.glob("*.npy")}
    assert stored
    audit(n_jobs=2, cache_folder=cache).fit(lazy, y)
    assert {path: path.stat().st_mtime_ns for path in cache.glob("*.npy")} == stored  # found, not decoded again
