"""DICOM files made for tests."""

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def _write(path, pixels, *, syntax=ExplicitVRLittleEndian, compress=None, **attributes):
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


def _lookup_table(entries, first, bits):
    """Give the item of a lookup table sequence."""
    item = Dataset()
    item.add_new((0x0028, 0x3002), "SS" if first < 0 else "US", [len(entries) % 2**16, first, bits])
    item.add_new((0x0028, 0x3006), "US", [int(entry) for entry in entries])
    return item


@pytest.fixture(scope="session")
def write_dicom():
    """Function that writes a DICOM file; see ``_write``."""
    return _write


@pytest.fixture(scope="session")
def lookup_table():
    """Function that makes a lookup table item."""
    return _lookup_table


IDENTIFIERS = {
    "PatientName": "Quagmire^Zebulon",
    "PatientID": "MRN-8842-XQ",
    "IssuerOfPatientID": "ISSUERQX",
    "OtherPatientIDs": "OTHERID-5521",
    "OtherPatientNames": "Alias^Zebulonius",
    "PatientBirthName": "Birthname^Qx",
    "PatientMotherBirthName": "Mother^Qxyz",
    "PatientBirthDate": "19310417",
    "PatientBirthTime": "031415",
    "PatientAddress": "17 Quibble Lane Oxbow",
    "PatientTelephoneNumbers": "+99555017344",
    "MilitaryRank": "Generalqx",
    "EthnicGroup": "ETHNICQX",
    "Occupation": "Lightkeeperqx",
    "AdditionalPatientHistory": "historyqx of Quagmire",
    "PatientComments": "commentqx Zebulon",
    "StudyDate": "20190723",
    "SeriesDate": "20190724",
    "AcquisitionDate": "20190725",
    "ContentDate": "20190726",
    "StudyTime": "101112.131",
    "AccessionNumber": "ACC776655",
    "InstitutionName": "Oxbow Infirmaryqx",
    "InstitutionAddress": "1 Oxbow Squareqx",
    "InstitutionalDepartmentName": "DEPTQX",
    "ReferringPhysicianName": "Doctor^Referralqx",
    "PerformingPhysicianName": "Doctor^Performqx",
    "NameOfPhysiciansReadingStudy": "Doctor^Readerqx",
    "OperatorsName": "Operator^Operatorqx",
    "StationName": "STATIONQX7",
    "DeviceSerialNumber": "SERIALQX99",
    "StudyDescription": "studydescqx",
    "SeriesDescription": "seriesdescqx",
    "ProtocolName": "protocolqx",
    "ImageComments": "imagecommentqx",
    "RequestedProcedureDescription": "requestqx",
    "StudyID": "STUDYIDQX",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.77001",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.77002",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.77003",
}


@pytest.fixture(scope="session")
def identifiers():
    """Made-up values of identifying attributes, none of which may come out of the library."""
    return IDENTIFIERS
