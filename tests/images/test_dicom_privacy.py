"""Nothing that identifies a patient leaves the library, whatever is wrong with a file."""

import logging
import os
import pickle
import traceback
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.uid import RLELossless

from sklearn_shortcuts.images import (
    ImageBunch,
    ImageFiles,
    MaskFiles,
    bunch_from_frame,
    cache_bunch,
    decode_image,
)
from sklearn_shortcuts.images._dicom import read_dicom
from sklearn_shortcuts.images._dicom_metadata import dicom_metadata
from sklearn_shortcuts.images._series import read_dicom_series

SALT = "a salt of this test only"
CALLS = {
    "measured": read_dicom,
    "auto": lambda path: read_dicom(path, window="auto"),
    "full": lambda path: read_dicom(path, window="full"),
    "windows": lambda path: read_dicom(path, window=[(40, 400), (0, 9)]),
    "frame": lambda path: read_dicom(path, frame=3),
    "metadata": lambda path: dicom_metadata([path], salt=SALT),
    "all metadata": lambda path: dicom_metadata([path], "all"),
    "series": lambda path: read_dicom_series([path]),
    "all series": lambda path: read_dicom_series([path], series="all"),
    "decode": decode_image,
    "files": lambda path: read_rows(ImageFiles([path])),
    "blank rows": lambda path: read_rows(ImageFiles([path, path], size=8, channels=1, on_error="warn")),
    "table": lambda path: read_rows(bunch_from_frame(pd.DataFrame({"image": [path]}))),
    "cache": lambda path: read_cache(cache_bunch(ImageBunch(ImageFiles([path])), os.path.dirname(path))),
    "masks": lambda path: read_rows(MaskFiles([path], (8, 8), original_shapes=ImageFiles([path]))),
}


def read_rows(source):
    """Read a source; give what a user might keep of it."""
    return np.asarray(source), source


def read_cache(bunch):
    """Give a cached bunch with the names and contents of the files behind it."""
    folder = os.path.dirname(bunch.images.source.filename)
    names = [name for name in os.listdir(folder) if name.endswith(".npy")]
    return np.asarray(bunch), bunch, names, [Path(folder, name).read_bytes() for name in names]


# Values of the kind that pydicom quotes in exceptions and warnings, in elements the library looks at.
MISUSED = {
    "NumberOfFrames": ("IS", "MRN-8842-XQ"),
    "RescaleSlope": ("DS", "Quagmire^Zebulon"),
    "WindowCenter": ("DS", "Zebulon"),
    "WindowWidth": ("DS", "Quagmire"),
    "VOILUTFunction": ("CS", "Quagmire^Zebulon"),
    "PhotometricInterpretation": ("CS", "ODD"),
    "SpecificCharacterSet": ("CS", "ISO Quagmire"),
    "SOPClassUID": ("UI", "1.2.826.0.1.3680043.8.498.77001"),
    "ImagePositionPatient": ("DS", "Quagmire\\1\\2"),
    "PixelSpacing": ("DS", "Zebulon\\Quagmire"),
    "KVP": ("DS", "MRN-8842-XQ"),
    "PatientAge": ("AS", "Zebulon"),
    "PatientSex": ("CS", "Zebulon"),
    "StudyDate": ("DA", "Quagmire"),
    "InstanceNumber": ("IS", "Quagmire"),
    "PatientBirthTime": ("TM", "Quagmire Zebulon"),
}


@pytest.fixture
def identified(tmp_path, write_dicom, identifiers):
    """Function that writes a file full of identifiers; overrides are ``keyword=(VR, value)``."""

    def write(name, *, compress=None, n_frames=1, **overrides):
        pixels = np.arange(n_frames * 40 * 40, dtype=np.int16).reshape(n_frames, 40, 40) % 3000
        place = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        path = write_dicom(
            tmp_path / name,
            pixels if n_frames > 1 else pixels[0],
            compress=compress,
            WindowCenter=40,
            WindowWidth=400,
            RescaleSlope=1,
            RescaleIntercept=-1024,
            **place,
            **identifiers,
        )
        dataset = pydicom.dcmread(path)
        block = dataset.private_block(0x0011, "Quagmire private", create=True)
        block.add_new(0x01, "LO", identifiers["PatientID"])
        with pydicom.config.disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for keyword, (vr, value) in overrides.items():
                tag = pydicom.tag.Tag(keyword)
                raw = value.encode() + b" " * (len(value) % 2)
                dataset._dict[tag] = pydicom.dataelem.RawDataElement(tag, vr, len(raw), raw, 0, False, True)
            dataset.save_as(path)
        return path

    return write


@pytest.fixture
def forbidden(identifiers):
    """Texts that may not appear: the values and their longer parts."""
    texts = set(identifiers.values())
    for value in identifiers.values():
        texts.update(part for part in value.replace("^", " ").split() if len(part) >= 6)
    return [text.lower() for text in texts]


@pytest.fixture
def outcome(caplog, capfd, monkeypatch):
    """Function that makes a call and gives everything that came out of it as one text."""
    monkeypatch.setattr(pydicom.config, "debugging", True)
    caplog.set_level(logging.DEBUG)
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("pydicom")]:
        caplog.set_level(logging.DEBUG, logger=name)

    def run(call, path):
        caplog.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result, error = result_or_error(call, path)
        if error is None:
            out = [repr(result), pickle.dumps(result).decode("latin-1")]
            out += [result.to_csv()] if hasattr(result, "to_csv") else []
        else:
            assert isinstance(error, ValueError)
            out = ["".join(traceback.format_exception(error)), repr(pickle.dumps(error))]
            while error is not None:  # "raise ... from None" hides the exception before, but keeps it
                out.append(repr(error))
                error = error.__cause__ or error.__context__
        out += [str(warning.message) for warning in caught]
        out += [record.getMessage() for record in caplog.records]
        out += list(capfd.readouterr())
        return "\n".join(out).lower()

    return run


def result_or_error(call, path):
    try:
        return call(path), None
    except Exception as error:
        return None, error


def assert_clean(text, forbidden):
    found = [value for value in forbidden if value in text]
    assert not found, found


def test_pydicom_itself_lets_identifiers_out(identified, forbidden, outcome):
    """What the guard is for, and a proof that the tests below would notice."""
    path = identified("a.dcm", NumberOfFrames=MISUSED["NumberOfFrames"])
    text = outcome(lambda path: int(pydicom.dcmread(path).NumberOfFrames), path)
    assert "invalid literal for int() with base 10: 'mrn-8842-xq'" in text
    assert "invalid value for vr is: 'mrn-8842-xq'" in text
    assert sum(value in text for value in forbidden) > 20  # its log, at the level of debugging


@pytest.mark.parametrize("name", CALLS)
def test_good_files(identified, forbidden, outcome, name):
    for path in (identified("a.dcm"), identified("b.dcm", compress=(RLELossless, "pydicom"), n_frames=2)):
        assert_clean(outcome(CALLS[name], path), forbidden)


@pytest.mark.parametrize("name", CALLS)
def test_files_without_pixels(tmp_path, identified, forbidden, outcome, name):
    path = identified("a.dcm")
    dataset = pydicom.dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)
    assert_clean(outcome(CALLS[name], path), forbidden)
    del dataset.Rows
    dataset.save_as(path)
    assert_clean(outcome(CALLS[name], path), forbidden)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("compress", [None, (RLELossless, "pydicom")])
def test_files_cut_short(tmp_path, identified, forbidden, outcome, name, compress):
    content = identified("a.dcm", compress=compress).read_bytes()
    path = tmp_path / "cut.dcm"
    for cut in [*range(0, 2200, 73), *np.linspace(2200, len(content) - 1, 10).astype(int)]:
        path.write_bytes(content[:cut])
        assert_clean(outcome(CALLS[name], path), forbidden)


@pytest.mark.parametrize("name", CALLS)
def test_misused_elements(identified, forbidden, outcome, name):
    paths = [identified("one.dcm", **{keyword: misuse}) for keyword, misuse in MISUSED.items()]
    everything = identified("all.dcm", **MISUSED)
    for path in [*paths, everything]:
        assert_clean(outcome(CALLS[name], path), forbidden)


def test_unknown_transfer_syntaxes_are_not_repeated(identified, forbidden, outcome):
    path = identified("a.dcm")
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.826.0.1.3680043.8.498.77001"
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=True, force_encoding=True)
    for call in CALLS.values():
        assert_clean(outcome(call, path), forbidden)


def test_logs_of_others_are_left_alone(identified, caplog):
    caplog.set_level(logging.DEBUG)
    before = [list(logging.getLogger(name).filters) for name in ("pydicom", "pydicom.pixels.decoders.base")]
    read_dicom(identified("a.dcm"))
    after = [list(logging.getLogger(name).filters) for name in ("pydicom", "pydicom.pixels.decoders.base")]
    assert before == after
    logging.getLogger("pydicom").warning("of another")
    assert [record.getMessage() for record in caplog.records][-1] == "of another"


def test_warning_filters_survive_threads(identified):
    from concurrent.futures import ThreadPoolExecutor

    path = identified("a.dcm")
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(read_dicom, [path] * 40))
    assert warnings.filters == before
    for image in images:
        np.testing.assert_array_equal(image, images[0])
