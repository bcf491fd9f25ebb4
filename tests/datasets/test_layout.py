"""What all loaders have in common."""

import importlib
import inspect
import os

import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts import datasets
from sklearn_shortcuts.datasets import _layout

LOADERS = {name: getattr(datasets, name) for name in datasets.__all__ if name.startswith("load_")}
PUBLIC = {name: loader for name, loader in LOADERS.items() if name != "load_study"}


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_what_is_missing_is_said_at_once_with_address_and_layout(tmp_path, name):
    loader = PUBLIC[name]
    publication = importlib.import_module(loader.__module__)._PUBLICATION
    with pytest.raises(FileNotFoundError) as caught:
        loader(tmp_path)
    message = str(caught.value)
    assert "missing" in message
    assert publication.url in message
    assert "nothing is downloaded" in message
    for line in publication.layout.strip("\n").split("\n"):
        assert line in message
        assert line.strip() in loader.__doc__
    assert publication.url in loader.__doc__
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        loader(tmp_path / "nowhere")


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_loaders_are_called_alike(name):
    parameters = inspect.signature(LOADERS[name]).parameters
    assert next(iter(parameters)) in ("root", "folder")
    assert all(p.kind is p.KEYWORD_ONLY for p in list(parameters.values())[1:])
    assert parameters["return_X_y"].default is False
    if "on_missing" in parameters:
        assert parameters["on_missing"].default == "error"
    if name in PUBLIC and name != "load_ptbxl":
        assert parameters["size"].default == (224, 224)


def test_listing_enters_links_once_and_skips_hidden_files(tmp_path):
    (tmp_path / "real/deep").mkdir(parents=True)
    for name in ("real/b.PNG", "real/deep/a.jpg", "real/.hidden.png", "real/notes.txt"):
        (tmp_path / name).touch()
    os.symlink(tmp_path, tmp_path / "real/deep/upwards")
    elsewhere = tmp_path / "linked"
    os.symlink(tmp_path / "real", elsewhere)
    found = [os.path.relpath(path, elsewhere) for path in _layout.list_files(elsewhere)]
    assert sorted(found) == ["b.PNG", os.path.join("deep", "a.jpg")]


def test_files_present(tmp_path):
    (tmp_path / "a.png").touch()
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png"), None, str(tmp_path / "none/a.png"), np.nan]
    assert _layout.files_present(paths).tolist() == [True, False, False, False, False]


def test_dropping_everything_is_an_error(tmp_path):
    frame = pd.DataFrame({"name": ["a", "b"]})
    with pytest.raises(FileNotFoundError, match="2 of 2 images named in the table have no file, such as a, b"):
        _layout.keep_present(frame, [None, None], "drop")
    with pytest.raises(ValueError, match="on_missing must be one of"):
        _layout.keep_present(frame, [None, None], "skip")


def test_ages():
    ages = _layout.leading_number(["058Y", " 7 ", "33.5y", 12, "12M", None, "old"])
    np.testing.assert_array_equal(ages, [58, 7, 33.5, 12, np.nan, np.nan, np.nan])


def test_tables_lose_blanks_around_titles_only(tmp_path):
    (tmp_path / "t.csv").write_text("a , b\n1, x\n")
    assert _layout.read_table(tmp_path / "t.csv", ["a", "b"])["b"].tolist() == [" x"]
    with pytest.raises(ValueError, match=r"lacks the columns \['c'\]; it has \['a', 'b'\]"):
        _layout.read_table(tmp_path / "t.csv", ["a", "c"])
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff\xfe,\x80\n")
    with pytest.raises(ValueError, match="cannot be read as a table"):
        _layout.read_table(tmp_path / "t.csv")
