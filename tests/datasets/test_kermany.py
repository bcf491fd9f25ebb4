"""Pediatric radiographs."""

import numpy as np
import pytest

from sklearn_shortcuts.datasets import load_kermany
from tests.datasets.trees import draw, save

FILES = {
    "train/NORMAL/IM-0115-0001.jpeg": ("im-0115", "normal"),
    "train/NORMAL/NORMAL2-IM-0115-0001-0002.jpeg": ("normal2-im-0115", "normal"),
    "train/PNEUMONIA/person1_bacteria_1.jpeg": ("person1", "bacteria"),
    "train/PNEUMONIA/person1_bacteria_2.jpeg": ("person1", "bacteria"),
    "test/NORMAL/NORMAL-1003233-0001.jpeg": ("normal-1003233", "normal"),
    "test/PNEUMONIA/person1_virus_6.jpeg": ("person1", "virus"),
    "test/PNEUMONIA/BACTERIA-1008087-0001.jpeg": ("1008087", "bacteria"),
}


@pytest.fixture
def root(tmp_path):
    for name in FILES:
        save(tmp_path / name, draw((40, 60), (8, 12, 24, 36))[0])
    save(tmp_path / "train/NORMAL/.DS_Store.jpeg", draw()[0])
    return tmp_path


def test_classes_patients_and_kinds_come_from_the_names(root):
    X, y = load_kermany(root, size=(30, 60), return_X_y=True)
    assert X.shape == (7, 30, 60)
    names = [f"{s}/{t}/{f}" for s, t, f in zip(X.metadata["split"], y, X.metadata["file"])]
    assert set(names) == set(FILES)
    for name, patient, kind in zip(names, X.groups, X.metadata["kind"]):
        assert (patient, kind) == FILES[name]
    assert np.asarray(X[[0]]).max() > 0.8
    assert load_kermany(root, channels=3, size=16).shape == (7, 3, 16, 16)


def test_subsets(root):
    assert len(load_kermany(root, subset="train")) == 4
    assert set(load_kermany(root, subset="test").metadata["split"]) == {"test"}
    with pytest.raises(FileNotFoundError, match=r"(?s)missing val NORMAL: val/NORMAL.*data\.mendeley\.com.*nothing is"):
        load_kermany(root, subset="val")
    save(root / "val/NORMAL/IM-0001-0001.jpeg", draw()[0])
    (root / "val/PNEUMONIA").mkdir()
    assert len(load_kermany(root)) == 8


def test_unreadable_files_only_matter_when_asked_for(root):
    (root / "test/PNEUMONIA/person1_virus_6.jpeg").write_bytes(b"")
    X = load_kermany(root, size=8)
    good = np.flatnonzero(X.metadata["file"] != "person1_virus_6.jpeg")
    assert np.asarray(X[good]).shape == (6, 8, 8)
    with pytest.raises(ValueError, match="person1_virus_6"):
        np.asarray(X)


def test_a_name_without_patient_is_refused(root):
    save(root / "train/NORMAL/image.jpeg", draw()[0])
    with pytest.raises(ValueError, match=r"image\.jpeg.*tells no patient"):
        load_kermany(root)


def test_empty_folders(tmp_path):
    for name in ("train/NORMAL", "train/PNEUMONIA"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="there are no images"):
        load_kermany(tmp_path, subset="train")
    with pytest.raises(FileNotFoundError, match=r"(?s)found   train NORMAL.*missing test PNEUMONIA"):
        load_kermany(tmp_path)
