import pickle

import cv2
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.datasets import ArtifactTransplant, make_chest_phantoms, make_ecg
from sklearn_shortcuts.images._sources import RowSource


class Lazy(RowSource):
    def __init__(self, images):
        self.array = images

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return self.array.dtype

    def _read(self, rows):
        return self.array[rows]


def donors_and_rows(n_donors=1, shape=(224, 224), dtype=np.float64):
    rng = np.random.default_rng(0)
    masks = np.zeros((n_donors, *shape[-2:]))
    for number in range(n_donors):
        masks[number, 60 + 5 * number : 90 + 5 * number, 100:160] = 1
    scale = 255 if dtype == np.uint8 else 1
    donors, X = (scale * rng.random((n, *shape)) for n in (n_donors, 5))
    return donors.astype(dtype), masks, X.astype(dtype)


def test_the_blend_is_that_of_the_formula():
    donors, masks, X = donors_and_rows()
    opacity = cv2.GaussianBlur(masks[0], (41, 41), 5)
    opacity /= opacity.max()
    opacity[opacity < 1 / 64] = 0
    attacked = ArtifactTransplant(random_state=0).fit(donors, masks=masks).transform(X)
    np.testing.assert_allclose(np.asarray(attacked), X * (1 - opacity) + donors * opacity, atol=1e-12)
    np.testing.assert_array_equal(attacked.artifact_masks, np.broadcast_to(opacity > 0, X.shape))
    np.testing.assert_array_equal(attacked.twin, X)
    assert attacked.artifact.tolist() == [1] * 5


def test_without_blur_the_border_is_hard():
    donors, masks, X = donors_and_rows(shape=(3, 64, 200), dtype=np.uint8)
    attacked = ArtifactTransplant(blur=0).fit(donors, masks=masks).transform(X)
    np.testing.assert_array_equal(np.asarray(attacked), np.where(masks[:, None] > 0, donors, X))
    assert attacked.dtype == np.uint8


def test_opacities_are_scaled_to_a_maximum_of_one():
    donors, masks, X = donors_and_rows()
    faint = ArtifactTransplant(random_state=0).fit(donors, masks=0.2 * masks).transform(X)
    full = ArtifactTransplant(random_state=0).fit(donors, masks=masks).transform(X)
    np.testing.assert_allclose(np.asarray(faint), np.asarray(full), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_rows_are_unchanged_outside_the_mask(dtype):
    donors, masks, X = donors_and_rows(4, dtype=dtype)
    before = X.copy()
    attacked = ArtifactTransplant(random_state=1).fit(donors, masks=masks).transform(X)
    np.testing.assert_array_equal(np.asarray(attacked)[~attacked.artifact_masks], X[~attacked.artifact_masks])
    assert (np.asarray(attacked) != X)[attacked.artifact_masks].mean() > 0.9
    np.testing.assert_array_equal(X, before)


def test_a_row_has_its_donor_whatever_the_batch():
    donors, masks, X = donors_and_rows(6, (32, 32))
    masks[:, 3, 3] = 1
    transplant = ArtifactTransplant(random_state=0).fit(donors, masks=masks)
    whole = np.asarray(transplant.transform(X))
    np.testing.assert_array_equal(np.asarray(transplant.transform(X[[4, 1]])), whole[[4, 1]])
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(transplant)).transform(X)), whole)
    lazy = transplant.transform(ImageBunch(Lazy(X)))
    assert not isinstance(lazy.images.source, np.ndarray)
    np.testing.assert_array_equal(np.asarray(lazy), whole)
    other = clone(transplant).set_params(random_state=1).fit(donors, masks=masks).transform(X)
    assert (np.asarray(other) != whole).any()


def test_draws_use_every_donor_once_before_any_twice():
    donors, masks, X = donors_and_rows(3)
    donors = np.ones_like(donors) * np.array([0.2, 0.5, 0.8])[:, None, None]
    transplant = ArtifactTransplant(blur=0, random_state=0).fit(donors, masks=np.tile(masks[:1], (3, 1, 1)))
    draws = transplant.draws(X, 6)
    np.testing.assert_array_equal(np.asarray(draws[0]), np.asarray(transplant.transform(X)))
    used = np.array([np.asarray(draw)[:, 70, 120] for draw in draws])
    for row in used.T:
        assert sorted(row[:3]) == sorted(row[3:]) == [0.2, 0.5, 0.8]
    with pytest.raises(ValueError, match="n_draws"):
        transplant.draws(X, 0)


def test_donors_without_an_artifact_are_left_out_and_counted():
    donors, masks, _ = donors_and_rows(3)
    transplant = ArtifactTransplant(random_state=0).fit(donors, masks=[None, masks[1], np.zeros((224, 224))])
    assert transplant.n_left_out_ == 2
    np.testing.assert_array_equal(np.asarray(transplant.donors_), donors[1:2])
    transplant.transform(donors[[0, 2]])  # what is left out may be attacked
    with pytest.raises(ValueError, match="none of the 3 donors has an artifact"):
        ArtifactTransplant().fit(donors, masks=np.zeros_like(masks))
    with pytest.raises(ValueError, match="donors need masks"):
        ArtifactTransplant().fit(donors)
    with pytest.raises(ValueError, match="masks has 2 rows"):
        ArtifactTransplant().fit(donors, masks=masks[:2])


def test_patients_among_the_donors_are_refused_without_their_names():
    donors, masks, X = donors_and_rows(2)
    transplant = ArtifactTransplant().fit(donors, masks=masks, groups=["Ann", "Bob"])
    with pytest.raises(ValueError, match=r"X: row 3 is of a patient who is also among the donors \(1 such") as error:
        transplant.transform(ImageBunch(X, groups=["Cid", "Dan", "Eve", "Bob", "Flo"]))
    assert "Bob" not in str(error.value)
    transplant.transform(ImageBunch(X, groups=["Cid", "Dan", "Eve", "Guy", "Flo"]))
    # A patient whose donors have no artifact gives nothing to the others.
    ArtifactTransplant().fit(donors, masks=[masks[0], None], groups=["Ann", "Bob"]).transform(
        ImageBunch(X, groups=["Cid", "Dan", "Eve", "Bob", "Flo"])
    )


def test_donors_are_not_attacked_with_themselves():
    donors, masks, X = donors_and_rows(2)
    with pytest.raises(ValueError, match="row 5 is itself a donor"):
        ArtifactTransplant().fit(donors, masks=masks).transform(np.concatenate([X, donors[1:]]))
    with pytest.raises(ValueError, match="row 0 is itself a donor"):
        ArtifactTransplant().fit_transform(donors, masks=masks)


def test_twins_are_attacked_where_there_are_any():
    train = make_chest_phantoms(10, shortcut="pacemaker", prevalence={0: 1, 1: 1}, random_state=0)
    test = make_chest_phantoms(6, shortcut="drain", prevalence={0: 1, 1: 1}, twins=True, random_state=1)
    test = test.with_fields(groups=np.arange(6))
    attacked = ArtifactTransplant(random_state=0).fit(train).transform(test)
    np.testing.assert_array_equal(attacked.twin, test.twin)
    np.testing.assert_array_equal(attacked.target, test.target)
    clean = ArtifactTransplant(random_state=0).fit(train).transform(test.with_images(test.twin, twin=None))
    np.testing.assert_array_equal(np.asarray(attacked), np.asarray(clean))


def test_signals():
    train = make_ecg(4, shortcut="amplified_beat", prevalence={0: 1, 1: 1}, random_state=0)
    test = make_ecg(3, random_state=1).with_fields(groups=None)
    attacked = ArtifactTransplant(blur=0, random_state=0).fit(train).transform(test)
    assert attacked.signal
    for row in range(3):
        pasted = [
            np.array_equal(attacked[row], np.where(mask, donor, test[row]))
            for donor, mask in zip(train, train.artifact_masks)
        ]
        assert sum(pasted) == 1
    plain = ArtifactTransplant(blur=0, random_state=0).fit(np.asarray(train), masks=train.artifact_masks)
    np.testing.assert_array_equal(np.asarray(plain.transform(np.asarray(test))), np.asarray(attacked))
    soft = ArtifactTransplant(random_state=0).fit(train).transform(test)
    assert (soft.artifact_masks.sum(axis=1) > attacked.artifact_masks.sum(axis=1)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X[:, :100], "resize them to one shape"),
        (lambda X: (255 * X).astype(np.uint8), "of type uint8, but the donors of type floating point"),
        (lambda X: np.where(np.arange(5)[:, None, None] == 2, np.nan, X), "row 2 contains NaN"),
        (lambda X: ImageBunch(X, signal=True), "X holds signals, but the donors are images"),
    ],
)
def test_bad_rows(change, message):
    donors, masks, X = donors_and_rows()
    with pytest.raises(ValueError, match=message):
        ArtifactTransplant().fit(donors, masks=masks).transform(change(X))


def test_scikit_learn_contract():
    donors, masks, X = donors_and_rows()
    transplant = ArtifactTransplant(blur=0.01, random_state=3)
    assert clone(transplant).get_params() == transplant.get_params()
    with pytest.raises(ValueError, match="not fitted"):
        transplant.transform(X)
    with pytest.raises(ValueError, match="blur"):
        ArtifactTransplant(blur=-1).fit(donors, masks=masks)
    fitted = transplant.fit(donors, masks=masks)
    assert fitted is transplant
    pipeline = make_pipeline(fitted, FunctionTransformer(lambda X: np.asarray(X).reshape(len(X), -1)))
    assert pipeline[1:].fit(X).transform(fitted.transform(X)).shape == (5, 224 * 224)
