"""What all tests share."""

import os
from pathlib import Path

os.environ["SCIPY_ARRAY_API"] = "1"  # one of scikit-learn's checks is skipped without it; read when scipy is imported

import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")
torch.set_num_threads(1)  # two test processes share two cores


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real studies; tests that need it are skipped where it is absent."""
    folder = os.environ.get("SKLEARN_SHORTCUTS_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SKLEARN_SHORTCUTS_DATA does not name a folder with the real studies")
    return Path(folder)


@pytest.fixture(autouse=True)
def global_random_state_untouched():
    """No test may find the caller's random state changed by the library."""
    before_numpy, before_torch = np.random.get_state(), torch.get_rng_state()
    yield
    after = np.random.get_state()
    assert before_numpy[2] == after[2]
    np.testing.assert_array_equal(before_numpy[1], after[1], err_msg="numpy's global random state was changed")
    assert torch.equal(before_torch, torch.get_rng_state()), "torch's global random state was changed"
