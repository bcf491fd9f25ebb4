"""Logistic regression that does not go by a concept, against scikit-learn's and a direct minimization."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from sklearn_shortcuts.latent import ConceptVector
from sklearn_shortcuts.mitigation import ConceptRegularizedLogisticRegression


def draw(n_classes=3, n=120):
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    artifact = np.where(rng.random(n) < 0.8, y == 1, rng.random(n) < 0.5).astype(int)
    X = rng.normal(size=(n, 4)) + 0.7 * np.eye(4)[y] + 2 * np.outer(artifact, [0.0, 1.0, 0.0, 1.0])
    return X, y, artifact, rng.uniform(0.5, 2, n)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_strength_is_an_ordinary_regression(n_classes):
    X, y, artifact, weight = draw(n_classes)
    model = ConceptRegularizedLogisticRegression(lambda_=0, C=0.5, tol=1e-10).fit(X, y, artifact, weight)
    ordinary = LogisticRegression(C=0.5, tol=1e-10, max_iter=10000).fit(X, y, weight)
    np.testing.assert_allclose(model.coef_, ordinary.coef_, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, ordinary.intercept_, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), ordinary.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("method", ["rr_clarc", "a_clarc"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_concept_is_gone_at_last(n_classes, method):
    X, y, artifact, weight = draw(n_classes)
    model = ConceptRegularizedLogisticRegression(method, lambda_=1e12, tol=1e-10).fit(X, y, artifact, weight)
    v = model.concept_.coef_[0]
    without = X - np.outer(X @ v, v)
    projected = LogisticRegression(tol=1e-10, max_iter=10000).fit(without, y, weight)
    np.testing.assert_allclose(model.coef_ @ v, 0, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), projected.predict_proba(without), atol=1e-6)


def test_minimum_of_the_objective():
    X, y, artifact, weight = draw()
    model = ConceptRegularizedLogisticRegression(lambda_=0.7, C=2.0, tol=1e-10).fit(X, y, artifact, weight)
    v = ConceptVector().fit(X, artifact, weight).coef_[0]
    variance = np.cov(X @ v, aweights=weight, ddof=0)

    def objective(flat):
        coef, intercept = flat[:12].reshape(3, 4), flat[12:]
        losses = -log_softmax(X @ coef.T + intercept, axis=1)[np.arange(len(y)), y]
        ridge = np.square(coef).sum() / (2 * 2.0 * weight.sum())
        return np.average(losses, weights=weight) + ridge + 0.7 * variance * np.square(coef @ v).sum()

    found = np.concatenate([model.coef_.ravel(), model.intercept_])
    best = minimize(objective, np.zeros(15), method="BFGS", options={"gtol": 1e-8})
    assert objective(found) == pytest.approx(best.fun, abs=1e-9)
    np.testing.assert_allclose(model.coef_, best.x[:12].reshape(3, 4), atol=1e-4)


def test_scale_of_the_features_does_not_matter():
    X, y, artifact, _ = draw()
    probabilities = []
    for scale in (1.0, 10.0):
        model = ConceptRegularizedLogisticRegression(C=1.0 / scale**2, tol=1e-12).fit(scale * X, y, artifact)
        probabilities.append(model.predict_proba(scale * X))
    np.testing.assert_allclose(*probabilities, atol=1e-3)


def test_labels_of_the_artifact():
    X, y, artifact, _ = draw()
    with pytest.raises(ValueError, match="artifact: ConceptVector needs"):
        ConceptRegularizedLogisticRegression().fit(X, y)
    unsupervised = ConceptRegularizedLogisticRegression(concept=PCA(2), lambda_=1e12).fit(X, y)
    np.testing.assert_allclose(unsupervised.coef_ @ PCA(2).fit(X).components_.T, 0, atol=1e-5)
    partly = np.where(np.arange(len(y)) < 60, artifact, -1)
    model = ConceptRegularizedLogisticRegression().fit(X, y, partly)
    np.testing.assert_allclose(model.concept_.coef_, ConceptVector().fit(X[:60], artifact[:60]).coef_, rtol=1e-12)
