"""The training loop and the network's surroundings: precision, memory, batch statistics, hooks."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.neural import NeuralImageClassifier, Penalty, SmallCNN

TINY = SmallCNN(width=4, depth=2)


def model(**parameters):
    return NeuralImageClassifier(
        **{"module": TINY, "lr": 0.01, "max_epochs": 2, "batch_size": 16, "random_state": 0, **parameters}
    )


@pytest.mark.parametrize("n", [33, 17, 16])
def test_batch_normalization_survives_a_last_batch_of_one_row(spots, n):
    images, codes = spots(n=n)
    fitted = model(module=SmallCNN(width=4, depth=2, norm="batch")).fit(images, codes)
    assert np.isfinite(fitted.history_.train_loss).all()
    np.testing.assert_allclose(  # in evaluation a row does not depend on its batch
        fitted.predict_proba(images)[-1:], fitted.predict_proba(images[-1:]), rtol=1e-4
    )


@pytest.mark.parametrize("n_channels", [1, 3])
def test_memory_formats_give_the_same_network(spots, n_channels):
    images, codes = spots()
    images = np.repeat(images[:, None], n_channels, axis=1)
    options = {"precision": "float64"}
    last = model(memory_format="auto", **options).fit(images, codes)
    first = model(memory_format="contiguous", **options).fit(images, codes)
    np.testing.assert_allclose(last.predict_proba(images), first.predict_proba(images), rtol=1e-9)
    (batch,) = last.iter_batches(images, batch_size=100)
    for layer in (last.module_.features[0], first.module_.features[0]):
        formats = []
        handle = layer.register_forward_hook(
            lambda layer, inputs, output, formats=formats: formats.append(
                output.is_contiguous(memory_format=torch.channels_last)
            )
        )
        (last if layer is last.module_.features[0] else first).predict(images[:4])
        handle.remove()
        assert formats == [layer is last.module_.features[0]]
    assert batch["X"].shape == (48, n_channels, 16, 16)


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_precision(spots, precision):
    images, codes = spots()
    fitted = model(precision=precision, max_epochs=10).fit(images, codes)
    assert fitted.score(images, codes) == 1.0
    weights = {weight.dtype for weight in fitted.module_.parameters()}
    assert weights == {torch.float64 if precision == "float64" else torch.float32}
    assert fitted.predict_proba(images).dtype == (np.float64 if precision == "float64" else np.float32)


class Wrapped(nn.Module):
    def __init__(self, image_shape, n_outputs):
        super().__init__()
        self.network = TINY.build(image_shape, n_outputs)

    def forward(self, X):
        return self.network(X)


def test_memory_errors_halve_the_batch_and_warn_once(spots, monkeypatch):
    images, codes = spots()
    fitted = model(module=Wrapped, batch_size=40).fit(images, codes)
    expected = fitted.predict_proba(images)
    sizes = []
    forward = Wrapped.forward

    def narrow(self, X):
        if len(X) > 12:
            raise torch.OutOfMemoryError("no memory")
        sizes.append(len(X))
        return forward(self, X)

    monkeypatch.setattr(Wrapped, "forward", narrow)
    with pytest.warns(UserWarning, match="not enough memory to predict 40 rows") as caught:
        np.testing.assert_array_equal(fitted.predict_proba(images), expected)
    assert len(caught) == 1
    assert sizes == [10, 10, 10, 10, 8]
    fitted.predict_proba(images)  # the smaller size is remembered, no further warning

    monkeypatch.setattr(Wrapped, "forward", lambda self, X: narrow(self, X.repeat(13, 1, 1, 1)))
    with pytest.raises(torch.OutOfMemoryError):
        fitted.predict_proba(images)


def test_a_memory_error_in_training_says_what_to_lower(spots):
    images, codes = spots()

    class Greedy(nn.Flatten):
        def __init__(self, image_shape, n_outputs):
            super().__init__()
            self.layer = nn.Linear(256, n_outputs)

        def forward(self, X):
            if self.training:
                raise torch.OutOfMemoryError("no memory")
            return self.layer(super().forward(X))

    with pytest.raises(torch.OutOfMemoryError) as caught:
        model(module=Greedy).fit(images, codes)
    assert "lower batch_size (now 16)" in caught.value.__notes__[0]


def test_embeddings_are_what_the_head_reads(spots):
    images, codes = spots()
    fitted = model().fit(images, codes)
    features = fitted.embed(images)
    assert features.dtype == np.float32
    head = fitted.module_.head
    assert features.shape == (48, head.in_features)
    logits = features @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], fitted.decision_function(images), rtol=1e-4, atol=1e-5)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in fitted.module_.modules())


def test_embeddings_of_a_convolutional_head_are_averaged_over_places(spots, build):
    images, codes = spots()
    network = build(
        lambda: nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )
    fitted = model(module=network).fit(images, codes)
    with torch.no_grad():
        expected = fitted.module_[:2](torch.from_numpy(images[:, None]).float()).mean((2, 3))
    np.testing.assert_allclose(fitted.embed(images), expected, rtol=1e-4, atol=1e-6)


def test_the_hook_goes_even_after_an_error(spots):
    images, codes = spots()
    fitted = model().fit(images, codes)
    images[3] = np.nan
    with pytest.raises(ValueError, match="row 3"):
        fitted.embed(ImageBunch(images))
    assert not fitted.module_.head._forward_pre_hooks


def test_batches_are_what_the_network_gets(spots):
    images, codes = spots(n=20)
    bunch = ImageBunch(images, masks=[np.ones((16, 16))] * 19 + [None], groups=np.array(list("ab") * 10))
    fitted = model(normalize="channel").fit(bunch, codes)
    batches = list(fitted.iter_batches(bunch, fields=("masks", "has_mask", "groups"), batch_size=8))
    assert [batch["index"].tolist() for batch in batches] == [[*range(8)], [*range(8, 16)], [*range(16, 20)]]
    assert batches[2]["has_mask"].tolist() == [True] * 3 + [False]
    assert batches[2]["masks"].shape == (4, 16, 16)
    assert batches[0]["groups"].tolist() == list("abababab")
    (some,) = fitted.iter_batches(bunch, fields=("has_mask",), batch_size=8, index=np.array([19, 3]))
    assert some["index"].tolist() == [19, 3]
    assert some["has_mask"].tolist() == [False, True]
    assert torch.equal(some["X"], torch.stack([batches[2]["X"][3], batches[0]["X"][3]]))
    with torch.no_grad():
        logits = torch.cat([fitted.module_(batch["X"]) for batch in batches])
    np.testing.assert_allclose((logits[:, 1] - logits[:, 0]), fitted.decision_function(images), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="need the field 'artifact'"):
        next(fitted.iter_batches(bunch, fields=("artifact",)))


def test_the_given_network_is_copied(spots, build):
    images, codes = spots()
    network = build(TINY.build, (1, 16, 16), 2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fitted = model(module=network, memory_format="channels_last", precision="float64").fit(images, codes)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.dtype == torch.float32
    assert fitted.module_ is not network
    assert network.training
    assert not any(layer.training for layer in fitted.module_.modules())


class Needy(Penalty):
    needs_input_grad = True

    def build(self, n_samples, n_outputs, kind):
        return lambda module, batch: batch["logits"].sum(1) * 0


def test_compiling_does_not_go_with_second_derivatives(spots):
    with pytest.raises(ValueError, match="compile=True does not go with penalty=Needy"):
        model(compile=True, penalty=Needy()).fit(*spots())


def test_compiled_and_not_compiled_agree(spots, monkeypatch):
    """The default compiler takes a minute for any network; this one only traces."""
    monkeypatch.setattr(nn.Module, "compile", functools.partialmethod(nn.Module.compile, backend="eager"))
    images, codes = spots()
    compiled = model(compile=True).fit(images, codes)
    plain = model().fit(images, codes)
    np.testing.assert_allclose(compiled.predict_proba(images), plain.predict_proba(images), rtol=1e-3)
    np.testing.assert_allclose(compiled.embed(images), plain.embed(images), rtol=1e-2, atol=1e-4)
    assert list(compiled.module_.state_dict()) == list(plain.module_.state_dict())


@pytest.mark.parametrize("device", ["toaster", "cuda:99"])
def test_devices_that_are_not_there(spots, device):
    with pytest.raises(ValueError, match=f"device='{device}'"):
        model(device=device).fit(*spots())


def test_single_rows_and_batch_normalization_are_explained(linear_norm):
    with pytest.raises(ValueError, match="more than 1 value") as caught:
        model(module=linear_norm, batch_size=1).fit(np.eye(4), [0, 1, 0, 1])
    assert "raise batch_size (now 1)" in caught.value.__notes__[0]


@pytest.fixture
def linear_norm(build):
    return build(lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2)))
