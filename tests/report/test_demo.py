"""The command line and what it writes."""

import pytest

from sklearn_shortcuts.__main__ import main
from sklearn_shortcuts.report import _demo


def test_versions(capsys):
    main(["versions"])
    assert "scikit-learn" in capsys.readouterr().out


def test_bundled_slices(tmp_path):
    lines = _demo._bundled_slices(tmp_path)
    assert "5 real slices (3 CT, 2 MR)" in lines[-1]
    assert (tmp_path / "dicom_slices.png").stat().st_size > 50_000


def test_command_writes_report_and_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_demo, "_generated", lambda output, quick: [f"quick is {quick}"])
    monkeypatch.delenv("SKLEARN_SHORTCUTS_DATA", raising=False)
    main(["demo", "--quick", "--output", str(tmp_path / "new" / "folder")])
    report = (tmp_path / "new" / "folder" / "report.md").read_text(encoding="utf-8")
    assert "quick is True" in report
    assert "5 real slices" in report
    assert "children" not in report
    assert "5 real slices" in capsys.readouterr().out


@pytest.mark.slow
def test_real_radiographs(real_data, tmp_path):
    text = "\n".join(_demo._radiographs(real_data, tmp_path, quick=True))
    assert "Shortcut: " in text
    assert text.count("on the flipped groups") == 3
    assert (tmp_path / "real_radiographs.png").stat().st_size > 50_000
