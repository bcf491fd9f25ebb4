"""What the tests of images share."""

import pytest
from pydicom.dataset import Dataset

from tests import dicom


def _lookup_table(entries, first, bits):
    """Give the item of a lookup table sequence."""
    item = Dataset()
    item.add_new((0x0028, 0x3002), "SS" if first < 0 else "US", [len(entries) % 2**16, first, bits])
    item.add_new((0x0028, 0x3006), "US", [int(entry) for entry in entries])
    return item


@pytest.fixture(scope="session")
def write_dicom():
    """Function that writes a DICOM file; see :func:`tests.dicom.write_dicom`."""
    return dicom.write_dicom


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
