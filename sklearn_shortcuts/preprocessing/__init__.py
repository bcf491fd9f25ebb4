"""Transformers on rows: what of the images a classifier may see, and how much each row counts."""

from ._acquisition_features import AcquisitionFeatures
from ._acquisition_weights import acquisition_weights
from ._roi_masker import ROIMasker

__all__ = ["AcquisitionFeatures", "ROIMasker", "acquisition_weights"]
