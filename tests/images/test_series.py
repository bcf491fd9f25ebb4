"""Volumes: order, gaps, mixtures, frames."""

import pickle

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage

from sklearn_shortcuts.images._dicom_file import list_dicom_files
from sklearn_shortcuts.images._series import DicomVolume, read_dicom_series
from sklearn_shortcuts.images._window import apply_window

AXIAL = [1, 0, 0, 0, 1, 0]
SAGITTAL = [0, 1, 0, 0, 0, -1]
TILTED = [1, 0, 0, 0, np.cos(0.3), np.sin(0.3)]


@pytest.fixture
def write_slices(tmp_path, write_dicom):
    """Function that writes one slice per position; the stored values are the number of the position."""

    def write(positions, *, orientation=AXIAL, series="1.2.3.1", names=None, shape=(4, 6), folder=tmp_path, **options):
        normal = np.cross(orientation[:3], orientation[3:])
        paths = []
        for number, position in enumerate(positions):
            name = f"{series}_{number:03d}.dcm" if names is None else names[number]
            attributes = {
                "ImagePositionPatient": [round(float(value), 4) for value in normal * position],
                "ImageOrientationPatient": [round(float(value), 6) for value in orientation],
                "PixelSpacing": [0.5, 0.25],
                "SliceThickness": 5,
                "SeriesInstanceUID": series,
                "InstanceNumber": 99 - number,
                "RescaleIntercept": -10,
                "RescaleSlope": 1,
                **options,
            }
            attributes = {keyword: value for keyword, value in attributes.items() if value is not None}
            paths.append(write_dicom(folder / name, np.full(shape, number, np.int16), **attributes))
        return paths

    return write


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, TILTED])
def test_slices_are_ordered_by_position_alone(tmp_path, write_slices, orientation):
    positions = np.array([15.0, -5.0, 10.0, 0.0, 5.0])
    write_slices(positions, orientation=orientation, names=["c.dcm", "a.dcm", "e.dcm", "b.dcm", "d.dcm"])
    volume = read_dicom_series(tmp_path)
    np.testing.assert_array_equal(volume.values[:, 0, 0], np.argsort(positions) - 10)
    np.testing.assert_allclose(volume.positions, np.sort(positions), atol=1e-3)
    assert volume.spacing == pytest.approx((5, 0.5, 0.25), abs=1e-3)
    np.testing.assert_allclose(volume.orientation, orientation, atol=1e-6)
    assert (volume.shape, volume.n_files, volume.irregularities) == ((5, 4, 6), 5, ())
    assert repr(volume) == "DicomVolume(shape=(5, 4, 6), spacing=(5, 0.5, 0.25) mm, n_files=5)"
    np.testing.assert_array_equal(np.asarray(volume), volume.values)
    copy = pickle.loads(pickle.dumps(volume))
    np.testing.assert_array_equal(copy.values, volume.values)


def test_windowed(write_slices):
    paths = write_slices([0, 1, 2])
    volume = read_dicom_series(paths, window=(-9, 4), output_range=(-1, 1))
    expected = apply_window(np.arange(3) - 10, -9, 4, output_range=(-1, 1))
    np.testing.assert_allclose(volume.values[:, 0, 0], expected, atol=1e-6)
    assert read_dicom_series(paths, dtype=np.int16).values.dtype == np.int16


def test_several_series(tmp_path, write_slices):
    write_slices([0, 1], series="1.2.3.9", names=["a.dcm", "b.dcm"])
    write_slices([3, 2, 1], series="1.2.3.1", names=["x.dcm", "y.dcm", "z.dcm"])
    with pytest.raises(ValueError, match=r"hold 2 series; choose") as caught:
        read_dicom_series(tmp_path)
    assert caught.match(r"0: CT, 2 slice\(s\) of 4 x 6, first file a.dcm\n  1: CT, 3 slice\(s\)")
    assert "1.2.3" not in str(caught.value)
    assert [len(volume) for volume in read_dicom_series(tmp_path, series="all")] == [2, 3]
    assert len(read_dicom_series(tmp_path, series=1)) == 3
    for wrong in (2, -1, True, "first", 0.5):
        with pytest.raises(ValueError, match="series must be None, 'all' or an integer below 2"):
            read_dicom_series(tmp_path, series=wrong)


def test_one_series_as_a_list(write_slices):
    (volume,) = read_dicom_series(write_slices([0, 1]), series="all")
    assert isinstance(volume, DicomVolume)


def test_missing_slices_and_uneven_gaps(write_slices):
    paths = write_slices([0, 5, 10, 25, 30, 33, 38, 43])
    with pytest.raises(ValueError, match="not evenly spaced") as caught:
        read_dicom_series(paths)
    assert caught.match(r"2 slice\(s\) of 5 mm seem to be missing between 1\.2\.3\.1_002\.dcm and 1\.2\.3\.1_003\.dcm")
    assert caught.match(r"the gap between 1\.2\.3\.1_004\.dcm and 1\.2\.3\.1_005\.dcm is 3 mm, not 5 mm")
    assert caught.match("uneven='allow'")
    volume = read_dicom_series(paths, uneven="allow")
    assert len(volume.irregularities) == 2
    assert volume.spacing[0] == 5
    assert repr(volume).endswith("n_files=8, uneven)")
    many = read_dicom_series(write_slices(np.cumsum(np.arange(12.0) ** 2)), uneven="allow")
    assert len(many.irregularities) == 5
    assert many.irregularities[-1].startswith("and ")


def test_small_differences_of_rounding_are_even(write_slices):
    positions = np.arange(6) * 2.5 + [0, 0.004, -0.003, 0.005, 0, 0.002]
    assert read_dicom_series(write_slices(positions)).irregularities == ()


def test_slices_that_do_not_belong_together(write_slices):
    axial = write_slices([0, 1, 2], names=["a0.dcm", "a1.dcm", "a2.dcm"])
    for options, message in (
        ({"orientation": SAGITTAL}, "1 of 4 slices differ in orientation from the first"),
        ({"shape": (5, 6)}, "differ in size from the first"),
        ({"PixelSpacing": [0.6, 0.25]}, "differ in pixel spacing from the first"),
    ):
        other = write_slices([7], names=["odd.dcm"], **options)
        with pytest.raises(ValueError, match=rf"{message}.*a0\.dcm.*odd\.dcm.*localizer"):
            read_dicom_series([*axial, *other])


def test_two_slices_at_one_place(write_slices):
    paths = write_slices([0, 5, 5, 10])
    with pytest.raises(ValueError, match=r"1 slice\(s\) lie at the same place.*_001\.dcm and .*_002\.dcm"):
        read_dicom_series(paths, uneven="allow")


def test_slices_without_a_place(write_slices):
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
        paths = write_slices([0, 1], **{keyword: None})
        with pytest.raises(ValueError, match=r"no position and orientation.*read it alone with read_dicom"):
            read_dicom_series(paths)
    with pytest.raises(ValueError, match="perpendicular unit vectors"):
        read_dicom_series(write_slices([0, 1], ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))
    with pytest.raises(ValueError, match="ImagePositionPatient that is not 3 finite numbers"):
        read_dicom_series(write_slices([0], ImagePositionPatient=[1, 2]))


def test_reports_are_left_aside_and_headers_without_pixels_are_not(tmp_path, write_slices, write_dicom):
    paths = write_slices([0, 1])
    report = pydicom.dcmread(paths[0])
    del report.PixelData
    report.save_as(tmp_path / "stripped.dcm")
    message = r"stripped\.dcm should be an image but has no pixel data"
    with pytest.raises(ValueError, match=message):
        read_dicom_series(tmp_path)
    del report.Rows
    report.save_as(tmp_path / "stripped.dcm")
    with pytest.raises(ValueError, match=message):
        read_dicom_series(tmp_path)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    report.save_as(tmp_path / "stripped.dcm")
    assert len(read_dicom_series(tmp_path)) == 2
    with pytest.raises(ValueError, match=r"none of the 1 file\(s\) of folder_or_paths is an image.*stripped\.dcm"):
        read_dicom_series([tmp_path / "stripped.dcm"])


def test_color_slices_are_refused(tmp_path, write_dicom):
    path = write_dicom(
        tmp_path / "a.dcm",
        np.zeros((4, 4, 3), np.uint8),
        PhotometricInterpretation="RGB",
        ImagePositionPatient=[0, 0, 0],
        ImageOrientationPatient=AXIAL,
    )
    with pytest.raises(ValueError, match="is a color image; a volume is made of gray slices"):
        read_dicom_series([path])


def test_frames_of_an_enhanced_file(tmp_path, write_dicom):
    positions = [10.0, 0.0, 5.0, 15.0]
    groups = []
    for position in positions:
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = [1.0, 2.0, position]
        group.PlanePositionSequence = [place]
        groups.append(group)
    shared, direction, measures = Dataset(), Dataset(), Dataset()
    direction.ImageOrientationPatient = AXIAL
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.8], 5
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [direction], [measures]
    pixels = np.arange(4, dtype=np.uint16)[:, None, None] * np.ones((4, 3, 3), np.uint16)
    options = {"SharedFunctionalGroupsSequence": [shared], "SeriesInstanceUID": "1.2"}
    path = write_dicom(tmp_path / "a.dcm", pixels, PerFrameFunctionalGroupsSequence=groups, **options)
    volume = read_dicom_series(path)
    np.testing.assert_array_equal(volume.values[:, 0, 0], [1, 2, 0, 3])
    np.testing.assert_array_equal(volume.positions, [0, 5, 10, 15])
    assert volume.spacing == (5, 0.7, 0.8)
    assert volume.n_files == 1
    single = write_dicom(tmp_path / "b.dcm", pixels[:1], PerFrameFunctionalGroupsSequence=groups[:1], **options)
    assert read_dicom_series(single).spacing == (5, 0.7, 0.8)
    groups[0].PlanePositionSequence[0].ImagePositionPatient = [1.0, 2.0, 5.0]
    again = write_dicom(tmp_path / "c.dcm", pixels, PerFrameFunctionalGroupsSequence=groups, **options)
    with pytest.raises(ValueError, match=r"same place as another, for example c\.dcm frame 0 and c\.dcm frame 2"):
        read_dicom_series(again)
    short = write_dicom(tmp_path / "d.dcm", pixels, PerFrameFunctionalGroupsSequence=groups[:3], **options)
    with pytest.raises(ValueError, match="describes 3 frames but has a frame 3"):
        read_dicom_series(short)


# -- channels ----------------------------------------------------------------------------------------------------------
def numbered(n):
    values = np.arange(n)[:, None, None] * np.ones((n, 2, 3))
    return DicomVolume(values, (1.0, 1.0, 1.0), np.arange(float(n)), np.array(AXIAL, float), n)


@settings(max_examples=50, deadline=None)
@given(total=st.integers(1, 30), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_choices_of_slices(total, share, seed):
    volume = numbered(total)
    n = 1 + int(share * (total - 1))
    center = volume.slices(n)[:, 0, 0]
    np.testing.assert_array_equal(np.diff(center), 1)
    assert abs((total - 1 - center[-1]) - center[0]) <= 1
    uniform = volume.slices(n, "uniform")[:, 0, 0]
    assert len(np.unique(uniform)) == n
    expected = [np.floor((i + 0.5) * total / n) for i in range(n)]
    np.testing.assert_array_equal(uniform, expected)
    drawn = volume.slices(n, "random", random_state=seed)[:, 0, 0]
    assert (np.diff(drawn) > 0).all()
    assert set(drawn) <= set(range(total))
    np.testing.assert_array_equal(drawn, volume.slices(n, "random", random_state=seed)[:, 0, 0])


def test_random_states():
    volume = numbered(40)
    for state in (np.random.default_rng(3), np.random.RandomState(3)):
        first, second = (volume.slices(3, "random", random_state=state)[:, 0, 0] for _ in range(2))
        assert first.tolist() != second.tolist()
    counts = np.zeros(40)
    generator = np.random.default_rng(0)
    for _ in range(800):
        counts[volume.slices(5, "random", random_state=generator)[:, 0, 0].astype(int)] += 1
    assert (np.abs(counts - 100) < 5 * np.sqrt(100 * 0.875)).all()
    assert volume.slices(2, "random").shape == (2, 2, 3)


def test_slices_are_copies():
    volume = numbered(4)
    volume.slices(2)[:] = -1
    assert (volume.values >= 0).all()


def test_bad_choices():
    for n in (0, 5, 2.0, True, -1):
        with pytest.raises(ValueError, match="n must be an integer from 1 to the number of slices, 4"):
            numbered(4).slices(n)
    with pytest.raises(ValueError, match="how must be one of center, uniform, random, got 'middle'"):
        numbered(4).slices(2, how="middle")


@pytest.mark.parametrize("window", ["auto", "full", [(40, 80), (1, 2)], (1, 2, 3), [(1, 2), (3,)]])
def test_bad_windows(window):
    with pytest.raises(ValueError, match="window must be None"):
        read_dicom_series("unread", window=window)


def test_bad_uneven():
    with pytest.raises(ValueError, match="uneven must be 'raise' or 'allow'"):
        read_dicom_series("unread", uneven="ignore")


def test_real_head(real_data):
    files = [path for path in list_dicom_files(real_data / "dicom_multivendor" / "dicom", "f") if "CT_GE_0" in path]
    head = files[:14]
    shuffled = [head[i] for i in np.random.default_rng(0).permutation(14)]
    with pytest.raises(ValueError, match="not evenly spaced"):
        read_dicom_series(shuffled)
    volume = read_dicom_series(shuffled, window=(40, 400), output_range=(-1, 1), uneven="allow")
    assert volume.shape == (14, 512, 512)
    assert (volume.values.min(), volume.values.max()) == (-1, 1)
    gaps = np.diff(volume.positions)
    np.testing.assert_allclose(gaps[:6], 8, atol=0.01)
    np.testing.assert_allclose(gaps[7:], 14, atol=0.01)
    np.testing.assert_array_equal(
        volume.values, read_dicom_series(head, window=(40, 400), output_range=(-1, 1), uneven="allow").values
    )
    assert volume.slices(3, "random", random_state=0).shape == (3, 512, 512)
