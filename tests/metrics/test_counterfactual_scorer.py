"""Counterfactual scorers in searches and cross-validation."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, PredefinedSplit, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts.metrics import (
    flip_rate,
    make_counterfactual_scorer,
    region_removal_auc,
    region_swap_accuracy,
)
from tests.audit.planted import linear
from tests.metrics.readers import INSIDE, OUTSIDE, Reader, make_rows

METRICS = {
    "region_swap_accuracy": region_swap_accuracy,
    "flip_rate": flip_rate,
    "region_removal_auc": region_removal_auc,
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("place", [INSIDE, OUTSIDE])
def test_scorer_gives_the_value_of_the_function(metric, place):
    bunch, y = make_rows(noise=0.5)
    score = METRICS[metric](Reader(place), bunch, y, random_state=7).value
    scorer = make_counterfactual_scorer(metric, random_state=7)
    assert scorer(Reader(place), bunch, y) == pytest.approx(-score if metric == "flip_rate" else score)
    assert scorer(Reader(place), bunch) == scorer(Reader(place), bunch, y)
    assert isinstance(scorer(Reader(place), bunch, y), float)
    assert pickle.loads(pickle.dumps(scorer))(Reader(place), bunch, y) == scorer(Reader(place), bunch, y)


@pytest.mark.parametrize("metric", METRICS)
def test_the_honest_model_scores_higher(metric):
    bunch, y = make_rows(noise=0.2)
    scorer = make_counterfactual_scorer(metric)
    assert scorer(Reader(OUTSIDE), bunch, y) > scorer(Reader(INSIDE), bunch, y)


def columns(X, region=True):
    """The pixels of the region, or those outside it."""
    images = np.asarray(X).reshape(len(X), 8, 8)
    return images[:, :3, :3].reshape(len(X), -1) if region else images[:, 3:].reshape(len(X), -1)


def test_search_chooses_the_model_that_does_not_use_the_region():
    bunch, y = make_rows(n=80, noise=0.3)
    reader = FunctionTransformer(columns, kw_args={"region": True})
    model = make_pipeline(reader, linear()[1:])
    grid = {"functiontransformer__kw_args": [{"region": True}, {"region": False}]}
    scoring = {metric: make_counterfactual_scorer(metric) for metric in METRICS}
    searches = [
        GridSearchCV(clone(model), grid, scoring=scoring, refit="region_swap_accuracy", cv=3, n_jobs=jobs)
        for jobs in (None, 2)
    ]
    for search in searches:
        search.fit(bunch, y)
        assert search.best_params_["functiontransformer__kw_args"] == {"region": False}
    one, two = (pd.DataFrame(search.cv_results_).filter(like="test_") for search in searches)
    pd.testing.assert_frame_equal(one, two)


def test_rows_without_masks_and_patients_in_folds():
    bunch, y = make_rows(n=60)
    masks = list(np.asarray(bunch.masks))
    masks[::3] = [None] * 20
    bunch = bunch.with_fields(masks=masks, groups=np.arange(60) // 2)
    results = cross_validate(
        linear(), bunch, y, groups=bunch.groups, cv=GroupKFold(3), scoring=make_counterfactual_scorer("flip_rate")
    )
    assert (results["test_score"] <= 0).all()


def test_folds_of_one_class():
    bunch, y = make_rows(n=40)
    fold = np.where(y == 1, np.arange(40) % 2, -1)  # test rows are all of class 1
    options = {"X": bunch, "y": y, "cv": PredefinedSplit(fold)}
    swap = cross_validate(linear(), **options, scoring=make_counterfactual_scorer())
    assert np.isfinite(swap["test_score"]).all()
    for metric, message in (("flip_rate", "of another class"), ("region_removal_auc", "AUC needs rows")):
        with pytest.warns(UserWarning, match=message):
            results = cross_validate(linear(), **options, scoring=make_counterfactual_scorer(metric))
        assert np.isnan(results["test_score"]).all()
    anyone = cross_validate(linear(), **options, scoring=make_counterfactual_scorer("flip_rate", how="any"))
    assert np.isfinite(anyone["test_score"]).all()


def test_several_labels():
    bunch, y = make_rows(n=60, noise=0.3)
    labels = np.stack([y, np.arange(60) % 2], axis=1)
    model = make_pipeline(FunctionTransformer(columns), KNeighborsClassifier(3))
    for metric in METRICS:
        results = cross_validate(model, bunch, labels, cv=3, scoring=make_counterfactual_scorer(metric))
        assert np.isfinite(results["test_score"]).all()


def test_bad_input():
    bunch, y = make_rows(n=20)
    with pytest.raises(ValueError, match="region_removal_auc has no option 'how'; it has"):
        make_counterfactual_scorer("region_removal_auc", how="any")
    with pytest.raises(ValueError, match="The 'n_draws' parameter of make_counterfactual_scorer"):
        make_counterfactual_scorer(n_draws=0)
    with pytest.raises(ValueError, match="The 'random_state' parameter of make_counterfactual_scorer"):
        make_counterfactual_scorer(random_state=-1)
    with pytest.raises(ValueError, match="The 'metric' parameter"):
        make_counterfactual_scorer("accuracy")
    with pytest.raises(ValueError, match="X must be an ImageBunch with the field 'masks', not ndarray"):
        make_counterfactual_scorer()(Reader(INSIDE), np.asarray(bunch), y)
    with pytest.raises(ValueError, match="there are no masks"):
        make_counterfactual_scorer()(Reader(INSIDE), bunch.with_fields(masks=None), y)
    assert repr(make_counterfactual_scorer("region_removal_auc", fill=2.0)) == (
        "make_counterfactual_scorer('region_removal_auc', mask_role='avoid', fill=2.0, blur_sigma=0.0625, "
        "random_state=0)"
    )
