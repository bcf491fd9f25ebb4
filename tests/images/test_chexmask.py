"""Landmarks of CheXmask and the check that finds exchanged sides."""

import numpy as np
import pytest

from sklearn_shortcuts.images._chexmask import check_against_landmarks, decode_chexmask, parse_landmarks
from sklearn_shortcuts.images._rle import rle_decode, rle_encode
from sklearn_shortcuts.images._shapes import polygons_to_masks


@pytest.fixture
def lung():
    """A mask of 60 x 90 px and the points of its outline, as indices of pixels."""
    angle = np.linspace(0, 2 * np.pi, 44, endpoint=False)
    points = np.rint(np.stack([30 + 14 * np.cos(angle), 25 + 20 * np.sin(angle)], axis=1)).astype(int)
    mask = polygons_to_masks([[points + 0.5]], (60, 90))[0]
    mask[points[:, 1], points[:, 0]] = True
    return mask, points


def test_landmarks_in_both_spellings():
    points = np.random.default_rng(0).integers(0, 1024, (120, 2))
    commas = ",".join(map(str, points.ravel()))
    with np.printoptions(threshold=10**6):
        printed = str(points)
    for text in (commas, f"[{commas}]", printed):
        np.testing.assert_array_equal(parse_landmarks(text), points)
    np.testing.assert_array_equal(parse_landmarks(commas, "Right Lung"), points[:44])
    np.testing.assert_array_equal(parse_landmarks(commas, "Left Lung"), points[44:94])
    np.testing.assert_array_equal(parse_landmarks(commas, "Heart"), points[94:])


def test_bad_landmarks_are_explained():
    with pytest.raises(ValueError, match="120 pairs of x and y, got 6 numbers"):
        parse_landmarks("[[1 2] [3 4] ... [5 6]]")
    with pytest.raises(ValueError, match="part must be None or one of Right Lung"):
        parse_landmarks("1,2", "Spleen")
    with pytest.raises(ValueError, match=r"landmarks must have shape \(n_points, 2\)"):
        check_against_landmarks(np.ones((3, 3)), [1, 2])
    with pytest.raises(ValueError, match=r"mask must have shape \(H, W\)"):
        check_against_landmarks(np.ones(3), [[1, 2]])


def test_the_check_allows_the_tolerance_and_no_more(lung):
    mask, points = lung
    assert check_against_landmarks(mask, points, tolerance=0)
    for shift in ([0, 1], [1, 0], [-1, -1]):
        assert not check_against_landmarks(mask, points + shift, tolerance=0)
    assert check_against_landmarks(mask, points + 2)
    assert not check_against_landmarks(mask, points + 3)
    assert not check_against_landmarks(np.zeros_like(mask), points)


def test_exchanged_sides_are_found_and_put_right(lung):
    mask, points = lung
    encoded = rle_encode(mask, "chexmask")
    assert not check_against_landmarks(rle_decode(encoded, (90, 60), "chexmask"), points)
    for shape in ((60, 90), (90, 60)):
        np.testing.assert_array_equal(decode_chexmask(encoded, points, shape), mask)
    with pytest.raises(ValueError, match="as 90 x 60 or as 60 x 90; check shape"):
        decode_chexmask(encoded, points + 9, (90, 60))
