"""Transformers on images: what of them a classifier may see."""

from ._roi_masker import ROIMasker

__all__ = ["ROIMasker"]
