"""Averages of areas over folds: against closed forms, and their tests against simulation."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from sklearn_shortcuts.audit._fold_auc import FoldAUC
from sklearn_shortcuts.metrics import auc_covariance, auc_interval, delong_roc_test


@pytest.fixture
def two_models():
    rng = np.random.default_rng(0)
    positive = np.arange(90) % 3 == 0
    scores = positive[:, None] * [1.5, 0.7] + rng.normal(size=(90, 2))
    return positive, scores, np.arange(90) // 30


def test_one_fold_is_delong(two_models):
    positive, scores, _ = two_models
    areas = FoldAUC(positive, scores, np.zeros(90, int))
    expected = auc_interval(positive, scores[:, 0])
    np.testing.assert_allclose([areas.mean[0], *areas.interval(0, 0.95)], expected[:3])
    test = delong_roc_test(positive, scores[:, 0], scores[:, 1])
    assert areas.difference_pvalue(0, 1) == pytest.approx(test.pvalue)
    assert areas.difference_interval(0, 1, 0.95) == pytest.approx(test.interval)
    assert areas.difference_pvalue(0, 1, "greater") == pytest.approx(test.pvalue / 2)


def test_average_and_variance_over_folds(two_models):
    positive, scores, fold = two_models
    areas = FoldAUC(positive, scores, fold, test_share=0.5)
    by_hand = [[roc_auc_score(positive[fold == f], column[fold == f]) for column in scores.T] for f in range(3)]
    np.testing.assert_allclose(areas.fold_auc, by_hand)
    np.testing.assert_allclose(areas.mean, np.mean(by_hand, axis=0))
    within = 2 * sum(auc_covariance(positive[fold == f], scores[fold == f])[1] for f in range(3)) / 9
    between = (1 / 3 + 0.5) * np.cov(np.transpose(by_hand))
    np.testing.assert_allclose([areas.standard_error(0) ** 2, areas.standard_error(1) ** 2], np.diag(within))
    difference = np.array([1.0, -1.0])
    expected = max(difference @ within @ difference, difference @ between @ difference)
    assert areas.contrast_error(difference) == pytest.approx(np.sqrt(expected))
    independent = FoldAUC(positive, scores, fold, reciprocal=False)
    assert independent.standard_error(0) == pytest.approx(areas.standard_error(0) / np.sqrt(2))


def test_test_and_interval_agree(two_models):
    positive, scores, fold = two_models
    areas = FoldAUC(positive, 0.2 * scores + np.random.default_rng(2).normal(size=scores.shape), fold, test_share=0.5)
    for column in range(2):
        pvalue = areas.chance_pvalue(column)
        low, _ = areas.interval(column, 1 - 2 * pvalue) if pvalue < 0.5 else (0.5, 1)
        assert low == pytest.approx(0.5)


def test_ratio_interval_is_the_delta_method(two_models):
    positive, scores, fold = two_models
    areas = FoldAUC(positive, scores, fold)
    low, high = areas.ratio_interval(1, 0, 0.95)
    ratio = areas.mean[1] / areas.mean[0]
    error = areas.contrast_error(np.array([-1 / areas.mean[0], 1 / areas.mean[1]]))
    np.testing.assert_allclose(np.log([low, high]), np.log(ratio) + 1.959964 * error * np.array([-1, 1]), rtol=1e-6)


def test_perfect_and_constant_scores():
    positive = np.tile([True, False], 10)
    fold = np.repeat([0, 1], 10)
    areas = FoldAUC(positive, np.column_stack([positive, ~positive, np.zeros(20)]).astype(float), fold)
    assert areas.mean.tolist() == [1, 0, 0.5]
    low, high = areas.interval(0, 0.95)
    assert high == 1
    assert low == pytest.approx(0.025 ** (1 / 10))  # ten disjoint pairs, all in order
    assert areas.interval(1, 0.95) == pytest.approx((0, 1 - low))
    assert areas.interval(2, 0.95) == (0.5, 0.5)
    assert areas.chance_pvalue(0) == pytest.approx(1 / 252**2)  # one of C(10, 5) orders in both folds
    assert areas.chance_pvalue(1) == areas.chance_pvalue(2) == 1
    assert areas.difference_pvalue(0, 2) == pytest.approx(2 / 252**2)
    assert areas.difference_pvalue(0, 2, "greater") == pytest.approx(1 / 252**2)
    assert areas.difference_pvalue(2, 0, "greater") == 1
    assert areas.difference_pvalue(0, 0) == 1
    assert np.isnan(areas.ratio_interval(0, 1, 0.95)).all()


def test_patients_widen_the_interval():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), 4)
    positive = patient % 2 == 0
    scores = (0.5 * positive + rng.normal(size=60)[patient] + 0.1 * rng.normal(size=240))[:, None]
    fold = patient % 4 // 2
    naive, clustered = FoldAUC(positive, scores, fold), FoldAUC(positive, scores, fold, patient)
    ratio = clustered.standard_error(0) / naive.standard_error(0)
    assert 1.7 < ratio < 2.1  # four copies of one row would double it


def test_bootstrap_agrees_with_delong(two_models):
    positive, scores, fold = two_models
    delong = FoldAUC(positive, scores, fold)
    bootstrap = FoldAUC(positive, scores, fold, n_resamples=2000, random_state=0)
    assert bootstrap.standard_error(0) == pytest.approx(delong.standard_error(0), rel=0.15)
    difference = np.array([1.0, -1.0])
    assert bootstrap.contrast_error(difference) == pytest.approx(delong.contrast_error(difference), rel=0.15)
    np.testing.assert_allclose(bootstrap.interval(0, 0.95), delong.interval(0, 0.95), atol=0.03)
    again = FoldAUC(positive, scores, fold, n_resamples=2000, random_state=0)
    assert again.interval(0, 0.95) == bootstrap.interval(0, 0.95)


def _null_areas(rng, n_folds=4, n=80, per_patient=1):
    """Cross-validated areas of a linear model on images that do not know their label."""
    patient = np.repeat(np.arange(n // per_patient), per_patient)
    positive = np.isin(patient, rng.permutation(n // per_patient)[: n // per_patient // 2])
    rows = rng.normal(size=(n // per_patient, 30))[patient] + 0.3 * rng.normal(size=(n, 30))
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=int(rng.integers(2**31)))
    fold_of_patient = np.empty(n // per_patient, int)
    for number, (_, test) in enumerate(splitter.split(fold_of_patient, positive[::per_patient])):
        fold_of_patient[test] = number
    fold, scores = fold_of_patient[patient], np.empty((n, 1))
    for number in range(n_folds):
        seen, sign = rows[fold != number], np.where(positive[fold != number], 1.0, -1.0)
        ridge = np.linalg.solve(seen.T @ seen + 100 * np.eye(30), seen.T @ sign)
        scores[fold == number, 0] = rows[fold == number] @ ridge
    groups = patient if per_patient > 1 else None
    return positive, scores, fold, groups, 1 / (n_folds - 1)


@pytest.mark.parametrize("per_patient", [1, 4])
def test_size_of_the_test_against_chance(per_patient):
    """Of models that learned noise, about 2.5 % may be called better than chance."""
    rng = np.random.default_rng(per_patient)
    rejected, rejected_if_independent = 0, 0
    for _ in range(300):
        positive, scores, fold, groups, share = _null_areas(rng, n=80 * per_patient, per_patient=per_patient)
        areas = FoldAUC(positive, scores, fold, groups, test_share=share)
        rejected += areas.chance_pvalue(0) <= 0.025
        rejected_if_independent += norm.sf((areas.mean[0] - 0.5) / areas.standard_error(0) * np.sqrt(2)) <= 0.025
    assert rejected / 300 <= 0.043  # 0.025 and two standard errors of the simulation
    assert rejected_if_independent / 300 > 0.05  # without the factor for reciprocal folds


def test_one_unlucky_training():
    """A fold whose model failed does not hide what the others found, but differences say how uncertain they are."""
    rng = np.random.default_rng(0)
    positive, fold = np.tile([True, False], 90), np.repeat([0, 1, 2], 60)
    good = 3.0 * positive + rng.normal(size=180)
    unlucky = np.where(fold == 2, rng.normal(size=180), good)
    areas = FoldAUC(positive, np.column_stack([good, unlucky]), fold, test_share=0.5)
    assert areas.chance_pvalue(1) < 1e-4
    assert areas.interval(1, 0.95)[0] > 0.65
    assert areas.difference_pvalue(0, 1) > 0.05


def test_logit_scale(two_models):
    positive, scores, fold = two_models
    areas = FoldAUC(positive, scores, fold)
    low, high = areas.interval(0, 0.9)
    mean = areas.mean[0]
    assert logit(mean) - logit(low) == pytest.approx(logit(high) - logit(mean))
    assert expit(logit(low)) == pytest.approx(low)


def test_whole_weights_are_repetitions():
    """A row of weight three is three rows of one patient, in areas and their variances."""
    rng = np.random.default_rng(0)
    positive, fold, patients = np.arange(90) % 3 == 0, np.repeat([0, 1, 2], 30), np.repeat(np.arange(45), 2)
    scores = np.round(positive[:, None] * [1.5, 0.7] + rng.normal(size=(90, 2)), 1)  # with ties
    weights = rng.integers(0, 4, 90)
    rows = np.repeat(np.arange(90), weights)
    weighted = FoldAUC(positive, scores, fold, patients, weights=0.3 * weights)
    repeated = FoldAUC(positive[rows], scores[rows], fold[rows], patients[rows])
    np.testing.assert_allclose(weighted.fold_auc, repeated.fold_auc)
    np.testing.assert_allclose(weighted.interval(0, 0.95), repeated.interval(0, 0.95), rtol=0.02)
    assert weighted.difference_pvalue(0, 1) == pytest.approx(repeated.difference_pvalue(0, 1), rel=0.05)
    tested = fold == 0
    expected = roc_auc_score(positive[tested], scores[tested, 0], sample_weight=weights[tested])
    assert weighted.fold_auc[0, 0] == pytest.approx(expected)


def test_areas_of_several_classes():
    rng = np.random.default_rng(0)
    codes, fold = np.arange(120) % 3, np.repeat([0, 1], 60)
    positive = np.eye(3, dtype=bool)[codes]
    probabilities = rng.dirichlet(np.ones(3), size=(2, 120)) + 0.4 * positive
    probabilities /= probabilities.sum(axis=2, keepdims=True)
    areas = FoldAUC(positive, probabilities.transpose(1, 0, 2), fold, test_share=1.0)
    for model, number in ((0, 0), (1, 1)):
        rows = fold == number
        expected = roc_auc_score(codes[rows], probabilities[model, rows], multi_class="ovr")
        assert areas.fold_auc[number, model] == pytest.approx(expected)
    # The spread of the averages over new studies of the same kind.
    means = []
    for seed in range(300):
        drawn = np.random.default_rng(seed).dirichlet(np.ones(3), size=120) + 0.4 * positive
        drawn /= drawn.sum(axis=1, keepdims=True)
        means.append(FoldAUC(positive, drawn[:, None], fold, reciprocal=False).mean[0])
    independent = FoldAUC(positive, probabilities.transpose(1, 0, 2), fold, reciprocal=False)
    assert independent.standard_error(0) == pytest.approx(np.std(means), rel=0.25)
    # Two classes are one, but for the factor that does away with the bias of each class's own variance.
    two = FoldAUC(np.stack([codes != 0, codes == 0], axis=1), _both(probabilities), fold)
    one = FoldAUC(codes == 0, probabilities[:, :, 0].T, fold)
    np.testing.assert_allclose(two.fold_auc, one.fold_auc)
    np.testing.assert_allclose(two.interval(0, 0.95), one.interval(0, 0.95), rtol=0.02)


def _both(probabilities):
    first = probabilities[:, :, 0].T
    return np.stack([1 - first, first], axis=2)
