"""Figures of saliency maps: what is drawn where, with which scale, and what cannot be drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_shortcuts.explain import SaliencyDisplay, grad_cam, input_gradients
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 12, 10))
    masks[:, 3:8, 2:7] = 1
    masks = [None if row == 1 else mask for row, mask in enumerate(masks)]
    return ImageBunch(rng.random((6, 12, 10)), masks=masks, target=list("ababab"))


@pytest.fixture(scope="module")
def classifier(rows):
    return NeuralImageClassifier(SmallCNN(width=3, depth=1), max_epochs=2, random_state=0).fit(rows)


def drawn(ax):
    """Values of the map in a panel, which lies over the image."""
    return np.asarray(ax.images[1].get_array())


def notes(ax):
    return [text.get_text() for text in ax.texts]


def visible_text(figure):
    """Boxes of all text outside the panels."""
    figure.canvas.draw()
    texts = []
    for ax in figure.axes:
        texts += [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels()]
    return [text for text in texts if text.get_text() and text.get_visible()]


def test_maps_of_an_estimator(rows, classifier):
    display = SaliencyDisplay.from_estimator(classifier, rows, ["grad_cam", input_gradients], rows=[1, 5])
    assert display.columns == ["image", "grad cam", "input gradients"]
    assert display.axes_.shape == (2, 3)
    shown = rows[[1, 5]]
    expected = np.asarray(grad_cam(classifier, shown))
    for row in range(2):
        largest = expected[row].max() or 1
        np.testing.assert_allclose(drawn(display.axes_[row, 1]), expected[row] / largest, rtol=1e-6)
        np.testing.assert_allclose(display.axes_[row, 0].images[0].get_array(), shown[row])
        prediction = classifier.predict(shown)[row]
        label = f"row {[1, 5][row]}\ntrue: b\npredicted: {prediction}"
        assert display.axes_[row, 0].get_ylabel() == label
    contours = [[len(ax.collections) for ax in axes] for axes in display.axes_]
    assert contours == [[0, 0, 0], [1, 1, 1]]  # row 1 has no mask


def test_models_side_by_side_and_their_difference(rows, classifier):
    other = NeuralImageClassifier(SmallCNN(width=3, depth=1), max_epochs=1, random_state=1).fit(rows)
    models = {"before": classifier, "after": other}
    display = SaliencyDisplay.from_estimator(models, rows, target="true", difference=True, scale="column", layer="auto")
    assert display.columns == ["image", "before", "after", "after minus\nbefore"]
    assert display.axes_.shape == (4, 4)
    assert display.axes_[0, 0].get_ylabel() == "row 0\ntrue: a"
    first, second = (np.asarray(grad_cam(model, rows[:4], "true")) for model in models.values())
    for row in range(4):
        np.testing.assert_allclose(drawn(display.axes_[row, 3]), second[row] - first[row], rtol=1e-5, atol=1e-8)
    low, high = display.color_bars_["after minus\nbefore"].mappable.get_clim()
    assert low == -high
    assert high == pytest.approx(np.abs(second - first).max())
    both = SaliencyDisplay.from_estimator(models, rows, ["grad_cam", "hires_cam"], rows=[0])
    assert both.columns[1:] == ["before\ngrad cam", "before\nhires cam", "after\ngrad cam", "after\nhires cam"]


def test_scales():
    images = np.zeros((2, 4, 4))
    small, large = np.zeros((2, 2, 4, 4))
    small[0, 0, 0], small[1, 0, 0] = 1, 2
    large[0, 1, 1], large[1, 1, 1] = 4, -8
    maps = {"small": small, "large": large}
    each = SaliencyDisplay.from_maps(images, maps)
    assert [drawn(ax).max() for ax in each.axes_[:, 1]] == [1, 1]
    assert drawn(each.axes_[1, 2]).min() == -1
    assert each.color_bars_["small"].mappable.get_clim() == (0, 1)
    assert each.color_bars_["large"].mappable.get_clim() == (-1, 1)
    column = SaliencyDisplay.from_maps(images, maps, scale="column")
    assert column.color_bars_["small"].mappable.get_clim() == (0, 2)
    assert column.color_bars_["large"].mappable.get_clim() == (-8, 8)
    everywhere = SaliencyDisplay.from_maps(images, maps, scale="all", difference=True)
    assert list(everywhere.color_bars_) == ["all", "large minus\nsmall"]
    assert everywhere.axes_[0, 1].images[1].get_clim() == (-8, 8)
    clipped = SaliencyDisplay.from_maps(images, maps, scale="column", clip=0.5)
    bar = clipped.color_bars_["small"]
    assert bar.mappable.get_clim() == (0, 1.5)
    assert bar.extend == "max"
    assert clipped.color_bars_["large"].extend == "both"
    relative = SaliencyDisplay.from_maps(np.zeros((1, 4, 4)), np.arange(16.0).reshape(1, 4, 4), clip=0.5)
    assert drawn(relative.axes_[0, 1]).max() == 15 / 8
    assert relative.color_bars_[""].extend == "max"


def test_the_image_shows_through_where_the_map_is_zero():
    display = SaliencyDisplay.from_maps(
        np.zeros((1, 2, 2)), {"a": [[[0, 0.25], [0.5, 1.0]]], "b": [[[0, 1], [-1, 0.5]]]}
    )
    for column, values in ((1, [0.0, 0.25, 1.0]), (2, [0.0, 0.5, 1.0])):
        mappable = display.axes_[0, column].images[1]
        opacity = mappable.cmap(mappable.norm(values))[:, 3]
        assert opacity[0] < 0.06
        assert (np.diff(opacity) > 0.1).all()


def test_maps_that_say_nothing_are_marked():
    maps = np.zeros((2, 4, 4))
    maps[0, 1, 1] = 1
    display = SaliencyDisplay.from_maps(np.ones((2, 4, 4)), {"a": maps, "b": maps}, difference=True)
    assert [notes(ax) for ax in display.axes_[0]] == [[], [], [], ["no difference"]]
    assert [notes(ax) for ax in display.axes_[1]] == [[], ["zero everywhere"], ["zero everywhere"], ["no difference"]]


def test_outlines_close_at_the_edge_of_the_image():
    masks = np.zeros((3, 6, 6))
    masks[0, :3, :3] = 1
    masks[1] = 1
    images = np.zeros((3, 6, 6))
    display = SaliencyDisplay.from_maps(images, images, masks=masks)
    outline = display.axes_[0, 0].collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(outline.min(axis=0), -0.5)
    np.testing.assert_allclose(outline.max(axis=0), 2.5)
    assert display.axes_[1, 0].collections  # the whole image
    assert not display.axes_[2, 0].collections  # an empty mask
    assert display.axes_[0, 0].get_xlim() == (-0.5, 5.5)


def test_colors_signals_and_tensors():
    rng = np.random.default_rng(0)
    display = SaliencyDisplay.from_maps(rng.random((1, 3, 8, 8)), rng.random((1, 8, 8)))
    assert display.axes_[0, 0].images[0].get_array().shape == (8, 8, 3)
    assert display.axes_[0, 1].images[0].get_array().shape == (8, 8)  # gray below the map
    signals, maps, mask = rng.normal(size=(2, 3, 40)), rng.normal(size=(2, 40)), np.zeros((2, 40))
    mask[:, 5:9], mask[:, 20:] = 1, 1
    for images in (signals, ImageBunch(signals, signal=True)):
        display = SaliencyDisplay.from_maps(images, maps, masks=mask)
        assert display.columns == ["signal", ""]
        ax = display.axes_[0, 1]
        assert len(ax.lines) == 3
        assert ax.images[0].get_array().shape == (1, 40)
        edges = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches]
        assert edges == [(4.5, 8.5), (19.5, 39.5)]
    tensor = torch.zeros(1, 4, 4)
    assert SaliencyDisplay.from_maps(tensor, tensor).axes_.shape == (1, 2)


def test_constant_signals_and_images():
    SaliencyDisplay.from_maps(np.ones((1, 2, 30)), np.ones((1, 30))).figure_.canvas.draw()
    SaliencyDisplay.from_maps(np.ones((1, 3, 8, 8)), np.ones((1, 8, 8))).figure_.canvas.draw()


def test_gaps_in_images_and_signals():
    signals = np.random.default_rng(0).normal(size=(2, 2, 20))
    signals[0, 0, 3:6], signals[1, 1] = np.nan, np.nan
    ax = SaliencyDisplay.from_maps(signals, np.ones((2, 20))).axes_[0, 0]
    known = signals[0, 0][np.isfinite(signals[0, 0])]
    drawn = ax.lines[0].get_ydata()
    assert np.ptp(drawn[np.isfinite(drawn)]) == pytest.approx(np.ptp(known))
    assert ax.get_ylim()[1] > np.nanmax(drawn)
    images = np.random.default_rng(0).random((2, 3, 4, 4))
    images[0, 0, 0], images[1] = np.nan, np.nan
    (picture,) = SaliencyDisplay.from_maps(images, np.ones((2, 4, 4))).axes_[0, 0].images
    assert np.isfinite(picture.get_array()[1:]).all()
    plt.close("all")


def test_tensors_with_a_gradient_are_explained():
    with torch.random.fork_rng(devices=[]):
        network = SmallCNN(width=2, depth=1).build((1, 8, 8), 2)
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    display = SaliencyDisplay.from_estimator(network, images, "input_gradients")
    np.testing.assert_array_equal(display.maps["input gradients"], input_gradients(network, images))
    plt.close("all")


def test_given_axes(classifier, rows):
    figure, (left, right) = plt.subplots(1, 2)
    display = SaliencyDisplay.from_estimator(classifier, rows, rows=[2], ax=left)
    assert display.figure_ is figure
    assert display.axes_.tolist() == [[left]]
    assert display.columns == ["grad cam"]
    with pytest.raises(ValueError, match="ax takes one map, but there are 4 rows"):
        SaliencyDisplay.from_estimator(classifier, rows, ax=right)


@pytest.mark.parametrize("shape", [(3, 24, 24), (1, 40, 16), (3, 16, 48)])
def test_text_does_not_overlap(shape):
    images = np.zeros(shape)
    maps = {
        f"a method of some length {k}\nwith a model": np.random.default_rng(k).random(shape) * 1e-4 for k in range(4)
    }
    titles = [f"row {row}\ntrue: no finding\npredicted: effusion" for row in range(len(images))]
    for scale in ("map", "all"):
        display = SaliencyDisplay.from_maps(images, maps, titles=titles, scale=scale)
        texts = visible_text(display.figure_)
        boxes = [text.get_window_extent() for text in texts]
        within = display.figure_.bbox
        for number, box in enumerate(boxes):
            assert within.x0 <= box.x0 < box.x1 <= within.x1, texts[number]
            assert within.y0 <= box.y0 < box.y1 <= within.y1, texts[number]
            for other in range(number):
                assert not box.overlaps(boxes[other]), (texts[number].get_text(), texts[other].get_text())


def test_rows_targets_and_masks_are_taken_together(classifier, rows):
    images = np.asarray(rows)
    masks = [np.full((12, 10), row % 2) for row in range(6)]
    y = pd.Series(list("ababab"), index=range(10, 16))
    display = SaliencyDisplay.from_estimator(
        classifier, images, "input_gradients", target=list("aabbab"), y=y, rows=[-1, 2], masks=masks
    )
    assert [ax.get_ylabel().split("\n")[:2] for ax in display.axes_[:, 0]] == [
        ["row 5", "true: b"],
        ["row 2", "true: a"],
    ]
    assert [bool(ax.collections) for ax in display.axes_[:, 0]] == [True, False]
    expected = np.asarray(input_gradients(classifier, images[[5, 2]], ["b", "b"]))
    np.testing.assert_allclose(drawn(display.axes_[0, 1]), expected[0] / np.abs(expected[0]).max(), rtol=1e-5)


def test_what_cannot_be_drawn(classifier, rows):
    images = np.zeros((2, 4, 4))
    with pytest.raises(ValueError, match=r"maps\['a'\] must have one map"):
        SaliencyDisplay.from_maps(images, {"a": np.zeros((2, 4, 5))})
    with pytest.raises(ValueError, match="map of row 1 has values that are not finite"):
        SaliencyDisplay.from_maps(images, np.stack([images[0], images[0] * np.nan]))
    with pytest.raises(ValueError, match="titles has 1 entries"):
        SaliencyDisplay.from_maps(images, images, titles=["a"])
    with pytest.raises(ValueError, match="needs two columns of maps, but there are 1"):
        SaliencyDisplay.from_maps(images, images, difference=True)
    with pytest.raises(ValueError, match="scale='row' is not one of"):
        SaliencyDisplay.from_maps(images, images, scale="row")
    with pytest.raises(ValueError, match="clip=0 must be"):
        SaliencyDisplay.from_maps(images, images, clip=0)
    with pytest.raises(ValueError, match="nothing to draw"):
        SaliencyDisplay.from_maps(images, {})
    with pytest.raises(ValueError, match="cannot be called 'image'"):
        SaliencyDisplay.from_maps(images, {"image": images})
    with pytest.raises(ValueError, match="method='gradcam' is not known"):
        SaliencyDisplay.from_estimator(classifier, rows, "gradcam")
    with pytest.raises(IndexError, match="row 6 does not exist"):
        SaliencyDisplay.from_estimator(classifier, rows, rows=[6])
