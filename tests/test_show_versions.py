"""The report on versions."""

import platform
from importlib.metadata import version

from sklearn_shortcuts import show_versions


def test_versions_are_those_installed_and_the_host_stays_unnamed(capsys):
    show_versions()
    printed = capsys.readouterr().out
    rows = dict(line.split(" : ", 1) for line in printed.splitlines())
    rows = {name.strip(): value for name, value in rows.items()}
    for package in ("torch", "scikit-learn", "pydicom", "sklearn-shortcuts"):
        assert rows[package] == version(package)
    assert not platform.node() or platform.node() not in printed
