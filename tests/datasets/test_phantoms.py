import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.datasets import make_chest_phantoms

ALL = ["age", "brightness", "drain", "marker", "microscope", "pacemaker", "patch", "scanner", "timestamp", "vignette"]
LOCAL = ["drain", "marker", "microscope", "pacemaker", "patch", "timestamp"]
ALWAYS = {0: 1, 1: 1}


@pytest.fixture(scope="module")
def drains():
    return make_chest_phantoms(300, shortcut="drain", prevalence=0.95, twins=True, random_state=0)


def assert_same(one, other):
    assert one.fields == other.fields
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    for name in one.fields:
        if name in ("metadata", "truth"):
            assert one.get(name).reset_index(drop=True).equals(other.get(name).reset_index(drop=True))
        else:
            np.testing.assert_array_equal(one.get(name), other.get(name), err_msg=name)


def auc_of_linear_and_forest(images, target, seed):
    """Cross-validated AUC, the better of a linear model and a forest."""
    X = images.reshape(len(images), -1)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=1e-4, max_iter=500))
    forest = RandomForestClassifier(60, max_features=0.05, min_samples_leaf=3, random_state=seed)
    return [
        roc_auc_score(target, cross_val_predict(model, X, target, cv=3, method="predict_proba")[:, 1])
        for model in (linear, forest)
    ]


def without_lungs(study):
    return np.where(study.masks, 0, np.asarray(study))


def test_what_comes_back():
    study, y = make_chest_phantoms(
        12, size=96, images_per_patient=3, shortcut="marker", random_state=1, return_X_y=True
    )
    assert isinstance(study, ImageBunch)
    assert study.shape == (12, 96, 96)
    assert study.image_shape == (1, 96, 96)
    assert study.dtype == np.float32
    images = np.asarray(study)
    assert images.min() >= 0
    assert images.max() <= 1
    assert study.masks.dtype == bool
    assert study.has_mask.all()
    np.testing.assert_array_equal(y, study.target)
    assert set(np.unique(y)) <= {0, 1}
    assert study.groups.tolist() == sorted(f"P{patient:06d}" for patient in range(4) for _ in range(3))
    assert study.metadata["patient_id"].tolist() == study.groups.tolist()
    np.testing.assert_array_equal(study.truth["marker"], study.artifact)
    assert set(study.truth["subgroup"]) <= {
        f"{sign} {has} marker" for sign in ("sign", "no sign") for has in ("with", "without")
    }
    assert "twin" not in study.fields


def test_the_seed_decides_everything():
    settings_ = {"shortcut": ["drain", "scanner"], "twins": True, "images_per_patient": 2}
    assert_same(*(make_chest_phantoms(9, random_state=5, **settings_) for _ in range(2)))
    one, other = (np.asarray(make_chest_phantoms(4, random_state=seed)) for seed in (5, 6))
    assert (one != other).mean() > 0.5
    unseeded = [np.asarray(make_chest_phantoms(1)) for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).any()


def test_rare_clouds_stay_finite():
    # This study draws a cloud that once overflowed; a warning would be an error here.
    images = np.asarray(make_chest_phantoms(60, size=32, class_balance=1.0, random_state=332))
    assert np.isfinite(images).all()


def test_random_state_objects():
    one = make_chest_phantoms(2, random_state=np.random.default_rng(0))
    assert_same(one, make_chest_phantoms(2, random_state=np.random.default_rng(0)))
    state = np.random.RandomState(0)
    first, second = make_chest_phantoms(2, random_state=state), make_chest_phantoms(2, random_state=state)
    assert (np.asarray(first) != np.asarray(second)).any()


@pytest.mark.parametrize("sign", ["opacity", "pneumothorax"])
def test_a_row_does_not_depend_on_the_number_of_rows(sign):
    settings_ = {"sign": sign, "shortcut": ALL, "prevalence": 0.6, "twins": True, "random_state": 3}
    longer = make_chest_phantoms(11, images_per_patient=2, **settings_)
    assert_same(longer[:5], make_chest_phantoms(5, images_per_patient=2, **settings_))


def test_a_shortcut_does_not_change_what_else_is_drawn():
    plain = make_chest_phantoms(10, random_state=2)
    both = make_chest_phantoms(10, random_state=2, shortcut=["drain", "marker"], prevalence=0.7, twins=True)
    one = make_chest_phantoms(10, random_state=2, shortcut="drain", prevalence=0.7)
    np.testing.assert_array_equal(both.twin, np.asarray(plain))
    np.testing.assert_array_equal(both.target, plain.target)
    np.testing.assert_array_equal(both.masks, plain.masks)
    np.testing.assert_array_equal(both.truth["drain"], one.truth["drain"])


@pytest.mark.parametrize("shortcut", LOCAL)
def test_twins_differ_inside_the_artifact_mask_only(shortcut):
    study = make_chest_phantoms(20, shortcut=shortcut, twins=True, random_state=0, prevalence={0: 0.5, 1: 0.5})
    images, twins, touched = np.asarray(study), study.twin, study.artifact_masks
    np.testing.assert_array_equal(images[~touched], twins[~touched])
    assert 0 < study.artifact.mean() < 1
    assert not touched[study.artifact == 0].any()
    for row in np.flatnonzero(study.artifact):
        assert 0.001 < touched[row].mean() < 0.3, row
        assert np.abs(images[row] - twins[row])[touched[row]].mean() > 0.05, row


@pytest.mark.parametrize("shortcut", sorted(set(ALL) - set(LOCAL)))
def test_shortcuts_of_the_whole_image(shortcut):
    study = make_chest_phantoms(8, shortcut=shortcut, twins=True, random_state=0, prevalence={0: 0.5, 1: 0.5})
    present = study.artifact == 1
    assert present.any()
    assert study.artifact_masks[present].all()
    assert not study.artifact_masks[~present].any()
    np.testing.assert_array_equal(np.asarray(study)[~present], study.twin[~present])
    assert (np.abs(np.asarray(study) - study.twin)[present].mean(axis=(1, 2)) > 0.01).all()


def test_the_twin_of_a_child_is_an_adult():
    study = make_chest_phantoms(6, shortcut="age", prevalence=ALWAYS, twins=True, random_state=0)
    adults = make_chest_phantoms(6, random_state=0)
    np.testing.assert_array_equal(study.twin, np.asarray(adults))
    np.testing.assert_array_equal(study.twin_masks, adults.masks)
    assert (study.masks.sum((1, 2)) < 0.8 * adults.masks.sum((1, 2))).all()
    assert (study.metadata["age"] < 10).all()
    assert (adults.metadata["age"] >= 20).all()
    assert (study.truth["child"] == 1).all()


def test_several_shortcuts():
    study = make_chest_phantoms(
        60, shortcut={"drain": {}, "marker": {"prevalence": {0: 1, 1: 0}, "text": "AP"}}, prevalence=1.0, random_state=0
    )
    np.testing.assert_array_equal(study.truth["drain"], study.target)
    np.testing.assert_array_equal(study.truth["marker"], 1 - study.target)
    assert (study.artifact == 1).all()
    assert set(study.truth["subgroup"]) == {"sign with drain", "no sign with marker"}


@pytest.mark.parametrize("prevalence", [0.95, 0.5, {0: 0.05, 1: 0.9}, {0: 1.0, 1: 0.0}])
def test_prevalence(prevalence):
    study = make_chest_phantoms(400, size=32, shortcut="brightness", prevalence=prevalence, random_state=1)
    wanted = prevalence if isinstance(prevalence, dict) else {0: 1 - prevalence, 1: prevalence}
    for label, share in wanted.items():
        rows = study.target == label
        low, high = binom.interval(0.9999, rows.sum(), share) if 0 < share < 1 else [share * rows.sum()] * 2
        assert low <= study.artifact[rows].sum() <= high


@pytest.mark.parametrize("balance", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_class_balance(balance):
    for n in (8, 100):
        target = make_chest_phantoms(n, size=32, class_balance=balance, random_state=0).target
        # In strata of four the number of positive rows can be off by one in each stratum that 1/4 does not divide.
        assert abs(target.sum() - n * balance) <= 3 * np.sqrt(max(n * balance * (1 - balance), 0)) / 2 + 1e-9


def test_images_of_a_patient_belong_together():
    study = make_chest_phantoms(
        40, images_per_patient=4, shortcut=["pacemaker", "drain"], prevalence=0.6, random_state=0
    )
    everything = study.metadata.join(study.truth).groupby("patient_id")
    for column in ("sign", "age", "sex", "pacemaker", "sign_side"):
        assert (everything[column].nunique() == 1).all(), column
    assert (everything["drain"].nunique() > 1).any()
    images = np.asarray(make_chest_phantoms(40, images_per_patient=4, random_state=0)).reshape(10, 4, -1)
    within = np.abs(images[:, 0] - images[:, 1]).mean()
    between = np.abs(images[:, 0] - np.roll(images[:, 0], 1, axis=0)).mean()
    assert 0 < within < between


@pytest.mark.parametrize("size", [32, 64, 129, 256])
def test_lungs_are_plausible(size):
    study = make_chest_phantoms(16, size=size, random_state=size)
    share = study.masks.mean(axis=(1, 2))
    assert ((share > 0.15) & (share < 0.36)).all()
    half = size // 2
    left, right = study.masks[:, :, :half].sum((1, 2)), study.masks[:, :, half:].sum((1, 2))
    assert (left > right * 0.8).all()  # the heart takes room from the lung on the right of the image
    assert not study.masks[:, 0].any()
    assert not study.masks[:, -1].any()
    images = np.asarray(study)
    assert all(image[mask].mean() < image[~mask].mean() for image, mask in zip(images, study.masks))
    assert images[:, :, 0].std() > 0


def test_the_same_patient_at_several_sizes():
    small, large = (make_chest_phantoms(5, size=size, random_state=0) for size in (64, 256))
    shrunk = large.masks.reshape(5, 64, 4, 64, 4).mean(axis=(2, 4)) > 0.5
    assert (shrunk == small.masks).mean() > 0.98
    np.testing.assert_array_equal(small.target, large.target)
    assert small.metadata.equals(large.metadata)
    assert small.truth.equals(large.truth)


@pytest.mark.parametrize("sign", ["opacity", "pneumothorax"])
def test_the_sign_stays_inside_the_lungs(sign):
    def make(contrast):
        return make_chest_phantoms(40, sign=sign, sign_contrast=contrast, class_balance=1, random_state=0)

    strong, none = make(0.5), make(0.0)
    np.testing.assert_array_equal(strong.masks, none.masks)
    difference = np.asarray(strong) - np.asarray(none)
    assert not difference[~strong.masks].any()
    assert not (strong.sign_masks & ~strong.masks).any()
    assert (strong.sign_masks.sum((1, 2)) > 8).all()
    for row in range(40):
        seen = np.abs(difference[row])
        assert seen[strong.sign_masks[row]].mean() > 4 * seen[strong.masks[row] & ~strong.sign_masks[row]].mean()
    healthy = make_chest_phantoms(40, sign=sign, sign_contrast=0.5, class_balance=0, random_state=0)
    np.testing.assert_array_equal(np.asarray(healthy), np.asarray(none))
    assert not healthy.sign_masks.any()


def test_an_opacity_is_as_high_as_asked():
    strong, none = (
        make_chest_phantoms(30, sign_contrast=contrast, class_balance=1, random_state=0) for contrast in (0.2, 0.0)
    )
    peaks = (np.asarray(strong) - np.asarray(none)).max(axis=(1, 2))
    assert (peaks <= 0.2 + 1e-6).all()
    assert np.median(peaks) > 0.18


def test_levels_of_contrast():
    levels = [0.05, 0.1, 0.2, 0.4]
    study = make_chest_phantoms(80, sign_contrast=levels, random_state=0)
    drawn = study.truth["sign_contrast"].to_numpy()
    assert set(drawn[study.target == 1]) == set(levels)
    assert set(drawn[study.target == 0]) == {0.0}


def test_the_drain_can_be_seen_outside_the_lungs(drains):
    present = drains.artifact == 1
    outside, inside = drains.artifact_masks & ~drains.masks, drains.artifact_masks & drains.masks
    assert (outside[present].sum((1, 2)) >= 8).all()
    assert (inside[present].sum((1, 2)) >= 8).all()
    change = np.where(outside, np.asarray(drains) - drains.twin, 0)
    assert (change[present].max(axis=(1, 2)) > 0.15).all()


def test_nothing_outside_the_lungs_knows_the_label_unless_there_is_a_shortcut(drains):
    plain, silhouettes = [], []
    for seed in range(3):
        study = make_chest_phantoms(300, size=32, sign_contrast=1.0, random_state=seed)
        plain += auc_of_linear_and_forest(without_lungs(study), study.target, seed)
        silhouettes += auc_of_linear_and_forest(study.masks.astype(float), study.target, seed)
    # The standard error of one AUC is 0.033.
    assert abs(np.mean(plain) - 0.5) < 0.05
    assert abs(np.mean(silhouettes) - 0.5) < 0.05
    assert max(np.abs(np.array(plain + silhouettes) - 0.5)) < 0.13
    with_drain = auc_of_linear_and_forest(without_lungs(drains), drains.target, 0)
    assert max(with_drain) > 0.7
    inside = make_chest_phantoms(300, size=32, sign_contrast=1.0, random_state=0)
    assert max(auc_of_linear_and_forest(np.where(inside.masks, np.asarray(inside), 0), inside.target, 0)) > 0.8


def test_outside_the_lungs_a_row_is_the_same_with_and_without_the_sign():
    # Stronger than any classifier: the label of the same draws is flipped.
    for sign in ("opacity", "pneumothorax"):
        sick, healthy = (
            make_chest_phantoms(12, sign=sign, class_balance=balance, random_state=4) for balance in (1.0, 0.0)
        )
        np.testing.assert_array_equal(without_lungs(sick), without_lungs(healthy))
        np.testing.assert_array_equal(sick.masks, healthy.masks)
        assert (np.asarray(sick) != np.asarray(healthy)).any(axis=(1, 2)).all()


@pytest.mark.parametrize(("dtype", "high"), [("float32", 1), ("float64", 1), ("uint8", 255), (np.uint16, 65535)])
def test_dtypes(dtype, high):
    study = make_chest_phantoms(3, dtype=dtype, shortcut="pacemaker", prevalence=ALWAYS, random_state=0, twins=True)
    assert study.dtype == np.dtype(dtype)
    assert study.twin.dtype == np.dtype(dtype)
    reference = make_chest_phantoms(3, shortcut="pacemaker", prevalence=ALWAYS, random_state=0)
    np.testing.assert_allclose(np.asarray(study) / high, np.asarray(reference), atol=0.5 / 255 + 1e-6)
    assert np.asarray(study).max() > 0.9 * high


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(32, 90),
    sign=st.sampled_from(["opacity", "pneumothorax"]),
    names=st.lists(st.sampled_from(ALL), unique=True, max_size=4),
    prevalence=st.floats(0, 1),
    contrast=st.floats(0, 1),
    strength=st.floats(0.01, 10),
    per_patient=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_parameters(size, sign, names, prevalence, contrast, strength, per_patient, seed):
    study = make_chest_phantoms(
        3,
        size=size,
        sign=sign,
        sign_contrast=contrast,
        shortcut={name: {"strength": strength} for name in names},
        prevalence=prevalence,
        images_per_patient=per_patient,
        twins=True,
        random_state=seed,
    )
    images = np.asarray(study)
    assert np.isfinite(images).all()
    assert images.min() >= 0
    assert images.max() <= 1
    assert study.masks.any(axis=(1, 2)).all()
    np.testing.assert_array_equal(images[~study.artifact_masks], study.twin[~study.artifact_masks])
    np.testing.assert_array_equal(study.artifact, study.truth["shortcut"] != "none")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shortcut": "tube"}, "'tube' is not known"),
        ({"shortcut": ["drain", "drain"]}, "twice"),
        ({"shortcut": {"drain": {"text": "L"}}}, "has no setting 'text'"),
        ({"shortcut": {"brightness": {"scale": 2}}}, "has no setting 'scale'"),
        ({"shortcut": {"drain": {"strength": 0}}}, "strength must be a number above 0"),
        ({"shortcut": {"marker": {"text": "é"}}}, "ASCII"),
        ({"shortcut": {"marker": {"text": " "}}}, "not blank"),
        ({"shortcut": {"drain": {"prevalence": 1.5}}}, "prevalence of shortcut 'drain' must be a number from 0 to 1"),
        ({"prevalence": {0: 0.5}}, "must have the keys 0"),
        ({"prevalence": {0: 0.5, 1: "x"}}, "prevalence of class 1"),
        ({"prevalence": 2}, "prevalence"),
        ({"sign_contrast": [0.1, 2]}, "sign_contrast"),
        ({"sign_contrast": []}, "sign_contrast"),
        ({"sign": "nodule"}, "sign"),
        ({"size": 8}, "size"),
        ({"n": 0}, "'n'"),
        ({"dtype": "int8"}, "dtype must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_chest_phantoms(**{"n": 2, **arguments})


def test_settings_must_be_a_dict():
    with pytest.raises(TypeError, match="give its settings as a dict"):
        make_chest_phantoms(2, shortcut={"drain": 0.9})


def test_metadata_are_what_a_hospital_would_know():
    study = make_chest_phantoms(400, size=32, shortcut=["drain", "age"], prevalence=0.5, random_state=0)
    assert list(study.metadata.columns) == ["patient_id", "age", "sex"]
    assert list(study.truth.columns) == [
        "sign",
        "sign_contrast",
        "sign_side",
        "shortcut",
        "child",
        "drain",
        "subgroup",
    ]
    view = study[[7, 3]]
    assert view.truth.equals(study.truth.iloc[[7, 3]])
    table = study.metadata
    known = np.column_stack([table["age"], table["age"] < 15, table["sex"] == "F"]).astype(float)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    scores = cross_val_predict(model, known, study.target, cv=5, method="predict_proba")[:, 1]
    # Under no association the standard deviation is 0.029.
    assert abs(roc_auc_score(study.target, scores) - 0.5) < 0.1


def test_a_study_can_be_pickled():
    study = make_chest_phantoms(4, shortcut="drain", twins=True, random_state=0)
    assert_same(study, pickle.loads(pickle.dumps(study)))
