"""Make the picture of the README by running the README's own code, or fetch the results that the user guide shows.

Run ``python docs/make_images.py`` from anywhere. The picture goes to ``docs/images/region_sensitivity.png``. With
``--results`` the results of the benchmarks' last full runs are copied to ``docs/images`` instead.
"""

import argparse
import os
import re
import shutil
import tempfile
from pathlib import Path

import matplotlib as mpl
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
PICTURE = "region_sensitivity.png"
RESULTS = (
    "explanation_regularization.csv",
    "region_sensitivity_calibration.csv",
    "region_sensitivity_calibration.png",
)


def main():
    """Make the picture, or copy results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", action="store_true", help="copy the results of the benchmarks")
    IMAGES.mkdir(exist_ok=True)
    if parser.parse_args().results:
        copy_results()
    else:
        make_picture()


def copy_results():
    """Copy what the benchmarks wrote to where the pages look for it."""
    for name in RESULTS:
        source = ROOT / "benchmarks" / "results" / name
        if source.exists():
            shutil.copyfile(source, IMAGES / name)
        print(f"{name}: {'copied' if source.exists() else 'left as it was, the benchmark has not been run'}")


def make_picture():
    """Run the code block of the README in a temporary folder and keep what it draws."""
    mpl.use("Agg")
    mpl.rcParams["savefig.dpi"] = 110
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    target = IMAGES / PICTURE
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})
            with Image.open(PICTURE) as image:
                opaque = image.convert("RGB")
        finally:
            os.chdir(before)
    opaque.save(target, optimize=True)
    print(f"{target.relative_to(ROOT)}: {opaque.width} x {opaque.height} pixels, {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
