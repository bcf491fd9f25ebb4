"""imbalanced-learn's own checks, and what is selected."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from imblearn.pipeline import make_pipeline
from imblearn.utils.estimator_checks import estimator_checks_generator
from sklearn import config_context, pipeline
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.preprocessing import AcquisitionBalancer, AcquisitionResampler
from tests.instances import instances
from tests.preprocessing.cohorts import simulate

STRATEGIES = ["undersample", "oversample", "match"]
CHECKED = instances()["AcquisitionResampler"]


def imblearn_checks():
    for sampler in CHECKED:
        for estimator, check in estimator_checks_generator(sampler):
            yield pytest.param(estimator, check, id=f"{sampler.strategy}-{check.func.__name__}")


@pytest.mark.parametrize(("estimator", "check"), [*imblearn_checks()])
def test_contract_of_imbalanced_learn(estimator, check):
    state = np.random.get_state()  # its checks draw from it
    try:
        check(estimator)
    finally:
        np.random.set_state(state)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_labels_and_covariates_are_alike_in_what_is_selected(strategy):
    acquisition, label, covariates, _ = simulate(n=600)
    X = covariates.assign(scanner=acquisition)
    sampler = AcquisitionResampler(
        strategy, acquisition="scanner", covariates=["age", "sex"], on_empty="drop", random_state=0
    )
    resampled, y = sampler.fit_resample(X, label)
    pd.testing.assert_frame_equal(resampled, X.iloc[sampler.sample_indices_])
    np.testing.assert_array_equal(y, label[sampler.sample_indices_])
    counts = pd.crosstab(resampled["scanner"], y)
    np.testing.assert_array_equal(counts.loc["GE"], counts.loc["Siemens"])
    assert sampler.sampling_strategy_ == {0: 2 * counts.loc["GE", 0], 1: 2 * counts.loc["GE", 1]}
    smd = sampler.balance_table_.xs("smd", level="statistic")
    assert (smd.loc[["age", "sex"], "before"] > 0.3).all()
    assert (smd["after"] < 0.1).all()
    # the same rows as the transformer weighs
    balancer = AcquisitionBalancer(**sampler.get_params()).fit(X, label)
    np.testing.assert_array_equal(balancer.sample_indices_, sampler.sample_indices_)


def test_patients_stay_together_and_are_told():
    acquisition, label, _, _ = simulate(1, n=200)
    patients = np.repeat(np.arange(200), 3)
    bunch = ImageBunch(np.zeros((600, 2, 2)), groups=patients, acquisition=acquisition[patients])
    sampler = AcquisitionResampler(acquisition="acquisition", random_state=0)
    resampled, y = sampler.fit_resample(bunch, label[patients])
    assert isinstance(resampled, ImageBunch)
    np.testing.assert_array_equal(sampler.groups_resampled_, resampled.groups)
    assert (np.unique(resampled.groups, return_counts=True)[1] == 3).all()
    counts = pd.crosstab(resampled.acquisition, y).to_numpy()
    np.testing.assert_array_equal(counts[0], counts[1])


def test_in_pipelines_and_searches_of_imbalanced_learn():
    acquisition, label, covariates, outcome = simulate(2, n=400)
    X = pd.DataFrame({"scanner": (acquisition == "Siemens").astype(int), "age": covariates["age"], "value": outcome})
    pipe = make_pipeline(AcquisitionResampler(acquisition="scanner", random_state=0), LogisticRegression(max_iter=1000))
    search = GridSearchCV(
        pipe,
        {"acquisitionresampler": [pipe[0], AcquisitionResampler("oversample", acquisition="scanner"), "passthrough"]},
        cv=3,
    ).fit(X, label)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    naive = LogisticRegression(max_iter=1000).fit(X, label)
    assert abs(pipe.fit(X, label)[-1].coef_[0, 0]) < abs(naive.coef_[0, 0]) / 2  # what the scanner is worth
    with config_context(enable_metadata_routing=True):
        sampler = AcquisitionResampler(random_state=0).set_fit_request(acquisition=True)
        sampler.set_fit_resample_request(acquisition=True)
        by_name = make_pipeline(sampler, LogisticRegression(max_iter=1000)).fit(X, label, acquisition=acquisition)
    np.testing.assert_allclose(by_name[-1].coef_, pipe[-1].coef_)
    assert len(cross_val_score(pipe, X, label, cv=StratifiedKFold(3))) == 3
    with pytest.raises(TypeError, match="transform"):
        pipeline.make_pipeline(AcquisitionResampler(acquisition="scanner"), LogisticRegression()).fit(X, label)


def test_it_needs_no_imbalanced_learn():
    code = (
        "import sys; sys.modules['imblearn'] = None\n"
        "from sklearn.base import clone\n"
        "from sklearn.utils import get_tags\n"
        "from sklearn_shortcuts.preprocessing import AcquisitionResampler\n"
        "sampler = clone(AcquisitionResampler(random_state=0))\n"
        "X, y = sampler.fit_resample([[1], [2], [3], [4], [5]], [0, 1, 0, 1, 1], acquisition=list('aabbb'))\n"
        "print(len(X), get_tags(sampler).estimator_type)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["4", "sampler"], done.stderr
