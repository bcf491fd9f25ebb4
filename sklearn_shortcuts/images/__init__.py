"""Rows of images: the container, lazy readers, DICOM and masks."""

from ._bunch import ImageBunch
from ._cache import cache_bunch
from ._chexmask import check_against_landmarks, decode_chexmask, parse_landmarks
from ._decode import decode_image
from ._dicom import read_dicom
from ._dicom_metadata import dicom_metadata
from ._files import ImageFiles
from ._frame import bunch_from_frame
from ._loader import ImageLoader
from ._mask_files import MaskFiles
from ._rle import rle_decode, rle_encode
from ._series import DicomVolume, read_dicom_series
from ._series_files import SeriesFiles
from ._shapes import boxes_to_masks, masks_to_boxes, masks_to_polygons, polygons_to_masks
from ._window import apply_window

__all__ = [
    "DicomVolume",
    "ImageBunch",
    "ImageFiles",
    "ImageLoader",
    "MaskFiles",
    "SeriesFiles",
    "apply_window",
    "boxes_to_masks",
    "bunch_from_frame",
    "cache_bunch",
    "check_against_landmarks",
    "decode_chexmask",
    "decode_image",
    "dicom_metadata",
    "masks_to_boxes",
    "masks_to_polygons",
    "parse_landmarks",
    "polygons_to_masks",
    "read_dicom",
    "read_dicom_series",
    "rle_decode",
    "rle_encode",
]
