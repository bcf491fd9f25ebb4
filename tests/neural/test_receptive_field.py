"""Receptive fields by geometry are those that gradients show, and masks reach exactly the cells that see them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sklearn_shortcuts.neural._receptive_field import (
    GeometryRecorder,
    Window,
    average_to_cells,
    dilate_to_cells,
    receptive_field,
)


class Residual(nn.Module):
    """A block with a shortcut that is strided itself, and functional pooling."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 5, padding=2)
        self.first = nn.Conv2d(2, 2, 3, stride=2, padding=1)
        self.second = nn.Conv2d(2, 2, 3, padding=2, dilation=2)
        self.shortcut = nn.Conv2d(2, 2, 1, stride=2)

    def forward(self, x):
        x = F.avg_pool2d(self.stem(x), 2)
        return F.avg_pool2d(self.second(self.first(x)) + self.shortcut(x), 3, stride=1)


NETWORKS = {
    "one convolution": (nn.Conv2d(1, 2, 3, padding=1), (1, 12, 9)),
    "stride and padding": (nn.Sequential(nn.Conv2d(1, 2, 7, stride=2, padding=3), nn.AvgPool2d(3, 2, 1)), (1, 32, 24)),
    "no padding": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 4, stride=3), nn.Conv2d(2, 1, 2)), (1, 26, 30)),
    "axes differ": (nn.Conv2d(1, 2, (3, 5), stride=(1, 2), padding=(1, 0)), (1, 14, 15)),
    "padding of its own": (nn.Sequential(nn.ZeroPad2d((2, 1, 3, 0)), nn.Conv2d(1, 1, 4, stride=2)), (1, 16, 15)),
    "adaptive": (nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AdaptiveAvgPool2d((4, 3))), (1, 16, 12)),
    "adaptive signal": (nn.Sequential(nn.Conv1d(1, 2, 5), nn.AdaptiveAvgPool1d(8), nn.Conv1d(2, 1, 2)), (1, 36)),
    "residual": (Residual(), (1, 32, 32)),
    "signal": (nn.Sequential(nn.Conv1d(1, 2, 7, stride=2, padding=3), nn.AvgPool1d(2), nn.Conv1d(2, 2, 3)), (1, 60)),
}


def geometry(network, shape):
    recorder = GeometryRecorder(lambda: False)
    with recorder:
        output = network(torch.zeros(1, *shape))
    return receptive_field(recorder.operations, shape[1:], tuple(output.shape[2:]))


def positive(network):
    """The network in float64 with positive weights, so that nothing cancels."""
    network = network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1)
    return network


@pytest.fixture(params=NETWORKS, ids=lambda name: name.replace(" ", "-"))
def case(request):
    with torch.random.fork_rng(devices=[]):
        network, shape = NETWORKS[request.param]
    return network, shape, geometry(network.float(), shape)


def test_windows_are_the_support_of_the_gradient(case):
    network, shape, windows = case
    network = positive(network)
    image = torch.zeros(1, *shape, dtype=torch.float64, requires_grad=True)
    output = network(image)
    for cell in np.ndindex(*output.shape[2:]):
        (gradient,) = torch.autograd.grad(output[(0, 0, *cell)], image, retain_graph=True)
        seen = gradient[0].sum(0).nonzero()
        for axis, (window, position) in enumerate(zip(windows, cell)):
            start = window.start + position * window.stride
            assert seen[:, axis].min() == max(start, 0)
            assert seen[:, axis].max() == min(start + window.size, shape[1 + axis]) - 1


def test_mask_marks_exactly_the_cells_that_change_with_it(case):
    network, shape, windows = case
    network = positive(network)
    rng = np.random.default_rng(0)
    masks = torch.from_numpy(rng.random((8, *shape[1:])) < 0.01)
    masks[0] = False
    with torch.no_grad():
        changed = network(masks[:, None].double()) - network(torch.zeros(1, *shape, dtype=torch.float64))
    expected = changed.sum(1) > 1e-9
    torch.testing.assert_close(dilate_to_cells(masks, windows, tuple(expected.shape[1:])), expected)


def test_resnet_has_its_known_receptive_field():
    models = pytest.importorskip("torchvision.models")
    with torch.random.fork_rng(devices=[]):
        network = models.resnet18(weights=None).eval()
    network.avgpool = network.fc = nn.Identity()
    reached = []
    recorder = GeometryRecorder(lambda: bool(reached))
    with recorder, network.layer4.register_forward_hook(lambda *_: reached.append(True)), torch.no_grad():
        network(torch.zeros(1, 3, 224, 224))
    assert receptive_field(recorder.operations, (224, 224), (7, 7)) == (Window(-217, 435, 32),) * 2


def test_pooling_over_everything_is_no_part_of_the_field():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.gate = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 1)

        def forward(self, x):
            x = self.convolution(x)
            return x * self.gate(F.avg_pool2d(x, x.shape[2:])).sigmoid()

    with torch.random.fork_rng(devices=[]):
        windows = geometry(Gated(), (1, 10, 10))
    assert windows == (Window(-1, 3, 1),) * 2


@pytest.mark.parametrize("pool", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
@pytest.mark.parametrize("n_cells", [5, 11])
def test_adaptive_windows_of_unequal_size_are_covered(pool, n_cells):
    with torch.random.fork_rng(devices=[]):
        network = positive(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, stride=2), pool(n_cells)))
    window, _ = geometry(network.float(), (1, 32, 32))
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    output = network(image)
    for cell in range(n_cells):
        (gradient,) = torch.autograd.grad(output[0, 0, cell].sum(), image, retain_graph=True)
        seen = gradient[0, 0].any(1).nonzero()
        assert seen.min() >= np.floor(window.start + cell * window.stride)
        assert seen.max() < np.ceil(window.start + cell * window.stride + window.size)


def test_layers_that_cut_patches_without_convolution_see_at_least_their_patch():
    patches = nn.Unfold(4, stride=4)
    recorder = GeometryRecorder(lambda: False)
    with recorder:
        patches(torch.zeros(1, 1, 16, 16))
    assert receptive_field(recorder.operations, (16, 16), (4, 4)) == (Window(0, 4, 4),) * 2


def test_small_regions_do_not_fall_between_the_cells():
    masks = torch.zeros(2, 64, 64)
    masks[0, 20:22, 33:35] = 1
    cells = average_to_cells(masks, (4, 4))
    assert cells[0].max() > 0
    assert not cells[1].any()
    signals = average_to_cells(masks[:, 20], (4,))
    assert signals.shape == (2, 4)
    assert signals[0].argmax() == 2


def test_masks_per_class_and_probabilities():
    masks = torch.zeros(2, 3, 8, 8)
    masks[0, 1, 4, 4], masks[1, 2, 4, 4] = 0.9, 0.4
    marked = dilate_to_cells(masks, (Window(0, 2, 2),) * 2, (4, 4))
    assert marked.nonzero().tolist() == [[0, 1, 2, 2]]
