"""Make the picture of the README by running the README's own code.

Run ``python docs/make_images.py`` from anywhere. The picture goes to ``docs/images/region_sensitivity.png``.
"""

import os
import re
import tempfile
from pathlib import Path

import matplotlib as mpl
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PICTURE = "region_sensitivity.png"


def main():
    """Run the code block of the README in a temporary folder and keep what it draws."""
    mpl.use("Agg")
    mpl.rcParams["savefig.dpi"] = 110
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    target = ROOT / "docs" / "images" / PICTURE
    target.parent.mkdir(exist_ok=True)
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
