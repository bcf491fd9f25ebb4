"""The first step of a pipeline."""

import pickle

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_no_attributes_set_in_init

from sklearn_shortcuts.images import ImageBunch, ImageLoader, bunch_from_frame


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Bright squares on the left (class 0) or right (class 1), in images of several sizes."""
    folder = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    rows = []
    for row in range(24):
        image = rng.integers(0, 60, (30 + row % 3, 40), dtype=np.uint8)
        left = 4 if row % 2 == 0 else 26
        image[10:20, left : left + 10] += 180
        mask = np.zeros(image.shape, np.uint8)
        mask[10:20, left : left + 10] = 255
        Image.fromarray(image).save(folder / f"image{row}.png")
        Image.fromarray(mask).save(folder / f"mask{row}.png")
        rows.append((f"image{row}.png", f"mask{row}.png", row % 2, f"p{row // 2}", 40 + row))
    return folder, pd.DataFrame(rows, columns=["path", "mask", "label", "patient", "age"])


def flat(X):
    assert isinstance(X, ImageBunch)
    return np.asarray(X).reshape(len(X), -1)


def inside(X):
    return (np.asarray(X) * np.asarray(X.masks)).reshape(len(X), -1)


def pipeline(folder, features=flat, **options):
    loader = ImageLoader("path", masks="mask", groups="patient", root=folder, size=12, **options)
    return make_pipeline(loader, FunctionTransformer(features), LogisticRegression())


def test_gives_the_bunch_of_the_table(table):
    folder, frame = table
    loader = ImageLoader("path", masks="mask", target="label", root=folder, size=12)
    bunch = loader.fit_transform(frame)
    expected = bunch_from_frame(frame, "path", masks="mask", target="label", root=folder, size=12)
    np.testing.assert_array_equal(np.asarray(bunch), np.asarray(expected))
    assert bunch.fields == expected.fields
    assert loader.n_features_in_ == 5
    assert loader.feature_names_in_.tolist() == list(frame.columns)
    np.testing.assert_array_equal(np.asarray(loader.fit(frame).transform(frame.iloc[3:5])), np.asarray(expected)[3:5])


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_cross_validation(table, n_jobs):
    folder, frame = table
    scores = cross_validate(
        pipeline(folder, inside), frame, frame.label, groups=frame.patient, cv=GroupKFold(3), n_jobs=n_jobs
    )
    assert scores["test_score"].min() == 1
    predicted = cross_val_predict(pipeline(folder), frame, frame.label, cv=3)
    assert (predicted == frame.label).mean() == 1


def test_grid_search_over_the_loader(table):
    folder, frame = table
    grid = {"imageloader__size": [8, (10, 14)], "imageloader__resize": ["letterbox", "stretch"]}
    search = GridSearchCV(pipeline(folder), grid, cv=GroupKFold(2)).fit(frame, frame.label, groups=frame.patient)
    assert search.best_score_ == 1
    assert search.predict(frame).tolist() == frame.label.tolist()


def test_what_is_not_known_of_new_images_may_be_absent(table):
    folder, frame = table
    loader = ImageLoader("path", masks="mask", target="label", groups="patient", root=folder, size=8).fit(frame)
    bunch = loader.transform(frame.drop(columns=["label", "patient"]))
    assert bunch.fields == ("masks", "metadata")
    with pytest.raises(ValueError, match="masks: the table has no column 'mask'"):
        loader.transform(frame.drop(columns="mask"))
    with pytest.raises(ValueError, match="target: the table has no column 'label'"):
        loader.fit(frame.drop(columns="label"))


def test_contract(table):
    folder, frame = table
    loader = ImageLoader("path", root=folder, size=8, mask_options={"threshold": 3})
    check_no_attributes_set_in_init("ImageLoader", loader)
    before = pickle.dumps(loader.get_params())
    loader.fit(frame)
    assert pickle.dumps(loader.get_params()) == before
    copy = clone(loader)
    assert copy.get_params() == loader.get_params()
    np.testing.assert_array_equal(
        np.asarray(pickle.loads(pickle.dumps(loader)).transform(frame)), np.asarray(copy.fit_transform(frame))
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size": 0}, "'size'"),
        ({"resize": "squash"}, "'resize'"),
        ({"check": "no"}, "'check'"),
        ({"pad": "x"}, "'pad'"),
    ],
)
def test_parameters_are_validated_in_fit(table, options, match):
    folder, frame = table
    loader = ImageLoader("path", root=folder, **options)
    with pytest.raises(ValueError, match=match):
        loader.fit(frame)


def test_loaded_images_are_passed_on(table):
    folder, frame = table
    pipe = pipeline(folder, lambda X: np.asarray(X).reshape(len(X), -1)).fit(frame, frame.label)
    bunch = pipe[0].transform(frame)
    assert pipe[0].transform(bunch) is bunch
    expected = pipe.predict_proba(frame)
    np.testing.assert_array_equal(pipe.predict_proba(bunch), expected)
    np.testing.assert_array_equal(pipe.predict_proba(np.asarray(bunch)), expected)


def test_lists_of_paths_are_no_table():
    with pytest.raises(ValueError, match="dtype='numeric' is not compatible"):
        ImageLoader().fit([["a.png"], ["b.png"]])
