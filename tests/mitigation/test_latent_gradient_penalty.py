"""The penalty on derivatives along a concept, against Jacobians and finite differences."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_shortcuts.mitigation._latent_gradient_penalty import LatentGradientPenalty
from sklearn_shortcuts.neural import ECGResNet, SmallCNN
from sklearn_shortcuts.neural._layer_hook import LayerHook

DEFAULTS = {"target": "all", "aggregation": "mean", "norm": "l2", "cosine": False}


@pytest.fixture(autouse=True)
def own_random_numbers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def image_network(norm="batch"):
    """Convolutions, normalization, GELU, pooling and dropout, of which the latter is off."""
    make = nn.BatchNorm2d if norm == "batch" else lambda n: nn.GroupNorm(2, n)
    network = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.GELU(), nn.Conv2d(4, 4, 3, padding=1), make(4), nn.ReLU(inplace=True)),
        *(nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LayerNorm(24)),
        *(nn.Dropout(0.0), nn.Linear(24, 3)),
    ).double()
    for part in network:
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return network


def batch_of(*shape, n_outputs=3, seed=0):
    rng = np.random.default_rng(seed)
    n = shape[0]
    return {
        "X": torch.from_numpy(rng.normal(size=shape)),
        "y": torch.from_numpy(rng.integers(0, n_outputs, n)),
        "index": torch.arange(n),
    }


def directions(n_channels, n=1):
    return np.linalg.qr(np.random.default_rng(1).normal(size=(n_channels, n)))[0].T


def penalties(network, layer, batch, basis, *, forward_mode=None, kind="multiclass", **options):
    """Penalties of the rows of a batch in training mode, after the forward pass as training runs it."""
    spec = LatentGradientPenalty(layer, batch["X"].ndim, directions=basis, **{**DEFAULTS, **options})
    built = spec.build(len(batch["X"]), 3, kind)
    if forward_mode is not None:
        built.forward_mode = forward_mode
    network.train()
    with built.watch(network):
        logits = network(batch["X"])
    return built(network, {**batch, "logits": logits})


def jacobians(network, layer, X):
    """Logits, shape (n, K), and their derivatives by the layer's output, (n, K, C, S), in evaluation mode."""
    network.eval()
    seen = []

    def keep(values):
        seen.append(values.detach().requires_grad_())
        return seen[-1].clone()

    handle = LayerHook(keep, X.ndim).attach(network, layer)
    logits = network(X)
    handle.remove()
    rows = [torch.autograd.grad(logits[:, k].sum(), seen[-1], retain_graph=True)[0] for k in range(logits.shape[1])]
    return logits.detach().numpy(), torch.stack(rows, 1).numpy()


@pytest.mark.parametrize("forward_mode", [True, False])
@pytest.mark.parametrize("layer", ["1", "3", "4", "6", "last"])
def test_squared_derivatives_of_all_outputs(layer, forward_mode):
    network, batch = image_network(), batch_of(5, 1, 12, 12)
    _, jacobian = jacobians(network, layer, batch["X"])
    basis = directions(jacobian.shape[2], 2)
    along = jacobian.mean(3) @ basis.T
    wanted = np.square(along).sum((1, 2))
    values = penalties(network, layer, batch, basis, forward_mode=forward_mode)
    np.testing.assert_allclose(values.detach(), wanted, rtol=1e-9)
    assert not network[0]._forward_hooks
    assert not network._forward_hooks


@pytest.mark.parametrize("layer", ["1", "last"])
def test_average_over_random_signs(layer):
    network, batch = image_network("group"), batch_of(4, 1, 12, 12)
    _, jacobian = jacobians(network, layer, batch["X"])
    basis = directions(jacobian.shape[2])
    signs = np.array(list(itertools.product([-1, 1], repeat=3)))
    published = np.square(np.einsum("sk,nkc,c->sn", signs, jacobian.mean(3), basis[0])).mean(0)
    np.testing.assert_allclose(penalties(network, layer, batch, basis).detach(), published, rtol=1e-9)
    drawn = [penalties(network, layer, batch, basis, target="random").detach().numpy() for _ in range(60)]
    possible = np.square(np.einsum("sk,nkc,c->sn", signs, jacobian.mean(3), basis[0]))
    assert all(np.isclose(value, possible[:, row]).any() for values in drawn for row, value in enumerate(values))
    assert len(np.unique(np.round(drawn, 12), axis=0)) > 4


def test_linear_layer_behind_a_mean_over_positions():
    network = nn.Sequential(nn.Conv2d(1, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)).double()
    basis = directions(5)
    values = penalties(network, "0", batch_of(4, 1, 8, 8), basis)
    wanted = np.square(network[3].weight.detach().numpy() @ basis[0]).sum() / 36**2
    np.testing.assert_allclose(values.detach(), np.full(4, wanted), rtol=1e-12)


def factors(target, logits, y):
    if target == "true":
        return np.eye(3)[y]
    if target == "max":
        return np.eye(3)[logits.argmax(1)]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    step, eye = 1e-6, np.eye(3)

    def mean_log(z):
        q = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        return np.log(q + 1e-5).mean(1)

    return np.stack([(mean_log(logits + step * e) - mean_log(logits - step * e)) / (2 * step) for e in eye], 1)


@pytest.mark.parametrize("target", ["true", "max", "log_prob", "all"])
@pytest.mark.parametrize(
    ("aggregation", "norm", "cosine"),
    [("mean", "l1", False), ("mean", "l1", True), ("position", "l2", False), ("position", "l2", True)],
)
def test_published_variants(target, aggregation, norm, cosine):
    network, batch = image_network(), batch_of(5, 1, 12, 12)
    logits, jacobian = jacobians(network, "3", batch["X"])
    basis = directions(jacobian.shape[2], 2)
    gradients = jacobian
    if target != "all":
        scale = factors(target, logits, batch["y"].numpy())
        gradients = np.einsum("nk,nkcs->ncs", scale, jacobian)[:, None]
    gradients = gradients.mean(3, keepdims=True) if aggregation == "mean" else gradients
    along = np.einsum("nkcs,dc->nkds", gradients, basis)
    if cosine:
        along = along / np.maximum(np.linalg.norm(gradients, axis=2), 1e-8)[:, :, None]
    wanted = (np.square(along) if norm == "l2" else np.abs(along)).mean(3).sum((1, 2))
    values = penalties(network, "3", batch, basis, target=target, aggregation=aggregation, norm=norm, cosine=cosine)
    np.testing.assert_allclose(values.detach(), wanted, rtol=2e-5)


@pytest.mark.parametrize("n_labels", [1, 3])
@pytest.mark.parametrize("target", ["true", "max", "log_prob"])
def test_outputs_of_labels(target, n_labels):
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, n_labels)).double()
    batch = batch_of(5, 1, 6)
    batch["y"] = torch.from_numpy(np.random.default_rng(2).integers(0, 2, (5, n_labels)))
    logits, jacobian = jacobians(network, "2", batch["X"])
    basis, y = directions(4), batch["y"].numpy()
    p = 1 / (1 + np.exp(-logits))
    if target == "true":
        scale = 2.0 * y - 1
    elif target == "max":
        scale = np.sign(logits) * (np.abs(logits) == np.abs(logits).max(1, keepdims=True))
    else:
        scale = p * (1 - p) * (1 / (p + 1e-5) - 1 / (1 - p + 1e-5)) / (2 * n_labels)
    wanted = np.square(((jacobian.mean(3) @ basis[0]) * scale).sum(1))
    kind = "multilabel" if n_labels > 1 else "binary"
    values = penalties(network, "2", batch, basis, kind=kind, target=target)
    np.testing.assert_allclose(values.detach(), wanted, rtol=1e-9)


@pytest.mark.parametrize("forward_mode", [True, False])
@pytest.mark.parametrize(("target", "norm"), [("all", "batch"), ("all", "group"), ("log_prob", "batch")])
def test_gradient_of_the_weights(target, norm, forward_mode):
    network, batch = image_network(norm), batch_of(3, 1, 12, 12)
    options = {"forward_mode": forward_mode, "target": target}
    basis = directions(4)
    weights = [network[6].weight, network[3].weight, network[12].weight]
    found = torch.autograd.grad(penalties(network, "1", batch, basis, **options).sum(), weights)
    rng = np.random.default_rng(3)
    for weight, gradient in zip(weights, found):
        way, start, step = torch.from_numpy(rng.normal(size=weight.shape)), weight.detach().clone(), 1e-5
        ends = []
        for sign in (1, -1):
            weight.data = start + sign * step * way
            ends.append(penalties(network, "1", batch, basis, **options).sum().item())
        weight.data = start
        assert (gradient * way).sum().item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_signals():
    network = ECGResNet(width=4).build((2, 64), 3).double()
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    layer = [name for name, part in network.named_modules() if isinstance(part, nn.Conv1d)][1]
    batch = batch_of(3, 2, 64)
    _, jacobian = jacobians(network, layer, batch["X"])
    basis = directions(jacobian.shape[2])
    values = penalties(network, layer, batch, basis)
    np.testing.assert_allclose(values.detach(), np.square(jacobian.mean(3) @ basis[0]).sum(1), rtol=1e-8)


def test_tokens_of_a_transformer():
    from torchvision.models import VisionTransformer

    network = VisionTransformer(16, 8, 2, 2, 8, 16, num_classes=3).double()
    nn.init.normal_(network.heads.head.weight)
    layer, batch = "encoder.layers.encoder_layer_0", batch_of(3, 3, 16, 16)
    _, jacobian = jacobians(network, layer, batch["X"])
    basis = directions(8)
    values = penalties(network, layer, batch, basis, forward_mode=False)
    np.testing.assert_allclose(values.detach(), np.square(jacobian.mean(3) @ basis[0]).sum(1), rtol=1e-8)


def test_rows_are_independent_in_training():
    network = SmallCNN(width=4, norm="batch").build((1, 16, 16), 3).double()
    batch, basis = batch_of(6, 1, 16, 16), directions(4)
    values = penalties(network, "features.0", batch, basis).detach()
    assert (values > 0).all()
    half = {name: value[:3] for name, value in batch.items()}
    torch.testing.assert_close(penalties(network, "features.0", half, basis).detach(), values[:3])
    norm = network.get_submodule("features.1.1")
    assert norm.training
    assert norm.num_batches_tracked == 0


def test_layer_without_part_in_the_outputs():
    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 2)

        def forward(self, X):
            return self.used(X.flatten(1))

    with pytest.raises(ValueError, match="takes no part"):
        penalties(Aside().double(), "unused", batch_of(3, 1, 4), directions(2))
