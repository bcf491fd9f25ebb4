"""Transformers on images and embeddings: what of them a classifier may see."""

from ._combat import ComBat
from ._roi_masker import ROIMasker

__all__ = ["ComBat", "ROIMasker"]
