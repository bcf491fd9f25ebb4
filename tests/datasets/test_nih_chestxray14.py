"""Frontal radiographs of the NIH."""

import pickle

import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.datasets import load_nih_chestxray14
from tests.datasets.test_chexmask_table import chexmask_row
from tests.datasets.trees import draw, overlap, save

ROWS = [
    # name, findings, patient, age, sex, view, box (x, y, w, h)
    ("00000001_000.png", "Cardiomegaly|Effusion", 1, "058Y", "M", "PA", (256, 128, 512, 384)),
    ("00000001_001.png", "No Finding", 1, "058Y", "M", "PA", None),
    ("00000002_000.png", "Pneumothorax", 2, "414Y", "F", "AP", (512, 512, 512, 512.5)),
    ("00000003_000.png", "Infiltration|Pleural_Thickening", 3, "081Y", "F", "AP", None),
]


@pytest.fixture
def root(tmp_path):
    """Images at an eighth of their size, in which the box is bright."""
    table, boxes = [], []
    for row, (name, findings, patient, age, sex, view, box) in enumerate(ROWS):
        x, y, w, h = (int(value // 8) for value in box or (0, 0, 8, 8))
        save(tmp_path / f"images_{1 + row % 2:03d}/images/{name}", draw((128, 128), (y, x, h, w))[0])
        table.append((name, findings, row, patient, age, sex, view, 1024, 1024, 0.1, 0.1, ""))
        if box:
            boxes.append(
                f"{name},{findings.split('|')[0].replace('Infiltration', 'Infiltrate')},{','.join(map(str, box))},,,"
            )
    columns = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],Unnamed: 11"
    )
    pd.DataFrame(table, columns=columns.split(",")).to_csv(tmp_path / "Data_Entry_2017.csv", index=False)
    (tmp_path / "BBox_List_2017.csv").write_text(
        "\n".join(["Image Index,Finding Label,Bbox [x,y,w,h],,,", *boxes]) + "\n"
    )
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n00000002_000.png")
    (tmp_path / "test_list.txt").write_text("00000003_000.png\n")
    return tmp_path


def test_findings_patients_and_views(root):
    X, y = load_nih_chestxray14(root, size=16, return_X_y=True)
    assert X.shape == (4, 16, 16)
    assert y.shape == (4, 14)
    positives = [set(y.columns[row == 1]) for row in y.to_numpy()]
    assert positives == [{"Cardiomegaly", "Effusion"}, set(), {"Pneumothorax"}, {"Infiltration", "Pleural_Thickening"}]
    assert X.groups.tolist() == [1, 1, 2, 3]
    metadata = X.metadata
    assert metadata["age"].iloc[[0, 3]].tolist() == [58, 81]
    assert np.isnan(metadata["age"].iloc[2])
    assert metadata["sex"].tolist() == ["M", "M", "F", "F"]
    assert metadata["view"].tolist() == ["PA", "PA", "AP", "AP"]
    assert metadata["split"].tolist() == ["train_val"] * 3 + ["test"]
    assert metadata["file"].tolist() == [row[0] for row in ROWS]


def test_labels_and_subsets(root):
    _, y = load_nih_chestxray14(root, subset="test", labels=["No Finding", "Infiltration"], size=8, return_X_y=True)
    assert y.to_numpy().tolist() == [[0, 1]]
    with pytest.raises(ValueError, match=r"labels must be some of .*got \['Drain'\]"):
        load_nih_chestxray14(root, labels=["Drain"])
    (root / "test_list.txt").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"(?s)found   table.*missing list: test_list\.txt.*nihcc\.app\.box\.com"
    ):
        load_nih_chestxray14(root, subset="test")


def test_boxes_lie_on_their_findings(root):
    X = load_nih_chestxray14(root, masks="boxes", size=64)
    assert X.has_mask.tolist() == [True, False, True, False]
    assert (overlap(X[X.has_mask]) > 0.99).all()
    only = load_nih_chestxray14(root, masks="boxes", labels="Pneumothorax", size=64)
    assert only.has_mask.tolist() == [False, False, True, False]
    again = pickle.loads(pickle.dumps(X[[2]]))
    assert overlap(again)[0] > 0.99


def test_lungs_of_chexmask(root, tmp_path):
    row, mask = chexmask_row("00000002_000.png", (1024, 1024), column="Image Index")
    pd.DataFrame([row]).to_csv(tmp_path / "chexmask.csv", index=False)
    with pytest.warns(UserWarning, match="3 of 4 images are not in the CheXmask table"):
        X = load_nih_chestxray14(root, masks=tmp_path / "chexmask.csv", size=1024)
    assert X.has_mask.tolist() == [False, False, True, False]
    np.testing.assert_array_equal(np.asarray(X[[2]].masks)[0], mask)


def test_drains(root, tmp_path):
    path = tmp_path / "NIH-CX14_TubeAnnotations_NonExperts_aggregated.csv"
    path.write_text(",Image Index,Drain\n0,00000002_000.png,1\n1,00000003_000.png,0\n2,99999999_000.png,1\n")
    drain = load_nih_chestxray14(root, drains=path, size=8).metadata["drain"]
    assert drain.isna().tolist() == [True, True, False, False]
    assert drain.iloc[2:].tolist() == [1, 0]
    path.write_text("Image Index,Drain\n00000002_000.png,1\n00000002_000.png,0\n")
    with pytest.raises(ValueError, match=r"every image needs one Drain of 0 or 1, but row 1"):
        load_nih_chestxray14(root, drains=path)


def test_the_newer_table_wins(root):
    table = pd.read_csv(root / "Data_Entry_2017.csv").rename(columns={"Patient Gender": "Patient Sex"})
    table["Patient Age"] = 33
    table.to_csv(root / "Data_Entry_2017_v2020.csv", index=False)
    metadata = load_nih_chestxray14(root, size=8).metadata
    assert metadata["age"].tolist() == [33] * 4
    assert metadata["sex"].tolist() == ["M", "M", "F", "F"]


def test_missing_and_double_images(root):
    save(root / "images_001/images/00000001_001.png", draw()[0])
    with pytest.warns(UserWarning, match="1 of 4 images"):
        chosen = load_nih_chestxray14(root, images=root / "images_001", size=8, on_missing="drop")
    assert chosen.metadata["file"].tolist() == ["00000001_000.png", "00000001_001.png", "00000002_000.png"]
    with pytest.raises(ValueError, match=r"two files answer to the name '00000001_001\.png'"):
        load_nih_chestxray14(root)
    for folder in ("001", "002"):
        (root / f"images_{folder}/images/00000001_001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 images named in the table have no file, such as 00000001_001"):
        load_nih_chestxray14(root)
    with pytest.warns(UserWarning, match="1 of 4 images"):
        X = load_nih_chestxray14(root, masks="boxes", size=64, on_missing="drop")
    assert X.metadata["file"].tolist() == ["00000001_000.png", "00000002_000.png", "00000003_000.png"]
    assert X.target["Pneumothorax"].tolist() == [0, 1, 0]
    assert (overlap(X[X.has_mask]) > 0.99).all()
