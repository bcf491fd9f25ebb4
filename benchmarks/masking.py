"""Masking of chest-like images: ROIMasker against the loop over OpenCV calls that masking scripts contain.

Run ``python -m benchmarks.masking``; ``--quick`` takes fewer and smaller images.
"""

import argparse

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
    parser.add_argument("--quick", action="store_true", help="fewer and smaller images")
    quick = parser.parse_args().quick
    n, size = (64, 128) if quick else (1000, 256)
    images, masks = make_images(n, size)
    boolean = masks.astype(bool)
    bunch = ImageBunch(images, masks=boolean)
    print(f"{n} images of {size} x {size}, float32; peer: loop of cv2.dilate (3 x 3, iterated) and multiplication")
    for radius in (5, 10, 25):
        for keep in ("roi", "background"):
            for metric in ("cityblock", "euclidean"):
                masker = ROIMasker(keep, margin=radius, metric=metric).fit(images, masks=boolean)
                ours = masker.transform(images, masks=boolean)
                if metric == "cityblock":
                    np.testing.assert_array_equal(ours, plain_loop(images, masks, keep, radius))
                _report(f"{keep}, {radius} px {metric}, array", masker, images, boolean, masks, keep, radius, quick)
    masker = ROIMasker(margin=10).fit(bunch)
    _report("roi, 10 px euclidean, bunch", masker, images, None, masks, "roi", 10, quick, bunch=bunch)


def _report(name, masker, images, boolean, masks, keep, radius, quick, bunch=None):
    def ours():
        return np.asarray(masker.transform(bunch)) if bunch is not None else masker.transform(images, masks=boolean)

    print(compare(ours, lambda: plain_loop(images, masks, keep, radius), repeats=3 if quick else 7, name=name))


if __name__ == "__main__":
    main()
