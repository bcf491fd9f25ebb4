"""Masking of chest-like images: ROIMasker against the loop over OpenCV calls that masking scripts contain.

Run ``python -m benchmarks.masking``; ``--quick`` takes fewer images.
"""

import argparse
from functools import partial

import cv2
import numpy as np

from benchmarks._timing import compare
from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.preprocessing import ROIMasker


def make_images(n, size, seed=0):
    """Make noise images with masks of two lungs, which differ in place from row to row."""
    rng = np.random.default_rng(seed)
    images = rng.random((n, size, size), dtype=np.float32)
    masks = np.zeros((n, size, size), dtype=np.uint8)
    for mask, (dx, dy) in zip(masks, rng.integers(-size // 20, size // 20, (n, 2))):
        for side, tilt in ((0.31, 8), (0.69, -8)):
            center = (int(side * size) + int(dx), size // 2 + int(dy))
            cv2.ellipse(mask, center, (int(0.16 * size), int(0.35 * size)), tilt, 0, 360, 1, -1)
    return images, masks


def plain_loop(images, masks, keep, radius):
    """Mask as scripts do: iterate the 3 x 3 kernel, multiply."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    result = np.empty_like(images)
    for row in range(len(images)):
        mask = cv2.dilate(masks[row], kernel, iterations=radius)
        np.multiply(images[row], mask if keep == "roi" else 1 - mask, out=result[row])
    return result


def main():
    """Print one line per setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer images")
    quick = parser.parse_args().quick
    n, size = (100 if quick else 1000), 256
    images, masks = make_images(n, size)
    boolean = masks.astype(bool)
    print(f"{n} images of {size} x {size}, float32; peer: loop of cv2.dilate (3 x 3, iterated) and multiplication")
    for radius in (5, 10, 25):
        for keep in ("roi", "background"):
            peer = partial(plain_loop, images, masks, keep, radius)
            for metric in ("cityblock", "euclidean"):
                masker = ROIMasker(keep, margin=radius, metric=metric).fit(images, masks=boolean)
                ours = partial(masker.transform, images, masks=boolean)
                if metric == "cityblock":  # the peer's metric: the results must be the same
                    np.testing.assert_array_equal(ours(), peer())
                print(compare(ours, peer, repeats=3 if quick else 7, name=f"{keep}, {radius} px {metric}"), flush=True)
    bunch = ImageBunch(images, masks=boolean)
    masked = ROIMasker(margin=10).fit(bunch).transform(bunch)
    name = "roi, 10 px euclidean, bunch read by 32 rows"
    print(compare(partial(read_batches, masked), partial(plain_loop, images, masks, "roi", 10), name=name))


def read_batches(bunch, size=32):
    """Read a lazy bunch as training does."""
    for first in range(0, len(bunch), size):
        np.asarray(bunch[first : first + size])


if __name__ == "__main__":
    main()
