"""Reading rows in batches: order, types, errors, threads."""

import threading
import time

import numpy as np
import pytest
import torch

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.images._sources import RowSource
from sklearn_shortcuts.neural._batches import BatchLoader, RowReader, read_ahead
from sklearn_shortcuts.neural._inputs import Rows


class SlowRows(RowSource):
    """Rows that take time, more for the first ones."""

    dtype = np.dtype("float32")

    def __init__(self, n):
        self.shape = (n, 2, 2)
        self.readers = set()

    def _read(self, rows):
        self.readers.add(threading.get_ident())
        time.sleep(0.01 / (1 + rows[0]))
        return np.broadcast_to(rows[:, None, None].astype("float32"), (len(rows), 2, 2))


def make_reader(images, **options):
    bunch = ImageBunch(images)
    return RowReader(Rows(bunch.images, bunch.image_shape, False, bunch), torch.float32, **options)


def rows_of(loader):
    return [batch[1]["index"].tolist() for batch in loader]


@pytest.mark.parametrize("n_threads", [0, 1, 3])
def test_batches_come_in_order_whatever_the_threads(n_threads):
    source = SlowRows(11)
    batches = list(BatchLoader(make_reader(source), 3, n_threads=n_threads))
    np.testing.assert_array_equal(torch.cat([images for images, _ in batches])[:, 0, 0, 0], np.arange(11))
    assert (threading.get_ident() in source.readers) == (n_threads == 0)


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"), [(9, 4, [4, 5]), (8, 4, [4, 4]), (10, 4, [4, 4, 2]), (1, 4, [1]), (3, 1, [1, 1, 1])]
)
def test_a_single_row_that_is_left_over_joins_the_batch_before(n, batch_size, sizes):
    loader = BatchLoader(make_reader(np.zeros((n, 2, 2))), batch_size, rng=np.random.default_rng(0))
    assert [len(rows) for rows in rows_of(loader)] == sizes
    assert sorted(row for rows in rows_of(loader) for row in rows) == list(range(n))


def test_without_shuffling_batches_keep_their_size():
    assert rows_of(BatchLoader(make_reader(np.zeros((5, 2, 2))), 4)) == [[0, 1, 2, 3], [4]]


def test_rows_are_drawn_by_their_probabilities():
    reader = make_reader(np.zeros((40, 2, 2)))
    reader.probabilities = np.arange(40) / 780
    loader = BatchLoader(reader, 16, rng=np.random.default_rng(0))
    epochs = [rows_of(loader) for _ in range(400)]
    assert {tuple(map(len, epoch)) for epoch in epochs} == {(16, 16, 8)}
    counts = np.bincount([row for epoch in epochs for rows in epoch for row in rows], minlength=40)
    expected = 16_000 * reader.probabilities
    assert counts[0] == 0
    assert ((counts - expected)[1:] ** 2 / expected[1:]).sum() < 73  # chi-squared of 38 degrees of freedom, p = 0.0006
    in_order = BatchLoader(reader, 16)  # held-out rows and predictions
    assert rows_of(in_order)[0] == list(range(16))


def test_shuffling_differs_between_epochs_and_repeats_with_the_seed():
    def two_epochs():
        loader = BatchLoader(make_reader(np.zeros((32, 2, 2))), 32, rng=np.random.default_rng(7))
        return rows_of(loader)[0], rows_of(loader)[0]

    first, second = two_epochs()
    assert first != second
    assert two_epochs() == (first, second)


def test_index_and_fields_are_those_of_the_chosen_rows():
    masks = np.arange(6)[:, None, None] * np.ones((6, 2, 2))
    reader = make_reader(
        np.zeros((6, 2, 2)), index=np.array([4, 1, 5]), fields={"masks": masks, "name": np.array(list("abcdef"))}
    )
    _, fields = reader.read(np.array([2, 0]))
    assert fields["index"].tolist() == [5, 4]
    assert fields["masks"][:, 0, 0].tolist() == [5.0, 4.0]
    assert fields["masks"].dtype == torch.float32
    assert fields["name"].tolist() == ["f", "e"]


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "int64", "float16", "float32", "float64", ">f4", ">u2", "bool"]
)
def test_types_are_read_as_they_are_meant(dtype):
    values = np.array([0, 1]) if dtype == "bool" else np.array([0, 100])
    images = np.broadcast_to(values.astype(dtype)[:, None, None], (2, 3, 3))
    tensor, _ = make_reader(images).read(np.array([1, 0]))
    scale = 65535 if np.dtype(dtype).kind == "u" and np.dtype(dtype).itemsize == 2 else 1
    assert tensor.dtype == (torch.uint8 if dtype == "uint8" else torch.float32)
    np.testing.assert_allclose(tensor[:, 0, 0, 0], values[::-1].astype(float) / scale, rtol=1e-6)


@pytest.mark.parametrize(("value", "what"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_values_that_are_not_finite_name_their_row(value, what):
    images = np.zeros((9, 2, 2))
    images[7, 1, 0] = value
    with pytest.raises(ValueError, match=f"{what}: row 7 "):
        list(BatchLoader(make_reader(images), 4, rng=np.random.default_rng(0), n_threads=2))


def test_arrays_in_memory_are_read_without_threads_and_files_ahead(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((4, 2, 2)))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert BatchLoader(make_reader(np.zeros((4, 2, 2))), 2).n_threads == 0
    assert BatchLoader(make_reader(mapped), 2).n_threads > 0
    assert BatchLoader(make_reader(np.zeros((4, 2, 2)), fields={"masks": SlowRows(4)}), 2).n_threads > 0


def test_reading_ahead_stays_within_bounds_and_stops_when_abandoned():
    started = []
    results = read_ahead(lambda item: started.append(item) or item, range(100), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()
    assert len(started) <= 6
    assert not any(thread.name.startswith("sklearn_shortcuts-read") for thread in threading.enumerate())


def test_an_error_comes_in_its_place():
    def function(item):
        return 1 / (item - 2)

    results = read_ahead(function, range(5), 3)
    assert [next(results), next(results)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
