"""Endoscopic images."""

import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.datasets import load_hyperkvasir
from tests.datasets.trees import draw, overlap, save

FINDINGS = {
    "a1": "lower-gi-tract/pathological-findings/polyps",
    "a2": "lower-gi-tract/anatomical-landmarks/cecum",
    "a3": "upper-gi-tract/pathological-findings/esophagitis-a",
    "a4": "upper-gi-tract/anatomical-landmarks/pylorus",
}


def color(gray):
    return np.repeat(gray[..., None], 3, axis=2)


@pytest.fixture
def root(tmp_path):
    for name, folder in FINDINGS.items():
        save(tmp_path / f"labeled-images/{folder}/{name}.jpg", color(draw()[0]))
    table = pd.DataFrame({"Video file": list(FINDINGS), "Organ": "GI", "Finding": "f", "Classification": "c"})
    table.to_csv(tmp_path / "labeled-images/image-labels.csv", index=False)
    for row in range(2):
        image, mask = draw((80, 100), (16, 20 + 8 * row, 40, 48))
        save(tmp_path / f"segmented-images/images/s{row}.jpg", color(image))
        save(tmp_path / f"segmented-images/masks/s{row}.jpg", color(mask.astype(np.uint8) * 255))
    (tmp_path / "segmented-images/bounding-boxes.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("target", "values"),
    [
        ("finding", {"polyps", "cecum", "esophagitis-a", "pylorus"}),
        ("kind", {"pathological-findings", "anatomical-landmarks"}),
        ("tract", {"lower", "upper"}),
        ("pathological", {0, 1}),
    ],
)
def test_labels_are_the_folders(root, target, values):
    X, y = load_hyperkvasir(root, target=target, size=20, return_X_y=True)
    assert X.shape == (4, 3, 20, 20)
    assert set(y.tolist()) == values
    expected = X.metadata["file"].str[:2].map(FINDINGS).str.split("/", expand=True)
    assert (X.metadata["finding"] == expected[2]).all()
    assert (X.metadata["kind"] == expected[1]).all()
    assert (X.metadata["pathological"] == (expected[1] == "pathological-findings")).all()
    assert "groups" not in X.fields


def test_polyps_and_their_masks(root):
    X, y = load_hyperkvasir(root, subset="segmented", size=(40, 50), return_X_y=True)
    assert X.shape == (2, 3, 40, 50)
    assert y.tolist() == ["polyps", "polyps"]
    assert (overlap(X) > 0.93).all()
    (root / "segmented-images/masks/s1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 segmented images have no mask, such as .*s1\.jpg"):
        load_hyperkvasir(root, subset="segmented")


def test_official_split(root, tmp_path):
    path = tmp_path / "2_fold_split.csv"
    names = [f"{name}.jpg" for name in FINDINGS]
    pd.DataFrame({"file-name": names, "class-name": "c", "split-index": [0, 1, 1, 0]}).to_csv(
        path, sep=";", index=False
    )
    X = load_hyperkvasir(root, size=8, official_split=path)
    folds = dict(zip(X.metadata["file"], X.metadata["fold"]))
    assert folds == {"a1.jpg": 0, "a2.jpg": 1, "a3.jpg": 1, "a4.jpg": 0}
    with pytest.raises(ValueError, match=r"names no fold for 2 of 2 images, such as s0\.jpg"):
        load_hyperkvasir(root, subset="segmented", official_split=path)


def test_table_and_folders_must_agree(root):
    (root / f"labeled-images/{FINDINGS['a2']}/a2.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 images of image-labels\.csv have no file, such as a2"):
        load_hyperkvasir(root)
    with pytest.warns(UserWarning, match="1 of 4 images of image-labels.csv have no file"):
        assert len(load_hyperkvasir(root, on_missing="drop")) == 3
    save(root / f"labeled-images/{FINDINGS['a2']}/zz.jpg", color(draw()[0]))
    with pytest.raises(ValueError, match=r"1 files are not in image-labels\.csv, such as zz"):
        load_hyperkvasir(root)
    save(root / "labeled-images/lower-gi-tract/stray.jpg", color(draw()[0]))
    with pytest.raises(ValueError, match=r"stray\.jpg' does not lie in <tract>/<kind>/<finding>"):
        load_hyperkvasir(root)


def test_missing_folders(tmp_path):
    (tmp_path / "labeled-images/lower-gi-tract").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"(?s)found   lower tract.*missing upper tract.*datasets\.simula\.no"):
        load_hyperkvasir(tmp_path)
    (tmp_path / "labeled-images/upper-gi-tract").mkdir()
    with pytest.raises(FileNotFoundError, match="there are no images"):
        load_hyperkvasir(tmp_path)
