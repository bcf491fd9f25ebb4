"""Searches and cross-validation of scikit-learn over images that stay on disk, with masks, groups and processes."""

import pickle

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 (HalvingGridSearchCV needs it)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedGroupKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
    permutation_test_score,
    train_test_split,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import resample

from sklearn_shortcuts import ImageBunch, NeuralImageClassifier, ROIMasker
from sklearn_shortcuts.images import ImageFiles, MaskFiles, bunch_from_frame
from sklearn_shortcuts.neural import SmallCNN


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """PNG files of 36 images of 12 patients: the label shows inside the mask, noise is all around."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    rows = []
    for row in range(36):
        label = row // 3 % 2
        image = rng.integers(0, 120, (20, 16), dtype=np.uint8)
        mask = np.zeros((20, 16), dtype=np.uint8)
        mask[6:14, 4:12] = 255
        image[8:12, 6:10] += 120 * label
        Image.fromarray(image).save(folder / f"image {row}.png")
        Image.fromarray(mask).save(folder / f"mask {row}.png")
        rows.append({"image": f"image {row}.png", "mask": f"mask {row}.png", "label": label, "patient": f"p{row // 3}"})
    bunch = bunch_from_frame(pd.DataFrame(rows), masks="mask", target="label", groups="patient", root=folder)
    return bunch, np.asarray(bunch.target)


@pytest.fixture
def pipeline():
    network = NeuralImageClassifier(SmallCNN(width=4), max_epochs=8, batch_size=12, lr=0.01, random_state=0)
    return make_pipeline(ROIMasker(), network)


def test_a_search_over_region_and_network_in_two_processes(study, pipeline):
    X, y = study
    grid = {"roimasker__keep": ["roi", "background"], "neuralimageclassifier__lr": [1e-6, 0.02]}
    folds = StratifiedGroupKFold(2)
    search = GridSearchCV(pipeline, grid, cv=folds, scoring="roc_auc", n_jobs=2, error_score="raise")
    search.fit(X, y, groups=X.groups)
    assert search.best_params_ == {"roimasker__keep": "roi", "neuralimageclassifier__lr": 0.02}
    assert search.best_score_ > 0.95
    table = pd.DataFrame(search.cv_results_).set_index(["param_roimasker__keep", "param_neuralimageclassifier__lr"])
    assert 0.2 < table.loc[("background", 0.02), "mean_test_score"] < 0.8
    assert search.predict_proba(X[[5, 1]]).shape == (2, 2)
    alone = GridSearchCV(pipeline, grid, cv=folds, scoring="roc_auc", n_jobs=1).fit(
        X[:12], y[:12], groups=X.groups[:12]
    )
    both = GridSearchCV(pipeline, grid, cv=folds, scoring="roc_auc", n_jobs=2).fit(X[:12], y[:12], groups=X.groups[:12])
    np.testing.assert_array_equal(alone.cv_results_["mean_test_score"], both.cv_results_["mean_test_score"])


def test_cross_validation_keeps_patients_together_in_two_processes(study, pipeline):
    X, y = study
    result = cross_validate(
        pipeline,
        X,
        y,
        groups=X.groups,
        cv=StratifiedGroupKFold(3),
        scoring="roc_auc",
        n_jobs=2,
        return_indices=True,
        return_estimator=True,
        error_score="raise",
    )
    assert result["test_score"].min() > 0.9
    for train, test, fitted in zip(*result["indices"].values(), result["estimator"]):
        assert not set(X.groups[train]) & set(X.groups[test])
        assert fitted.predict(X[test]).shape == (len(test),)


def flatten(X):
    return np.asarray(X).reshape(len(X), -1)


UTILITIES = {
    "cross_val_predict": lambda model, X, y: cross_val_predict(model, X, y, cv=3, method="predict_proba")[:, 1],
    "learning_curve": lambda model, X, y: learning_curve(model, X, y, cv=3, train_sizes=[0.5, 1.0])[2][-1],
    "permutation_test_score": lambda model, X, y: permutation_test_score(
        model, X, y, n_permutations=5, cv=3, random_state=0
    )[0],
    "calibration": lambda model, X, y: CalibratedClassifierCV(model, cv=3).fit(X, y).predict_proba(X)[:, 1],
    "voting": lambda model, X, y: VotingClassifier([("a", model), ("b", model)]).fit(X, y).score(X, y),
    "stacking": lambda model, X, y: StackingClassifier([("a", model), ("b", model)], cv=3).fit(X, y).score(X, y),
    "one against the rest": lambda model, X, y: OneVsRestClassifier(model).fit(X, y).score(X, y),
    "threshold": lambda model, X, y: TunedThresholdClassifierCV(model, cv=3).fit(X, y).score(X, y),
    "halving": lambda model, X, y: (
        HalvingGridSearchCV(model, {"roimasker__keep": ["roi", "background"]}, cv=3, min_resources=18, random_state=0)
        .fit(X, y)
        .score(X, y)
    ),
}


@pytest.mark.parametrize("utility", sorted(UTILITIES))
def test_utilities_of_scikit_learn_take_files_as_they_take_arrays(study, utility):
    X, y = study
    model = make_pipeline(ROIMasker(), FunctionTransformer(flatten), LogisticRegression(C=0.1))
    in_memory = ImageBunch(np.asarray(X), masks=np.asarray(X.masks))
    result = np.asarray(UTILITIES[utility](model, X, y))
    np.testing.assert_array_equal(result, UTILITIES[utility](model, in_memory, y))
    score = roc_auc_score(y, result) if result.shape == y.shape else result.mean()
    assert score > 0.9


def test_splits_and_samples_keep_rows_and_fields_together(study):
    X, y = study
    train, test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    again, y_again = resample(X, y, random_state=0)
    for part, classes in ((train, y_train), (test, y_test), (again, y_again)):
        assert isinstance(part, ImageBunch)
        np.testing.assert_array_equal(part.target, classes)
        np.testing.assert_array_equal(np.asarray(part.masks).any(axis=(1, 2)), True)
        rows = [np.flatnonzero((np.asarray(X) == image).all(axis=(1, 2)))[0] for image in part]
        assert X.groups[rows].tolist() == part.groups.tolist()


def test_what_travels_to_a_process_is_paths(study, pipeline):
    X, _ = study
    payload = pickle.dumps(X)
    assert len(payload) < 10_000
    np.testing.assert_array_equal(np.asarray(pickle.loads(payload)), np.asarray(X))
    masked = pipeline[0].fit_transform(X)
    assert len(pickle.dumps(masked)) < 20_000
    assert len(pickle.dumps(masked[:5])) < len(pickle.dumps(masked)) * 0.7
    again = pickle.loads(pickle.dumps(masked[[7, 3]]))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(masked)[[7, 3]])
    np.testing.assert_array_equal(np.asarray(again.masks), np.asarray(X.masks)[[7, 3]])


def test_noise_of_a_row_is_the_same_in_another_process(study):
    X, _ = study
    masked = ROIMasker("background", fill="noise", random_state=0).fit_transform(X)
    again = pickle.loads(pickle.dumps(masked[[30, 2]]))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(masked)[[30, 2]])


def test_ten_thousand_images_with_masks_pickle_in_less_than_a_megabyte():
    names = [f"p{row % 700:05d}/study{row % 3}/image{row:06d}" for row in range(10_000)]
    options = {"root": "/data/a study with a long name/files"}
    X = ImageBunch(
        ImageFiles([f"{name}.png" for name in names], size=224, channels=1, **options),
        masks=MaskFiles([f"{name}.mask.png" for name in names], 224, **options),
        groups=np.arange(10_000, dtype=np.int32) % 700,
    )
    assert X.shape == (10_000, 224, 224)
    assert len(pickle.dumps(X)) < 1_000_000
    train = np.arange(9_000)
    assert len(pickle.dumps(ROIMasker().fit_transform(X)[train])) < 1_000_000
