"""The network behind an estimator, and the rows as it sees them."""

import threading

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from sklearn_shortcuts import ImageBunch, explain
from sklearn_shortcuts.explain import grad_cam, hires_cam
from sklearn_shortcuts.explain._subject import resolve_subject
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
from sklearn_shortcuts.neural._modes import explaining

from .networks import assert_same_state, make_network, state_of


def halved(images):
    return np.asarray(images) / 2


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    images, y = rng.random((24, 8, 8)), np.arange(24) % 2
    images[y == 1, 2:4] += 1
    return images, y


@pytest.fixture(scope="module")
def model(rows):
    network = SmallCNN(width=2, depth=1)
    return NeuralImageClassifier(network, max_epochs=2, normalize="channel", batch_size=10, random_state=0).fit(*rows)


class Meta(ClassifierMixin, BaseEstimator):
    """A meta-estimator as people write them."""

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y):
        self.estimator_ = clone(self.estimator).fit(X, y)
        self.classes_ = self.estimator_.classes_
        return self


def test_a_classifier_brings_its_scaling_and_batches(model, rows):
    images, _ = rows
    subject = resolve_subject(model, images)
    batches = list(subject.batches())
    assert [len(batch["X"]) for batch in batches] == [10, 10, 4]
    np.testing.assert_array_equal(torch.cat([batch["index"] for batch in batches]), np.arange(24))
    seen = torch.cat([batch["X"] for batch in batches])
    assert abs(seen.mean().item()) < 1e-5
    with subject.explaining(), torch.no_grad():
        logits = torch.cat([subject.infer(batch["X"]) for batch in subject.batches()])
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], model.decision_function(images), rtol=1e-4, atol=1e-6)
    assert (subject.n_rows, subject.spatial, subject.kind) == (24, (8, 8), "binary")


def test_batch_size_can_be_chosen(model, rows):
    subject = resolve_subject(model, rows[0], batch_size=16)
    assert [len(batch["X"]) for batch in subject.batches()] == [16, 8]


def test_fields_come_along(model, rows):
    images, y = rows
    bunch = ImageBunch(images, target=y, masks=images > 1)
    for estimator in (model, model.module_):
        batch = next(resolve_subject(estimator, bunch).batches(fields=("masks", "has_mask")))
        np.testing.assert_array_equal(batch["masks"], (images > 1)[: len(batch["X"])])
        assert batch["has_mask"].all()
    np.testing.assert_array_equal(resolve_subject(model, bunch).field("target"), y)
    assert resolve_subject(model, bunch).field("groups") is None


def test_estimators_around_a_classifier_are_opened(model, rows):
    images, y = rows
    expected = hires_cam(model, halved(images), 1)
    pipeline = make_pipeline(FunctionTransformer(halved), "passthrough", FrozenEstimator(model)).fit(images, y)
    np.testing.assert_array_equal(hires_cam(pipeline, images, 1), expected)
    pipeline = make_pipeline(FunctionTransformer(halved), NeuralImageClassifier(max_epochs=1, random_state=0))
    for outer in (
        Meta(pipeline),
        make_pipeline(FunctionTransformer(), pipeline),
        GridSearchCV(pipeline, {"neuralimageclassifier__lr": [0.01]}, cv=2),
    ):
        outer.fit(images, y)
        inner = NeuralImageClassifier(max_epochs=1, random_state=0)
        if isinstance(outer, GridSearchCV):
            inner.set_params(lr=0.01)
        inner.fit(halved(images), y)
        np.testing.assert_allclose(hires_cam(outer, images, 1), hires_cam(inner, halved(images), 1), atol=1e-6)


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (NeuralImageClassifier(), NotFittedError, "not fitted"),
        (Meta(NeuralImageClassifier()), NotFittedError, "This Meta instance is not fitted"),
        (make_pipeline(FunctionTransformer(), NeuralImageClassifier()), NotFittedError, "not fitted"),
        (LogisticRegression().fit([[0], [1]], [0, 1]), TypeError, "LogisticRegression holds none"),
        ("resnet18", TypeError, "str holds none"),
    ],
)
def test_what_cannot_be_explained_is_refused(estimator, error, message):
    with pytest.raises(error, match=message):
        resolve_subject(estimator, np.zeros((2, 8, 8)))


def test_a_meta_estimator_that_is_not_fitted_does_not_pass_for_what_it_was_given(model):
    with pytest.raises(NotFittedError, match="Meta"):
        resolve_subject(Meta(model), np.zeros((2, 8, 8)))


@pytest.mark.parametrize(("shape", "image_shape"), [((3, 8, 8), (1, 8, 8)), ((3, 2, 8, 8), (2, 8, 8))])
def test_rows_of_a_bare_network(shape, image_shape):
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    with torch.random.fork_rng(devices=[]):
        network(torch.zeros(1, *image_shape))
    images = np.random.default_rng(0).random(shape).astype(np.float32)
    for X in (images, torch.from_numpy(images), ImageBunch(images), images.astype(np.float64)):
        (batch,) = resolve_subject(network, X).batches()
        np.testing.assert_allclose(batch["X"].reshape(shape), images)
        assert batch["X"].dtype == torch.float32


def test_signals_of_a_bare_network_are_known_by_its_convolutions():
    network, X = make_network("ecg")
    subject = resolve_subject(network, X)
    assert subject.spatial == (64,)
    np.testing.assert_array_equal(next(subject.batches())["X"], X)


def test_whole_numbers_are_scaled_as_the_classifier_does():
    network = nn.Sequential(nn.Flatten())
    for dtype in (np.uint8, np.uint16):
        images = np.full((2, 4, 4), np.iinfo(dtype).max // 2, dtype)
        (batch,) = resolve_subject(network, images).batches()
        np.testing.assert_allclose(batch["X"], 0.5, atol=2e-3)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((3, 4)), r"X must have shape .* got \(3, 4\)"),
        (np.zeros((0, 4, 4)), "0 rows"),
        (np.full((2, 4, 4), np.nan), "NaN: row 0"),
    ],
)
def test_rows_that_do_not_fit_are_refused(X, message):
    network = nn.Sequential(nn.ReLU(), nn.Flatten())
    with pytest.raises(ValueError, match=message):
        grad_cam(network, X, 0, layer="0")


def test_networks_with_odd_outputs():
    class Tuple(nn.Module):
        def forward(self, images):
            return images.flatten(1), images

    subject = resolve_subject(Tuple(), np.ones((2, 3, 3)))
    assert subject.infer(torch.ones(2, 1, 3, 3)).shape == (2, 9)
    subject = resolve_subject(nn.Identity(), np.ones((2, 3, 3)))
    with pytest.raises(ValueError, match=r"for 2 rows it gave \(2, 1, 3, 3\)"):
        subject.infer(torch.ones(2, 1, 3, 3))


def test_bfloat16_is_refused_where_it_has_no_effect():
    network, X = make_network("small")
    with pytest.raises(ValueError, match="no effect on a network in float64"):
        resolve_subject(network, X, precision="bfloat16")
    assert resolve_subject(network.float(), X, precision="bfloat16").autocast


def test_precision_of_the_classifier_can_be_overruled(rows):
    model = NeuralImageClassifier(SmallCNN(width=2), max_epochs=1, precision="bfloat16", random_state=0).fit(*rows)
    assert resolve_subject(model, rows[0]).autocast
    assert not resolve_subject(model, rows[0], precision="float32").autocast


# -- the network meanwhile and afterwards ------------------------------------------------------------------------------
def test_explaining_ends_where_it_began():
    network, _ = make_network("resnet")
    network.train()
    network.layer1.eval()
    network.fc.requires_grad_(False)
    before = state_of(network)
    with explaining(network):
        inside = state_of(network)
        with explaining(network):
            pass
        assert_same_state(inside, state_of(network))
    assert not any(inside["modes"])
    assert not any(inside["requires_grad"])
    assert_same_state(before, state_of(network))
    with pytest.raises(KeyError), explaining(network):
        raise KeyError
    assert_same_state(before, state_of(network))


@pytest.mark.parametrize("method", ["grad_cam", "integrated_gradients", "smooth_grad", "shap_values"])
def test_gradients_exist_where_the_caller_is_in_inference_mode(method):
    network, images = make_network("small")
    options = {
        "integrated_gradients": {"steps": 2, "baseline": 0.5},
        "smooth_grad": {"n_samples": 2, "random_state": 0},
        "shap_values": {"method": "gradient", "max_evals": 5, "random_state": 0},
    }.get(method, {})
    expected = getattr(explain, method)(network, images, 1, **options)
    with torch.inference_mode():
        np.testing.assert_array_equal(getattr(explain, method)(network, images, 1, **options), expected)
        assert torch.is_inference_mode_enabled()


def test_explaining_in_two_threads_ends_with_the_last():
    network, _ = make_network("small")
    network.train()
    before = state_of(network)
    entered, leave = threading.Event(), threading.Event()

    def other():
        with explaining(network):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with explaining(network):
        thread.start()
        assert entered.wait(10)
    assert not any(state_of(network)["modes"])
    leave.set()
    thread.join()
    assert_same_state(before, state_of(network))
