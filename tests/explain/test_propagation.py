import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_shortcuts.explain import relevance

from .networks import MAKERS, assert_same_state, make_network, state_of
from .test_relevance import by_hand


def lrp(network, images, target=1, **parameters):
    return relevance(network, images, target, method="lrp", **parameters)


def made(maker):
    """What a function makes with random numbers, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return maker()


def randomized(*layers, shape, n_rows=3, negative=True):
    """A network in float64 whose normalizations have statistics and, where asked for, negative weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(*(layer() for layer in layers))
        for part in network.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.3)
                part.running_var.uniform_(0.5, 2)
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm):
                nn.init.uniform_(part.weight, -1 if negative else 0.5, 1.5)
                nn.init.normal_(part.bias, 0, 0.2)
        return network.double().eval(), torch.randn(n_rows, *shape, dtype=torch.float64)


def _vgg():
    return randomized(
        lambda: nn.Conv2d(3, 8, 3, padding=1),
        lambda: nn.BatchNorm2d(8),
        lambda: nn.ReLU(inplace=True),
        lambda: nn.Conv2d(8, 12, 3, stride=2, padding=2, dilation=2, groups=4, bias=False),
        lambda: nn.BatchNorm2d(12),
        lambda: nn.ReLU(inplace=True),
        lambda: nn.MaxPool2d(2),
        lambda: nn.Conv2d(12, 6, 3, padding="same"),
        lambda: nn.Tanh(),  # what the next convolution gets may be negative
        lambda: nn.Conv2d(6, 6, 3),
        lambda: nn.LeakyReLU(),
        lambda: nn.AdaptiveAvgPool2d(2),
        lambda: nn.Flatten(),
        lambda: nn.Linear(24, 10),
        lambda: nn.BatchNorm1d(10),
        lambda: nn.ReLU(),
        lambda: nn.Dropout(0.5),
        lambda: nn.Linear(10, 3),
        shape=(3, 20, 16),
    )


def _signals():
    return randomized(
        lambda: nn.Conv1d(4, 6, 5, stride=2, padding=3, dilation=2, groups=2),
        lambda: nn.BatchNorm1d(6),
        lambda: nn.ReLU(),
        lambda: nn.AvgPool1d(3, stride=2, padding=1),
        lambda: nn.Conv1d(6, 8, 3, bias=False),
        lambda: nn.BatchNorm1d(8),
        lambda: nn.ReLU(),
        lambda: nn.AdaptiveMaxPool1d(4),
        lambda: nn.Flatten(),
        lambda: nn.Linear(32, 3),
        shape=(4, 50),
    )


def _resnet18():
    from torchvision.models import resnet18

    return randomized(lambda: resnet18(num_classes=3), shape=(3, 40, 40), n_rows=2)


@pytest.mark.parametrize(
    "make",
    [_vgg, _signals, _resnet18, *(lambda name=name: make_network(name) for name in ("one_logit", "overwriting"))],
)
def test_equals_zennit(make):
    pytest.importorskip("zennit")
    from zennit.torchvision import ResNetCanonizer

    network, images = make()
    # zennit leaves a factor of 1 - 5e-6 behind for every batch normalization that it merges.
    expected, scores = by_hand(network, images, [ResNetCanonizer()])
    maps = lrp(network, images, conservation_tol=np.inf)
    scale = float(expected.sum(1).abs().max())
    np.testing.assert_allclose(maps, expected.sum(1), rtol=0, atol=1e-4 * scale)
    ratio = expected.flatten(1).sum(1) / scores
    np.testing.assert_allclose(maps.details["conservation_ratio"], ratio, rtol=1e-3, atol=1e-3)


def test_closed_form():
    network, _ = randomized(
        lambda: nn.Conv1d(1, 2, 1, bias=False),
        lambda: nn.Conv1d(2, 1, 2),
        lambda: nn.Flatten(),
        lambda: nn.Linear(1, 2),
        shape=(1, 2),
    )
    x, weights = np.array([2.0, -1.0]), np.array([[3.0, 2.0], [-1.0, 4.0]])
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1))
        network[1].weight.copy_(torch.as_tensor(weights)[None])
        network[1].bias.fill_(0.5)
        network[3].weight.copy_(torch.tensor([[1.0], [2.0]]))
        network[3].bias.fill_(3)
    features = np.stack([x, -x])
    hidden = (features * weights).sum() + 0.5
    from_head = 2 * hidden  # epsilon: the bias keeps its part of the logit
    positive = np.maximum(features * weights, 0)
    expected = positive.sum(0) / (positive.sum() + 0.5) * from_head
    maps = lrp(network, x.reshape(1, 1, 2))
    np.testing.assert_allclose(maps, expected[None], rtol=1e-5)
    logit = from_head + 3
    np.testing.assert_allclose(maps.details["bias_ratio"], 1 - expected.sum() / logit, rtol=1e-5)


class _Block(nn.Module):
    """Residual sum and gate, out of place or in place."""

    def __init__(self, in_place):
        super().__init__()
        self.stem, self.branch = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.gate, self.head = nn.Conv2d(4, 4, 1), nn.Linear(4, 2)
        self.in_place = in_place

    def forward(self, images):
        identity = torch.relu(self.stem(images / 2 - 0.1))
        values = self.branch(identity)
        gate = torch.sigmoid(self.gate(identity.mean((2, 3), keepdim=True)))
        if self.in_place:
            values *= gate
            values += identity
            values.relu_()
        else:
            values = torch.relu(gate * values + identity)
        return self.head(values.mean((2, 3)))


def test_in_place_is_the_same():
    network, images = made(lambda: (_Block(in_place=False).double(), torch.rand(3, 1, 6, 6, dtype=torch.float64)))
    overwriting = made(lambda: _Block(in_place=True)).double()
    overwriting.load_state_dict(network.state_dict())
    maps = lrp(network, images)
    assert maps.any()
    np.testing.assert_allclose(lrp(overwriting, images), maps, rtol=1e-6)


class _Sum(nn.Module):
    def forward(self, images):
        return 2 * images + images.flip(-1)


def test_sum_in_proportion():
    network = made(lambda: nn.Sequential(_Sum(), nn.Flatten(), nn.Linear(2, 2))).double()
    images = np.array([[[[1.0, 3.0]]]])
    with torch.no_grad():
        logit = float(network(torch.as_tensor(images))[0, 1])
    # Flat gives both inputs of the layer half of the logit; they are 2 * 1 + 3 and 2 * 3 + 1.
    expected = [[logit / 2 * (2 / 5 + 1 / 7), logit / 2 * (3 / 5 + 6 / 7)]]
    np.testing.assert_allclose(lrp(network, images)[0], expected, rtol=1e-6)


def test_group_normalization_is_batch_normalization_with_the_statistics_of_the_row():
    network, images = randomized(
        lambda: nn.Conv2d(1, 4, 3),
        nn.ReLU,
        lambda: nn.Conv2d(4, 6, 3),
        lambda: nn.GroupNorm(2, 6),
        nn.ReLU,
        nn.Flatten,
        lambda: nn.Linear(6 * 16, 2),
        shape=(1, 8, 8),
    )
    maps = lrp(network, images)
    for row in range(len(images)):
        fixed, norm = copy.deepcopy(network), nn.BatchNorm2d(6).double().eval()
        groups = network[:3](images[row : row + 1]).detach().reshape(2, -1)
        norm.running_mean.copy_(groups.mean(1).repeat_interleave(3))
        norm.running_var.copy_(groups.var(1, correction=0).repeat_interleave(3))
        norm.load_state_dict(network[3].state_dict(), strict=False)
        fixed[3] = norm
        np.testing.assert_allclose(lrp(fixed, images[row : row + 1])[0], maps[row], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("make_norm", [lambda: nn.BatchNorm2d(3), lambda: nn.GroupNorm(3, 3)])
def test_normalization_before_a_convolution_is_folded_into_it(make_norm):
    layers = [lambda: nn.Conv2d(1, 3, 3), nn.ReLU, make_norm, lambda: nn.Conv2d(3, 2, 3, padding=1), nn.Flatten]
    network, images = randomized(*layers, lambda: nn.Linear(32, 2), shape=(1, 6, 6), n_rows=1)
    with torch.no_grad():
        norm, before = network[2], network[:2](images)
        shift = network[2](before)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt() if isinstance(norm, nn.BatchNorm2d) else None
        if scale is None:
            scale = norm.weight / (before.var((0, 2, 3), correction=0) + norm.eps).sqrt()
        shift = (shift - before * scale[:, None, None])[0, :, :1, :1]
        # The same function with the normalization written out as weights, and its shift as one more input.
        weight, bias, head = network[3].weight, network[3].bias, network[5]
        padded = nn.functional.conv2d(shift.expand(3, 4, 4)[None], weight, bias, padding=1)
        hidden = nn.functional.conv2d(before, weight * scale[:, None, None], padding=1) + padded
        logit = head(hidden.flatten(1))[0, 1]
        given = hidden * head.weight[1].reshape(hidden.shape) * (logit / (logit + 1e-6 * logit.sign()))
        parts = (weight * scale[:, None, None]).clamp(min=0)
        total = nn.functional.conv2d(before, parts, padding=1) + padded.clamp(min=0)
        shares = before * nn.functional.conv_transpose2d(given / (total + 1e-6), parts, padding=1)
        ones = torch.ones(1, 1, 3, 3, dtype=torch.float64)
        expected = nn.functional.conv_transpose2d(shares.sum(1, keepdim=True) / 9, ones)
    np.testing.assert_allclose(lrp(network, images, conservation_tol=np.inf), expected[:, 0], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", MAKERS)
def test_conserves_but_for_biases(name):
    network, images = make_network(name)
    before = state_of(network.train())
    maps = lrp(network, images)
    assert_same_state(before, state_of(network))
    np.testing.assert_allclose(maps.details["conservation_ratio"] + maps.details["bias_ratio"], 1, atol=1e-3)
    np.testing.assert_allclose(lrp(network, images, batch_size=1), maps, rtol=1e-5, atol=1e-7)


def test_layer_normalization_conserves():
    network, images = randomized(
        lambda: nn.Conv1d(2, 4, 3),
        nn.ReLU,
        lambda: nn.LayerNorm(6),
        nn.Flatten,
        lambda: nn.Linear(24, 5),
        lambda: nn.LayerNorm(5),
        nn.GELU,
        lambda: nn.Linear(5, 2),
        shape=(2, 8),
    )
    details = lrp(network, images).details
    assert np.all(np.abs(details["bias_ratio"]) > 1e-3)
    np.testing.assert_allclose(details["conservation_ratio"] + details["bias_ratio"], 1, atol=1e-3)


def test_one_logit_for_either_class():
    network, images = make_network("one_logit")
    maps = lrp(network, images, 1)
    other = lrp(network, images, 0)
    np.testing.assert_array_equal(other, -maps)
    np.testing.assert_array_equal(other.details["conservation_ratio"], maps.details["conservation_ratio"])


def test_warns_where_relevance_is_lost():
    layers = [nn.Flatten, lambda: nn.Linear(3, 2)]
    network, _ = randomized(*[lambda: nn.Conv1d(1, 1, 1, bias=False)] * 2, *layers, shape=(1, 3))
    with torch.no_grad():
        network[0].weight.fill_(1)
        network[1].weight.fill_(-1)  # no contribution to it is positive
    images = np.ones((2, 1, 3))
    with pytest.warns(UserWarning, match="of 2 of 2 rows do not add up"):
        assert not lrp(network, images).any()
    lrp(network, images, conservation_tol=np.inf)
    biased, rows = make_network("small")
    with pytest.warns(UserWarning, match="do not add up"):
        relevance(biased, rows, 1, conservation_tol=1e-6)


class _Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory, self.head = nn.LSTM(4, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, rows):
        return self.head(self.memory(rows.squeeze(1))[0][:, -1])


def test_names_the_layer_without_a_rule():
    network, images = made(_Recurrent), np.ones((2, 1, 5, 4), dtype=np.float32)
    before = state_of(network)
    with pytest.raises(ValueError, match=r"no rule for 'lstm' in the layer 'memory' \(LSTM\)"):
        lrp(network, images)
    assert_same_state(before, state_of(network))


def test_explains_logits_in_the_precision_of_the_weights():
    network, images = make_network("small")
    with pytest.raises(ValueError, match="method='lrp' propagates logits only"):
        lrp(network, images, "sum_log_prob")
    with pytest.raises(ValueError, match="method='lrp' does not compute in bfloat16"):
        lrp(network, images, precision="bfloat16")


def test_does_not_take_what_torch_compiled():
    network, images = make_network("small")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates its own compiler
        network.features = torch.jit.trace(network.features, images)
    with pytest.raises(ValueError, match=r"compiled layer 'features' \("):
        lrp(network, images)


class _Chosen(nn.Module):
    def __init__(self, chosen):
        super().__init__()
        self.chosen = chosen
        self.one, self.other, self.head = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, images):
        rows = images.flatten(1)
        one, other = self.one(rows), self.other(rows)
        if self.chosen is None:
            return self.head(torch.where(rows[:, :1] > 0, one, other))
        return self.head((one, other)[self.chosen])


def test_rows_that_choose_between_two_ways_are_explained_by_theirs():
    network, images = randomized(lambda: _Chosen(None), shape=(1, 2, 3), n_rows=8)
    chooses = network[0]
    both = lrp(network, images, conservation_tol=np.inf)
    positive = (images.flatten(1)[:, 0] > 0).numpy()
    assert 0 < positive.sum() < 8
    for way in (0, 1):
        chooses.chosen = way
        alone = lrp(network, images, conservation_tol=np.inf)
        rows = positive == (way == 0)
        np.testing.assert_allclose(both[rows], alone[rows], rtol=1e-6)
