"""Layer-wise relevance propagation against gradient times input: what it costs, and what it finds with attention.

The cost is that of ResNet-18 at 224 px, by processor time, in batches of several sizes. Two passes of gradient times
input (forward, gradient of the image) stand against three of relevance propagation.

Faithfulness is measured on small vision transformers that tell a vertical from a horizontal bar in one of 64 patches of
noise: patches are set to 0 from the most relevant on, and the probability of the predicted class is averaged over the
first 20; the faster it falls, the better. Beside it stands how often the most relevant patch is that of the bar.
Both tables go to ``docs/images``.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from sklearn_shortcuts.explain import relevance

from ._timing import compare
from .saliency import resnet18

_FOLDER = Path(__file__).parents[1] / "docs" / "images"
_GOAL = 1.4
_METHODS = ("lrp", "gradient_x_input")
_N_PATCHES, _PATCH, _REMOVED = 8, 4, 20


def compare_cost(batch_sizes, *, size, repeats):
    """Print one line per batch size, and give them as a table."""
    network, records = resnet18("cpu"), []
    for batch_size in batch_sizes:
        images = np.random.default_rng(0).normal(size=(batch_size, 3, size, size)).astype(np.float32)
        ours, peer = (
            partial(relevance, network, images, 1, method=method, batch_size=batch_size, conservation_tol=float("inf"))
            for method in _METHODS
        )
        found = compare(ours, peer, repeats=repeats, name=f"relevance propagation, batches of {batch_size}")
        print(found)
        print(f"    goal {_GOAL:.1f} by processor time", flush=True)
        seconds = {"wall": found.wall, "gradient_x_input_wall": found.peer_wall}
        ratios = {"cpu_ratio": found.cpu_ratio, "goal": "reached" if found.cpu_ratio <= _GOAL else "FAILED"}
        records.append({"batch_size": batch_size, **seconds, **ratios})
    return pd.DataFrame(records)


def bars(n, generator):
    """Noise with a bar in one patch; its direction is the class."""
    images = 0.5 * torch.randn(n, 1, _N_PATCHES * _PATCH, _N_PATCHES * _PATCH, generator=generator)
    y = torch.randint(0, 2, (n,), generator=generator)
    places = torch.randint(0, _N_PATCHES**2, (n,), generator=generator)
    for image, vertical, place in zip(images, y, places):
        row, column = _PATCH * (place // _N_PATCHES), _PATCH * (place % _N_PATCHES)
        patch = image[0, row : row + _PATCH, column : column + _PATCH]
        if vertical:
            patch[:, 1:3] += 2.5
        else:
            patch[1:3] += 2.5
    return images, y, places


def trained_transformer(seed, generator, *, n_steps):
    """Vision transformer of torchvision with two blocks."""
    from torchvision.models import VisionTransformer

    torch.manual_seed(seed)
    network = VisionTransformer(_N_PATCHES * _PATCH, _PATCH, 2, 4, 32, 64, num_classes=2)
    network.conv_proj = nn.Conv2d(1, 32, _PATCH, stride=_PATCH)
    nn.init.normal_(network.heads.head.weight, 0, 0.05)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(n_steps):
        images, y, _ = bars(64, generator)
        optimizer.zero_grad()
        F.cross_entropy(network(images), y).backward()
        optimizer.step()
    return network.eval()


def in_patches(images):
    """Images as (n, patches, rows, columns)."""
    split = images.reshape(len(images), _N_PATCHES, _PATCH, _N_PATCHES, _PATCH)
    return split.transpose(2, 3).reshape(len(images), _N_PATCHES**2, _PATCH, _PATCH)


def deletion(network, images, order):
    """Mean probability of the predicted class while patches are taken away in the given order."""
    with torch.no_grad():
        predicted = network(images).argmax(1)
        rows, patches, probabilities = torch.arange(len(images)), in_patches(images).clone(), []
        for step in range(_REMOVED):
            patches[rows, order[:, step]] = 0
            split = patches.reshape(len(images), _N_PATCHES, _N_PATCHES, _PATCH, _PATCH)
            probabilities.append(network(split.transpose(2, 3).reshape(images.shape)).softmax(1)[rows, predicted])
    return float(torch.stack(probabilities).mean())


def compare_faithfulness(seeds, *, n_images, n_steps):
    """Print one line per seed, and the means, and give them as a table."""
    results, records = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        network = trained_transformer(seed, generator, n_steps=n_steps)
        images, y, places = bars(n_images, generator)
        with torch.no_grad():
            accuracy = float((network(images).argmax(1) == y).float().mean())
        found = {"random": torch.rand(n_images, _N_PATCHES**2, generator=generator)}
        for method in _METHODS:
            maps = relevance(network, images, method=method, conservation_tol=float("inf"))
            found[method] = in_patches(torch.from_numpy(np.asarray(maps))).sum((2, 3))
        result = {
            method: (deletion(network, images, values.argsort(1, descending=True)), _hits(values, places))
            for method, values in found.items()
        }
        results.append(result)
        for method, (area, hits) in result.items():
            records.append({"seed": seed, "accuracy": accuracy, "method": method, "deletion": area, "bar_found": hits})
        print(f"transformer {seed}, accuracy {accuracy:.2f}: {_line(result)}", flush=True)
    means = {method: tuple(np.mean([result[method] for result in results], axis=0)) for method in results[0]}
    print(f"mean of {len(results)}: {_line(means)}", flush=True)
    return pd.DataFrame(records)


def _hits(values, places):
    return float((values.argmax(1) == places).float().mean())


def _line(result):
    return ", ".join(f"{method}: deletion {area:.3f}, bar found {hits:.2f}" for method, (area, hits) in result.items())


def main():
    """Run the comparisons and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few small images: only to see that it runs")
    options = parser.parse_args()
    if options.quick:
        compare_cost((1, 2), size=64, repeats=1)
        compare_faithfulness((0,), n_images=8, n_steps=5)
    else:
        cost = compare_cost((1, 4, 8, 32), size=224, repeats=7)
        cost.round(3).to_csv(_FOLDER / "relevance_cost.csv", index=False)
        found = compare_faithfulness(range(5), n_images=100, n_steps=500)
        found.round(3).to_csv(_FOLDER / "relevance_faithfulness.csv", index=False)


if __name__ == "__main__":
    main()
