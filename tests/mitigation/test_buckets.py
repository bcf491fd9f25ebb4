"""Probabilities of the own label, and which bucket they put a row into."""

import numpy as np
from scipy.special import expit, softmax

from sklearn_shortcuts.mitigation._best_epoch import flatten_labels, make_monitor
from sklearn_shortcuts.mitigation._buckets import label_probabilities, sort_into_buckets


def test_probabilities_of_cross_entropy():
    logits = np.random.default_rng(0).normal(0, 3, (8, 4))
    codes = np.arange(8) % 4
    expected = softmax(logits, axis=1)[np.arange(8), codes][:, None]
    np.testing.assert_allclose(label_probabilities(logits, codes, "multiclass", "cross_entropy"), expected)
    one = logits[:, :1]
    p = expit(one[:, 0])
    codes = np.arange(8) % 2
    expected = np.where(codes == 1, p, 1 - p)[:, None]
    np.testing.assert_allclose(label_probabilities(one, codes, "binary", "cross_entropy"), expected)
    labels = np.random.default_rng(1).integers(0, 2, (8, 4))
    p = expit(logits)
    expected = np.where(labels == 1, p, 1 - p)
    np.testing.assert_allclose(label_probabilities(logits, labels, "multilabel", "cross_entropy"), expected)


def test_probabilities_of_the_squared_loss_reach_one():
    """Softmax of logits that were fitted to 0 and 1 never exceeds 0.731, so that all rows were ambiguous."""
    logits = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5], [-0.3, 1.2]])
    found = label_probabilities(logits, np.array([1, 1, 1, 1]), "binary", "squared")
    np.testing.assert_allclose(found[:, 0], [1, 0, 0.5, 1])
    found = label_probabilities(np.array([[1.0], [-1.0], [0.0]]), np.array([1, 1, 0]), "binary", "squared")
    np.testing.assert_allclose(found[:, 0], [1, 0, 0.5])
    found = label_probabilities(np.array([[0.2, 1.0, 0.0]]), np.array([0]), "multiclass", "squared")
    np.testing.assert_allclose(found[:, 0], [0.1])


def test_buckets():
    p, codes = np.array([[0.9], [0.75], [0.2], [0.25], [0.5], [0.26]]), np.array([1, 0, 0, 1, 1, 0])
    found = sort_into_buckets(p, codes, "binary", 0.25, 0.75).tolist()
    assert found == ["TP", "TN", "FP", "FN", "ambiguous", "ambiguous"]
    found = sort_into_buckets(p, codes, "multiclass", 0.25, 0.75).tolist()
    assert found == ["easy", "easy", "hard", "hard", "ambiguous", "ambiguous"]
    labels = np.array([[0.9, 0.1], [0.9, 0.8], [0.9, 0.5]])
    assert sort_into_buckets(labels, None, "multilabel", 0.25, 0.75).tolist() == ["hard", "easy", "ambiguous"]


class Says:
    def __init__(self, answer):
        self.answer = np.asarray(answer)

    def predict(self, X):
        return self.answer


def test_monitors():
    y = np.array(["a", "a", "a", "a", "b", "b"])
    stage_one = Says(["a", "a", "a", "a", "a", "b"])
    score = make_monitor("worst_class", stage_one, None, y)
    assert score(stage_one) == 0.5
    assert score(Says(["a", "a", "a", "b", "b", "b"])) == 0.75
    score = make_monitor("class_difference", stage_one, None, y)
    assert score(stage_one) == -0.5
    assert score(Says(["a", "a", "a", "b", "b", "b"])) == -0.25
    # Wrong half of the time in both classes: no difference at all, and no use.
    guesses = Says(["a", "a", "b", "b", "a", "b"])
    assert score(guesses) < -1


def test_of_several_labels_every_value_of_each_is_a_class():
    y = np.array([[0, 1], [1, 1], [0, 0], [0, 0]])
    assert flatten_labels(y).tolist() == [0, 3, 1, 3, 0, 2, 0, 2]
    predicted = np.array([[0, 1], [0, 1], [0, 0], [0, 1]])
    assert make_monitor("worst_class", None, None, y)(Says(predicted)) == 0  # the only positive of the first label
    assert make_monitor("worst_class", None, None, y)(Says(y)) == 1
    own = make_monitor(lambda estimator, X, labels: len(X) + estimator.predict(X).sum(), None, "rows", y)
    assert own(Says(predicted)) == 4 + predicted.sum()
