"""Labels judged by models that have not seen their rows."""

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.mitigation import BAMHardSampleMiner, label_quality
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

from .planted_groups import draw, small_network

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
FIELDS = (*METHODS, "probability", "prediction", "label_issue")


def flipped_rows(n_classes=2, n=120, seed=0):
    """Rows, labels of which some are wrong, and which."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % n_classes
    X = rng.normal(size=(n, n_classes)) + 4 * (truth[:, None] == np.arange(n_classes))
    wrong = rng.random(n) < 0.1
    return X, np.where(wrong, (truth + 1) % n_classes, truth), wrong


class Memory(ClassifierMixin, BaseEstimator):
    """Is sure of the label of every row that it has seen, and knows nothing of the others."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.seen_ = {float(row[0]): label for row, label in zip(X, y)}
        return self

    def predict_proba(self, X):
        labels = [self.seen_.get(float(row[0])) for row in X]
        return np.array([[0.5, 0.5] if label is None else 1.0 * (self.classes_ == label) for label in labels])


@pytest.mark.parametrize("n_classes", [2, 4])
def test_probabilities_are_those_of_cross_val_predict(n_classes):
    X, y, _ = flipped_rows(n_classes)
    names = np.array(["a", "b", "c", "d"])[y]
    cv = StratifiedKFold(4)
    table = label_quality(LogisticRegression(), X, names, cv=cv)
    expected = cross_val_predict(LogisticRegression(), X, names, cv=cv, method="predict_proba")
    np.testing.assert_allclose(table["probability"], expected[np.arange(len(y)), y], rtol=1e-12)
    np.testing.assert_array_equal(table["prediction"], np.array(["a", "b", "c", "d"])[expected.argmax(axis=1)])
    assert tuple(table) == ("label", *FIELDS)
    assert table[list(METHODS)].stack().between(0, 1).all()


def test_wrong_labels_have_low_scores_and_are_issues():
    X, y, wrong = flipped_rows(3, n=600)
    table = label_quality(LogisticRegression(), X, y, random_state=0)
    for name in METHODS:
        assert roc_auc_score(~wrong, table[name]) > 0.97
    assert (table["label_issue"] & wrong).sum() >= 0.75 * wrong.sum()
    assert (table["label_issue"] & ~wrong).sum() <= 0.01 * len(y)


def test_no_model_has_seen_the_row_or_another_one_of_the_patient():
    patient = np.arange(40) // 4
    X, y = patient[:, None].astype(float), patient % 2
    alone = label_quality(Memory(), X, y, groups=patient, random_state=0)
    assert (alone["probability"] == 0.5).all()
    together = label_quality(Memory(), X, y, random_state=0)
    assert (together["probability"] == 1).all()  # other rows of the patient have told the model
    bunch = ImageBunch(X[:, None, None], target=y, groups=patient)
    network = NeuralImageClassifier(SmallCNN(4, depth=1), max_epochs=1, random_state=0)
    assert label_quality(network, bunch, cv=GroupKFold(5))["probability"].notna().all()
    with pytest.raises(ValueError, match=r"cv puts the patient \(group\) of row 8 into both the training and the test"):
        label_quality(network, bunch, cv=StratifiedKFold(4))


def test_rows_without_weight_are_absent():
    X, y, _ = flipped_rows()
    X, weight = X.copy(), np.ones(len(y))
    weight[::10] = 0
    X[::10] = 1e6  # would ruin every model
    table = label_quality(LogisticRegression(), X, y, sample_weight=weight, cv=StratifiedKFold(3))
    used = weight > 0
    alone = label_quality(LogisticRegression(), X[used], y[used], cv=StratifiedKFold(3))
    columns = [*METHODS, "probability"]
    np.testing.assert_allclose(table.loc[used, columns], alone[columns], rtol=1e-7)
    assert table.loc[~used, list(FIELDS[:-1])].isna().all().all()
    assert not table["label_issue"][~used].any()
    assert (table["label"] == y).all()


def test_weights_reach_the_estimator():
    X, y, _ = flipped_rows()
    weight = np.where(y == 1, 5.0, 1.0)
    cv = StratifiedKFold(3)
    given = label_quality(LogisticRegression(), X, y, sample_weight=weight, cv=cv)
    expected = cross_val_predict(
        LogisticRegression(), X, y, cv=cv, method="predict_proba", params={"sample_weight": weight}
    )
    np.testing.assert_allclose(given["probability"], expected[np.arange(len(y)), y], rtol=1e-12)
    images = X[:, None, None].astype(np.float32)
    network = NeuralImageClassifier(SmallCNN(4, depth=1), max_epochs=2, random_state=0)
    as_field = ImageBunch(images, target=y, sample_weight=weight)
    pipeline = make_pipeline(FunctionTransformer(), network)
    tables = [
        label_quality(network, as_field, cv=cv),
        label_quality(network, images, y, sample_weight=weight, cv=cv),
        label_quality(pipeline, ImageBunch(images), y, sample_weight=weight, cv=cv),
    ]
    for other in tables[1:]:
        pd.testing.assert_frame_equal(tables[0], other)
    assert not np.allclose(tables[0]["probability"], label_quality(network, images, y, cv=cv)["probability"])
    with pytest.raises(ValueError, match="sample_weight cannot be handed to Pipeline"):
        label_quality(make_pipeline(StandardScaler(), LogisticRegression()), X, y, sample_weight=weight)


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(20, random_state=0),
        MultiOutputClassifier(LogisticRegression()),
        NeuralImageClassifier(SmallCNN(8, depth=1), max_epochs=15, lr=0.03, batch_size=16, random_state=0),
    ],
    ids=lambda one: type(one).__name__,
)
def test_several_labels_are_judged_one_by_one(estimator):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (150, 2))
    X = rng.normal(size=(150, 2)) + 4 * truth
    wrong = rng.random((150, 2)) < 0.1
    y = pd.DataFrame(np.where(wrong, 1 - truth, truth), columns=["effusion", "edema"])
    table = label_quality(estimator, X, y, cv=3, random_state=0)
    assert table.columns.get_level_values(0).unique().tolist() == ["effusion", "edema"]
    for column, name in enumerate(y):
        one = table[name]
        assert tuple(one) == ("label", *FIELDS)
        np.testing.assert_array_equal(one["label"], y[name])
        assert roc_auc_score(~wrong[:, column], one["normalized_margin"]) > 0.9
        assert one["label_issue"].sum() > 5
        assert ((one["probability"] >= 0.5) == (one["prediction"] == one["label"])).mean() > 0.98


def test_repeated_folds_are_averaged_and_untested_rows_have_none():
    X, y, _ = flipped_rows()
    cv = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    twice = label_quality(LogisticRegression(), X, y, cv=cv)["probability"]
    splits = list(cv.split(X, y))
    parts = [label_quality(LogisticRegression(), X, y, cv=some)["probability"] for some in (splits[:3], splits[3:])]
    np.testing.assert_allclose(twice, np.mean(parts, axis=0), rtol=1e-12)
    once = label_quality(LogisticRegression(), X, y, cv=ShuffleSplit(1, test_size=0.25, random_state=0))
    assert once["probability"].notna().sum() == 30
    assert once["prediction"].notna().sum() == 30


def test_same_state_same_table_one_fold_or_two_at_a_time():
    X, y, _ = flipped_rows()
    X.setflags(write=False)
    one = label_quality(LogisticRegression(), X, y, random_state=3)
    with joblib.parallel_config("threading"):  # new processes take seconds to import torch
        two = label_quality(LogisticRegression(), pd.DataFrame(X), list(y), random_state=3, n_jobs=2)
    pd.testing.assert_frame_equal(one, two)
    other = label_quality(LogisticRegression(), X, y, random_state=4)
    assert not np.allclose(one["probability"], other["probability"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_hard_and_mislabeled_rows_come_apart(seed):
    """Right labels of rows against the shortcut are hard, but doubted only by a model that follows the shortcut."""
    X, y, against = draw(1000, 0.95, seed)
    wrong = np.random.default_rng(1).random(1000) < 0.05
    given = np.where(wrong, 1 - y, y)
    odd, mislabeled, clean = against & ~wrong, wrong & ~against, ~wrong & ~against
    scores = BAMHardSampleMiner(small_network(), stage_one_epochs=15, stage_two_epochs=0).fit(X, given).sample_scores_
    for kind in (odd, mislabeled):
        assert roc_auc_score(kind[kind | clean], scores[kind | clean]) > 0.95
    follows = label_quality(LogisticRegression(), X, given, random_state=0)["label_issue"]
    cannot = label_quality(LogisticRegression(), np.delete(X, 1, axis=1), given, random_state=0)["label_issue"]
    assert follows[odd].mean() > 0.25 > 0.12 > cannot[odd].mean()
    assert cannot[mislabeled].mean() > 4 * cannot[odd].mean()
    assert follows[mislabeled].mean() > 0.75


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("margin",)}, "must name at least one of"),
        ({"methods": ()}, "must name at least one of"),
        ({"cv": 1}, "cv=1 must be from 2 to the number of rows, 120|'cv' parameter"),
        ({"cv": 100}, "cv=100 is more than the rows of any class"),
        ({"groups": np.zeros(120)}, r"cv=5 must be from 2 to the number of patients \(groups\), 1"),
        ({"groups": np.arange(119)}, "groups has 119 rows, but X has 120"),
        ({"groups": np.r_[np.arange(119.0), np.nan]}, "row 119 has no group"),
        ({"y": np.zeros(119)}, "y has 119 rows, but X has 120"),
        ({"y": np.r_[1, np.zeros(119)]}, "the training part of fold . has no rows of class 1"),
        ({"y": np.c_[np.zeros(120), np.arange(120) % 2]}, "the label 0 has the same value in all rows"),
        ({"estimator": FrozenEstimator(LogisticRegression())}, "is frozen and would not be trained"),
        ({"cv": KFold(2), "y": np.arange(120) // 60}, "the training part of fold 0 has no rows of class 0"),
    ],
)
def test_what_may_go_wrong(options, message):
    X, y, _ = flipped_rows()
    options = {"estimator": LogisticRegression(), "y": y, "random_state": 0, **options}
    with pytest.raises(ValueError, match=message):
        label_quality(X=X, **options)


def test_an_estimator_without_probabilities():
    class Decider(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            return self

    with pytest.raises(TypeError, match="'predict_proba'"):
        label_quality(Decider(), np.zeros((4, 1)), [0, 1, 0, 1])


def test_probabilities_that_are_none():
    class Odd(Memory):
        def predict_proba(self, X):
            return super().predict_proba(X) * 3

    X, y, _ = flipped_rows()
    with pytest.raises(ValueError, match="must give probabilities of shape"):
        label_quality(Odd(), X, y)
