"""What the user guide shows in a session is what the library does."""

import doctest
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[1] / "docs" / "user_guide"
PAGES = sorted(path for path in GUIDE.glob("*.rst") if ">>> " in path.read_text(encoding="utf-8"))


def test_pages_are_found():
    expected = {
        "acquisition",
        "concepts",
        "datasets",
        "explanation_regularization",
        "explanations",
        "hard_samples",
        "harmonization",
        "networks",
        "region_sensitivity",
        "rows",
    }
    assert expected <= {path.stem for path in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_session(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # a session may write files
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, attempted = doctest.testfile(str(page), module_relative=False, optionflags=flags, encoding="utf-8")
    assert attempted > 0
    assert failed == 0, capsys.readouterr().out
