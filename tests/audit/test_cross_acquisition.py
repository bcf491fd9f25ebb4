"""What was learned on one acquisition is tested on the others, on rows and patients that it has not seen."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from sklearn_shortcuts.audit import cross_acquisition_matrix
from sklearn_shortcuts.audit._folds import make_folds
from sklearn_shortcuts.images import ImageBunch


def sites(shared, seed=0, n=180):
    """Three sites; the label shows in a place that all share, or in one of each."""
    rng = np.random.default_rng(seed)
    y, site = np.arange(n) % 2, np.repeat(["A", "B", "C"], n // 3)
    X = rng.normal(size=(n, 4))
    place = np.full(n, 3) if shared else np.repeat([0, 1, 2], n // 3)
    X[np.arange(n), place] += 2.5 * y
    return X, y, site


def test_what_is_shared_travels_and_what_is_not_does_not():
    shared = cross_acquisition_matrix(LogisticRegression(), *sites(True), cv=3, random_state=0)
    assert (shared.matrix > 0.85).all(axis=None)
    assert (shared.summary["percent_drop"].abs() < 8).all()
    own = cross_acquisition_matrix(LogisticRegression(), *sites(False), cv=3, random_state=0)
    assert (np.diag(own.matrix) > 0.85).all()
    assert (own.summary["mean_others"] < 0.7).all()
    np.testing.assert_allclose(
        own.summary["percent_drop"],
        100 * (own.summary["self"] - own.summary["mean_others"]) / own.summary["self"],
    )
    assert own.summary.loc["A", "mean_others"] == pytest.approx(own.matrix.loc["A", ["B", "C"]].mean())
    assert own.matrix.index.tolist() == own.matrix.columns.tolist() == ["A", "B", "C"]
    assert ((own.cells["low"] < own.cells["auc"]) & (own.cells["auc"] < own.cells["high"])).all()


def test_cells_are_those_of_a_plain_loop(monkeypatch):
    from sklearn_shortcuts.audit import _cross_acquisition

    seen = []

    def remembering(*arguments):
        seen.append(make_folds(*arguments))
        return seen[-1]

    monkeypatch.setattr(_cross_acquisition, "make_folds", remembering)
    X, y, site = sites(False)
    groups = np.arange(180) % 60  # every patient was imaged at all sites
    result = cross_acquisition_matrix(LogisticRegression(), X, y, site, groups=groups, cv=3, random_state=0)
    areas = []
    for train, test in seen[0].splits:
        assert not set(groups[train]) & set(groups[test])
        model = LogisticRegression().fit(X[train][site[train] == "A"], y[train][site[train] == "A"])
        tested = test[site[test] == "B"]
        areas.append(roc_auc_score(y[tested], model.predict_proba(X[tested])[:, 1]))
    assert result.matrix.loc["A", "B"] == pytest.approx(np.mean(areas))


def test_several_labels_and_names():
    X, y, site = sites(True)
    labels = pd.DataFrame({"one": y, "two": np.random.default_rng(0).integers(0, 2, 180)})
    metadata = pd.DataFrame({"site": site})
    bunch = ImageBunch(X[:, None, None], target=labels, metadata=metadata)
    result = cross_acquisition_matrix(Both(), bunch, None, "site", cv=3, random_state=0)
    one, two = (result.cells[result.cells["label"] == name]["auc"] for name in labels)
    assert one.min() > 0.85
    assert two.between(0.2, 0.8).all()
    assert result.matrix.loc["A", "B"] == pytest.approx((one.iloc[3] + two.iloc[3]) / 2)  # A is the first that trains


class Both(LogisticRegression):
    """Two labels at a time."""

    def fit(self, X, y):
        rows = np.asarray(X).reshape(len(X), -1)
        self.models_ = [LogisticRegression().fit(rows, column) for column in y.T]
        return self

    def predict_proba(self, X):
        rows = np.asarray(X).reshape(len(X), -1)
        return np.stack([model.predict_proba(rows)[:, 1] for model in self.models_], axis=1)


def test_bad_input():
    X, y, site = sites(True)
    with pytest.raises(ValueError, match="give the label of the task"):
        cross_acquisition_matrix(LogisticRegression(), X, None, site)
    rare = np.where(np.arange(180) < 3, "D", site)
    with pytest.raises(ValueError, match=r"'D, .*1'"):
        cross_acquisition_matrix(LogisticRegression(), X, y, rare, cv=3)
    with pytest.raises(ValueError, match="acquisition has 10 rows, but X has 180"):
        cross_acquisition_matrix(LogisticRegression(), X, y, site[:10])
