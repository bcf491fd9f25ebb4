"""Transformers on volumes, images and embeddings: what of them a classifier may see."""

from ._combat import ComBat
from ._histogram_matcher import HistogramMatcher
from ._resolution_noise_matcher import ResolutionNoiseMatcher
from ._roi_masker import ROIMasker
from ._slice_sampler import SliceSampler

__all__ = ["ComBat", "HistogramMatcher", "ROIMasker", "ResolutionNoiseMatcher", "SliceSampler"]
