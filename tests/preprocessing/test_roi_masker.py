"""ROIMasker on arrays, bunches, pipelines and searches."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.preprocessing import ROIMasker

KEEPS = ["roi", "background", "all", "mask", "other_roi"]
FILLS = ["zero", 3.5, "mean", "noise", "shuffle", "blur"]


def above_row_mean(X):
    """A segmenter: at least one pixel of every row and line is inside."""
    return X.mean(axis=-1, keepdims=True) <= X


def make_rows(n=20, channels=None, height=16, width=14, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    shape = (n, height, width) if channels is None else (n, channels, height, width)
    images = (rng.normal(size=shape) * 20 + 100).astype(dtype)
    masks = np.zeros((n, height, width), dtype=bool)
    for mask, (y, x) in zip(masks, rng.integers(1, 6, (n, 2))):
        mask[y : y + 7, x : x + 6] = True
        mask[y, x] = False
    return images, masks


# -- the three ways to give masks ------------------------------------------------------------------------------------
def test_no_masks_is_an_error_that_names_the_ways():
    images, _ = make_rows()
    for X in (images, ImageBunch(images)):
        with pytest.raises(ValueError, match=r"(?s)fit\(X, masks=.*ImageBunch\(X, masks=.*segmenter.*on_missing"):
            ROIMasker().fit(X)


def test_masks_from_argument_bunch_and_segmenter_agree():
    images, _ = make_rows()
    masks = above_row_mean(images)
    expected = np.where(masks, images, 0)
    np.testing.assert_array_equal(ROIMasker().fit_transform(images, masks=masks), expected)
    np.testing.assert_array_equal(ROIMasker(segmenter=above_row_mean).fit_transform(images), expected)
    for masker, bunch in (
        (ROIMasker(), ImageBunch(images, masks=masks)),
        (ROIMasker(segmenter=above_row_mean), ImageBunch(images)),
    ):
        result = masker.fit(bunch).transform(bunch)
        assert isinstance(result, ImageBunch)
        np.testing.assert_array_equal(np.asarray(result), expected)
        np.testing.assert_array_equal(np.asarray(result.get("masks")), masks)


def test_argument_goes_before_field_and_field_before_segmenter():
    images, masks = make_rows()
    other = np.roll(masks, 3, axis=2)
    bunch = ImageBunch(images, masks=masks)
    masker = ROIMasker(segmenter=above_row_mean)
    np.testing.assert_array_equal(np.asarray(masker.fit_transform(bunch)), np.where(masks, images, 0))
    result = masker.fit_transform(bunch, masks=other)
    np.testing.assert_array_equal(np.asarray(result), np.where(other, images, 0))
    np.testing.assert_array_equal(result.masks, other)
    np.testing.assert_array_equal(masker.fit_transform(images, masks=other), np.where(other, images, 0))


class Threshold(BaseEstimator):
    """A segmenter that has to be fitted."""

    def fit(self, X, y=None):
        self.level_ = float(np.mean(X))
        return self

    def predict(self, X):
        return np.where(self.level_ < X, 0.9, 0.2)[:, None]  # soft masks with a channel


def test_fitted_estimator_as_segmenter():
    images, _ = make_rows()
    fitted = Threshold().fit(images)
    expected = np.where(images > fitted.level_, images, 0)
    np.testing.assert_array_equal(ROIMasker(segmenter=fitted).fit_transform(images), expected)
    with pytest.raises(NotFittedError, match="FrozenEstimator"):
        clone(ROIMasker(segmenter=fitted)).fit(images)
    frozen = clone(ROIMasker(segmenter=FrozenEstimator(fitted)))
    np.testing.assert_array_equal(frozen.fit_transform(images), expected)


@pytest.mark.parametrize("lazy", [False, True])
def test_segmenter_of_another_size_is_an_error(lazy):
    images, _ = make_rows(channels=3)
    X = ImageBunch(images) if lazy else images
    masker = ROIMasker(segmenter=lambda X: X[..., :-1] > 0)
    with pytest.raises(ValueError, match=r"the segmenter gave masks of shape .*not \(\d+, 16, 14\)"):
        np.asarray(masker.fit(X).transform(X))


# -- what is kept ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"margin": 2}, {"margin": -1, "metric": "cityblock"}, {"shape": "box"}])
def test_roi_and_background_make_up_the_image(options, dtype):
    images, masks = make_rows(channels=3, dtype=dtype)
    roi = ROIMasker("roi", **options).fit_transform(images, masks=masks)
    background = ROIMasker("background", **options).fit_transform(images, masks=masks)
    assert roi.dtype == background.dtype == dtype
    np.testing.assert_array_equal(roi + background, images)
    assert (roi != 0).any()
    assert (background != 0).any()


@pytest.mark.parametrize(("dtype", "inside"), [(bool, True), (np.uint8, 255), (np.int16, 32767), (np.float32, 1)])
def test_outlines_in_the_type_of_the_images(dtype, inside):
    images, masks = make_rows(channels=2, dtype=dtype)
    result = ROIMasker("mask").fit_transform(ImageBunch(images, masks=masks))
    assert np.asarray(result).dtype == dtype
    np.testing.assert_array_equal(np.asarray(result)[:, 1], np.where(masks, inside, 0))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float32])
def test_value_fills_in_the_type_of_the_images(dtype):
    images, masks = make_rows(channels=2, dtype=dtype)
    result = ROIMasker(fill=0.7).fit_transform(images, masks=masks)
    expected = np.where(masks[:, None], images, 1 if np.dtype(dtype).kind in "biu" else np.dtype(dtype).type(0.7))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected)


def test_controls():
    images, masks = make_rows(dtype=np.uint8)
    silhouette = ROIMasker("mask").fit_transform(images, masks=masks)
    np.testing.assert_array_equal(silhouette, masks * np.uint8(255))
    np.testing.assert_array_equal(ROIMasker("mask", fill=9).fit_transform(images, masks=masks), silhouette)
    np.testing.assert_array_equal(ROIMasker("mask").fit_transform(images / 2, masks=masks), masks)
    np.testing.assert_array_equal(ROIMasker("all", fill="noise").fit_transform(images, masks=masks), images)


def test_other_roi_is_never_the_own_one():
    n = 12
    images = np.ones((n, 4, n))
    masks = np.zeros((n, 4, n), dtype=bool)
    masks[np.arange(n), :, np.arange(n)] = True  # the column tells whose mask it is
    missing = [None if row in (3, 7) else mask for row, mask in enumerate(masks)]
    for X, given in ((images, missing), (ImageBunch(images, masks=missing), None)):
        masker = ROIMasker("other_roi", on_missing="fill", random_state=5).fit(X, masks=given)
        result = np.asarray(masker.transform(X, masks=given))
        donors = result.argmax(axis=2)[:, 0]
        rows = np.delete(np.arange(n), [3, 7])
        assert (donors[rows] != rows).all()
        assert sorted(donors[rows]) == rows.tolist()
        assert not result[[3, 7]].any()
        np.testing.assert_array_equal(result, np.asarray(masker.transform(X, masks=given)))
    with pytest.raises(ValueError, match="at least two rows with a region, got 0"):
        ROIMasker("other_roi").fit(images, masks=0.4 * masks).transform(images, masks=0.4 * masks)
    with pytest.raises(ValueError, match="at least two rows with a region, got 1"):
        ROIMasker("other_roi").fit(images[:1], masks=masks[:1]).transform(images[:1], masks=masks[:1])


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("fill", FILLS)
def test_bunch_arrays_and_batches_agree(keep, fill):
    images, masks = make_rows(n=40, channels=2, dtype=np.uint8)
    before = images.copy(), masks.copy()
    masker = ROIMasker(keep, fill=fill, margin=1, random_state=0)
    array = masker.fit_transform(images, masks=masks)
    lazy = masker.fit_transform(ImageBunch(images, masks=masks))
    assert array.dtype == lazy.dtype == np.uint8
    assert array.shape == lazy.shape == images.shape
    rows = np.random.default_rng(0).permutation(40)[:11]
    np.testing.assert_array_equal(np.asarray(lazy[rows]), array[rows])
    np.testing.assert_array_equal(lazy[17], array[17])
    travelled = pickle.loads(pickle.dumps(lazy[rows]))
    np.testing.assert_array_equal(np.asarray(travelled[3:6]), array[rows[3:6]])
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(masks, before[1])


def test_random_state_decides():
    images, masks = make_rows()
    first = ROIMasker(fill="noise", random_state=1).fit_transform(images, masks=masks)
    np.testing.assert_array_equal(
        first, ROIMasker(fill="noise", random_state=1).fit(images, masks=masks).transform(images, masks=masks)
    )
    assert (first != ROIMasker(fill="noise", random_state=2).fit_transform(images, masks=masks)).any()
    same = np.repeat(images[:1], 2, axis=0)
    twice = ROIMasker(fill="noise", random_state=1).fit_transform(same, masks=masks[[0, 0]])
    assert (twice[0] != twice[1]).any()


# -- signals and tables ----------------------------------------------------------------------------------------------
def test_signals():
    rng = np.random.default_rng(0)
    signals, masks = rng.normal(size=(6, 3, 50)), np.zeros((6, 50), dtype=bool)
    masks[:, 20:30] = True
    expected = np.where(masks[:, None], signals, 0)
    expected[..., 18:20], expected[..., 30:32] = signals[..., 18:20], signals[..., 30:32]
    masker = ROIMasker(margin=2)
    np.testing.assert_array_equal(masker.fit_transform(signals, masks=masks), expected)
    bunch = ImageBunch(signals, masks=masks, signal=True)
    np.testing.assert_array_equal(np.asarray(masker.fit_transform(bunch)), expected)
    noisy = ROIMasker("background", fill="mean").fit_transform(signals, masks=masks)
    np.testing.assert_allclose(noisy[2, 1, 20:30], signals[2, 1][~masks[2]].mean())
    blank = ROIMasker(on_missing="fill", fill="mean").fit_transform(ImageBunch(signals, signal=True))
    np.testing.assert_allclose(np.asarray(blank)[2, 1], signals[2, 1].mean())


def test_tables():
    rng = np.random.default_rng(0)
    table, masks = rng.normal(size=(6, 5)), rng.random((6, 5)) < 0.5
    masks[:, 0] = True
    np.testing.assert_array_equal(ROIMasker().fit_transform(table, masks=masks), np.where(masks, table, 0))
    frame = pd.DataFrame(table, columns=list("abcde"))
    masker = ROIMasker().fit(frame, masks=pd.DataFrame(masks))
    assert masker.feature_names_in_.tolist() == list("abcde")
    np.testing.assert_array_equal(masker.transform(frame, masks=pd.DataFrame(masks)), np.where(masks, table, 0))


def test_what_is_learned():
    images, masks = make_rows(channels=3)
    masker = ROIMasker().fit(images, masks=masks)
    assert (masker.n_features_in_, masker.image_shape_) == (3 * 16 * 14, (3, 16, 14))
    again = ROIMasker().fit(ImageBunch(images, masks=masks))
    assert (again.n_features_in_, again.image_shape_) == (masker.n_features_in_, masker.image_shape_)
    for X in (images[..., 1:], ImageBunch(images[..., 1:], masks=masks[..., 1:])):
        with pytest.raises(ValueError, match="expecting 672 features"):
            masker.transform(X, masks=masks[..., 1:])
    with pytest.raises(NotFittedError):
        ROIMasker().transform(images, masks=masks)


# -- rows without a region -------------------------------------------------------------------------------------------
def missing_in_every_form(images, masks, row):
    nan = masks.astype(float)
    nan[row] = np.nan
    empty = masks.copy()
    empty[row] = False
    listed = [None if i == row else mask for i, mask in enumerate(masks)]
    return {"none": listed, "nan": nan, "empty": empty}


@pytest.mark.parametrize("form", ["none", "nan", "empty"])
@pytest.mark.parametrize("lazy", [False, True])
def test_rows_without_a_region(form, lazy):
    images, masks = make_rows()
    given = missing_in_every_form(images, masks, 4)[form]
    X, argument = (ImageBunch(images, masks=given), None) if lazy else (images, given)
    before = None if argument is None or form == "none" else argument.copy()
    with pytest.raises(ValueError, match=r"row 4 has no region.*on_missing"):
        np.asarray(ROIMasker().fit_transform(X, masks=argument))
    for keep in KEEPS:
        kept = np.asarray(ROIMasker(keep, on_missing="keep", random_state=0).fit_transform(X, masks=argument))
        blanked = np.asarray(ROIMasker(keep, on_missing="fill", random_state=0).fit_transform(X, masks=argument))
        np.testing.assert_array_equal(kept[4], images[4] if keep != "mask" else 0)
        np.testing.assert_array_equal(blanked[4], images[4] if keep == "all" else 0)
        others = np.delete(np.arange(20), 4)
        np.testing.assert_array_equal(kept[others], blanked[others])
    mean = np.asarray(ROIMasker(on_missing="fill", fill="mean").fit_transform(X, masks=argument))
    np.testing.assert_allclose(mean[4], images[4].mean(dtype=float), rtol=1e-6)
    if before is not None:
        np.testing.assert_array_equal(argument, before)


def test_shrinking_to_nothing_is_missing_too():
    images, masks = make_rows()
    with pytest.raises(ValueError, match="row 0 has no region: its mask is empty after shrinking it by 5 pixels"):
        ROIMasker(margin=-5).fit_transform(images, masks=masks)
    np.testing.assert_array_equal(ROIMasker(margin=-5, on_missing="keep").fit_transform(images, masks=masks), images)


def test_no_masks_at_all_with_leave():
    images, _ = make_rows()
    for X in (images, ImageBunch(images)):
        np.testing.assert_array_equal(np.asarray(ROIMasker(on_missing="keep").fit_transform(X)), images)
        assert not np.asarray(ROIMasker(on_missing="fill").fit_transform(X)).any()
        assert ROIMasker(on_missing="fill").fit(X).kept_fraction(X).tolist() == [0.0] * 20


def test_later_errors_name_the_row_of_the_bunch():
    images, masks = make_rows(n=60)
    images[41, 3, 3] = np.nan
    masks[50] = False
    bunch = ROIMasker().fit_transform(ImageBunch(images, masks=masks))
    with pytest.raises(ValueError, match="image of row 41 contains NaN"):
        bunch[[5, 41, 7]].images[1]
    with pytest.raises(ValueError, match="row 50 has no region"):
        np.asarray(bunch[45:])
    with pytest.raises(ValueError, match="image of row 41 contains NaN"):
        ROIMasker().fit(images, masks=masks)
    good = images.copy()
    good[41] = 0
    masker = ROIMasker(on_missing="keep").fit(good, masks=masks)
    with pytest.raises(ValueError, match="image of row 41 contains NaN"):
        masker.transform(images, masks=masks)


# -- bad input -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.ones((20, 8, 7)), r"masks must have shape \(n, 16, 14\)"),
        (np.ones((20, 14)), r"masks must have shape \(n, 14\)|20"),
        (np.ones((20, 3, 16, 14)), r"masks must have shape \(20, 16, 14\)"),
        (np.ones((19, 16, 14)), "masks has 19 rows, but there are 20 images"),
        ([np.ones((16, 14))] * 5 + [np.ones((8, 8))] + [None] * 14, r"mask of row 5 has shape \(8, 8\).*resize"),
        ([np.ones((16, 14))] * 5 + [np.ones((8, 8))] * 15, r"mask of row 5 has shape \(8, 8\).*resize"),
        ([np.ones((16, 14))] * 4, "masks has 4 rows"),
        ([None] * 20, "found no masks"),
    ],
)
def test_masks_that_do_not_fit(masks, message):
    images, _ = make_rows(channels=2)
    if isinstance(masks, np.ndarray) and masks.ndim == 2:
        images = images[:, 0, :, 0]  # a table with 16 columns
    with pytest.raises(ValueError, match=message):
        ROIMasker().fit(images, masks=masks)


def test_mask_with_some_nan():
    images, masks = make_rows()
    soft = masks.astype(float)
    soft[6, 0, 0] = np.nan
    with pytest.raises(ValueError, match="mask of row 6 contains NaN"):
        ROIMasker().fit_transform(images, masks=soft)


@pytest.mark.parametrize(
    "options", [{"keep": "lungs"}, {"fill": "black"}, {"fill": np.nan}, {"margin": np.inf}, {"blur_sigma": 0}]
)
def test_parameters_are_checked(options):
    images, masks = make_rows()
    with pytest.raises(ValueError, match=next(iter(options))):
        ROIMasker(**options).fit(images, masks=masks)


def test_five_dimensions_and_no_rows_are_refused():
    with pytest.raises(ValueError, match="dim 5"):
        ROIMasker().fit(np.zeros((2, 1, 1, 3, 3)))
    images, masks = make_rows()
    with pytest.raises(ValueError, match="0 rows"):
        ROIMasker().fit(ImageBunch(images, masks=masks)[:0])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        ROIMasker().fit(images[:0], masks=masks[:0])


# -- share of kept pixels --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("keep", KEEPS)
def test_kept_fraction_counts_the_kept_pixels(keep, monkeypatch):
    monkeypatch.setattr("sklearn_shortcuts.preprocessing._roi_masker._ROWS_AT_ONCE", 7)
    _, masks = make_rows()
    masks[:, 2] |= np.arange(20)[:, None] % 14 > np.arange(14)
    masks[9] = False
    images = np.full(masks.shape, 5)
    for X, given in ((images, masks), (ImageBunch(images, masks=masks), None)):
        for on_missing in ("keep", "fill"):
            masker = ROIMasker(keep, margin=1, on_missing=on_missing, random_state=0).fit(X, masks=given)
            visible = np.asarray(masker.transform(X, masks=given)) > 0
            np.testing.assert_allclose(masker.kept_fraction(X, masks=given), visible.mean(axis=(1, 2)))
    with pytest.raises(ValueError, match="row 9 has no region"):
        ROIMasker().fit(images, masks=masks).kept_fraction(images, masks=masks)


# -- inside scikit-learn ---------------------------------------------------------------------------------------------
class Flatten(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return np.asarray(X).reshape(len(X), -1)


def shortcut_study(n=120):
    """The label is written into a corner that the masks leave out."""
    images, masks = make_rows(n=n)
    y = np.arange(n) % 2
    images[:, 0, 0] += 200 * y
    masks[:, 0] = False
    return ImageBunch(images, masks=masks, groups=np.arange(n) // 4), y


@pytest.mark.parametrize("wrap", [lambda images, masks: (ImageBunch(images, masks=masks), None), lambda *both: both])
def test_turned_images_are_refused(wrap):
    images, masks = np.ones((2, 6, 8)), np.ones((2, 6, 8))
    X, given = wrap(images, masks)
    masker = ROIMasker().fit(X, masks=given)
    X, given = wrap(images.transpose(0, 2, 1), masks.transpose(0, 2, 1))
    with pytest.raises(ValueError, match=r"rows of shape \(8, 6\), but ROIMasker was fitted on rows of shape \(6, 8\)"):
        masker.transform(X, masks=given)
    X, given = wrap(images[:, None], masks)
    assert masker.transform(X, masks=given).shape == (2, 1, 6, 8)


def test_search_over_what_is_kept():
    bunch, y = shortcut_study()
    pipe = make_pipeline(ROIMasker(), Flatten(), LogisticRegression(C=1e-3, max_iter=500))
    search = GridSearchCV(pipe, {"roimasker__keep": ["roi", "background"]}, scoring="roc_auc", cv=GroupKFold(3))
    search.fit(bunch, y, groups=bunch.groups)
    roi, background = search.cv_results_["mean_test_score"]
    assert background > 0.98
    assert roi < 0.7
    assert search.best_params_ == {"roimasker__keep": "background"}
    assert roc_auc_score(y, search.predict_proba(bunch)[:, 1]) > 0.98
    scores = cross_val_predict(pipe.set_params(roimasker__keep="background"), bunch, y, method="predict_proba")
    assert roc_auc_score(y, scores[:, 1]) > 0.98


def test_routed_masks_reach_fit_transform():
    bunch, y = shortcut_study()
    images, masks = np.asarray(bunch), bunch.masks
    with config_context(enable_metadata_routing=True):
        masker = ROIMasker("background").set_fit_request(masks=True).set_transform_request(masks=True)
        pipe = make_pipeline(masker, Flatten(), LogisticRegression(C=1e-3, max_iter=500))
        pipe.fit(images, y, masks=masks)
        assert roc_auc_score(y, pipe.predict_proba(images, masks=masks)[:, 1]) > 0.98


def test_segmenter_inside_a_pipeline_on_arrays():
    bunch, y = shortcut_study()
    pipe = make_pipeline(ROIMasker(segmenter=above_row_mean), Flatten(), LogisticRegression(C=1e-3, max_iter=500))
    assert pipe.fit(np.asarray(bunch), y).predict(np.asarray(bunch)[:5]).shape == (5,)


def test_pandas_output_leaves_images_alone():
    images, masks = make_rows()
    with config_context(transform_output="pandas"):
        assert isinstance(ROIMasker().fit_transform(images, masks=masks), np.ndarray)
        assert isinstance(ROIMasker().fit_transform(ImageBunch(images, masks=masks)), ImageBunch)


def test_masked_rows_can_be_masked_again():
    images, masks = make_rows()
    chain = make_pipeline(ROIMasker(margin=3), FunctionTransformer(), ROIMasker("background", margin=-1))
    ring = np.asarray(chain.fit_transform(ImageBunch(images, masks=masks)))
    grown = ROIMasker("mask", margin=3).fit_transform(images, masks=masks)
    shrunk = ROIMasker("mask", margin=-1).fit_transform(images, masks=masks)
    np.testing.assert_array_equal(ring != 0, (grown - shrunk) != 0)


def test_torch_is_not_imported():
    code = "import sys, sklearn_shortcuts.preprocessing, sklearn_shortcuts.metrics; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "SCIPY_ARRAY_API": "0"})
