"""Volumes on disk, one series per row."""

import pickle
import shutil

import numpy as np
import pandas as pd
import pydicom
import pytest
from joblib import Parallel, delayed

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.images import SeriesFiles, cache_bunch, read_dicom, read_dicom_series
from sklearn_shortcuts.images import _series_files as module
from tests.dicom import write_dicom, write_series


def volumes(lengths=(7, 5, 9), shape=(8, 6), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(-1000, 2000, (length, *shape)) for length in lengths]


@pytest.fixture
def studies(tmp_path):
    values = volumes()
    for name, slices in zip("abc", values):
        write_series(tmp_path / name, slices, seed=ord(name))
    return tmp_path, values


def evenly(total, n):
    return [int((part + 0.5) * total / n) for part in range(n)]


def test_rows_are_evenly_spaced_slices_in_measured_values(studies):
    folder, values = studies
    files = SeriesFiles.from_folder(folder)
    assert (files.shape, files.dtype, len(files)) == ((3, 3, 8, 6), np.float32, 3)
    expected = np.stack([slices[evenly(len(slices), 3)] for slices in values])
    np.testing.assert_array_equal(files[:], expected)
    np.testing.assert_array_equal(files[[2, 0, 2]], expected[[2, 0, 2]])
    assert files.count_slices().tolist() == [7, 5, 9]
    np.testing.assert_array_equal(files.read_slices(2, [8, 0]), values[2][[8, 0]])
    for row, name in enumerate("abc"):
        np.testing.assert_array_equal(files.read_slices(row, range(5)), read_dicom_series(folder / name).values[:5])
    lists = SeriesFiles([sorted((folder / name).iterdir()) for name in "abc"], n_slices=2)
    np.testing.assert_array_equal(lists[1], values[1][evenly(5, 2)])


def test_only_the_slices_asked_for_are_decoded(studies, monkeypatch):
    folder, _ = studies
    decoded = []

    def counting(path, **options):
        decoded.append(path)
        return read_dicom(path, **options)

    monkeypatch.setattr(module, "read_dicom", counting)
    files = SeriesFiles.from_folder(folder, n_threads=1)
    files[[0, 0]]
    assert len(decoded) == 3
    files.read_slices(1, [4])
    assert len(decoded) == 4
    assert len(set(decoded)) == 4


def test_headers_are_read_once(studies, monkeypatch):
    folder, _ = studies
    indexed = []
    real = module.index_series
    monkeypatch.setattr(module, "index_series", lambda files, **options: indexed.append(1) or real(files, **options))
    files = SeriesFiles.from_folder(folder, n_threads=1)
    part = ImageBunch(files)[[2, 0]]
    for _ in range(2):
        np.asarray(part)
        files[[0]]
    assert len(indexed) == 2
    again = pickle.loads(pickle.dumps(part))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(part))
    assert len(indexed) == 2


def test_a_bunch_of_a_table_travels_to_processes(studies):
    folder, _ = studies
    table = pd.DataFrame({"series": ["c", "a", "b"], "vendor": ["GE", "Siemens", "GE"], "patient": ["p", "q", "r"]})
    files = SeriesFiles(table["series"], root=folder, check=True)
    bunch = ImageBunch(files, metadata=table[["vendor"]], groups=table["patient"])
    assert bunch[[1]].metadata["vendor"].tolist() == ["Siemens"]
    part = pickle.loads(pickle.dumps(bunch[[2, 1]]))
    assert part.images.source.numbers.tolist() == [2, 1]
    (elsewhere,) = Parallel(n_jobs=2)([delayed(np.asarray)(part)])
    np.testing.assert_array_equal(elsewhere, np.asarray(bunch)[[2, 1]])


def test_slices_of_other_sizes_are_brought_to_one(studies):
    folder, values = studies
    write_series(folder / "d", volumes([4], shape=(16, 16))[0])
    files = SeriesFiles.from_folder(folder, size=(8, 8), resize="letterbox")
    assert files.shape == (4, 3, 8, 8)
    first = files[0]
    np.testing.assert_array_equal(first[:, :, 1:7], values[0][evenly(7, 3)])
    np.testing.assert_array_equal(first[:, :, 0], values[0][evenly(7, 3)].min(axis=(1, 2))[:, None] * np.ones(8))
    fine = volumes([4], shape=(16, 16))[0][evenly(4, 3)]
    np.testing.assert_allclose(files[3], fine.reshape(3, 8, 2, 8, 2).mean(axis=(2, 4)), atol=0.01)
    with pytest.raises(ValueError, match=r"row 3: the slices are of \(16, 16\) pixels, but the first row's of"):
        SeriesFiles.from_folder(folder)[3]


def test_frames_of_one_file_are_slices(tmp_path):
    """An enhanced multi-frame object: frames are decoded one by one."""
    from pydicom.dataset import Dataset

    values = volumes([6])[0].astype(np.int16)
    groups = []
    for place in (3, 0, 5, 1, 4, 2):
        position, orientation, frame = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 2.5 * place]
        orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [position], [orientation]
        groups.append(frame)
    path = write_dicom(tmp_path / "all.dcm", values, PerFrameFunctionalGroupsSequence=groups)
    files = SeriesFiles([str(path)], n_slices=6)
    np.testing.assert_array_equal(files[0], values[[1, 3, 5, 0, 4, 2]])


def test_cache_follows_the_files(studies, tmp_path_factory):
    folder, _ = studies
    cache = tmp_path_factory.mktemp("cache")

    def stored():
        cache_bunch(ImageBunch(SeriesFiles.from_folder(folder)), cache)
        return len(list(cache.iterdir()))

    assert stored() == 1
    assert stored() == 1
    write_series(folder / "b", volumes(seed=9)[1], gap=2)
    assert stored() == 2


def test_what_is_refused(studies, tmp_path):
    folder, _ = studies
    for options, message in (
        ({"n_slices": 0}, "n_slices must be a positive integer"),
        ({"resize": "zoom"}, "resize must be one of"),
        ({"number": -1}, "number must be None or an integer from 0"),
        ({"uneven": "maybe"}, "uneven must be"),
        ({"n_threads": 0}, "n_threads must be"),
    ):
        with pytest.raises(ValueError, match=message):
            SeriesFiles.from_folder(folder, **options)
    with pytest.raises(ValueError, match="row 1 has 5 slices, fewer than n_slices=6"):
        SeriesFiles.from_folder(folder, n_slices=6)[:]
    with pytest.raises(ValueError, match="1 rows have no path, the first is row 1"):
        SeriesFiles(["a", None], root=folder)
    with pytest.raises(FileNotFoundError, match=r"1 folders or files do not exist, the first is .* of row 1"):
        SeriesFiles(["a", "z"], root=folder, check=True)
    with pytest.raises(ValueError, match="has no folders"):
        SeriesFiles.from_folder(folder / "a")
    with pytest.raises(ValueError, match="no series to tell the size"):
        SeriesFiles([])
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="row 1: series: there is no DICOM file"):
        SeriesFiles(["a", "none"], root=folder)[1]


def test_several_series_and_gaps_name_the_row(studies):
    folder, values = studies
    write_series(folder / "b" / "bone", values[1] + 7, series="1.2.3.2")
    files = SeriesFiles.from_folder(folder)
    with pytest.raises(ValueError, match=r"row 1: the files hold 2 series; choose one") as caught:
        files[1]
    assert "1.2.3" not in str(caught.value).replace(str(folder), "")
    by_number = SeriesFiles([folder / "b"], number=1)[0]
    assert (by_number == values[1][evenly(5, 3)]).all() ^ (by_number == values[1][evenly(5, 3)] + 7).all()
    paths = sorted((folder / "c").iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
    paths[4].unlink()
    with pytest.raises(ValueError, match=r"row 2: the slices are not evenly spaced"):
        files[2]
    assert SeriesFiles.from_folder(folder, uneven="allow").count_slices([2]).tolist() == [8]


def test_real_scans_of_two_vendors(real_data, tmp_path):
    source = real_data / "dicom_multivendor"
    table = pd.read_csv(source / "metadata.csv")
    heads = table[(table.modality == "CT") & (table.body_part == "HEAD") & (table.vendor == "GE")]
    assert len(heads) > 10
    series = tmp_path / "GE"
    series.mkdir()
    for path in heads.dicom:
        shutil.copy(source / path, series)
    files = SeriesFiles([series], uneven="allow")
    volume = read_dicom_series(series, uneven="allow")
    assert files.count_slices().tolist() == [len(volume)]
    np.testing.assert_array_equal(files[0], volume.slices(3, how="uniform"))
    assert files[0].min() < -900
