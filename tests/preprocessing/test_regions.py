"""Geometry of regions against distance transforms and brute force."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from sklearn_shortcuts.preprocessing import _regions
from sklearn_shortcuts.preprocessing._regions import as_boolean, make_regions


def blobs(n=11, height=40, width=53, seed=0):
    """Masks with several parts, at the border, empty and full ones among them."""
    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.normal(size=(n, height, width)), (0, 4, 4)) > 0.06
    masks[1], masks[2] = False, True
    return masks


def distance(masks, metric):
    """Distance of every pixel to the nearest pixel of the mask, infinite without one."""
    transform = {
        "euclidean": ndimage.distance_transform_edt,
        "cityblock": lambda m: ndimage.distance_transform_cdt(m, metric="taxicab"),
    }[metric]
    return np.stack([transform(~m).astype(float) if m.any() else np.full(m.shape, np.inf) for m in masks])


@pytest.mark.parametrize("large", [None, 1])
@pytest.mark.parametrize("metric", ["euclidean", "cityblock"])
@pytest.mark.parametrize("radius", [0.5, 1, 1.5, 2, 2.9, 5, 8, 13, 40, 200])
def test_grow_and_shrink_equal_the_distance_transform(radius, metric, large, monkeypatch):
    if large:  # the way large radii go
        monkeypatch.setattr(_regions, "_LARGE", large)
    masks = blobs()
    before = masks.copy()
    grown = make_regions(masks, margin=radius, metric=metric)
    np.testing.assert_array_equal(grown, distance(masks, metric) <= radius)
    shrunk = make_regions(masks, margin=-radius, metric=metric)
    np.testing.assert_array_equal(shrunk, distance(~masks, metric) > radius)
    np.testing.assert_array_equal(masks, before)


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 12), st.integers(1, 12), st.floats(0.5, 14))
@settings(max_examples=50, deadline=None)
def test_grow_equals_brute_force(seed, n, height, width, radius):
    masks = np.random.default_rng(seed).random((n, height, width)) < 0.1
    grown = make_regions(masks, margin=radius)
    y, x = np.mgrid[:height, :width]
    for mask, result in zip(masks, grown):
        expected = np.zeros_like(mask)
        for row, column in np.argwhere(mask):
            expected |= (y - row) ** 2 + (x - column) ** 2 <= radius**2
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_cityblock_is_the_iterated_cross(steps):
    masks = blobs()
    cross = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    grown = make_regions(masks, margin=steps, metric="cityblock")
    shrunk = make_regions(masks, margin=-steps, metric="cityblock")
    for mask, more, less in zip(masks.astype(np.uint8), grown, shrunk):
        np.testing.assert_array_equal(more, cv2.dilate(mask, cross, iterations=steps).astype(bool))
        np.testing.assert_array_equal(less, cv2.erode(mask, cross, iterations=steps).astype(bool))


def test_signals_grow_along_their_only_axis():
    mask = np.zeros((1, 1, 12), dtype=bool)
    mask[..., 5] = True
    for metric in ("euclidean", "cityblock"):
        assert np.flatnonzero(make_regions(mask, margin=3, metric=metric)).tolist() == list(range(2, 9))


def test_box_includes_its_last_row_and_column():
    mask = np.zeros((1, 9, 9), dtype=bool)
    mask[0, 2, 3] = mask[0, 5, 6] = True
    expected = np.zeros((9, 9), dtype=bool)
    expected[2:6, 3:7] = True
    np.testing.assert_array_equal(make_regions(mask, shape="box")[0], expected)
    parts = make_regions(mask, shape="box", box_mode="per_component")[0]
    np.testing.assert_array_equal(parts, mask[0])


@pytest.mark.parametrize("margin", [-2, 0, 3])
@pytest.mark.parametrize("box_mode", ["union", "per_component"])
def test_box_is_taken_after_growing(margin, box_mode):
    masks = blobs(seed=3)
    regions = make_regions(masks, margin=margin)
    boxes = make_regions(masks, shape="box", margin=margin, box_mode=box_mode)
    for region, box in zip(regions, boxes):
        expected = np.zeros_like(region)
        labels = ndimage.label(region, np.ones((3, 3)))[0] if box_mode == "per_component" else region.astype(int)
        for found in ndimage.find_objects(labels):
            expected[found] = True
        np.testing.assert_array_equal(box, expected)


def test_soft_masks_are_cut_at_one_half():
    rows = np.array([7, 8])
    np.testing.assert_array_equal(as_boolean(np.array([[0.4, 0.5], [1, 0]]), rows), [[False, True], [True, False]])
    np.testing.assert_array_equal(as_boolean(np.array([[0, 255]], np.uint8), rows), [[False, True]])
    with pytest.raises(ValueError, match="mask of row 8 contains NaN"):
        as_boolean(np.array([[0, 1], [np.nan, 1]]), rows)
