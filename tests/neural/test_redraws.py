"""Rows that are drawn anew in every epoch: the same for any threads, and averaged at predict time."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.neural import Criterion, NeuralImageClassifier, RandomGeometry, SmallCNN
from sklearn_shortcuts.preprocessing import SliceSampler
from tests.dicom import write_series


def volumes(n=16, length=10, size=8):
    """The class shows in every slice; pixels in the corner tell row and slice."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    values = rng.normal(0, 0.3, (n, length, size, size))
    values[y == 1, :, 2:6, 2:6] += 1
    values[..., 0, 0] = np.arange(n)[:, None] + np.arange(length) / 100
    return values.astype(np.float32), y


class Recorder(Criterion):
    """Cross-entropy that leaves a note of the rows of each step; the note is kept by the test."""

    seen: list = []

    def build(self, n_samples, n_outputs, kind):
        return _RecorderModule()


class _RecorderModule(torch.nn.Module):
    def forward(self, logits, batch, training):
        if training:
            Recorder.seen.append(batch["X"][:, :, 0, 0].detach().numpy().copy())
        return torch.nn.functional.cross_entropy(logits, batch["y"].long(), reduction="none")


def bunch_of(values, **options):
    return SliceSampler(window=None, size=None, **options).fit_transform(ImageBunch(values))


def network(**options):
    options = {"max_epochs": 3, "batch_size": 5, "random_state": 0, **options}
    return NeuralImageClassifier(SmallCNN(width=2, depth=1), **options)


def record(X, y, **options):
    Recorder.seen = []
    model = network(criterion=Recorder(), **options).fit(X, y)
    return model, np.concatenate(Recorder.seen)


def test_every_epoch_sees_other_slices_of_every_row_once():
    values, y = volumes()
    _, seen = record(bunch_of(values), y)
    epochs = seen.reshape(3, 16, 3)
    for epoch in epochs:
        assert sorted(epoch[:, 0].astype(int)) == list(range(16))
    by_row = np.array([epoch[np.argsort(epoch[:, 0].astype(int))] for epoch in epochs])
    assert (by_row[0] != by_row[1]).any(axis=1).mean() > 0.8
    assert (by_row[1] != by_row[2]).any(axis=1).mean() > 0.8
    assert len(np.unique(np.round(by_row % 1 * 100))) == 10  # all slices of the volume come up
    _, fixed = record(bunch_of(values, redraw=False), y)
    assert np.unique(np.round(fixed % 1 * 100)).tolist() == [1, 5, 8]


@pytest.mark.parametrize("augmentation", [None, RandomGeometry(hflip=0.5)])
def test_the_same_for_any_number_of_threads(augmentation):
    values, y = volumes()
    options = {"augmentation": augmentation, "precision": "float64"}
    fitted = [record(bunch_of(values), y, n_threads=n_threads, **options) for n_threads in (0, 1, 4)]
    for model, seen in fitted[1:]:
        np.testing.assert_array_equal(seen, fitted[0][1])
        np.testing.assert_array_equal(
            model.predict_proba(bunch_of(values)), fitted[0][0].predict_proba(bunch_of(values))
        )
    _, other = record(bunch_of(values), y, random_state=1, **options)
    assert (other != fitted[0][1]).any()


def test_batch_size_does_not_change_what_a_row_gets():
    values, y = volumes()
    seen = [record(bunch_of(values), y, batch_size=size, max_epochs=1)[1] for size in (4, 16)]
    np.testing.assert_array_equal(*(np.sort(rows, axis=0) for rows in seen))


def test_held_out_rows_and_predictions_stay_fixed():
    values, y = volumes()
    X = bunch_of(values)
    model = network(early_stopping=True, validation_fraction=0.25).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(np.asarray(X)))
    fixed = network().fit(np.asarray(X), y)
    lazy = network().fit(bunch_of(values, redraw=False), y)
    np.testing.assert_array_equal(fixed.predict_proba(X), lazy.predict_proba(X))  # rows that do not draw are untouched


@pytest.mark.parametrize("kind", ["binary", "one logit", "multiclass", "multilabel"])
def test_probabilities_of_several_draws_are_averaged(kind):
    values, y = volumes()
    if kind == "multiclass":
        y = np.arange(16) % 3
    elif kind == "multilabel":
        y = np.column_stack([y, np.arange(16) % 3 == 0])
    X = bunch_of(values)
    options = {"max_epochs": 2, "precision": "float64"}
    if kind == "one logit":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 1))
        model = NeuralImageClassifier(module, random_state=0, **options).fit(X, y)
    else:
        model = network(**options).fit(X, y)
    draws = np.mean([model.predict_proba(np.asarray(X.images.redraw(draw))) for draw in range(4)], axis=0)
    once = model.predict_proba(X)
    model.set_params(n_draws=4)
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities, draws, atol=1e-12)
    assert np.abs(probabilities - once).max() > 1e-4
    np.testing.assert_array_equal(model.predict_proba(X), probabilities)
    np.testing.assert_allclose(model.predict_proba(X[[5, 2]]), probabilities[[5, 2]], atol=1e-12)
    decision = model.decision_function(X)
    if kind == "multilabel":
        np.testing.assert_allclose(expit(decision), probabilities, atol=1e-12)
        np.testing.assert_array_equal(model.predict(X), probabilities > 0.5)
    elif kind == "multiclass":
        np.testing.assert_allclose(softmax(decision, axis=1), probabilities, atol=1e-12)
        np.testing.assert_array_equal(model.predict(X), model.classes_[probabilities.argmax(axis=1)])
    else:
        np.testing.assert_allclose(expit(decision), probabilities[:, 1], atol=1e-12)
        np.testing.assert_array_equal(model.predict(X), (probabilities[:, 1] > 0.5).astype(int))
    as_array = model.predict_proba(np.asarray(X))  # nothing to draw
    np.testing.assert_allclose(as_array, once, atol=1e-12)


def test_a_pipeline_over_series_on_disk(tmp_path):
    from sklearn_shortcuts.images import SeriesFiles

    values, y = volumes(12, 6)
    for row, volume in enumerate(values):
        write_series(tmp_path / f"{row:02d}", np.round(100 * volume[: 4 + row % 3]), seed=row)
    bunch = ImageBunch(SeriesFiles.from_folder(tmp_path))
    pipeline = make_pipeline(SliceSampler(size=8), network(max_epochs=15, lr=0.02, n_draws=2))
    assert cross_val_score(pipeline, bunch, y, cv=2, scoring="roc_auc").mean() > 0.9
