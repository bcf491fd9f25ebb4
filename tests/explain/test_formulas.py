"""Formulas of class activation maps against plain loops, closed forms and finite differences."""

import numpy as np
import pytest
import torch

from sklearn_shortcuts.explain._formulas import (
    absolute_map,
    as_map,
    grad_cam_map,
    grad_cam_plus_plus_map,
    hires_cam_map,
    upsample,
)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_loops(name, activation, gradient):
    """Each formula as it stands in its paper, one channel and position after the other."""
    n_rows, n_channels = activation.shape[:2]
    spatial = activation.shape[2:]
    maps = np.zeros((n_rows, *spatial))
    for row in range(n_rows):
        for channel in range(n_channels):
            a, g = activation[row, channel].numpy(), gradient[row, channel].numpy()
            weight = 0.0
            for place in np.ndindex(*spatial):
                if name == "grad_cam":
                    weight += g[place] / a.size
                elif name == "grad_cam_plus_plus" and g[place] > 0:
                    alpha = g[place] ** 2 / (2 * g[place] ** 2 + a.sum() * g[place] ** 3 + 1e-6)
                    weight += alpha * g[place]
            for place in np.ndindex(*spatial):
                if name == "hires_cam":
                    maps[(row, *place)] += a[place] * g[place]
                elif name == "absolute":
                    maps[(row, *place)] += abs(a[place] * g[place])
                else:
                    maps[(row, *place)] += weight * a[place]
    return maps


FORMULAS = {
    "grad_cam": grad_cam_map,
    "grad_cam_plus_plus": grad_cam_plus_plus_map,
    "hires_cam": hires_cam_map,
    "absolute": absolute_map,
}


@pytest.mark.parametrize("spatial", [(4, 3), (7,)])
@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_are_those_of_the_papers(name, spatial):
    activation, gradient = random(2, 5, *spatial).abs(), random(2, 5, *spatial, seed=1)
    expected = by_loops(name, activation, gradient)
    if name == "absolute":
        np.testing.assert_allclose(absolute_map(activation, gradient), expected)
        return
    np.testing.assert_allclose(FORMULAS[name](activation, gradient, relu=False), expected)
    np.testing.assert_allclose(FORMULAS[name](activation, gradient), np.maximum(expected, 0))


@pytest.mark.parametrize("name", FORMULAS)
def test_derivatives_are_those_of_finite_differences(name):
    inputs = [random(2, 3, 3, 2, seed=seed).abs().requires_grad_() for seed in (0, 1)]
    options = {} if name == "absolute" else {"relu": False}
    assert torch.autograd.gradcheck(lambda *parts: FORMULAS[name](*parts, **options), inputs)


def test_channels_without_gradient_have_no_weight():
    activation, gradient = random(1, 2, 3, 3), torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    for formula in FORMULAS.values():
        assert not formula(activation, gradient).any()


def test_upsampling_is_that_of_opencv():
    import cv2

    maps = random(2, 7, 5).float()
    expected = np.stack([cv2.resize(row.numpy(), (64, 90), interpolation=cv2.INTER_LINEAR) for row in maps])
    np.testing.assert_allclose(upsample(maps, (90, 64)), expected, atol=1e-5)
    signal = random(2, 5)
    places = np.clip((np.arange(20) + 0.5) / 4 - 0.5, 0, 4)
    expected = np.stack([np.interp(places, np.arange(5), row) for row in signal.numpy()])
    np.testing.assert_allclose(upsample(signal, (20,)), expected)


@pytest.mark.parametrize(
    ("shape", "spatial", "expected"),
    [
        ((2, 8, 7, 7), (224, 224), (2, 8, 7, 7)),
        ((2, 8, 4, 9), (128, 288), (2, 8, 4, 9)),
        ((2, 7, 7, 96), (224, 224), (2, 96, 7, 7)),  # channels last
        ((2, 8, 1, 1), (32, 32), (2, 8, 1, 1)),
        ((2, 8, 50), (200,), (2, 8, 50)),
        ((2, 196, 8), (224, 224), (2, 8, 14, 14)),
        ((2, 197, 8), (224, 224), (2, 8, 14, 14)),  # class
        ((2, 198, 8), (224, 224), (2, 8, 14, 14)),  # class and distillation
        ((2, 201, 8), (224, 224), (2, 8, 14, 14)),  # class and four registers
        ((2, 141, 8), (224, 160), (2, 8, 14, 10)),
    ],
)
def test_layers_become_maps(shape, spatial, expected):
    assert as_map(torch.zeros(shape), spatial).shape == expected


def test_tokens_come_row_by_row_after_those_of_the_class():
    tokens = torch.arange(7.0)[None, :, None].expand(1, 7, 2)
    grid = as_map(tokens, (32, 48))
    np.testing.assert_array_equal(grid[0, 0], [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(("shape", "spatial"), [((2, 8), (32, 32)), ((2, 60, 8), (224, 224)), ((2, 3, 4, 4), (32,))])
def test_what_is_no_map_is_refused(shape, spatial):
    with pytest.raises(ValueError, match="is no map of an image"):
        as_map(torch.zeros(shape), spatial)


@pytest.mark.parametrize("n_extra", [0, 1, 2, 5])
def test_tokens_of_oblong_images_lie_on_the_grid_of_whole_patches(n_extra):
    # Of one row and two columns with one more token, patches of 10 pixels would make three columns.
    for rows in range(1, 9):
        for columns in range(2, 9):
            tokens = torch.zeros(1, rows * columns + n_extra, 3)
            assert as_map(tokens, (16 * rows, 16 * columns)).shape == (1, 3, rows, columns)
