"""Pixels of DICOM files against pydicom's own transforms."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from sklearn_shortcuts.images._dicom import read_dicom
from sklearn_shortcuts.images._dicom_file import list_dicom_files
from sklearn_shortcuts.images._window import apply_window

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"  # only files that come with the package itself

GRAY_FILES = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_expb.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
    "693_J2KI.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEG2000.dcm",
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "examples_overlay.dcm",
    "image_dfl.dcm",
    "liver_1frame.dcm",
    "rtdose_rle.dcm",
    "rtdose_expb.dcm",
]
COLOR_FILES = [
    "ExplVR_BigEnd.dcm",
    "GDCMJ2K_TextGBR.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_rle_16bit_2frame.dcm",
    "SC_rgb_rle_32bit.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
]
NO_PIXELS = ["rtplan.dcm", "test-SR.dcm", "waveform_ecg.dcm", "ExplVR_LitEndNoMeta.dcm", "ExplVR_BigEndNoMeta.dcm"]
DAMAGED = ["MR_truncated.dcm", "rtplan_truncated.dcm", "badVR.dcm", "JPEG2000-embedded-sequence-delimiter.dcm"]


def bundled(name):
    path = BUNDLED / name
    if not path.exists():
        pytest.skip(f"this version of pydicom does not bring {name}")
    return path


def voi_in_float64(dataset, voi):
    """Scale what pydicom gives for the file's own view, from its output range to [0, 1]."""
    if "VOILUTSequence" in dataset:
        return voi / (2.0 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1)
    bits, signed = dataset.BitsStored, dataset.PixelRepresentation
    ends = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    low, high = (end * slope + intercept for end in ends)
    return (voi - low) / (high - low)


@pytest.fixture
def stored():
    return np.random.default_rng(0).integers(-900, 3000, (11, 13)).astype(np.int16)


# -- files of other people ---------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore:The pixel data is .* excess padding:UserWarning")  # of the reference itself
@pytest.mark.parametrize("name", GRAY_FILES)
def test_bundled_gray_files(name):
    path = bundled(name)
    dataset = pydicom.dcmread(path)
    measured = apply_modality_lut(dataset.pixel_array, dataset)
    np.testing.assert_array_equal(read_dicom(path, dtype=np.float64), measured)
    own = read_dicom(path, window="auto")
    if "WindowCenter" in dataset:
        expected = voi_in_float64(dataset, apply_voi_lut(measured, dataset))
    else:
        expected = (measured - measured.min()) / (float(measured.max()) - float(measured.min()))
    not_padding = dataset.pixel_array != dataset.get("PixelPaddingValue", np.inf)
    assert not_padding.mean() > 0.5
    np.testing.assert_allclose(own[not_padding], expected[not_padding], rtol=0, atol=2e-7)


@pytest.mark.parametrize("name", COLOR_FILES)
def test_bundled_color_files(name):
    path = bundled(name)
    dataset = pydicom.dcmread(path)
    expected = np.moveaxis(pydicom.pixels.pixel_array(dataset), -1, -3)
    np.testing.assert_array_equal(read_dicom(path, dtype=np.float64), expected)
    np.testing.assert_allclose(
        read_dicom(path, window="auto", output_range=(-1, 1)), expected / (2**dataset.BitsStored - 1) * 2 - 1, atol=2e-7
    )


def test_palette():
    path = bundled("examples_palette.dcm")
    dataset = pydicom.dcmread(path)
    expected = np.moveaxis(pydicom.pixels.apply_color_lut(dataset.pixel_array, dataset), -1, 0)
    np.testing.assert_array_equal(read_dicom(path), expected)
    np.testing.assert_allclose(read_dicom(path, window="auto"), expected / 65535, atol=2e-7)


@pytest.mark.parametrize("name", [*NO_PIXELS, *DAMAGED])
def test_bundled_files_without_readable_pixels(name):
    with pytest.raises(ValueError, match=name) as caught:
        read_dicom(bundled(name))
    message = "has no pixels" if name in NO_PIXELS else "damaged|cut short"
    assert caught.match(message)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_real_files_of_several_vendors(real_data):
    cv2 = pytest.importorskip("cv2")
    table = list_dicom_files(real_data / "dicom_multivendor" / "dicom", "folder")
    assert len(table) == 44
    for path in table:
        image = read_dicom(path, window="auto")
        assert image.ndim == (3 if "CT_Siemens_03" in path else 2)
        assert 0 <= image.min() < image.max() <= 1
        gray = image.mean(axis=0) if image.ndim == 3 else image
        preview = Path(path).parents[1] / "preview" / (Path(path).stem + ".png")
        shown = cv2.imread(str(preview), cv2.IMREAD_GRAYSCALE).astype(np.float32)
        small = cv2.resize(gray.astype(np.float32), shown.shape[::-1], interpolation=cv2.INTER_AREA)
        agreement = np.corrcoef(small.ravel(), shown.ravel())[0, 1]
        if "CR_Philips" in path:
            assert agreement < -0.99  # MONOCHROME1: the preview shows the stored values, with dark bones
        else:
            assert agreement > 0.85, path  # the previews have windows of their own


# -- every transform ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.int8, np.uint8])
def test_windows_of_the_file(tmp_path, write_dicom, function, photometric, kind):
    limits = np.iinfo(kind)
    pixels = np.random.default_rng(1).integers(limits.min // 8, limits.max // 8, (9, 10)).astype(kind)
    window = {"WindowCenter": [float(pixels.mean()) * 0.5 - 7, 3.0], "WindowWidth": [float(pixels.std()), 9.0]}
    extra = {} if function is None else {"VOILUTFunction": function}
    path = write_dicom(
        tmp_path / "a.dcm",
        pixels,
        PhotometricInterpretation=photometric,
        RescaleSlope=0.5,
        RescaleIntercept=-7,
        **window,
        **extra,
    )
    dataset = pydicom.dcmread(path)
    measured = apply_modality_lut(dataset.pixel_array, dataset)
    expected = voi_in_float64(dataset, apply_voi_lut(measured, dataset))
    if photometric == "MONOCHROME1":
        expected = 1 - expected
    assert expected.std() > 0.05
    np.testing.assert_allclose(read_dicom(path, window="auto"), expected, rtol=0, atol=2e-7)
    np.testing.assert_allclose(read_dicom(path), measured, rtol=1e-7)
    given = apply_window(measured, 3, 90, output_range=(1, 0) if photometric == "MONOCHROME1" else (0, 1))
    np.testing.assert_allclose(read_dicom(path, window=(3, 90)), given, rtol=0, atol=2e-7)


def test_a_linear_window_of_width_one_is_a_step(tmp_path, write_dicom, stored):
    path = write_dicom(tmp_path / "a.dcm", stored, WindowCenter=100.5, WindowWidth=1)
    np.testing.assert_array_equal(read_dicom(path, window="auto"), stored > 100)


@pytest.mark.parametrize("first", [0, 500, -700])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lookup_tables(tmp_path, write_dicom, lookup_table, stored, first, bits):
    entries = np.linspace(0, 1, 200) ** 2 * (2**bits - 1)
    table = lookup_table(entries.astype(int), first, bits)
    as_voi = write_dicom(tmp_path / "voi.dcm", stored, VOILUTSequence=[table], WindowCenter=5, WindowWidth=10)
    expected = entries.astype(int)[np.clip(stored.astype(int) - first, 0, 199)]
    np.testing.assert_allclose(read_dicom(as_voi, window="auto"), expected / (2**bits - 1), atol=2e-7)
    dataset = pydicom.dcmread(as_voi)
    if bits != 8:  # pydicom counts entries in the type of the table, which wraps around for eight bits
        np.testing.assert_array_equal(apply_voi_lut(dataset.pixel_array.astype(np.int64), dataset), expected)
    if bits != 12:  # pydicom knows modality tables of whole bytes only
        as_modality = write_dicom(tmp_path / "modality.dcm", stored, ModalityLUTSequence=[table])
        dataset = pydicom.dcmread(as_modality)
        np.testing.assert_array_equal(apply_modality_lut(dataset.pixel_array.astype(np.int64), dataset), expected)
        np.testing.assert_array_equal(read_dicom(as_modality), expected)


def test_long_tables_of_eight_bits_and_tables_in_bytes(tmp_path, write_dicom):
    """Tables with more entries than eight bits can count, where pydicom cannot serve as the reference."""
    pixels = np.arange(0, 4096, 41, dtype=np.uint16)[None].repeat(2, axis=0)
    entries = (np.arange(4096) // 16).astype(np.uint8)
    for data, vr in ((entries.astype("<u2").tobytes(), "OW"), (entries.tobytes(), "OW")):
        item = Dataset()
        item.add_new((0x0028, 0x3002), "US", [4096, 0, 8])
        item.add_new((0x0028, 0x3006), vr, data)
        path = write_dicom(tmp_path / "a.dcm", pixels, VOILUTSequence=[item])
        np.testing.assert_allclose(read_dicom(path, window="auto"), (pixels // 16) / 255, atol=2e-7)


def test_a_table_that_is_too_short_is_refused(tmp_path, write_dicom, lookup_table, stored):
    table = lookup_table(range(50), 0, 8)
    table.LUTDescriptor = [60, 0, 8]
    path = write_dicom(tmp_path / "a.dcm", stored, VOILUTSequence=[table])
    with pytest.raises(ValueError, match="lookup table that is shorter"):
        read_dicom(path, window="auto")
    assert read_dicom(path, window="full").max() == 1


def test_bits_stored_below_bits_allocated(tmp_path, write_dicom):
    signed = np.array([[-2048, -1, 0, 2047]], dtype=np.int16)
    path = write_dicom(tmp_path / "a.dcm", signed & 0x0FFF, PixelRepresentation=1, BitsStored=12)
    np.testing.assert_array_equal(read_dicom(path), signed)
    unsigned = np.array([[0, 4095, 17]], dtype=np.uint16)
    with_overlay = write_dicom(tmp_path / "b.dcm", unsigned | 0xF000, BitsStored=12)
    np.testing.assert_array_equal(read_dicom(with_overlay), unsigned)


def test_full_range_and_padding(tmp_path, write_dicom, stored):
    padded = stored.copy()
    padded[0] = -2000
    inside = padded != -2000
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        path = write_dicom(
            tmp_path / "a.dcm",
            padded,
            PixelPaddingValue=-2000,
            PhotometricInterpretation=photometric,
            RescaleSlope=2,
            RescaleIntercept=-1024,
        )
        full = read_dicom(path, window="full", output_range=(-1, 1))
        low, high = stored[1:].min(), stored[1:].max()
        expected = (stored - float(low)) / (float(high) - low)
        if photometric == "MONOCHROME1":
            expected = 1 - expected
        np.testing.assert_allclose(full[inside], (2 * expected - 1)[inside], atol=4e-7)
        assert (full[~inside] == -1).all()
        assert (read_dicom(path, window=[(0, 10), (5, 9)])[:, 0] == 0).all()
        np.testing.assert_array_equal(read_dicom(path), padded * 2.0 - 1024)  # as measured, padding and all


def test_padding_ranges_and_padding_written_as_unsigned(tmp_path, write_dicom, stored):
    path = write_dicom(tmp_path / "a.dcm", stored, PixelPaddingValue=-900, PixelPaddingRangeLimit=-500)
    full = read_dicom(path, window="full")
    np.testing.assert_allclose(full[stored == stored[stored > -500].min()], 0)
    dataset = pydicom.dcmread(path)
    del dataset.PixelPaddingRangeLimit
    dataset.add_new((0x0028, 0x0120), "US", int(stored.min()) + 2**16)
    dataset.save_as(tmp_path / "b.dcm")
    second_least = np.unique(stored)[1]
    assert read_dicom(tmp_path / "b.dcm", window="full")[stored == second_least].max() == 0
    all_padding = write_dicom(tmp_path / "c.dcm", np.full((3, 3), 5, np.int16), PixelPaddingValue=5)
    np.testing.assert_array_equal(read_dicom(all_padding, window="full"), 0)


def test_constant_image(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", np.full((3, 4), 7, np.uint16))
    np.testing.assert_array_equal(read_dicom(path, window="auto"), 0)


def test_list_of_windows_makes_channels(tmp_path, write_dicom, stored):
    path = write_dicom(tmp_path / "a.dcm", stored, RescaleIntercept=-1024, RescaleSlope=1)
    windows = read_dicom(path, window=[(40, 80), (600, 2800)], output_range=(-1, 1))
    np.testing.assert_allclose(
        windows, apply_window(stored - 1024, [40, 600], [80, 2800], output_range=(-1, 1)), atol=4e-7
    )
    assert read_dicom(path, window=[(40, 80)]).shape == (1, 11, 13)


# -- frames ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("compress", [None, (RLELossless, "pydicom"), (JPEG2000Lossless, "pylibjpeg")])
def test_frames_and_compression(tmp_path, write_dicom, compress):
    pixels = np.random.default_rng(2).integers(0, 4000, (4, 40, 48)).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, compress=compress)
    np.testing.assert_array_equal(read_dicom(path), pixels)
    for frame in range(4):
        np.testing.assert_array_equal(read_dicom(path, frame=frame), pixels[frame])
    assert read_dicom(path, window=[(100, 50), (9, 9)]).shape == (4, 2, 40, 48)
    with pytest.raises(ValueError, match=r"has 4 frame\(s\), so there is no frame 4"):
        read_dicom(path, frame=4)
    single = write_dicom(tmp_path / "b.dcm", pixels[0], compress=compress)
    np.testing.assert_array_equal(read_dicom(single), pixels[0])
    np.testing.assert_array_equal(read_dicom(single, frame=0), pixels[0])


@pytest.mark.parametrize("compress", [None, (JPEG2000Lossless, "pylibjpeg")])
@pytest.mark.parametrize("said", [1, 2])
def test_more_frames_than_the_header_says(tmp_path, write_dicom, compress, said):
    pixels = np.random.default_rng(2).integers(0, 4000, (3, 40, 48)).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, compress=compress)
    dataset = pydicom.dcmread(path)
    dataset.NumberOfFrames = said
    dataset.save_as(path)
    with pytest.raises(ValueError, match=f"holds more frames than the {said} it says; choose with frame="):
        read_dicom(path)
    np.testing.assert_array_equal(read_dicom(path, frame=said - 1), pixels[said - 1])


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_other_encodings(tmp_path, write_dicom, stored, syntax):
    path = write_dicom(tmp_path / "a.dcm", stored, syntax=syntax, WindowCenter=100, WindowWidth=500)
    np.testing.assert_array_equal(read_dicom(path), stored)


def test_frames_with_transforms_of_their_own(tmp_path, write_dicom):
    pixels = np.random.default_rng(3).integers(0, 400, (3, 6, 5)).astype(np.uint16)
    groups = []
    for slope in (1.0, 2.0, 4.0):
        group, transform, voi = Dataset(), Dataset(), Dataset()
        transform.RescaleSlope, transform.RescaleIntercept = slope, -100.0
        voi.WindowCenter, voi.WindowWidth = 100.0 * slope, 200.0
        group.PixelValueTransformationSequence = [transform]
        if slope > 1:
            group.FrameVOILUTSequence = [voi]
        groups.append(group)
    shared, voi = Dataset(), Dataset()
    voi.WindowCenter, voi.WindowWidth = 50.0, 20.0
    shared.FrameVOILUTSequence = [voi]
    path = write_dicom(
        tmp_path / "a.dcm", pixels, PerFrameFunctionalGroupsSequence=groups, SharedFunctionalGroupsSequence=[shared]
    )
    measured = pixels * np.array([1.0, 2.0, 4.0])[:, None, None] - 100
    np.testing.assert_array_equal(read_dicom(path), measured)
    np.testing.assert_array_equal(read_dicom(path, frame=2), measured[2])
    for frame, (center, width) in enumerate([(50, 20), (200, 200), (400, 200)]):
        expected = np.clip((measured[frame] - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
        np.testing.assert_allclose(read_dicom(path, window="auto")[frame], expected, atol=2e-7)
        np.testing.assert_allclose(read_dicom(path, frame=frame, window="auto"), expected, atol=2e-7)
    full = read_dicom(path, window="full")
    np.testing.assert_allclose(full, (measured - measured.min()) / np.ptp(measured), atol=2e-7)


def test_floating_point_pixels(tmp_path, write_dicom, stored):
    path = write_dicom(tmp_path / "a.dcm", stored)
    dataset = pydicom.dcmread(path)
    values = np.random.default_rng(0).normal(size=stored.shape).astype(np.float32)
    del dataset.PixelData
    dataset.FloatPixelData = values.tobytes()
    dataset.BitsAllocated = 32
    dataset.save_as(tmp_path / "b.dcm")
    np.testing.assert_array_equal(read_dicom(tmp_path / "b.dcm"), values)


def test_color_written_here(tmp_path, write_dicom):
    rgb = np.random.default_rng(4).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    path = write_dicom(tmp_path / "a.dcm", rgb, PhotometricInterpretation="RGB")
    np.testing.assert_array_equal(read_dicom(path, dtype=np.uint8), np.moveaxis(rgb, -1, 0))
    ybr = write_dicom(tmp_path / "b.dcm", rgb, PhotometricInterpretation="YBR_FULL")
    expected = pydicom.pixels.convert_color_space(rgb, "YBR_FULL", "RGB")
    np.testing.assert_array_equal(read_dicom(ybr, dtype=np.uint8), np.moveaxis(expected, -1, 0))
    with pytest.raises(ValueError, match="color image, which has no gray-level window"):
        read_dicom(path, window=(1, 2))
    partial = write_dicom(tmp_path / "c.dcm", rgb, PhotometricInterpretation="YBR_PARTIAL_420")
    with pytest.raises(ValueError, match=r"color space that cannot be read|damaged"):
        read_dicom(partial)


def test_integer_results(tmp_path, write_dicom, stored):
    path = write_dicom(tmp_path / "a.dcm", stored, RescaleSlope=0.5, RescaleIntercept=0.2)
    np.testing.assert_array_equal(read_dicom(path, dtype=np.int16), np.rint(stored * 0.5 + 0.2))
    assert read_dicom(path, window="full", output_range=(0, 255), dtype=np.uint8).max() == 255


# -- refusals ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"WindowCenter": 5, "WindowWidth": 0}, "window of width 0, which is not valid; give window="),
        ({"WindowCenter": 5, "WindowWidth": 0.5}, "window of width 0.5"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "MAGIC"}, "window function that is not of the"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "RescaleSlope of 0"),
    ],
)
def test_headers_that_make_no_sense(tmp_path, write_dicom, stored, attributes, message):
    path = write_dicom(tmp_path / "odd.dcm", stored, **attributes)
    with pytest.raises(ValueError, match=rf"odd\.dcm .*{message}"):
        read_dicom(path, window="auto")


def test_unknown_transfer_syntax(tmp_path, write_dicom, stored):
    path = write_dicom(tmp_path / "a.dcm", stored)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2
    dataset["PixelData"].is_undefined_length = True
    dataset.PixelData = pydicom.encaps.encapsulate([b"\0" * 8])
    dataset.save_as(tmp_path / "b.dcm")
    with pytest.raises(ValueError, match=r"MPEG2.*convert it to Explicit VR Little Endian"):
        read_dicom(tmp_path / "b.dcm")


def test_files_that_are_not_dicom(tmp_path):
    for name, content in (("a.dcm", b"\x89PNG\r\n" * 40), ("b.dcm", b""), ("c.dcm", b"\x08\x00 nothing much")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            read_dicom(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_dicom(tmp_path / "missing.dcm")
    with pytest.raises(IsADirectoryError):
        read_dicom(tmp_path)


@pytest.mark.parametrize("window", ["own", (1, 2, 3), [(1, 2), (3,)], (1, -2), [], 5, (np.nan, 1), [(40, 80), (1, 0)]])
def test_bad_windows(window):
    with pytest.raises(ValueError, match=r"window|width"):
        read_dicom("unread.dcm", window=window)


@pytest.mark.parametrize("frame", [-1, 1.5, "0", True])
def test_bad_frames(frame):
    with pytest.raises(ValueError, match="frame must be None or an integer from 0"):
        read_dicom("unread.dcm", frame=frame)


def read_or_explain(path, **options):
    try:
        return read_dicom(path, **options), None
    except ValueError as error:
        return None, error


FUZZED = ["CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"]


@pytest.mark.parametrize("name", FUZZED)
@settings(max_examples=50, deadline=None)
@given(share=st.floats(0, 1), where=st.sampled_from(["anywhere", "at the end", "in the header"]))
def test_a_file_cut_short_is_refused_or_read_right(tmp_path_factory, name, share, where):
    content = bundled(name).read_bytes()
    start, stop = {"anywhere": (0, 1.0), "at the end": (0.98, 1.0), "in the header": (0, 0.1)}[where]
    cut = content[: int(len(content) * (start + share * (stop - start)))]
    path = tmp_path_factory.mktemp("cut") / "cut.dcm"
    path.write_bytes(cut)
    image, problem = read_or_explain(path)
    if problem is None:
        np.testing.assert_array_equal(image, read_dicom(bundled(name)))
    else:
        assert str(problem).startswith(str(path))
        assert problem.__context__ is None


@settings(max_examples=50, deadline=None)
@given(places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=20))
def test_changed_bytes_never_give_anything_but_an_image_or_one_error(tmp_path_factory, places):
    content = bytearray(bundled("CT_small.dcm").read_bytes()[:9000])  # mostly header
    for share, value in places:
        content[132 + int(share * (len(content) - 133))] = value
    path = tmp_path_factory.mktemp("changed") / "changed.dcm"
    path.write_bytes(bytes(content))
    image, problem = read_or_explain(path, window="auto")
    if problem is None:
        assert image.dtype == np.float32
    else:
        assert str(problem).startswith(str(path))
