"""What removed pixels are replaced by."""

import cv2
import numpy as np
import pytest

from sklearn_shortcuts.images._fill import copy_kept, fill_removed, to_dtype

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
    ">f4",
]


def make_image(dtype="float64", channels=2, height=40, width=30, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.normal(60, 12, (channels, height, width)) + 20 * np.arange(channels)[:, None, None]
    return to_dtype(image, dtype), rng.random((height, width)) < 0.4


def filled(image, kept, fill, seed=(0, 0), blur_sigma=0.0625):
    out = np.zeros_like(image, order="C")
    before = image.copy()
    if fill == "zero":
        copy_kept(image[None], kept[None], out[None])
    else:
        fill_removed(image, kept, out, fill, blur_sigma=blur_sigma, seed=seed)
    np.testing.assert_array_equal(image, before)
    return out


@pytest.mark.parametrize("fill", ["zero", "mean", "noise", "shuffle", "blur"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_kept_pixels_stay_in_every_type(dtype, fill):
    image, kept = make_image(dtype)
    out = filled(image, kept, fill)
    assert out.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(out[:, kept], image[:, kept])
    transposed = filled(np.asfortranarray(image), kept, fill)
    np.testing.assert_array_equal(transposed, out)


def test_mean_is_that_of_the_kept_pixels_of_the_channel():
    image, kept = make_image()
    out = filled(image, kept, "mean")
    for plane, result in zip(image, out):
        np.testing.assert_allclose(result[~kept], plane[kept].mean())
    nothing = np.zeros_like(kept)
    np.testing.assert_allclose(filled(image, nothing, "mean")[0], image[0].mean())


def test_noise_has_the_moments_of_the_removed_pixels():
    image, kept = make_image(height=200, width=200)
    image[:, kept] += 1000
    out = filled(image, kept, "noise")
    for plane, result in zip(image, out):
        assert result[~kept].mean() == pytest.approx(plane[~kept].mean(), abs=0.5)
        assert result[~kept].std() == pytest.approx(plane[~kept].std(), rel=0.03)
    assert abs(np.corrcoef(out[0][~kept], out[1][~kept])[0, 1]) < 0.05
    np.testing.assert_array_equal(out, filled(image, kept, "noise"))
    assert (out != filled(image, kept, "noise", seed=(0, 1))).any()


def test_shuffle_keeps_the_colors_and_breaks_the_order():
    image, kept = make_image()
    out = filled(image, kept, "shuffle")
    before, after = image[:, ~kept].T, out[:, ~kept].T
    assert (before != after).any()
    assert sorted(map(tuple, before)) == sorted(map(tuple, after))


def test_blur_shows_the_blurred_image():
    image, kept = make_image()
    out = filled(image, kept, "blur", blur_sigma=0.1)
    expected = cv2.GaussianBlur(image[1], (0, 0), 4.0, borderType=cv2.BORDER_REFLECT)
    np.testing.assert_allclose(out[1][~kept], expected[~kept])
    assert out[1][~kept].std() < image[1][~kept].std() / 4


def test_blur_leaves_no_sharp_detail():
    fine = np.indices((64, 64)).sum(axis=0)[None] % 2 * 100.0
    out = filled(fine, np.zeros((64, 64), dtype=bool), "blur")
    assert np.ptp(out) < 1


def test_zero_leaves_what_was_there():
    for channels in (1, 3):
        images = np.arange(4 * channels * 6.0).reshape(4, channels, 2, 3)
        kept = np.arange(24).reshape(4, 2, 3) % 5 > 1
        out = np.full_like(images, -1)
        copy_kept(images, kept, out)
        np.testing.assert_array_equal(out, np.where(kept[:, None], images, -1))


def test_nothing_removed_is_nothing_changed():
    image, _ = make_image()
    everything = np.ones(image.shape[1:], dtype=bool)
    for fill in ("zero", "mean", "noise", "shuffle", "blur"):
        np.testing.assert_array_equal(filled(image, everything, fill), image)


def test_integers_are_rounded_within_their_range():
    np.testing.assert_array_equal(to_dtype([3.6, -5.0, 300.0, 1e30], "uint8"), [4, 0, 255, 255])
    big = to_dtype([1e30, -1e30, 12.0], "int64")
    assert big.tolist() == [2**63 - 1, -(2**63), 12]
    assert to_dtype(0.7, "bool")
    assert to_dtype(0.25, "float32").dtype == np.float32
