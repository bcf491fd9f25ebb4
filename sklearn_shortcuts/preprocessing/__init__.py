"""Transformers on images and embeddings: what of them a classifier may see."""

from ._combat import ComBat
from ._histogram_matcher import HistogramMatcher
from ._resolution_noise_matcher import ResolutionNoiseMatcher
from ._roi_masker import ROIMasker

__all__ = ["ComBat", "HistogramMatcher", "ROIMasker", "ResolutionNoiseMatcher"]
