"""Networks of the kinds that explanations must cope with, small and in float64."""

import torch
from torch import nn

from sklearn_shortcuts.neural import ECGResNet, SmallCNN


def _randomize_statistics(module):
    """Batch statistics as of a trained network, so that leaving them out is noticed."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.2)


def _resnet():
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3), (3, 32, 32)


def _densenet():
    from torchvision.models import DenseNet

    return DenseNet(growth_rate=4, block_config=(2, 2), num_init_features=8, num_classes=3), (3, 32, 32)


def _vision_transformer():
    from torchvision.models import VisionTransformer

    network = VisionTransformer(16, 4, 2, 2, 16, 32, num_classes=3)
    nn.init.normal_(network.heads.head.weight)  # which torchvision sets to zero
    return network, (3, 16, 16)


def _overwriting():
    # The first layer overwrites the images themselves.
    return nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(24, 3)), (1, 4, 6)


MAKERS = {
    "small": lambda: (SmallCNN(width=4).build((1, 16, 12), 3), (1, 16, 12)),
    "one_logit": lambda: (SmallCNN(width=4, norm="batch").build((1, 12, 12), 1), (1, 12, 12)),
    "resnet": _resnet,
    "densenet": _densenet,
    "vision_transformer": _vision_transformer,
    "ecg": lambda: (ECGResNet((1, 1), width=4).build((2, 64), 3), (2, 64)),
    "overwriting": _overwriting,
}


def make_network(name, *, n_rows=3, seed=0):
    """Give a network in evaluation mode, and images for it, both in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, shape = MAKERS[name]()
        _randomize_statistics(network)
        return network.double().eval(), torch.randn(n_rows, *shape, dtype=torch.float64)


def class_logit(network, target=1):
    """The network as a function that gives one class's score, also where there is only one logit."""

    def score(images):
        logits = network(images.clone())
        return logits[:, 0] if logits.shape[1] == 1 else logits[:, target]

    return score


class Recorder(nn.Module):
    """Keeps a copy of all images that a network is given."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.seen = []

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return self.network(images)


def linear_network(weights):
    """A network whose second of two logits is the product with given weights, of the images' shape."""
    weights = torch.as_tensor(weights, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 2, bias=False)).double()
    with torch.no_grad():
        network[1].weight[0] = 0
        network[1].weight[1] = weights.flatten()
    return network


def state_of(module):
    """Everything about a network that an explanation must leave as it was."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "modes": [part.training for part in module.modules()],
        "hooks": [len(getattr(part, name)) for part in module.modules() for name in hooks],
        "attributes": [sorted(part.__dict__) for part in module.modules()],
        "weights": {name: value.clone() for name, value in module.state_dict().items()},
        "requires_grad": [parameter.requires_grad for parameter in module.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in module.parameters()],
    }


def assert_same_state(before, after):
    """Compare what :func:`state_of` gave."""
    for name in ("modes", "hooks", "attributes", "requires_grad"):
        assert before[name] == after[name], name
    for name, value in before["weights"].items():
        assert torch.equal(value, after["weights"][name]), name
    for one, other in zip(before["gradients"], after["gradients"]):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
