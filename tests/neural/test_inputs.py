"""Images of any rank and type as X."""

import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.neural import ECGResNet, NeuralImageClassifier, SmallCNN


def model(**parameters):
    return NeuralImageClassifier(
        **{"module": SmallCNN(width=4, depth=2), "max_epochs": 2, "batch_size": 16, "random_state": 0, **parameters}
    )


FORMS = {
    "flat": lambda images: images.reshape(len(images), -1),
    "gray": lambda images: images,
    "one channel": lambda images: images[:, None],
    "tensor": lambda images: torch.from_numpy(images),
    "list": list,
    "frame": lambda images: pd.DataFrame(images.reshape(len(images), -1)),
    "bunch": ImageBunch,
    "bunch with channel": lambda images: ImageBunch(images[:, None]),
    "fortran": np.asfortranarray,
    "read-only": lambda images: np.frombuffer(images.tobytes()).reshape(images.shape),
}


@pytest.mark.parametrize("fit_form", FORMS)
@pytest.mark.filterwarnings("ignore:X (has|does not have).*feature names")
def test_the_same_images_in_any_form_give_the_same_classifier(spots, fit_form):
    images, codes = spots(n=32)
    expected = model(image_shape=(1, 16, 16)).fit(images, codes).predict_proba(images)
    fitted = model(image_shape=(1, 16, 16)).fit(FORMS[fit_form](images), codes)
    assert fitted.n_features_in_ == 256
    for form in FORMS.values():
        np.testing.assert_array_equal(fitted.predict_proba(form(images)), expected)


def test_memory_maps_are_read_in_place(spots, tmp_path):
    images, codes = spots(n=32)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    expected = model().fit(images, codes).predict_proba(images)
    np.testing.assert_array_equal(model().fit(mapped, codes).predict_proba(mapped), expected)
    np.testing.assert_array_equal(model().fit(ImageBunch(mapped), codes).predict_proba(ImageBunch(mapped)), expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_unsigned_integers_are_scaled_by_the_largest_of_their_type(spots, dtype):
    images, codes = spots(n=32)
    largest = np.iinfo(dtype).max
    whole = (images.clip(0, 1) * largest).astype(dtype)
    as_floats = (whole / largest).astype(np.float32)
    fitted = model().fit(whole, codes)
    np.testing.assert_allclose(
        fitted.predict_proba(whole), model().fit(as_floats, codes).predict_proba(as_floats), rtol=2e-4
    )
    np.testing.assert_allclose(fitted.predict_proba(as_floats), fitted.predict_proba(whole), rtol=1e-5)
    with pytest.warns(UserWarning, match=f"fitted on {dtype} images, which it divides by {largest}"):
        fitted.predict(whole.astype(float))


@pytest.mark.parametrize("dtype", [">u2", ">f4", ">i2"])
def test_byte_order_does_not_matter(spots, dtype):
    images, codes = spots(n=16)
    given = (images * 100).astype(dtype)
    native = given.astype(given.dtype.newbyteorder("="))
    expected = model().fit(native, codes).predict_proba(native)
    np.testing.assert_array_equal(model().fit(given, codes).predict_proba(given), expected)
    np.testing.assert_array_equal(model().fit(ImageBunch(given), codes).predict_proba(given), expected)


def test_feature_names_are_those_of_the_table(spots):
    images, codes = spots(n=16, size=4)
    frame = pd.DataFrame(images.reshape(16, -1), columns=[f"pixel {i}" for i in range(16)])
    fitted = model().fit(frame, codes)
    assert fitted.feature_names_in_.tolist() == frame.columns.tolist()
    assert fitted.image_shape_ == (1, 1, 16)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame[frame.columns[::-1]])
    assert not hasattr(fitted.fit(images, codes), "feature_names_in_")


@pytest.mark.parametrize("as_bunch", [False, True])
def test_signals(as_bunch):
    rng = np.random.default_rng(0)
    codes = np.arange(32) % 2
    signals = rng.normal(0, 0.3, (32, 3, 64)) + codes[:, None, None] * np.sin(np.arange(64) / 3)
    X = ImageBunch(signals, signal=True) if as_bunch else signals
    shape = None if as_bunch else (3, 64)
    fitted = model(module=ECGResNet(width=8), image_shape=shape, max_epochs=6, lr=0.01).fit(X, codes)
    assert fitted.image_shape_ == (3, 64)
    assert fitted.score(X, codes) == 1.0
    np.testing.assert_array_equal(fitted.predict_proba(X), fitted.predict_proba(signals.reshape(32, -1)))


def test_volumes_with_slices_as_channels(spots):
    images, codes = spots(n=32)
    volumes = np.stack([images, images[:, ::-1], 1 - images], axis=1)
    assert model().fit(volumes, codes).image_shape_ == (3, 16, 16)


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        (np.zeros((4, 2, 2, 2, 2)), {}, "slices of a volume as channels"),
        (np.zeros((4, 10)), {"image_shape": (1, 3, 3)}, r"image_shape=\(1, 3, 3\) needs 9 features, but X has 10"),
        (np.zeros((4, 3, 4)), {"image_shape": (1, 4, 3)}, r"image_shape=\(1, 4, 3\), but X has images of shape"),
        (np.zeros((4, 10)), {"image_shape": (10,)}, r"image_shape must be \(C, H, W\)"),
        ([np.zeros((3, 3)), np.zeros((3, 3)), np.zeros((3, 4))], {}, "image 2 has shape"),
        (np.full((4, 3, 3), np.nan), {}, "NaN"),
        (np.full((4, 9), np.inf), {}, "infinity"),
        (np.zeros((0, 3, 3)), {}, "0 sample"),
        (ImageBunch(np.zeros((0, 3, 3))), {}, "0 rows"),
        (np.zeros((4, 3, 3), complex), {}, "Complex"),
        (np.zeros((5, 3, 3)), {}, "inconsistent numbers of samples"),
    ],
)
def test_wrong_images_are_refused(X, parameters, message):
    with pytest.raises(ValueError, match=message):
        model(**parameters).fit(X, [0, 1, 0, 1][: len(X) or 4])


def test_lazily_read_values_that_are_not_finite_name_their_row(spots):
    images, codes = spots(n=32)
    fitted = model().fit(ImageBunch(images), codes)
    images[13, 4, 4] = np.nan
    with pytest.raises(ValueError, match="NaN: row 13 has values that are not finite"):
        model().fit(ImageBunch(images), codes)
    with pytest.raises(ValueError, match="row 3 "):
        fitted.predict(ImageBunch(images)[10:])


def test_other_images_than_those_of_the_fit_are_refused(spots):
    images, codes = spots(n=32)
    fitted = model().fit(images[:, :, :8], codes)
    with pytest.raises(ValueError, match="X has 256 features, but NeuralImageClassifier is expecting 128 features"):
        fitted.predict(images)
    with pytest.raises(ValueError, match="X has 256 features"):
        fitted.predict(ImageBunch(images))
    for turned in (images[:, :8], ImageBunch(images[:, :8])):
        with pytest.raises(ValueError, match=r"shape \(1, 8, 16\), but NeuralImageClassifier was fitted on"):
            fitted.predict(turned)


@pytest.mark.parametrize("wrap", [np.asarray, ImageBunch])
def test_channels_at_the_end_are_noticed(wrap):
    images = wrap(np.zeros((4, 12, 16, 3)))
    with pytest.raises(ValueError, match=r"12 channels of 16 x 3 pixels.*np.moveaxis\(X, -1, 1\)"):
        model().fit(images, [0, 1, 0, 1])
    assert model(image_shape=(12, 16, 3), max_epochs=1).fit(images, [0, 1, 0, 1]).image_shape_ == (12, 16, 3)
    assert model(max_epochs=1).fit(wrap(np.zeros((4, 3, 16, 3))), [0, 1, 0, 1]).image_shape_ == (3, 16, 3)


def test_an_image_that_is_not_finite_is_named():
    images = np.zeros((4, 8, 8))
    images[2, 3, 3] = np.nan
    with pytest.raises(ValueError, match=r"contains NaN.* Row 2 "):
        model().fit(images, [0, 1, 0, 1])


def test_paths_point_to_the_readers():
    with pytest.raises(ValueError, match="could not convert") as caught:
        model().fit([["a.png"], ["b.png"]], [0, 1])
    assert "ImageFiles" in caught.value.__notes__[0]


def test_other_units_than_in_fit_are_warned_of(spots):
    images, codes = spots()
    fitted = model(max_epochs=1).fit(images * 255, codes)
    with pytest.warns(UserWarning, match="X holds uint8 images, which are divided by 255") as caught:
        fitted.predict((images * 100).clip(0, 255).astype(np.uint8))
    assert caught[0].filename == __file__
    model(max_epochs=1).fit(images.clip(0, 1), codes).predict((images * 100).clip(0, 255).astype(np.uint8))


def test_networks_for_signals_say_how_to_give_them():
    with pytest.raises(ValueError, match="signal=True"):
        NeuralImageClassifier(ECGResNet((1,), width=4)).fit(np.zeros((4, 3, 40)), [0, 1, 0, 1])
