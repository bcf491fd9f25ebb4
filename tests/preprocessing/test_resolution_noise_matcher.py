"""Resolution and noise: planted blurs and noise are found and made equal."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.preprocessing import ResolutionNoiseMatcher
from sklearn_shortcuts.preprocessing._sharpness import Spectrum, blur, flat_pixels, noise_variance


def anatomy(n, size=64, seed=0):
    """Images with the 1/f amplitudes of natural ones."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1
    images = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(n, size, size))) / frequency, (size, size))
    return images / images.std()


def study(n=24, seed=0):
    """Three scanners: sharp and quiet, soft and quiet, sharp and noisy."""
    rng = np.random.default_rng(seed + 1000)  # not that of the anatomy
    images = anatomy(3 * n, seed=seed)
    images[n : 2 * n] = [blur(image[None], 1.2**2)[0] for image in images[n : 2 * n]]
    sd = np.repeat([0.01, 0.01, 0.04], n)
    images += rng.normal(size=images.shape) * sd[:, None, None]
    return images, np.repeat(["a", "b", "c"], n)


# -- the parts ---------------------------------------------------------------------------------------------------------
def test_noise_of_white_noise_and_edges():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.3, (1, 200, 200))
    assert noise_variance(noise) == pytest.approx(0.09, rel=0.03)
    assert noise_variance(rng.normal(0, 0.3, (2, 20000))) == pytest.approx(0.09, rel=0.05)
    y, x = np.mgrid[:200, :200]
    with_edges = noise + 100 * ((y - 100) ** 2 + (x - 90) ** 2 < 3000) + 0.1 * x
    assert noise_variance(with_edges) == pytest.approx(0.09, rel=0.08)
    padded = np.zeros((1, 400, 400))
    padded[0, :200, :200] = noise
    assert noise_variance(padded) == pytest.approx(0.09, rel=0.05)  # more than half is flat
    assert noise_variance(np.ones((1, 30, 30))) == 0


@pytest.mark.parametrize("shape", [(64, 64), (48, 65), (256,)])
def test_spectrum_of_white_noise_is_flat_and_parseval_holds(shape):
    rng = np.random.default_rng(0)
    spectrum = Spectrum.of(shape)
    power = np.mean([spectrum.power(rng.normal(0, 2, (1, *shape))) for _ in range(300)], axis=0)
    np.testing.assert_allclose(power[2:], 4, rtol=0.15)
    assert spectrum.counts.sum() == sum(
        np.sqrt(sum(f**2 for f in point)) <= 0.5 + 1e-12
        for point in np.array(np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")).reshape(len(shape), -1).T
    )


def test_blur_is_gaussian():
    image = np.random.default_rng(0).normal(size=(2, 40, 50))
    np.testing.assert_allclose(
        blur(image, 2.5**2), gaussian_filter(image, (0, 2.5, 2.5), mode="reflect", truncate=8), atol=2e-4
    )
    twice = blur(blur(image, 0.3), 0.5)
    np.testing.assert_allclose(twice, blur(image, 0.8), atol=1e-12)
    np.testing.assert_allclose(blur(image, 0.7).mean(axis=(1, 2)), image.mean(axis=(1, 2)))
    assert blur(image, 0.0) is image


@pytest.mark.parametrize("noise", [(0.0, 0.0), (0.02, 0.05), (0.05, 0.02)])
@pytest.mark.parametrize("sigma", [0.4, 0.8, 1.6])
def test_a_blur_is_found_whatever_noise_and_contrast(sigma, noise):
    rng = np.random.default_rng(2)
    spectrum = Spectrum.of((64, 64))
    sharp = anatomy(60, seed=1) + noise[0] * rng.normal(size=(60, 64, 64))
    coarse = 3 * np.array([blur(image[None], sigma**2)[0] for image in anatomy(60, seed=2)])
    coarse += 3 * noise[1] * rng.normal(size=coarse.shape)
    power = [np.mean([spectrum.power(image[None]) for image in images], axis=0) for images in (sharp, coarse)]
    there, misfit = spectrum.blur_between(*power)
    back, worse = spectrum.blur_between(*power[::-1])
    assert np.sqrt(there) == pytest.approx(sigma, rel=0.07)
    assert misfit < worse
    assert back < 0.02


# -- classes -----------------------------------------------------------------------------------------------------------
def test_planted_blur_and_noise_are_found_and_made_equal():
    images, scanner = study()
    matcher = ResolutionNoiseMatcher(random_state=0).fit(images, acquisition=scanner)
    table = matcher.classes_
    assert table.loc["b", "blur"] == 0
    np.testing.assert_allclose(table.loc[["a", "c"], "blur"], 1.2, atol=0.1)
    assert table.loc["b", "noise"] == pytest.approx(0.01, rel=0.35)  # what is left of the anatomy counts too
    assert matcher.noise_ == table["blurred_noise"].max() == table.loc["b", "noise"]
    assert matcher.spectra_.shape == (3, 32)
    matched = matcher.transform(images, acquisition=scanner)
    noise = pd.Series([noise_variance(image[None]) for image in matched]).groupby(scanner).mean() ** 0.5
    np.testing.assert_allclose(noise, matcher.noise_, rtol=0.03)
    spectrum = Spectrum.of((64, 64))
    before, after = (
        pd.DataFrame([spectrum.power(image[None]) for image in some]).groupby(scanner).mean().to_numpy()
        for some in (images, matched)
    )
    low = (spectrum.frequencies > 0.03) & (spectrum.frequencies < 0.35)

    def spread(power):
        return np.ptp(np.log(power[:, low]), axis=0).max()

    assert spread(after) < 0.4 < 3 < spread(before)


def test_a_probe_of_sharpness_loses_its_sight():
    images, scanner = study(n=40)
    keep = scanner != "c"
    images, scanner = images[keep], scanner[keep]
    spectrum = Spectrum.of((64, 64))
    features = FunctionTransformer(lambda X: np.log([spectrum.power(image[None])[2:24] for image in np.asarray(X)]))
    probe = make_pipeline(features, StandardScaler(), LogisticRegression(C=0.1))
    bunch = ImageBunch(images, metadata=pd.DataFrame({"scanner": scanner}))
    assert cross_val_score(probe, bunch, scanner, cv=4).mean() > 0.97
    blind = make_pipeline(ResolutionNoiseMatcher("scanner", random_state=0), *[step for _, step in probe.steps])
    assert cross_val_score(blind, bunch, scanner, cv=4).mean() < 0.85


def test_one_of_the_two_can_be_left_alone():
    images, scanner = study(n=8)
    quiet = ResolutionNoiseMatcher(noise=False).fit(images, acquisition=scanner)
    assert (quiet.classes_["added_noise"] == 0).all()
    expected = blur(images[:1], quiet.classes_.loc["a", "blur"] ** 2)
    np.testing.assert_allclose(quiet.transform(images[:1], acquisition=["a"]), expected, atol=1e-12)
    sharp = ResolutionNoiseMatcher(resolution=False, random_state=0).fit(images, acquisition=scanner)
    assert (sharp.classes_["blur"] == 0).all()
    added = sharp.transform(images[:1], acquisition=["a"]) - images[:1]
    assert added.std() == pytest.approx(sharp.classes_.loc["a", "added_noise"], rel=0.03)
    np.testing.assert_array_equal(sharp.transform(images[-1:], acquisition=["c"]), images[-1:])


def test_noise_belongs_to_the_image():
    images, scanner = study(n=6)
    bunch = ImageBunch(images, metadata=pd.DataFrame({"scanner": scanner}))
    matcher = ResolutionNoiseMatcher("scanner", random_state=0).fit(bunch)
    lazy = matcher.transform(bunch)
    whole = np.asarray(lazy)
    np.testing.assert_array_equal(np.asarray(lazy[[7, 2]]), whole[[7, 2]])
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(lazy[3:]))), whole[3:])
    np.testing.assert_array_equal(np.asarray(matcher.transform(bunch[[4]])), whole[[4]])
    np.testing.assert_array_equal(matcher.transform(images[[4]], acquisition=["a"]), whole[[4]])
    again = ResolutionNoiseMatcher("scanner", random_state=0).fit(bunch).transform(bunch)
    np.testing.assert_array_equal(np.asarray(again), whole)
    other = ResolutionNoiseMatcher("scanner", random_state=1).fit(bunch).transform(bunch)
    assert np.abs(np.asarray(other) - whole).max() > 0.01
    assert lazy.fields == bunch.fields


def test_saturated_and_padded_pixels_get_no_noise():
    images, scanner = study(n=6)
    images[:, :, :10] = 0
    matched = ResolutionNoiseMatcher(resolution=False, random_state=0).fit_transform(images, acquisition=scanner)
    assert (matched[:, :, :9] == 0).all()
    assert (matched[:6, :, 11:] != images[:6, :, 11:]).all()
    assert flat_pixels(images)[:, :, :9].all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_data_types(dtype):
    images, scanner = study(n=6)
    images = (images * 25 + 120).clip(0, 255).astype(dtype)
    before = images.copy()
    matcher = ResolutionNoiseMatcher(random_state=0).fit(images, acquisition=scanner)
    matched = matcher.transform(images, acquisition=scanner)
    assert matched.dtype == dtype
    np.testing.assert_array_equal(images, before)


def test_channels_and_signals():
    rng = np.random.default_rng(0)
    signals = gaussian_filter(rng.normal(size=(30, 2, 256)), (0, 0, 2))
    signals[15:] = gaussian_filter(signals[15:], (0, 0, 2))
    signals += rng.normal(0, 1e-4, signals.shape)
    lead = np.repeat(["new", "old"], 15)
    bunch = ImageBunch(signals, signal=True, metadata=pd.DataFrame({"recorder": lead}))
    matcher = ResolutionNoiseMatcher("recorder", random_state=0).fit(bunch)
    assert matcher.classes_.loc["new", "blur"] == pytest.approx(2, abs=0.15)
    assert np.asarray(matcher.transform(bunch)).shape == signals.shape
    images, scanner = study(n=6)
    colors = np.stack([images, images[::-1]], axis=1)
    assert ResolutionNoiseMatcher(random_state=0).fit_transform(colors, acquisition=scanner).shape == colors.shape


# -- rows without a class ----------------------------------------------------------------------------------------------
def test_rows_by_their_own_spectrum():
    images, scanner = study()
    by_row = ResolutionNoiseMatcher(estimate="row", random_state=0).fit(images, acquisition=scanner)
    matched = by_row.transform(images)
    spectrum = Spectrum.of((64, 64))
    at_medium = np.argmin(np.abs(spectrum.frequencies - 0.2))

    def log_power(some):
        power = np.log([spectrum.power(image[None])[at_medium] for image in some])
        return pd.Series(power).groupby(scanner).mean()

    assert np.ptp(log_power(matched)) < 0.15 * np.ptp(log_power(images))
    noise = pd.Series([noise_variance(image[None]) for image in matched]).groupby(scanner).mean() ** 0.5
    np.testing.assert_allclose(noise, by_row.noise_, rtol=0.05)


def test_unknown_classes():
    images, scanner = study(n=6)
    matcher = ResolutionNoiseMatcher(random_state=0).fit(images, acquisition=scanner)
    by_row = ResolutionNoiseMatcher(estimate="row", random_state=0).fit(images, acquisition=scanner)
    with pytest.warns(UserWarning, match="rows 1, 2 of X: acquisition not seen in fit; treated by their own spectrum"):
        result = matcher.transform(images[:3], acquisition=["a", "new", None])
    np.testing.assert_array_equal(result[1:], by_row.transform(images[1:3]))
    with pytest.raises(ValueError, match="rows 1, 2 of X: acquisition not seen in fit"):
        matcher.set_params(on_unknown="error").transform(images[:3], acquisition=["a", "new", None])


def test_in_a_search():
    images, scanner = study(n=12)
    y = np.arange(36) % 2
    images[y == 1, 20:40, 20:40] += 2
    bunch = ImageBunch(images, metadata=pd.DataFrame({"scanner": scanner}))
    flat = FunctionTransformer(lambda X: np.asarray(X)[:, ::8, ::8].reshape(len(X), -1))
    pipeline = make_pipeline(ResolutionNoiseMatcher("scanner", random_state=0), flat, LogisticRegression())
    grid = {"resolutionnoisematcher__estimate": ["row", "acquisition"], "resolutionnoisematcher__noise": [True, False]}
    search = GridSearchCV(pipeline, grid, cv=KFold(2, shuffle=True, random_state=0), error_score="raise").fit(bunch, y)
    assert search.best_score_ > 0.7


@pytest.mark.parametrize(
    ("X", "acquisition", "message"),
    [
        (np.zeros((4, 30)), ["a"] * 4, "columns of a table have no neighbors"),
        (np.zeros((4, 15, 30)), ["a"] * 4, r"at least 16 pixels along every axis, got \(15, 30\)"),
        (np.zeros((4, 30, 30)), None, "knows no acquisition of the rows"),
        (np.zeros((4, 30, 30)), ["a", None, "a", "b"], "acquisition: row 1 has none"),
        (np.zeros((4, 30, 30)), ["a"] * 3, r"acquisition must have shape \(4,\)"),
        (np.zeros((4, 30, 30)), ["a"] * 4, "their resolution cannot be compared"),
        (np.full((4, 30, 30), np.nan), ["a"] * 4, "row 0 contains NaN"),
    ],
)
def test_what_is_refused(X, acquisition, message):
    with pytest.raises(ValueError, match=message):
        ResolutionNoiseMatcher().fit(X, acquisition=acquisition)
