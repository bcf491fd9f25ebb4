"""Dermoscopic images."""

import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.datasets import load_isic2019
from tests.datasets.trees import draw, save

CLASSES = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
ROWS = [
    ("ISIC_0000000", "NV", "HAM_0000001", 55.0, "female"),
    ("ISIC_0000001_downsampled", "MEL", "MSK4_0011128", np.nan, "male"),
    ("ISIC_0000002", "NV", "HAM_0000001", 55.0, "female"),
    ("ISIC_0000003", "SCC", "BCN_0003884", 80.0, np.nan),
    ("ISIC_0000004", "BCC", np.nan, 30.0, "male"),
]


@pytest.fixture
def root(tmp_path):
    for name, *_ in ROWS:
        save(tmp_path / f"ISIC_2019_Training_Input/{name}.jpg", np.repeat(draw()[0][..., None], 3, axis=2))
    truth = pd.DataFrame({"image": [row[0] for row in ROWS]})
    for label in CLASSES:
        truth[label] = [float(row[1] == label) for row in ROWS]
    truth.to_csv(tmp_path / "ISIC_2019_Training_GroundTruth.csv", index=False)
    details = pd.DataFrame(
        [(name, age, "anterior torso", lesion, sex) for name, _, lesion, age, sex in ROWS],
        columns=["image", "age_approx", "anatom_site_general", "lesion_id", "sex"],
    )
    details.iloc[::-1].to_csv(tmp_path / "ISIC_2019_Training_Metadata.csv", index=False)
    return tmp_path


def test_classes_lesions_and_sources(root):
    X, y = load_isic2019(root, size=(24, 16), return_X_y=True)
    assert X.shape == (5, 3, 24, 16)
    assert y.tolist() == ["NV", "MEL", "NV", "SCC", "BCC"]
    assert X.groups.tolist() == ["HAM_0000001", "MSK4_0011128", "HAM_0000001", "BCN_0003884", "image ISIC_0000004"]
    metadata = X.metadata
    assert metadata["source"].iloc[:4].tolist() == ["HAM", "MSK", "HAM", "BCN"]
    assert pd.isna(metadata["source"].iloc[4])
    assert metadata["age"].iloc[[0, 3]].tolist() == [55, 80]
    assert metadata["sex"].iloc[[0, 1]].tolist() == ["female", "male"]
    assert metadata["downsampled"].tolist() == [False, True, False, False, False]
    assert metadata["anatomical_site"].eq("anterior torso").all()
    pixels = np.asarray(X)
    assert pixels[:, :, 12, 8].min() > 0.8
    assert pixels[:, :, 1, 8].max() < 0.2


def test_rows_that_name_no_class_or_two(root):
    path = root / "ISIC_2019_Training_GroundTruth.csv"
    truth = pd.read_csv(path)
    truth.loc[2, "MEL"] = 1.0
    truth.to_csv(path, index=False)
    with pytest.raises(ValueError, match="1 rows do not name exactly one class, such as ISIC_0000002"):
        load_isic2019(root)


def test_missing_files(root):
    (root / "ISIC_2019_Training_Input/ISIC_0000003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)1 of 5 images .*such as ISIC_0000003\..*challenge\.isic-archive"):
        load_isic2019(root)
    with pytest.warns(UserWarning, match="1 of 5 images"):
        X, y = load_isic2019(root, size=8, on_missing="drop", return_X_y=True)
    assert y.tolist() == ["NV", "MEL", "NV", "BCC"]
    assert np.asarray(X).shape == (4, 3, 8, 8)
    (root / "ISIC_2019_Training_Metadata.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)found   images.*missing metadata: ISIC_2019_Training_Metadata"):
        load_isic2019(root)


def test_tables_without_their_columns(root):
    (root / "ISIC_2019_Training_Metadata.csv").write_text("image,age\nISIC_0000000,3\n")
    with pytest.raises(ValueError, match=r"lacks the columns \['lesion_id'\]"):
        load_isic2019(root)
