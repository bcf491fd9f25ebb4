"""The container of rows."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts import ImageBunch


def make_bunch(n=6, **fields):
    images = np.arange(n * 12, dtype=np.float32).reshape(n, 3, 4)
    masks = np.arange(n)[:, None, None] * np.ones((n, 3, 4))
    frame = pd.DataFrame({"age": np.arange(n)}, index=[f"r{i}" for i in range(n)])
    return ImageBunch(images, **{"masks": masks, "metadata": frame, "groups": np.arange(n) // 2, **fields})


def flatten(X):
    return np.asarray(X).reshape(len(X), -1)


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (slice(1, 5, 2), [1, 3]),
        ([4, 0, 0], [4, 0, 0]),
        (np.array([True, False, True, False, False, True]), [0, 2, 5]),
        ((np.array([2, 1]), Ellipsis), [2, 1]),
        ([-1], [5]),
        ([], []),
    ],
)
def test_rows_and_fields_are_sliced_together(key, rows):
    bunch = make_bunch()
    rows = np.array(rows, dtype=int)
    view = bunch[key]
    np.testing.assert_array_equal(np.asarray(view), np.asarray(bunch)[rows])
    np.testing.assert_array_equal(view.masks, bunch.masks[rows])
    np.testing.assert_array_equal(view.groups, bunch.groups[rows])
    assert view.metadata.age.tolist() == rows.tolist()


def test_view_of_a_view():
    view = make_bunch()[[5, 3, 1]][1:]
    assert view.metadata.age.tolist() == [3, 1]
    np.testing.assert_array_equal(view[0], np.asarray(make_bunch())[3])


def test_missing_masks_in_every_form():
    images = np.zeros((3, 2, 2))
    one = np.ones((2, 2))
    nan = np.full((2, 2), np.nan)
    for masks in ([one, None, one], np.stack([one, nan, one])):
        bunch = ImageBunch(images, masks=masks)
        assert bunch.has_mask.tolist() == [True, False, True]
        assert bunch[[1, 2]].has_mask.tolist() == [False, True]
        again = bunch[[1, 2]].with_images(np.ones((2, 2, 2)))
        assert again.has_mask.tolist() == [False, True]
        assert again[[0]].has_mask.tolist() == [False]
        assert pickle.loads(pickle.dumps(again)).has_mask.tolist() == [False, True]
        np.testing.assert_array_equal(np.asarray(again.masks)[1], one)


def test_pickled_view_leaves_other_rows_behind():
    bunch = ImageBunch(np.zeros((1000, 32, 32)), groups=np.arange(1000))
    view = pickle.loads(pickle.dumps(bunch[[7, 3]]))
    assert len(pickle.dumps(bunch[[7, 3]])) < 50_000
    assert view.groups.tolist() == [7, 3]
    assert view.shape == (2, 32, 32)


def test_memmap_pickles_as_a_path(tmp_path):
    array = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (50, 64, 64))
    array[:] = np.arange(50)[:, None, None]
    array.flush()
    bunch = ImageBunch(array[10:])  # a slice has another offset in the file than its parent
    payload = pickle.dumps(bunch)
    assert len(payload) < 5_000
    np.testing.assert_array_equal(np.asarray(pickle.loads(payload))[:, 0, 0], np.arange(10, 50))


def test_map_images_is_lazy_and_sees_fields():
    calls = []

    def add(images, masks, *, rows):
        calls.append(rows.tolist())
        return images + masks + rows[:, None, None]

    bunch = make_bunch()
    mapped = bunch.map_images(add, ("masks",), with_rows=True)
    assert calls == []
    expected = np.asarray(bunch) + bunch.masks + np.arange(6)[:, None, None]
    np.testing.assert_array_equal(np.asarray(mapped[[4, 1]]), expected[[4, 1]])
    np.testing.assert_array_equal(mapped[3], expected[3])
    assert calls == [[4, 1], [3]]


def test_scikit_learn_splits_it_like_an_array():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 15)
    bunch = ImageBunch(rng.normal(size=(30, 4, 4)) + y[:, None, None], groups=np.arange(30) // 3)
    train, test = train_test_split(bunch, stratify=y, random_state=0)
    assert isinstance(train, ImageBunch)
    assert len(train) + len(test) == 30
    model = make_pipeline(FunctionTransformer(flatten), LogisticRegression())
    result = cross_validate(model, bunch, y, groups=bunch.groups, cv=GroupKFold(3), scoring="roc_auc")
    assert result["test_score"].mean() > 0.9


def test_image_shape():
    assert ImageBunch(np.zeros((2, 5, 6))).image_shape == (1, 5, 6)
    assert ImageBunch(np.zeros((2, 3, 5, 6))).image_shape == (3, 5, 6)
    signals = ImageBunch(np.zeros((2, 12, 100)), signal=True, masks=np.ones((2, 100)))
    assert signals.image_shape == (12, 100)
    assert signals[[1]].masks.shape == (1, 100)


@pytest.mark.parametrize(
    ("images", "fields", "message"),
    [
        (np.zeros((3, 4)), {}, "images must have shape"),
        (np.zeros((3, 4, 4)), {"groups": [1, 2]}, "groups has 2 rows, but there are 3 images"),
        (np.zeros((3, 4, 4)), {"masks": np.zeros((3, 5, 4))}, r"masks must have shape \(n, 4, 4\)"),
        (np.zeros((2, 4, 4)), {"masks": [None, np.zeros((2, 2))]}, "the mask of row 1"),
        (np.zeros((2, 4, 4)), {"shape": [1, 2]}, "cannot be called 'shape'"),
        (np.zeros((2, 4, 4)), {"target": 3}, "target must have rows"),
    ],
)
def test_bad_input_names_the_argument(images, fields, message):
    with pytest.raises(ValueError, match=message):
        ImageBunch(images, **fields)


def test_rows_that_do_not_exist():
    bunch = make_bunch()
    with pytest.raises(IndexError, match="row 6 does not exist"):
        bunch[[0, 6]]
    with pytest.raises(IndexError, match="one value per row"):
        bunch[np.array([True])]
    with pytest.raises(KeyError, match="no field 'age'"):
        bunch.get("age")
