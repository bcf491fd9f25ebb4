"""From names of classes to scores."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, log_softmax
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.explain import grad_cam, input_gradients, occlusion, region_shapley
from sklearn_shortcuts.explain._targets import resolve_target, select_scores
from sklearn_shortcuts.neural._targets import TargetEncoding

LOGITS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 4.0]], dtype=torch.float64)


def test_positions_choose_logits():
    np.testing.assert_array_equal(select_scores(LOGITS, 1), [-2, 3])
    np.testing.assert_array_equal(select_scores(LOGITS, torch.tensor([2, 0])), [0.5, 0])
    np.testing.assert_array_equal(select_scores(LOGITS, "predicted"), [1, 4])


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_one_logit_stands_for_two_classes(kind):
    logits = LOGITS[:, 1:2]
    values = logits[:, 0].numpy()
    np.testing.assert_array_equal(select_scores(logits, torch.tensor([0, 1]), kind), [2, 3])
    np.testing.assert_array_equal(select_scores(logits, torch.tensor([1, 0]), kind), [-2, -3])
    np.testing.assert_array_equal(select_scores(logits, "predicted", kind), [2, 3])
    expected = np.log(expit(values)) + np.log(expit(-values))
    np.testing.assert_allclose(select_scores(logits, "sum_log_prob", kind), expected)


def test_labels_present_are_added():
    present = torch.tensor([[1, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(select_scores(LOGITS, present, "multilabel"), [1.5, 0])
    np.testing.assert_array_equal(select_scores(LOGITS[:, :1], 0, "multilabel"), [1, 0])


def test_sum_of_log_probabilities():
    np.testing.assert_allclose(select_scores(LOGITS, "sum_log_prob"), log_softmax(LOGITS, axis=1).sum(1))
    expected = (np.log(expit(LOGITS.numpy())) + np.log(expit(-LOGITS.numpy()))).sum(1)
    np.testing.assert_allclose(select_scores(LOGITS, "sum_log_prob", "multilabel"), expected)


def test_scores_have_gradients():
    for target in ("predicted", "sum_log_prob", 1, torch.ones(2, 3)):
        assert torch.autograd.gradcheck(
            lambda logits, t=target: select_scores(logits, t), LOGITS.clone().requires_grad_()
        )


@pytest.mark.parametrize(
    ("target", "message"), [("best", "'best' is no score"), (torch.ones(2, 2), "target has shape")]
)
def test_scores_that_there_are_not(target, message):
    with pytest.raises(ValueError, match=message):
        select_scores(LOGITS, target)


@pytest.mark.parametrize("explain", [grad_cam, input_gradients, occlusion, region_shapley])
@pytest.mark.parametrize(
    ("n_outputs", "options", "message"),
    [
        (3, {"target": 3}, "target: row 0 asks for class 3, .* from 0 to 2"),
        (3, {"target": [0, 2, -1]}, "target: row 2 asks for class -1"),
        (3, {"target": "true", "y": [0, 7, 2]}, "target: row 1 asks for class 7"),
        (1, {"target": 2}, "target: row 0 asks for class 2, .* with 1 output it must be from 0 to 1"),
        (3, {"target": "true", "y": np.ones((3, 2), int)}, "y has 2 columns, but the network has 3 outputs"),
    ],
)
def test_classes_that_a_network_does_not_have_are_named(explain, n_outputs, options, message):
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, n_outputs))
    rows = ImageBunch(np.ones((3, 6, 6), np.float32), masks=np.eye(6)[None].repeat(3, 0))
    with pytest.raises(ValueError, match=message):
        explain(network, rows, batch_size=1, **options)


def subject(encoding=None, n_rows=3, **fields):
    """What resolve_target asks of a subject."""
    bunch = ImageBunch(np.zeros((n_rows, 2, 2)), **fields)
    field = lambda name: bunch.get(name) if name in bunch.fields else None  # noqa: E731
    return SimpleNamespace(encoding=encoding, n_rows=n_rows, field=field)


CLASSES = TargetEncoding.learn(np.array(["b", "a", "c"]))
LABELS = TargetEncoding.learn(np.zeros((2, 3), int), names=["edema", "mass", "true"])


@pytest.mark.parametrize(
    ("encoding", "target", "expected"),
    [
        (CLASSES, "b", [1, 1, 1]),
        (CLASSES, ["c", "a", "b"], [2, 0, 1]),
        (TargetEncoding.learn(np.array([10, 20, 30])), 30, [2, 2, 2]),
        (TargetEncoding.learn(np.array([False, True])), np.bool_(True), [1, 1, 1]),
        (LABELS, "mass", [1, 1, 1]),
        (LABELS, "true", [2, 2, 2]),  # a name goes before a word
        (None, 2, [2, 2, 2]),
        (None, np.array([0, 1, 0]), [0, 1, 0]),
    ],
)
def test_classes_become_positions(encoding, target, expected):
    np.testing.assert_array_equal(resolve_target(subject(encoding), target), expected)


def test_words_are_left_to_the_logits():
    assert resolve_target(subject(CLASSES), "predicted") == "predicted"
    assert resolve_target(subject(), "sum_log_prob") == "sum_log_prob"


def test_true_classes_come_from_y_or_the_bunch():
    np.testing.assert_array_equal(resolve_target(subject(CLASSES), "true", ["a", "b", "a"]), [0, 1, 0])
    with_target = subject(CLASSES, target=["c", "c", "b"])
    np.testing.assert_array_equal(resolve_target(with_target, "true"), [2, 2, 1])
    np.testing.assert_array_equal(resolve_target(with_target, "true", ["a", "b", "a"]), [0, 1, 0])
    table = pd.DataFrame([[1, 0, 0], [0, 0, 0], [1, 1, 0]], columns=["edema", "mass", "nodule"])
    labels = TargetEncoding.learn(table.to_numpy(), names=list(table.columns))
    np.testing.assert_array_equal(resolve_target(subject(labels), "true", table), table)
    np.testing.assert_array_equal(resolve_target(subject(), "true", [1, 0, 1]), [1, 0, 1])


@pytest.mark.parametrize(
    ("encoding", "target", "y", "message"),
    [
        (CLASSES, "d", None, r"target='d' is not among \['a', 'b', 'c'\]"),
        (CLASSES, ["a", "d", "b"], None, "target has 'd' in row 1, which is not among"),
        (CLASSES, ["a"], None, "target has 1 entries, but X has 3 rows"),
        (CLASSES, [["a"]], None, "one class or one per row"),
        (CLASSES, "true", None, "give y, or an ImageBunch"),
        (CLASSES, "true", ["a"], "y has 1 rows, but X has 3"),
        (CLASSES, "true", ["a", "d", "b"], "'d', which is not among"),
        (None, "cat", None, "position of its output"),
        (None, 1.5, None, "position of its output"),
        (None, "true", ["a", "b", "c"], "position of its output"),
        (None, "true", [[1, 0], [0.5, 1], [0, 0]], "y: row 1 has other values than 0 and 1"),
        (None, "true", 1, "y has a single value, not rows"),
        (CLASSES, "true", "abc", "y has a single value, not rows"),
        (LABELS, "true", pd.DataFrame(np.zeros((3, 3), int), columns=["x", "y", "z"]), "not among|the labels"),
    ],
)
def test_targets_that_do_not_fit_are_refused(encoding, target, y, message):
    if encoding is LABELS:
        encoding = TargetEncoding.learn(np.zeros((2, 3), int), names=["edema", "mass", "nodule"])
    with pytest.raises(ValueError, match=message):
        resolve_target(subject(encoding), target, y)
