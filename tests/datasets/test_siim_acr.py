"""Outlined pneumothoraces."""

import pickle

import numpy as np
import pytest

from sklearn_shortcuts.datasets import load_siim_acr
from sklearn_shortcuts.images import rle_encode
from tests.datasets.trees import draw, overlap, write_dicom

BOXES = [(100, 200, 300, 150), (600, 640, 200, 256)]


@pytest.fixture
def root(tmp_path):
    """One image without, one with one and one with two outlines; images are an eighth of the annotated size."""
    image_a, mask_a = draw((1024, 1024), BOXES[0])
    image_b, mask_b = draw((1024, 1024), BOXES[1])
    pictures = {
        "1.2.3.1": np.full((1024, 1024), 20, np.uint8),
        "1.2.3.2": image_a,
        "1.2.3.3": np.maximum(image_a, image_b),
    }
    for number, (uid, picture) in enumerate(pictures.items()):
        write_dicom(
            tmp_path / f"dicom-images-train/9.{number}/8.{number}/{uid}.dcm",
            picture[::8, ::8].copy(),
            PatientID=f"secret-{number // 2}",
            PatientName="Doe^Jane",
            PatientAge=f"0{50 + number}Y",
            PatientSex="F",
            ViewPosition="PA",
            StudyInstanceUID=f"9.{number}",
        )
    lines = ["ImageId, EncodedPixels", "1.2.3.1, -1", f"1.2.3.2, {rle_encode(mask_a, 'siim')}"]
    lines += [f"1.2.3.3, {rle_encode(mask, 'siim')}" for mask in (mask_a, mask_b)]
    (tmp_path / "train-rle.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_outlines_lie_on_the_bright_regions(root):
    X, y = load_siim_acr(root, size=128, return_X_y=True)
    assert X.shape == (3, 128, 128)
    assert y.tolist() == [0, 1, 1]
    assert X.has_mask.all()
    assert X.metadata["n_outlines"].tolist() == [0, 1, 2]
    assert not np.asarray(X.masks)[0].any()
    np.testing.assert_allclose(np.asarray(X)[0], 20 / 255, atol=1e-6)  # not stretched to its own range
    assert (overlap(X[1:]) > 0.95).all()
    assert "groups" not in X.fields
    again = pickle.loads(pickle.dumps(X[[2]]))
    np.testing.assert_array_equal(np.asarray(again.masks), np.asarray(X[[2]].masks))


def test_headers_give_what_is_safe(root):
    X = load_siim_acr(root, headers=True, size=16)
    assert X.groups.tolist() == [0, 0, 1]
    assert X.metadata["age"].tolist() == [50, 51, 52]
    assert X.metadata["sex"].tolist() == ["F", "F", "F"]
    assert X.metadata["view"].tolist() == ["PA", "PA", "PA"]
    assert b"secret" not in pickle.dumps(X)
    assert b"Doe" not in pickle.dumps(X)


def test_images_without_a_row_are_counted(root):
    write_dicom(root / "dicom-images-train/7/7/1.2.3.9.dcm", draw()[0])
    with pytest.warns(UserWarning, match=r"1 of 4 images have no row in train-rle\.csv; they are left out"):
        assert len(load_siim_acr(root)) == 3


def test_missing_images(root):
    (root / "dicom-images-train/9.1/8.1/1.2.3.2.dcm").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)1 of 3 images .* such as 1\.2\.3\.2\..*siim-acr-pneumothorax"):
        load_siim_acr(root)
    with pytest.warns(UserWarning, match="1 of 3 images"):
        X = load_siim_acr(root, size=128, on_missing="drop")
    assert X.metadata["n_outlines"].tolist() == [0, 2]
    assert overlap(X)[1] > 0.95


def test_rows_that_contradict_each_other(root):
    path = root / "train-rle.csv"
    text = path.read_text()
    path.write_text(text + "1.2.3.3, -1\n")
    with pytest.raises(ValueError, match=r"1 images have both an outline and -1, such as 1\.2\.3\.3"):
        load_siim_acr(root)
    path.write_text(text + "1.2.3.4,\n")
    with pytest.raises(ValueError, match="row 4 is blank; no pneumothorax is written -1"):
        load_siim_acr(root)


def test_an_outline_that_leaves_the_image_is_refused_when_read(root):
    path = root / "train-rle.csv"
    path.write_text("ImageId,EncodedPixels\n1.2.3.1,-1\n1.2.3.2,1048570 100\n1.2.3.3,-1\n")
    X = load_siim_acr(root, size=16)
    with pytest.raises(ValueError, match=r"row 1: .*leaves the image"):
        np.asarray(X.masks)


def test_missing_folder(root):
    with pytest.raises(FileNotFoundError, match=r"(?s)missing table: train-rle\.csv or stage_2_train.*missing images"):
        load_siim_acr(root / "dicom-images-train")
