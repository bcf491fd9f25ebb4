"""A fresh row without the artifact exceeds the threshold as rarely as promised."""

import numpy as np
import pytest
from scipy.stats import beta
from sklearn.linear_model import LogisticRegression

from sklearn_shortcuts.latent import ConceptVector
from sklearn_shortcuts.mitigation._artifact_rows import ConceptRows
from sklearn_shortcuts.mitigation._false_positive_threshold import conformal_threshold, fit_detector


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3, 1 / 3])
def test_the_threshold_is_an_order_statistic(rate):
    rng = np.random.default_rng(0)
    for n in (19, 20, 39, 40, 59, 97):
        scores = rng.permutation(n)
        rank = int(np.ceil(round((n + 1) * (1 - rate), 9)))
        assert conformal_threshold(scores, rate) == rank - 1
        assert conformal_threshold(scores, rate, groups=np.arange(n)) == rank - 1


def test_rates_of_fresh_rows_follow_the_beta_distribution():
    rng = np.random.default_rng(0)
    n, rate = 59, 0.05
    # Of uniform scores the threshold is the share of fresh rows up to it.
    exceeding = np.array([1 - conformal_threshold(rng.random(n), rate) for _ in range(2000)])
    expected = beta(3, 57)  # 3 of the 60 gaps lie above the 57th of 59 order statistics
    assert abs(exceeding.mean() - expected.mean()) < 4 * expected.std() / np.sqrt(2000)
    assert abs(exceeding.std() - expected.std()) < 0.1 * expected.std()


def test_patients_count_the_same_however_many_rows_they_have():
    rng = np.random.default_rng(0)
    n_patients, rate, above = 39, 0.1, []
    for _ in range(2000):
        centers = rng.normal(size=n_patients + 1)
        # The patient who is fresh, and every one of the others, has 1 row or 30; those with many have larger scores.
        sizes = np.where(centers > 0.5, 30, 1)
        groups = np.repeat(np.arange(n_patients), sizes[:-1])
        scores = centers[groups] + 0.1 * rng.normal(size=len(groups))
        threshold = conformal_threshold(scores, rate, groups)
        above.append((centers[-1] + 0.1 * rng.normal(size=sizes[-1]) > threshold).mean())
    assert np.mean(above) < rate + 4 * np.std(above) / np.sqrt(2000)
    assert np.mean(above) > rate / 2


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match=r"at least 19 rows .* but there are 18"):
        conformal_threshold(np.arange(18), 0.05)
    with pytest.raises(ValueError, match=r"at least 19 patients .* but there are 2"):
        conformal_threshold(np.arange(100), 0.05, np.arange(100) // 50)
    assert conformal_threshold(np.arange(19), 0.05) == 18


def rows(n=200, groups=None, seed=0):
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 == 0).astype(float)
    return ConceptRows(rng.normal(size=(n, 3)) + np.outer(labels, [2, 0, 0]), labels, groups=groups)


def test_held_out_rows_are_those_that_the_detector_has_not_seen():
    given = rows(groups=np.arange(200) // 2)

    class Recorder(LogisticRegression):
        seen = []

        def fit(self, X, y):
            self.seen.append(X)
            return super().fit(X, y)

    for calibration, n_fits in ((0.3, 1), (4, 5)):
        Recorder.seen.clear()
        detector, threshold = fit_detector(Recorder(), given, rate=0.1, calibration=calibration, random_state=0)
        assert len(Recorder.seen) == n_fits
        values = {tuple(row) for row in Recorder.seen[0]}
        inside = np.array([tuple(row) in values for row in given.features])
        assert (inside[::2] == inside[1::2]).all()  # both rows of a patient
    Recorder.seen.clear()
    detector, threshold = fit_detector(Recorder(), given, rate=0.1, calibration=0.3, random_state=0)
    values = {tuple(row) for row in Recorder.seen[0]}
    rest = np.array([tuple(row) not in values for row in given.features]) & (given.labels == 0)
    assert 0.2 < rest.sum() / (given.labels == 0).sum() < 0.4
    assert threshold == conformal_threshold(detector.decision_function(given.features[rest]), 0.1, given.groups[rest])


def test_the_random_state_decides():
    thresholds = [
        fit_detector(ConceptVector("svm"), rows(), rate=0.1, calibration=0.5, random_state=seed)[1]
        for seed in (0, 0, 1)
    ]
    assert thresholds[0] == thresholds[1] != thresholds[2]


def test_detectors_need_both_kinds_of_rows():
    few = ConceptRows(np.random.default_rng(0).normal(size=(40, 2)), (np.arange(40) < 20).astype(float))
    with pytest.raises(ValueError, match="calibration=21 needs as many rows"):
        fit_detector(ConceptVector("svm"), few, rate=0.5, calibration=21, random_state=0)
    one = ConceptRows(few.features, few.labels, groups=np.where(np.arange(40) < 20, 0, np.arange(40)))
    with pytest.raises(ValueError, match=r"calibration=2 needs as many patients .* 1 with it and 20 without"):
        fit_detector(ConceptVector("svm"), one, rate=0.5, calibration=2, random_state=0)
