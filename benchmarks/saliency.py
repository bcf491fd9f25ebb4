"""Class activation maps of many images against pytorch-grad-cam, and the memory they take.

Both explain the predicted class of the same network on the same images in batches of the same size; theirs is called
as its documentation says, float32 and with the axes in torch's default order. Throughput is compared by processor
time on the CPU and by elapsed time on a GPU. Beside it stands what the same machine gives in a plain forward pass and
in a matrix product of the same precision, and for 10,000 lazily made images the peak of the memory.
"""

import argparse
import copy
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.explain import grad_cam, grad_cam_plus_plus
from sklearn_shortcuts.images._sources import RowSource

from ._timing import compare
from .memory import PeakMemory

_BATCH_SIZE = 32
_GOALS = {"float32": 3.0, "bfloat16": 6.0}
_METHODS = {"GradCAM": grad_cam, "GradCAMPlusPlus": grad_cam_plus_plus}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resnet18(device, seed=0):
    """ResNet-18 of torchvision, without pretrained weights, in evaluation mode."""
    import torchvision

    torch.manual_seed(seed)
    return torchvision.models.resnet18(num_classes=10).eval().to(device)


def peer_maps(cam, images):
    """The maps of pytorch-grad-cam, batch after batch."""
    return np.concatenate([cam(batch, None) for batch in torch.from_numpy(images).split(_BATCH_SIZE)])


def forward_pass(network, images, precision):
    """The logits and nothing else, as fast as the machine gives them: channels last, no gradients."""
    device = next(network.parameters()).device
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        for batch in torch.from_numpy(images).split(_BATCH_SIZE):
            network(batch.to(device).contiguous(memory_format=torch.channels_last)).cpu()


def matmul_rate(device, precision, size):
    """Operations per second in the product of two square matrices, the best of several."""
    left, right = (torch.randn(size, size, device=device).to(_DTYPES[precision]) for _ in range(2))
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        product = left @ right
        product[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def operations_per_image(network, images):
    """Floating-point operations of one forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.from_numpy(images[:1]).to(device))
    return counter.get_total_flops()


def rank_correlations(maps, expected):
    """Spearman's correlation of the maps of every image; images of which one map is constant say nothing."""
    pairs = [(one.ravel(), other.ravel()) for one, other in zip(np.asarray(maps), expected)]
    return np.array([spearmanr(*pair)[0] for pair in pairs if all(np.ptp(part) > 0 for part in pair)])


def compare_throughput(images, device, *, matrix_size, repeats):
    """Print one line per method and precision."""
    import pytorch_grad_cam

    network = resnet18(device)
    fast = copy.deepcopy(network).to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(network)  # it leaves its hooks there
    operations = operations_per_image(network, images)
    clock = "wall" if torch.device(device).type == "cuda" else "cpu"
    for precision, goal in _GOALS.items():
        rate = matmul_rate(device, precision, matrix_size)
        for name, function in _METHODS.items():
            cam = getattr(pytorch_grad_cam, name)(theirs, [theirs.layer4])

            options = {"layer": "layer4", "batch_size": _BATCH_SIZE, "precision": precision}
            ours, peer = partial(function, network, images, **options), partial(peer_maps, cam, images)
            correlations = rank_correlations(ours(), peer())
            result = compare(ours, peer, repeats=repeats, name=f"{name} {precision}")
            plain = partial(forward_pass, fast, images, precision)
            share = compare(plain, ours, repeats=repeats, warmup=0)
            ratio, forward = (getattr(one, f"{clock}_ratio") for one in (result, share))
            per_second = len(images) / result.wall
            print(result)
            print(f"    {1 / ratio:.2f} x the throughput of pytorch-grad-cam by {clock} time, goal {goal:.1f}")
            print(
                f"    {per_second:.1f} images/s, {per_second * operations / rate:.0%} of the rate of a matrix product "
                f"({rate / 1e9:.0f} GFLOP/s); a forward pass alone takes {forward:.0%} of the time"
            )
            print(
                f"    rank correlation with its maps: median {np.median(correlations):.4f}, lowest "
                f"{correlations.min():.4f}; {len(images) - len(correlations)} constant maps left out",
                flush=True,
            )
            cam.activations_and_grads.release()


class MadeImages(RowSource):
    """Images that are made when they are asked for and never kept."""

    dtype = np.dtype(np.float32)

    def __init__(self, n, size):
        self.shape = (n, 3, size, size)

    def _read(self, rows):
        return np.stack([np.random.default_rng(row).random(self.shape[1:], dtype=np.float32) for row in rows])


def show_memory(device, *, counts, size):
    """Print the peak memory of explaining ever more images into a memory map."""
    network = resnet18(device)
    warmup = ImageBunch(MadeImages(_BATCH_SIZE, size))
    grad_cam(network, warmup, layer="layer4", precision="bfloat16")  # thread pools, buffers of the kernels
    with tempfile.TemporaryDirectory() as folder:
        for n in counts:
            images = ImageBunch(MadeImages(n, size))
            out = np.lib.format.open_memmap(
                Path(folder) / f"maps{n}.npy", mode="w+", dtype=np.float32, shape=(n, size, size)
            )
            start = time.perf_counter()
            with PeakMemory() as memory:
                maps = grad_cam(network, images, layer="layer4", precision="bfloat16", out=out)
            print(
                f"{n:>6} images of {size} px, maps of {out.nbytes / 2**20:7.1f} MiB: peak "
                f"{(memory.peak - memory.start) / 2**20:6.1f} MiB beyond what was there, "
                f"{n / (time.perf_counter() - start):.1f} images/s, {maps.zero_maps.sum()} maps of zeros",
                flush=True,
            )


def main():
    """Run the comparisons and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few small images: only to see that it runs")
    parser.add_argument("--images", type=int, help="number of images to compare on, 256 by default")
    parser.add_argument("--device", help="torch device; by default a CUDA GPU if there is one")
    options = parser.parse_args()
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    n, size = (options.images or (64 if options.quick else 256)), 64 if options.quick else 224
    images = np.random.default_rng(0).normal(size=(n, 3, size, size)).astype(np.float32)
    matrix_size = 8192 if torch.device(device).type == "cuda" else 512 if options.quick else 2048
    compare_throughput(images, device, matrix_size=matrix_size, repeats=1 if options.quick else 5)
    if not sys.platform.startswith("linux"):
        sys.exit("peak memory is read from /proc, which only Linux has")
    show_memory(device, counts=(64, 128) if options.quick else (100, 1_000, 10_000), size=32 if options.quick else 128)


if __name__ == "__main__":
    main()
