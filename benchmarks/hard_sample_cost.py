"""What the rows' own logits and the record of every row cost beside plain training of the same network.

Both are state of all rows that every step reads and writes for the rows of its batch. With a million rows this is a
million rows of state, in memory once; the images are lazy, and training stops after some steps, because what a step
costs does not depend on how many follow.
"""

import argparse
import warnings
from functools import partial

import numpy as np
import torch
from skorch.callbacks import Callback

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.mitigation._auxiliary_logits import AuxiliaryLogits
from sklearn_shortcuts.neural import NeuralImageClassifier

from ._timing import compare
from .training_step import three_blocks

_GOAL = 1.05
_WAYS = {"stage 1": AuxiliaryLogits(0.6), "record only": AuxiliaryLogits(0.0)}


class RepeatedImages:
    """As many rows as one likes, of 1,000 images that are in memory.

    Parameters
    ----------
    n : int
        Rows.
    size : int
        Height and width.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, n, size):
        self.shape = (n, size, size)
        self.ndim = 3
        self._images = np.random.default_rng(0).normal(size=(1000, size, size)).astype(np.float32)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        return self._images[np.asarray(rows) % 1000]


class StopAfter(Callback):
    """End the training after some steps, the way Ctrl-C does.

    Parameters
    ----------
    n_steps : int
        Steps.
    """

    def __init__(self, n_steps):
        self.n_steps = n_steps

    def on_train_begin(self, net, **kwargs):
        self.left_ = self.n_steps

    def on_batch_end(self, net, training=False, **kwargs):
        self.left_ -= training
        if self.left_ == 0:
            raise KeyboardInterrupt


def run(n, *, size, n_steps, repeats):
    """Compare stage 1, and the record alone, with plain training.

    Parameters
    ----------
    n : int
        Rows.
    size : int
        Height and width of the images.
    n_steps : int
        Steps of 64 rows.
    repeats : int
        Measured pairs.
    """
    rows = ImageBunch(RepeatedImages(n, size), target=np.arange(n) % 2)

    def model(criterion):
        return NeuralImageClassifier(
            three_blocks,
            criterion=criterion,
            callbacks=[("stop", StopAfter(n_steps))],
            max_epochs=1 + n_steps * 64 // n,
            batch_size=64,
            device="cpu",
            random_state=0,
        )

    fits = {name: partial(model(criterion).fit, rows) for name, criterion in {"plain": None, **_WAYS}.items()}
    for name, criterion in _WAYS.items():
        state = criterion.build(n, 2, "binary")
        n_bytes = sum(tensor.nbytes for tensor in state.buffers())
        assert all(tensor.dtype == torch.float32 for tensor in state.buffers())
        result = compare(fits[name], fits["plain"], repeats=repeats, name=f"{name}, {n:,} rows, {n_steps} steps")
        print(f"{result} | goal {_GOAL} | state {n_bytes / 2**20:.1f} MiB", flush=True)


def main():
    """Run the comparisons and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few steps on small images: only to see that it runs")
    quick = parser.parse_args().quick
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*interrupted")
        for n in (1_000, 1_000_000):
            run(n, size=16 if quick else 64, n_steps=5 if quick else 100, repeats=1 if quick else 7)


if __name__ == "__main__":
    main()
