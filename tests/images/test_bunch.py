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
    masks = np.arange(n)[:, None, None] / 8 * np.ones((n, 3, 4))
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


def test_a_column_is_a_field_or_stands_in_the_metadata():
    metadata = pd.DataFrame(
        {"age": pd.array([40, None, 60], dtype="Int64"), "site": pd.Categorical(["a", "b", "a"]), "artifact": "?"},
        index=[7, 8, 9],
    )
    bunch = ImageBunch(np.zeros((3, 4, 4)), artifact=[True, False, True], masks=np.ones((3, 4, 4)), metadata=metadata)
    assert bunch.column("artifact").tolist() == [True, False, True]
    for name in ("age", "site"):
        expected = metadata[name].iloc[[2, 0]].reset_index(drop=True)
        pd.testing.assert_series_equal(bunch[[2, 0]].column(name), expected)
    with pytest.raises(ValueError, match=r"name='scanner' is neither a field .* the columns \['age', 'site', 'art"):
        bunch.column("scanner")
    with pytest.raises(ValueError, match=r"attribute='masks' has shape \(3, 4, 4\), but one value per row is wanted"):
        bunch.column("masks", "attribute")
    for name in ("metadata", "age"):
        with pytest.raises(ValueError, match="neither a field of the rows nor a column"):
            bunch.with_fields(metadata=None).column(name)
    with pytest.raises(ValueError, match="neither a field of the rows nor a column"):
        bunch.column("metadata")


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
        (np.zeros((2, 4, 4)), {"map_images": [1, 2]}, "cannot be called 'map_images'"),
        (["a.png", "b.png"], {}, "ImageFiles"),
        (np.zeros((2, 4, 4), dtype=object), {}, r"astype\(numpy.float32\)"),
        (np.zeros((2, 4, 4), dtype=complex), {}, "real numbers"),
        (np.zeros((2, 0, 4)), {}, "must have pixels"),
        (np.zeros((2, 30, 20, 3)), {}, r"look like \(n, H, W, C\)"),
        ([np.zeros((4, 4)), np.zeros((4, 5))], {}, r"images: row 1 has shape \(4, 5\)"),
        (np.zeros((2, 4, 4)), {"groups": ["a", None]}, "groups: 1 rows have no patient, the first is row 1"),
        (np.zeros((2, 4, 4)), {"groups": pd.array([pd.NA, 2], dtype="Int64")}, "first is row 0"),
        (np.zeros((2, 4, 4)), {"groups": [[1, 2], [3, 4]]}, "groups must have one value per row"),
        (np.zeros((2, 4, 4)), {"sample_weight": [1, np.nan]}, "sample_weight: row 1 has nan"),
        (np.zeros((2, 4, 4)), {"sample_weight": [-1, 2]}, "sample_weight: row 0 has -1"),
        (np.zeros((2, 4, 4)), {"sample_weight": ["a", "b"]}, "sample_weight must hold numbers"),
    ],
)
def test_bad_input_names_the_argument(images, fields, message):
    with pytest.raises(ValueError, match=message):
        ImageBunch(images, **fields)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool, ">u2"])
@pytest.mark.parametrize("inside", [1, 255])
def test_masks_of_whole_numbers_become_booleans(kind, inside, tmp_path):
    wanted = np.zeros((4, 3, 5), dtype=bool)
    wanted[:, 1, 2:4] = True
    masks = (wanted * inside).astype(kind)
    np.save(tmp_path / "masks.npy", masks)
    mapped = np.load(tmp_path / "masks.npy", mmap_mode="r")
    for given in (masks, list(masks), [*masks[:3], None], mapped, mapped[:, None], masks[..., None]):
        bunch = ImageBunch(np.zeros((4, 3, 5)), masks=given)
        rows = np.flatnonzero(bunch.has_mask)
        found = np.asarray(bunch.masks)
        assert found.dtype == bool
        np.testing.assert_array_equal(found[rows], wanted[rows])
        view = pickle.loads(pickle.dumps(bunch[[1, 0]]))
        np.testing.assert_array_equal(np.asarray(view.masks), wanted[:2])
    assert len(pickle.dumps(ImageBunch(np.zeros((4, 3, 5)), masks=mapped)[:0])) < 2_000


def test_masks_of_several_types_lose_nothing():
    probable, certain = np.full((2, 2), 0.3), np.ones((2, 2), dtype=bool)
    bunch = ImageBunch(np.zeros((3, 2, 2)), masks=[certain, None, probable])
    assert bunch.masks[:, 0, 0].tolist() == [1.0, 0.0, 0.3]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("container", [list, tuple, pd.Series])
def test_a_missing_entry_of_a_list_is_a_missing_mask(missing, container):
    bunch = ImageBunch(np.zeros((3, 2, 2)), masks=container([missing, np.ones((2, 2)), np.zeros((2, 2))]))
    assert bunch.has_mask.tolist() == [False, True, True]


def test_missing_masks_of_a_memory_map(tmp_path):
    masks = np.ones((5, 3, 4), dtype=np.float32)
    masks[[1, 4]] = np.nan
    np.save(tmp_path / "masks.npy", masks)
    bunch = ImageBunch(np.zeros((5, 3, 4)), masks=np.load(tmp_path / "masks.npy", mmap_mode="r"))
    assert bunch.has_mask.tolist() == [True, False, True, True, False]
    for rows in ([0, 1], [4]):
        view = pickle.loads(pickle.dumps(bunch[rows].with_fields(target=rows)))
        assert view.has_mask.tolist() == bunch.has_mask[rows].tolist()
        np.testing.assert_array_equal(np.asarray(view.masks)[:, 0, 0], bunch.has_mask[rows])


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.full((2, 3, 4), 255.0), "row 0 has values from 255 to 255"),
        (np.stack([np.ones((3, 4)), np.linspace(-4, 4, 12).reshape(3, 4)]), "row 1 has values from -4 to 4"),
        (np.stack([np.ones((3, 4)), np.where(np.eye(3, 4), np.nan, 1)]), "row 1 contains NaN"),
        (np.full((2, 3, 4), np.inf), "row 0 has values from inf to inf"),
        (np.stack([np.ones((3, 4), int), -np.eye(3, 4, dtype=int)]), "row 1 has values below 0"),
        (np.full((2, 3, 4), "x"), "must hold booleans or numbers"),
        ([np.ones((3, 4)), np.ones((4, 4))], r"row 1 has shape \(4, 4\), but its image \(3, 4\)"),
        (np.ones((3, 3, 4)), "masks has 3 rows, but there are 2 images"),
    ],
)
def test_masks_that_say_neither_inside_nor_outside(masks, message):
    with pytest.raises(ValueError, match=message):
        ImageBunch(np.zeros((2, 3, 4)), masks=masks)


def test_indexed_by_pandas_and_scalar_arrays():
    bunch = make_bunch()
    keep = np.array([True, False, True, False, False, True])
    for key in (
        pd.Series(keep, index=list("aabbcc")),
        pd.array(keep, dtype="boolean"),
        pd.array([0, 2, 5], dtype="Int64"),
    ):
        assert bunch[key].metadata.age.tolist() == [0, 2, 5]
    np.testing.assert_array_equal(bunch[np.array(2)], bunch[2])


@pytest.mark.parametrize("prepare", ["fields", "masked", "partly masked", "indexed before"])
def test_no_road_to_a_view_carries_other_rows(prepare):
    masks = [np.ones((32, 32), dtype=bool)] * 300
    if prepare == "partly masked":
        masks[5] = None
    bunch = ImageBunch(np.zeros((300, 32, 32)), masks=masks, metadata={"age": np.arange(300)})
    if prepare == "masked":
        bunch = bunch.map_images(np.multiply, ("masks",))
    if prepare == "indexed before":
        bunch = bunch[np.arange(299, -1, -1)]
    bunch = bunch.with_fields(target=np.arange(300))
    view = bunch[[7, 3, 7]]
    payload = pickle.dumps(view)
    assert len(payload) < 60_000
    again = pickle.loads(payload)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(view))
    assert again.metadata.age.tolist() == view.metadata.age.tolist()
    assert len(pickle.dumps(view.images)) < 60_000


def number_rows(images, *, rows):
    return images + rows[:, None, None]


def test_a_pickled_view_keeps_the_numbers_that_the_function_knows():
    bunch = ImageBunch(np.zeros((50, 2, 2))).map_images(number_rows, with_rows=True)
    view = pickle.loads(pickle.dumps(bunch[[40, 3]]))
    assert np.asarray(view)[:, 0, 0].tolist() == [40, 3]
    view = pickle.loads(pickle.dumps(view[[1]]))
    assert np.asarray(view)[:, 0, 0].tolist() == [3]
    twice = bunch[[9, 8, 7]].map_images(number_rows, with_rows=True)
    assert np.asarray(pickle.loads(pickle.dumps(twice[[2]])))[0, 0, 0] == 7 + 2


def test_a_function_that_loses_rows_is_refused():
    with pytest.raises(ValueError, match=r"gave an array of shape \(5, 3, 4\) for 6 rows"):
        np.asarray(make_bunch().map_images(drop_first))


def drop_first(images):
    return images[1:]


def test_other_fields_are_not_copied_for_a_new_one():
    bunch = make_bunch()
    assert np.shares_memory(bunch.masks, bunch.with_fields(target=np.zeros(6)).masks)
    frame = bunch.metadata
    frame["new"] = 1
    assert list(bunch.metadata.columns) == ["age"]


def test_rows_that_do_not_exist():
    bunch = make_bunch()
    with pytest.raises(IndexError, match="row 6 does not exist"):
        bunch[[0, 6]]
    with pytest.raises(IndexError, match="one value per row"):
        bunch[np.array([True])]
    with pytest.raises(KeyError, match="no field 'age'"):
        bunch.get("age")
