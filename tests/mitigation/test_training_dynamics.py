"""The recorder against plain NumPy on the logits of every visit."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

from sklearn_shortcuts.mitigation._training_dynamics import SCORES, TrainingDynamics

N, EARLY = 12, 3


def visits(n_outputs, n_epochs=6, seed=0):
    """Logits of all rows in all epochs."""
    return np.random.default_rng(seed).normal(0, 2, (n_epochs, N, n_outputs))


def record(logits, y, kind, network=None):
    dynamics = TrainingDynamics(N, logits.shape[2], kind, EARLY).double()
    order = np.random.default_rng(1)
    for epoch in torch.from_numpy(logits):
        for rows in np.array_split(order.permutation(N), 3):
            dynamics.update(epoch[rows], torch.from_numpy(y)[rows], torch.from_numpy(rows))
    return dynamics


def expected_scores(logits, y):
    """Of logits of alternatives, shape (epochs, n, n_alternatives)."""
    rows = np.arange(len(y))
    log_p = log_softmax(logits, axis=2)
    own, p = log_p[:, rows, y], np.exp(log_p[:, rows, y])
    others = logits.copy()
    others[:, rows, y] = -np.inf
    margin = logits[:, rows, y] - others.max(2)
    right = margin > 0
    forgotten = (right[:-1] & ~right[1:]).sum(0)
    error = np.linalg.norm(np.exp(log_p) - np.eye(logits.shape[2])[y], axis=2)
    return {
        "loss": -own[-1],
        "mean_loss": -own.mean(0),
        "confidence": 1 - p.mean(0),
        "variability": p.std(0),
        "aleatoric": (p * (1 - p)).mean(0),
        "correctness": 1 - right.mean(0),
        "forgetting": np.where(right.any(0), forgotten, len(logits)),
        "aum": -margin.mean(0),
        "el2n": error[:EARLY].mean(0),
    }


def check(table, expected):
    for name, values in expected.items():
        np.testing.assert_allclose(table[name], values, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(("n_outputs", "kind"), [(2, "binary"), (4, "multiclass")])
def test_classes(n_outputs, kind):
    logits, y = visits(n_outputs), np.arange(N) % n_outputs
    table = record(logits, y, kind).table()
    assert tuple(table) == SCORES
    check(table, expected_scores(logits, y))
    assert table["grand"].isna().all()  # nobody told it what the head gets


def test_one_logit_is_that_of_the_second_class():
    logits, y = visits(1), np.arange(N) % 2
    check(record(logits, y, "binary").table(), expected_scores(np.concatenate([0 * logits, logits], axis=2), y))


def test_several_labels_are_averaged():
    logits, y = visits(3), np.random.default_rng(2).integers(0, 2, (N, 3)).astype(float)
    table = record(logits, y, "multilabel").table()
    parts = [
        expected_scores(np.stack([np.zeros(logits.shape[:2]), logits[:, :, label]], axis=2), y[:, label].astype(int))
        for label in range(3)
    ]
    check(table, {name: np.mean([part[name] for part in parts], axis=0) for name in parts[0]})


def test_rows_that_were_never_seen_have_no_scores():
    dynamics = TrainingDynamics(5, 2, "binary", EARLY)
    dynamics.update(torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.tensor([0, 1]), torch.tensor([1, 4]))
    table = dynamics.table().drop(columns="grand")
    assert table.loc[[0, 2, 3]].isna().all().all()
    assert table.loc[[1, 4]].notna().all().all()


@pytest.mark.parametrize(("kind", "n_outputs"), [("multiclass", 3), ("binary", 1), ("multilabel", 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_last_layer_gradient_is_that_of_autograd(kind, n_outputs, bias):
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, n_outputs, bias=bias)).double()
    X = torch.from_numpy(np.random.default_rng(0).normal(size=(N, 4)))
    y = np.arange(N) % max(2, n_outputs)
    if kind == "multilabel":
        y = np.random.default_rng(0).integers(0, 2, (N, 2)).astype(float)
    dynamics = TrainingDynamics(N, n_outputs, kind, EARLY).double()
    with dynamics.watch(network):
        logits = network(X)
    dynamics.update(logits.detach(), torch.from_numpy(y), torch.arange(N))
    expected = []
    for row in range(N):
        wanted = torch.from_numpy(y)[row : row + 1]
        if kind == "multiclass":
            losses = [nn.functional.cross_entropy(logits[row : row + 1], wanted)]
        else:
            wanted = wanted.double().reshape(1, -1)
            losses = nn.functional.binary_cross_entropy_with_logits(logits[row : row + 1], wanted, reduction="none")[0]
        norms = []
        for loss in losses:
            gradients = torch.autograd.grad(loss, list(network[2].parameters()), retain_graph=True)
            norms.append(torch.sqrt(sum(part.square().sum() for part in gradients)).item())
        expected.append(np.mean(norms))
    np.testing.assert_allclose(dynamics.table()["grand"], expected, rtol=1e-6)
    assert not network[2]._forward_pre_hooks
