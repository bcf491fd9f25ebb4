import copy
import sys

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_shortcuts.explain import input_gradients, relevance

from .networks import MAKERS, assert_same_state, make_network, state_of

WITH_ZENNIT = ["small", "one_logit", "resnet", "densenet", "ecg", "overwriting"]


def by_hand(network, images, canonizers, target=1):
    """Relevance as zennit's own interface gives it."""
    from zennit.composites import EpsilonPlusFlat

    network = copy.deepcopy(network)
    with EpsilonPlusFlat(canonizers=canonizers).context(network):
        leaf = images.clone().requires_grad_()
        logits = network(leaf.clone())
        chosen = torch.zeros_like(logits)
        chosen[:, 0 if logits.shape[1] == 1 else target] = 1
        (relevances,) = torch.autograd.grad(logits, leaf, logits.detach() * chosen)
    return relevances, (logits * chosen).sum(1).detach()


@pytest.mark.parametrize("name", MAKERS)
def test_gradient_times_input(name):
    network, images = make_network(name)
    maps = relevance(network, images, 1)
    np.testing.assert_array_equal(maps, input_gradients(network, images, 1, multiply_by_input=True))
    with torch.no_grad():
        logits = network(images.clone())
    score = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1]
    ratio = maps.astype(np.float64).sum(tuple(range(1, maps.ndim))) / score.numpy()
    np.testing.assert_allclose(maps.details["conservation_ratio"], ratio, rtol=1e-3, atol=1e-5)


def test_relu_networks_without_bias_conserve():
    with torch.random.fork_rng(devices=[]):
        layers = [
            nn.Conv2d(1, 4, 3, bias=False),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(36, 2, bias=False),
        ]
        network, images = nn.Sequential(*layers).double(), torch.rand(5, 1, 8, 8, dtype=torch.float64)
    np.testing.assert_allclose(relevance(network, images).details["conservation_ratio"], 1, rtol=1e-12)


@pytest.mark.parametrize("name", WITH_ZENNIT)
def test_equals_zennit(name):
    pytest.importorskip("zennit")
    from zennit.torchvision import ResNetCanonizer

    network, images = make_network(name)
    # Merging batch normalization into the layer listed before it is wrong for DenseNet.
    expected, scores = by_hand(network, images, [] if name == "densenet" else [ResNetCanonizer()])
    maps = relevance(network, images, 1, method="zennit")
    scale = float(expected.abs().max())
    np.testing.assert_allclose(maps, expected.sum(1), rtol=1e-5, atol=1e-6 * scale)
    assert maps.any()
    np.testing.assert_allclose(
        maps.details["conservation_ratio"], expected.flatten(1).sum(1) / scores, rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("name", ["resnet", "densenet", "one_logit"])
def test_zennit_leaves_no_trace(name):
    pytest.importorskip("zennit")
    network, images = make_network(name)
    network.train()
    before = state_of(network)
    relevance(network, images, method="zennit")
    assert_same_state(before, state_of(network))


def test_zennit_in_batches_and_one_logit():
    pytest.importorskip("zennit")
    network, images = make_network("one_logit", n_rows=5)
    whole = relevance(network, images, 1, method="zennit")
    parts = relevance(network, images, 1, method="zennit", batch_size=2)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-7)
    # The first class's score is minus the logit: what speaks for it is what speaks against the second.
    np.testing.assert_allclose(relevance(network, images, 0, method="zennit"), -whole, rtol=1e-5, atol=1e-7)


def test_zennit_has_no_rule_for_attention():
    pytest.importorskip("zennit")
    network, images = make_network("vision_transformer")
    before = state_of(network)
    with pytest.raises(RuntimeError) as caught:
        relevance(network, images, method="zennit")
    assert any("no rule for a layer of VisionTransformer" in note for note in caught.value.__notes__)
    assert_same_state(before, state_of(network))


def test_zennit_explains_logits_in_the_precision_of_the_weights():
    pytest.importorskip("zennit")
    network, images = make_network("small")
    with pytest.raises(ValueError, match="sum_log_prob"):
        relevance(network, images, "sum_log_prob", method="zennit")
    with pytest.raises(ValueError, match="does not compute in bfloat16"):
        relevance(network, images, method="zennit", precision="bfloat16")


def test_without_zennit(monkeypatch):
    monkeypatch.setitem(sys.modules, "zennit.composites", None)
    network, images = make_network("small")
    before = state_of(network)
    with pytest.raises(ImportError, match=r"sklearn-shortcuts\[lrp\]"):
        relevance(network, images, method="zennit")
    assert_same_state(before, state_of(network))


def test_unknown_method():
    network, images = make_network("small")
    with pytest.raises(ValueError, match="'method' parameter"):
        relevance(network, images, method="deep_taylor")
