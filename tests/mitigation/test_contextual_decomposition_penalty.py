"""Contextual decomposition: its rules against a plain reference, its sums, and the penalty made of it."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.mitigation import ContextualDecompositionPenalty
from sklearn_shortcuts.mitigation._contextual_decomposition import decompose
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN, TorchvisionModule
from sklearn_shortcuts.neural._stem import GrayConv2d
from tests.mitigation.networks import make_batch


def built_from(function, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return function()


def parts(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(shape, generator=generator).double()
    mask = torch.rand(shape[0], 1, *shape[2:], generator=generator) < 0.4
    return image, image * mask, image * ~mask


def call(network, batch, kind="multiclass"):
    logits = network(batch["X"])
    return ContextualDecompositionPenalty().build(len(logits), logits.shape[1], kind)(
        network, {**batch, "logits": logits}
    )


# -- the rules -----------------------------------------------------------------------------------------------------
def shared(part, rest, shift):
    total = np.abs(part) + np.abs(rest)
    share = np.divide(np.abs(part), total, out=np.zeros_like(part), where=total > 0)
    return part + share * shift, rest + (1 - share) * shift


def reference(network, part, rest):
    """Convolution, ReLU, max-pooling of 2 x 2, linear, in NumPy, for one row."""
    convolution, _, _, _, linear = network
    kernels, shifts = (p.detach().numpy() for p in (convolution.weight, convolution.bias))
    maps = []
    for kernel, shift in zip(kernels, shifts):
        pair = shared(*(correlate(image, kernel, mode="valid")[0] for image in (part, rest)), shift)
        positive = np.maximum(pair[0], 0)
        pair = positive, np.maximum(pair[0] + pair[1], 0) - positive
        pooled = np.zeros((2, *(size // 2 for size in pair[0].shape)))
        for i, j in np.ndindex(*pooled.shape[1:]):
            window = np.s_[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            best = (pair[0] + pair[1])[window].argmax()
            pooled[:, i, j] = pair[0][window].ravel()[best], pair[1][window].ravel()[best]
        maps.append(pooled.reshape(2, -1))
    weight, shift = (p.detach().numpy() for p in (linear.weight, linear.bias))
    return shared(*(np.concatenate([pooled[side] for pooled in maps]) @ weight.T for side in (0, 1)), shift)


def test_the_rules_are_those_of_the_paper():
    network = built_from(
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 4)).double()
    )
    _, part, rest = parts(3, 2, 8, 8)
    found = decompose(network, part, rest)
    for row in range(3):
        expected = reference(network, part[row].numpy(), rest[row].numpy())
        for mine, other in zip(found, expected):
            np.testing.assert_allclose(mine[row].detach(), other, rtol=1e-12)


def test_group_normalization_is_linear_but_for_the_deviation():
    layer = nn.GroupNorm(2, 4).double()
    layer.weight.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    image, part, rest = parts(3, 4, 5, 6)
    found, _ = decompose(nn.Sequential(layer), part, rest)
    for row in range(3):
        for group in range(2):
            channels = slice(2 * group, 2 * group + 2)
            deviation = (image[row, channels].var(correction=0) + layer.eps).sqrt()
            expected = (part[row, channels] - part[row, channels].mean()) / deviation
            torch.testing.assert_close(found[row, channels], expected * layer.weight[channels, None, None])


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4, affine=False), nn.Linear(4, 3)])

    def forward(self, X):
        X = torch.relu(self.layers[1](self.layers[0](X)))
        X = nn.functional.dropout(nn.functional.max_pool2d(X, 2), 0.3, self.training)
        return self.layers[2](X.mean((2, 3)).view(X.size(0), -1)), X


def no_shift():
    layers = (nn.Conv2d(1, 4, 3, bias=False), nn.GroupNorm(2, 4, affine=False), nn.AvgPool2d(2), nn.Dropout2d())
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Identity())


def vgg():
    """torchvision's, with less than its hundred million weights in the head."""
    from torchvision.models import vgg11_bn

    with torch.device("meta"):
        network = vgg11_bn(init_weights=False)
    network.features[0] = GrayConv2d(3, 64, 3, padding=1)
    network.classifier = nn.Sequential(nn.Linear(25088, 8), nn.ReLU(True), nn.Dropout(), nn.Linear(8, 3))
    for layer in network.features:
        if hasattr(layer, "reset_parameters"):
            layer.to_empty(device="cpu").reset_parameters()
    return network


NETWORKS = {
    "small": (lambda: SmallCNN(4).build((1, 20, 16), 3), (1, 20, 16)),
    "small, batch": (lambda: SmallCNN(4, norm="batch").build((3, 16, 16), 3), (3, 16, 16)),
    "signals": (lambda: SmallCNN(4).build((2, 30), 3), (2, 30)),
    "gray vgg": (vgg, (1, 32, 32)),
    "functions": (Functional, (1, 9, 9)),
    "no shift": (no_shift, (1, 9, 9)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_contributions_add_up_to_the_outputs(name):
    build, shape = NETWORKS[name]
    network = built_from(build).double().eval()
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
    image, part, rest = parts(3, *shape)
    contributions = decompose(network, part, rest)
    outputs = network(image)
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    torch.testing.assert_close(sum(contributions), outputs, rtol=1e-9, atol=1e-12)
    nothing, everything = decompose(network, torch.zeros_like(image), image)
    torch.testing.assert_close(everything, outputs, rtol=1e-9, atol=1e-12)
    assert nothing.abs().max() < 1e-12


@pytest.mark.parametrize("dropout", [nn.Dropout(0.5), nn.Dropout2d(0.5)])
def test_dropout_drops_the_same_of_both(dropout):
    network = built_from(
        lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), dropout, nn.Flatten(), nn.Linear(288, 2)).double()
    )
    image, part, rest = parts(2, 1, 8, 8)
    outputs = built_from(lambda: network(image), seed=3)
    contributions = built_from(lambda: decompose(network, part, rest), seed=3)
    torch.testing.assert_close(sum(contributions), outputs)
    assert not torch.allclose(outputs, network.eval()(image))


def test_batch_normalization_keeps_its_statistics_and_its_mode():
    network = built_from(lambda: SmallCNN(4, norm="batch").build((1, 16, 16), 2)).double()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    image, part, rest = parts(3, 1, 16, 16)
    contributions = decompose(network, part, rest)
    assert all(layer.training for layer in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    torch.testing.assert_close(sum(contributions), network.eval()(image))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", r"'add_' in the layer 'layer1.0' \(BasicBlock\) of ResNet; known are.*InputGradientPenalty"),
        ("mobilenet_v2", r"'hardtanh' in the layer 'features.0.2' \(ReLU6\) of MobileNetV2"),
        ("densenet121", r"'cat' in the layer 'features.denseblock1.denselayer1' \(_DenseLayer\)"),
    ],
)
def test_the_first_layer_without_a_rule_is_named(name, message):
    network = built_from(lambda: TorchvisionModule(name).build((1, 32, 32), 2))
    with pytest.raises(ValueError, match=message):
        decompose(network, torch.zeros(2, 1, 32, 32), torch.ones(2, 1, 32, 32))


class Branching(nn.Module):
    def forward(self, X):
        return X if X.sum() > 0 else -X


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Sequential(nn.GELU())), r"'gelu' in the layer '1.0' \(GELU\) of Sequential"),
        (nn.BatchNorm2d(1, track_running_stats=False), "by statistics of the batch of BatchNorm2d"),
        (Branching(), "'sum' of Branching"),
    ],
)
def test_operations_without_a_rule_are_named(network, message):
    with pytest.raises(ValueError, match=message):
        decompose(network, torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4))


# -- the penalty ---------------------------------------------------------------------------------------------------
def test_value_is_the_average_share_of_the_region():
    network, batch = built_from(lambda: SmallCNN(4).build((1, 8, 8), 3)).double(), make_batch()
    found = call(network, batch)
    masks = batch["masks"][:, None].double()
    region, rest = (part.detach().numpy() for part in decompose(network, batch["X"] * masks, batch["X"] * (1 - masks)))
    expected = (np.exp(region) / (np.exp(region) + np.exp(rest))).mean(1)
    np.testing.assert_allclose(found[:-1].detach(), expected[:-1], rtol=1e-12)
    assert found[-1] == 0  # has no mask
    batch["has_mask"][:] = False
    assert torch.equal(call(network, batch), torch.zeros(5).double())


@pytest.mark.parametrize(
    ("kind", "n_outputs", "n_masks"),
    [("multiclass", 3, 3), ("binary", 1, 2), ("multilabel", 3, 3), ("multilabel", 1, 1)],
)
def test_masks_per_class_split_the_output_of_their_class(kind, n_outputs, n_masks):
    network = built_from(lambda: SmallCNN(4).build((1, 8, 8), n_outputs)).double()
    batch = make_batch(n_outputs, kind=kind)
    batch["masks"] = torch.from_numpy(np.random.default_rng(1).random((5, n_masks, 8, 8)) < 0.3).double()
    batch["masks"][1, n_masks - 1] = float("nan")  # not annotated
    found = call(network, batch, kind)
    for row in range(5):
        expected = 0.0
        for k in range(n_masks if batch["has_mask"][row] else 0):
            mask = batch["masks"][row, k]
            if mask.isnan().any():
                continue
            image = batch["X"][[row]]
            region, rest = (part[0].detach() for part in decompose(network, image * mask, image * (1 - mask)))
            difference = region - rest
            if kind == "binary":  # the logit of class 0 is minus that of class 1
                difference = torch.cat([-difference, difference])
            expected += 1 / (1 + float(torch.exp(-difference[k])))
        np.testing.assert_allclose(found[row].detach(), expected, rtol=1e-12)


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("n_masks", [None, 3])
def test_parameter_gradient_matches_finite_differences(norm, n_masks):
    network, batch = built_from(lambda: SmallCNN(4, depth=2, norm=norm).build((1, 8, 8), 3)).double(), make_batch()
    network.eval()  # or the running statistics would move
    if n_masks:
        batch["masks"] = torch.from_numpy(np.random.default_rng(1).random((5, n_masks, 8, 8)) < 0.3)
    weights = list(network.parameters())
    gradients = torch.autograd.grad(call(network, batch).sum(), weights, materialize_grads=True)
    assert all(gradient.any() for gradient in gradients)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        directions = [torch.randn(weight.shape, generator=generator).double() for weight in weights]
        sides = []
        for step in (1e-6, -2e-6, 1e-6):
            with torch.no_grad():
                for weight, direction in zip(weights, directions):
                    weight.add_(direction, alpha=step)
            sides.append(float(call(network, batch).sum().detach()))
        exact = float(sum((gradient * direction).sum() for gradient, direction in zip(gradients, directions)))
        assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(exact, rel=1e-5)


def test_masks_that_do_not_fit():
    network, batch = built_from(lambda: SmallCNN(4).build((1, 8, 8), 3)).double(), make_batch()
    batch["masks"] = torch.ones(5, 2, 8, 8)
    with pytest.raises(ValueError, match="there are 2 per row, but 3 classes"):
        call(network, batch)


def test_training_takes_the_contribution_off_a_patch():
    rng = np.random.default_rng(0)
    X, y = rng.normal(0.5, 0.2, (40, 12, 12)), np.arange(40) % 2
    X[:, :3, :3] = y[:, None, None]
    masks = np.zeros((40, 12, 12))
    masks[:, :3, :3] = 1
    options = {"max_epochs": 8, "lr": 0.01, "batch_size": 8, "random_state": 0}
    penalty = ContextualDecompositionPenalty()
    model = NeuralImageClassifier(SmallCNN(4, depth=1), penalty=penalty, **options).fit(ImageBunch(X, masks=masks), y)
    assert model.history_.train_penalty.iloc[-1] < 0.8 * model.history_.train_penalty.iloc[0]
