"""Scanner models do what their settings say, and nothing else."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from sklearn_shortcuts.datasets import apply_scanner, make_chest_phantoms
from sklearn_shortcuts.images import ImageBunch


def flat(n=4, size=64, value=0.5):
    return np.full((n, size, size), value, dtype=np.float64)


def one(images, **settings):
    return apply_scanner(images, ["a"] * len(images), {"a": settings}, random_state=0)


def test_no_setting_changes_nothing():
    images = np.random.default_rng(0).uniform(size=(3, 20, 24)).astype(np.float32)
    np.testing.assert_allclose(one(images), images, rtol=1e-6)


def test_noise_has_the_standard_deviation_asked_for():
    for grain in (0.0, 0.8, 1.5):
        noise = one(flat(size=128), noise=0.02, grain=grain) - 0.5
        assert noise.std() == pytest.approx(0.02, rel=0.05)
        neighbors = np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]
        # Two Gaussian kernels whose centers are one pixel apart overlap by exp(-1 / (4 sigma ** 2)).
        expected = np.exp(-1 / (4 * grain**2)) if grain else 0.0
        assert neighbors == pytest.approx(expected, abs=0.04)


def test_blur_is_a_gaussian():
    images = np.random.default_rng(0).uniform(0.2, 0.8, size=(2, 40, 40))
    expected = np.stack([gaussian_filter(image, 1.3, mode="mirror", truncate=5) for image in images])
    np.testing.assert_allclose(one(images, blur=1.3), expected, atol=2e-4)


def test_curve_and_border():
    shown = one(flat(value=0.25), gamma=0.5, gain=0.8, offset=0.1, border=0.1, border_value=0.9)
    assert np.unique(shown[:, :6]).tolist() == pytest.approx([0.9])
    np.testing.assert_allclose(shown[:, 6:-6, 6:-6], 0.8 * 0.5 + 0.1, rtol=1e-6)


def test_integers_and_channels_keep_shape_and_type():
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 20, 30), dtype=np.uint8)
    shown = one(images, blur=1.0, noise=0.1)
    assert shown.shape == images.shape
    assert shown.dtype == np.uint8


def test_rows_do_not_depend_on_other_rows():
    names = np.array(["a", "b", "a", "b"])
    settings = {"a": {"noise": 0.02}, "b": {"blur": 1.0}}
    images = flat()
    shown = apply_scanner(images, names, settings, random_state=3)
    alone = apply_scanner(images, ["b", "b", "a", "a"], settings, random_state=3)
    np.testing.assert_array_equal(shown[2], alone[2])
    assert not np.array_equal(shown[0], shown[2])
    assert not np.array_equal(shown[2], apply_scanner(images, names, settings, random_state=4)[2])
    np.testing.assert_array_equal(images, flat())


def test_bunches_keep_their_fields_and_stay_lazy():
    study = make_chest_phantoms(6, size=32, random_state=0)
    names, settings = np.array(["a", "b"] * 3), {"a": {"noise": 0.05}, "b": {}}
    shown = apply_scanner(study, names, settings, random_state=0)
    np.testing.assert_array_equal(shown.masks, study.masks)
    assert shown.metadata["scanner"].tolist() == names.tolist()
    assert "scanner" not in study.metadata
    lazy = apply_scanner(study.map_images(np.negative).map_images(np.negative), names, settings, random_state=0)
    some = lazy[[4, 1]]
    np.testing.assert_array_equal(np.asarray(some), np.asarray(shown)[[4, 1]])
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(some))), np.asarray(some))
    by_name = apply_scanner(shown.with_images(study.images), "scanner", settings, random_state=0)
    np.testing.assert_array_equal(np.asarray(by_name), np.asarray(shown))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"a": {"blurr": 1}}, "has no setting 'blurr'"),
        ({"a": {"blur": -1}}, "too small"),
        ({"a": {"gamma": 0}}, "too small"),
        ({"a": {"border": 0.5}}, "below 0.5"),
        ({"a": {"noise": "much"}}, "must be a number"),
        ({"b": {}}, "row 0 has 'a', for which there are no settings"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        apply_scanner(flat(), ["a"] * 4, settings)


def test_bad_rows():
    bright = flat()
    bright[2, 0, 0] = 40
    with pytest.raises(ValueError, match=r"row 2 has values from .* outside the value range"):
        one(bright)
    with pytest.raises(ValueError, match="scanner has 3 rows, but X has 4"):
        apply_scanner(flat(), ["a"] * 3, {"a": {}})
    with pytest.raises(ValueError, match="scanner='site' is neither a field of the rows nor"):
        apply_scanner(ImageBunch(flat(), metadata=pd.DataFrame({"scanner": ["a"] * 4})), "site", {"a": {}})
    with pytest.raises(ValueError, match="signals"):
        apply_scanner(ImageBunch(np.zeros((4, 2, 50)), signal=True), ["a"] * 4, {"a": {}})
    with pytest.raises(TypeError, match="must be a dict"):
        apply_scanner(flat(), ["a"] * 4, {"a": 3})
