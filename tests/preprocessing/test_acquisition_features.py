"""Each family of features measures what it says, and nothing is read beyond a batch."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.datasets import make_chest_phantoms, make_ecg
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.images._sources import RowSource
from sklearn_shortcuts.preprocessing import AcquisitionFeatures


def table(X, **options):
    features = AcquisitionFeatures(**options)
    return pd.DataFrame(features.fit_transform(X), columns=features.get_feature_names_out())


def white(sd=0.02, shape=(3, 64, 64), seed=0):
    return 0.5 + sd * np.random.default_rng(seed).standard_normal(shape)


def ramp(n=2, size=32):
    return np.broadcast_to(np.linspace(0, 1, size), (n, size, size)).copy()


# -- noise -----------------------------------------------------------------------------------------------------------
def test_noise_is_told_in_its_own_standard_deviation():
    images = white(shape=(3, 256, 256)) + ramp(3, 256)  # a ramp has no second differences
    X = ImageBunch(images)
    result = table(X, families=["noise"])
    low, high = AcquisitionFeatures().fit(X).value_range_
    for scale in (1, 2, 4):  # means of four pixels vary half as much
        expected = 0.02 / scale / (high - low)
        np.testing.assert_allclose(np.exp(result[f"noise__sd_{scale}"]), expected, rtol=0.12)
        np.testing.assert_allclose(np.exp(result[f"noise__mad_{scale}"]), expected, rtol=0.15)
        assert (result[f"noise__flat_sd_{scale}"] < result[f"noise__sd_{scale}"]).all()
        # The kernel 1, -2, 1 overlaps itself one pixel further by (-2 - 2) / (1 + 4 + 1).
        np.testing.assert_allclose(result[f"noise__correlation_{scale}"], -4 / 6, atol=0.06)


def test_noise_of_signals_and_of_tiny_rows():
    signals = white(shape=(4, 3, 2000))
    result = table(ImageBunch(signals, signal=True), families=["noise"])
    low, high = AcquisitionFeatures().fit(ImageBunch(signals, signal=True)).value_range_
    np.testing.assert_allclose(np.exp(result["noise__sd_1"]), 0.02 / (high - low), rtol=0.06)
    for n_features in (1, 2, 3, 5):
        assert np.isfinite(table(white(shape=(4, n_features)))).all(axis=None)


# -- frequency -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(32, 32), (33, 48), (20, 31)])
def test_spectrum_is_that_of_the_whole_plane(shape):
    images = np.random.default_rng(0).normal(size=(2, *shape))
    result = table(images, families=["frequency"], n_frequencies=8)
    window = np.outer(np.hanning(shape[0] + 2)[1:-1], np.hanning(shape[1] + 2)[1:-1])
    for row, image in enumerate(images):
        power = np.abs(np.fft.fft2((image - np.average(image, weights=window)) * window)) ** 2
        radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
        edges = [*np.linspace(0, 0.5, 9), 1.0]
        bands = [power[(radius > low) & (radius <= high)].sum() for low, high in pairwise(edges)]
        bands[0] += power[0, 0]
        np.testing.assert_allclose(np.exp(result.iloc[row]), np.array(bands) / power.sum(), rtol=1e-6, atol=1e-11)


def test_a_wave_stands_in_its_band():
    time = np.arange(1000) / 100
    signals = np.sin(2 * np.pi * np.array([5.0, 22.0])[:, None, None] * time)
    result = table(ImageBunch(signals, signal=True), families=["frequency"])
    assert result.iloc[0].idxmax() == "frequency__power_0.047"  # 0.05 cycles per sample
    assert result.iloc[1].idxmax() == "frequency__power_0.234"  # 0.22


def test_gain_and_offset_change_neither_spectrum_nor_content():
    images = white()
    options = {"families": ["frequency", "content"]}
    np.testing.assert_allclose(table(3 * images - 1, **options), table(images, **options), rtol=1e-6, atol=1e-8)
    assert not np.allclose(table(3 * images - 1, families=["intensity"]).iloc[:, -2:], 0)


def test_constant_images_have_no_spectrum():
    result = table(np.full((2, 16, 16), 0.1), families=["frequency", "content", "noise"])
    assert np.isfinite(result).all(axis=None)
    assert result.filter(like="frequency").nunique(axis=1).tolist() == [1, 1]
    assert (result.filter(like="content") == 0).all(axis=None)


# -- intensity, content, geometry --------------------------------------------------------------------------------------
def test_histogram():
    images = np.random.default_rng(0).integers(0, 200, (3, 16, 16)).astype(np.uint8)
    features = AcquisitionFeatures(families=["intensity"], n_bins=4).fit(images)
    result = pd.DataFrame(features.transform(images), columns=features.get_feature_names_out())
    low, high = features.value_range_
    for row, image in enumerate(images):
        counts = np.histogram(np.clip(image, low, high), bins=4, range=(low, high))[0]
        np.testing.assert_allclose(result.iloc[row, :4] ** 2, counts / image.size)
        assert result["intensity__mean"][row] == pytest.approx((image.mean() - low) / (high - low))
        assert result["intensity__gray_values"][row] == pytest.approx(np.log2(len(np.unique(image))))


def test_few_channels_have_histograms_of_their_own_and_many_share_one():
    assert table(white(shape=(2, 3, 16, 16)), families=["intensity"]).shape[1] == 3 * 21 + 1
    assert table(white(shape=(2, 5, 16, 16)), families=["intensity"]).shape[1] == 21 + 1


def test_thumbnail():
    images = white(shape=(2, 16, 16))
    cells = images.reshape(2, 8, 2, 8, 2).mean(axis=(2, 4)).reshape(2, -1)
    expected = (cells - cells.mean(axis=1, keepdims=True)) / cells.std(axis=1, keepdims=True)
    np.testing.assert_allclose(table(images, families=["content"]), expected)


def test_masks_divide_the_content():
    study = make_chest_phantoms(4, size=32, random_state=0)
    result = table(study, families=["content"])
    noise = np.random.default_rng(0).uniform(size=study.shape)
    outside = table(study.with_images(np.where(study.masks, study, noise)), families=["content"])
    pd.testing.assert_frame_equal(outside.filter(like="inside"), result.filter(like="inside"))
    assert not np.allclose(outside.filter(like="outside"), result.filter(like="outside"))
    assert set(AcquisitionFeatures(use_masks=False).fit(study).families_) == {
        "geometry",
        "intensity",
        "noise",
        "frequency",
        "content",
    }
    fitted = AcquisitionFeatures().fit(study)
    with pytest.raises(ValueError, match="row 0 has no mask, but AcquisitionFeatures was fitted on rows with masks"):
        fitted.transform(study.with_fields(masks=None))


def test_frames_are_measured():
    images = white(shape=(2, 40, 50))
    images[1, :4] = 0.0
    images[1, :, -5:] = 0.0
    result = table(images, families=["geometry"])
    assert result.loc[1, "geometry__top_frame"] == pytest.approx(4 / 40)
    assert result.loc[1, "geometry__right_frame"] == pytest.approx(5 / 50)
    assert result.loc[1, ["geometry__left_frame", "geometry__bottom_frame"]].tolist() == [0, 0]
    assert (result.loc[0].filter(like="frame") == 0).all()


def test_size_and_depth_of_the_file():
    metadata = pd.DataFrame({"Rows": [512, 1024], "BitsStored": [12, 16], "height": [170.0, 180.0], "age": [3, 4]})
    X = ImageBunch(white(shape=(2, 16, 16)), metadata=metadata)
    features = AcquisitionFeatures(families=["file", "noise"]).fit(X)
    assert features.metadata_columns_ == ["Rows", "BitsStored"]  # a height without a width is a patient's
    np.testing.assert_allclose(features.transform(X)[:, :2], np.log2(metadata[["Rows", "BitsStored"]]))
    assert features.families_[:3].tolist() == ["file", "file", "noise"]
    with pytest.raises(ValueError, match="needs metadata columns"):
        AcquisitionFeatures(families=["file"]).fit(X.with_fields(metadata=metadata[["age"]]))
    sized = X.with_fields(metadata=metadata.assign(width=[200, 300]))
    assert AcquisitionFeatures().fit(sized).metadata_columns_ == ["Rows", "BitsStored", "height", "width"]
    with pytest.raises(ValueError, match="'Rows': row 1 has nan"):
        AcquisitionFeatures().fit(X.with_fields(metadata=metadata.assign(Rows=[512, np.nan])))
    with pytest.raises(ValueError, match="no metadata column 'Rows', which was there in fit"):
        features.transform(X.with_fields(metadata=None))
    with pytest.raises(ValueError, match="no metadata column 'kernel'"):
        AcquisitionFeatures(metadata_columns=["kernel"]).fit(X)
    with pytest.raises(ValueError, match="must hold numbers"):
        AcquisitionFeatures(metadata_columns=["kernel"]).fit(
            X.with_fields(metadata=metadata.assign(kernel=["B30", "B70"]))
        )


# -- rows ------------------------------------------------------------------------------------------------------------
class Counted(RowSource):
    """Rows that remember the largest batch that was asked for."""

    def __init__(self, images):
        self.images, self.largest = images, 0

    @property
    def shape(self):
        return self.images.shape

    @property
    def dtype(self):
        return self.images.dtype

    def _read(self, rows):
        self.largest = max(self.largest, len(rows))
        return self.images[rows]


def test_no_more_than_a_batch_is_read():
    images = white(shape=(50, 16, 16))
    source = Counted(images)
    lazy = AcquisitionFeatures(batch_size=7).fit_transform(ImageBunch(source))
    assert 0 < source.largest <= 7
    np.testing.assert_allclose(lazy, AcquisitionFeatures().fit_transform(images))


def test_signals():
    study = make_ecg(6, length=400, random_state=0)
    result = table(study, use_masks=False)
    assert np.isfinite(result).all(axis=None)
    assert result.filter(like="geometry").shape[1] == 6
    assert result.filter(like="content").shape[1] == 64


def test_bad_input():
    with pytest.raises(ValueError, match="families: 'colour' is not one of"):
        AcquisitionFeatures(families=["colour"]).fit(white())
    with pytest.raises(ValueError, match="name at least one"):
        AcquisitionFeatures(families=[]).fit(white())
    with pytest.raises(ValueError, match="which families leaves out"):
        AcquisitionFeatures(families=["noise"], metadata_columns=["Rows"]).fit(white())
    broken = white()
    broken[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="the image of row 1 contains NaN"):
        AcquisitionFeatures().fit(ImageBunch(broken))
    with pytest.raises(ValueError, match="fitted on rows of shape"):
        AcquisitionFeatures().fit(white()).transform(white(shape=(3, 32, 128)))
