"""Relevance in layers against captum, zennit and closed forms."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_shortcuts.explain import relevance
from sklearn_shortcuts.explain._layer_relevance import layer_relevance, propagate_from_layer
from sklearn_shortcuts.explain._subject import resolve_subject

from .networks import assert_same_state, make_network, state_of
from .test_propagation import _resnet18, _vgg, randomized

METHODS = ("gradient_x_activation", "integrated_gradients", "lrp", "zennit")


def found_in(network, images, layers, method, target=1, **options):
    subject = resolve_subject(network, images)
    (batch,) = subject.batches()
    with subject.explaining(), layer_relevance(subject, layers, method, example=batch["X"], **options) as propagate:
        return propagate(batch["X"], torch.full((len(images),), target))


def from_layer(network, images, layer, start, **options):
    subject = resolve_subject(network, images)
    (batch,) = subject.batches()
    with subject.explaining():
        return propagate_from_layer(subject, batch["X"], layer, start, **options)


def outputs_of(network, images, layers):
    """What layers give, copied before it is overwritten, and the logits."""
    found = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: found.update({name: out.clone()})
        )
        for name in layers
    ]
    with torch.no_grad():
        logits = network(images.clone())
    for hook in hooks:
        hook.remove()
    return found, logits


def made_of(maker, shape):
    """One layer, with random numbers, as a network."""
    network, images = randomized(maker, shape=shape)
    return network[0], images


def close(found, expected, share=1e-5):
    expected = np.asarray(expected)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=share * np.abs(expected).max())
    assert expected.any()


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet", ["layer1", "layer2.0.conv1", "layer4.0.bn1", "avgpool"]),
        ("vision_transformer", ["encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1.mlp"]),
        ("ecg", ["stage1"]),
    ],
)
def test_equals_captum(name, layers):
    captum = pytest.importorskip("captum.attr")
    network, images = make_network(name)
    if name == "ecg":
        layers = [next(name for name, part in network.named_modules() if isinstance(part, nn.BatchNorm1d))]
    ours = found_in(network, images, layers, "gradient_x_activation")
    integrated = found_in(network, images, layers, "integrated_gradients", steps=20)
    for layer in layers:
        # Layers that overwrite their input would change what is recorded of the one before.
        plain = copy.deepcopy(network)
        for part in plain.modules():
            if isinstance(part, nn.ReLU):
                part.inplace = False
        part = plain.get_submodule(layer)
        expected = captum.LayerGradientXActivation(plain, part).attribute(images, target=1)
        close(ours.layers[layer][1], expected.detach())
        expected = captum.LayerIntegratedGradients(plain, part).attribute(images, target=1, n_steps=20)
        close(integrated.layers[layer][1], expected.detach())
        assert ours.layers[layer][0] is network.get_submodule(layer)


def test_integrated_gradients_add_up():
    layers = [lambda: nn.Conv2d(1, 3, 3), nn.Tanh, lambda: nn.BatchNorm2d(3), lambda: nn.Conv2d(3, 2, 3), nn.Sigmoid]
    network, images = randomized(*layers, nn.Flatten, lambda: nn.Linear(8, 2), shape=(1, 6, 6))
    layers = ["0", "1", "2", "3", "4", "last"]
    found = found_in(network, images, layers, "integrated_gradients", steps=12)
    with torch.no_grad():
        difference = (network(images) - network(torch.zeros_like(images)))[:, 1]
    for layer in layers:  # every one carries all that reaches the logits
        np.testing.assert_allclose(found.layers[layer][1].flatten(1).sum(1), difference, rtol=1e-6)
    np.testing.assert_allclose(found.lost, 0, atol=1e-6)
    coarse = found_in(network, images, layers, "integrated_gradients", steps=1)
    gaps = [coarse.layers[layer][1].flatten(1).sum(1) - difference for layer in layers]
    np.testing.assert_allclose(coarse.lost.abs(), torch.stack(gaps).abs().amax(0), rtol=1e-9)
    assert (coarse.lost.abs() > 1e-4).all()


def test_integrated_gradients_in_a_branch_add_up_to_what_the_branch_does():
    network, images = make_network("resnet")
    (layer,) = layers = ["layer2.0.bn2"]
    found = found_in(network, images, layers, "integrated_gradients", steps=64)
    at_zero = outputs_of(network, torch.zeros_like(images), layers)[0][layer]
    logits = network(images.clone())[:, 1]
    handle = network.get_submodule(layer).register_forward_hook(lambda *_: at_zero.clone())
    difference = (logits - network(images.clone())[:, 1]).detach()
    handle.remove()
    np.testing.assert_allclose(found.layers[layer][1].flatten(1).sum(1), difference, rtol=0.02, atol=1e-3)


def by_zennit(network, images, layers, target=1):
    from zennit.composites import EpsilonPlusFlat
    from zennit.torchvision import ResNetCanonizer

    network, found = copy.deepcopy(network), {}
    with EpsilonPlusFlat(canonizers=[ResNetCanonizer()]).context(network):

        def keep(name):
            def hook(part, inputs, outputs):
                found[name] = outputs.clone()
                return found[name].clone()

            return hook

        for name in layers:
            network.get_submodule(name).register_forward_hook(keep(name))
        logits = network(images.clone().requires_grad_())
        chosen = torch.zeros_like(logits)
        chosen[:, target] = 1
        arrived = torch.autograd.grad(logits, [found[name] for name in layers], logits.detach() * chosen)
    return dict(zip(layers, arrived))


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (_resnet18, ["relu", "layer1", "layer2.0.conv1", "layer2.0.bn1", "layer3.1.bn2", "layer4", "avgpool"]),
        (_vgg, ["0", "1", "2", "3", "6", "8", "10", "13", "15", "17"]),
    ],
)
def test_equals_zennit(make, layers):
    pytest.importorskip("zennit")
    network, images = make()
    network = network[0] if len(network) == 1 else network
    expected = by_zennit(network, images, layers)
    for method in ("lrp", "zennit"):
        found = found_in(network, images, layers, method)
        for layer in layers:
            close(found.layers[layer][1], expected[layer], 1e-4)


class _Reused(nn.Module):
    """A convolution whose output is both normalized and taken as it is, and a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.norm = nn.Conv1d(1, 2, 1), nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2)
        self.twice, self.head = nn.ReLU(), nn.Linear(4, 2)

    def forward(self, X):
        values = self.conv(self.twice(self.stem(X)))
        return self.head(torch.cat([self.norm(values).mean(2), self.twice(values).mean(2)], 1))


def test_convolutions_that_normalizations_become_part_of():
    network, images = made_of(_Reused, shape=(1, 5))
    layers = ["conv", "norm", "twice", "head"]
    before = state_of(network)
    found = found_in(network, images, layers, "lrp").layers
    assert_same_state(before, state_of(network))
    # What arrives at both outputs of the convolution, on its way past and into the normalization.
    np.testing.assert_allclose(found["conv"][1], found["norm"][1] + found["twice"][1], rtol=1e-10)
    logits = outputs_of(network, images, [])[1]
    np.testing.assert_allclose(found["head"][1][:, 1], logits[:, 1], rtol=1e-6)
    np.testing.assert_array_equal(found["head"][1][:, 0], 0)


def test_relevance_before_a_convolution_is_that_of_the_normalization():
    # ReLU, normalization, convolution: what the normalization gives has the relevance of what it gets.
    layers = [lambda: nn.Conv2d(1, 3, 3), nn.ReLU, lambda: nn.BatchNorm2d(3), lambda: nn.Conv2d(3, 2, 3), nn.Flatten]
    network, images = randomized(*layers, lambda: nn.Linear(8, 2), shape=(1, 6, 6), n_rows=2)
    found = found_in(network, images, ["1", "2", "3", "last"], "lrp").layers
    np.testing.assert_allclose(found["2"][1], found["1"][1], rtol=1e-12)
    np.testing.assert_allclose(found["last"][1].reshape(2, 2, 2, 2), found["3"][1], rtol=1e-12)


@pytest.mark.parametrize("name", ["small", "resnet", "densenet", "ecg", "one_logit"])
def test_taps_change_nothing(name):
    network, images = make_network(name)
    layers = [name for name, part in network.named_modules() if name and not isinstance(part, nn.Dropout)]
    found = found_in(network, images, layers, "lrp")
    few = found_in(network, images, layers[-1:], "lrp")
    np.testing.assert_allclose(found.layers[layers[-1]][1], few.layers[layers[-1]][1], rtol=1e-10)
    np.testing.assert_allclose(found.lost / found.scores, 0, atol=1e-3)


def test_all_relevance_passes_through_a_layer_without_bypass():
    network, images = make_network("small")
    maps = relevance(network, images, 1, method="lrp")
    start = found_in(network, images, ["features.0"], "lrp")
    total = start.layers["features.0"][1].flatten(1).sum(1)

    # What is propagated in two parts arrives as what is propagated in one.
    sums, relevances, taken = from_layer(
        network, images, "features.0", lambda values: start.layers["features.0"][1].flatten(2)
    )
    np.testing.assert_allclose(sums, total, rtol=1e-12)
    np.testing.assert_allclose(relevances.sum(1), maps, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(relevances.flatten(1).sum(1) + taken, sums, rtol=1e-3)


def test_from_a_layer_of_tokens():
    layers = [lambda: nn.Conv2d(1, 3, 2, stride=2, bias=False), lambda: nn.Flatten(2), lambda: nn.LayerNorm(4)]
    network, images = randomized(*layers, nn.Flatten, lambda: nn.Linear(12, 2), shape=(1, 4, 4))
    seen = []

    def start(values):
        seen.append(values)
        return torch.relu(values) * torch.tensor([0.0, 1, 0, 2], dtype=torch.float64)[:, None]

    sums, relevances, _ = from_layer(network, images, "2", start)
    given = outputs_of(network, images, ["2"])[0]["2"].clamp(min=0)
    np.testing.assert_allclose(seen[0], outputs_of(network, images, ["2"])[0]["2"].transpose(1, 2), rtol=1e-12)
    np.testing.assert_allclose(sums, given[..., 1].sum(1) + 2 * given[..., 3].sum(1), rtol=1e-10)
    # Normalization passes on, the flat rule shares equally among the four pixels of a patch.
    patches = (given[..., [1, 3]] * torch.tensor([1, 2])).sum(1) / 4
    np.testing.assert_allclose(relevances[:, 0, :2, 2:], patches[:, :1, None].expand(-1, 2, 2), rtol=1e-10)
    np.testing.assert_allclose(relevances[:, 0, 2:, 2:], patches[:, 1:, None].expand(-1, 2, 2), rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_the_network_stays_as_it_was(method):
    if method == "zennit":
        pytest.importorskip("zennit")
    network, images = make_network("resnet")
    network.train()
    network.layer1.eval()
    network.conv1.weight.requires_grad_(False)
    network.fc.weight.grad = torch.ones_like(network.fc.weight)
    network.layer2.register_forward_hook(lambda *_: None)
    before = state_of(network)
    found_in(network, images, ["layer1", "layer4.0.conv1", "last"], method, steps=2)
    assert_same_state(before, state_of(network))
    with pytest.raises(ValueError, match="layer='nowhere' is no layer"):
        found_in(network, images, ["layer1", "nowhere"], method, steps=2)
    assert_same_state(before, state_of(network))

    def fail(*_):
        raise KeyError("on purpose")

    network.layer3.register_forward_hook(fail)
    before = state_of(network)
    with pytest.raises(KeyError, match="on purpose"):
        found_in(network, images, ["layer1", "last"], method, steps=2)
    assert_same_state(before, state_of(network))


class _Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.unused, self.aside = nn.Conv2d(1, 2, 1), nn.Linear(2, 2), nn.ReLU()
        self.memory, self.head = nn.Identity(), nn.Linear(2, 2)

    def forward(self, X):
        values = self.first(X)
        self.aside(values)
        self.memory({"values": values})
        return self.head(values.mean((2, 3)))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_refused(method):
    if method == "zennit":
        pytest.importorskip("zennit")
    network, images = made_of(_Unused, shape=(1, 2, 2))
    with pytest.raises(ValueError, match="layers: 'unused' took no part"):
        found_in(network, images, ["unused"], method)
    with pytest.raises(ValueError, match="the score does not depend on 'aside'"):
        found_in(network, images, ["aside"], method)
    with pytest.raises(ValueError, match="layers: 'memory' gives dict, no tensor"):
        found_in(network, images, ["memory"], method)
    if method in ("lrp", "zennit"):
        subject = resolve_subject(network, images)
        with (
            layer_relevance(subject, ["first"], method, example=images) as propagate,
            pytest.raises(ValueError, match="propagates logits only"),
        ):
            propagate(images, "sum_log_prob")


def test_no_start_where_nothing_depends_on_the_images():
    network, images = made_of(_Unused, shape=(1, 2, 2))
    with pytest.raises(ValueError, match="'unused' took no part"):
        from_layer(network, images, "unused", torch.relu)
