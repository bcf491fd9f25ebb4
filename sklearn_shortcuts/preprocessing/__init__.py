"""Transformers on rows: what of the images a classifier may see, and how much each row counts."""

from ._acquisition_balancer import AcquisitionBalancer
from ._acquisition_features import AcquisitionFeatures
from ._acquisition_resampler import AcquisitionResampler
from ._acquisition_weights import acquisition_weights
from ._balance_table import balance_table
from ._roi_masker import ROIMasker

__all__ = [
    "AcquisitionBalancer",
    "AcquisitionFeatures",
    "AcquisitionResampler",
    "ROIMasker",
    "acquisition_weights",
    "balance_table",
]
