"""Transformers on rows: what of the images a classifier may see, and how much each row counts."""

from ._acquisition_weights import acquisition_weights
from ._roi_masker import ROIMasker

__all__ = ["ROIMasker", "acquisition_weights"]
