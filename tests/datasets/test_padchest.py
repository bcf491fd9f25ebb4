"""Radiographs from Alicante."""

import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.datasets import load_padchest
from tests.datasets.test_chexmask_table import chexmask_row
from tests.datasets.trees import save

ROWS = [
    # name, patient, birth, study, projection, manufacturer, labels
    ("a.png", "p1", 1950.0, 20100102, "PA", "PhilipsMedicalSystems", "['Cardiomegaly ', ' pleural effusion', '']"),
    ("b.png", "p1", 1950.0, 20110102, "L", "PhilipsMedicalSystems", "['normal']"),
    ("c.png", "p2", np.nan, 20120102, "AP_horizontal", "ImagingDynamicsCompanyLtd", "['pneumothorax', 'pneumothorax']"),
    ("d.png", "p3", 1980.0, 20130102, "AP", "ImagingDynamicsCompanyLtd", "['normal', 'suboptimal study']"),
    ("e.png", "p4", 1990.0, 20140102, "PA", "ImagingDynamicsCompanyLtd", "['Unchanged', 'pneumonia']"),
    ("f.png", "p5", 1991.0, 20150102, "PA", "PhilipsMedicalSystems", np.nan),
    ("g.png", "p6", 1870.0, 20160102, "PA", "PhilipsMedicalSystems", "[' atelectasis', 'pneumonia']"),
    ("h.png", "p7", 2000.0, 20170102, "PA", "PhilipsMedicalSystems", "['normal']"),
]
COLUMNS = ["ImageID", "PatientID", "PatientBirth", "StudyDate_DICOM", "Projection", "Manufacturer_DICOM", "Labels"]


@pytest.fixture
def root(tmp_path):
    table = pd.DataFrame(ROWS, columns=COLUMNS)
    table["ImageDir"] = np.arange(len(ROWS)) % 3
    table["PatientSex_DICOM"], table["BitsStored_DICOM"], table["Report"] = "F", 12, "free text"
    table.to_csv(tmp_path / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv")
    for number, folder in enumerate(table["ImageDir"]):
        pixels = np.linspace(0, 65535 * (number + 1) / len(ROWS), 48 * 36).reshape(48, 36).astype(np.uint16)
        save(tmp_path / f"{folder}/{ROWS[number][0]}", pixels)
    return tmp_path


def test_published_selection_and_cleaned_labels(root):
    X, y = load_padchest(root, size=(48, 36), return_X_y=True)
    assert X.metadata["file"].tolist() == ["a.png", "c.png", "g.png", "h.png"]
    assert y.to_numpy().tolist() == [[1, 0, 0, 0, 1], [0, 0, 0, 1, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert y.columns.tolist() == ["cardiomegaly", "pneumonia", "atelectasis", "pneumothorax", "pleural effusion"]
    assert X.groups.tolist() == ["p1", "p2", "p6", "p7"]
    np.testing.assert_allclose(np.asarray(X).max(axis=(1, 2)), np.array([1, 3, 7, 8]) / 8, atol=1e-4)


def test_metadata_is_acquisition_without_reports(root):
    metadata = load_padchest(root, size=8).metadata
    assert metadata["manufacturer"].tolist()[1] == "ImagingDynamicsCompanyLtd"
    assert metadata["view"].tolist() == ["PA", "AP_horizontal", "PA", "PA"]
    assert metadata["birth_year"].iloc[[0, 3]].tolist() == [1950, 2000]
    assert metadata["age"].iloc[[0, 3]].tolist() == [60, 17]
    assert metadata["age"].iloc[[1, 2]].isna().all()
    assert metadata["bits_stored"].tolist() == [12] * 4
    assert not {"Report", "StudyDate_DICOM", "PatientID"} & set(metadata.columns)


def test_selection_of_choice(root):
    X = load_padchest(root, labels=["Normal"], projections=None, exclude=(), invalid=["h.png"], size=8)
    assert X.metadata["file"].tolist() == ["a.png", "b.png", "c.png", "d.png", "e.png", "g.png"]
    assert X.target["normal"].tolist() == [0, 1, 0, 1, 0, 0]
    with pytest.raises(ValueError, match=r"labels \['effusion'\] never occur in the selected rows; known are such as"):
        load_padchest(root, labels=["pneumonia", "effusion"])
    with pytest.raises(ValueError, match="no row is left: 7 rows before, none after projections"):
        load_padchest(root, projections="COSTAL")


def test_labels_are_parsed_not_evaluated(root):
    path = root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    table = pd.read_csv(path, index_col=0)
    table.loc[0, "Labels"] = "[__import__('os').getcwd()]"
    table.to_csv(path)
    with pytest.raises(ValueError, match=r"Labels of image a\.png cannot be read"):
        load_padchest(root)


def test_lungs_and_drains(root, tmp_path):
    first, mask = chexmask_row("c.png", (48, 36), swapped=True)
    second, _ = chexmask_row("h.png", (48, 36), dice=0.5)
    path = tmp_path / "Padchest.csv.gz"
    pd.DataFrame([first, second]).to_csv(path, index=False)
    drains = tmp_path / "drains.csv"
    drains.write_text("ImageID,Drain\nc.png,1\n")
    with pytest.warns(UserWarning, match="2 of 4 images are not in the CheXmask table and 0 of its masks"):
        X = load_padchest(root, masks=path, drains=drains, size=(48, 36))
    assert X.has_mask.tolist() == [False, True, False, False]
    np.testing.assert_array_equal(np.asarray(X.masks)[1], mask)
    assert X.metadata["drain"].tolist()[1] == 1
    assert X.metadata["drain"].isna().tolist() == [True, False, True, True]
    with pytest.warns(UserWarning, match="2 of 4"):
        assert load_padchest(root, masks=path, min_dice=0.5, size=8).has_mask.tolist() == [False, True, False, True]


def test_missing_images_and_table(root):
    (root / "2/c.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)1 of 4 images .* such as c\.png.*bimcv\.cipf\.es"):
        load_padchest(root)
    with pytest.warns(UserWarning, match="1 of 4 images"):
        assert load_padchest(root, size=8, on_missing="drop").groups.tolist() == ["p1", "p6", "p7"]
    with pytest.warns(UserWarning, match="3 of 4 images"):
        assert load_padchest(root, images=root / "1", size=8, on_missing="drop").groups.tolist() == ["p7"]
    with pytest.raises(FileNotFoundError, match=r"(?s)missing table: PADCHEST_chest.*nothing is downloaded"):
        load_padchest(root / "0")


def test_patients_are_text_and_none_is_missing(root):
    (path,) = root.glob("PADCHEST*.csv*")
    table = pd.read_csv(path, dtype=str)
    numbers = [str(9007199254740992 + row) for row in range(len(table))]
    table.assign(PatientID=numbers).to_csv(path, index=False)
    assert set(load_padchest(root, size=8).groups) <= set(numbers)
    table.assign(PatientID=[None, *numbers[1:]]).to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"groups: 1 rows have no patient, the first is row 0"):
        load_padchest(root, size=8)
