"""Studies to work on: your own folders, public data sets, and data made on the spot."""

from ._ptbxl import load_ptbxl

__all__ = ["load_ptbxl"]
