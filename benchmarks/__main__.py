"""Run all benchmarks, one after the other, each in a process of its own: ``python -m benchmarks [--quick]``."""

import pkgutil
import subprocess
import sys
from pathlib import Path


def main():
    """Run every public module of this folder with the arguments given."""
    names = sorted(info.name for info in pkgutil.iter_modules([str(Path(__file__).parent)]))
    for name in names:
        if not name.startswith("_"):
            print(f"\n== {name}", flush=True)
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=True)


if __name__ == "__main__":
    main()
