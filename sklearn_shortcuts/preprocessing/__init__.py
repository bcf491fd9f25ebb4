"""Transformers on volumes, images and embeddings: what of them a classifier may see, and how much each row counts."""

from ._acquisition_balancer import AcquisitionBalancer
from ._acquisition_features import AcquisitionFeatures
from ._acquisition_resampler import AcquisitionResampler
from ._acquisition_weights import acquisition_weights
from ._balance_table import balance_table
from ._combat import ComBat
from ._histogram_matcher import HistogramMatcher
from ._resolution_noise_matcher import ResolutionNoiseMatcher
from ._roi_masker import ROIMasker
from ._slice_sampler import SliceSampler

__all__ = [
    "AcquisitionBalancer",
    "AcquisitionFeatures",
    "AcquisitionResampler",
    "ComBat",
    "HistogramMatcher",
    "ROIMasker",
    "ResolutionNoiseMatcher",
    "SliceSampler",
    "acquisition_weights",
    "balance_table",
]
