"""Windows against the formula in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sklearn_shortcuts.images._window import apply_window, scale_linear


def in_float64(values, center, width, bottom, top):
    return np.clip((values.astype(np.float64) - (center - width / 2)) / width, 0, 1) * (top - bottom) + bottom


@settings(max_examples=50, deadline=None)
@given(
    values=arrays(np.int16, (5, 6)),
    center=st.floats(-70000, 70000),
    width=st.floats(0.5, 5000),
    output_range=st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0)]),
)
def test_float32_equals_float64_whatever_the_offset(values, center, width, output_range):
    result = apply_window(values, center, width, output_range)
    assert result.dtype == np.float32
    span = abs(output_range[1] - output_range[0])
    np.testing.assert_allclose(result, in_float64(values, center, width, *output_range), rtol=0, atol=2e-7 * span)


@pytest.mark.parametrize("stored", [np.int8, np.uint16, np.int32, np.uint32, np.float32, np.float64, bool])
def test_every_kind_of_values(stored):
    values = (np.random.default_rng(0).uniform(0, 1, (7, 8)) * (1 if stored is bool else 120)).astype(stored)
    np.testing.assert_allclose(apply_window(values, 40, 30), in_float64(values, 40, 30, 0, 1), atol=2e-7)
    exact = apply_window(values, 40, 30, dtype=np.float64)
    assert exact.dtype == np.float64
    np.testing.assert_allclose(exact, in_float64(values, 40, 30, 0, 1), atol=1e-14)


def test_the_formula_of_the_manufacturer_study():
    hounsfield = np.array([-2000, -160, -60, 40, 140, 240, 3000])
    expected = [-1, -1, -0.5, 0, 0.5, 1, 1]
    np.testing.assert_allclose(apply_window(hounsfield, 40, 400, output_range=(-1, 1)), expected, atol=1e-7)


def test_several_windows_become_channels():
    volume = np.random.default_rng(0).integers(-1000, 2000, (3, 5, 6))
    windows = apply_window(volume, [40, 600, -600], [80, 2800, 1500])
    assert windows.shape == (3, 3, 5, 6)
    for channel, (center, width) in enumerate([(40, 80), (600, 2800), (-600, 1500)]):
        np.testing.assert_array_equal(windows[:, channel], apply_window(volume, center, width))
    assert apply_window(volume[0], [40], [80]).shape == (1, 5, 6)


def test_integers_are_rounded_and_nan_stays():
    np.testing.assert_array_equal(
        apply_window([0.0, 1.0, 2.0], 1, 2, output_range=(0, 255), dtype=np.uint8), np.array([0, 128, 255], np.uint8)
    )
    np.testing.assert_array_equal(apply_window([np.nan, 5.0], 0, 2), [np.nan, 1])
    assert apply_window(0.25, 0.5, 1).shape == ()


def test_negative_slope_and_a_step():
    values = np.arange(-5, 6, dtype=np.int16)
    expected = np.clip((-2.0 * values + 3 - -4) / 10, 0, 1)
    scaled = scale_linear(values, -4.0, 10.0, (0.0, 1.0), np.dtype("f4"), slope=-2.0, intercept=3.0)
    np.testing.assert_allclose(scaled, expected, atol=1e-7)
    step = scale_linear(values, 1.0, 0.0, (0.0, 1.0), np.dtype("f4"), slope=-1.0)
    np.testing.assert_array_equal(step, -values > 1)


def test_values_are_not_changed():
    values = np.linspace(0, 1, 5, dtype=np.float32)
    before = values.copy()
    apply_window(values, 0.5, 0.2)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "window 0 has center 1 and width 0"),
        ({"width": -3}, "positive width"),
        ({"center": np.nan}, "finite center"),
        ({"center": [1, 2]}, "two sequences of the same length"),
        ({"center": [1, 2], "width": [1, 0]}, "window 1 has"),
        ({"center": [[1]], "width": [[1]]}, "two sequences"),
        ({"output_range": (0, 0)}, "two different finite numbers"),
        ({"output_range": 1}, "two different finite numbers"),
        ({"dtype": np.uint8, "output_range": (0, 256)}, "does not fit dtype uint8"),
        ({"dtype": complex}, "floating-point or integer"),
        ({"center": [1, 2], "width": [1, 1], "values": np.ones(4)}, "rows and columns"),
    ],
)
def test_bad_input_is_explained(options, message):
    with pytest.raises(ValueError, match=message):
        apply_window(**{"values": np.ones((2, 2)), "center": 1, "width": 1, **options})
