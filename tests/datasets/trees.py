"""Small files in the layouts of public data sets; in every picture the bright region is the mask."""

import numpy as np
from PIL import Image

DARK, BRIGHT = 20, 230


def draw(shape=(60, 40), box=(12, 8, 36, 24)):
    """Give an image that is bright in the box (top, left, height, width), and the mask of the box."""
    image = np.full(shape, DARK, dtype=np.uint8)
    top, left, height, width = box
    image[top : top + height, left : left + width] = BRIGHT
    return image, image == BRIGHT


def save(path, array):
    """Write an image file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"quality": 95} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    Image.fromarray(array).save(path, **options)
    return path


def write_dicom(path, array, **tags):
    """Write an 8-bit secondary capture."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = array.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = array.tobytes()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def overlap(bunch):
    """Give, for every row, how far the bright pixels and the mask agree (intersection over union)."""
    images, masks = np.asarray(bunch), np.asarray(bunch.masks) > 0
    bright = (images if images.ndim == 3 else images.mean(axis=1)) > 0.5
    return (bright & masks).sum(axis=(1, 2)) / np.maximum((bright | masks).sum(axis=(1, 2)), 1)
