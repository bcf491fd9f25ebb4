"""Training beside a biased network."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from sklearn_shortcuts.mitigation import LfFClassifier
from sklearn_shortcuts.mitigation._lff import FailureLoss, LearningFromFailure
from sklearn_shortcuts.neural import CrossEntropy, NeuralImageClassifier, SmallCNN

from .planted_groups import draw, small_network, worst_group


class Given(nn.Module):
    """Network whose logits are what it is given."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, X):
        return self.scale * X


def build(n_samples, n_outputs, kind, q=0.7, decay=0.7):
    spec = LearningFromFailure(small_network(), q=q, decay=decay)
    return FailureLoss(Given(), spec, n_samples, n_outputs, kind).double()


def log_loss_of(logits, y):
    logits = logits - logits.max(1, keepdims=True)
    return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), y]


# -- the criterion -----------------------------------------------------------------------------------------------------
def test_losses_of_a_few_batches():
    rng = np.random.default_rng(0)
    n, y = 30, rng.integers(0, 3, 30)
    loss = build(n, 3, "multiclass", q=0.6, decay=0.8)
    averages, seen = np.zeros((n, 2)), np.zeros(n, dtype=bool)
    for _ in range(8):
        index = rng.permutation(n)[:7]
        biased, main = rng.normal(size=(2, 7, 3))
        batch = {"X": torch.from_numpy(biased), "y": torch.from_numpy(y[index]), "index": torch.from_numpy(index)}
        values = loss(torch.from_numpy(main), batch, True).detach().numpy()

        losses = np.stack([log_loss_of(biased, y[index]), log_loss_of(main, y[index])], axis=1)
        past = np.where(seen[index, None], averages[index], losses)
        averages[index], seen[index] = 0.8 * past + 0.2 * losses, True
        largest = np.stack([averages[y == label].max(axis=0) if (y == label).any() else [1, 1] for label in range(3)])
        difficulty = averages / np.where(largest > 0, largest, 1)[y]
        weight = difficulty[:, 0] / np.maximum(difficulty.sum(1), 1e-12)
        expected = weight[index] * losses[:, 1] + 0.6 * np.exp(-0.6 * losses[:, 0]) * losses[:, 0]
        np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_allclose(loss.difficulty(), np.where(seen, weight, np.nan), rtol=1e-6)
    held_out = loss(torch.from_numpy(main), batch, False).numpy()
    np.testing.assert_allclose(held_out, losses[:, 1])


@pytest.mark.parametrize("q", [0.3, 1.0])
def test_gradients_of_both_networks(q):
    rng = np.random.default_rng(0)
    biased, main, y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), np.arange(6) % 2
    loss = build(6, 2, "binary", q=q)
    tensors = torch.from_numpy(biased).requires_grad_(), torch.from_numpy(main).requires_grad_()
    batch = {"X": tensors[0], "y": torch.from_numpy(y), "index": torch.arange(6)}
    loss(tensors[1], batch, True).sum().backward()
    softmax = [np.exp(logits) / np.exp(logits).sum(1, keepdims=True) for logits in (biased, main)]
    p = softmax[0][np.arange(6), y]
    expected = (q * p**q)[:, None] * (softmax[0] - np.eye(2)[y])
    np.testing.assert_allclose(tensors[0].grad.numpy(), expected, rtol=1e-9, atol=1e-12)
    weight = loss.difficulty()[:, None]
    np.testing.assert_allclose(tensors[1].grad.numpy(), weight * (softmax[1] - np.eye(2)[y]), rtol=1e-9)


def test_several_labels_have_weights_of_their_own():
    rng = np.random.default_rng(0)
    y, label_weight = rng.integers(0, 2, (20, 3)), rng.uniform(0.5, 2, (20, 3))
    biased, main = rng.normal(size=(2, 20, 3))
    batch = {"X": biased, "y": y.astype(float), "label_weight": label_weight, "index": np.arange(20)}
    batch = {name: torch.from_numpy(value) for name, value in batch.items()}
    values = build(20, 3, "multilabel")(torch.from_numpy(main), batch, True).detach().numpy()
    losses = np.log1p(np.exp(-np.stack([biased, main]) * (2 * y - 1)))
    relative = np.zeros_like(losses)
    for label in range(3):
        for state in (0, 1):
            rows = y[:, label] == state
            relative[:, rows, label] = losses[:, rows, label] / losses[:, rows, label].max(axis=1, keepdims=True)
    weight = relative[0] / relative.sum(0)
    expected = (weight * losses[1] + 0.7 * np.exp(-0.7 * losses[0]) * losses[0]) * label_weight
    np.testing.assert_allclose(values, expected.mean(1), rtol=1e-6)


# -- the classifier ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", [0, 1])
def test_worst_group_is_better_than_by_plain_training(seed):
    X, y, against = draw(1000, 0.95, seed)
    test = draw(2000, 0.5, 10 + seed)
    network = small_network(max_epochs=30, random_state=seed)
    plain = clone(network).fit(X, y)
    model = LfFClassifier(network).fit(X, y)
    assert worst_group(model, *test) > worst_group(plain, *test) + 0.2
    assert worst_group(model.biased_estimator_, *test) < worst_group(plain, *test)
    assert roc_auc_score(against, model.sample_scores_) > 0.95


def test_biased_network_is_trained_with_its_own_loss_only():
    X, y, _ = draw(64, 0.8, 0)
    network = small_network(max_epochs=3, batch_size=64, precision="float64")
    model = LfFClassifier(network, q=1e-9).fit(X, y)
    start = clone(network).set_params(lr=1e-12).fit(X, y)
    np.testing.assert_allclose(model.biased_estimator_.predict_proba(X), start.predict_proba(X), rtol=1e-6)
    other = LfFClassifier(network, q=1).fit(X, y)  # which trains the biased network, whose losses weigh rows
    assert np.abs(other.predict_proba(X) - model.predict_proba(X)).max() > 1e-7


def test_descriptions_of_networks_give_two_different_ones():
    X, y, _ = draw(40, 0.8, 0)
    network = NeuralImageClassifier(SmallCNN(4, depth=1), max_epochs=1, lr=1e-12, random_state=0)
    model = LfFClassifier(network).fit(X, y)
    first, second = model.estimator_, model.biased_estimator_
    assert np.abs(first.predict_proba(X) - second.predict_proba(X)).max() > 1e-3
    # The first network starts as it would alone.
    np.testing.assert_allclose(first.predict_proba(X), clone(network).fit(X, y).predict_proba(X), rtol=1e-4)


def test_both_results_are_ordinary_classifiers(tmp_path):
    X, y, _ = draw(120, 0.8, 0)
    network = NeuralImageClassifier(SmallCNN(4, depth=1), max_epochs=2, random_state=0)
    before = str(network.get_params())
    copies = X.copy(), y.copy()
    model = LfFClassifier(network).fit(X, y)
    again = LfFClassifier(network).fit(X, y)
    np.testing.assert_array_equal(again.sample_scores_, model.sample_scores_)
    for one, other in zip((model.estimator_, model.biased_estimator_), (again.estimator_, again.biased_estimator_)):
        np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
        assert str(one.get_params()) == before == str(network.get_params())
        one.save(tmp_path / "model.zip")
        loaded = NeuralImageClassifier.load(tmp_path / "model.zip")
        np.testing.assert_array_equal(loaded.predict_proba(X), one.predict_proba(X))
        n_weights = sum(weight.numel() for weight in one.module_.parameters())
        assert n_weights == sum(w.numel() for group in one.net_.optimizer_.param_groups for w in group["params"])
    first, second = model.predict_proba(X), model.biased_estimator_.predict_proba(X)
    model.estimator_.set_params(warm_start=True).fit(X, y)
    np.testing.assert_array_equal(model.biased_estimator_.predict_proba(X), second)
    assert len(model.biased_estimator_.net_.history) == 2
    assert np.abs(model.predict_proba(X) - first).max() > 1e-4
    assert pickle.loads(pickle.dumps(again)).score(X, y) == again.score(X, y)
    for one, other in zip((X, y), copies):
        np.testing.assert_array_equal(one, other)


def test_rows_that_are_not_trained_on_have_no_scores():
    X, y, _ = draw(100, 0.8, 0)
    weight = np.where(np.arange(100) < 10, 0.0, 1.0)
    network = small_network(max_epochs=2, early_stopping=True, validation_fraction=0.2)
    patients = np.arange(100) // 5
    model = LfFClassifier(network).fit(X, y, sample_weight=weight, groups=patients)
    unknown = np.isnan(model.sample_scores_)
    assert unknown[:10].all()
    assert 10 < unknown.sum() <= 40
    assert not set(patients[10:][unknown[10:]]) & set(patients[10:][~unknown[10:]])
    known = model.sample_scores_[~unknown]
    assert (known > 0).all()
    assert (known < 1).all()
    assert model.history_["valid_loss"].notna().all()


@pytest.mark.parametrize("target", ["text", "classes", "one logit", "labels"])
def test_kinds_of_target(target):
    X, y, _ = draw(80, 0.7, 0)
    n_outputs = {"classes": 3, "one logit": 1, "labels": 3}.get(target, 2)
    y = {"text": np.array(["no", "yes"])[y], "classes": np.arange(80) % 3}.get(target, y)
    if target == "labels":
        y = pd.DataFrame(np.random.default_rng(0).integers(0, 2, (80, 3)), columns=["a", "b", "c"])
    pipeline = make_pipeline(FunctionTransformer(), small_network(n_outputs, max_epochs=1, class_weight="balanced"))
    model = LfFClassifier(pipeline).fit(X, y)
    assert model.predict(X).shape == model.biased_estimator_.predict(X).shape == np.shape(y)
    assert np.isfinite(model.sample_scores_).all()


def test_rows_are_never_sampled():
    X, y, _ = draw(100, 0.8, 0)
    weight = np.random.default_rng(0).choice([0.1, 5.0], 100)
    scores = [
        LfFClassifier(small_network(max_epochs=2, weighting=weighting)).fit(X, y, sample_weight=weight).sample_scores_
        for weighting in ("loss", "sampling")
    ]
    assert np.isfinite(scores[0]).all()
    np.testing.assert_array_equal(*scores)


def test_bfloat16():
    X, y, _ = draw(60, 0.8, 0)
    network = NeuralImageClassifier(SmallCNN(4, depth=1), max_epochs=1, precision="bfloat16", random_state=0)
    assert np.isfinite(LfFClassifier(network).fit(X, y).sample_scores_).all()


def test_bad_input():
    X, y, _ = draw(40, 0.7, 0)
    for options, message in (({"q": 0.0}, "'q' parameter"), ({"decay": 1.0}, "'decay' parameter")):
        with pytest.raises(ValueError, match=message):
            LfFClassifier(small_network(), **options).fit(X, y)
    with pytest.raises(ValueError, match="has a criterion of its own, CrossEntropy"):
        LfFClassifier(small_network(criterion=CrossEntropy())).fit(X, y)
