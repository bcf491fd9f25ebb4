"""Class activation maps against other implementations, closed forms and each other."""

import copy
import functools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.utils.checkpoint import checkpoint

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.explain import _cam, grad_cam, grad_cam_plus_plus, hires_cam
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

from .networks import MAKERS, assert_same_state, make_network, state_of

METHODS = {"GradCAM": grad_cam, "GradCAMPlusPlus": grad_cam_plus_plus, "HiResCAM": hires_cam}


@functools.cache
def torchvision_network(name):
    """A network of torchvision whose statistics and head are not those of a new one; it is shared."""
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "vit":
            network = torchvision.models.VisionTransformer(64, 16, 3, 4, 32, 64, num_classes=6)
            nn.init.normal_(network.heads.head.weight)  # which torchvision sets to zero
        else:
            network = torchvision.models.get_model(name, num_classes=6)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.2)
                part.running_var.uniform_(0.5, 2)
        if name == "vgg16":  # gradients of a new VGG are so small that constants of the peer drown them
            network.classifier[-1].weight.data.mul_(100)
    return network.eval()


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scaled(maps):
    """From 0 to 1 in every row, which pytorch-grad-cam always does."""
    maps = np.asarray(maps, dtype=np.float64)
    maps = maps - maps.min(axis=(1, 2), keepdims=True)
    return maps / (1e-7 + maps.max(axis=(1, 2), keepdims=True))


def peer_maps(method, network, layer, X, targets=None, transform=None):
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = None if targets is None else [ClassifierOutputTarget(target) for target in targets]
    cam = getattr(pytorch_grad_cam, method)(network, [network.get_submodule(layer)], reshape_transform=transform)
    return cam(X, targets)


@pytest.fixture(params=["few rows", "many rows"])
def many_rows(request, monkeypatch):
    """Many rows are explained on a copy of the network; here that begins with one."""
    if request.param == "many rows":
        monkeypatch.setattr(_cam, "_MANY_ROWS", 1)


@pytest.mark.usefixtures("many_rows")
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_resnet_are_those_of_pytorch_grad_cam(method):
    network, X = torchvision_network("resnet18"), noise(3, 3, 64, 64)
    maps = METHODS[method](network, X)
    assert maps.layer == "layer4"
    assert maps.method == METHODS[method].__name__
    assert not maps.zero_maps.all()
    np.testing.assert_allclose(scaled(maps), peer_maps(method, network, "layer4", X), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_vgg_are_those_of_pytorch_grad_cam(method):
    network, X = torchvision_network("vgg16"), noise(2, 3, 64, 64)
    maps = METHODS[method](network, X, np.array([4, 1]))
    assert maps.layer == "features"
    np.testing.assert_allclose(scaled(maps), peer_maps(method, network, "features", X, [4, 1]), atol=1e-4)


@pytest.mark.parametrize(("name", "layer", "size"), [("resnet18", "layer4", 64), ("vgg16", "features", 64)])
def test_grad_cam_is_that_of_captum(name, layer, size):
    captum = pytest.importorskip("captum.attr")
    network, X = torchvision_network(name), noise(2, 3, size, size)
    expected = captum.LayerGradCam(network, network.get_submodule(layer)).attribute(X, target=3)
    expected = expected.detach()[:, 0].numpy()
    maps = grad_cam(network, X, 3, layer=layer, signed=True, size="layer")
    np.testing.assert_allclose(maps, expected, atol=1e-4 * np.abs(expected).max())


def test_maps_of_a_vision_transformer_are_those_of_pytorch_grad_cam():
    network, X = torchvision_network("vit"), noise(2, 3, 64, 64)
    layer = "encoder.layers.encoder_layer_2.ln_1"

    def transform(tokens):
        return tokens[:, 1:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)

    for method, function in METHODS.items():
        maps = function(network, X, 2)
        assert maps.layer == layer
        np.testing.assert_allclose(scaled(maps), peer_maps(method, network, layer, X, [2, 2], transform), atol=1e-4)


def test_maps_of_densenet_are_those_before_its_in_place_relu():
    network, X = torchvision_network("densenet121"), noise(2, 3, 64, 64)
    maps = grad_cam(network, X, 1, signed=True, size="layer")
    assert maps.layer == "features"
    with torch.no_grad():
        activation = network.features(X)
        active = activation > 0
    # relu, mean over positions, linear
    gradient = active * network.classifier.weight[1].detach()[:, None, None] / activation[0, 0].numel()
    weights = gradient.mean((2, 3))
    expected = torch.einsum("nc,nchw->nhw", weights, activation).numpy()
    np.testing.assert_allclose(maps, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.usefixtures("many_rows")
@pytest.mark.parametrize("name", MAKERS)
def test_maps_are_those_of_a_graph_through_the_whole_network(name):
    network, X = make_network(name)
    maps = grad_cam(network, X, 1 if name != "one_logit" else 0, signed=True, size="layer")
    seen = []

    def keep(layer, inputs, output):
        seen.append(output.clone())
        return seen[0].clone()

    hook = network.get_submodule(maps.layer).register_forward_hook(keep)
    logits = network(X.clone().requires_grad_() * 1)
    hook.remove()
    score = (-logits[:, 0] if name == "one_logit" else logits[:, 1]).sum()
    (gradient,) = torch.autograd.grad(score, seen[0])
    activation = seen[0].detach()
    if name == "vision_transformer":
        activation, gradient = (part[:, 1:].transpose(1, 2).unflatten(2, (4, 4)) for part in (activation, gradient))
    axes = tuple(range(2, activation.ndim))
    expected = (gradient.mean(axes, keepdim=True) * activation).sum(1)
    scale = max(expected.abs().max().item(), 1e-12)
    np.testing.assert_allclose(np.asarray(maps) / scale, expected.numpy() / scale, atol=1e-5)


@pytest.mark.usefixtures("many_rows")
def test_the_network_is_left_as_it_was():
    network = copy.deepcopy(torchvision_network("resnet18")).train()
    for parameter in network.layer1.parameters():
        parameter.requires_grad_(False)
    network.fc.bias.grad = torch.ones(6)
    before = state_of(network)
    X = noise(2, 3, 32, 32)
    for function in METHODS.values():
        function(network, X, layer="layer3")
    assert_same_state(before, state_of(network))


def test_the_network_is_left_as_it_was_after_an_error():
    network = copy.deepcopy(torchvision_network("resnet18")).train()
    before = state_of(network)
    with pytest.raises(ValueError, match="does not depend"):
        grad_cam(_TwoPaths(), noise(2, 1, 8, 8), layer="unused")
    with pytest.raises(ValueError, match="no map of an image"):
        grad_cam(network, noise(2, 3, 32, 32), layer="fc")
    assert_same_state(before, state_of(network))


class _TwoPaths(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.used, self.unused, self.idle = (nn.Conv2d(1, 2, 3) for _ in range(3))

    def forward(self, images):
        self.unused(images)
        return self.used(images).mean((2, 3))


def test_a_frozen_network_is_explained():
    network, X = copy.deepcopy(torchvision_network("resnet18")), noise(2, 3, 64, 64)
    expected = grad_cam(network, X)
    network.requires_grad_(False)
    np.testing.assert_array_equal(grad_cam(network, X), expected)
    with torch.no_grad():
        np.testing.assert_array_equal(grad_cam(network, X), expected)


def test_batches_make_no_difference():
    network, X = torchvision_network("resnet18"), noise(7, 3, 64, 64)
    maps = grad_cam(network, X, [0, 1, 2, 3, 4, 5, 0])
    np.testing.assert_allclose(grad_cam(network, X, [0, 1, 2, 3, 4, 5, 0], batch_size=3), maps, atol=1e-6)
    for row in (1, 6):
        alone = grad_cam(network, X[row : row + 1], [0, 1, 2, 3, 4, 5, 0][row])
        np.testing.assert_allclose(alone[0], maps[row], atol=1e-6)


@pytest.mark.usefixtures("many_rows")
def test_bfloat16_keeps_the_order():
    network, X = torchvision_network("resnet18"), noise(8, 3, 96, 96)
    for function in (grad_cam, grad_cam_plus_plus):
        exact = function(network, X, 2, signed=True)
        rough = function(network, X, 2, signed=True, precision="bfloat16")
        assert not np.array_equal(exact, rough)
        correlations = [spearmanr(one.ravel(), other.ravel())[0] for one, other in zip(exact, rough)]
        assert np.median(correlations) > 0.98


def test_checkpointed_networks():
    class Checkpointed(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, images):
            return checkpoint(self.network, images, use_reentrant=False)

    network, X = make_network("small")
    np.testing.assert_allclose(grad_cam(Checkpointed(network), X, 1), grad_cam(network, X, 1), rtol=1e-6)


def test_linear_head_gives_the_logit():
    """Summed over positions the maps of a network with a linear head are the logit, after a mean Grad-CAM's too."""
    network, X = torchvision_network("resnet18"), noise(3, 3, 64, 64)
    with torch.no_grad():
        logits = network(X)[:, 2].numpy() - network.fc.bias[2].item()
    for function in (grad_cam, hires_cam):
        maps = function(network, X, 2, signed=True, size="layer")
        np.testing.assert_allclose(maps.sum(axis=(1, 2)), logits, atol=1e-6)
    np.testing.assert_array_equal(function(network, X, 2, size="layer"), np.maximum(maps, 0))


@pytest.fixture(scope="module")
def spotted():
    rng = np.random.default_rng(0)
    images, y = rng.normal(0.3, 0.1, (40, 16, 16)), np.repeat(["clear", "spot"], 20)
    images[20:, 3:8, 3:8] += 1
    return ImageBunch(images, target=y)


@pytest.fixture(scope="module")
def model(spotted):
    return NeuralImageClassifier(SmallCNN(width=4, depth=2), max_epochs=8, lr=0.01, random_state=0).fit(spotted)


def test_a_classifier_is_explained_by_class_names(model, spotted):
    maps = hires_cam(model, spotted, "spot", signed=True)
    assert maps.shape == (40, 16, 16)
    inside = maps[20:, 2:9, 2:9].mean()
    assert inside > 3 * abs(maps[:20].mean())
    codes = np.repeat([0, 1], 20)
    np.testing.assert_array_equal(hires_cam(model, spotted, "true"), hires_cam(model, spotted, spotted.target))
    np.testing.assert_array_equal(
        hires_cam(model, spotted, "true"), hires_cam(model.module_, np.asarray(spotted), codes, batch_size=64)
    )


def test_maps_are_written_to_a_memory_map(model, spotted, tmp_path):
    out = np.lib.format.open_memmap(tmp_path / "maps.npy", mode="w+", dtype=np.float32, shape=(40, 16, 16))
    maps = grad_cam(model, spotted, batch_size=7, out=out)
    assert np.shares_memory(maps, out)
    np.testing.assert_allclose(out, grad_cam(model, spotted), atol=1e-5)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((40, 16, 15), np.float32), r"float32 array of shape \(40, 16, 16\), got float32 \(40, 16, 15\)"),
        (np.zeros((40, 16, 16)), "got float64"),
        ([], "got list"),
    ],
)
def test_out_that_does_not_fit_is_refused(model, spotted, out, message):
    with pytest.raises(ValueError, match=message):
        grad_cam(model, spotted, out=out)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "layer5"}, ValueError, "layer='layer5' is no layer of Sequential; its outermost layers are"),
        ({"layer": nn.ReLU()}, ValueError, "this ReLU is no part of the network"),
        ({"layer": 3}, ValueError, "'layer' parameter"),
        ({"size": "full"}, ValueError, "'size' parameter"),
        ({"precision": "float16"}, ValueError, "precision"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"target": "opacity"}, ValueError, "target='opacity' is not among"),
        ({"target": ["spot"]}, ValueError, "target has 1 entries, but X has 40 rows"),
        ({"target": "true", "y": ["spot"] * 3}, ValueError, "y has 3 rows, but X has 40"),
    ],
)
def test_bad_arguments_are_named(model, spotted, options, error, message):
    with pytest.raises(error, match=message):
        grad_cam(model, spotted, **options)


def test_a_map_that_is_not_finite_is_refused():
    network = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(16, 2, device="meta").to_empty(device="cpu"))
    with torch.no_grad():
        network[2].weight.fill_(torch.inf)
        network[2].bias.zero_()
    with pytest.raises(ValueError, match="row 0"):
        grad_cam(network, noise(2, 1, 4, 4), 0, layer="0")
