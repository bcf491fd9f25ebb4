"""What the tests of the networks share."""

import numpy as np
import pytest
import torch


@pytest.fixture
def build():
    """Build from a seed, with torch's global generator left as it was."""

    def build(function, *arguments, seed=0, **options):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return function(*arguments, **options)

    return build


@pytest.fixture
def noise():
    """Reproducible random rows."""

    def noise(*shape, seed=0):
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    return noise


@pytest.fixture
def spots():
    """Images with a bright spot whose place is the class: easy, and not solved by overall brightness."""

    def spots(n=48, size=16, n_classes=2, seed=0):
        rng = np.random.default_rng(seed)
        codes = np.arange(n) % n_classes
        images = rng.normal(0.3, 0.1, (n, size, size))
        for image, code in zip(images, codes):
            image[3 * code : 3 * code + 4, 2:9] += 0.6
        return images, codes

    return spots
