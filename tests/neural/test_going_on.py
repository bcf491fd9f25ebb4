"""Training a fitted classifier further: warm starts and partial fits."""

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import LRScheduler
from torch import nn

from sklearn_shortcuts.neural import CrossEntropy, NeuralImageClassifier, SmallCNN

TINY = SmallCNN(width=4, depth=2)


def model(**parameters):
    return NeuralImageClassifier(**{"module": TINY, "lr": 0.01, "batch_size": 16, "random_state": 0, **parameters})


def test_warm_start_goes_on_and_a_new_fit_starts_over(spots):
    images, codes = spots()
    fitted = model(max_epochs=2, warm_start=True).fit(images, codes)
    first = fitted.history_.copy()
    fitted.fit(images, codes)
    assert fitted.n_iter_ == 4
    assert fitted.history_.epoch.tolist() == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(fitted.history_.iloc[:2], first)
    again = fitted.set_params(warm_start=False).fit(images, codes)
    assert again.n_iter_ == 2
    np.testing.assert_array_equal(again.history_.train_loss, first.train_loss)


def test_warm_start_keeps_the_optimizer_unless_the_objective_changes(spots):
    images, codes = spots()
    fitted = model(max_epochs=2, warm_start=True).fit(images, codes)
    optimizer = fitted.net_.optimizer_
    fitted.set_params(lr=0.002).fit(images[:40], codes[:40])
    assert fitted.net_.optimizer_ is optimizer
    assert optimizer.param_groups[0]["lr"] == 0.002
    module = fitted.module_
    fitted.set_params(criterion=CrossEntropy(label_smoothing=0.2)).fit(images, codes)
    assert fitted.net_.optimizer_ is not optimizer
    assert fitted.module_ is module
    assert fitted.n_iter_ == 6


class Fragile(CrossEntropy):
    """Fails as long as it is told to."""

    broken = True

    def build(self, n_samples, n_outputs, kind):
        if self.broken:
            return nn.Identity()  # cannot be called with a batch
        return super().build(n_samples, n_outputs, kind)


def test_schedules_go_on_with_a_new_optimizer(spots):
    images, codes = spots()
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.5)
    fitted = model(max_epochs=2, warm_start=True, callbacks=[schedule]).fit(images, codes)
    fitted.set_params(criterion=CrossEntropy(label_smoothing=0.2)).fit(images, codes)
    assert fitted.n_iter_ == 4
    assert fitted.net_.optimizer_.param_groups[0]["lr"] < 0.01


def test_a_failed_warm_start_does_not_count(spots, monkeypatch):
    images, codes = spots()
    fitted = model(max_epochs=2, warm_start=True).fit(images, codes)
    fitted.set_params(criterion=Fragile(0.5))
    with pytest.raises(TypeError):
        fitted.fit(images, codes)
    monkeypatch.setattr(Fragile, "broken", False)
    assert fitted.fit(images, codes).net_.criterion_.label_smoothing == 0.5


@pytest.mark.parametrize(
    "change", [{"module": SmallCNN(width=2)}, {"normalize": "channel"}, {"weights": "elsewhere.pth"}]
)
def test_warm_start_refuses_what_would_be_another_network(spots, change):
    images, codes = spots()
    fitted = model(max_epochs=1, warm_start=True).fit(images, codes)
    (name,) = change
    with pytest.raises(ValueError, match=f"another {name}.*warm_start=False"):
        fitted.set_params(**change).fit(images, codes)
    fitted.set_params(warm_start=False, module=TINY, normalize=None, weights=None)
    assert fitted.fit(images, codes).n_iter_ == 1


def test_warm_start_follows_freeze(spots):
    images, codes = spots()
    fitted = model(max_epochs=1, warm_start=True, freeze=1, module=SmallCNN(width=4, depth=2, norm="batch"))
    network = fitted.fit(images, codes).module_
    first = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = fitted.net_.optimizer_

    def moved():
        state = fitted.fit(images, codes).module_.state_dict()
        names = {name for name, value in state.items() if not torch.equal(value, first[name])}
        first.update({name: value.clone() for name, value in state.items()})
        return {name.rpartition(".")[0] for name in names}

    both = {"features.0.0", "features.0.1", "features.1.0", "features.1.1", "head"}
    assert moved() == both - {"features.0.0", "features.0.1"}
    fitted.set_params(freeze=None)
    assert moved() == both
    fitted.set_params(freeze="features")
    assert moved() == {"head"}
    with pytest.raises(ValueError, match="names no layer"):
        fitted.set_params(freeze="feature").fit(images, codes)
    fitted.set_params(freeze="features")
    assert moved() == {"head"}, "a refused name changed nothing"
    assert fitted.module_ is network
    assert fitted.net_.optimizer_ is optimizer


def test_a_diverging_warm_start_leaves_the_classifier_as_it_was(spots):
    images, codes = spots()
    fitted = model(max_epochs=2, warm_start=True).fit(images, codes)
    expected = fitted.predict_proba(images)
    with pytest.raises(FloatingPointError):
        fitted.set_params(lr=1e30).fit(images, codes)
    np.testing.assert_array_equal(fitted.predict_proba(images), expected)
    assert fitted.set_params(lr=0.01).fit(images, codes).n_iter_ == 4
    assert np.isfinite(fitted.history_.train_loss).all()


def test_partial_fit_adds_one_epoch_and_knows_all_classes(spots):
    images, codes = spots(n_classes=3)
    fitted = model()
    with pytest.raises(ValueError, match="classes must be passed"):
        fitted.partial_fit(images, codes)
    for _ in range(12):
        for part in (codes < 2, codes > 0):
            fitted.partial_fit(images[part], codes[part], classes=[0, 1, 2])
    assert fitted.n_iter_ == 24
    assert fitted.score(images, codes) > 0.9
    with pytest.raises(ValueError, match="not among the classes"):
        fitted.partial_fit(images, codes + 1)
    with pytest.raises(ValueError, match="not the same as in the first call"):
        fitted.partial_fit(images, codes, classes=[0, 1])
    with pytest.raises(ValueError, match="not supported by partial_fit"):
        model(class_weight="balanced").partial_fit(images, codes, classes=[0, 1, 2])


def test_labels_in_another_order_are_refused(spots):
    images, codes = spots()
    y = pd.DataFrame({"a": codes, "b": 1 - codes})
    fitted = model(max_epochs=1).partial_fit(images, y)
    with pytest.raises(ValueError, match=r"labels \['b', 'a'\]"):
        fitted.partial_fit(images, y[["b", "a"]])
