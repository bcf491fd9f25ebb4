"""Scorers of subgroups against the functions they stand for, and in searches."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_validate

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.metrics import (
    expected_calibration_error,
    make_group_scorer,
    make_subgroups,
    subgroup_accuracy,
)


class Table(LogisticRegression):
    """Logistic regression on the pixels of bunches."""

    def fit(self, X, y):
        return super().fit(flat(X), y)

    def decision_function(self, X):
        return super().decision_function(flat(X))

    def predict_proba(self, X):
        return super().predict_proba(flat(X))


def flat(X):
    return np.asarray(X).reshape(len(X), -1)


def rows(n=200, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    tube = np.where(rng.random(n) < 0.8, y, 1 - y)
    images = rng.normal(size=(n, 2, 2))
    images[:, 0, 0] += 2 * tube
    images[:, 1, 1] += y
    metadata = pd.DataFrame({"view": rng.choice(["AP", "PA"], n)})
    return ImageBunch(images, artifact=tube, metadata=metadata, target=y), y, tube


@pytest.mark.parametrize("summary", ["worst", "gap", "average"])
@pytest.mark.parametrize("cross", [True, False])
def test_accuracy_is_that_of_the_function(summary, cross):
    bunch, y, tube = rows()
    model = Table().fit(bunch, y)
    names = make_subgroups(y, tube) if cross else tube
    expected = subgroup_accuracy(y, model.predict(bunch), subgroups=names, summary=summary)
    score = make_group_scorer("artifact", summary=summary, cross_with_label=cross)
    sign = -1 if summary == "gap" else 1
    assert score(model, bunch, y) == score(model, bunch) == sign * expected
    assert pickle.loads(pickle.dumps(score))(model, bunch) == sign * expected


def test_areas_and_calibration():
    bunch, y, _ = rows()
    model = Table().fit(bunch, y)
    view = bunch.get("metadata")["view"].to_numpy()
    p = model.predict_proba(bunch)[:, 1]
    areas = [roc_auc_score(y[view == name], p[view == name]) for name in ("AP", "PA")]
    shares = [(view == name).mean() for name in ("AP", "PA")]
    assert make_group_scorer("view", metric="auc")(model, bunch) == pytest.approx(min(areas))
    assert make_group_scorer("view", metric="auc", summary="gap")(model, bunch) == pytest.approx(-np.ptp(areas))
    average = make_group_scorer("view", metric="auc", summary="average")(model, bunch)
    assert average == pytest.approx(np.dot(areas, shares))
    errors = [expected_calibration_error(y[view == name], p[view == name]) for name in ("AP", "PA")]
    assert make_group_scorer("view", metric="calibration_error")(model, bunch) == pytest.approx(-max(errors))


def test_search_over_bunches_in_two_processes():
    bunch, y, _ = rows()
    scoring = {"worst": make_group_scorer("artifact"), "accuracy": "accuracy"}
    options = {"scoring": scoring, "refit": "worst", "cv": 3}
    one = GridSearchCV(Table(), {"C": [0.01, 1.0]}, **options).fit(bunch, y)
    two = GridSearchCV(Table(), {"C": [0.01, 1.0]}, n_jobs=2, **options).fit(bunch, y)
    np.testing.assert_array_equal(one.cv_results_["mean_test_worst"], two.cv_results_["mean_test_worst"])
    assert (one.cv_results_["mean_test_worst"] < one.cv_results_["mean_test_accuracy"]).all()


def test_subgroups_may_be_routed():
    bunch, y, tube = rows()
    table = flat(bunch)
    with sklearn.config_context(enable_metadata_routing=True):
        score = make_group_scorer().set_score_request(subgroups=True)
        routed = cross_validate(LogisticRegression(), table, y, scoring=score, cv=3, params={"subgroups": tube})
    expected = cross_validate(Table(), bunch, y, scoring=make_group_scorer("artifact"), cv=3)
    np.testing.assert_allclose(routed["test_score"], expected["test_score"])


def test_bad_input():
    bunch, y, _ = rows()
    model = Table().fit(bunch, y)
    with pytest.raises(ValueError, match="attribute='scanner' is neither a field of the rows nor"):
        make_group_scorer("scanner")(model, bunch)
    with pytest.raises(ValueError, match="X must be an ImageBunch with it, or give subgroups"):
        make_group_scorer()(model, flat(bunch), y)
    with pytest.raises(ValueError, match="there are no labels"):
        make_group_scorer()(model, bunch.with_fields(target=None))
    with pytest.raises(ValueError, match="has one class only, so that it has no AUC"):
        make_group_scorer("target", metric="auc")(model, bunch)
    with pytest.raises(ValueError, match="one label per row, but y has 2 columns"):
        make_group_scorer()(model, bunch, np.stack([y, y], axis=1))
    with pytest.raises(ValueError, match="'calibration_error' needs predict_proba, which RidgeClassifier lacks"):
        make_group_scorer("view", metric="calibration_error")(RidgeClassifier().fit(flat(bunch), y), bunch, y)
    three = Table().fit(bunch, np.arange(200) % 3)
    with pytest.raises(ValueError, match="needs two classes, but there are 3"):
        make_group_scorer("view", metric="auc")(three, bunch, np.arange(200) % 3)
