"""Fundus photographs of three cameras."""

import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.datasets import load_chaksu
from tests.datasets.trees import draw, overlap, save

# split, camera, file on disk, name in the table, decision
PHOTOGRAPHS = [
    ("Train", "Bosch", "P1_Image1.JPG", "P1_Image1.jpg-P1_Image1-1.jpg", "NORMAL"),
    ("Train", "Bosch", "P1_Image2.JPG", "P1_Image2.jpg-P1_Image2-1.jpg", "GLAUCOMA SUSPECT"),
    ("Train", "Bosch", "Image7.JPG", "Image7.jpg-Image7-1.jpg", "NORMAL"),
    ("Train", "Forus", "12.png", "12.jpg-12-1.jpg", "GLAUCOMA  SUSUPECT"),
    ("Train", "Remidio", "IMG_2431.JPG", "IMG_2431.tif-IMG_2431-1.tif", "NORMAL"),
    ("Test", "Bosch", "P2_Image1.JPG", "P2_Image1.jpg-P2_Image1-1.jpg", "NORMAL"),
    ("Test", "Forus", "12.png", "12.jpg-12-1.jpg", "NORMAL"),
    ("Test", "Remidio", "IMG_9.JPG", "IMG_9.tif-IMG_9-1.tif", " glaucoma suspect "),
]


@pytest.fixture
def root(tmp_path):
    for number, (split, camera, file, _, _) in enumerate(PHOTOGRAPHS):
        image, disc = draw((60, 80), (12, 16 + 4 * (number % 3), 24, 32))
        save(tmp_path / split / "1.0_Original_Fundus_Images" / camera / file, np.repeat(image[..., None], 3, axis=2))
        _, cup = draw((60, 80), (20, 24 + 4 * (number % 3), 8, 16))
        folder = "Remedio" if (split, camera) == ("Test", "Remidio") else camera
        name = f"{file.rsplit('.', 1)[0]}.{'tif' if camera == 'Remidio' else 'png'}"
        fused = np.where(cup, 255, np.where(disc, 127, 0)).astype(np.uint8)
        if file != "Image7.JPG":  # a photograph without an outline
            save(tmp_path / split / "4.0_OD_CO_Fusion_Images" / folder / "STAPLE" / name, fused)
    for split in ("Train", "Test"):
        for camera in ("Bosch", "Forus", "Remidio"):
            # The Bosch tables of both splits are the same.
            rows = [p for p in PHOTOGRAPHS if p[1] == camera and (p[0] == split or camera == "Bosch")]
            title = "Majority Decision" if camera == "Bosch" else "Glaucoma Decision"
            table = pd.DataFrame({"Images": [p[3] for p in rows], "Expert.1": "NORMAL", title: [p[4] for p in rows]})
            path = tmp_path / split / f"6.0_Glaucoma_Decision/Glaucoma_Decision_Comparison_{camera}_majority.csv"
            path.parent.mkdir(exist_ok=True)
            table.to_csv(path, index=False)
    return tmp_path


def test_decisions_patients_and_cameras(root):
    X, y = load_chaksu(root, size=(30, 40), return_X_y=True)
    assert X.shape == (8, 3, 30, 40)
    by_file = dict(zip(zip(X.metadata["split"], X.metadata["camera"], X.metadata["file"]), zip(y, X.groups)))
    expected = {(s.lower(), c, f): int("GLAUCOMA" in d.upper()) for s, c, f, _, d in PHOTOGRAPHS}
    assert {key: value[0] for key, value in by_file.items()} == expected
    assert by_file[("train", "Bosch", "P1_Image1.JPG")][1] == by_file[("train", "Bosch", "P1_Image2.JPG")][1]
    assert len({group for _, group in by_file.values()}) == 7


def test_disc_and_cup(root):
    X = load_chaksu(root, size=(30, 40))
    has_mask = X.metadata["file"] != "Image7.JPG"
    assert (X.has_mask == has_mask).all()
    assert (overlap(X[has_mask.to_numpy()]) > 0.9).all()
    cup = np.asarray(load_chaksu(root, size=(30, 40), masks="cup").masks)
    disc = np.asarray(X.masks)
    assert (cup <= disc).all()
    assert (cup.sum(axis=(1, 2))[has_mask] == 4 * 8).all()
    assert "masks" not in load_chaksu(root, size=8, masks=None).fields


def test_subsets_and_cameras(root):
    X = load_chaksu(root, subset="test", cameras="Forus", size=8)
    assert X.metadata[["camera", "split", "file"]].to_numpy().tolist() == [["Forus", "test", "12.png"]]
    assert set(load_chaksu(root, subset="train", cameras=["Bosch", "Remidio"]).metadata["camera"]) == {
        "Bosch",
        "Remidio",
    }


def test_missing_photographs(root):
    (root / "Test/1.0_Original_Fundus_Images/Remidio/IMG_9.JPG").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)1 of 8 photographs .* such as img_9.*figshare"):
        load_chaksu(root)
    with pytest.warns(UserWarning, match="1 of 8 photographs"):
        assert len(load_chaksu(root, on_missing="drop")) == 7


def test_missing_folders(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing fused masks: Train/4\.0_OD_CO_Fusion_Images/Bosch/Mean or"):
        load_chaksu(root, fusion="Mean")
    with pytest.raises(FileNotFoundError, match=r"(?s)missing photographs.*missing decisions.*missing fused masks"):
        load_chaksu(tmp_path / "nowhere")


def test_a_decision_that_is_none(root):
    path = root / "Train/6.0_Glaucoma_Decision/Glaucoma_Decision_Comparison_Forus_majority.csv"
    path.write_text("Images,Glaucoma Decision\n12.jpg-12-1.jpg,MAYBE\n")
    with pytest.raises(ValueError, match=r"'Glaucoma Decision' holds \['MAYBE'\], no decision"):
        load_chaksu(root)
