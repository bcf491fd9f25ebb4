"""Features at a given level along an artifact."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_shortcuts.latent import ConceptVector
from sklearn_shortcuts.mitigation import ConceptProjector, PClArC
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN


def draw(n=300, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    artifact = np.where(rng.random(n) < 0.8, y, 1 - y)
    return rng.normal(size=(n, 5)) + np.outer(y, [1, 0, 0, 0, 0]) + np.outer(artifact, [0, 2, 2, 0, 0]), y, artifact


@pytest.mark.parametrize("level", ["clean", "artifact", "zero"])
def test_rows_get_the_level(level):
    X, y, artifact = draw()
    model = ConceptProjector(level=level).fit(X, y, artifact=artifact)
    direction = X[artifact == 1].mean(0) - X[artifact == 0].mean(0)
    direction /= np.linalg.norm(direction)
    wanted = {"clean": X[artifact == 0].mean(0), "artifact": X[artifact == 1].mean(0), "zero": np.zeros(5)}[level]
    fresh = draw(50, 1)[0]
    expected = fresh - np.outer((fresh - wanted) @ direction, direction)
    np.testing.assert_allclose(model.transform(fresh), expected, atol=1e-12)


def test_before_a_linear_classifier_it_is_a_changed_classifier():
    X, y, artifact = draw()
    pipeline = make_pipeline(ConceptProjector(), LogisticRegression()).fit(X, y, conceptprojector__artifact=artifact)
    projector, head = pipeline[0], pipeline[1]
    v = projector.directions_[0]
    weight, bias = head.coef_[0] - head.coef_[0] @ v * v, head.intercept_ + projector.levels_[0] * head.coef_[0] @ v
    fresh = draw(50, 1)[0]
    np.testing.assert_allclose(pipeline.decision_function(fresh), fresh @ weight + bias, atol=1e-12)


@pytest.mark.parametrize("condition", ["always", "concept"])
def test_it_does_what_the_network_does(condition):
    rng = np.random.default_rng(0)
    y, artifact = np.arange(160) % 2, rng.integers(0, 2, 160)
    images = rng.normal(size=(160, 8, 8))
    images[:, :2, :2] += 3 * artifact[:, None, None]
    network = NeuralImageClassifier(SmallCNN(4, depth=1), precision="float64", max_epochs=1, random_state=0)
    options = {"condition": condition, "false_positive_rate": 0.2, "random_state": 0}
    model = PClArC(network, **options).fit(images, y, artifact=artifact)
    features = model.unedited_.embed(images).astype(np.float64)
    projector = ConceptProjector(**options).fit(features, y, artifact=artifact)
    weight, bias = (part.detach().numpy() for part in model.unedited_.module_.head.parameters())
    logits = projector.transform(features) @ weight.T + bias
    # embed gives float32
    np.testing.assert_allclose(model.decision_function(images), logits[:, 1] - logits[:, 0], atol=1e-5)
    np.testing.assert_array_equal(model.flagged(images), projector.flagged(features))


def test_rows_that_are_not_flagged_keep_every_bit():
    X, y, artifact = draw(400)
    for dtype in (np.float32, np.float64):
        given = X.astype(dtype)
        model = ConceptProjector(condition="concept", false_positive_rate=0.1, random_state=0)
        model.fit(given, y, artifact=artifact)
        kept, result = ~model.flagged(given), model.transform(given)
        assert result.dtype == dtype
        assert not np.shares_memory(result, given)
        np.testing.assert_array_equal(result[kept], given[kept])
        assert (result[~kept] != given[~kept]).any(1).all()
        assert kept[artifact == 0].mean() > 0.8
        assert kept[artifact == 1].mean() < 0.5
        np.testing.assert_array_equal(kept, model.detector_.decision_function(given) <= model.threshold_)


def test_the_diagnosis_is_never_taken_for_the_artifact():
    X, y, artifact = draw()
    with pytest.raises(ValueError, match="needs to know which rows have the artifact"):
        ConceptProjector().fit(X, y)
    one, two = (ConceptProjector().fit(X, labels, artifact=artifact) for labels in (y, 1 - y))
    np.testing.assert_array_equal(one.directions_, two.directions_)
    scoped = ConceptProjector(ConceptVector(scope=1)).fit(X, y, artifact=artifact)
    expected = ConceptVector().fit(X[y == 1], artifact[y == 1])
    np.testing.assert_allclose(scoped.directions_, expected.coef_, atol=1e-12)


def test_unknown_rows_and_fitted_concepts():
    X, _, artifact = draw()
    unknown = np.where(np.arange(300) < 200, artifact, -1)
    model = ConceptProjector().fit(X, artifact=unknown)
    np.testing.assert_allclose(model.directions_, ConceptVector().fit(X[:200], artifact[:200]).coef_, atol=1e-12)
    concept = ConceptVector("svm").fit(X, artifact)
    again = ConceptProjector(FrozenEstimator(concept)).fit(X)
    assert again.concept_ is concept
    with pytest.raises(ValueError, match="has 5 features, but X has 3"):
        ConceptProjector(FrozenEstimator(concept)).fit(X[:, :3])
    with pytest.raises(ValueError, match="groups: row 4 has no group"):
        ConceptProjector().fit(X, artifact=artifact, groups=np.where(np.arange(300) == 4, np.nan, 1.0))


def test_labels_are_routed_in_cross_validation():
    X, y, artifact = draw()
    with config_context(enable_metadata_routing=True):
        projector = ConceptProjector().set_fit_request(artifact=True)
        pipeline = make_pipeline(StandardScaler(), projector, LogisticRegression())
        scores = cross_val_score(pipeline, X, y, params={"artifact": artifact}, cv=3)
    assert scores.min() > 0.6


def test_names_of_columns_stay():
    X, _, _artifact = draw()
    table = pd.DataFrame(X, columns=list("abcde"))
    model = ConceptProjector(artifact=lambda rows: rows["b"] > 1).set_output(transform="pandas").fit(table)
    assert model.transform(table).columns.tolist() == list("abcde")
