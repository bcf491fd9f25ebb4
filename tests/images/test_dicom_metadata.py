"""Acquisition tables: what is given, what is refused, and how patients are told apart."""

import hashlib
import hmac

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import ImplicitVRLittleEndian

from sklearn_shortcuts.images._dicom_metadata import _KINDS, DEFAULT_FIELDS, SAFE_FIELDS, dicom_metadata

SALT = "0123456789abcdef-salt"
PIXELS = np.zeros((4, 5), np.uint16)


def key_of(text, salt=SALT):
    return hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()


@pytest.fixture
def folder(tmp_path, write_dicom):
    """Three files of two patients, in a folder with other things."""
    common = {"StudyInstanceUID": "1.2.3", "Manufacturer": "GE MEDICAL SYSTEMS"}
    write_dicom(
        tmp_path / "b.dcm",
        PIXELS,
        PatientID="P1",
        SeriesInstanceUID="1.2.3.1",
        KVP=120,
        PixelSpacing=[0.5, 0.25],
        ImageType=["ORIGINAL", "PRIMARY"],
        PatientAge="045Y",
        PatientSex="F",
        **common,
    )
    (tmp_path / "deeper").mkdir()
    write_dicom(tmp_path / "deeper" / "no_suffix", PIXELS, PatientID="P1", SeriesInstanceUID="1.2.3.2", **common)
    write_dicom(tmp_path / "a.dcm", PIXELS, syntax=ImplicitVRLittleEndian, Manufacturer="SIEMENS", PatientSex="X")
    (tmp_path / "readme.txt").write_text("not an image")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    return tmp_path


def test_a_folder(folder):
    table = dicom_metadata(folder, [*DEFAULT_FIELDS, "ImageType"], salt=SALT)
    assert [path.rsplit("/", 1)[1] for path in table.path] == ["a.dcm", "b.dcm", "no_suffix"]
    assert list(table.columns) == ["path", *DEFAULT_FIELDS, "ImageType", "patient_key", "study_key", "series_key"]
    assert table.vendor.tolist() == ["Siemens", "GE", "GE"]
    assert table.Manufacturer[1] == "GE MEDICAL SYSTEMS"
    assert table.TransferSyntaxUID.tolist() == ["Implicit VR Little Endian", *["Explicit VR Little Endian"] * 2]
    assert table.PixelSpacing[1] == (0.5, 0.25)
    assert table.ImageType[1] == "ORIGINAL\\PRIMARY"
    assert table.KVP[1] == 120
    assert table.Rows.tolist() == [4, 4, 4]
    assert table.PatientAge[1] == 45
    assert table.PatientSex.isna().tolist() == [True, False, True]
    assert table.has_pixels.all()
    assert str(table.Rows.dtype) == "Int64"
    assert table.patient_key[1] == table.patient_key[2] == key_of("P1")
    assert table.study_key[1] == key_of("1.2.3")
    assert table.series_key[1:].tolist() == [key_of("1.2.3.1"), key_of("1.2.3.2")]
    assert table[["patient_key", "study_key", "series_key"]].loc[0].isna().all()


def test_keys_depend_on_the_salt_and_come_only_with_one(folder):
    path = folder / "b.dcm"
    assert not [name for name in dicom_metadata(path).columns if name.endswith("_key")]
    other = dicom_metadata(path, ["patient_key", "KVP"], salt=b"another salt, as bytes")
    assert other.columns.tolist() == ["path", "patient_key", "KVP", "study_key", "series_key"]
    assert other.patient_key[0] == key_of("P1", "another salt, as bytes")
    with pytest.raises(ValueError, match=r"patient_key needs a salt: give salt=secrets\.token_hex"):
        dicom_metadata(path, ["patient_key"])
    with pytest.raises(ValueError, match="at least 16 bytes"):
        dicom_metadata(path, salt="short")
    with pytest.raises(ValueError, match="salt must be text or bytes"):
        dicom_metadata(path, salt=12345678901234567890)


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("PatientName", "a person's name"),
        ("OperatorsName", "a person's name"),
        ("PatientBirthDate", "dates of a person's care"),
        ("StudyDate", "dates of a person's care"),
        ("AcquisitionDateTime", "dates of a person's care"),
        ("StudyTime", "times of a person's care"),
        ("SOPInstanceUID", "unique identifiers lead to the person"),
        ("PatientID", "with a salt the column patient_key"),
        ("SeriesInstanceUID", "with a salt the column series_key"),
        ("StudyInstanceUID", "with a salt the column study_key"),
        ("InstitutionName", "texts and codes of the site"),
        ("StationName", "texts and codes of the site"),
        ("DeviceSerialNumber", "texts and codes of the site"),
        ("SeriesDescription", "texts and codes of the site"),
        ("PatientComments", "texts and codes of the site"),
        ("AccessionNumber", "texts and codes of the site"),
        ("RequestAttributesSequence", "it may hold anything"),
        ("PatientWeight", "not on the list of attributes"),
        ("PixelData", "not on the list of attributes"),
        ("Kilovolts", "no DICOM keyword"),
    ],
)
def test_unsafe_fields_are_refused_before_a_file_is_opened(field, reason):
    with pytest.raises(ValueError, match=rf"{field} is not given: .*{reason}"):
        dicom_metadata(["there is no such file"], ["KVP", field])


@pytest.mark.parametrize("field", [0x00100010, (0x0009, 0x0010), pydicom.tag.Tag("KVP"), None])
def test_private_elements_cannot_be_named(field):
    with pytest.raises(ValueError, match="named by DICOM keyword"):
        dicom_metadata(["there is no such file"], [field])


def test_all_fields_are_documented_and_given(folder):
    assert list(dicom_metadata(folder / "b.dcm", "all").columns) == ["path", *SAFE_FIELDS]
    notes = dicom_metadata.__doc__.split("The safe fields are ")[1].split("\n\n")[0]
    assert tuple(" ".join(notes.split()).rstrip(".").split(", ")) == SAFE_FIELDS


def test_no_safe_field_is_of_a_kind_that_identifies():
    for keyword in _KINDS:
        assert dictionary_VR(tag_for_keyword(keyword)) in {"CS", "LO", "SH", "DS", "IS", "US", "FD", "FL"}, keyword
    free_text = {keyword for keyword in _KINDS if dictionary_VR(tag_for_keyword(keyword)) in ("LO", "SH")}
    assert free_text == {"ConvolutionKernel", "FilterType", "Manufacturer", "ManufacturerModelName", "RescaleType"}
    assert set(DEFAULT_FIELDS) <= set(SAFE_FIELDS)


@pytest.mark.parametrize(
    ("age", "years"),
    [
        ("045Y", 45),
        ("089Y", 89),
        ("090Y", 90),
        ("103Y", 90),
        ("018M", 1.5),
        ("999M", 83.25),
        ("026W", 26 * 7 / 365.25),
        ("010D", 10 / 365.25),
    ],
)
def test_ages(tmp_path, write_dicom, age, years):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, PatientAge=age)
    assert dicom_metadata(path, ["PatientAge"]).PatientAge[0] == pytest.approx(years)


@pytest.mark.parametrize(
    ("manufacturer", "vendor"),
    [
        ("GE MEDICAL SYSTEMS", "GE"),
        ("GE Healthcare", "GE"),
        ("General Electric Co.", "GE"),
        ("SIEMENS", "Siemens"),
        ("Siemens Healthineers", "Siemens"),
        ("Philips Medical Systems", "Philips"),
        ("TOSHIBA_MEC", "Canon"),
        ("CANON_MEC", "Canon"),
        ("FUJI PHOTO FILM Co., ltd.", "Fujifilm"),
        ("Agfa-Gevaert", "Agfa"),
        ("KODAK", "Carestream"),
        ("ImagingDynamicsCompany Ltd.", "ImagingDynamicsCompany Ltd."),
        ("Gerber", "Gerber"),
        ("", None),
    ],
)
def test_vendors(tmp_path, write_dicom, manufacturer, vendor):
    path = write_dicom(tmp_path / "a.dcm", PIXELS, Manufacturer=manufacturer)
    found = dicom_metadata(path, ["vendor"]).vendor[0]
    assert pd.isna(found) if vendor is None else found == vendor


def test_odd_values_are_missing(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", PIXELS)
    dataset = pydicom.dcmread(path)
    for keyword, value in {"KVP": b"Smith ", "SliceThickness": b"nan ", "PatientAge": b"old "}.items():
        element = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(keyword), dictionary_VR(tag_for_keyword(keyword)), len(value), value, 0, False, True
        )
        dataset._dict[element.tag] = element
    dataset.save_as(path)
    table = dicom_metadata(path, ["KVP", "SliceThickness", "PatientAge", "PixelSpacing"])
    assert table.drop(columns="path").isna().all(axis=None)


def test_headers_without_pixels_say_so(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", PIXELS)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(tmp_path / "b.dcm")
    assert dicom_metadata([path, tmp_path / "b.dcm"], ["has_pixels"]).has_pixels.tolist() == [True, False]


def test_processes_give_the_same_table(folder):
    files = [folder / "b.dcm", folder / "a.dcm"] * 40  # more than one task
    pd.testing.assert_frame_equal(dicom_metadata(files, salt=SALT, n_jobs=2), dicom_metadata(files, salt=SALT))


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="paths: there is no DICOM file below"):
        dicom_metadata(tmp_path)
    with pytest.raises(ValueError, match="paths must name at least one file"):
        dicom_metadata([])
    with pytest.raises(ValueError, match="the same field twice"):
        dicom_metadata([tmp_path / "a"], ["KVP", "KVP"])
    (tmp_path / "empty.dcm").write_bytes(b"")
    with pytest.raises(ValueError, match=r"empty\.dcm is not a DICOM file"):
        dicom_metadata(tmp_path)


def test_real_headers(real_data):
    folder = real_data / "dicom_multivendor"
    table = dicom_metadata(folder / "dicom", [*DEFAULT_FIELDS, "series_key"], salt=SALT)
    known = pd.read_csv(folder / "metadata.csv")
    known = known.assign(name=known.dicom.str.split("/").str[-1]).sort_values("name").reset_index(drop=True)
    assert table.path.str.rsplit("/", n=1).str[-1].tolist() == known.name.tolist()
    expected_vendor = known.vendor.replace({"Toshiba": "Canon"})
    assert table.vendor.tolist() == expected_vendor.tolist()
    assert table.Modality.tolist() == known.modality.tolist()
    assert table.TransferSyntaxUID.tolist() == known.transfer_syntax.tolist()
    np.testing.assert_array_equal(table.KVP, known.kvp)
    np.testing.assert_array_equal(table.SliceThickness, known.slice_thickness)
    np.testing.assert_array_equal(table.Rows, known.rows)
    assert table.ConvolutionKernel.fillna("").tolist() == known.kernel.fillna("").tolist()
    assert table.groupby("series_key").size().max() == 14
