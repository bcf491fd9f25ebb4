"""Histogram matching against Nyúl's formula, a peer, and in searches."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.preprocessing import HistogramMatcher
from sklearn_shortcuts.preprocessing._histograms import map_values


def scans(n=8, shape=(20, 18), seed=0, dtype=np.float64):
    """Heads on air, each with a brightness and contrast of its own."""
    rng = np.random.default_rng(seed)
    images = rng.gamma(2, 1, (n, *shape))
    images[..., :4] *= 0.05
    images = images * rng.uniform(0.5, 2, n)[:, None, None] + rng.uniform(0, 1, n)[:, None, None]
    return (images * 20).astype(dtype)


def nyul(image, landmarks, standard):
    """The map of the paper, pixel by pixel: pieces between landmarks, the outer ones going on."""
    result = np.empty(image.size)
    for place, value in enumerate(image.ravel()):
        piece = np.searchsorted(landmarks[1:-1], value, side="right")
        low, high = landmarks[piece], landmarks[piece + 1]
        result[place] = standard[piece] + (value - low) / (high - low) * (standard[piece + 1] - standard[piece])
    return result.reshape(image.shape)


def test_the_mean_reference_is_that_of_the_paper():
    images = scans()
    percents = [1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99]
    landmarks = np.array([np.percentile(image, percents) for image in images])
    start, end = landmarks[:, 0].mean(), landmarks[:, -1].mean()
    on_scale = [start + (own - own[0]) * (end - start) / (own[-1] - own[0]) for own in landmarks]
    standard = np.mean(on_scale, axis=0)
    matcher = HistogramMatcher().fit(images)
    np.testing.assert_allclose(matcher.landmarks_, [standard], rtol=1e-12)
    np.testing.assert_allclose(100 * matcher.probabilities_, percents)
    expected = [nyul(image, own, standard) for image, own in zip(images, landmarks)]
    np.testing.assert_allclose(matcher.transform(images), expected, rtol=1e-10)


@pytest.mark.parametrize("per_channel", [False, True])
def test_two_images_as_in_scikit_image(per_channel):
    match_histograms = pytest.importorskip("skimage.exposure").match_histograms
    image, reference = np.random.default_rng(0).normal(size=(2, 3, 12, 14))
    expected = match_histograms(image, reference, channel_axis=0 if per_channel else None)
    n_pixels = image.size // (3 if per_channel else 1)
    matcher = HistogramMatcher(reference, n_quantiles=n_pixels, percentiles=(0, 100), per_channel=per_channel)
    np.testing.assert_allclose(matcher.fit_transform(image[None])[0], expected, atol=1e-9)


def test_linear_changes_are_undone():
    """Images that differ in brightness and contrast alone become the same image."""
    image = scans(1)[0]
    images = np.stack([image, 3 * image + 5, 0.2 * image - 1])
    matched = HistogramMatcher("first").fit_transform(images)
    np.testing.assert_allclose(matched, np.stack([image] * 3), rtol=1e-9, atol=1e-9)


def test_one_class_is_the_reference():
    images = scans(9)
    scanner = np.array(["GE", "Siemens", "GE"] * 3)
    alone = HistogramMatcher().fit(images[scanner == "Siemens"])
    bunch = ImageBunch(images, metadata=pd.DataFrame({"scanner": scanner}))
    for matcher in (
        HistogramMatcher(acquisition="scanner", reference_acquisition="Siemens").fit(bunch),
        HistogramMatcher(reference_acquisition="Siemens").fit(images, acquisition=scanner),
    ):
        np.testing.assert_array_equal(matcher.landmarks_, alone.landmarks_)
        np.testing.assert_array_equal(np.asarray(matcher.transform(bunch)), alone.transform(images))
    first = HistogramMatcher("first", reference_acquisition="Siemens").fit(images, acquisition=scanner)
    np.testing.assert_array_equal(first.landmarks_, HistogramMatcher("first").fit(images[[1]]).landmarks_)
    with pytest.raises(ValueError, match="no row is of reference_acquisition='Canon'"):
        HistogramMatcher(reference_acquisition="Canon").fit(images, acquisition=scanner)
    with pytest.raises(ValueError, match="knows no acquisition of the rows"):
        HistogramMatcher(reference_acquisition="GE").fit(images)


@pytest.mark.parametrize("region", ["foreground", "roi", "background"])
def test_regions_decide_and_all_pixels_are_mapped(region):
    images = scans(6)
    masks = np.zeros(images.shape, dtype=bool)
    masks[:, 3:17, 5:15] = True
    chosen = {
        "foreground": images > images.mean(axis=(1, 2), keepdims=True),
        "roi": masks,
        "background": ~masks,
    }[region]
    percents = [5, 25, 50, 75, 95]
    matcher = HistogramMatcher(n_quantiles=5, percentiles=(5, 95), region=region)
    matched = matcher.fit_transform(images, masks=masks if region != "foreground" else None)
    landmarks = np.array([np.percentile(image[inside], percents) for image, inside in zip(images, chosen)])
    expected = [nyul(image, own, matcher.landmarks_[0]) for image, own in zip(images, landmarks)]
    np.testing.assert_allclose(matched, expected, rtol=1e-9)
    lazy = matcher.transform(ImageBunch(images, masks=masks))
    np.testing.assert_array_equal(np.asarray(lazy[[4, 1]]), matched[[4, 1]])
    np.testing.assert_array_equal(lazy.get("masks"), masks)


def test_channels_share_a_histogram_or_do_not():
    images = np.stack([scans(5, seed=seed) * (seed + 1) for seed in range(3)], axis=1)
    by_channel = HistogramMatcher(per_channel=True).fit_transform(images)
    for channel in range(3):
        expected = HistogramMatcher().fit_transform(images[:, channel])
        np.testing.assert_allclose(by_channel[:, channel], expected, rtol=1e-12)
    together = HistogramMatcher().fit_transform(images)
    expected = HistogramMatcher().fit_transform(images.reshape(5, -1, 18))
    np.testing.assert_allclose(together.reshape(5, -1, 18), expected, rtol=1e-12)
    signals = ImageBunch(images[:, :, 0], signal=True)
    assert HistogramMatcher(per_channel=True).fit(signals).landmarks_.shape == (3, 11)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_data_types_and_batches(dtype):
    images = scans(7, dtype=dtype)
    before = images.copy()
    matcher = HistogramMatcher(n_quantiles=5).fit(images)
    matched = matcher.transform(images)
    assert matched.dtype == dtype
    np.testing.assert_array_equal(images, before)
    if np.dtype(dtype).kind in "iu":
        exact = matcher.transform(images.astype(np.float64))
        limits = np.iinfo(dtype)
        np.testing.assert_array_equal(matched, np.clip(np.rint(exact), limits.min, limits.max))
    lazy = pickle.loads(pickle.dumps(matcher.transform(ImageBunch(images))[2:]))
    for rows in ([0], [4, 2, 2], [3, 1]):
        np.testing.assert_array_equal(np.asarray(lazy[rows]), matched[2:][rows])


def test_equal_landmarks_and_equal_pixels():
    reference = np.array([0.0, 1.0, 2.0, 4.0])
    np.testing.assert_allclose(map_values(np.array([0.0, 1, 2]), np.array([0.0, 0, 0, 2]), reference), [1, 2.5, 4])
    np.testing.assert_allclose(map_values(np.array([5.0, 6]), np.full(4, 5.0), reference), [1.75, 2.75])
    images = scans(3)
    flat = np.concatenate([images, np.full((1, 20, 18), 7.0)])
    matcher = HistogramMatcher().fit(flat)
    assert np.isfinite(matcher.transform(flat)).all()
    shape = (matcher.landmarks_ - matcher.landmarks_.min()) / np.ptp(matcher.landmarks_)
    alone = HistogramMatcher().fit(images).landmarks_
    np.testing.assert_allclose(shape, (alone - alone.min()) / np.ptp(alone))
    only_flat = HistogramMatcher().fit_transform(np.stack([np.full((4, 4), 7.0), np.full((4, 4), 9.0)]))
    np.testing.assert_allclose(only_flat, 8)


def test_in_a_search():
    images = scans(40)
    y = np.arange(40) % 2
    images[y == 1, 8:12, 8:12] += 40
    flat = FunctionTransformer(lambda X: np.asarray(X).reshape(len(X), -1))
    pipeline = make_pipeline(HistogramMatcher(), flat, LogisticRegression(max_iter=500))
    grid = {"histogrammatcher__n_quantiles": [3, 11], "histogrammatcher__region": ["all", "foreground"]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(ImageBunch(images), y)
    assert search.best_score_ > 0.7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"percentiles": (99, 1)}, "two increasing numbers"),
        ({"percentiles": (0, 100, 50)}, "two increasing numbers"),
        ({"percentiles": (20, 80)}, "lie inside the 11 landmarks"),
        ({"region": "roi"}, "region='roi' needs masks"),
        ({"reference": np.zeros((2, 4, 4)), "per_channel": True}, r"3 channels first, got shape \(2, 4, 4\)"),
        ({"reference": [[np.nan, 1.0]]}, "reference contains NaN"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HistogramMatcher(**options).fit(np.random.default_rng(0).normal(size=(4, 3, 6, 6)))


def test_rows_without_a_region_or_with_nan():
    images = scans(4)
    masks = [np.ones((20, 18), dtype=bool)] * 2 + [None, np.zeros((20, 18), dtype=bool)]
    with pytest.raises(ValueError, match="row 2 has no region"):
        HistogramMatcher(region="roi").fit(ImageBunch(images, masks=masks))
    matcher = HistogramMatcher(region="roi").fit(ImageBunch(images[:2], masks=masks[:2]))
    with pytest.raises(ValueError, match="row 1 has no region"):
        np.asarray(matcher.transform(ImageBunch(images[[0, 3]], masks=[masks[0], masks[3]])))
    images[3, 0, 0] = np.nan
    with pytest.raises(ValueError, match="row 3 contains NaN"):
        HistogramMatcher().fit(images)
    lazy = HistogramMatcher().fit(images[:3]).transform(ImageBunch(images))
    with pytest.raises(ValueError, match="row 3 contains NaN"):
        np.asarray(lazy)
