"""Scores of explanations in cross-validation and searches: the numbers, their signs, processes, and what is missing."""

import pickle
from functools import partial

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from sklearn_shortcuts import metrics
from sklearn_shortcuts.explain import grad_cam, input_gradients, make_explanation_scorer
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.metrics import SaliencyScore
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
from sklearn_shortcuts.preprocessing import ROIMasker


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 20)
    masks, artifacts = np.zeros((2, 40, 10, 10))
    masks[:, 3:8, 3:8] = 1
    artifacts[y == 1, 0:2, 0:2] = 1
    images = rng.normal(size=(40, 10, 10)) + 2 * y[:, None, None] * masks + artifacts
    return ImageBunch(images, masks=masks, artifact_masks=artifacts, target=y)


@pytest.fixture(scope="module")
def model(rows):
    return network().fit(rows)


def network(**options):
    return NeuralImageClassifier(SmallCNN(width=3, depth=1), max_epochs=2, random_state=0, **options)


NAMES = [
    ("activation_precision", 1),
    ("pointing_game", 1),
    ("relevance_mass_accuracy", 1),
    ("relevance_rank_accuracy", 1),
    ("saliency_iou", 1),
    ("wrong_reason_score", -1),
    ("artifact_relevance", -1),
]


@pytest.mark.parametrize(("name", "sign"), NAMES)
def test_numbers_are_those_of_the_metric(model, rows, name, sign):
    scorer = make_explanation_scorer(name, "input_gradients")
    masks = rows.artifact_masks if name == "artifact_relevance" else rows.masks
    expected = getattr(metrics, name)(input_gradients(model, rows), masks).value
    assert scorer(model, rows, rows.target) == pytest.approx(sign * expected)
    other = make_explanation_scorer(name, input_gradients, mask_role="avoid" if sign == 1 else "attend")
    assert other(model, rows) == pytest.approx(-sign * expected)


def test_every_metric_of_saliency_maps_has_a_sign():
    taking_maps = {name for name in metrics.__all__ if getattr(metrics, name).__doc__ and _takes_maps(name)}
    assert taking_maps == {name for name, _ in NAMES}


def _takes_maps(name):
    import inspect

    function = getattr(metrics, name)
    return inspect.isfunction(function) and next(iter(inspect.signature(function).parameters)) == "maps"


def test_options_and_own_metrics(model, rows):
    narrow = make_explanation_scorer(partial(metrics.activation_precision, tau=1.0), layer="auto", target="true")
    expected = metrics.activation_precision(grad_cam(model, rows, "true"), rows.masks, tau=1.0).value
    assert narrow(model, rows, rows.target) == pytest.approx(expected)
    wrong = make_explanation_scorer(partial(metrics.wrong_reason_score, threshold=0.5))
    assert wrong(model, rows) <= 0

    def largest(maps, masks, *, has_mask):
        assert has_mask.all()
        return np.asarray(maps).max()

    assert make_explanation_scorer(largest)(model, rows) == pytest.approx(float(grad_cam(model, rows).max()))
    elsewhere = make_explanation_scorer("pointing_game", field="artifact_masks", mask_role="avoid")
    expected = metrics.pointing_game(grad_cam(model, rows), rows.artifact_masks).value
    assert elsewhere(model, rows) == pytest.approx(-expected)


def test_only_rows_with_a_mask_count(model, rows):
    some = [mask if row < 10 else None for row, mask in enumerate(rows.masks)]
    scorer = make_explanation_scorer("relevance_mass_accuracy", "input_gradients")
    assert scorer(model, rows.with_fields(masks=some)) == pytest.approx(scorer(model, rows[:10]))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_in_a_search(rows, n_jobs):
    scoring = {
        "accuracy": "accuracy",
        "mass": make_explanation_scorer("relevance_mass_accuracy", "input_gradients", target="true"),
        "artifact": make_explanation_scorer("artifact_relevance", "input_gradients"),
    }
    pipeline = make_pipeline(ROIMasker("all"), network())
    grid = {"roimasker__keep": ["all", "roi"]}
    search = GridSearchCV(pipeline, grid, scoring=scoring, refit="mass", cv=2, n_jobs=n_jobs)
    results = search.fit(rows, rows.target).cv_results_
    assert np.isfinite(results["mean_test_mass"]).all()
    assert (results["mean_test_artifact"] < 0).all()
    alone = GridSearchCV(pipeline, grid, scoring=scoring["mass"], cv=2).fit(rows, rows.target)
    np.testing.assert_allclose(alone.cv_results_["mean_test_score"], results["mean_test_mass"])


def test_equals_scoring_by_hand_in_every_fold(rows):
    scorer = make_explanation_scorer("activation_precision", "input_gradients")
    result = cross_validate(
        network(), rows, rows.target, scoring=scorer, cv=2, return_estimator=True, return_indices=True
    )
    for fitted, test, score in zip(result["estimator"], result["indices"]["test"], result["test_score"]):
        held_out = rows[test]
        expected = metrics.activation_precision(input_gradients(fitted, held_out), held_out.masks).value
        assert score == pytest.approx(expected)


def test_pickle_and_text():
    scorer = make_explanation_scorer("saliency_iou", grad_cam, layer="0", batch_size=4)
    copy = pickle.loads(pickle.dumps(scorer))
    text = (
        "make_explanation_scorer('saliency_iou', grad_cam, mask_role='attend', field='masks', layer='0', batch_size=4)"
    )
    assert repr(copy) == repr(scorer) == text
    assert "partial" not in repr(
        make_explanation_scorer(partial(metrics.saliency_iou, threshold=0.2), partial(grad_cam))
    )


def test_what_is_missing_is_named(model, rows):
    with pytest.raises(ValueError, match="'metric' parameter"):
        make_explanation_scorer("precision")
    with pytest.raises(ValueError, match="explainer='gradcam' is not known"):
        make_explanation_scorer(explainer="gradcam")
    with pytest.raises(ValueError, match="'mask_role' parameter"):
        make_explanation_scorer(mask_role="right")
    scorer = make_explanation_scorer()
    with pytest.raises(ValueError, match="but is ndarray"):
        scorer(model, np.asarray(rows))
    with pytest.raises(ValueError, match=r"field 'masks', but has the fields \['target'\]"):
        scorer(model, rows.with_fields(masks=None, artifact_masks=None))

    def silent(maps, masks, *, has_mask):
        return SaliencyScore(np.nan, np.nan, 0, len(maps), 0, 0, np.full(len(maps), np.nan))

    with pytest.raises(ValueError, match="no map of these 40 rows says anything"):
        make_explanation_scorer(silent)(model, rows)
