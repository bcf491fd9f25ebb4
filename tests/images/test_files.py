"""Images that are decoded when their rows are asked for."""

import os
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from PIL import Image

from sklearn_shortcuts.images import ImageBunch, ImageFiles, decode_image
from sklearn_shortcuts.images import _files as module


def write_images(folder, n=6, shape=(12, 9), suffix="png"):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    names = [f"image {row}.{suffix}" for row in range(n)]
    for name, image in zip(names, images):
        Image.fromarray(image).save(folder / name)
    return names, images


def test_rows_are_those_of_the_files(tmp_path):
    names, images = write_images(tmp_path)
    files = ImageFiles(names, root=tmp_path, dtype="uint8")
    assert (files.shape, files.dtype, len(files)) == ((6, 12, 9), np.uint8, 6)
    for key in (slice(1, 5, 2), [4, 0, 3], np.array([True, False] * 3), [-1], [], slice(None)):
        np.testing.assert_array_equal(
            files[key], images[np.array([], int) if isinstance(key, list) and not key else key]
        )
    np.testing.assert_array_equal(files[2], images[2])
    np.testing.assert_allclose(ImageFiles(names, root=tmp_path)[:], images / np.float32(255))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_repeated_rows_and_paths_are_decoded_once(tmp_path, monkeypatch, n_threads):
    names, images = write_images(tmp_path)
    decoded = []

    def counting(path, settings):
        decoded.append(path)
        return decode_image(path, dtype=settings.dtype)

    monkeypatch.setattr(module, "decode_with", counting)
    files = ImageFiles([*names, names[0]], root=tmp_path, dtype="uint8", n_threads=n_threads)
    rows = [3, 0, 3, 6, 5, 0]
    np.testing.assert_array_equal(files[rows], images[[3, 0, 3, 0, 5, 0]])
    assert len(decoded) == 3


def test_decoding_uses_several_threads(tmp_path, monkeypatch):
    names, _ = write_images(tmp_path)
    barrier = threading.Barrier(3, timeout=20)
    real = module.decode_with

    def waiting(path, settings):
        barrier.wait()  # passes only if three decode at once
        return real(path, settings)

    monkeypatch.setattr(module, "decode_with", waiting)
    assert ImageFiles(names, root=tmp_path, n_threads=3)[:].shape == (6, 12, 9)


def test_reading_inside_a_worker_thread_does_not_wait_for_itself(tmp_path):
    from sklearn_shortcuts.images._threads import thread_map

    names, images = write_images(tmp_path)
    files = ImageFiles(names, root=tmp_path, dtype="uint8", n_threads=2)
    results = thread_map(lambda _: files[:], range(4), 2)
    np.testing.assert_array_equal(results[3], images)


def test_sizes_and_channels(tmp_path):
    names, _ = write_images(tmp_path)
    files = ImageFiles(names, root=tmp_path, size=(20, 16), channels=3, resize="stretch", dtype="uint8", pad=1)
    assert files.shape == (6, 3, 20, 16)
    expected = decode_image(tmp_path / names[1], size=(20, 16), channels=3, resize="stretch", dtype="uint8")
    np.testing.assert_array_equal(files[1], expected)
    assert ImageFiles(names, root=tmp_path, size=16, channels=1).shape == (6, 16, 16)


def test_lists_of_paths_become_channels(tmp_path):
    names, images = write_images(tmp_path)
    volumes = ImageFiles([names[:3], names[3:]], root=tmp_path, dtype="uint8")
    np.testing.assert_array_equal(volumes[:], images.reshape(2, 3, 12, 9))
    color = ImageFiles([names[:2], names[2:4]], root=tmp_path, dtype="uint8", channels=3)
    np.testing.assert_array_equal(color[1], images[[2, 2, 2, 3, 3, 3]])
    with pytest.raises(ValueError, match="row 1 has 2 files, but row 0 has 3; give every row the same number"):
        ImageFiles([names[:3], names[3:5]], root=tmp_path)


def test_a_file_of_another_shape(tmp_path):
    names, _ = write_images(tmp_path)
    Image.new("L", (30, 30)).save(tmp_path / names[4])
    Image.new("RGB", (9, 12)).save(tmp_path / names[2])
    files = ImageFiles(names, root=tmp_path)
    with pytest.raises(ValueError, match=r"row 4: .*image 4.png has shape \(30, 30\), .* \(12, 9\); give size="):
        files[[0, 4]]
    with pytest.raises(ValueError, match=r"row 2: .*image 2.png has shape \(3, 12, 9\), .*; give channels="):
        files[[2]]


@pytest.mark.parametrize("size", [None, 8])
def test_damaged_and_missing_files_name_their_row(tmp_path, size):
    names, _ = write_images(tmp_path)
    (tmp_path / names[3]).write_bytes((tmp_path / names[3]).read_bytes()[:-20])
    os.unlink(tmp_path / names[5])
    files = ImageFiles(names, root=tmp_path, size=size, n_threads=2)
    with pytest.raises(ValueError, match=r"row 3: .*image 3.png: the PNG ends too early; replace the file or drop"):
        files[:5]
    with pytest.raises(FileNotFoundError, match=r"row 5: .*image 5.png: there is no such file"):
        files[[5]]
    assert files[[0, 1]].shape[0] == 2  # an error leaves nothing behind that disturbs the next batch
    with pytest.raises(FileNotFoundError, match=r"paths: 1 files of 6 rows do not exist: row 5 .*image 5.png"):
        ImageFiles(names, root=tmp_path, check=True)


def test_blank_rows_are_announced(tmp_path):
    names, images = write_images(tmp_path)
    (tmp_path / names[1]).write_bytes(b"")
    files = ImageFiles(names, root=tmp_path, on_error="warn", dtype="uint8", pad=1)
    with pytest.warns(UserWarning, match=r"1 of 3 images could not be read and are blank: row 1: .*the file is empty"):
        batch = files[:3]
    np.testing.assert_array_equal(batch[[0, 2]], images[[0, 2]])
    assert (batch[1] == 255).all()


@pytest.mark.parametrize(
    ("paths", "error", "match"),
    [
        ("image.png", ValueError, "must be a list with one path per row"),
        (["a.png", None, ""], ValueError, "2 rows have no path, the first is row 1"),
        (["a.png", float("nan")], ValueError, "1 rows have no path, the first is row 1"),
        (["a.png", 3], TypeError, "row 1 must be a path or a list of paths, got 3"),
        ([], ValueError, "no paths to tell the size"),
        (["nowhere.png"], FileNotFoundError, r"nowhere.png: there is no such file"),
        ({"b.png", "a.png"}, TypeError, "one path per row, in order, got set"),
        (None, TypeError, "one path per row, in order, got NoneType"),
        (pd.DataFrame({"image": ["a.png"]}), TypeError, "one path per row, in order, got DataFrame"),
    ],
)
def test_paths_that_cannot_be(paths, error, match):
    with pytest.raises(error, match=match):
        ImageFiles(paths)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"on_error": "skip"}, "on_error must be"), ({"n_threads": 0}, "n_threads must be"), ({"dtype": "int"}, "dtype")],
)
def test_options_that_cannot_be(options, match):
    with pytest.raises(ValueError, match=match):
        ImageFiles(["a.png"], size=8, channels=1, **options)


def test_no_rows_with_a_size():
    assert ImageFiles([], size=8, channels=3)[:].shape == (0, 3, 8, 8)


def test_relative_paths_survive_a_change_of_folder(tmp_path, monkeypatch):
    names, images = write_images(tmp_path)
    monkeypatch.chdir(tmp_path)
    files = ImageFiles(names, dtype="uint8")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(files[:], images)


def test_a_hundred_thousand_paths_are_cheap(tmp_path):
    paths = [f"/somewhere/very/deep/in/a/study/images/part{row % 7}/image_{row:08d}.png" for row in range(100_000)]
    start = time.process_time()
    files = ImageFiles(paths, size=8, channels=1)
    assert time.process_time() - start < 5
    assert len(pickle.dumps(files)) < 3.5e6
    part = files.take(np.arange(50))
    assert len(pickle.dumps(part)) < 5000
    assert part.paths[7] == (os.path.abspath(paths[7]),)


def test_views_pickle_as_their_paths(tmp_path):
    names, images = write_images(tmp_path)
    bunch = ImageBunch(ImageFiles(names, root=tmp_path, dtype="uint8"))
    bunch[:]  # whatever threads exist are not pickled
    np.testing.assert_array_equal(np.asarray(bunch), images)
    view = pickle.loads(pickle.dumps(bunch[[5, 2]]))
    np.testing.assert_array_equal(np.asarray(view), images[[5, 2]])
    assert len(pickle.dumps(bunch[[5, 2]])) < len(pickle.dumps(bunch))


def test_worker_processes_read_their_rows(tmp_path):
    names, images = write_images(tmp_path)
    bunch = ImageBunch(ImageFiles(names, root=tmp_path, dtype="uint8", n_threads=2))
    parts = Parallel(n_jobs=2)(delayed(np.asarray)(bunch[rows]) for rows in ([0, 1, 2], [5, 4, 3]))
    np.testing.assert_array_equal(np.concatenate(parts), images[[0, 1, 2, 5, 4, 3]])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_makes_its_own_threads(tmp_path):
    names, _ = write_images(tmp_path)
    # In a process of its own: forking pytest with the threads of its libraries is unsafe for other reasons.
    script = f"""
import os
from sklearn_shortcuts.images import ImageFiles
files = ImageFiles({names!r}, root={str(tmp_path)!r}, n_threads=2)
total = files[:].sum()
child = os.fork()
if child == 0:
    os._exit(0 if files[:].sum() == total else 1)
assert os.waitpid(child, 0)[1] == 0
assert files[:].sum() == total
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


def test_original_shapes_come_from_headers(tmp_path):
    names, _ = write_images(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    files = ImageFiles([*names, "turned.jpg"], root=tmp_path, size=8)
    assert files.original_shapes([6, 0]) == [(40, 20), (12, 9)]
