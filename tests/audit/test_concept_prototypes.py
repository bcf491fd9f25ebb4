"""Strategies against scikit-learn's mixtures, and a planted strategy that must come first."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.covariance import OAS
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import normalize

from sklearn_shortcuts.audit import ConceptPrototypes
from sklearn_shortcuts.audit._shrunk_mixture import ShrunkMixture, oracle_shrinkage


def blobs(seed, n=(60, 40, 30), distance=8.0, n_features=3):
    rng = np.random.default_rng(seed)
    centers = rng.permutation(distance * np.eye(n_features))[: len(n)]
    X = np.concatenate([rng.normal(size=(size, n_features)) * [1, 0.5, 2] + c for size, c in zip(n, centers)])
    return X, np.repeat(np.arange(len(n)), n)


def relevances(seed, share, *, n=150, n_channels=40, n_artifact=3):
    """Rows of positive relevances made up from concepts; some rows also use channels of an artifact."""
    rng = np.random.RandomState(seed)
    concepts = rng.gamma(0.3, 1, (12, n_channels))
    R = rng.gamma(0.7, 1, (n, 12)) @ concepts / 12 + 0.3 * rng.exponential(1, (n, n_channels))
    channels = rng.choice(n_channels, n_artifact, replace=False)
    artifact = np.zeros(n, dtype=bool)
    artifact[rng.choice(n, int(share * n), replace=False)] = True
    R[np.ix_(artifact, channels)] += 0.45 * R.mean() * n_channels / n_artifact * rng.uniform(0.7, 1.3, n_artifact)
    return normalize(R, norm="l1"), artifact, channels


@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
def test_densities_are_those_of_gaussian_mixtures(covariance):
    X, _ = blobs(0)
    prototypes = ConceptPrototypes(3, covariance=covariance, tol=1e-9, random_state=0).fit(X)
    scale = X.var(axis=0).mean()
    expected = GaussianMixture(
        3, covariance_type=covariance, n_init=3, tol=1e-9, max_iter=500, reg_covar=1e-6 * scale, random_state=0
    ).fit(X)
    np.testing.assert_allclose(prototypes.score_samples(X), expected.score_samples(X), rtol=1e-4)
    assert prototypes.score(X) == pytest.approx(expected.score(X), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_without_shrinkage_the_mixture_is_that_of_scikit_learn(seed):
    X, _ = blobs(seed)
    ours = ShrunkMixture(3, shrinkage=0.0, tol=1e-10, max_iter=1000, random_state=np.random.RandomState(0)).fit(X)
    theirs = GaussianMixture(3, tol=1e-10, max_iter=1000, random_state=0).fit(X)
    order, same = (np.lexsort(mixture.means_.round(3).T) for mixture in (ours, theirs))
    np.testing.assert_allclose(ours.means_[order], theirs.means_[same], atol=1e-4)
    np.testing.assert_allclose(ours.covariances_[order], theirs.covariances_[same], atol=1e-3)
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-4)
    assert ours.bic(X) == pytest.approx(theirs.bic(X), rel=1e-6)


@pytest.mark.parametrize(("n_rows", "n_features"), [(12, 40), (100, 5), (30, 1)])
def test_one_shrunk_component_is_the_oracle_approximation(n_rows, n_features):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_features)) * rng.uniform(0.2, 3, n_features) + 5
    mixture = ShrunkMixture(1, reg_covar=0.0, random_state=np.random.RandomState(0)).fit(X)
    expected = OAS().fit(X)
    np.testing.assert_allclose(mixture.covariances_[0], expected.covariance_, rtol=1e-9)
    density = multivariate_normal(expected.location_, expected.covariance_).logpdf(X)
    np.testing.assert_allclose(mixture.score_samples(X), density, rtol=1e-8)
    others = rng.normal(size=(7, n_features)) + 5  # not in the space that the rows span
    density = multivariate_normal(expected.location_, expected.covariance_).logpdf(others)
    np.testing.assert_allclose(mixture.score_samples(others), density, rtol=1e-8)
    if n_features > 1:
        assert oracle_shrinkage(np.cov(X.T, bias=True), n_rows, n_features) == pytest.approx(
            expected.shrinkage_, rel=1e-9
        )


def test_more_channels_than_rows_leave_nothing_singular():
    X, _, _ = relevances(0, 0.2, n=40, n_channels=150)
    prototypes = ConceptPrototypes(2, n_init=1, random_state=0).fit(X)
    assert np.isfinite(prototypes.score_samples(X)).all()
    assert set(np.unique(prototypes.labels_)) == {0, 1}


def test_log_likelihood_does_not_depend_on_the_unit_of_relevance():
    X, _ = blobs(1)
    one, other = (ConceptPrototypes(3, random_state=0).fit(unit * X) for unit in (1.0, 1e-6))
    shift = X.shape[1] * np.log(1e-6)
    np.testing.assert_allclose(one.score_samples(X), other.score_samples(1e-6 * X) + shift, rtol=1e-6)
    np.testing.assert_array_equal(one.labels_, other.labels_)


def test_predict_takes_the_nearest_prototype_of_the_class():
    X, y = blobs(2)
    y = np.minimum(y, 1)
    prototypes = ConceptPrototypes(2, random_state=0).fit(X, y)
    distances = np.array([[np.linalg.norm(row - mean) for mean in prototypes.prototypes_] for row in X])
    np.testing.assert_allclose(prototypes.transform(X), distances, rtol=1e-12)
    np.testing.assert_array_equal(prototypes.predict(X), distances.argmin(axis=1))
    other = distances + np.where(prototypes.prototype_classes_ == y[:, None], 0, 1e9)
    np.testing.assert_array_equal(prototypes.predict(X, y), other.argmin(axis=1))
    np.testing.assert_array_equal(prototypes.predict(X, y), prototypes.labels_)
    assert prototypes.get_feature_names_out().tolist() == [f"conceptprototypes{i}" for i in range(4)]


def test_likelihood_of_a_class_and_of_all():
    X, y = blobs(3)
    prototypes = ConceptPrototypes(1, random_state=0).fit(X, y)
    by_class = np.column_stack([prototypes.score_samples(X, np.full(len(X), name)) for name in range(3)])
    np.testing.assert_allclose(
        np.exp(prototypes.score_samples(X)), np.exp(by_class) @ (np.bincount(y) / len(y)), rtol=1e-9
    )
    np.testing.assert_allclose(prototypes.score_samples(X, y), by_class[np.arange(len(X)), y])


def test_wrong_predictions_are_left_out():
    X, y = blobs(4)
    y_pred = y.copy()
    y_pred[::7] = (y[::7] + 1) % 3
    right = y_pred == y
    prototypes = ConceptPrototypes(2, random_state=0).fit(X, y, y_pred=y_pred)
    alone = ConceptPrototypes(2, random_state=0).fit(X[right], y[right])
    np.testing.assert_allclose(prototypes.prototypes_, alone.prototypes_)
    assert (prototypes.labels_[~right] == -1).all()
    np.testing.assert_array_equal(prototypes.labels_[right], alone.labels_)
    assert prototypes.coverage_["n"].sum() == right.sum()
    assert right[np.concatenate(prototypes.coverage_["rows"].to_list())].all()


def test_tables_say_what_they_should():
    X, y = blobs(5)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    prototypes = ConceptPrototypes(2, n_channels=2, n_representatives=3, random_state=0).fit(frame, y)
    coverage = prototypes.coverage_
    np.testing.assert_allclose(coverage.groupby("class")["share"].sum(), 1)
    distances = prototypes.transform(frame)
    for prototype, record in coverage.iterrows():
        own = np.flatnonzero(prototypes.labels_ == prototype)
        assert record["n"] == len(own)
        assert record["rows"] == own[np.argsort(distances[own, prototype])][:3].tolist()
        largest = np.argsort(-prototypes.prototypes_[prototype])[:2]
        assert record["channels"] == frame.columns[largest].tolist()
    for channel in prototypes.concept_matrix_:
        column = frame.columns.get_loc(channel)
        np.testing.assert_allclose(prototypes.concept_matrix_[channel], prototypes.prototypes_[:, column])
    assert set(prototypes.concept_matrix_) == set(np.concatenate(coverage["channels"].to_list()))


def test_components_keep_what_lies_in_them():
    X, y = blobs(6)
    padded = np.hstack([X, np.zeros((len(X), 20))])
    full = ConceptPrototypes(2, covariance="full", random_state=0).fit(X, y)
    reduced = ConceptPrototypes(2, covariance="full", n_components=3, random_state=0).fit(padded, y)
    np.testing.assert_allclose(reduced.prototypes_[:, :3], full.prototypes_, atol=0.02)
    np.testing.assert_allclose(reduced.prototypes_[:, 3:], 0, atol=1e-9)
    assert np.corrcoef(reduced.score_samples(padded), full.score_samples(X))[0, 1] > 0.999


@pytest.mark.parametrize("covariance", ["shrunk", "full", "diag"])
def test_information_criterion_finds_the_number(covariance):
    X, _ = blobs(7)
    prototypes = ConceptPrototypes("bic", covariance=covariance, max_prototypes=4, random_state=0).fit(X)
    assert prototypes.n_prototypes_ == 3
    one = np.random.default_rng(0).normal(size=(100, 3))
    assert (
        ConceptPrototypes("bic", covariance=covariance, max_prototypes=3, n_init=1, random_state=0)
        .fit(one)
        .n_prototypes_
        == 1
    )


def test_a_class_of_few_rows_has_few_prototypes():
    X, y = blobs(8, n=(40, 2, 1))
    for covariance in ("shrunk", "full", "diag"):
        prototypes = ConceptPrototypes(3, covariance=covariance, n_init=1, random_state=0).fit(X, y)
        assert np.bincount(prototypes.prototype_classes_).tolist() == [3, 2, 1]
        assert np.isfinite(prototypes.score_samples(X)).all()


@pytest.mark.parametrize("share", [0.05, 0.2])
@pytest.mark.parametrize("seed", range(10, 13))
def test_planted_strategy_comes_first(seed, share):
    X, artifact, channels = relevances(seed, share)
    prototypes = ConceptPrototypes(n_init=1, random_state=seed).fit(X)
    first = prototypes.ranking_[0]
    inside = prototypes.labels_ == first
    assert artifact[inside].mean() >= 0.8
    assert inside[artifact].mean() >= 0.5
    assert set(prototypes.coverage_.loc[first, "channels"][:3]) == set(channels)
    assert prototypes.coverage_.loc[first, "separation"] > 6


@pytest.mark.parametrize("seed", range(20, 23))
def test_without_an_artifact_nothing_stands_out(seed):
    X, _, _ = relevances(seed, 0.0)
    assert ConceptPrototypes(n_init=1, random_state=seed).fit(X).coverage_["separation"].max() < 6


@pytest.mark.parametrize("seed", range(30, 32))
def test_rows_of_an_unknown_strategy_are_unlikely(seed):
    X, artifact, _ = relevances(seed, 0.2)
    prototypes = ConceptPrototypes(n_init=1, random_state=seed).fit(X[~artifact][:80])
    rest = np.r_[X[~artifact][80:], X[artifact]]
    unusual = np.r_[np.zeros(len(rest) - artifact.sum()), np.ones(artifact.sum())]
    assert roc_auc_score(unusual, -prototypes.score_samples(rest)) > 0.95


def test_a_normal_distribution_cut_in_two_has_the_stated_separation():
    X = np.random.default_rng(0).normal(size=(4000, 3)) * [3, 1, 1]
    halves = ConceptPrototypes(2, covariance="spherical", n_init=1, random_state=0).fit(X)
    labels = KMeans(2, random_state=0).fit(X).labels_
    assert (labels == halves.labels_).mean() in (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.1))
    # Halves have means 2 sqrt(2 / pi) apart and a standard deviation of sqrt(1 - 2 / pi).
    expected = 2 * np.sqrt(2 / np.pi) / np.sqrt(1 - 2 / np.pi)
    np.testing.assert_allclose(halves.coverage_["separation"], expected, rtol=0.06)


def test_random_state_decides():
    X, y = blobs(9)
    one, again = (ConceptPrototypes(3, random_state=4).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(one.prototypes_, again.prototypes_)
    state = np.random.get_state()[1].copy()
    clone(one).set_params(random_state=None).fit(X, y)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_errors_name_what_is_wrong():
    X, y = blobs(0)
    with pytest.raises(ValueError, match="no row of class 2 is predicted right"):
        ConceptPrototypes().fit(X, y, y_pred=np.zeros(len(y), dtype=int) + (y == 1))
    with pytest.raises(ValueError, match="y_pred has 3 values"):
        ConceptPrototypes().fit(X, y, y_pred=[0, 1, 2])
    with pytest.raises(ValueError, match="row 1 is of a class that was not in fit"):
        ConceptPrototypes(1).fit(X, y).predict(X[:2], [0, 9])


@pytest.mark.parametrize("n_planted", [5, 15])
def test_of_two_prototypes_the_smaller_is_the_suspect(n_planted):
    relevances = np.random.default_rng(0).exponential(size=(100, 20))
    relevances[40 : 40 + n_planted, 7] += 30
    prototypes = ConceptPrototypes(2, random_state=0).fit(relevances)
    assert prototypes.coverage_.loc[prototypes.ranking_[0], "n"] == n_planted
