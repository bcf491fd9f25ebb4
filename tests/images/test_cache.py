"""Rows decoded once."""

import gc
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from PIL import Image

from sklearn_shortcuts.images import ImageBunch, ImageFiles, MaskFiles, cache_bunch
from sklearn_shortcuts.images import _files as files_module


def double(images):
    """A function of the user."""
    return images * 2


@pytest.fixture
def study(tmp_path):
    """A lazy bunch over images and masks of which one is missing."""
    folder = tmp_path / "study"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for row in range(7):
        Image.fromarray(rng.integers(0, 256, (20, 30), dtype=np.uint8)).save(folder / f"MRN-8842-{row}.png")
        Image.fromarray(rng.integers(0, 2, (20, 30), dtype=np.uint8) * 255).save(folder / f"mask{row}.png")
    return make_bunch(folder)


def read_images(folder, **options):
    return ImageFiles([f"MRN-8842-{row}.png" for row in range(7)], root=folder, **{"size": 16, **options})


def make_bunch(folder, **options):
    images = read_images(folder, **options)
    masks = [f"mask{row}.png" if row != 3 else None for row in range(7)]
    return ImageBunch(
        images,
        masks=MaskFiles(masks, 16, root=folder, original_shapes=images),
        metadata=pd.DataFrame({"age": np.arange(7)}),
        groups=np.arange(7) // 2,
    )


def assert_same(cached, bunch):
    np.testing.assert_array_equal(np.asarray(cached), np.asarray(bunch))
    np.testing.assert_array_equal(cached.has_mask, bunch.has_mask)
    np.testing.assert_array_equal(np.asarray(cached.masks), np.asarray(bunch.masks))
    np.testing.assert_array_equal(cached.groups, bunch.groups)
    pd.testing.assert_frame_equal(cached.metadata, bunch.metadata)
    assert cached.shape == bunch.shape
    assert cached.dtype == bunch.dtype


def no_decoding(monkeypatch):
    def fail(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(files_module, "decode_with", fail)


@pytest.mark.parametrize("folder", [None, "cache"])
@pytest.mark.parametrize("rows", [slice(None), [5, 2, 2, 3, 0], [3], []])
def test_gives_the_same_rows_without_decoding(study, tmp_path, monkeypatch, folder, rows):
    bunch = study[rows]
    expected = ImageBunch(np.asarray(bunch), masks=np.asarray(bunch.masks)) if len(bunch) else None
    cached = cache_bunch(bunch, None if folder is None else tmp_path / folder, batch_size=2)
    assert_same(cached, bunch)
    if expected is not None:
        no_decoding(monkeypatch)
        np.testing.assert_array_equal(np.asarray(cached[::-1]), np.asarray(expected)[::-1])
        np.testing.assert_array_equal(np.asarray(cached[[0, 0]].masks), np.asarray(expected.masks)[[0, 0]])


def test_repeated_rows_are_stored_once(study, tmp_path):
    cache_bunch(study[[5, 2, 2, 5, 2]], tmp_path / "cache", fields=())
    (path,) = (tmp_path / "cache").iterdir()
    assert np.load(path).shape == (2, 16, 16)


def test_the_second_call_finds_the_files(study, tmp_path, monkeypatch):
    cache_bunch(study, tmp_path / "cache")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert len(before) == 2
    no_decoding(monkeypatch)
    again = cache_bunch(make_bunch(tmp_path / "study"), tmp_path / "cache")
    cache_bunch(study[::-1], tmp_path / "cache")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == before
    assert again[[1]].shape == (1, 16, 16)


@pytest.mark.parametrize(
    "options",
    [{"size": 15}, {"dtype": "uint8"}, {"resize": "stretch"}, {"pad": 0.5}, {"channels": 3}, {"on_error": "warn"}],
)
def test_other_settings_are_another_cache(study, tmp_path, options):
    cache = tmp_path / "cache"
    cache_bunch(study, cache, fields=())
    other = ImageBunch(read_images(tmp_path / "study", **options))
    assert cache_bunch(other, cache).shape == other.shape
    assert len(list(cache.iterdir())) == 2
    np.testing.assert_array_equal(np.asarray(cache_bunch(other, cache)), np.asarray(other))


def test_a_changed_file_is_decoded_again(study, tmp_path):
    path = tmp_path / "study" / "MRN-8842-4.png"
    before = np.asarray(cache_bunch(study, tmp_path / "cache"))
    image = 255 - np.asarray(Image.open(path))
    Image.fromarray(image).save(path)
    after = np.asarray(cache_bunch(study, tmp_path / "cache"))
    changed = (before != after).any(axis=(1, 2))
    assert changed.tolist() == [False] * 4 + [True] + [False] * 2


def test_names_do_not_enter_the_cache(study, tmp_path):
    cache_bunch(study, tmp_path / "cache")
    for path in (tmp_path / "cache").iterdir():
        assert b"MRN" not in path.name.encode() + path.read_bytes()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_processes(study, tmp_path, n_jobs):
    assert_same(cache_bunch(study, tmp_path / "cache", batch_size=3, n_jobs=n_jobs), study)


def test_worker_processes_read_the_cache(study, tmp_path):
    cached = cache_bunch(study)
    assert len(pickle.dumps(cached)) < 4000
    parts = Parallel(n_jobs=2)(delayed(np.asarray)(cached[rows]) for rows in ([0, 1], [6, 5]))
    np.testing.assert_array_equal(np.concatenate(parts), np.asarray(study)[[0, 1, 6, 5]])


SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from sklearn_shortcuts.images import ImageBunch, ImageFiles, cache_bunch
from sklearn_shortcuts.images import _files
study, cache, me, other = sys.argv[1:]
real = _files.decode_with
def slow(path, settings):
    time.sleep(0.02)  # long enough for both to be at it at once
    return real(path, settings)
_files.decode_with = slow
Path(me).touch()
while not Path(other).exists():
    time.sleep(0.01)
bunch = ImageBunch(ImageFiles([f"MRN-8842-{row}.png" for row in range(7)], root=study, size=16, n_threads=1))
for _ in range(3):
    cached = cache_bunch(bunch, cache, batch_size=1)
    np.testing.assert_array_equal(np.asarray(cached), np.asarray(bunch))
"""


def test_two_processes_store_the_same_at_once(study, tmp_path):
    script, flags = tmp_path / "script.py", [str(tmp_path / name) for name in ("one", "two")]
    script.write_text(SCRIPT)
    arguments = [sys.executable, str(script), str(tmp_path / "study"), str(tmp_path / "cache")]
    processes = [subprocess.Popen([*arguments, *order]) for order in (flags, flags[::-1])]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    (path,) = (tmp_path / "cache").iterdir()
    np.testing.assert_array_equal(np.load(path), np.asarray(study))


def test_a_killed_writer_leaves_nothing_that_is_read(study, tmp_path):
    script = tmp_path / "script.py"
    endless = SCRIPT.replace("time.sleep(0.02)", "time.sleep(0.02 if path.endswith('-0.png') else 600)")
    script.write_text(endless)
    flag = str(tmp_path / "flag")
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "study"), str(tmp_path / "cache"), flag, flag]
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "cache").glob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    (part,) = (tmp_path / "cache").iterdir()
    assert part.suffix == ".part"
    cached = cache_bunch(study, tmp_path / "cache", fields=())
    np.testing.assert_array_equal(np.asarray(cached), np.asarray(study))
    assert part.exists()  # its writer might still be alive
    os.utime(part, (0, 0))
    cache_bunch(study[:3], tmp_path / "cache", fields=())
    assert not part.exists()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_leaves_nothing(study, tmp_path, n_jobs):
    (tmp_path / "study" / "MRN-8842-5.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"MRN-8842-5\.png: the file is empty"):
        cache_bunch(study, tmp_path / "cache", batch_size=1, n_jobs=n_jobs)
    assert list((tmp_path / "cache").iterdir()) == []


def test_temporary_files_go_with_the_last_user(study):
    cached = cache_bunch(study)
    path = Path(cached.images.source.filename)
    view = cached[[2, 1]]
    del cached
    gc.collect()
    assert path.exists()
    assert view[0].shape == (16, 16)
    del view
    gc.collect()
    assert not path.parent.exists()


def test_functions_of_the_user_are_stored_for_now_only(study, tmp_path):
    cache = tmp_path / "cache"
    cached = cache_bunch(study.map_images(double), cache, fields=())
    np.testing.assert_array_equal(np.asarray(cached), 2 * np.asarray(study))
    assert [path.is_dir() for path in cache.iterdir()] == [True]
    del cached
    gc.collect()
    assert list(cache.iterdir()) == []


def test_functions_of_the_library_are_stored_for_good(study, tmp_path):
    cache = tmp_path / "cache"
    inverted = study.map_images(np.negative)
    np.testing.assert_array_equal(np.asarray(cache_bunch(inverted, cache)), -np.asarray(study))
    cache_bunch(study.map_images(np.negative), cache)
    cache_bunch(inverted.map_images(np.negative), cache, fields=())
    assert len(list(cache.iterdir())) == 3


def test_functions_of_fields_depend_on_them(study, tmp_path):
    images = np.asarray(study)
    for masks in (np.ones((7, 16, 16)), np.zeros((7, 16, 16))):
        bunch = ImageBunch(images, masks=masks).map_images(np.multiply, ["masks"])
        np.testing.assert_array_equal(np.asarray(cache_bunch(bunch, tmp_path / "cache", fields=())), images * masks)


def test_arrays_and_memory_maps(study, tmp_path):
    images = np.asarray(study)
    np.testing.assert_array_equal(np.asarray(cache_bunch(ImageBunch(images), tmp_path / "cache")), images)
    cache_bunch(ImageBunch(images.copy()), tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    cache_bunch(ImageBunch(images + 1), tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2
    np.save(tmp_path / "images.npy", images)
    mapped = ImageBunch(np.load(tmp_path / "images.npy", mmap_mode="r"))
    assert cache_bunch(mapped[2:], tmp_path / "other").images.source is mapped.images.source
    half = cache_bunch(mapped, tmp_path / "other", dtype="float16")
    np.testing.assert_array_equal(np.asarray(half), images.astype(np.float16))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"dtype": "uint8"}, ValueError, r"float32 cannot be stored as uint8 .*: ImageFiles\(..., dtype='uint8'\)"),
        ({"fields": ("lungs",)}, ValueError, r"fields: the bunch has no \['lungs'\]"),
        ({"fields": ("metadata",)}, ValueError, "metadata: only images and masks can be stored"),
        ({"batch_size": 0}, ValueError, "batch_size must be a positive integer"),
    ],
)
def test_options_that_cannot_be(study, options, error, match):
    with pytest.raises(error, match=match):
        cache_bunch(study, **options)


def test_not_a_bunch():
    with pytest.raises(TypeError, match="bunch must be an ImageBunch, got ndarray"):
        cache_bunch(np.zeros((3, 4, 4)))


def test_a_file_that_was_put_there_by_others(study, tmp_path):
    cache_bunch(study, tmp_path / "cache", fields=())
    (path,) = (tmp_path / "cache").iterdir()
    np.save(path, np.zeros(3))
    with pytest.raises(ValueError, match="not what was stored there; delete it"):
        cache_bunch(study, tmp_path / "cache", fields=())


def test_memory_maps_of_masks_are_stored_as_they_are_read(tmp_path):
    inside = np.zeros((6, 8, 8), dtype=bool)
    inside[:, 2:5, 3:7] = True
    unknown = np.where(inside, 1.0, 0.0)
    unknown[[1, 4]] = np.nan
    for name, masks in {"bytes": inside.astype(np.uint8) * 255, "unknown": unknown}.items():
        np.save(tmp_path / f"{name}.npy", masks)
        bunch = ImageBunch(np.ones((6, 8, 8)), masks=np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
        for _ in range(2):  # the second time from the files of the first
            cached = cache_bunch(bunch, tmp_path / "cache")
            assert cached.has_mask.tolist() == bunch.has_mask.tolist()
            np.testing.assert_array_equal(np.asarray(cached.masks)[bunch.has_mask], inside[bunch.has_mask])
            assert not np.asarray(cached.masks)[~bunch.has_mask].any()
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3


def test_a_stored_file_that_was_cut_short(tmp_path):
    bunch = ImageBunch(np.ones((4, 8, 8))).map_images(np.negative)
    cache_bunch(bunch, tmp_path)
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=rf"{path.name} is damaged, or not what was stored there; delete it"):
        cache_bunch(bunch, tmp_path)


def test_progress(study, capsys):
    cache_bunch(study, verbose=True)
    text = capsys.readouterr().err
    assert "caching images: 100%" in text
    assert "caching masks: 100%" in text
    assert "MRN" not in text
