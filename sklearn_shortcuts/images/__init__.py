"""Rows of images: the container, lazy readers, DICOM and masks."""

from ._bunch import ImageBunch

__all__ = ["ImageBunch"]
