"""Thresholds of maps against OpenCV and scikit-image."""

import cv2
import numpy as np
import pytest
from skimage.filters import threshold_otsu

from sklearn_shortcuts.latent._otsu import otsu_thresholds


@pytest.mark.parametrize("seed", range(6))
def test_whole_numbers_are_divided_as_by_opencv(seed):
    rng = np.random.default_rng(seed)
    image = np.where(rng.random((20, 24)) < 0.2, rng.normal(170, 30, (20, 24)), rng.normal(60, 25, (20, 24)))
    image = image.clip(0, 255).astype(np.uint8)
    expected = cv2.threshold(image, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1].astype(bool)
    np.testing.assert_array_equal(image > otsu_thresholds(image[None])[0], expected)


def test_real_numbers_are_divided_as_by_scikit_image_but_for_its_bins():
    rng = np.random.default_rng(0)
    maps = rng.gamma(0.5, size=(5, 30, 30)) + 4 * (rng.random((5, 30, 30)) < 0.1)
    for image, level in zip(maps, otsu_thresholds(maps)):
        assert level == pytest.approx(threshold_otsu(image, nbins=4096), abs=2 * np.ptp(image) / 4096 + 0.02)


def test_scale_and_origin_decide_nothing_and_constant_maps_have_nothing_above():
    maps = np.random.default_rng(0).gamma(0.5, size=(3, 9, 9)).astype(np.float32)
    levels = otsu_thresholds(maps)
    moved = 1000 * maps.astype(np.float64) + 5
    np.testing.assert_array_equal(
        moved > otsu_thresholds(moved)[:, None, None], maps > levels[:, None, None].astype(np.float32)
    )
    constant = np.full((2, 3, 3), [[[0.0]], [[0.7]]])
    np.testing.assert_array_equal(otsu_thresholds(constant), [0, 0.7])
