"""Transformers on images: what of them a classifier may see."""

from ._acquisition_features import AcquisitionFeatures
from ._roi_masker import ROIMasker

__all__ = ["AcquisitionFeatures", "ROIMasker"]
