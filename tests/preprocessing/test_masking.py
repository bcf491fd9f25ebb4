"""What is done to one batch: checks of its values, and what stays untouched."""

import numpy as np
import pytest

from sklearn_shortcuts.preprocessing import ROIMasker
from sklearn_shortcuts.preprocessing._masking import check_finite


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 37, 80])
def test_one_value_that_is_not_finite_is_found(dtype, wrong, place):
    images = np.zeros((3, 1, 9, 9), dtype)
    images[1].flat[place] = wrong
    with pytest.raises(ValueError, match="row 12 contains NaN or inf"):
        check_finite(images, np.arange(11, 14))
    check_finite(images[::2], np.arange(2))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_largest_values_are_finite(dtype):
    check_finite(np.full((2, 1, 9, 9), np.finfo(dtype).max, dtype), np.arange(2))


@pytest.mark.parametrize("margin", [-1, 0, 0.5, 2])
@pytest.mark.parametrize("keep", ["roi", "background", "mask", "all", "other_roi"])
@pytest.mark.parametrize("shape", ["mask", "box"])
def test_images_and_masks_of_the_caller_stay(keep, margin, shape):
    rng = np.random.default_rng(0)
    images = rng.random((9, 20, 23)).astype(np.float32)
    masks = np.zeros((9, 20, 23), bool)
    masks[:8, 5:12, 8:15] = True
    before = images.copy(), masks.copy()
    ROIMasker(keep, margin=margin, shape=shape, on_missing="keep", random_state=0).fit_transform(images, masks=masks)
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(masks, before[1])
