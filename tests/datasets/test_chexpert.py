"""Radiographs with uncertain observations."""

import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.datasets import load_chexpert
from sklearn_shortcuts.datasets._chexpert import _OBSERVATIONS
from tests.datasets.test_chexmask_table import chexmask_row
from tests.datasets.trees import draw, save

RELEASE = "CheXpert-v1.0-small"
ROWS = [
    # path, projection, view, cardiomegaly, edema
    ("train/patient00001/study1/view1_frontal.jpg", "Frontal", "AP", 1.0, np.nan),
    ("train/patient00001/study2/view1_frontal.jpg", "Frontal", "PA", -1.0, 0.0),
    ("train/patient00001/study2/view2_lateral.jpg", "Lateral", None, -1.0, 0.0),
    ("train/patient00002/study1/view1_frontal.jpg", "Frontal", "AP", 0.0, -1.0),
    ("valid/patient64541/study1/view1_frontal.jpg", "Frontal", "AP", 0.0, 1.0),
]


def tables(folder):
    rows = [
        {
            "Path": f"{RELEASE}/{path}",
            "Sex": "Female",
            "Age": 70 + number,
            "Frontal/Lateral": projection,
            "AP/PA": view,
            **dict.fromkeys(_OBSERVATIONS, np.nan),
            "Cardiomegaly": cardiomegaly,
            "Edema": edema,
        }
        for number, (path, projection, view, cardiomegaly, edema) in enumerate(ROWS)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "valid"):
        chosen = [row for row in rows if f"/{part}/" in row["Path"]]
        pd.DataFrame(chosen).to_csv(folder / f"{part}.csv", index=False)


@pytest.fixture
def root(tmp_path):
    tables(tmp_path)
    for number, (path, *_) in enumerate(ROWS):
        save(tmp_path / path, np.full((39, 32), 30 + 40 * number, np.uint8))
    return tmp_path


def test_patients_projections_and_brightness_of_the_right_file(root):
    X, y = load_chexpert(root, size=8, resize="stretch", return_X_y=True)
    assert X.shape == (3, 8, 8)
    assert y.shape == (3, 14)
    assert list(y.columns) == list(_OBSERVATIONS)
    assert X.groups.tolist() == ["patient00001", "patient00001", "patient00002"]
    np.testing.assert_allclose(np.asarray(X).mean(axis=(1, 2)) * 255, [30, 70, 150], atol=1)
    assert X.metadata["view"].tolist() == ["AP", "PA", "AP"]
    assert X.metadata["age"].tolist() == [70, 71, 73]
    assert X.metadata["file"].tolist() == [ROWS[row][0] for row in (0, 1, 3)]
    assert len(load_chexpert(root, projection="all")) == 4
    assert load_chexpert(root, projection="lateral").metadata["projection"].tolist() == ["lateral"]
    everyone = load_chexpert(root, subset="all")
    assert everyone.metadata["split"].tolist() == ["train"] * 3 + ["valid"]


@pytest.mark.parametrize(
    ("uncertain", "expected"),
    [
        ("negative", [[1, 0], [0, 0], [0, 0]]),
        ("positive", [[1, 0], [1, 0], [0, 1]]),
        ("ignore", [[1, 0]]),
        ("nan", [[1, 0], [np.nan, 0], [0, np.nan]]),
        ({"Cardiomegaly": "ignore", "Edema": "positive"}, [[1, 0], [0, 1]]),
    ],
)
def test_uncertain_observations(root, uncertain, expected):
    y = load_chexpert(root, labels=["Cardiomegaly", "Edema"], uncertain=uncertain).target
    np.testing.assert_array_equal(y.to_numpy(dtype=float), expected)
    assert y.dtypes.eq(np.float64 if uncertain == "nan" else np.int8).all()


def test_ignoring_looks_at_the_chosen_labels_only(root):
    X = load_chexpert(root, labels=["Edema"], uncertain="ignore", size=8, resize="stretch")
    np.testing.assert_allclose(np.asarray(X).mean(axis=(1, 2)) * 255, [30, 70], atol=1)
    assert len(load_chexpert(root, labels="Fracture", uncertain="ignore")) == 3


def test_policies_that_make_no_sense(root):
    with pytest.raises(ValueError, match="uncertain must be one of"):
        load_chexpert(root, uncertain="maybe")
    with pytest.raises(ValueError, match=r"uncertain gives no policy for \['Edema'\]"):
        load_chexpert(root, labels=["Edema"], uncertain={"Cardiomegaly": "ignore"})
    table = pd.read_csv(root / "train.csv")
    table.loc[0, "Edema"] = 2
    table.to_csv(root / "train.csv", index=False)
    with pytest.raises(ValueError, match="observations must be -1, 0, 1 or blank, got 2"):
        load_chexpert(root)


def test_the_full_release_in_batches(tmp_path):
    root = tmp_path / "CheXpert"
    tables(root)
    for number, (path, *_) in enumerate(ROWS):
        part, patient, *rest = path.split("/")
        folder = "CheXpert-v1.0 batch 1 (validate & csv)/valid" if part == "valid" else ""
        folder = folder or f"CheXpert-v1.0 batch {2 if patient.endswith('1') else 3} (train {patient[-1]})"
        if part == "train":
            save(root.joinpath(folder, patient, *rest), np.full((39, 32), 30 + 40 * number, np.uint8))
    X = load_chexpert(root, size=8, resize="stretch")
    np.testing.assert_allclose(np.asarray(X).mean(axis=(1, 2)) * 255, [30, 70, 150], atol=1)


def test_missing_images(root):
    (root / ROWS[1][0]).unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images .*study2.view1_frontal\.jpg"):
        load_chexpert(root)
    with pytest.warns(UserWarning, match="1 of 3 images"):
        X, y = load_chexpert(root, labels=["Edema"], uncertain="positive", on_missing="drop", return_X_y=True)
    assert y["Edema"].tolist() == [0, 1]
    assert X.groups.tolist() == ["patient00001", "patient00002"]
    with pytest.raises(FileNotFoundError, match=r"(?s)missing test table: test\.csv.*stanfordmlgroup"):
        load_chexpert(root, subset="test")


def test_chexmask_is_scaled_with_the_image(root, tmp_path):
    """Its masks were drawn on images ten times as large as those of the small release."""
    row, mask = chexmask_row(f"CheXpert-v1.0/{ROWS[3][0]}", (390, 320), column="Path")
    path = tmp_path / "masks.csv"
    pd.DataFrame([row]).to_csv(path, index=False)
    save(root / ROWS[3][0], np.where(mask[5::10, 5::10], 220, 10).astype(np.uint8))
    with pytest.warns(UserWarning, match="2 of 3 images are not in the CheXmask table"):
        X = load_chexpert(root, masks=path, size=(39, 39))
    assert X.has_mask.tolist() == [False, False, True]
    lungs, bright = np.asarray(X[[2]].masks)[0], np.asarray(X[[2]])[0] > 0.5
    assert (lungs == bright).mean() > 0.98
    assert lungs.sum() > 100


def test_a_path_without_patient(root):
    table = pd.read_csv(root / "valid.csv")
    table["Path"] = "CheXpert-v1.0-small/valid/somebody/view1_frontal.jpg"
    table.to_csv(root / "valid.csv", index=False)
    with pytest.raises(ValueError, match="names no patient<number> folder"):
        load_chexpert(root, subset="valid")
    save(root / "x.png", draw()[0])
