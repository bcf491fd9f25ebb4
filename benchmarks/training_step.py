"""Training-step throughput against a hand-written PyTorch loop of the same network.

The loop is what people write first: float32, images in torch's default order (channels first), batches indexed from
one array, AdamW, cross-entropy. Both build their network and see the same number of rows in random order; several
epochs make the steps, not the set-up, what is compared. The second line of each pair is the same loop put into our
memory format and precision by hand: what the hardware gives, and what the estimator may cost at most.
"""

import argparse
from functools import partial

import numpy as np
import torch
from torch import nn

from sklearn_shortcuts.neural import NeuralImageClassifier

from ._timing import compare

_GOALS = {"cnn float32": 0.65, "cnn bfloat16": 0.45, "resnet18 float32": 0.92, "resnet18 bfloat16": 0.45}


def three_blocks(image_shape, n_outputs):
    """Three blocks of convolution, batch normalization, ReLU and pooling, and a linear head."""
    layers, n_channels = [], image_shape[0]
    for n_out in (16, 32, 64):
        layers += [nn.Conv2d(n_channels, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)]
        n_channels = n_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_channels, n_outputs))


def resnet18(image_shape, n_outputs):
    """ResNet-18 of torchvision, without pretrained weights."""
    import torchvision

    return torchvision.models.resnet18(num_classes=n_outputs)


def peer_fit(build, images, y, batch_size, epochs, seed, memory_format=torch.contiguous_format, bfloat16=False):
    """The loop: build, then go through the rows in random order."""
    torch.manual_seed(seed)
    network = build(images.shape[1:], 2).to(memory_format=memory_format)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0)
    criterion = nn.CrossEntropyLoss()
    network.train()
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(images))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            X, target = (
                torch.from_numpy(images[rows]).contiguous(memory_format=memory_format),
                torch.from_numpy(y[rows]),
            )
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = network(X)
            loss = criterion(logits.float(), target)
            loss.backward()
            optimizer.step()
            loss.item()


def run(name, build, shape, *, n, batch_size, epochs, precision, repeats):
    """Compare a fit of ours with one of the loop.

    Parameters
    ----------
    name : str
        What is compared.
    build : callable
        ``build(image_shape, n_outputs) -> nn.Module``.
    shape : tuple of int
        Shape of one row.
    n, batch_size, epochs : int
        Rows per epoch, rows per step, passes over the rows.
    precision : str
        Of ours; the loop is in float32.
    repeats : int
        Measured pairs.

    Returns
    -------
    Comparison
        Medians and ratios.
    """
    images = np.random.default_rng(0).normal(size=(n, *shape)).astype(np.float32)
    y = np.arange(n) % 2
    model = NeuralImageClassifier(
        build, max_epochs=epochs, batch_size=batch_size, precision=precision, device="cpu", random_state=0
    )
    loop = (build, images, y, batch_size, epochs, 0)
    by_hand = partial(peer_fit, *loop, memory_format=torch.channels_last, bfloat16=precision == "bfloat16")
    result = compare(lambda: model.fit(images, y), partial(peer_fit, *loop), repeats=repeats, name=name)
    print(result, f"| goal {_GOALS[name]:.2f}", flush=True)
    print(compare(by_hand, partial(peer_fit, *loop), repeats=repeats, name=f"{name}, loop tuned by hand"), flush=True)
    return result


def main():
    """Run the comparisons and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few small batches: only to see that it runs")
    quick = parser.parse_args().quick
    repeats = 1 if quick else 5
    cnn = {"build": three_blocks, "shape": (1, 64, 64), "n": 64 if quick else 1600, "batch_size": 32, "epochs": 3}
    large = {"build": resnet18, "shape": (3, 128, 128), "n": 128, "batch_size": 32, "epochs": 4}
    if quick:
        large.update(shape=(3, 64, 64), n=16, batch_size=8)
    for network, options in (("cnn", cnn), ("resnet18", large)):
        for precision in ("float32", "bfloat16"):
            run(f"{network} {precision}", precision=precision, repeats=repeats, **options)


if __name__ == "__main__":
    main()
