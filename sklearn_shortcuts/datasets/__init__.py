"""Studies to work on: your own folders, public data sets, and data made on the spot."""

from ._ecg import make_ecg
from ._injector import ArtifactInjector
from ._phantoms import make_chest_phantoms
from ._ptbxl import load_ptbxl

__all__ = ["ArtifactInjector", "load_ptbxl", "make_chest_phantoms", "make_ecg"]
