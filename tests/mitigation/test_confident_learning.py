"""Scores of labels against their definitions and the package cleanlab."""

import numpy as np
import pytest

from sklearn_shortcuts.mitigation._confident_learning import METHODS, find_label_issues


def draw(n_classes, n=400, seed=0):
    """Probabilities, and labels of which a tenth are wrong."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % n_classes
    logits = rng.normal(0, 1, (n, n_classes)) + 3 * (codes[:, None] == np.arange(n_classes))
    flipped = rng.random(n) < 0.1
    codes = np.where(flipped, (codes + 1) % n_classes, codes)
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True), codes


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("method", METHODS)
def test_equals_cleanlab(method, n_classes):
    rank = pytest.importorskip("cleanlab.rank")
    probabilities, codes = draw(n_classes)
    expected = rank.get_label_quality_scores(codes, probabilities, method=method)
    np.testing.assert_allclose(METHODS[method](probabilities, codes), expected, rtol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_issues_equal_those_of_cleanlab(n_classes, seed):
    filter_ = pytest.importorskip("cleanlab.filter")
    probabilities, codes = draw(n_classes, seed=seed)
    expected = filter_.find_label_issues(codes, probabilities, filter_by="confident_learning", n_jobs=1)
    assert 10 < expected.sum() < 60
    np.testing.assert_array_equal(find_label_issues(probabilities, codes), expected)


def test_issues_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.1, 0.9], [0.2, 0.8], [0.4, 0.6], [0.05, 0.95]])
    codes = np.array([0, 0, 1, 1, 1, 0])
    # Thresholds are (0.9 + 0.7 + 0.05) / 3 and (0.9 + 0.8 + 0.6) / 3.
    assert find_label_issues(probabilities, codes).tolist() == [False] * 5 + [True]
    assert not find_label_issues(probabilities[:2], codes[:2]).any()


def test_scores_of_a_model_that_is_sure():
    probabilities = np.array([[1.0, 0.0], [1 - 1e-9, 1e-9], [0.5, 0.5], [1e-9, 1 - 1e-9], [0.0, 1.0]])
    codes = np.zeros(5, dtype=int)
    for name, method in METHODS.items():
        scores = method(probabilities, codes)
        assert (np.diff(scores) <= 0).all(), name
        np.testing.assert_allclose(scores[:2], 1, atol=1e-6, err_msg=name)
        assert scores[-1] == 0
        assert scores[-2] < 0.2
