"""What a bug report needs to say about the machine."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

_DEPENDENCIES = (
    "sklearn-shortcuts",
    "scikit-learn",
    "skorch",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "pandas",
    "joblib",
    "matplotlib",
    "opencv-python-headless",
    "pillow",
    "pydicom",
    "pylibjpeg",
    "pylibjpeg-openjpeg",
    "pylibjpeg-rle",
    "python-gdcm",
    "grad-cam",
    "shap",
    "zennit",
)


def _version_of(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def show_versions():
    """Print the versions of Python, the packages the library stands on, and the accelerators torch sees.

    Nothing that identifies the user, the host or a patient is printed.

    Examples
    --------
    >>> from sklearn_shortcuts import show_versions
    >>> show_versions()  # doctest: +SKIP
    python                  : 3.11.7
    ...
    """
    import torch  # it takes seconds to import; nothing else here needs it

    if torch.cuda.is_available():
        devices = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    else:
        devices = "cpu only"
    rows = {
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        **{package: _version_of(package) for package in _DEPENDENCIES},
        "torch devices": devices,
        "torch threads": str(torch.get_num_threads()),
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}} : {value}")
