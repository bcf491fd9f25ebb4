"""The database of four classes with lung masks."""

import builtins
import pickle

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sklearn_shortcuts.datasets import load_covid19_radiography
from sklearn_shortcuts.datasets._covid19_radiography import _source
from tests.datasets.trees import draw, overlap, save

URLS = {
    "COVID": "https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/#1590858128006-9e640421-6711",
    "Lung_Opacity": "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/data",
    "Normal": "https://www.kaggle.com/paultimothymooney/chest-xray-pneumonia",
    "Viral Pneumonia": "https://www.kaggle.com/paultimothymooney/chest-xray-pneumonia",
}


@pytest.fixture
def root(tmp_path):
    """Two images of every class, 299 x 299, with masks of 256 x 256 that show the same frame."""
    for number, (label, url) in enumerate(URLS.items()):
        for row in (1, 2):
            image, mask = draw((299, 299), (60 + 30 * number, 40, 120, 150 + 20 * row))
            save(tmp_path / f"{label}/images/{label}-{row}.png", image)
            small = Image.fromarray(mask.astype(np.uint8) * 255).resize((256, 256), Image.Resampling.BILINEAR)
            save(tmp_path / f"{label}/masks/{label}-{row}.png", np.repeat(np.asarray(small)[..., None], 3, axis=2))
        names = [f"{label.upper()}-{row}" for row in (1, 2)]
        table = pd.DataFrame({"FILE NAME": names, "FORMAT": "PNG", "SIZE": "256*256", "URL": url})
        table.to_excel(tmp_path / f"{label}.metadata.xlsx", index=False)
    return tmp_path


def test_classes_masks_and_sources(root):
    X, y = load_covid19_radiography(root, size=128, return_X_y=True)
    assert X.shape == (8, 128, 128)
    assert y.tolist() == [label for label in URLS for _ in range(2)]
    assert X.metadata["source"].tolist() == ["padchest"] * 2 + ["rsna"] * 2 + ["kermany"] * 4
    assert X.has_mask.all()
    assert (overlap(X) > 0.96).all()
    assert "groups" not in X.fields
    again = pickle.loads(pickle.dumps(X[[5]]))
    np.testing.assert_array_equal(np.asarray(again.masks), np.asarray(X[[5]].masks))


def test_a_choice_of_classes_without_tables(root):
    (root / "COVID.metadata.xlsx").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)missing COVID table: COVID\.metadata\.xlsx.*kaggle\.com"):
        load_covid19_radiography(root)
    X = load_covid19_radiography(root, classes=["COVID", "Normal"], sources=False, masks=False, size=16)
    assert set(X.target) == {"COVID", "Normal"}
    assert list(X.metadata.columns) == ["file"]
    assert "masks" not in X.fields
    with pytest.raises(ValueError, match=r"classes must be some of .* got \['Flu'\]"):
        load_covid19_radiography(root, classes=["Flu"])


def test_missing_masks(root):
    (root / "Normal/masks/Normal-2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 8 images have no mask file, such as Normal-2\.png"):
        load_covid19_radiography(root)
    with pytest.warns(UserWarning, match="1 of 8 images have no mask file.*kept without a mask"):
        X = load_covid19_radiography(root, size=16, on_missing="drop")
    assert X.has_mask.tolist() == [True] * 5 + [False] + [True] * 2


def test_images_the_tables_do_not_name(root):
    save(root / "COVID/images/COVID-77.png", draw((299, 299))[0])
    save(root / "COVID/masks/COVID-77.png", draw((256, 256))[1].astype(np.uint8) * 255)
    with pytest.warns(UserWarning, match="1 of 9 images are not in the .metadata.xlsx tables"):
        X = load_covid19_radiography(root, size=16)
    assert X.metadata["source"].isna().sum() == 1


def test_tables_need_openpyxl(root, monkeypatch):
    real = builtins.__import__

    def without_openpyxl(name, *args, **kwargs):
        if name.split(".")[0] == "openpyxl":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_openpyxl)
    with pytest.raises(ImportError, match="takes the package openpyxl; install it, or pass sources=False"):
        load_covid19_radiography(root)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://sirm.org/category/senza-categoria/covid-19/", "sirm"),
        ("https://github.com/ml-workgroup/covid-19-image-repository/tree/master/png", "hannover"),
        ("https://github.com/armiro/COVID-CXNet", "covid-cxnet"),
        ("https://github.com/ieee8023/covid-chestxray-dataset", "ieee8023"),
        (" https://eurorad.org", "eurorad"),
        ("https://Example.org/somewhere", "example.org"),
        ("example.org/x", "example.org"),
    ],
)
def test_addresses_become_names(url, name):
    assert _source(url) == name
