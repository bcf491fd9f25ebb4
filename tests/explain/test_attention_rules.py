"""Relevance through attention against rules written out as loops, and among the ways to write attention."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from .networks import assert_same_state, state_of
from .test_layer_relevance import found_in
from .test_propagation import lrp, made

EPSILON = 1e-6
N_TOKENS, WIDTH = 4, 6


class Transformer(nn.Module):
    """Patches, a class token, attention with a residual sum and a head; attention computed in one of several ways."""

    def __init__(self, attend, n_heads=2, residual=True):
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.position = nn.Parameter(torch.randn(1, N_TOKENS + 1, WIDTH))
        self.tokens, self.norm = nn.Identity(), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, n_heads, batch_first=True)
        nn.init.normal_(self.attention.in_proj_bias)
        nn.init.normal_(self.attention.out_proj.bias)
        self.head = nn.Linear(WIDTH, 2)
        self.attend, self.n_heads, self.residual = attend, n_heads, residual

    def forward(self, X):
        values = self.patches(X).flatten(2).transpose(1, 2)
        values = torch.cat([self.token.expand(len(X), -1, -1), values], 1)
        values = self.tokens(values + self.position)
        changed = self.attend(self, self.norm(values))
        return self.head((values + changed if self.residual else changed)[:, 0])


def without_weights(network, values):
    return network.attention(values, values, values, need_weights=False)[0]


def with_weights(network, values):
    return network.attention(values, values, values)[0]


def tokens_first(network, values):
    network.attention.batch_first = False
    values = values.transpose(0, 1)
    outputs = network.attention(values, values, values)[0].transpose(0, 1)
    network.attention.batch_first = True
    return outputs


def heads(network, values):
    projected = F.linear(values, network.attention.in_proj_weight, network.attention.in_proj_bias)
    return projected.reshape(*values.shape[:2], 3, network.n_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def by_hand(network, values):
    query, key, value = heads(network, values)
    weights = (query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)).softmax(dim=-1)
    return network.attention.out_proj((weights @ value).transpose(1, 2).reshape(values.shape))


def by_einstein_sums(network, values):
    query, key, value = heads(network, values)
    scores = torch.einsum("bhid,bhjd->bhij", query / math.sqrt(query.shape[-1]), key)
    mixed = torch.einsum("bhij,bhjd->bihd", F.softmax(scores, -1), value)
    return network.attention.out_proj(mixed.flatten(2))


def by_one_function(network, values):
    mixed = F.scaled_dot_product_attention(*heads(network, values))
    return network.attention.out_proj(mixed.transpose(1, 2).flatten(2))


def masked(network, values):
    """A mask that leaves nothing out."""
    mask = torch.zeros(N_TOKENS + 1, N_TOKENS + 1, dtype=torch.bool)
    padding = torch.zeros(len(values), N_TOKENS + 1, dtype=torch.bool)
    return network.attention(values, values, values, attn_mask=mask, key_padding_mask=padding)[0]


def transformer(attend, **options):
    def build():
        images = torch.randn(3, 1, 4, 4, dtype=torch.float64)
        return Transformer(attend, **options).double().eval(), images

    return made(build)


@pytest.mark.parametrize("attend", [with_weights, tokens_first, by_hand, by_einstein_sums, by_one_function, masked])
def test_all_ways_to_write_attention_are_the_same(attend):
    network, images = transformer(without_weights)
    expected = lrp(network, images)
    other = transformer(attend)[0]
    other.load_state_dict(network.state_dict())
    before = state_of(other)
    maps = lrp(other, images)
    assert_same_state(before, state_of(other))
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(maps.details["bias_ratio"], expected.details["bias_ratio"], rtol=1e-4)
    np.testing.assert_allclose(maps.details["conservation_ratio"] + maps.details["bias_ratio"], 1, atol=1e-3)


def stabilized(value):
    return value + (EPSILON if value >= 0 else -EPSILON)


def linear_by_loops(x, weight, bias, relevance):
    """Rule epsilon, one product after the other."""
    found = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(len(weight)):
            z = sum(x[i, k] * weight[j, k] for k in range(x.shape[1])) + bias[j]
            for k in range(x.shape[1]):
                found[i, k] += x[i, k] * weight[j, k] / stabilized(z) * relevance[i, j]
    return found


def product_by_loops(a, b, relevance):
    """Relevance of a matrix product, half to each factor."""
    of_a, of_b = np.zeros_like(a), np.zeros_like(b)
    for i in range(len(a)):
        for j in range(b.shape[1]):
            z = sum(a[i, k] * b[k, j] for k in range(a.shape[1]))
            for k in range(a.shape[1]):
                share = a[i, k] * b[k, j] / (2 * stabilized(z)) * relevance[i, j]
                of_a[i, k] += share
                of_b[k, j] += share
    return of_a, of_b


def attention_by_loops(x, weights, biases, relevance):
    """Relevance of tokens from that of one head's output."""
    (w_q, w_k, w_v, w_o), (b_q, b_k, b_v, b_o) = weights, biases
    q, k, v = (x @ w.T + b for w, b in ((w_q, b_q), (w_k, b_k), (w_v, b_v)))
    scores = q @ k.T / math.sqrt(q.shape[1])
    attended = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    mixed = attended @ v
    r_mixed = linear_by_loops(mixed, w_o, b_o, relevance)
    r_attended, r_v = product_by_loops(attended, v, r_mixed)
    r_scores = np.zeros_like(scores)
    for i in range(len(x)):
        total = sum(r_attended[i])
        for j in range(len(x)):
            r_scores[i, j] = scores[i, j] * (r_attended[i, j] - attended[i, j] * total)
    r_q, r_k = product_by_loops(q / math.sqrt(q.shape[1]), k.T, r_scores)
    return linear_by_loops(x, w_q, b_q, r_q) + linear_by_loops(x, w_k, b_k, r_k.T) + linear_by_loops(x, w_v, b_v, r_v)


def test_one_head_by_loops():
    network, images = transformer(without_weights, n_heads=1, residual=False)
    found = found_in(network, images, ["tokens", "norm", "attention"], "lrp").layers
    parts = network.attention
    weights = [*parts.in_proj_weight.chunk(3), parts.out_proj.weight]
    biases = [*parts.in_proj_bias.chunk(3), parts.out_proj.bias]
    weights, biases = ([value.detach().numpy() for value in values] for values in (weights, biases))
    with torch.no_grad():
        tokens = network.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([network.token.expand(3, -1, -1), tokens], 1) + network.position
        x = network.norm(tokens).numpy()
        logits = network(images)[:, 1].numpy()
        outputs = without_weights(network, network.norm(tokens)).numpy()
    for row in range(3):
        from_head = np.zeros_like(x[row])
        from_head[0] = outputs[row, 0] * network.head.weight[1].detach().numpy() * logits[row] / stabilized(logits[row])
        np.testing.assert_allclose(found["attention"][1][row], from_head, rtol=1e-8)
        expected = attention_by_loops(x[row], weights, biases, from_head)
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(found["norm"][1][row], expected, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(found["tokens"][1][row], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("causal", [False, True])
def test_what_is_masked_has_no_relevance(causal):
    def attend(network, values):
        query, key, value = heads(network, values)
        mask = None
        if not causal:
            mask = torch.ones(N_TOKENS + 1, N_TOKENS + 1, dtype=torch.bool)
            mask[:, 3:] = False
        mixed = F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal)
        return network.attention.out_proj(mixed.transpose(1, 2).flatten(2))

    network, images = transformer(attend, residual=False)
    found = found_in(network, images, ["tokens"], "lrp").layers["tokens"][1]
    first = 1 if causal else 3  # of the tokens that the class token does not see
    assert found[:, :first].abs().amax(2).min() > 0
    np.testing.assert_array_equal(found[:, first:], 0)


@pytest.mark.parametrize(
    "options", [{"bias": False}, {"add_zero_attn": True}, {"add_bias_kv": True}, {"kdim": WIDTH, "vdim": WIDTH + 1}]
)
def test_variants_of_multi_head_attention_compute_what_torch_computes(options):
    network, images = transformer(without_weights)
    with torch.random.fork_rng(devices=[]):
        network.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True, **options).double().eval()
    if "vdim" in options:
        network.attend = lambda network, x: network.attention(x, x, torch.cat([x, x[..., :1]], -1))[0]
    maps = lrp(network, images)
    score = network(images)[:, 1].detach().numpy()
    # The relevance of the logits is their value, of which nothing is lost only if the outputs are right.
    np.testing.assert_allclose(maps.details["conservation_ratio"] + maps.details["bias_ratio"], 1, atol=1e-3)
    found = found_in(network, images, ["attention"], "lrp")
    np.testing.assert_allclose(found.scores, score, rtol=1e-10)


class _TokensFirst(nn.Module):
    """What torch gives without being asked for rows first."""

    def __init__(self):
        super().__init__()
        self.patches, self.head = nn.Conv2d(1, WIDTH, 2, stride=2), nn.Linear(WIDTH, 2)
        self.block = nn.TransformerEncoderLayer(WIDTH, 2, 8)

    def forward(self, X):
        return self.head(self.block(self.patches(X).flatten(2).permute(2, 0, 1)).mean(0))


def test_rows_behind_tokens():
    network, images = made(lambda: (_TokensFirst().double().eval(), torch.randn(3, 1, 4, 4, dtype=torch.float64)))
    maps = lrp(network, images)
    np.testing.assert_allclose(maps.details["conservation_ratio"] + maps.details["bias_ratio"], 1, atol=1e-3)
    found = found_in(network, images, ["block", "patches"], "lrp")
    np.testing.assert_allclose(found.lost / found.scores, 0, atol=1e-3)
