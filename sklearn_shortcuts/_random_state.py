"""Generators and seeds from the parameter ``random_state``, for all rooms."""

import numpy as np


def make_random_state(random_state):
    """Turn the ``random_state`` parameter into a generator of seeds that is never NumPy's global one."""
    if random_state is None:
        return np.random.RandomState()
    if isinstance(random_state, np.random.RandomState):
        return random_state
    return np.random.RandomState(random_state)


def draw_seed(generator):
    """Draw one seed from a ``RandomState``."""
    return int(generator.randint(np.iinfo(np.int32).max))
