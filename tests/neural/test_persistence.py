"""Saved classifiers: the same answers, nothing executed, clear refusals."""

import json
import os
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch.callbacks import LRScheduler
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.neural import CrossEntropy, ECGResNet, NeuralImageClassifier, RandomGeometry, SmallCNN

TINY = SmallCNN(width=4, depth=2)


def model(**parameters):
    return NeuralImageClassifier(**{"module": TINY, "max_epochs": 2, "batch_size": 16, "random_state": 0, **parameters})


def network(image_shape, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(image_shape)), n_outputs))


VARIANTS = {
    "plain": {},
    "text classes": {"names": np.array(["no", "yes"])},
    "object classes": {"names": np.array(["no", "yes"], dtype=object)},
    "bool classes": {"names": np.array([False, True])},
    "batch norm": {"module": SmallCNN(width=4, norm="batch")},
    "normalized": {"normalize": "channel", "class_weight": {0: 1.0, 1: 2.0}},
    "criterion": {"criterion": CrossEntropy(0.1), "augmentation": RandomGeometry(hflip=0.5), "early_stopping": True},
    "double": {"precision": "float64", "random_state": np.random.RandomState(3)},
    "frozen": {"freeze": 1},
    "numpy parameters": {"lr": np.float64(0.01), "max_epochs": np.int64(2), "image_shape": [1, 16, 16]},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_loaded_classifier_answers_the_same(spots, tmp_path, variant):
    options = dict(VARIANTS[variant])
    names = options.pop("names", np.arange(2))
    images, codes = spots()
    fitted = model(**options).fit(images, names[codes])
    fitted.save(tmp_path / "model.zip")
    again = NeuralImageClassifier.load(tmp_path / "model.zip")
    np.testing.assert_array_equal(again.predict_proba(images), fitted.predict_proba(images))
    np.testing.assert_array_equal(again.predict(images), fitted.predict(images))
    assert again.predict(images).dtype == fitted.predict(images).dtype
    assert str(again) == str(fitted) or variant in ("double", "numpy parameters")
    pd.testing.assert_frame_equal(again.history_, fitted.history_, check_exact=False)
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]
    frozen = [weight.requires_grad for weight in again.module_.parameters()]
    assert frozen == [weight.requires_grad for weight in fitted.module_.parameters()]


def test_training_goes_on_after_loading(spots, tmp_path):
    images, codes = spots()
    model(warm_start=True).fit(images, codes).save(tmp_path / "model.zip")
    again = NeuralImageClassifier.load(tmp_path / "model.zip", max_epochs=8, lr=0.01)
    assert again.fit(images, codes).n_iter_ == 10
    assert again.history_.epoch.tolist() == list(range(1, 11))
    assert again.score(images, codes) == 1.0


def test_labels_signals_and_feature_names(spots, tmp_path):
    images, codes = spots(size=8)
    frame = pd.DataFrame(images.reshape(48, -1)).rename(columns="p{}".format)
    y = pd.DataFrame({"edema": codes, "effusion": 1 - codes})
    fitted = model(module=ECGResNet(width=4), image_shape=(1, 64), max_epochs=1).fit(frame, y)
    fitted.save(str(tmp_path / "model.zip"))
    again = NeuralImageClassifier.load(str(tmp_path / "model.zip"))
    assert again.label_names_.tolist() == ["edema", "effusion"]
    assert again.image_shape_ == (1, 64)
    np.testing.assert_array_equal(again.feature_names_in_, fitted.feature_names_in_)
    np.testing.assert_array_equal(again.predict_proba(frame), fitted.predict_proba(frame))
    pickle.dumps(again)


@pytest.mark.parametrize("kind", ["function", "network"])
def test_what_a_file_cannot_hold_has_to_be_given(spots, tmp_path, build, kind):
    images, codes = spots(size=8)
    mine = network if kind == "function" else build(network, (1, 8, 8), 2)
    schedule = LRScheduler("StepLR", step_size=1)
    fitted = model(module=mine, callbacks=[schedule]).fit(images, codes)
    fitted.save(tmp_path / "model.zip")
    name = "network" if kind == "function" else "Sequential"
    with pytest.raises(ValueError, match=rf"cannot hold the parameter module={name}.*load\(path, module=\.\.\.\)"):
        NeuralImageClassifier.load(tmp_path / "model.zip", callbacks=None)
    with pytest.raises(ValueError, match="cannot hold the parameter callbacks=LRScheduler"):
        NeuralImageClassifier.load(tmp_path / "model.zip", module=mine)
    again = NeuralImageClassifier.load(tmp_path / "model.zip", module=mine, callbacks=None)
    np.testing.assert_array_equal(again.predict_proba(images), fitted.predict_proba(images))
    with pytest.raises(ValueError, match="do not fit the module"):
        NeuralImageClassifier.load(tmp_path / "model.zip", module=TINY, callbacks=None)


def test_other_files_are_refused(spots, tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"model.zip is not a file that NeuralImageClassifier.save wrote"):
        NeuralImageClassifier.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "")
    with pytest.raises(ValueError, match="is not a file that"):
        NeuralImageClassifier.load(path)
    with pytest.raises(FileNotFoundError):
        NeuralImageClassifier.load(tmp_path / "nowhere.zip")
    with pytest.raises(NotFittedError):
        model().save(path)


class Explosive:
    def __reduce__(self):
        return (pytest.fail, ("a pickled object was made",))


def rewrite(path, change):
    with zipfile.ZipFile(path) as archive:
        content, weights = json.loads(archive.read("classifier.json")), archive.read("weights.pt")
    weights = change(content) or weights
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("classifier.json", json.dumps(content))
        archive.writestr("weights.pt", weights)


def test_a_file_cannot_run_anything(spots, tmp_path):
    path = tmp_path / "model.zip"
    model(max_epochs=1).fit(*spots()).save(path)

    def as_pickle(content):
        torch.save(Explosive(), tmp_path / "weights.pt")
        return (tmp_path / "weights.pt").read_bytes()

    rewrite(path, as_pickle)
    with pytest.raises(ValueError, match=r"weights in .*model.zip are damaged, or hold more than tensors"):
        NeuralImageClassifier.load(path)
    for location in (["neural", "load_weights"], ["os", "system"], ["neural._weights", "torch"], ["neural", "Path"]):
        model(max_epochs=1).fit(*spots()).save(path)

        def as_class(content, location=location):
            content["parameters"]["module"] = {"estimator": location, "parameters": {}}

        rewrite(path, as_class)
        with pytest.raises((ValueError, ModuleNotFoundError)):
            NeuralImageClassifier.load(path)


DAMAGE = {
    "no format": lambda content: content.pop("format") and None,
    "no state": lambda content: content.pop("state") and None,
    "other parameter": lambda content: content["parameters"].update(cleverness=1),
    "other parameter of the module": lambda content: content["parameters"]["module"]["parameters"].update(height=1),
    "no classes": lambda content: content["encoding"].update(classes=5),
    "no weights": lambda content: b"junk",
    "pickled weights": lambda content: pickle.dumps({"a": Explosive}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_refused_by_name(spots, tmp_path, damage):
    path = tmp_path / "model.zip"
    model(max_epochs=1).fit(*spots()).save(path)
    rewrite(path, DAMAGE[damage])
    with pytest.raises(ValueError, match=r"model\.zip"):
        NeuralImageClassifier.load(path)


def test_flipped_and_missing_bytes_are_noticed(spots, tmp_path):
    path = tmp_path / "model.zip"
    model(max_epochs=1).fit(*spots()).save(path)
    content = path.read_bytes()
    parts = [content[: len(content) // 2]]
    parts += [content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :] for at in (500, len(content) // 2)]
    for part in parts:
        path.write_bytes(part)
        with pytest.raises(ValueError, match="or it is damaged"):
            NeuralImageClassifier.load(path)


def test_unknown_parameters_are_named(spots, tmp_path):
    model(max_epochs=1).fit(*spots()).save(tmp_path / "model.zip")
    with pytest.raises(TypeError, match="no parameters \\['cleverness'\\]"):
        NeuralImageClassifier.load(tmp_path / "model.zip", cleverness=1)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_the_file_has_the_usual_permissions(spots, tmp_path):
    model(max_epochs=1).fit(*spots()).save(tmp_path / "model.zip")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "model.zip").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_label_names_of_any_type_are_kept(spots, tmp_path):
    images, codes = spots()
    y = pd.DataFrame(np.column_stack([codes, 1 - codes]), columns=["a", 1])
    fitted = model(max_epochs=1).fit(images, y)
    fitted.save(tmp_path / "model.zip")
    assert NeuralImageClassifier.load(tmp_path / "model.zip").label_names_.tolist() == ["a", 1]


def test_later_formats_and_other_classes_are_refused(spots, tmp_path):
    path = tmp_path / "model.zip"
    model(max_epochs=1).fit(*spots()).save(path)
    rewrite(path, lambda content: content.update(format=99, version="77.0"))
    with pytest.raises(ValueError, match=r"written by version 77.0"):
        NeuralImageClassifier.load(path)
    rewrite(path, lambda content: content.update({"class": "Other"}))
    with pytest.raises(ValueError, match="holds a Other"):
        NeuralImageClassifier.load(path)


def test_an_interrupted_save_leaves_the_old_file(spots, tmp_path, monkeypatch):
    images, codes = spots()
    fitted = model().fit(images, codes)
    fitted.save(tmp_path / "model.zip")
    before = (tmp_path / "model.zip").read_bytes()
    monkeypatch.setattr(zipfile.ZipFile, "writestr", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        fitted.save(tmp_path / "model.zip")
    assert (tmp_path / "model.zip").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_the_file_is_small_and_holds_no_images(spots, tmp_path):
    images, codes = spots(n=300, size=32)
    fitted = model(max_epochs=1).fit(ImageBunch(images.astype(np.float32)), codes)
    fitted.save(tmp_path / "model.zip")
    n_weights = sum(weight.numel() for weight in fitted.module_.parameters())
    assert (tmp_path / "model.zip").stat().st_size < 4 * n_weights + 40_000
