"""Acquisition attributes of DICOM headers, without anything that identifies a patient."""

import hashlib
import hmac
import os
import re

import numpy as np
import pandas as pd

from ._dicom_file import Refused, known_name, list_dicom_files, read_guarded

__all__ = ["dicom_metadata"]

_TEXT, _NUMBER, _NUMBERS, _WHOLE = "text", "number", "numbers", "whole"
_KINDS = {
    "AcquisitionMatrix": _NUMBERS,
    "AnodeTargetMaterial": _TEXT,
    "BitsAllocated": _WHOLE,
    "BitsStored": _WHOLE,
    "BodyPartExamined": _TEXT,
    "BodyPartThickness": _NUMBER,
    "BurnedInAnnotation": _TEXT,
    "Columns": _WHOLE,
    "CompressionForce": _NUMBER,
    "ConvolutionKernel": _TEXT,
    "DataCollectionDiameter": _NUMBER,
    "DetectorType": _TEXT,
    "DistanceSourceToDetector": _NUMBER,
    "DistanceSourceToPatient": _NUMBER,
    "EchoTime": _NUMBER,
    "Exposure": _NUMBER,
    "ExposureInuAs": _NUMBER,
    "ExposureTime": _NUMBER,
    "FilterMaterial": _TEXT,
    "FilterType": _TEXT,
    "FlipAngle": _NUMBER,
    "FocalSpots": _NUMBERS,
    "GantryDetectorTilt": _NUMBER,
    "Grid": _TEXT,
    "ImageLaterality": _TEXT,
    "ImageType": _TEXT,
    "ImagerPixelSpacing": _NUMBERS,
    "KVP": _NUMBER,
    "Laterality": _TEXT,
    "LossyImageCompression": _TEXT,
    "MRAcquisitionType": _TEXT,
    "MagneticFieldStrength": _NUMBER,
    "Manufacturer": _TEXT,
    "ManufacturerModelName": _TEXT,
    "Modality": _TEXT,
    "NumberOfFrames": _WHOLE,
    "PatientPosition": _TEXT,
    "PhotometricInterpretation": _TEXT,
    "PixelAspectRatio": _NUMBERS,
    "PixelRepresentation": _WHOLE,
    "PixelSpacing": _NUMBERS,
    "PresentationIntentType": _TEXT,
    "ReconstructionDiameter": _NUMBER,
    "RelativeXRayExposure": _NUMBER,
    "RepetitionTime": _NUMBER,
    "RescaleIntercept": _NUMBER,
    "RescaleSlope": _NUMBER,
    "RescaleType": _TEXT,
    "RotationDirection": _TEXT,
    "Rows": _WHOLE,
    "SamplesPerPixel": _WHOLE,
    "ScanOptions": _TEXT,
    "ScanningSequence": _TEXT,
    "SequenceVariant": _TEXT,
    "SliceThickness": _NUMBER,
    "SpacingBetweenSlices": _NUMBER,
    "SpatialResolution": _NUMBER,
    "ViewPosition": _TEXT,
    "WindowCenter": _NUMBERS,
    "WindowWidth": _NUMBERS,
    "XRayTubeCurrent": _NUMBER,
}
_DERIVED = ("PatientAge", "PatientSex", "TransferSyntaxUID", "has_pixels", "vendor")
_KEYS = {"patient_key": "PatientID", "study_key": "StudyInstanceUID", "series_key": "SeriesInstanceUID"}

SAFE_FIELDS = tuple(sorted((*_KINDS, *_DERIVED)))
DEFAULT_FIELDS = (
    "Modality",
    "vendor",
    "Manufacturer",
    "ManufacturerModelName",
    "BodyPartExamined",
    "ViewPosition",
    "PatientSex",
    "PatientAge",
    "KVP",
    "ConvolutionKernel",
    "SliceThickness",
    "PixelSpacing",
    "Rows",
    "Columns",
    "BitsStored",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "TransferSyntaxUID",
    "BurnedInAnnotation",
    "has_pixels",
)

_VENDORS = (
    ("GE", r"\bge\b|general electric|\bgems\b|\blunar\b|imatron"),
    ("Siemens", r"siemens|acuson"),
    ("Philips", r"philips|\badac\b|marconi|picker|\batl\b"),
    ("Canon", r"toshiba|canon"),
    ("Fujifilm", r"fuji|hitachi"),
    ("Agfa", r"agfa"),
    ("Carestream", r"carestream|kodak"),
    ("Konica Minolta", r"konica|minolta"),
    ("Hologic", r"hologic|lorad"),
    ("United Imaging", r"united imaging|\buih\b"),
    ("Samsung", r"samsung|medison"),
    ("Shimadzu", r"shimadzu"),
    ("Mindray", r"mindray"),
    ("Neusoft", r"neusoft"),
    ("Esaote", r"esaote"),
    ("Varian", r"varian"),
    ("Swissray", r"swissray"),
)

_WHY_NOT = {
    "PN": "it holds a person's name",
    "DA": "dates of a person's care identify the person",
    "DT": "dates of a person's care identify the person",
    "TM": "times of a person's care help to identify the person",
    "UI": "unique identifiers lead to the person through the archive",
    "AS": "it describes the person",
    "SQ": "it may hold anything",
}
_FREE_TEXT = "texts and codes of the site may hold names, places or numbers of persons"
_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_MIN_SALT = 16
_FILES_PER_TASK = 64


def dicom_metadata(paths, fields=DEFAULT_FIELDS, *, salt=None, n_jobs=None):
    """Tabulate how images were acquired from their DICOM headers, without identifying anyone.

    Only attributes on the list of safe ones below are ever given: no names, dates, institutions, numbers,
    unique identifiers, comments or private elements, even if asked for. Patients, studies and series are told apart
    by keyed hashes. Pixels are not read; text burned into them is not detected (see ``BurnedInAnnotation``).

    Parameters
    ----------
    paths : path-like or iterable of path-like
        DICOM files, or one folder with all DICOM files below it.
    fields : sequence of str or "all", default=DEFAULT_FIELDS
        DICOM keywords out of the list below; by default the twenty that describe how most images were made. Some are
        not given as stored: ``PatientAge`` is in years, ages above 89 become 90; ``TransferSyntaxUID`` is the name of
        the transfer syntax; ``PatientSex`` is M, F or O. Two are not DICOM's: ``vendor``, the manufacturer under one
        spelling, and ``has_pixels``, which is False for objects that are no images and for images that are cut short.
    salt : str or bytes, default=None
        Secret of at least 16 bytes for the columns ``patient_key``, ``study_key`` and ``series_key``, which are added
        if it is given: HMAC-SHA256 of the identifier, 64 hexadecimal digits. The same salt gives the same keys, so
        that tables can be joined; whoever has the salt can test guesses, so keep it apart from the table.
    n_jobs : int, default=None
        Number of processes, as in joblib; None means 1.

    Returns
    -------
    DataFrame of shape (n_files, 1 + n_fields)
        Column ``path``, then the fields in the order given, then the keys. What a header does not say, or says in
        another form than the standard asks for, is missing. Attributes with several numbers are tuples; several texts
        are joined by a backslash, as in the file.

    Raises
    ------
    ValueError
        If a field is not safe to give, the salt is missing or short, or a file cannot be read.

    Notes
    -----
    The safe fields are AcquisitionMatrix, AnodeTargetMaterial, BitsAllocated, BitsStored, BodyPartExamined,
    BodyPartThickness, BurnedInAnnotation, Columns, CompressionForce, ConvolutionKernel, DataCollectionDiameter,
    DetectorType, DistanceSourceToDetector, DistanceSourceToPatient, EchoTime, Exposure, ExposureInuAs, ExposureTime,
    FilterMaterial, FilterType, FlipAngle, FocalSpots, GantryDetectorTilt, Grid, ImageLaterality, ImageType,
    ImagerPixelSpacing, KVP, Laterality, LossyImageCompression, MRAcquisitionType, MagneticFieldStrength, Manufacturer,
    ManufacturerModelName, Modality, NumberOfFrames, PatientAge, PatientPosition, PatientSex,
    PhotometricInterpretation, PixelAspectRatio, PixelRepresentation, PixelSpacing, PresentationIntentType,
    ReconstructionDiameter, RelativeXRayExposure, RepetitionTime, RescaleIntercept, RescaleSlope, RescaleType,
    RotationDirection, Rows, SamplesPerPixel, ScanOptions, ScanningSequence, SequenceVariant, SliceThickness,
    SpacingBetweenSlices, SpatialResolution, TransferSyntaxUID, ViewPosition, WindowCenter, WindowWidth,
    XRayTubeCurrent, has_pixels, vendor.

    References
    ----------
    DICOM PS3.15, annex E (basic application level confidentiality profile). Ages follow 45 CFR 164.514(b)(2).

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> from sklearn_shortcuts.images import dicom_metadata
    >>> path = get_testdata_file("CT_small.dcm", download=False)
    >>> table = dicom_metadata([path], ["Modality", "vendor", "KVP"], salt="keep this one to yourself")
    >>> table[["Modality", "vendor", "KVP"]].values.tolist()
    [['CT', 'GE', 120.0]]
    >>> dicom_metadata([path], ["PatientName"])
    Traceback (most recent call last):
    ...
    ValueError: PatientName is not given: it holds a person's name. The fields that are given: AcquisitionMatrix, ...
    """
    fields = _check_fields(fields, salt)
    key = _check_salt(salt)
    files = list_dicom_files(paths, "paths")
    if n_jobs in (None, 1):
        rows = _rows(files, fields, key)
    else:
        from joblib import Parallel, delayed

        parts = (files[start : start + _FILES_PER_TASK] for start in range(0, len(files), _FILES_PER_TASK))
        done = Parallel(n_jobs=n_jobs)(delayed(_rows)(part, fields, key) for part in parts)
        rows = [row for part in done for row in part]
    table = pd.DataFrame(rows, columns=["path", *fields])
    for field in fields:
        table[field] = table[field].astype(_column_type(field))
    return table


def _column_type(field):
    if field == "has_pixels":
        return "bool"
    kind = _NUMBER if field == "PatientAge" else _KINDS.get(field, _TEXT)
    return {_NUMBER: "float64", _WHOLE: "Int64", _NUMBERS: "object", _TEXT: "str"}[kind]


# -- what may be asked for ---------------------------------------------------------------------------------------------
def _check_fields(fields, salt):
    if isinstance(fields, str):
        fields = SAFE_FIELDS if fields == "all" else [fields]
    fields = list(fields)
    for field in fields:
        if not isinstance(field, str):
            raise ValueError(f"fields are named by DICOM keyword such as 'KVP', got {field!r}")
        if field in _KEYS and salt is None:
            raise ValueError(f"{field} needs a salt: give salt=secrets.token_hex({_MIN_SALT}) and keep it secret")
        if field not in SAFE_FIELDS and field not in _KEYS:
            raise ValueError(
                f"{field} is not given: {_reason(field)}. The fields that are given: {', '.join(SAFE_FIELDS)}; "
                "fields='all' gives all of them"
            )
    if len(set(fields)) < len(fields):
        raise ValueError("fields names the same field twice")
    return fields + [name for name in _KEYS if salt is not None and name not in fields]


def _reason(field):
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    for name, keyword in _KEYS.items():
        if field == keyword:
            return f"it identifies the patient; with a salt the column {name} tells them apart"
    tag = tag_for_keyword(field)
    if tag is None:
        return "it is no DICOM keyword"
    vr = dictionary_VR(tag)
    if vr in ("LO", "SH", "LT", "ST", "UT", "UC", "CS", "UR"):
        return _FREE_TEXT
    return _WHY_NOT.get(vr, "it is not on the list of attributes that are known to be free of identifiers")


def _check_salt(salt):
    if salt is None:
        return None
    if not isinstance(salt, (str, bytes)):
        raise ValueError(f"salt must be text or bytes, got {type(salt).__name__}")
    key = salt.encode() if isinstance(salt, str) else salt
    if len(key) < _MIN_SALT:
        raise ValueError(
            f"salt must have at least {_MIN_SALT} bytes, or the keys can be undone by trying; "
            f"secrets.token_hex({_MIN_SALT}) makes one"
        )
    return key


# -- one header --------------------------------------------------------------------------------------------------------
def _rows(files, fields, key):
    return [_row(file, fields, key) for file in files]


def _row(file, fields, key):
    def extract(dataset, has_pixels):
        if len(dataset) == 0:
            raise Refused("has an empty header: it is cut short; copy it again from its source")
        return [_value(dataset, has_pixels, field, key) for field in fields]

    tags = [_KEYS.get(field, field) for field in fields if field in _KINDS or field in _KEYS]
    tags += ["Manufacturer", "PatientAge", "PatientSex", "SOPClassUID"]
    return [os.fspath(file), *read_guarded(file, extract, pixels=False, tags=tags)]


def _value(dataset, has_pixels, field, key):
    if field == "has_pixels":
        return has_pixels
    if field == "TransferSyntaxUID":
        return known_name(dataset.file_meta.get("TransferSyntaxUID", ""), default=None)
    try:
        stored = dataset.get(_KEYS.get(field, "Manufacturer" if field == "vendor" else field))
    except Exception:  # a value that its own kind forbids counts as missing; the text of the error would quote it
        return None
    parts = [] if stored is None else list(stored) if _is_several(stored) else [stored]
    text = "\\".join(str(part) for part in parts).strip(" \0")
    if not text:
        return None
    if field in _KEYS:
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    if field == "vendor":
        return _vendor(text)
    if field == "PatientSex":
        return text if text in ("M", "F", "O") else None
    if field == "PatientAge":
        return _years(text)
    return _typed(parts, text, _KINDS[field])


def _is_several(value):
    return hasattr(value, "__iter__") and not isinstance(value, (str, bytes))


def _typed(parts, text, kind):
    if kind == _TEXT:
        return text
    try:
        numbers = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        return None
    if not np.isfinite(numbers).all():
        return None
    if kind == _NUMBERS:
        return numbers
    if kind == _WHOLE:
        return int(numbers[0]) if numbers[0] == int(numbers[0]) else None
    return numbers[0]


def _years(text):
    match = re.fullmatch(r"(\d{1,3})([YMWD])", text)
    if match is None:
        return None
    years = int(match[1]) * _YEARS_PER_UNIT[match[2]]
    return years if years < 90 else 90.0


def _vendor(manufacturer):
    for vendor, pattern in _VENDORS:
        if re.search(pattern, manufacturer.lower()):
            return vendor
    return manufacturer
