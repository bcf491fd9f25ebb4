"""What the tests of the networks share."""

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
