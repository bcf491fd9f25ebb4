"""Maps and regions without any relation."""

import numpy as np


def make_maps(n=12, shape=(9, 11), seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, *shape)).astype(np.float32), rng.random((n, *shape)) < 0.3
