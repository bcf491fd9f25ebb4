"""Criteria and penalties: the default against closed forms, and the form in which others plug in."""

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.neural import Criterion, CrossEntropy, NeuralImageClassifier, Penalty, SmallCNN

TINY = SmallCNN(width=4, depth=2)


def model(**parameters):
    return NeuralImageClassifier(
        **{"module": TINY, "lr": 0.01, "max_epochs": 2, "batch_size": 16, "random_state": 0, **parameters}
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "one logit"])
def test_cross_entropy_equals_its_definition(kind, smoothing):
    rng = np.random.default_rng(0)
    n_outputs = 1 if kind == "one logit" else 4
    logits = rng.normal(size=(6, n_outputs)) * 3
    if kind == "multiclass":
        y = rng.integers(0, 4, 6)
        target = (1 - smoothing) * np.eye(4)[y] + smoothing / 4
        expected = -(target * log_softmax(logits, axis=1)).sum(axis=1)
    else:
        y = rng.integers(0, 2, (6, n_outputs)).astype(float)
        target = (1 - smoothing) * y + smoothing / 2
        p = expit(logits)
        expected = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean(axis=1)
        y = y[:, 0].astype(int) if kind == "one logit" else y
    criterion = CrossEntropy(smoothing).build(6, n_outputs, "binary" if kind == "one logit" else kind)
    losses = criterion(torch.from_numpy(logits), {"y": torch.from_numpy(y)}, True)
    np.testing.assert_allclose(losses, expected, rtol=1e-10)


def test_smoothing_is_checked(spots):
    with pytest.raises(ValueError, match="label_smoothing"):
        model(criterion=CrossEntropy(1.0)).fit(*spots())


class FreeLogits(Criterion):
    """Cross-entropy with one trained logit vector per row, and notes on what it was given."""

    fields = ("masks", "has_mask")

    def build(self, n_samples, n_outputs, kind):
        return _FreeLogits(n_samples, n_outputs)


class _FreeLogits(nn.Module):
    def __init__(self, n_samples, n_outputs):
        super().__init__()
        self.extra = nn.Parameter(torch.zeros(n_samples, n_outputs))
        self.calls = []

    def forward(self, logits, batch, training):
        self.calls.append((training, sorted(batch), batch["masks"].shape[1:], batch["has_mask"].tolist()))
        if training:
            logits = logits + self.extra[batch["index"]]
        return nn.functional.cross_entropy(logits, batch["y"], reduction="none")


@pytest.mark.parametrize("in_bunch", [True, False])
def test_a_criterion_gets_its_fields_and_is_trained_along(spots, in_bunch):
    images, codes = spots(n=20)
    masks = [np.ones((16, 16))] * 10 + [None] * 10
    fitted = model(criterion=FreeLogits())
    if in_bunch:
        fitted.fit(ImageBunch(images, masks=masks), codes)
    else:
        fitted.fit(images, codes, masks=masks)
    criterion = fitted.net_.criterion_
    assert (criterion.extra != 0).all(), "every row's logits were trained"
    training, names, shape, _ = criterion.calls[0]
    assert training
    assert names == ["X", "has_mask", "index", "masks", "y"]
    assert shape == (16, 16)
    assert sum(sum(has_mask) for *_, has_mask in criterion.calls) == 2 * 10
    assert model(criterion=FreeLogits(), warm_start=True).fit(images, codes, masks=masks).score(images, codes) >= 0


def test_given_masks_go_before_those_of_the_bunch(spots):
    images, codes = spots(n=20)
    bunch = ImageBunch(images, masks=np.ones((20, 16, 16)))
    fitted = model(criterion=FreeLogits()).fit(bunch, codes, masks=[None] * 19 + [np.ones((16, 16))])
    assert sum(sum(has_mask) for *_, has_mask in fitted.net_.criterion_.calls) == 2


def test_a_criterion_with_weights_is_new_for_other_rows_and_kept_for_the_same(spots):
    images, codes = spots(n=20)
    masks = np.ones((20, 16, 16))
    fitted = model(criterion=FreeLogits(), warm_start=True).fit(images, codes, masks=masks)
    criterion, module = fitted.net_.criterion_, fitted.module_
    fitted.fit(images, codes, masks=masks)
    assert fitted.net_.criterion_ is criterion
    fitted.fit(images[:18], codes[:18], masks=masks[:18])
    assert fitted.net_.criterion_.extra.shape == (18, 2)
    assert fitted.module_ is module
    assert fitted.n_iter_ == 6


@pytest.mark.parametrize("X", [np.zeros((4, 16, 16)), ImageBunch(np.zeros((4, 16, 16)), artifact=[0, 1, 0, 1])])
def test_a_missing_field_is_named_with_the_remedy(X):
    with pytest.raises(ValueError, match=r"need the field '(has_mask|masks)'.*or fit\(X, y, masks"):
        model(criterion=FreeLogits()).fit(X, [0, 1, 0, 1])


class InputGradient(Penalty):
    """Squared gradient of the loss inside the mask."""

    needs_input_grad = True
    fields = ("masks",)

    def __init__(self, strength=1.0):
        self.strength = strength

    def build(self, n_samples, n_outputs, kind):
        return _InputGradient(self.strength)


class _InputGradient:
    def __init__(self, strength):
        self.strength = strength
        self.epochs = []

    def __call__(self, module, batch):
        (gradient,) = torch.autograd.grad(batch["losses"].sum(), batch["X"], create_graph=True)
        self.epochs.append(batch["epoch"])
        return self.strength * (gradient * batch["masks"][:, None]).square().flatten(1).sum(1)


def test_a_penalty_changes_what_is_learned_and_is_reported_apart(spots):
    images, codes = spots()
    masks = np.zeros((48, 16, 16))
    masks[:, :8] = 1  # where the spots are
    bunch = ImageBunch(images, masks=masks)
    free = model(penalty=InputGradient(0.0), max_epochs=8).fit(bunch, codes)
    held = model(penalty=InputGradient(1e4), max_epochs=8).fit(bunch, codes)
    plain = model(max_epochs=8).fit(bunch, codes)
    np.testing.assert_allclose(free.predict_proba(images), plain.predict_proba(images), rtol=1e-3, atol=1e-5)
    assert held.history_.train_criterion.iloc[-1] > 2 * free.history_.train_criterion.iloc[-1]
    for history in (free.history_, held.history_):
        assert history.columns.tolist() == ["epoch", "train_loss", "train_criterion", "train_penalty", "seconds"]
        np.testing.assert_allclose(history.train_loss, history.train_criterion + history.train_penalty, rtol=1e-5)
    assert held.net_.penalty_.epochs == sorted([*range(1, 9)] * 3)
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in held.module_.parameters())


def test_a_penalty_may_come_later(spots):
    images, codes = spots()
    bunch = ImageBunch(images, masks=np.ones((48, 16, 16)))
    fitted = model(warm_start=True).fit(bunch, codes)
    module = fitted.module_
    history = fitted.set_params(penalty=InputGradient(0.1)).fit(bunch, codes).history_
    assert fitted.module_ is module
    assert history.train_penalty.isna().tolist() == [True, True, False, False]
    assert history.train_loss.notna().all()


def test_penalties_see_activations_of_the_same_forward_pass(spots):
    images, codes = spots()

    class Recording:
        def __init__(self):
            self.ok = []

        def watch(self, module):
            handle = module.pool.register_forward_hook(lambda layer, inputs, output: setattr(self, "seen", output))
            return _Removing(handle)

        def __call__(self, module, batch):
            logits = module.head(self.seen.flatten(1))
            self.ok.append(torch.allclose(logits, batch["logits"]))
            return self.seen.flatten(1).square().mean(1)

    class Activations(Penalty):
        def build(self, n_samples, n_outputs, kind):
            return Recording()

    fitted = model(penalty=Activations()).fit(images, codes)
    assert all(fitted.net_.penalty_.ok)
    assert len(fitted.net_.penalty_.ok) == 6
    assert not fitted.module_.pool._forward_hooks
    with pytest.raises(ValueError, match="nor be watched by hooks"):
        model(penalty=Activations(), compile=True).fit(images, codes)


class _Removing:
    def __init__(self, handle):
        self.handle = handle

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.handle.remove()


def test_a_penalty_with_weights_is_trained_along(spots):
    class Trained(Penalty):
        def build(self, n_samples, n_outputs, kind):
            return _Trained()

    class _Trained(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Parameter(torch.tensor(1.0))

        def forward(self, module, batch):
            return (batch["logits"].mean(1) - self.offset).square()

    fitted = model(penalty=Trained()).fit(*spots())
    assert fitted.net_.penalty_.offset != 1.0


@pytest.mark.parametrize(
    ("parameters", "what"),
    [
        ({"criterion": type("Mean", (Criterion,), {"build": lambda self, *_: _Constant()})()}, "criterion"),
        ({"penalty": type("Mean", (Penalty,), {"build": lambda self, *_: lambda *_: torch.ones(3)})()}, "penalty"),
    ],
)
def test_values_that_are_not_one_per_row_are_refused(spots, parameters, what):
    with pytest.raises(ValueError, match=f"{what} must give one value per row, shape \\(16,\\)"):
        model(**parameters).fit(*spots())


class _Constant(nn.Module):
    def forward(self, logits, batch, training):
        return logits.mean()


@pytest.mark.parametrize("base", [Criterion, Penalty])
def test_the_bases_say_what_is_missing(base):
    with pytest.raises(NotImplementedError, match="implement build"):
        base().build(1, 2, "binary")
