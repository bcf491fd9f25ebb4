"""Run-length codes against slow decoders written from the description of each dialect."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sklearn_shortcuts.images._rle import rle_decode, rle_encode

PAIRS = ("siim", "chexmask", "kaggle")
DIALECTS = (*PAIRS, "coco")
masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))


def decode_slowly(text, shape, dialect):
    """Walk over the runs one pixel at a time."""
    height, width = shape
    mask = np.zeros(shape, dtype=bool)
    numbers = [int(number) for number in text.split()]
    position = 0
    for start, length in zip(numbers[::2], numbers[1::2]):
        position = position + start if dialect == "siim" else start - 1
        for _ in range(length):
            if dialect == "chexmask":
                mask[position // width, position % width] = True
            else:
                mask[position % height, position // height] = True
            position += 1
    return mask


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=40, deadline=None)
@given(mask=masks)
def test_round_trip(dialect, mask):
    encoded = rle_encode(mask, dialect)
    np.testing.assert_array_equal(rle_decode(encoded, mask.shape, dialect), mask)
    if dialect == "coco":
        compressed = rle_encode(mask, dialect, compressed=True)
        np.testing.assert_array_equal(rle_decode(compressed, mask.shape, dialect), mask)
        np.testing.assert_array_equal(rle_decode(compressed["counts"].encode(), mask.shape, dialect), mask)
        np.testing.assert_array_equal(rle_decode(encoded["counts"], mask.shape, dialect), mask)
        assert sum(encoded["counts"]) == mask.size
    elif mask.any():
        np.testing.assert_array_equal(decode_slowly(encoded, mask.shape, dialect), mask)


@settings(max_examples=40, deadline=None)
@given(
    runs=st.lists(st.tuples(st.integers(0, 24), st.integers(0, 12)), max_size=5),
    dialect=st.sampled_from(["kaggle", "chexmask"]),
)
def test_absolute_runs_may_overlap_and_come_in_any_order(runs, dialect):
    text = " ".join(f"{start + 1} {length}" for start, length in runs)
    if any(start + length > 24 for start, length in runs):
        with pytest.raises(ValueError, match="leaves the image of 4 x 6"):
            rle_decode(text, (4, 6), dialect)
    else:
        np.testing.assert_array_equal(rle_decode(text, (4, 6), dialect), decode_slowly(text, (4, 6), dialect))


def test_a_vertical_strip_of_siim_is_vertical():
    """Runs of a pneumothorax mask go down the columns and count from the run before."""
    first = 200 * 1024 + 300
    text = f"{first} 79" + " 945 79" * 9  # 79 + 945 = 1024: the same rows in the next columns
    mask = rle_decode(text, (1024, 1024), "siim")
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (300, 378, 200, 209)
    assert mask.sum() == 10 * 79
    assert rle_encode(mask, "siim") == text


def test_the_dialects_differ_by_transposition_and_base():
    mask = rle_decode("2 3", (4, 5), "chexmask")
    np.testing.assert_array_equal(rle_decode("2 3", (5, 4), "kaggle"), mask.T)
    np.testing.assert_array_equal(rle_decode("1 3", (5, 4), "siim"), mask.T)
    np.testing.assert_array_equal(rle_decode([1, 3, 16], (5, 4), "coco"), mask.T)


def test_compressed_counts_of_the_peer():
    """Strings made by hand from the description: five bits per character, offset 48, differences from the fourth on."""
    assert rle_encode(np.ones((1, 3)), "coco", compressed=True)["counts"] == "03"
    mask = np.zeros((10, 10), dtype=bool)
    mask.T.flat[40:42] = mask.T.flat[50:53] = (
        True  # counts 40 2 8 3 47; 40 = 8 + 1 * 32, 3 - 2 = 1, 47 - 8 = 7 + 1 * 32
    )
    assert rle_encode(mask, "coco", compressed=True)["counts"] == "X1281W1"
    np.testing.assert_array_equal(rle_decode("X1281W1", (10, 10), "coco"), mask)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("empty", ["", "-1", " -1 ", None, float("nan"), np.nan, [], [None, ""], b"-1", -1])
def test_empty_in_every_form(dialect, empty):
    assert not rle_decode(empty, (3, 4), dialect).any()


def test_what_is_written_for_an_empty_mask():
    empty = np.zeros((2, 3))
    assert [rle_encode(empty, dialect) for dialect in PAIRS] == ["-1", "", ""]
    assert rle_encode(empty, "coco") == {"size": [2, 3], "counts": [6]}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_several_rows_of_an_image_are_united(dialect):
    first, second = np.zeros((2, 5, 6), dtype=bool)
    first[1:3, 1:4] = second[2:5, 2] = True
    rows = [rle_encode(first, dialect), None, rle_encode(second, dialect)]
    np.testing.assert_array_equal(rle_decode(rows, (5, 6), dialect), first | second)


def test_integers_instead_of_text():
    for given_as in ([3, 2, 8, 1], np.array([3, 2, 8, 1]), (3, 2, 8, 1)):
        np.testing.assert_array_equal(rle_decode(given_as, (3, 4), "kaggle"), rle_decode("3 2 8 1", (3, 4), "kaggle"))
    with_values = np.where(rle_decode("3 2 8 1", (3, 4), "kaggle"), 255.0, 0.0)
    assert rle_encode(with_values, "kaggle") == "3 2 8 1"


@pytest.mark.parametrize(
    ("encoded", "shape", "dialect", "message"),
    [
        ("1 2 3", (4, 4), "kaggle", "pairs of start and length, got 3"),
        ("0 2", (4, 4), "kaggle", "leaves the image of 4 x 4 = 16 pixels"),
        ("15 3", (4, 4), "chexmask", "check shape=.*and the dialect"),
        ("15 2", (4, 4), "siim", "leaves the image"),
        ("3 2 12 1", (4, 4), "siim", "leaves the image"),
        ("1 -2", (4, 4), "kaggle", "leaves the image"),
        ("9223372036854775807 9223372036854775807", (4, 4), "kaggle", "leaves the image"),
        ("99999999999999999999 1", (4, 4), "kaggle", "whole numbers"),
        ("1 2.5", (4, 4), "kaggle", "whole numbers"),
        ("one 2", (4, 4), "siim", "whole numbers"),
        (7.5, (4, 4), "siim", "whole numbers"),
        ([3, 4], (4, 4), "coco", "add up to the image of 4 x 4 = 16 pixels, got 7"),
        ([20, -4], (4, 4), "coco", "add up"),
        ({"size": [4, 5], "counts": [20]}, (4, 4), "coco", r"size \[4, 5\]"),
        ({"size": [4, 4]}, (4, 4), "coco", "counts"),
        ({"size": None, "counts": [16]}, (4, 4), "coco", "has size None"),
        ("é", (4, 4), "coco", "another dialect"),
        ("X", (4, 4), "coco", "cut short"),
        ("1 2", (4, 4), "pascal", "dialect must be one of siim, chexmask, kaggle, coco"),
        ("1 2", (4, 0), "siim", "shape must be"),
        ("1 2", 4, "siim", "shape must be"),
    ],
)
def test_bad_input_is_explained(encoded, shape, dialect, message):
    with pytest.raises(ValueError, match=message):
        rle_decode(encoded, shape, dialect)


def test_bad_masks_are_explained():
    with pytest.raises(ValueError, match=r"mask must have shape \(H, W\)"):
        rle_encode(np.ones(3), "siim")
    with pytest.raises(ValueError, match="NaN"):
        rle_encode(np.full((2, 2), np.nan), "siim")
    with pytest.raises(ValueError, match="'coco' only"):
        rle_encode(np.ones((2, 2)), "siim", compressed=True)
