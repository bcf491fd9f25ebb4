"""Geometry of a resize."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sklearn_shortcuts.images._resize import as_size, place

sides = st.integers(1, 60)


def area_weights(n_old, n_new):
    """Share of each old pixel in each new one, by the overlap of the intervals they cover."""
    step = n_old / n_new
    new, old = np.arange(n_new)[:, None], np.arange(n_old)[None]
    overlap = np.minimum((new + 1) * step, old + 1) - np.maximum(new * step, old)
    return np.clip(overlap, 0, None) / step


@settings(max_examples=50, deadline=None)
@given(
    height=sides,
    width=sides,
    down=st.floats(0.05, 1),
    across=st.floats(0.05, 1),
    channels=st.sampled_from([0, 1, 3, 7]),
)
def test_shrinking_averages_over_areas(height, width, down, across, channels):
    size = max(1, int(height * down)), max(1, int(width * across))
    shape = (height, width, channels) if channels else (height, width)
    image = np.random.default_rng(0).random(shape)
    expected = np.einsum("ih,hw...,jw->ij...", area_weights(height, size[0]), image, area_weights(width, size[1]))
    np.testing.assert_allclose(place((height, width), size, "stretch").resize(image), expected, atol=2e-6)


@pytest.mark.parametrize("size", [(80, 80), (150, 80), (150, 170)])
@pytest.mark.parametrize("channels", [(), (1,), (3,), (7,)])
def test_no_value_lies_outside_of_the_range(size, channels):
    image = np.full((121, 113, *channels), 0.9, dtype=np.float32)
    image[::7] = 1
    resized = place(image.shape[:2], size, "stretch").resize(image)
    assert image.min() <= resized.min()
    assert resized.max() <= 1
    constant = place(image.shape[:2], size, "stretch").resize(np.full_like(image, 1 / 3))
    assert np.all(constant == np.float32(1 / 3))


def test_missing_pixels_leave_the_others_alone():
    image = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    whole = place((40, 40), (10, 10), "stretch").resize(image)
    image[0, 0] = np.nan
    resized = place((40, 40), (10, 10), "stretch").resize(image)
    assert np.isnan(resized).sum() == 1
    np.testing.assert_array_equal(np.delete(resized, 0), np.delete(whole, 0))


def test_one_side_grows_while_the_other_shrinks():
    image = np.random.default_rng(0).random((40, 3))
    shrunk = area_weights(40, 10) @ image
    grown = place((40, 3), (10, 12), "stretch").resize(image)
    pillow = np.asarray(Image.fromarray(shrunk.astype(np.float32)).resize((12, 10), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(grown, pillow, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(height=sides, width=sides, new_height=sides, new_width=sides)
def test_nearest_takes_the_pixel_under_each_center(height, width, new_height, new_width):
    mask = np.random.default_rng(1).random((height, width)) > 0.5
    result = place((height, width), (new_height, new_width), "stretch").resize(mask, nearest=True)
    assert result.dtype == bool
    pillow = Image.fromarray(mask.astype(np.uint8)).resize((new_width, new_height), Image.Resampling.NEAREST)
    # A center that falls exactly between two pixels may go either way.
    rows, columns = (
        (np.arange(new_height) + 0.5) * height / new_height,
        (np.arange(new_width) + 0.5) * width / new_width,
    )
    clear = (np.abs(rows - rows.round()) > 1e-6)[:, None] & (np.abs(columns - columns.round()) > 1e-6)[None]
    np.testing.assert_array_equal(result[clear], np.asarray(pillow).astype(bool)[clear])


@settings(max_examples=50, deadline=None)
@given(height=sides, width=sides, new_height=sides, new_width=sides)
def test_letterbox_keeps_proportions_and_is_centered(height, width, new_height, new_width):
    placement = place((height, width), (new_height, new_width), "letterbox")
    inner, (top, left) = placement.inner, placement.offset
    scale = min(new_height / height, new_width / width)
    assert new_height in inner or new_width in inner[1:] or inner[0] == new_height or inner[1] == new_width
    for side, given_side in zip(inner, (height, width)):
        assert side == 1 or abs(side - given_side * scale) <= 0.5 + 1e-9
    assert abs((new_height - inner[0] - top) - top) <= 1
    assert abs((new_width - inner[1] - left) - left) <= 1
    result = placement.resize(np.ones((height, width)), pad=-3)
    assert result.shape == (new_height, new_width)
    assert (result == -3).sum() == new_height * new_width - inner[0] * inner[1]


@settings(max_examples=50, deadline=None)
@given(height=sides, width=sides, new_height=sides, new_width=sides)
def test_crop_fills_the_result(height, width, new_height, new_width):
    placement = place((height, width), (new_height, new_width), "crop")
    assert placement.inner[0] >= new_height
    assert placement.inner[1] >= new_width
    result = placement.resize(np.ones((height, width)), pad=-3)
    assert result.shape == (new_height, new_width)
    np.testing.assert_allclose(result, 1, atol=1e-6)


def test_crop_cuts_evenly():
    image = np.tile(np.arange(8.0), (4, 1))
    np.testing.assert_array_equal(place((4, 8), (4, 4), "crop").resize(image)[0], [2, 3, 4, 5])


@pytest.mark.parametrize("mode", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("shape", [(50, 80), (81, 37), (64, 64)])
def test_mask_stays_on_its_image(mode, shape):
    """A disc moves and scales as the image of the disc does, also if the mask was stored at half the size."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    disc = (rows - shape[0] * 0.45) ** 2 + (columns - shape[1] * 0.55) ** 2 < 15**2
    placement = place(shape, (48, 40), mode)
    image = placement.resize(disc.astype(float)) > 0.5
    for mask in (disc, disc[::2, ::2]):
        result = placement.resize(mask, nearest=True)
        assert (image & result).sum() / (image | result).sum() > 0.85


@pytest.mark.parametrize("size", [0, -1, (3,), (3, 4, 5), (2.0, 3), "large"])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="size must be a positive integer or"):
        as_size(size)
