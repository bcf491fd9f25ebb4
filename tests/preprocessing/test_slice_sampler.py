"""Slices of volumes: which, windowed and resized, and drawn anew."""

import pickle

import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts import ImageBunch, ROIMasker
from sklearn_shortcuts.images import SeriesFiles, cache_bunch, read_dicom_series
from sklearn_shortcuts.preprocessing import HistogramMatcher, SliceSampler
from tests.dicom import write_series


def numbered(n=5, length=20, size=8):
    """Volumes whose pixels tell row and slice: 100 row + slice."""
    values = 100 * np.arange(n)[:, None] + np.arange(length)
    return np.broadcast_to(values[..., None, None], (n, length, size, size)).astype(np.float32)


def plain(**options):
    return SliceSampler(window=None, size=None, **options)


def slices_of(images):
    """Numbers of the slices of rows from ``numbered``."""
    images = np.asarray(images)
    assert (images == images[..., :1, :1]).all()
    return images[..., 0, 0] % 100


@pytest.mark.parametrize(("how", "expected"), [("uniform", [3, 10, 16]), ("center", [8, 9, 10])])
def test_fixed_slices(how, expected):
    for X in (numbered(), ImageBunch(numbered())):
        images = plain(how=how).fit_transform(X)
        assert (slices_of(images) == expected).all()
        assert (np.asarray(images)[:, 0, 0, 0] // 100 == np.arange(5)).all()


def test_random_slices_belong_to_the_volume():
    volumes = numbered(30)
    sampler = plain(how="random", random_state=0).fit(volumes)
    chosen = slices_of(sampler.transform(volumes))
    assert (np.diff(chosen) > 0).all()
    assert len(np.unique(chosen)) > 15
    np.testing.assert_array_equal(slices_of(sampler.transform(volumes[7:9])), chosen[7:9])
    lazy = sampler.transform(ImageBunch(volumes))
    np.testing.assert_array_equal(slices_of(lazy[[20, 3]]), chosen[[20, 3]])
    np.testing.assert_array_equal(slices_of(pickle.loads(pickle.dumps(lazy[10:]))), chosen[10:])
    again = plain(how="random", random_state=0).fit_transform(volumes)
    np.testing.assert_array_equal(slices_of(again), chosen)
    assert (slices_of(plain(how="random", random_state=1).fit_transform(volumes)) != chosen).any()


def test_draws_are_uniform():
    source = plain(n_slices=1).fit_transform(ImageBunch(numbered(200, length=5))).images
    drawn = np.concatenate([slices_of(source.redraw(seed)).ravel() for seed in range(25)])
    counts = np.bincount(drawn.astype(int))
    assert ((counts - 1000) ** 2 / 1000).sum() < 18.5  # chi-squared with 4 degrees of freedom, p = 0.001


def test_a_draw_follows_the_seed_and_the_row_through_all_that_lies_between():
    volumes = numbered(12)
    masks = np.ones((12, 8, 8), dtype=bool)
    bunch = plain().fit_transform(ImageBunch(volumes)).with_fields(masks=masks)
    masked = ROIMasker().fit_transform(bunch)
    assert masked.images.redraws
    first = masked.images.redraw(3)
    np.testing.assert_array_equal(slices_of(first), slices_of(bunch.images.redraw(3)))
    assert (slices_of(first) != slices_of(masked.images.redraw(4))).any()
    part = masked[[9, 2, 5]].images.redraw(3)
    np.testing.assert_array_equal(slices_of(part), slices_of(first)[[9, 2, 5]])
    sent = pickle.loads(pickle.dumps(masked[[9, 2, 5]])).images.redraw(3)
    np.testing.assert_array_equal(slices_of(sent), slices_of(part))
    assert slices_of(masked.images).tolist() == [[3, 10, 16]] * 12  # the fixed ones are as before
    assert not plain(redraw=False).fit_transform(ImageBunch(volumes)).images.redraws
    assert not ImageBunch(volumes).images.redraws


def test_window_and_size():
    rng = np.random.default_rng(0)
    volumes = rng.uniform(-1000, 1000, (2, 6, 8, 8)).astype(np.float32)
    images = SliceSampler(6, size=8).fit_transform(volumes)
    c, w = 40, 400
    expected = 2 * np.clip((volumes - (c - w / 2)) / w, 0, 1) - 1
    np.testing.assert_allclose(images, expected, atol=1e-6)
    assert (images.dtype, images.min(), images.max()) == (np.float32, -1, 1)
    half = SliceSampler(6, size=4).fit_transform(volumes)
    np.testing.assert_allclose(half, expected.reshape(2, 6, 4, 2, 4, 2).mean(axis=(3, 5)), atol=1e-6)
    wide = SliceSampler(6, size=(8, 12)).fit_transform(volumes)
    np.testing.assert_allclose(wide[..., 2:10], expected, atol=1e-6)
    assert (wide[..., :2] == -1).all()
    assert SliceSampler(6).fit(volumes).image_shape_ == (6, 256, 256)
    kept = SliceSampler(6, window=None, size=(8, 12)).fit_transform(volumes)
    np.testing.assert_array_equal(kept[..., 0], volumes.min(axis=(2, 3))[..., None] * np.ones(8))


@pytest.fixture
def studies(tmp_path):
    """Series of different lengths: the value of a pixel is 100 row + slice, in Hounsfield units."""
    lengths = (12, 7, 20, 9)
    for row, length in enumerate(lengths):
        write_series(tmp_path / f"study {row}", numbered(4, length)[row], seed=row)
    table = pd.DataFrame({"vendor": ["GE", "Siemens"] * 2})
    return ImageBunch(SeriesFiles.from_folder(tmp_path), metadata=table), lengths


def test_series_on_disk(studies):
    bunch, lengths = studies
    images = plain().fit_transform(bunch)
    assert images.fields == ("metadata",)
    for row, length in enumerate(lengths):
        assert slices_of(images[[row]])[0].tolist() == [int((part + 0.5) * length / 3) for part in range(3)]
        drawn = slices_of(images.images.redraw(5)[[row]])[0]
        assert 0 <= drawn.min() < drawn.max() < length
    sampler = plain(how="random", random_state=0).fit(bunch)
    chosen = slices_of(sampler.transform(bunch))
    np.testing.assert_array_equal(slices_of(sampler.transform(bunch[[3, 1]])), chosen[[3, 1]])
    sent = pickle.loads(pickle.dumps(bunch[[3, 1]]))
    np.testing.assert_array_equal(slices_of(sampler.transform(sent)), chosen[[3, 1]])


def test_a_cache_keeps_the_fixed_slices(studies, tmp_path):
    images = plain().fit_transform(studies[0])
    cached = cache_bunch(images, tmp_path / "cache")
    np.testing.assert_array_equal(np.asarray(cached), np.asarray(images))
    assert not cached.images.redraws
    cache_bunch(plain(how="center").fit_transform(studies[0]), tmp_path / "cache")
    cache_bunch(plain().fit_transform(ImageBunch(numbered())), tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_as_the_first_of_several_transformers(studies):
    images = SliceSampler(size=16).fit_transform(studies[0])
    matched = HistogramMatcher(n_quantiles=3, percentiles=(0, 100)).fit_transform(images)
    assert np.asarray(matched).shape == (4, 3, 16, 16)


@pytest.mark.parametrize(
    ("options", "X", "message"),
    [
        ({}, np.zeros((4, 8, 8)), r"must hold volumes \(n, n_slices, H, W\)"),
        ({}, np.zeros((0, 4, 8, 8)), "X has 0 rows"),
        ({"window": (40, 0)}, np.zeros((2, 4, 8, 8)), "positive width"),
        ({"window": (40, 400, 3)}, np.zeros((2, 4, 8, 8)), r"window must be \(center, width\) or None"),
        ({"output_range": (1, 1)}, np.zeros((2, 4, 8, 8)), "output_range must be two different"),
        ({"size": (1, 2, 3)}, np.zeros((2, 4, 8, 8)), "size must be"),
    ],
)
def test_what_is_refused(options, X, message):
    with pytest.raises(ValueError, match=message):
        SliceSampler(**options).fit(X)


def test_too_few_slices_and_wrong_sizes(studies):
    with pytest.raises(ValueError, match="row 1 has 7 slices, fewer than n_slices=8"):
        np.asarray(plain(n_slices=8).fit_transform(studies[0]))
    with pytest.raises(ValueError, match="row 0 has 20 slices, fewer than n_slices=21"):
        plain(n_slices=21).fit_transform(numbered())


def test_the_head_scan_of_a_real_study(real_data, tmp_path):
    source = real_data / "dicom_multivendor"
    table = pd.read_csv(source / "metadata.csv")
    paths = [str(source / path) for path in table[(table.vendor == "GE") & (table.body_part == "HEAD")].dicom]
    paths = [path for path in paths if "/CT_" in path]
    bunch = ImageBunch(SeriesFiles([paths], uneven="allow"))
    images = np.asarray(SliceSampler().fit_transform(bunch))
    assert images.shape == (1, 3, 256, 256)
    volume = read_dicom_series(paths, window=(40, 400), output_range=(-1, 1), uneven="allow")
    fine = volume.slices(3, how="uniform")
    np.testing.assert_allclose(images[0], fine.reshape(3, 256, 2, 256, 2).mean(axis=(2, 4)), atol=1e-5)
    assert images.min() == -1
    assert images.max() == 1
