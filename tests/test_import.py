"""What importing the library costs and does."""

import subprocess
import sys

import pytest

import sklearn_shortcuts


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_rows_and_masks_need_no_torch():
    loaded = run(
        "import sys, sklearn_shortcuts, sklearn_shortcuts.datasets, sklearn_shortcuts.preprocessing, "
        "sklearn_shortcuts.metrics; print(*sys.modules)"
    )
    assert not {"torch", "torchvision", "pytorch_grad_cam", "shap", "matplotlib"} & set(loaded)


def test_networks_leave_heavy_packages_alone_until_they_are_used():
    loaded = run(
        "import sys, sklearn_shortcuts.neural, sklearn_shortcuts.audit, sklearn_shortcuts.explain, "
        "sklearn_shortcuts.latent; print(*sys.modules)"
    )
    assert not {"torchvision", "pytorch_grad_cam", "shap", "matplotlib"} & set(loaded)


def test_unknown_names_are_unknown():
    assert not hasattr(sklearn_shortcuts, "RegionSensitivty")
    with pytest.raises(ImportError, match="cannot import name 'RegionSensitivty'"):
        exec("from sklearn_shortcuts import RegionSensitivty")
