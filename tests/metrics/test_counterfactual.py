"""Scores after exchanging or removing regions, for models of which it is known what they read."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.metrics import (
    auc_interval,
    flip_rate,
    make_counterfactual_scorer,
    region_removal_auc,
    region_swap_accuracy,
)
from sklearn_shortcuts.preprocessing import ROIMasker
from tests.audit.planted import flatten
from tests.metrics.readers import INSIDE, OUTSIDE, Reader, make_rows


def pairs_alike(y, patients=None):
    """Share of donors with the same class, over all donors that each row may have."""
    patients = np.arange(len(y)) if patients is None else patients
    allowed = patients[:, None] != patients
    return np.mean([(y[allowed[row]] == y[row]).mean() for row in range(len(y))])


def test_model_that_reads_the_region_has_the_label_of_the_donor():
    bunch, y = make_rows(n=60, n_classes=3)
    model = Reader(INSIDE, classes=[0, 1, 2])
    score = region_swap_accuracy(model, bunch, n_draws=200, random_state=0)
    assert score.original == 1
    assert score.value == pytest.approx(pairs_alike(y), abs=0.02)  # 12000 draws
    assert region_swap_accuracy(model, bunch, how="other_class", random_state=0).value == 0
    assert flip_rate(model, bunch, random_state=0).value == 1
    assert flip_rate(model, bunch, how="any", n_draws=200, random_state=0).value == pytest.approx(
        1 - pairs_alike(y), abs=0.02
    )


def test_model_that_reads_elsewhere_does_not_change():
    bunch, _ = make_rows()
    model = Reader(OUTSIDE)
    assert region_swap_accuracy(model, bunch, random_state=0).value == 1
    assert flip_rate(model, bunch, random_state=0).value == 0
    # The masks show what should matter: now all around them is exchanged.
    assert region_swap_accuracy(model, bunch, how="other_class", mask_role="attend", random_state=0).value == 0
    assert flip_rate(Reader(INSIDE), bunch, mask_role="attend", random_state=0).value == 0


def test_content_does_not_come_from_the_same_patient():
    bunch, y = make_rows(n=40)
    patients = np.argsort(np.argsort(y, kind="stable")) // 10  # four patients with ten rows of one class each
    model = Reader(INSIDE)
    score = region_swap_accuracy(model, bunch, groups=patients, n_draws=200, random_state=0)
    assert score.value == pytest.approx(1 / 3, abs=0.02)
    assert score.n_groups == 4


def test_scores_are_averages_over_draws_of_the_rows():
    bunch, _ = make_rows(n=30)
    score = region_swap_accuracy(Reader(INSIDE), bunch, n_draws=4, random_state=5)
    assert set(np.unique(score.scores)) <= {0, 0.25, 0.5, 0.75, 1}
    assert float(score) == score.value == pytest.approx(score.scores.mean())
    assert score.low < score.value < score.high
    again = region_swap_accuracy(Reader(INSIDE), bunch, n_draws=4, random_state=5)
    np.testing.assert_array_equal(score.scores, again.scores)
    assert (score.low, score.high) == (again.low, again.high)


@pytest.mark.parametrize(
    "measure",
    [partial(region_swap_accuracy, content="place"), partial(flip_rate, content="region"), region_removal_auc],
)
def test_rows_without_a_region_are_left_out_and_counted(measure):
    bunch, _ = make_rows(n=30, noise=0.3)
    masks = list(np.asarray(bunch.masks))
    masks[3], masks[4], masks[9] = None, np.zeros((8, 8)), None
    some = bunch.with_fields(masks=masks)
    score = measure(Reader(INSIDE), some, random_state=0)
    assert (score.n_used, score.n_missing, score.n_empty, score.n_groups) == (27, 2, 1, 27)
    kept = np.setdiff1d(np.arange(30), [3, 4, 9])
    alone = measure(Reader(INSIDE), bunch[kept], random_state=0)
    assert (score.value, score.low, score.high, score.original) == (alone.value, alone.low, alone.high, alone.original)
    if score.scores is not None:
        np.testing.assert_array_equal(score.scores[kept], alone.scores)
        assert np.isnan(score.scores[[3, 4, 9]]).all()


def test_an_artifact_is_exchanged_with_its_absence():
    """Who goes by its presence passes unless rows without it take part."""
    shown = np.repeat([1, 0], 20)
    images = np.zeros((40, 8, 8))
    masks = np.zeros((40, 8, 8), dtype=bool)
    masks[shown == 1, :3, :3] = True
    images[masks] = 1
    bunch = ImageBunch(images, masks=masks, target=shown)
    assert flip_rate(Reader(INSIDE), bunch, random_state=0).value == 1
    score = region_swap_accuracy(Reader(INSIDE), bunch, n_draws=200, random_state=0)
    assert score.value == pytest.approx(19 / 39, abs=0.01)
    assert (score.n_used, score.n_empty) == (40, 0)
    assert make_counterfactual_scorer()(Reader(INSIDE), bunch) == pytest.approx(19 / 39, abs=0.1)
    for content in ("place", "region"):
        passed = region_swap_accuracy(Reader(INSIDE), bunch, content=content, random_state=0)
        assert (passed.value, passed.n_used, passed.n_empty) == (1, 20, 20)
    everywhere = region_swap_accuracy(Reader(INSIDE), bunch.with_fields(masks=masks[:1].repeat(40, 0)), n_draws=200)
    assert everywhere.value == pytest.approx(19 / 39, abs=0.01)


def test_rows_that_are_left_out_need_no_label():
    bunch, y = make_rows(n=30)
    masks = list(np.asarray(bunch.masks))
    masks[3] = None
    y = y.astype(float)
    y[3] = np.nan
    assert region_swap_accuracy(Reader(OUTSIDE), bunch.with_fields(masks=masks, target=None), y).value == 1
    assert flip_rate(Reader(OUTSIDE), bunch.with_fields(masks=masks, target=None), y).value == 0


def test_flip_rate_without_labels():
    bunch, _ = make_rows()
    unlabeled = bunch.with_fields(target=None)
    assert flip_rate(Reader(OUTSIDE), unlabeled, how="any").value == 0
    with pytest.raises(ValueError, match="needs to know the classes"):
        flip_rate(Reader(OUTSIDE), unlabeled)


def test_several_labels_count_their_shares():
    rng = np.random.default_rng(0)
    codes = rng.permutation(np.arange(40) % 4)
    bunch = make_rows(n=40)[0]
    images = np.asarray(bunch).copy()
    images[:, 1, 1] = images[:, 5, 5] = codes
    labels = pd.DataFrame({"a": codes & 1, "b": codes >> 1})
    bunch = bunch.with_images(images, target=labels)
    model = Reader(INSIDE, classes=range(4), columns=2)
    score = region_swap_accuracy(model, bunch, n_draws=100, random_state=0)
    assert score.original == 1
    assert score.value == pytest.approx((pairs_alike(codes & 1) + pairs_alike(codes >> 1)) / 2, abs=0.02)
    # Of the three other codes two differ in one label and one in both.
    assert flip_rate(model, bunch, n_draws=100, random_state=0).value == pytest.approx(2 / 3, abs=0.02)


def test_arrays_tables_and_text():
    rng = np.random.default_rng(0)
    y = np.repeat(["absent", "present"], 40)
    table = rng.normal(size=(80, 6))
    table[:, 5] += 20 * (y == "present")
    masks = np.tile(np.arange(6) == 5, (80, 1))
    model = LogisticRegression().fit(table, y)
    assert region_swap_accuracy(model, table, y, masks=masks, how="other_class", random_state=0).value == 0
    assert region_swap_accuracy(model, table, y, masks=masks, random_state=0).original == 1
    assert region_removal_auc(model, table, y, masks=masks, fill="zero").value < 0.8


@pytest.mark.parametrize("fill", ["zero", "mean", "noise", "shuffle", "blur", 3.0])
@pytest.mark.parametrize("mask_role", ["avoid", "attend"])
def test_removal_fills_as_the_masker_does(fill, mask_role):
    bunch, y = make_rows(n=40, noise=0.4)
    seen = []

    class Recording(Reader):
        def predict_proba(self, X):
            seen.append(np.asarray(X))
            return super().predict_proba(X)

    region_removal_auc(Recording(OUTSIDE), bunch, y, fill=fill, mask_role=mask_role, random_state=0)
    masker = ROIMasker("background" if mask_role == "avoid" else "roi", fill=fill).fit(bunch)
    masker.seed_ = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    np.testing.assert_array_equal(seen[0], np.asarray(masker.transform(bunch)))
    np.testing.assert_array_equal(seen[1], np.asarray(bunch))


@pytest.mark.parametrize("grouped", [False, True])
def test_removal_auc_has_the_interval_of_delong(grouped):
    bunch, y = make_rows(n=80, noise=0.6)
    groups = np.arange(80) // 2 if grouped else None
    model = Reader(OUTSIDE)
    score = region_removal_auc(model, bunch, groups=groups)
    expected = auc_interval(y, model.predict_proba(bunch)[:, 1], groups=groups)
    assert (score.value, score.low, score.high) == pytest.approx(expected[:3])
    assert score.original == score.value
    assert score.scores is None
    assert region_removal_auc(Reader(INSIDE), bunch, fill="zero").value == 0.5


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_removal_auc_averages_classes_and_labels(kind):
    bunch, y = make_rows(n=90, n_classes=3, noise=0.7)
    model, answers = Reader(OUTSIDE, classes=[0, 1, 2]), y[:, None] == np.arange(3)
    if kind == "labels":
        y = answers = np.stack([y == 0, y > 0, y == 2], axis=1).astype(int)
        learned = OneVsRestClassifier(LogisticRegression(max_iter=5000)).fit(flatten(bunch), y)
        model = make_pipeline(FunctionTransformer(flatten), learned)
    score = region_removal_auc(model, bunch, y, fill="shuffle", random_state=0)
    expected = [auc_interval(answer, column).auc for answer, column in zip(answers.T, model.predict_proba(bunch).T)]
    assert score.original == pytest.approx(np.mean(expected))
    assert score.low < score.value < score.high


def test_one_patient_has_no_interval():
    bunch, _ = make_rows(n=10)
    score = flip_rate(Reader(OUTSIDE), bunch, how="any")
    assert (score.low, score.high) == (0, pytest.approx(1 - 0.025 ** (1 / 10)))
    bunch = ImageBunch(np.asarray(bunch)[:1].repeat(2, axis=0), masks=np.ones((2, 8, 8)), target=[0, 0])
    with pytest.raises(ValueError, match="of another patient"):
        flip_rate(Reader(OUTSIDE), bunch, how="any", groups=["a", "a"])


def test_bad_input():
    bunch, y = make_rows(n=20)
    model = Reader(INSIDE)
    with pytest.raises(ValueError, match="there are no masks"):
        region_swap_accuracy(model, bunch.with_fields(masks=None))
    with pytest.raises(ValueError, match="no row has a region: 20 rows have no mask"):
        region_swap_accuracy(model, bunch.with_fields(masks=np.full((20, 8, 8), np.nan)))
    with pytest.raises(ValueError, match="no row has a region: 0 rows have no mask, and the region of 20 is empty"):
        region_swap_accuracy(model, bunch.with_fields(masks=np.ones((20, 8, 8))), mask_role="attend")
    with pytest.raises(ValueError, match="there are no labels"):
        region_swap_accuracy(model, bunch.with_fields(target=None))
    with pytest.raises(ValueError, match="y has 3 rows, but X has 20"):
        region_swap_accuracy(model, bunch, y[:3])
    with pytest.raises(ValueError, match=r"predicts labels of type int64, but y is of type <U"):
        region_swap_accuracy(model, bunch, y.astype(str))
    with pytest.raises(ValueError, match=r"predicts labels of shape \(20,\), but y has shape \(20, 2\)"):
        region_swap_accuracy(model, bunch, np.stack([y, y], axis=1))
    with pytest.raises(ValueError, match=r"all of the 10 rows are 1: an AUC needs rows with and without"):
        region_removal_auc(model, bunch[y == 1])
    with pytest.raises(ValueError, match=r"has the class 2, but the estimator knows the classes \[0, 1\]"):
        region_removal_auc(model, bunch, y + 1)
    with pytest.raises(ValueError, match='give how="any"'):
        flip_rate(model, bunch[y == 1])
    without = [None if row < 3 else mask for row, mask in enumerate(np.asarray(bunch.masks))]
    with pytest.raises(ValueError, match="row 3 has no other row of another patient"):
        region_swap_accuracy(model, bunch.with_fields(masks=without, groups=np.zeros(20)))
    assert region_swap_accuracy(model, bunch[y == 1]).value == 1  # one class: its own content, always right
