"""Embeddings: identities that hold for any data, and who can be asked for one."""

import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_shortcuts.audit._embedding_similarity import (
    embed,
    embedding_map,
    find_embedder,
    linear_cka,
    row_similarity,
)


@pytest.fixture
def full():
    return np.abs(np.random.default_rng(0).normal(size=(40, 12))) + 1


def test_same_embedding(full):
    rows, whole = row_similarity(full, full)
    for values in rows.values():
        np.testing.assert_allclose(values, 1)
    assert whole["linear_cka"] == pytest.approx(1)
    unit = full / np.linalg.norm(full, axis=1, keepdims=True)
    cosines = unit @ unit.T
    assert whole["null_cosine"] == pytest.approx(cosines[~np.eye(40, dtype=bool)].mean())
    assert whole["null_cosine"] > 0.8  # non-negative features are alike whatever the image


def test_masked_image_that_says_nothing_has_no_corrected_similarity(full):
    rows, whole = row_similarity(full, np.tile(full.mean(axis=0), (40, 1)))
    assert rows["cosine"].mean() > 0.9
    assert abs(rows["corrected_cosine"].mean()) < 1e-12
    assert np.isnan(whole["linear_cka"])
    np.testing.assert_allclose(rows["centered_cosine"], 0, atol=1e-6)


def test_linear_cka(full):
    other = np.random.default_rng(1).normal(size=(40, 5))
    gram, other_gram = (x @ x.T for x in (full - full.mean(0), other - other.mean(0)))
    by_hand = np.sum(gram * other_gram) / np.sqrt(np.sum(gram**2) * np.sum(other_gram**2))
    assert linear_cka(full, other) == pytest.approx(by_hand)
    rotated = 3 * full @ ortho_group.rvs(12, random_state=0) + 5
    assert linear_cka(full, rotated) == pytest.approx(1)
    wide = np.random.default_rng(2).normal(size=(10, 40))  # more features than rows: the other way to compute it
    assert linear_cka(wide, wide @ ortho_group.rvs(40, random_state=1)) == pytest.approx(1)


class Embedder(LogisticRegression):
    def embed(self, X):
        return np.asarray(X) * 2


def test_embedding_through_pipelines_and_searches():
    X, y = np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) % 2
    pipeline = make_pipeline(StandardScaler(), "passthrough", Embedder())
    search = GridSearchCV(pipeline, {"embedder__C": [1.0]}, cv=2)
    for estimator in (pipeline, search):
        assert find_embedder(estimator) is None
        np.testing.assert_allclose(embed(estimator.fit(X, y), X), 2 * (X - X.mean(0)) / X.std(0))
    assert find_embedder(Embedder()) is None
    assert find_embedder(make_pipeline(StandardScaler(), LogisticRegression())) == (
        "LogisticRegression has no method 'embed'"
    )
    assert "BaseEstimator" in find_embedder(BaseEstimator())


def test_map(full):
    rows = np.arange(100, 140)
    table = embedding_map({"all": full, "roi": full + 20}, rows, random_state=0, max_rows=15)
    assert len(table) == 30
    assert set(table["row"]) <= set(rows)
    assert table[["x", "y"]].to_numpy().min() == 0
    assert table[["x", "y"]].to_numpy().max() == 1
    again = embedding_map({"all": full, "roi": full + 20}, rows, random_state=0, max_rows=15)
    np.testing.assert_allclose(table[["x", "y"]], again[["x", "y"]])
