"""Devices, and random numbers that are nobody else's."""

import threading

import numpy as np
import pytest
import torch

from sklearn_shortcuts._random_state import draw_seed, make_random_state
from sklearn_shortcuts.neural._runtime import own_random_state, resolve_device

CPU = torch.device("cpu")


def test_automatic_device_exists():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == CPU


def test_own_random_state_is_seeded_and_leaves_the_global_one():
    outside = torch.get_rng_state()
    with own_random_state(5, CPU):
        first = torch.rand(4)
    with own_random_state(5, CPU):
        assert torch.equal(first, torch.rand(4))

    def fail():
        with own_random_state(6, CPU):
            torch.rand(1)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert torch.equal(outside, torch.get_rng_state())


def test_threads_take_turns():
    draws = {}

    def draw(seed):
        with own_random_state(seed, CPU):
            draws.setdefault(seed, []).append(torch.cat([torch.rand(100) for _ in range(50)]))

    for _ in range(2):
        threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for first, second in draws.values():
        assert torch.equal(first, second)


def test_seeds_come_from_what_was_given():
    assert draw_seed(make_random_state(3)) == draw_seed(make_random_state(3))
    assert draw_seed(make_random_state(None)) != draw_seed(make_random_state(None))
    given = np.random.RandomState(3)
    assert make_random_state(given) is given
