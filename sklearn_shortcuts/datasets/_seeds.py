"""Generators that belong to a row: what a row draws does not depend on how many rows there are."""

import numpy as np


def base_seed(random_state):
    """Turn scikit-learn's ``random_state`` into one integer that decides everything.

    Parameters
    ----------
    random_state : int, numpy.random.RandomState, numpy.random.Generator or None
        A state object is advanced by one draw. With ``None`` the operating system decides, and numpy's global state
        is left alone.

    Returns
    -------
    int
        Seed.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return int(random_state)


def generator(seed, *place):
    """Give the generator that belongs to a place, such as (stream, row), under a seed."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=place)))


def stratified_uniform(seed, stream, index, block=4):
    """Give a uniform number such that each run of ``block`` indices has one in every ``1 / block`` of the range.

    Shares then come out nearly as asked even for few rows.
    """
    rng = generator(seed, stream, index // block)
    return (rng.permutation(block)[index % block] + rng.random(block)[index % block]) / block
