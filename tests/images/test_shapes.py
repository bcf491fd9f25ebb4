"""Boxes and polygons against loops over pixels and other libraries."""

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from matplotlib.path import Path
from scipy import ndimage

from sklearn_shortcuts.images._shapes import boxes_to_masks, masks_to_boxes, masks_to_polygons, polygons_to_masks

masks = arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=8))
FORMATS = ("corners", "xywh")


@st.composite
def box_lists(draw):
    """Boxes of some images of 7 x 9 px: top, left, bottom, right, the last ones inside."""
    one = st.tuples(st.integers(0, 6), st.integers(0, 8), st.integers(0, 6), st.integers(0, 8))
    boxes = draw(st.lists(st.lists(one, max_size=3), min_size=1, max_size=4))
    return [[(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in mine] for mine in boxes]


@settings(max_examples=50, deadline=None)
@given(boxes=box_lists())
def test_boxes_against_a_loop(boxes):
    expected = np.zeros((len(boxes), 7, 9), dtype=bool)
    for row, mine in enumerate(boxes):
        for top, left, bottom, right in mine:
            for i in range(top, bottom + 1):
                for j in range(left, right + 1):
                    expected[row, i, j] = True
    np.testing.assert_array_equal(boxes_to_masks(boxes, (7, 9)), expected)
    as_xywh = [[(left, top, right - left + 1, bottom - top + 1) for top, left, bottom, right in m] for m in boxes]
    np.testing.assert_array_equal(boxes_to_masks(as_xywh, (7, 9), format="xywh"), expected)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=40, deadline=None)
@given(boxes=box_lists())
def test_single_boxes_come_back(format, boxes):
    single = [mine[:1] for mine in boxes]
    drawn = boxes_to_masks(single, (7, 9))
    found = masks_to_boxes(drawn, format=format)
    np.testing.assert_array_equal(boxes_to_masks(found, (7, 9), format=format), drawn)
    if format == "corners":
        np.testing.assert_array_equal(found, [mine[0] if mine else (0, 0, -1, -1) for mine in single])


@settings(max_examples=50, deadline=None)
@given(drawn=masks)
def test_boxes_of_masks_against_other_ways(drawn):
    for mask, box in zip(drawn, masks_to_boxes(drawn)):
        rows, columns = np.nonzero(mask)
        expected = (rows.min(), columns.min(), rows.max(), columns.max()) if len(rows) else (0, 0, -1, -1)
        assert tuple(box) == expected
    for connectivity, structure in ((4, ndimage.generate_binary_structure(2, 1)), (8, np.ones((3, 3)))):
        for mask, boxes in zip(drawn, masks_to_boxes(drawn, "per_component", connectivity=connectivity)):
            labels, _ = ndimage.label(mask, structure)
            expected = [(r.start, c.start, r.stop - 1, c.stop - 1) for r, c in ndimage.find_objects(labels)]
            assert sorted(map(tuple, boxes.tolist())) == sorted(expected)


def test_forms_of_boxes():
    one_each = boxes_to_masks(np.array([[0, 0, 1, 1], [2, 2, 3, 3]]), (4, 4))
    assert one_each.shape == (2, 4, 4)
    assert one_each.sum() == 8
    mixed = boxes_to_masks([None, [], (0, 0, 1, 1), [(0, 0, 0, 0), (3, 3, 3, 3)]], (4, 4))
    assert mixed.sum(axis=(1, 2)).tolist() == [0, 0, 4, 2]
    assert boxes_to_masks([], (4, 4)).shape == (0, 4, 4)
    assert masks_to_boxes(np.zeros((0, 4, 4))).shape == (0, 4)


def test_fractional_boxes_cover_the_pixels_whose_center_is_inside():
    x, y, width, height = 1.3, 0.6, 3.4, 2.2
    centers_x, centers_y = np.arange(8) + 0.5, np.arange(6) + 0.5
    expected = ((centers_y >= y) & (centers_y < y + height))[:, None] & ((centers_x >= x) & (centers_x < x + width))
    np.testing.assert_array_equal(boxes_to_masks([(x, y, width, height)], (6, 8), format="xywh")[0], expected)


def test_clipping():
    whole = boxes_to_masks([[(-3, 1, 9, 2), (20, 20, 30, 30)]], (4, 4), clip=True)[0]
    assert whole.sum() == 8
    assert whole[:, 1:3].all()
    square = [(-2, -2), (2, -2), (2, 9), (-2, 9)]
    np.testing.assert_array_equal(polygons_to_masks([[square]], (4, 4), clip=True)[0][:, :2], True)
    assert polygons_to_masks([[square]], (4, 4), clip=True).sum() == 8


@settings(max_examples=50, deadline=None)
@given(drawn=masks)
def test_outlines_give_the_same_masks_again(drawn):
    outlines = masks_to_polygons(drawn)
    np.testing.assert_array_equal(polygons_to_masks(outlines, drawn.shape[1:]), drawn)
    for mask, mine in zip(drawn, outlines):
        for outline in mine:
            steps = np.abs(np.roll(outline, -1, axis=0) - outline)
            assert ((steps > 0).sum(axis=1) == 1).all()  # along the grid, and every vertex is a corner
        boundary = np.abs(np.diff(np.pad(mask, 1).astype(int), axis=0)).sum()
        boundary += np.abs(np.diff(np.pad(mask, 1).astype(int), axis=1)).sum()
        lengths = [np.abs(np.roll(outline, -1, axis=0) - outline).sum() for outline in mine]
        assert sum(lengths) == boundary


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(3, 9))
def test_polygons_against_matplotlib(seed, n):
    rng = np.random.default_rng(seed)
    polygon = rng.uniform(0, 1, (n, 2)) * (23, 17)  # crosses itself as a rule
    x, y = np.meshgrid(np.arange(23) + 0.5, np.arange(17) + 0.5)
    centers = np.stack([x.ravel(), y.ravel()], axis=1)
    winding_free = _even_odd(polygon, centers).reshape(17, 23)
    drawn = polygons_to_masks([[polygon]], (17, 23))[0]
    np.testing.assert_array_equal(drawn, winding_free)
    hull = cv2.convexHull(polygon.astype(np.float32))[:, 0].astype(float)
    inside = Path(np.vstack([hull, hull[:1]]), closed=True).contains_points(centers).reshape(17, 23)
    np.testing.assert_array_equal(polygons_to_masks([[hull]], (17, 23))[0], inside)


def _even_odd(polygon, points):
    """Count crossings of a ray to the left, edge by edge and point by point."""
    inside = np.zeros(len(points), dtype=bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0)):
        crosses = (y0 <= points[:, 1]) != (y1 <= points[:, 1])
        inside ^= crosses & ((points[:, 0] - x0) * abs(y1 - y0) >= (points[:, 1] - y0) * (x1 - x0) * np.sign(y1 - y0))
    return inside


def test_rectangles_and_holes():
    outer, hole = [(1, 1), (6, 1), (6, 5), (1, 5)], [(2, 2), (2, 4), (4, 4), (4, 2)]
    expected = boxes_to_masks([(1, 1, 4, 5)], (6, 8)) & ~boxes_to_masks([(2, 2, 3, 3)], (6, 8))
    for polygons in ([outer, hole], [hole, outer], [outer[::-1], np.array(hole)]):
        np.testing.assert_array_equal(polygons_to_masks([polygons], (6, 8)), expected)
    np.testing.assert_array_equal(polygons_to_masks([[outer], None, []], (6, 8)).sum(axis=(1, 2)), [20, 0, 0])


def test_contours_of_opencv_need_half_a_pixel():
    mask = np.zeros((40, 50), np.uint8)
    cv2.ellipse(mask, (25, 20), (18, 11), 30, 0, 360, 1, -1)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = polygons_to_masks([[contours[0][:, 0] + 0.5]], mask.shape)[0]
    assert not (drawn & (mask == 0)).any()
    # The contour runs through the centers of the border pixels, of which a part counts as outside.
    assert (drawn & (mask > 0)).sum() / mask.sum() > 0.93


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: boxes_to_masks([(0, 0, 1)], (4, 4)), "boxes of row 0 must be four finite numbers"),
        (lambda: boxes_to_masks([None, (0, 0, np.nan, 1)], (4, 4)), "boxes of row 1 must be four finite numbers"),
        (lambda: boxes_to_masks([["a", 0, 1, 1]], (4, 4)), "four finite numbers"),
        (lambda: boxes_to_masks([(0, 0, 1, 4)], (4, 4)), r"row 0: \[0.0, 0.0, 1.0, 4.0\] \(corners\) leaves the image"),
        (lambda: boxes_to_masks([(-1, 0, 1, 1)], (4, 4)), "clip=True"),
        (lambda: boxes_to_masks([(3, 0, 1, 1)], (4, 4)), "last corner lies before the first"),
        (lambda: boxes_to_masks([(3, 0, -1, 1)], (4, 4), format="xywh"), "must not be negative"),
        (lambda: boxes_to_masks([(0, 0, 5, 1)], (4, 4), format="xywh"), "leaves the image of 4 x 4"),
        (lambda: boxes_to_masks([(0, 0, 1, 1)], (4, 4), format="yolo"), "format must be one of corners, xywh"),
        (lambda: boxes_to_masks([(0, 0, 1, 1)], (4.5, 4)), "shape must be"),
        (lambda: boxes_to_masks((0, 0, 1, 1), (4, 4)), r"boxes of row 0 must be a list, .* got 0; .* \[boxes\]"),
        (lambda: boxes_to_masks(5, (4, 4)), "boxes must have one entry per image, got 5"),
        (lambda: polygons_to_masks("abc", (4, 4)), "polygons must have one entry per image, got 'abc'"),
        (lambda: polygons_to_masks([[[0, 0, 4, 0, 4, 4]]], (4, 4)), r"COCO become vertices by numpy.reshape"),
        (lambda: masks_to_boxes(np.ones((3, 3))), r"masks must have shape \(n, H, W\)"),
        (lambda: masks_to_boxes(np.ones((1, 3, 3)), "all"), "mode must be one of union, per_component"),
        (lambda: masks_to_boxes(np.ones((1, 3, 3)), format="yolo"), "format must be one of"),
        (lambda: masks_to_boxes(np.ones((1, 3, 3)), "per_component", connectivity=6), "connectivity must be 4 or 8"),
        (lambda: masks_to_boxes(np.stack([np.ones((2, 2)), np.full((2, 2), np.nan)])), "NaN in row 1"),
        (lambda: polygons_to_masks([[[(0, 0), (1, 1)]]], (4, 4)), "row 0: a polygon is at least three vertices"),
        (lambda: polygons_to_masks([[(0, 0), (1, 1), (2, 0)]], (4, 4)), "every image takes a list of polygons"),
        (lambda: polygons_to_masks([[], [[(0, 0), (9, 0), (0, 3)]]], (4, 4)), "row 1: .*leave the image of 4 x 4"),
    ],
)
def test_bad_input_is_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_table_of_boxes():
    boxes = pd.DataFrame({"top": [0, 1], "left": [0, 1], "bottom": [1, 3], "right": [2, 2]}, index=["b", "a"])
    np.testing.assert_array_equal(boxes_to_masks(boxes, (4, 4)), boxes_to_masks(boxes.to_numpy(), (4, 4)))
