"""Peak memory of a fit on a memory-mapped array, against the size of the array.

Anonymous memory is what a program cannot give back to the system; pages of a mapped file can be dropped at any time
and are not counted.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

_INTERVAL = 0.02  # seconds between two looks


def anonymous_bytes():
    """Anonymous resident memory of this process, from the kernel's own account."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell the anonymous memory of a process")


class PeakMemory:
    """Context manager that watches the anonymous memory and keeps its largest value in ``peak``."""

    def __enter__(self):
        self.start = self.peak = anonymous_bytes()
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def _watch(self):
        while not self._ended.wait(_INTERVAL):
            self.peak = max(self.peak, anonymous_bytes())

    def __exit__(self, *error):
        self._ended.set()
        self._watcher.join()
        self.peak = max(self.peak, anonymous_bytes())


def write_images(path, n, size):
    """Write random gray images to disk, a piece at a time."""
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, size, size))
    rng = np.random.default_rng(0)
    for start in range(0, n, 500):
        images[start : start + 500] = rng.random((min(500, n - start), size, size), dtype=np.float32)
    images.flush()


def fit_peak(X, y, **parameters):
    """Fit once and give the peak beyond what was there before, in bytes, with the seconds it took."""
    from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

    model = NeuralImageClassifier(
        SmallCNN(width=4, depth=3), max_epochs=1, batch_size=64, device="cpu", random_state=0, **parameters
    )
    start = time.perf_counter()
    with PeakMemory() as memory:
        model.fit(X, y)
    return memory.peak - memory.start, time.perf_counter() - start


def main():
    """Fit on a memory map, bare and in an ImageBunch, and print the peaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few images: only to see that it runs")
    quick = parser.parse_args().quick
    if not sys.platform.startswith("linux"):
        sys.exit("peak memory is read from /proc, which only Linux has")
    from sklearn_shortcuts import ImageBunch

    n, size = (1_000, 32) if quick else (20_000, 128)
    y = np.arange(n) % 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        write_images(path, n, size)
        fit_peak(np.load(path, mmap_mode="r")[:128], y[:128])  # imports, thread pools
        forms = {
            "memory map": lambda images: images,
            "ImageBunch of a memory map": ImageBunch,
            "ImageBunch, normalize='channel'": ImageBunch,
        }
        for name, form in forms.items():
            images = np.load(path, mmap_mode="r")
            parameters = {"normalize": "channel"} if "normalize" in name else {}
            peak, seconds = fit_peak(form(images), y, **parameters)
            share = peak / images.nbytes
            print(
                f"{name:<34} array {images.nbytes / 2**20:8.1f} MiB, peak of the fit {peak / 2**20:7.1f} MiB "
                f"({share:6.1%}), {seconds:6.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
