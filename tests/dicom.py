"""DICOM files made for tests."""

import os

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write_dicom(path, pixels, *, syntax=ExplicitVRLittleEndian, compress=None, **attributes):
    """Write pixels ``(H, W)``, ``(F, H, W)`` or ``(..., H, W, 3)`` with attributes given by keyword; give the path."""
    pixels = np.asarray(pixels)
    samples = 3 if attributes.get("PhotometricInterpretation", "").startswith(("RGB", "YBR")) else 1
    shape = pixels.shape[:-1] if samples == 3 else pixels.shape
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CT"
    dataset.Rows, dataset.Columns = shape[-2:]
    if len(shape) == 3:
        dataset.NumberOfFrames = shape[0]
    dataset.SamplesPerPixel = samples
    if samples == 3:
        dataset.PlanarConfiguration = 0
    bits = 8 * pixels.itemsize
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    if compress is not None:
        syntax_uid, plugin = compress
        dataset.compress(syntax_uid, encoding_plugin=plugin, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(folder, values, *, gap=5.0, seed=0, series="1.2.3.1", **attributes):
    """Write slices (S, H, W) of whole numbers, in Hounsfield units, under names that do not tell their order."""
    os.makedirs(folder, exist_ok=True)
    names = np.random.default_rng(seed).permutation(len(values))
    for place, (name, pixels) in enumerate(zip(names, values)):
        write_dicom(
            os.path.join(folder, f"{name:03d}.dcm"),
            np.asarray(pixels, dtype=np.int16) + 1024,
            ImagePositionPatient=[0, 0, gap * place],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[0.5, 0.5],
            SliceThickness=gap,
            SeriesInstanceUID=series,
            RescaleIntercept=-1024,
            RescaleSlope=1,
            **attributes,
        )
    return folder
