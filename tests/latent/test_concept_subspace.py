"""Subspaces of concepts against closed forms, and against probes of what they leave."""

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import subspace_angles
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from sklearn_shortcuts.latent import ConceptSubspace, ConceptVector

KINDS = ("pattern", "svm", "ridge", "lasso", "logistic", "neuron", "nmf")


def two_artifacts(n=400, n_features=6, seed=0):
    """Features that two artifacts move, which often come together."""
    rng = np.random.default_rng(seed)
    both = rng.random(n) < 0.3
    A = np.column_stack([(rng.random(n) < 0.3) | both, (rng.random(n) < 0.2) | both]).astype(int)
    shifts = np.zeros((2, n_features))
    shifts[0, :2], shifts[1, 1:3] = [2, 1], [1, 2]
    return 5 + rng.normal(size=(n, n_features)) + A @ shifts, A


def correlated(n=1500, seed=0):
    """A concept in features of very different noise, which no one filter removes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    noise = rng.normal(size=(n, 8)) * [0.5, 1.5, 1, 1, 1, 1, 1, 1]
    return noise + np.outer(y, [0.5, 1.5, 0, 0, 0, 0, 0, 0]), y


def decodable(X, y):
    scores = cross_val_predict(LogisticRegression(max_iter=1000), X, y, cv=5, method="decision_function")
    return roc_auc_score(y, scores)


@pytest.mark.parametrize("kind", KINDS)
def test_one_direction_of_one_concept_is_its_vector(kind):
    X, A = two_artifacts()
    X = np.abs(X)
    vector = ConceptVector(kind, random_state=0, n_components=4).fit(X, A[:, 0])
    subspace = ConceptSubspace(kind, random_state=0, n_components=4)
    if kind == "nmf":  # draws its own split
        subspace.fit(X, A[:, 0])
        vector.coef_, vector.intercept_ = subspace.coef_, subspace.intercept_
        vector.mean_clean_ = (X[A[:, 0] == 0] @ subspace.coef_[0]).mean()
        vector.mean_artifact_ = (X[A[:, 0] == 1] @ subspace.coef_[0]).mean()
    else:
        subspace.fit(X, A[:, 0])
    np.testing.assert_allclose(subspace.coef_, vector.coef_, rtol=1e-12)
    np.testing.assert_allclose(subspace.components_, vector.components_, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(subspace.clean_levels_, vector.clean_levels_, rtol=1e-10)
    np.testing.assert_allclose(subspace.artifact_levels_, vector.artifact_levels_, rtol=1e-10)
    np.testing.assert_allclose(subspace.decision_function(X), vector.decision_function(X), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(subspace.predict(X), vector.predict(X))
    assert subspace.score(X, A[:, 0]) == pytest.approx(vector.score(X, A[:, 0]))


def test_several_concepts_span_the_differences_of_their_means():
    X, A = two_artifacts()
    subspace = ConceptSubspace().fit(X, A)
    differences = np.array([X[A[:, j] == 1].mean(axis=0) - X[A[:, j] == 0].mean(axis=0) for j in (0, 1)])
    np.testing.assert_allclose(
        subspace.coef_, differences / np.linalg.norm(differences, axis=1, keepdims=True), rtol=1e-10
    )
    assert np.abs(subspace.coef_[0] @ subspace.coef_[1]) > 0.3  # they are not made orthogonal
    assert subspace_angles(subspace.components_.T, differences.T).max() < 1e-7
    clean = (A == 0).all(axis=1)
    np.testing.assert_allclose(subspace.mean_clean_, (X[clean] @ subspace.components_.T).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(subspace.mean_artifact_, (X[~clean] @ subspace.components_.T).mean(axis=0), rtol=1e-12)
    assert subspace.ranks_.tolist() == [1, 1]
    assert subspace.decision_function(X).shape == (400, 2)
    aurocs = [roc_auc_score(A[:, j], X @ differences[j]) for j in (0, 1)]
    assert subspace.score(X, A) == pytest.approx(np.mean(aurocs))


def test_what_is_projected_out_has_no_difference_of_means_and_the_clean_level():
    X, A = two_artifacts()
    subspace = ConceptSubspace().fit(X, A)
    cleaned = subspace.project_out(X)
    for labels in A.T:
        np.testing.assert_allclose(cleaned[labels == 1].mean(axis=0), cleaned[labels == 0].mean(axis=0), atol=1e-12)
        # Equal means: the best linear function by squared error is constant.
        centered = cleaned - cleaned.mean(axis=0)
        weights = np.linalg.lstsq(centered, labels - labels.mean(), rcond=1e-10)[0]
        assert np.abs(centered @ weights).max() < 1e-10
        assert decodable(X, labels) > 0.9 > 0.6 > decodable(cleaned, labels)
    np.testing.assert_allclose(subspace.transform(cleaned), np.tile(subspace.mean_clean_, (400, 1)), rtol=1e-12)
    V = subspace.components_
    expected = (np.eye(6) - V.T @ V) @ X.T + (V.T @ subspace.mean_clean_)[:, None]
    np.testing.assert_allclose(cleaned, expected.T, rtol=1e-12)
    np.testing.assert_allclose(subspace.project_out(cleaned), cleaned, rtol=1e-12)


@pytest.mark.parametrize("kind", ["svm", "ridge", "lasso", "logistic", "neuron"])
def test_the_basis_is_orthonormal(kind):
    X, A = two_artifacts()
    A = np.column_stack([A, A[:, 0] | A[:, 1]])
    subspace = ConceptSubspace(kind, rank=2).fit(X, A)
    k = len(subspace.components_)
    assert 3 <= k <= 6
    np.testing.assert_allclose(subspace.components_ @ subspace.components_.T, np.eye(k), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(subspace.coef_, axis=1), 1, rtol=1e-12)
    assert subspace.transform(X).shape == (400, k)
    assert subspace.get_feature_names_out().tolist() == [f"conceptsubspace{number}" for number in range(k)]


def test_concepts_that_share_a_direction_take_it_once():
    X, A = two_artifacts()
    subspace = ConceptSubspace().fit(X, A[:, [0, 0]])
    assert subspace.components_.shape == (1, 6)
    assert subspace.ranks_.tolist() == [1, 1]


def test_a_filter_needs_two_directions_where_one_leaves_the_concept_decodable():
    X, y = correlated()
    # The filter weighs the two features by their noise, the difference of means does not: together they span a plane.
    left = [decodable(ConceptSubspace("logistic", rank=rank).fit(X, y).project_out(X), y) for rank in (1, 2)]
    assert left[0] > 0.7 > 0.6 > left[1]
    subspace = ConceptSubspace("logistic", rank="auto").fit(X, y)
    k = len(subspace.components_)
    assert k in (2, 3)  # the third for what the estimates of the first two are off
    assert decodable(subspace.project_out(X), y) < 0.55
    table = subspace.residual_aurocs_.loc[0]
    assert table.index.tolist() == list(range(k + 1))
    assert (table.loc[: k - 1, "low"] > 0.5).all()
    assert table.loc[k, "low"] <= 0.5
    np.testing.assert_array_equal(subspace.components_, ConceptSubspace("logistic", rank=k).fit(X, y).components_)
    # The pattern needs no second one.
    assert decodable(ConceptSubspace().fit(X, y).project_out(X), y) < 0.55


def test_rank_auto_of_noise_keeps_one_direction():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 30)), np.arange(200) % 2
    subspace = ConceptSubspace("ridge", rank="auto").fit(X, y, groups=np.arange(200) // 2)
    assert subspace.ranks_.tolist() == [1]
    assert (subspace.residual_aurocs_["auroc"] - 0.5).abs().max() < 0.15


def test_rows_of_unknown_label_take_no_part():
    X, A = two_artifacts()
    A[:30, 0], A[20:50, 1] = -1, -1
    subspace = ConceptSubspace().fit(X, A)
    for column in (0, 1):
        known = A[:, column] != -1
        alone = ConceptVector().fit(X[known], A[known, column])
        np.testing.assert_allclose(subspace.coef_[[column]], alone.coef_, rtol=1e-12)
    clean, artifact = (A == 0).all(axis=1), (A == 1).any(axis=1)
    np.testing.assert_allclose(subspace.mean_clean_, (X[clean] @ subspace.components_.T).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(subspace.mean_artifact_, (X[artifact] @ subspace.components_.T).mean(axis=0), rtol=1e-12)
    one = ConceptSubspace().fit(X, A[:, 0])
    np.testing.assert_allclose(one.coef_, ConceptVector().fit(X[30:], A[30:, 0]).coef_, rtol=1e-12)
    assert one.score(X, A[:, 0]) == pytest.approx(one.score(X[30:], A[30:, 0]))


def test_soft_labels_and_weights_are_those_of_vectors():
    X, A = two_artifacts()
    rng = np.random.default_rng(1)
    soft, weights = rng.random(400), rng.random(400)
    vector = ConceptVector("logistic").fit(X, soft, weights)
    subspace = ConceptSubspace("logistic").fit(X, soft, weights)
    np.testing.assert_allclose(subspace.coef_, vector.coef_, rtol=1e-12)
    np.testing.assert_allclose(subspace.mean_clean_, vector.clean_levels_, rtol=1e-10)
    np.testing.assert_allclose(subspace.mean_artifact_, vector.artifact_levels_, rtol=1e-10)
    hard = ConceptSubspace().fit(X, A[:, 0].astype(bool).astype(float), sample_weight=np.arange(400) < 200)
    np.testing.assert_allclose(hard.coef_, ConceptSubspace().fit(X[:200], A[:200, 0]).coef_, rtol=1e-12)


def test_names_of_concepts_and_of_the_layer():
    X, A = two_artifacts()
    columns = [f"features.3:{channel}" for channel in range(6)]
    labels = pd.DataFrame(A, columns=["tube", "date"])
    subspace = ConceptSubspace("ridge", rank="auto").fit(pd.DataFrame(X, columns=columns), labels)
    assert subspace.concepts_.tolist() == ["tube", "date"]
    assert subspace.layer_ == "features.3"
    assert set(subspace.residual_aurocs_.index.get_level_values("concept")) == {"tube", "date"}


def test_scope_is_that_of_the_diagnosis():
    X, A = two_artifacts()
    target = np.where(np.arange(400) % 3, "sick", "healthy")
    scoped = ConceptSubspace(scope="sick").fit(X, A, target=target)
    inside = target == "sick"
    np.testing.assert_array_equal(scoped.components_, ConceptSubspace().fit(X[inside], A[inside]).components_)


def test_what_is_refused():
    X, A = two_artifacts()
    with pytest.raises(ValueError, match="rank=2: kind='pattern' has one direction per concept"):
        ConceptSubspace(rank=2).fit(X, A)
    with pytest.raises(ValueError, match=r"row 3 has 2 for concept 1; labels of several"):
        ConceptSubspace().fit(X, np.where((np.arange(400)[:, None] == 3) & [[False, True]], 2, A))
    with pytest.raises(ValueError, match="concept '1': y has rows of one class only"):
        ConceptSubspace().fit(X, np.column_stack([A[:, 0], np.zeros(400)]))
    with pytest.raises(ValueError, match="no row is known to have none of the concepts"):
        ConceptSubspace().fit(X, np.column_stack([A[:, 0], 1 - A[:, 0]]))
    with pytest.raises(ValueError, match="y has 1 concepts, but 2 in fit"):
        ConceptSubspace().fit(X, A).score(X, A[:, 0])
