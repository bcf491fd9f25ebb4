"""Vectors of concepts against closed forms, scikit-learn's solvers and invariances."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ortho_group
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.svm import LinearSVC

from sklearn_shortcuts.latent import ConceptVector

KINDS = ("pattern", "svm", "ridge", "lasso", "logistic", "neuron")


def study(n=120, n_features=4, seed=0):
    """Features that a concept moves, apart from the origin."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(int)
    y[:2] = 1, 0
    return 3 + rng.normal(size=(n, n_features)) + np.outer(y, np.linspace(1, -0.5, n_features)), y


def distracted(n=2000, seed=0):
    """A concept along the first feature, and a distractor in both that has nothing to do with it."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    distractor = np.repeat(rng.normal(size=n // 2), 2)  # exactly independent of the concept
    return np.outer(y, [1.0, 0.0]) + np.outer(distractor, [1.0, 1.0]) + rng.normal(0, 0.05, (n, 2)), y


def cosine(one, other):
    one, other = np.ravel(one), np.ravel(other)
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def test_pattern_is_the_difference_of_means():
    X, y = study()
    vector = ConceptVector().fit(X, y)
    difference = X[y == 1].mean(axis=0) - X[y == 0].mean(axis=0)
    np.testing.assert_allclose(vector.raw_coef_[0], difference, rtol=1e-12)
    np.testing.assert_allclose(vector.coef_[0], difference / np.linalg.norm(difference), rtol=1e-12)


def test_pattern_of_soft_labels_is_covariance_by_variance():
    X, _ = study()
    soft = np.random.default_rng(1).random(len(X))
    vector = ConceptVector(balanced=False).fit(X, soft)
    covariance = np.cov(np.column_stack([X, soft]), rowvar=False)
    np.testing.assert_allclose(vector.raw_coef_[0], covariance[:-1, -1] / covariance[-1, -1], rtol=1e-10)
    # The slope of the regression of each feature on the label.
    slopes = np.polyfit(soft, X, 1)[0]
    np.testing.assert_allclose(vector.raw_coef_[0], slopes, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_means_along_the_vector(kind):
    X, y = study()
    vector = ConceptVector(kind).fit(X, y)
    assert np.linalg.norm(vector.coef_) == pytest.approx(1, rel=1e-12)
    projected = vector.transform(X)[:, 0]
    np.testing.assert_allclose(projected, X @ vector.coef_[0], rtol=1e-12)
    assert vector.mean_artifact_ == pytest.approx(projected[y == 1].mean(), rel=1e-10)
    assert vector.mean_clean_ == pytest.approx(projected[y == 0].mean(), rel=1e-10)
    np.testing.assert_allclose(vector.decision_function(X), projected + vector.intercept_[0], rtol=1e-12)


def test_a_vector_is_a_subspace_of_one_direction():
    X, y = study()
    vector = ConceptVector("logistic").fit(X, y)
    np.testing.assert_array_equal(vector.components_, vector.coef_)
    assert vector.clean_levels_.tolist() == [vector.mean_clean_]
    assert vector.artifact_levels_.tolist() == [vector.mean_artifact_]
    assert not hasattr(ConceptVector(), "components_")


def test_projecting_the_concept_out_leaves_the_clean_mean():
    X, y = study()
    vector = ConceptVector().fit(X, y)
    edited = X - (vector.transform(X) - vector.mean_clean_) * vector.coef_
    np.testing.assert_allclose(vector.transform(edited), vector.mean_clean_, rtol=1e-12)


@pytest.mark.parametrize("kind", ["pattern", "neuron"])
def test_the_boundary_is_in_the_middle_and_probabilities_are_those_of_normal_distributions(kind):
    X, y = study()
    vector = ConceptVector(kind).fit(X, y)
    middle = (vector.mean_clean_ + vector.mean_artifact_) / 2
    assert vector.intercept_[0] == pytest.approx(-middle, rel=1e-12)
    z = X @ vector.coef_[0]
    variance = sum(((z[y == c] - z[y == c].mean()) ** 2).sum() for c in (0, 1)) / len(y)
    clean, artifact = (np.exp(-((z - m) ** 2) / 2 / variance) for m in (vector.mean_clean_, vector.mean_artifact_))
    np.testing.assert_allclose(vector.predict_proba(X)[:, 1], artifact / (clean + artifact), rtol=1e-8)


def test_logistic_is_that_of_scikit_learn():
    X, y = study()
    peer = LogisticRegression(C=0.3, class_weight="balanced", tol=1e-8, max_iter=1000).fit(X, y)
    vector = ConceptVector("logistic", C=0.3, tol=1e-8).fit(X, y)
    np.testing.assert_allclose(vector.raw_coef_, peer.coef_, rtol=1e-5)
    np.testing.assert_allclose(vector.predict_proba(X), peer.predict_proba(X), rtol=1e-4)


def test_svm_is_that_of_scikit_learn():
    X, y = study()
    X = X - np.average(X, axis=0)
    peer = LinearSVC(C=0.3, dual=False, tol=1e-10, random_state=0).fit(X, y)
    vector = ConceptVector("svm", C=0.3, balanced=False, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(vector.raw_coef_, peer.coef_, rtol=1e-6)
    boundary = peer.decision_function(X) / np.linalg.norm(peer.coef_)
    np.testing.assert_allclose(vector.decision_function(X), boundary, rtol=1e-5, atol=1e-7)


def test_ridge_solves_its_equations():
    X, y = study()
    vector = ConceptVector("ridge", alpha=2.0, balanced=False).fit(X, y)
    centered, labels = X - X.mean(axis=0), 2 * y - 1
    expected = np.linalg.solve(centered.T @ centered + 2 * np.eye(4), centered.T @ (labels - labels.mean()))
    np.testing.assert_allclose(vector.raw_coef_[0], expected, rtol=1e-10)
    peer = Ridge(2.0).fit(X, labels)
    np.testing.assert_allclose(
        vector.decision_function(X) * np.linalg.norm(expected), peer.predict(X), rtol=1e-8, atol=1e-10
    )


def test_lasso_leaves_the_channels_that_count_whatever_the_scale():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = rng.normal(size=(200, 20))
    X[:, 3] += 2 * y
    for scale in (1e-3, 1, 1e3):
        chosen = np.flatnonzero(ConceptVector("lasso").fit(scale * X, y).coef_)
        assert 3 in chosen
        assert len(chosen) < 10
    with pytest.raises(ValueError, match="'lasso' finds no feature that goes with the labels; choose a smaller alpha"):
        ConceptVector("lasso", alpha=100.0).fit(X, y)


@pytest.mark.parametrize("sign", [1, -1])
def test_neuron_finds_the_channel_and_its_sign(sign):
    X, y = np.random.default_rng(0).normal(size=(60, 5)), np.arange(60) % 2
    X[:, 2] += sign * 2 * y
    vector = ConceptVector("neuron").fit(X, y)
    np.testing.assert_array_equal(vector.coef_, [[0, 0, sign, 0, 0]])
    aurocs = [roc_auc_score(y, column) for column in X.T]
    assert np.argmax(np.abs(np.array(aurocs) - 0.5)) == 2
    assert vector.score(X, y) == pytest.approx(max(aurocs[2], 1 - aurocs[2]))


def test_distractors_turn_filters_but_not_the_pattern():
    X, y = distracted()
    truth = [1.0, 0.0]
    assert cosine(ConceptVector("pattern").fit(X, y).coef_, truth) > 0.999
    # The best filter cancels the distractor: it is orthogonal to it, 45 degrees from the concept.
    for kind in ("svm", "ridge", "logistic"):
        coef = ConceptVector(kind).fit(X, y).coef_
        assert cosine(coef, truth) == pytest.approx(np.sqrt(0.5), abs=0.02)
        assert cosine(coef, [1, 1]) == pytest.approx(0, abs=0.03)
    # What the filter pays for is separation.
    assert ConceptVector("logistic").fit(X, y).score(X, y) > 0.99 > 0.9 > ConceptVector().fit(X, y).score(X, y)


def test_alignment_with_twins():
    X, y = distracted()
    with_concept, without = X + np.array([1, 0]), X
    assert ConceptVector("pattern").fit(X, y).alignment(with_concept, without) > 0.999
    assert ConceptVector("ridge").fit(X, y).alignment(with_concept, without) == pytest.approx(np.sqrt(0.5), abs=0.02)
    vector = ConceptVector().fit(X, y)
    assert vector.alignment(X + 3 * vector.coef_, X) == pytest.approx(1)
    assert vector.alignment(X, X + 3 * vector.coef_) == pytest.approx(-1)
    with pytest.raises(ValueError, match="X_with has 2 rows, but X_without 3"):
        vector.alignment(X[:2], X[:3])
    with pytest.raises(ValueError, match="no direction to compare with"):
        vector.alignment(X, X)


@pytest.mark.parametrize("kind", ["pattern", "ridge", "logistic", "svm"])
def test_rotations_rotate_the_vector(kind):
    X, y = study()
    rotation = ortho_group.rvs(4, random_state=0)
    vector, rotated = (ConceptVector(kind, tol=1e-9).fit(rows, y) for rows in (X, X @ rotation))
    np.testing.assert_allclose(rotated.coef_, vector.coef_ @ rotation, atol=1e-5)
    np.testing.assert_allclose(rotated.transform(X @ rotation), vector.transform(X), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_origin_decides_nothing(kind):
    X, y = study()
    vector, moved = (ConceptVector(kind, tol=1e-9).fit(rows, y) for rows in (X, X + np.array([1e3, -5, 2, 7])))
    np.testing.assert_allclose(moved.coef_, vector.coef_, atol=1e-7)
    np.testing.assert_allclose(
        moved.decision_function(X + np.array([1e3, -5, 2, 7])), vector.decision_function(X), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("kind", ["pattern", "lasso", "neuron"])
def test_one_unit_for_all_features_decides_nothing(kind):
    X, y = study()
    vector, scaled = (ConceptVector(kind, tol=1e-9).fit(rows, y) for rows in (X, 1000 * X))
    np.testing.assert_allclose(scaled.coef_, vector.coef_, atol=1e-7)
    np.testing.assert_allclose(scaled.predict_proba(1000 * X), vector.predict_proba(X), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_hard_labels_as_soft_ones_and_as_words(kind):
    X, y = study()
    vector = ConceptVector(kind).fit(X, y)
    np.testing.assert_array_equal(ConceptVector(kind).fit(X, y.astype(float)).coef_, vector.coef_)
    words = np.where(y == 1, "ruler", "none")
    named = ConceptVector(kind).fit(X, words)
    assert named.classes_.tolist() == ["none", "ruler"]
    np.testing.assert_array_equal(named.coef_, vector.coef_)
    np.testing.assert_array_equal(named.predict(X) == "ruler", vector.predict(X) == 1)


@pytest.mark.parametrize("kind", ["svm", "logistic", "neuron"])
def test_soft_labels_are_shares_of_two_rows(kind):
    X, y = study()
    soft = np.where(y == 1, 0.75, 0.25)
    vector = ConceptVector(kind, tol=1e-9).fit(X, soft)
    rows, labels = np.tile(X, (2, 1)), np.repeat([0, 1], len(X))
    weights = np.concatenate([1 - soft, soft])
    twice = ConceptVector(kind, tol=1e-9).fit(rows, labels, sample_weight=weights)
    np.testing.assert_allclose(vector.coef_, twice.coef_, atol=1e-6)
    assert vector.mean_artifact_ == pytest.approx(np.average(X @ vector.coef_[0], weights=soft), rel=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_row_counts(kind):
    X = np.array([[5.0, 0], [0, 1], [0, -1], [0, 2], [0, -2]])
    vector = ConceptVector(kind).fit(X, [1, 0, 0, 0, 0])
    assert vector.coef_[0, 0] > 0.9
    assert vector.mean_artifact_ == pytest.approx(5 * vector.coef_[0, 0])


def test_scope_keeps_the_direction_of_the_class_out():
    rng = np.random.default_rng(0)
    target = np.repeat(["melanoma", "nevus"], 200)
    y = (rng.random(400) < np.where(target == "nevus", 0.5, 0)).astype(int)  # only the nevi have rulers
    X = rng.normal(0, 0.2, (400, 2)) + np.outer(y, [1, 0]) + np.outer(target == "nevus", [0, 1])
    scoped = ConceptVector(scope="nevus").fit(X, y, target=target)
    assert cosine(scoped.coef_, [1, 0]) > 0.99 > 0.95 > cosine(ConceptVector().fit(X, y).coef_, [1, 0])
    inside = target == "nevus"
    np.testing.assert_array_equal(scoped.coef_, ConceptVector().fit(X[inside], y[inside]).coef_)
    with pytest.raises(ValueError, match="scope='nevus' needs the classes of the diagnosis: give target"):
        ConceptVector(scope="nevus").fit(X, y)
    with pytest.raises(ValueError, match="no row of target is 'naevus'"):
        ConceptVector(scope="naevus").fit(X, y, target=target)


def test_evaluate_scores_rows_of_other_patients():
    X, y = study(200)
    groups = np.arange(200) // 4
    vector = ConceptVector()
    table = vector.evaluate(X, y, groups, cv=GroupKFold(4))
    assert table is vector.cross_validated_
    with pytest.raises(NotFittedError):
        vector.transform(X)
    expected = []
    for train, test in GroupKFold(4).split(X, y, groups):
        difference = X[train][y[train] == 1].mean(axis=0) - X[train][y[train] == 0].mean(axis=0)
        expected.append(roc_auc_score(y[test], X[test] @ difference))
    np.testing.assert_allclose(table.loc["auroc", [0, 1, 2, 3]].astype(float), expected, rtol=1e-12)
    assert table.loc["auroc", "mean"] == pytest.approx(np.mean(expected))
    assert table.loc["auroc", "std"] == pytest.approx(np.std(expected, ddof=1))
    assert table.index.tolist() == ["auroc", "average_precision", "kendall_tau"]
    assert list(vector.evaluate(X, y, groups).columns) == ["mean", "std", 0, 1, 2, 3, 4]


def test_evaluate_of_noise_is_chance_where_refitting_is_not():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 300)), np.arange(100) % 2
    vector = ConceptVector("ridge").fit(X, y)
    assert vector.score(X, y) > 0.99
    assert abs(vector.evaluate(X, y).loc["auroc", "mean"] - 0.5) < 0.15


def test_evaluate_refuses_leaks_and_folds_without_a_class():
    X, y = study(40)
    with pytest.raises(ValueError, match=r"puts the patient \(group\) of row 0 into both"):
        ConceptVector().evaluate(X, y, np.zeros(40), cv=list(KFold(2).split(X)))
    with pytest.raises(ValueError, match="the training part of fold 0 has rows of one class only"):
        ConceptVector().evaluate(X, np.repeat([0, 1], 20), cv=KFold(2))
    with pytest.raises(ValueError, match="the test part of fold 0 has rows of one class only"):
        ConceptVector().evaluate(X, y, cv=[(np.arange(1, 40), np.array([0]))])


def test_searches_choose_by_auroc():
    X, y = study()
    search = GridSearchCV(ConceptVector("logistic"), {"C": [0.01, 1]}, cv=3).fit(X, y)
    assert 0.5 < search.best_score_ < 1


def test_layer_comes_from_the_columns():
    X, y = study()
    one = pd.DataFrame(X, columns=[f"block.norm1:{channel}" for channel in range(4)])
    assert ConceptVector().fit(one, y).layer_ == "block.norm1"
    assert ConceptVector(layer="last").fit(one, y).layer_ == "last"
    assert ConceptVector().fit(one.set_axis(["a:0", "a:1", "b:0", "b:1"], axis=1), y).layer_ is None
    assert ConceptVector().fit(one.set_axis([f"a:{kind}:0" for kind in "wxyz"], axis=1), y).layer_ == "a"
    assert ConceptVector().fit(one.set_axis(list("wxyz"), axis=1), y).layer_ is None
    assert ConceptVector().fit(X, y).layer_ is None


@pytest.mark.parametrize("kind", KINDS)
def test_features_that_do_not_go_with_the_labels(kind):
    with pytest.raises(ValueError, match="all rows have the same features"):
        ConceptVector(kind).fit(np.full((7, 2), 0.1), [0, 1, 1] * 2 + [1])  # whose mean is not exactly 0.1
    X = np.array([[1.0], [1], [-1], [-1]])
    if kind in ("pattern", "lasso", "neuron", "ridge"):
        with pytest.raises(ValueError, match="finds no feature that goes with the labels"):
            ConceptVector(kind).fit(X, [0, 1, 0, 1])


def test_what_is_refused():
    X, y = study()
    with pytest.raises(ValueError, match=r"row 3 has 1\.5: soft labels lie in"):
        ConceptVector().fit(X[:4], [0, 0.5, 1, 1.5])
    with pytest.raises(ValueError, match="all soft labels are the same"):
        ConceptVector().fit(X[:4], [0.5] * 4)
    with pytest.raises(ValueError, match="rows of one class only"):
        ConceptVector().fit(X, np.zeros(len(X)))
    with pytest.raises(ValueError, match=r"y has the labels \['a', 'b'\], but \[0, 1\] in fit"):
        ConceptVector().fit(X, y).score(X, np.where(y == 1, "b", "a"))
    with pytest.raises(ValueError, match="sample_weight"):
        ConceptVector().fit(X, y, sample_weight=-np.ones(len(X)))


def test_arrays_stay_as_they_are():
    X, y = study()
    before = X.copy()
    X.setflags(write=False)
    vector = ConceptVector("ridge").fit(X, y)
    clone(vector).evaluate(X, y)
    np.testing.assert_array_equal(X, before)
