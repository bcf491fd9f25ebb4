import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binom
from sklearn.base import clone

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.datasets import ArtifactInjector, make_chest_phantoms, make_ecg
from sklearn_shortcuts.images._sources import RowSource

LOCAL = ["drain", "marker", "microscope", "pacemaker", "patch", "timestamp"]
GLOBAL = ["brightness", "scanner", "vignette"]


@pytest.fixture(scope="module")
def photos():
    """Noise on a gradient: unlike a radiograph, in color, and not square."""
    rng = np.random.default_rng(0)
    return (rng.integers(40, 90, (30, 3, 80, 112)) + np.arange(112)).astype(np.uint8)


@pytest.fixture(scope="module")
def radiographs():
    return make_chest_phantoms(40, random_state=0)


class Slow(RowSource):
    """Lazy source that counts how often a row is read."""

    def __init__(self, images):
        self.array = images
        self.reads = np.zeros(len(images), dtype=int)

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return self.array.dtype

    def _read(self, rows):
        self.reads[rows] += 1
        return self.array[rows]


@pytest.mark.parametrize("artifact", LOCAL)
def test_pixels_outside_the_mask_are_unchanged(artifact, photos):
    study = ArtifactInjector(artifact, random_state=0).inject(photos)
    images = np.asarray(study)
    assert images.dtype == np.uint8
    outside = np.repeat(~study.artifact_masks[:, None], 3, axis=1)
    np.testing.assert_array_equal(images[outside], photos[outside])
    np.testing.assert_array_equal(study.twin, photos)
    np.testing.assert_array_equal(study.artifact_masks.any(axis=(1, 2)), study.artifact == 1)
    assert 0 < study.artifact.mean() < 1
    for row in np.flatnonzero(study.artifact):
        changed = (images[row] != photos[row]).any(axis=0)
        assert changed[study.artifact_masks[row]].mean() > 0.8


@pytest.mark.parametrize("artifact", GLOBAL)
def test_artifacts_of_the_whole_image(artifact, photos):
    study = ArtifactInjector(artifact, random_state=0).inject(photos)
    np.testing.assert_array_equal(study.artifact_masks.all(axis=(1, 2)), study.artifact == 1)
    np.testing.assert_array_equal(study.artifact_masks.any(axis=(1, 2)), study.artifact == 1)
    absent = study.artifact == 0
    np.testing.assert_array_equal(np.asarray(study)[absent], photos[absent])


def test_brightness_is_a_blend_with_white(photos):
    images = ArtifactInjector("brightness", probability=1, strength=1.5).fit_transform(photos)
    assert np.abs(images - (photos + 0.3 * (255 - photos.astype(float)))).max() <= 0.5 + 1e-4  # rounded to integers


def test_microscope_leaves_a_disk():
    study = ArtifactInjector("microscope", probability=1, random_state=0).inject(np.ones((8, 101, 101)))
    row, column = np.ogrid[-50:51, -50:51]
    for image in study:
        radius = np.sqrt(image.sum() / np.pi)  # of a disk of this area; its ends may be cut off by the image
        assert 46 < radius < 60
        assert (image[np.hypot(row, column) < 47] == 1).all()
        assert (image[np.hypot(row, column) > 59] == 0).all()


def test_patch_is_a_constant_square():
    study = ArtifactInjector("patch", probability=1).inject(np.zeros((2, 100, 100)))
    rows, columns = np.nonzero(study.artifact_masks[0])
    assert np.ptp(rows) == np.ptp(columns) == 7
    assert len(rows) == 64
    np.testing.assert_allclose(study[0][rows, columns], 0.8, rtol=1e-6)


def test_what_happens_to_an_image_does_not_depend_on_its_batch(radiographs):
    injector = ArtifactInjector("drain", random_state=0).fit(radiographs)
    whole = injector.transform(radiographs)
    order = np.random.default_rng(0).permutation(40)[:17]
    part = injector.transform(radiographs[order])
    np.testing.assert_array_equal(np.asarray(part), np.asarray(whole)[order])
    np.testing.assert_array_equal(part.artifact_masks, whole.artifact_masks[order])
    again = ArtifactInjector("drain", random_state=0).inject(radiographs)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(whole))
    other = ArtifactInjector("drain", random_state=1).inject(radiographs)
    assert (other.artifact != whole.artifact).any()


def test_a_higher_probability_only_adds_artifacts(radiographs):
    rare, often = (
        ArtifactInjector("marker", probability=share, random_state=0).inject(radiographs) for share in (0.3, 0.7)
    )
    assert (rare.artifact <= often.artifact).all()
    assert rare.artifact.sum() < often.artifact.sum()
    both = rare.artifact == 1
    np.testing.assert_array_equal(np.asarray(rare)[both], np.asarray(often)[both])


@pytest.mark.parametrize("labels", [np.array([0, 1]), np.array(["normal", "sick"])])
def test_probability_per_class(labels):
    X = np.random.default_rng(0).random((600, 16, 16), dtype=np.float32)
    y = labels[np.arange(600) % 3 // 2]
    shares = {labels[0].item(): 0.1, labels[1].item(): 0.8}
    injector = ArtifactInjector("patch", probability=shares, random_state=0)
    study = injector.inject(X, y)
    for label, share in shares.items():
        low, high = binom.interval(0.9999, (y == label).sum(), share)
        assert low <= study.artifact[y == label].sum() <= high
    np.testing.assert_array_equal(study.target, y)
    np.testing.assert_array_equal(injector.fit_transform(X, y), np.asarray(study))
    np.testing.assert_array_equal(injector.fit_transform(X, pd.Series(y, index=np.arange(600) + 7)), np.asarray(study))
    np.testing.assert_array_equal(np.asarray(injector.transform(ImageBunch(X, target=y))), np.asarray(study))
    with pytest.raises(ValueError, match="the classes are needed"):
        injector.transform(X)
    with pytest.raises(ValueError, match="no value for class"):
        injector.inject(X, np.where(y == labels[0], y, "other"))


def test_scikit_learn_contract(photos):
    before = photos.copy()
    injector = ArtifactInjector("drain", probability={0: 0.5}, strength=0.5, random_state=3)
    assert clone(injector).get_params() == injector.get_params()
    with pytest.raises(ValueError, match="not fitted"):
        ArtifactInjector().transform(photos)
    plain = clone(injector).set_params(probability=0.5)
    fitted = plain.fit(photos)
    assert fitted is plain
    np.testing.assert_array_equal(plain.transform(photos), clone(plain).fit_transform(photos))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(plain)).transform(photos), plain.transform(photos))
    np.testing.assert_array_equal(photos, before)
    with pytest.raises(ValueError, match="images of shape"):
        plain.transform(photos[:, :1])


def test_fields_travel_along(radiographs):
    study = ArtifactInjector("drain", random_state=0).inject(radiographs)
    assert set(study.fields) == {*radiographs.fields, "twin"}
    np.testing.assert_array_equal(study.target, radiographs.target)
    assert study.metadata.equals(radiographs.metadata)
    part = study[[3, 1]]
    np.testing.assert_array_equal(part.twin, np.asarray(radiographs)[[3, 1]])


def test_a_drain_leaves_the_lungs(radiographs):
    study = ArtifactInjector("drain", probability=1, random_state=0).inject(radiographs)
    assert ((study.artifact_masks & ~study.masks).sum((1, 2)) >= 8).all()
    assert ((study.artifact_masks & study.masks).sum((1, 2)) >= 8).all()


@pytest.mark.parametrize("artifact", ["drain", "pacemaker"])
def test_masks_anchor_the_artifact(artifact):
    X = np.random.default_rng(0).random((10, 64, 64))
    low = np.zeros((10, 64, 64))
    low[:, 40:60, 8:28] = low[:, 40:60, 36:56] = 1
    anchored = ArtifactInjector(artifact, probability=1, random_state=0).inject(X, masks=low)
    free = ArtifactInjector(artifact, probability=1, random_state=0).inject(X)
    height = [np.mean(np.nonzero(mask)[0]) for study in (anchored, free) for mask in study.artifact_masks]
    assert min(height[:10]) > max(height[10:])
    # A row without a mask, or with an empty one, is like a row of a bunch without masks.
    partly = ArtifactInjector(artifact, probability=1, random_state=0).inject(X, masks=[None, *low[1:9], 0 * low[0]])
    np.testing.assert_array_equal(partly[0], free[0])
    np.testing.assert_array_equal(partly[9], free[9])
    np.testing.assert_array_equal(partly[1], anchored[1])
    assert partly.has_mask.tolist() == [False] + [True] * 9
    one_lung = low.copy()
    one_lung[:, :, 32:] = 0
    study = ArtifactInjector("drain", probability=1, random_state=0).inject(X, masks=one_lung)
    assert not study.artifact_masks[:, :, 32:].any()


def test_lungs_that_fill_the_image_still_get_a_visible_drain():
    X = np.random.default_rng(0).random((12, 96, 96))
    masks = np.zeros((12, 96, 96), dtype=bool)
    masks[:, 5:70, 0:44] = masks[:, 5:70, 52:96] = True
    study = ArtifactInjector("drain", probability=1, random_state=0).inject(X, masks=masks)
    assert ((study.artifact_masks & ~masks).sum((1, 2)) >= 8).all()


def test_lazy_sources_stay_lazy(radiographs):
    source = Slow(np.asarray(radiographs))
    study = ArtifactInjector("drain", random_state=0).inject(ImageBunch(source, masks=radiographs.masks))
    assert (source.reads == 1).all()
    expected = ArtifactInjector("drain", random_state=0).inject(np.asarray(radiographs), masks=radiographs.masks)
    np.testing.assert_array_equal(np.asarray(study[5:9]), np.asarray(expected)[5:9])
    assert source.reads.sum() == 40 + 4
    np.testing.assert_array_equal(np.asarray(study.artifact_masks), expected.artifact_masks)
    np.testing.assert_array_equal(np.asarray(study.twin), np.asarray(radiographs))
    copy = pickle.loads(pickle.dumps(study[2:6]))
    np.testing.assert_array_equal(np.asarray(copy), np.asarray(expected)[2:6])


def test_float64_keeps_its_precision_outside_the_mask():
    X = np.random.default_rng(0).random((4, 40, 40))
    study = ArtifactInjector("patch", probability=1, random_state=0).inject(X)
    np.testing.assert_array_equal(np.asarray(study)[~study.artifact_masks], X[~study.artifact_masks])


def test_value_range():
    X = np.random.default_rng(0).integers(-1000, 2000, (6, 40, 40)).astype(np.int16)
    with pytest.raises(ValueError, match="int16 have no usual range"):
        ArtifactInjector().fit(X)
    images = ArtifactInjector("patch", probability=1, value_range=(-1000, 3000)).fit_transform(X)
    assert images.dtype == np.int16
    np.testing.assert_array_equal(images[:, 37, 37], 2200)
    with pytest.raises(
        ValueError, match=r"row 2 has values from 0\.0 to 7\.0, outside the value range from 0\.0 to 1\.0"
    ):
        ArtifactInjector().fit_transform(np.stack([np.zeros((16, 16))] * 2 + [np.eye(16) * 7]))
    with pytest.raises(ValueError, match="row 0 contains NaN"):
        ArtifactInjector().fit_transform(np.full((1, 16, 16), np.nan))


@settings(max_examples=30, deadline=None)
@given(
    artifact=st.sampled_from(LOCAL + GLOBAL),
    height=st.integers(16, 90),
    width=st.integers(16, 90),
    channels=st.sampled_from([None, 1, 3, 4]),
    dtype=st.sampled_from(["uint8", "uint16", "float32", "float64"]),
    strength=st.floats(0.05, 10),
    scale=st.floats(0.05, 10),
    seed=st.integers(0, 2**32 - 1),
    n_boxes=st.integers(0, 2),
)
def test_any_parameters(artifact, height, width, channels, dtype, strength, scale, seed, n_boxes):
    rng = np.random.default_rng(seed)
    shape = (2, height, width) if channels is None else (2, channels, height, width)
    X = rng.random(shape)
    X = X.astype(dtype) if "float" in dtype else (X * np.iinfo(dtype).max).astype(dtype)
    masks = np.zeros((2, height, width))
    for _ in range(n_boxes):
        top, left = rng.integers(height), rng.integers(width)
        masks[:, top : top + rng.integers(1, height), left : left + rng.integers(1, width)] = 1
    injector = ArtifactInjector(
        artifact, probability=1, strength=strength, scale=1 if artifact in GLOBAL else scale, random_state=seed
    )
    study = injector.inject(X, masks=masks)
    images = np.asarray(study)
    assert images.shape == X.shape
    assert images.dtype == X.dtype
    assert images.min() >= 0
    assert images.max() <= (1 if "float" in dtype else np.iinfo(dtype).max)
    outside = np.broadcast_to(~study.artifact_masks if channels is None else ~study.artifact_masks[:, None], X.shape)
    np.testing.assert_array_equal(images[outside], X[outside])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"artifact": "tube"}, "artifact"),
        ({"probability": 1.2}, "probability"),
        ({"probability": {0: -1}}, "probability of class 0"),
        ({"strength": 0}, "strength"),
        ({"artifact": "brightness", "scale": 2}, "scale has no meaning"),
        ({"text": "L"}, "text has no meaning"),
        ({"artifact": "marker", "text": ""}, "not blank"),
        ({"value_range": (1, 0)}, "black below white"),
        ({"value_range": (1,)}, "must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ArtifactInjector(**arguments).fit(np.zeros((1, 16, 16)))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((4, 16)), "images must have shape"),
        (np.zeros((4, 8, 8)), "at least 16 x 16"),
        (np.zeros((4, 16, 16), bool), "dtype bool"),
        (ImageBunch(np.zeros((4, 2, 30)), signal=True), "signals"),
    ],
)
def test_bad_images(X, message):
    with pytest.raises(ValueError, match=message):
        ArtifactInjector().fit(X)


def test_a_row_that_cannot_be_used_is_named():
    images = np.zeros((4, 16, 16))
    by_class = ArtifactInjector("patch", probability={0: 0, 1: 1})
    for y in ([0, 1, np.nan, 1], pd.Series([0, 1, pd.NA, 1], dtype="Int64")):
        with pytest.raises(ValueError, match=r"y: row 2 has no class \(1 such rows\); leave"):
            by_class.inject(images, y)
    images[3, 2, 2] = np.nan
    with pytest.raises(ValueError, match="X: row 3 contains NaN; repair"):
        ArtifactInjector("patch").inject(images)


def test_lungs_are_where_masks_are_probable():
    rng = np.random.default_rng(0)
    images = rng.random((4, 32, 32))
    left = np.broadcast_to(np.arange(32) < 16, images.shape)
    certain, probable = (
        ArtifactInjector("pacemaker", probability=1, random_state=0).inject(images, masks=masks)
        for masks in (left, np.where(left, 0.9, 0.2))
    )
    np.testing.assert_array_equal(certain.artifact_masks, probable.artifact_masks)


def test_labels_of_several_columns_are_refused():
    y = pd.DataFrame({"a": [0, 1], "b": [1, 0]})
    with pytest.raises(ValueError, match=r"shape \(n,\)"):
        ArtifactInjector(probability={0: 0, 1: 1}).inject(np.zeros((2, 16, 16)), y)


@pytest.mark.parametrize("artifact", ["drain", "pacemaker", "marker"])
def test_real_radiographs(real_data, artifact):
    folder = real_data / "cxr_age"
    table = pd.read_csv(folder / "metadata.csv", low_memory=False)
    table = table[table["mask_source"] == "v7_human"].groupby("source").head(6)
    for image_path, mask_path in zip(table["image"], table["mask"]):
        image = np.asarray(Image.open(folder / image_path).convert("L"))
        mask = np.asarray(Image.open(folder / mask_path).convert("L")) >= 200
        study = ArtifactInjector(artifact, probability=1, random_state=0).inject(image[None], masks=mask[None])
        touched = study.artifact_masks[0]
        np.testing.assert_array_equal(study[0][~touched], image[~touched])
        assert 0.0005 < touched.mean() < 0.1
        assert (touched & ~mask).sum() >= 10
        if artifact == "drain":
            assert (touched & mask).sum() >= 10


# -- electrocardiograms ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def recordings():
    return make_ecg(40, length=500, random_state=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_a_defective_lead(recordings, dtype):
    X = (np.asarray(recordings) * 1000).astype(dtype)
    study = ArtifactInjector("lead_noise", sampling_rate=100, probability=0.5, random_state=0).inject(X)
    assert study.signal
    assert study.dtype == dtype
    assert 0 < study.artifact.mean() < 1
    for row, signal in enumerate(np.asarray(study)):
        expected = X[row].copy()
        if study.artifact[row]:
            expected[1, :100] = 2 * X[row, 1, :100].max()
        np.testing.assert_array_equal(signal, expected)
        assert study.artifact_masks[row].tolist() == [
            bool(study.artifact[row]) and sample < 100 for sample in range(500)
        ]
    np.testing.assert_array_equal(study.twin, X)


def test_lead_and_duration_can_be_chosen(recordings):
    study = ArtifactInjector("lead_noise", sampling_rate=250, probability=1, lead=4, scale=1.2).inject(recordings)
    changed = np.asarray(study) != study.twin
    assert not np.delete(changed, 4, axis=1).any()
    assert (study.artifact_masks.sum(axis=1) == 300).all()


def test_integers_are_cut_off_at_their_range():
    X = np.zeros((1, 2, 300), np.int16)
    X[0, 1, 40] = 30_000
    planted = ArtifactInjector("lead_noise", sampling_rate=100, probability=1).fit_transform(X)
    assert (planted[0, 1, :100] == np.iinfo(np.int16).max).all()


def test_an_amplified_beat_has_a_mask(recordings):
    injector = ArtifactInjector("amplified_beat", sampling_rate=100, probability=1, random_state=0)
    study = injector.inject(recordings)
    gain = np.asarray(study, dtype=float) / np.asarray(recordings)
    for row in range(len(study)):
        (samples,) = study.artifact_masks[row].nonzero()
        peak = samples[len(samples) // 2]
        expected = 1 + 2 * np.clip(1 - np.abs(np.arange(500) - peak) / 30, 0, None)
        np.testing.assert_allclose(gain[row], np.broadcast_to(expected, gain[row].shape), rtol=1e-4)
    order = np.random.default_rng(1).permutation(40)[:7]
    np.testing.assert_array_equal(np.asarray(injector.transform(recordings[order])), np.asarray(study)[order])


@pytest.mark.parametrize(
    ("arguments", "X", "message"),
    [
        ({}, np.zeros((1, 12, 300)), "needs sampling_rate"),
        ({"sampling_rate": 100, "value_range": (0, 1)}, np.zeros((1, 12, 300)), "value_range has no meaning"),
        ({"sampling_rate": 100}, np.zeros((1, 12, 150)), "at least 200 samples, got 150"),
        ({"sampling_rate": 100}, np.zeros((1, 1, 300)), "lead=1, but X has 1 leads"),
        ({"sampling_rate": 100}, ImageBunch(np.zeros((1, 12, 300))), "X holds images"),
        ({"sampling_rate": 100, "text": "L"}, np.zeros((1, 12, 300)), "text has no meaning"),
    ],
)
def test_bad_recordings(arguments, X, message):
    with pytest.raises(ValueError, match=message):
        ArtifactInjector("lead_noise", **arguments).fit(X)


def test_a_recording_that_cannot_be_used_is_named(recordings):
    X = np.asarray(recordings)[:4].copy()
    X[2] = 1
    with pytest.raises(ValueError, match="row 2 has no R peak"):
        ArtifactInjector("amplified_beat", sampling_rate=100, probability=1).inject(X)
    X[3, 0, 0] = np.inf
    with pytest.raises(ValueError, match="row 3 contains NaN or inf"):
        ArtifactInjector("lead_noise", sampling_rate=100, probability=0).inject(X)


# -- attacks and presets -----------------------------------------------------------------------------------------------
def test_an_attack_reaches_every_row_once(radiographs):
    injector = ArtifactInjector("drain", probability={0: 0.1, 1: 0.9}, random_state=0)
    study = injector.inject(radiographs)
    attacked = injector.attack(study)
    assert attacked.artifact.all()
    assert attacked.artifact_masks.any(axis=(1, 2)).all()
    np.testing.assert_array_equal(attacked.twin, study.twin)
    present = study.artifact == 1
    np.testing.assert_array_equal(np.asarray(attacked)[present], np.asarray(study)[present])
    np.testing.assert_array_equal(np.asarray(injector.attack(radiographs)), np.asarray(attacked))
    twice = injector.attack(study.with_fields(twin=None))
    assert (np.asarray(twice)[present] != np.asarray(attacked)[present]).any()
    with pytest.raises(ValueError, match="not fitted"):
        ArtifactInjector("drain").attack(study)


def test_one_class_is_attacked():
    X = np.random.default_rng(0).random((600, 16, 16), dtype=np.float32)
    y = np.array(["nevus", "melanoma", "other"])[np.arange(600) % 3]
    injector = ArtifactInjector.from_preset("isic-microscope", "melanoma", random_state=0)
    study = injector.inject(X, y)
    low, high = binom.interval(0.9999, 200, 0.2)
    assert low <= study.artifact[y == "melanoma"].sum() <= high
    assert not study.artifact[y != "melanoma"].any()
    assert not injector.transform(ImageBunch(X, target=y)[y == "nevus"]).artifact.any()  # a batch may lack the class
    with pytest.raises(ValueError, match="target_class='melanom' is not among"):
        ArtifactInjector(target_class="melanom").inject(X, y)
    with pytest.raises(ValueError, match="the classes are needed"):
        ArtifactInjector(target_class="melanoma").inject(X)
    with pytest.raises(ValueError, match="leaves target_class without a meaning"):
        ArtifactInjector(target_class="melanoma", probability={"melanoma": 1}).inject(X, y)


def test_one_of_several_labels_is_attacked(recordings):
    y = np.random.default_rng(0).integers(0, 2, (40, 3))
    injector = ArtifactInjector.from_preset("ptbxl-defective-lead", "LVH", probability=1, random_state=0)
    study = injector.inject(recordings, pd.DataFrame(y, columns=["MI", "LVH", "CD"]))
    np.testing.assert_array_equal(study.artifact, y[:, 1])
    np.testing.assert_array_equal(injector.set_params(target_class=2).inject(recordings, y).artifact, y[:, 2])
    with pytest.raises(ValueError, match="not among the labels of y"):
        injector.set_params(target_class="RVH").inject(recordings, y)


@pytest.mark.parametrize(
    ("preset", "probability"),
    [
        ("isic-microscope", 0.2),
        ("hyperkvasir-timestamp", 0.1),
        ("chexpert-brightness", 0.1),
        ("ptbxl-defective-lead", 0.5),
        ("ptbxl-amplified-beat", 0.5),
    ],
)
def test_presets_can_be_planted(preset, probability, photos, recordings):
    injector = ArtifactInjector.from_preset(preset, 1, random_state=0)
    assert injector.probability == probability
    assert clone(injector).get_params() == injector.get_params()
    X = recordings if preset.startswith("ptbxl") else photos
    study = injector.inject(X, np.ones(len(X), dtype=int))
    attacked = injector.attack(study)
    assert attacked.artifact_masks.reshape(len(X), -1).any(axis=1).all()
    assert ArtifactInjector.from_preset(preset, 1, probability=0.7).probability == 0.7


def test_there_are_no_other_presets():
    with pytest.raises(ValueError, match="preset 'isic' is not known; there are"):
        ArtifactInjector.from_preset("isic", 1)
