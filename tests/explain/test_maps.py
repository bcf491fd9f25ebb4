"""The array of maps."""

import copy
import pickle

import numpy as np
import pytest

from sklearn_shortcuts.explain import SaliencyMaps


@pytest.fixture
def maps():
    values = np.arange(24.0).reshape(4, 3, 2)
    values[2] = 0
    return SaliencyMaps(values, method="grad_cam", layer="layer4")


def test_values_become_float32(maps):
    assert maps.dtype == np.float32
    assert isinstance(maps, np.ndarray)
    np.testing.assert_array_equal(maps[0], [[0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize(
    "change",
    [
        lambda maps: maps[1:],
        lambda maps: maps[np.array([True, False, True, False])],
        lambda maps: maps[[3, 1]],
        lambda maps: maps[0],
        lambda maps: maps * 2,
        lambda maps: maps.copy(),
        copy.deepcopy,
        lambda maps: pickle.loads(pickle.dumps(maps)),
    ],
)
def test_attributes_stay(maps, change):
    changed = change(maps)
    assert isinstance(changed, SaliencyMaps)
    assert (changed.method, changed.layer) == ("grad_cam", "layer4")


def test_pickle_keeps_the_values(maps):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(maps)), maps)


def test_a_mean_over_everything_is_a_number(maps):
    assert maps.mean().shape == ()
    assert not isinstance(maps.max(), np.ndarray)


def test_zero_maps_are_found(maps):
    np.testing.assert_array_equal(maps.zero_maps, [False, False, True, False])
    np.testing.assert_array_equal(maps[2:].zero_maps, [True, False])
    assert type(maps.zero_maps) is np.ndarray


def test_a_memory_map_is_not_read_into_memory(tmp_path):
    stored = np.lib.format.open_memmap(tmp_path / "maps.npy", mode="w+", dtype=np.float32, shape=(5, 2, 2))
    maps = SaliencyMaps(stored, method="grad_cam")
    assert np.shares_memory(maps, stored)
    assert maps.layer is None
