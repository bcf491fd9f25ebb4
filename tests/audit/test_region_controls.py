"""Baselines without pixels."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from sklearn_shortcuts.audit._folds import make_folds
from sklearn_shortcuts.audit._labels import make_target
from sklearn_shortcuts.audit._region_controls import choose_metadata, metadata_scores, size_scores


@pytest.fixture
def study():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    target = make_target(y, "test")
    return rng, y, target, make_folds(4, target.positive, target.codes, None, target.label_names, 0)


def auc(y, scores, folds):
    return np.mean([roc_auc_score(y[test], scores[test, 0]) for _, test in folds.splits])


def test_columns_of_any_kind(study):
    rng, y, target, folds = study
    table = pd.DataFrame(
        {
            "noise": rng.normal(size=200),
            "scanner": np.where(rng.random(200) < 0.9, y, 1 - y).astype(str),
            "date": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, 200), unit="D"),
            "count": pd.array(rng.integers(0, 9, 200), dtype="Int64"),
            "flag": rng.random(200) < 0.5,
            7: pd.Categorical(rng.choice(["a", "b"], 200)),
        }
    )
    before = table.copy()
    table.loc[:5, ["noise", "scanner", "date", "count", 7]] = None
    given = table.copy()
    scores = metadata_scores(table, target, folds)
    pd.testing.assert_frame_equal(table, given)
    assert 0.85 < auc(y, scores, folds) < 0.95
    assert np.isfinite(scores).all()
    assert 0.35 < auc(y, metadata_scores(before[["noise", "flag"]], target, folds), folds) < 0.65


def test_categories_unseen_in_training(study):
    _, _, target, folds = study
    table = pd.DataFrame({"site": [f"site {row}" for row in range(200)]})
    assert np.isfinite(metadata_scores(table, target, folds)).all()


def test_size_alone(study):
    rng, y, target, folds = study
    bent = 0.5 + np.where(y == 1, rng.choice([-0.2, 0.2], 200), 0) + 0.05 * rng.normal(size=200)
    assert auc(y, size_scores(bent, target, folds), folds) > 0.9  # both very small and very large: not monotone
    assert 0.35 < auc(y, size_scores(rng.random(200), target, folds), folds) < 0.65
    assert auc(y, size_scores(np.full(200, 0.3), target, folds), folds) == 0.5


def test_chosen_columns(study):
    rng, y, target, _ = study
    table = pd.DataFrame(
        {
            "Patient-ID": np.arange(200),
            "label": np.where(y == 1, "ill", "well"),
            "file": [f"{row}.png" for row in range(200)],
            "view": "PA",
            "age": rng.integers(20, 90, 200),
            "sex": rng.choice(["F", "M"], 200),
        }
    )
    chosen, left_out = choose_metadata(table, target.positive)
    assert chosen == ["age", "sex"]
    assert left_out == {
        "Patient-ID": "names the patient",
        "label": "says the same as the label",
        "file": "has too many values for a category",
        "view": "has one value",
    }
