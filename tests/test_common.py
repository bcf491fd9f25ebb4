"""scikit-learn's own checks over every public estimator."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.discovery import public_estimators
from tests.instances import expected_failures, instances

INSTANCES = instances()


@pytest.fixture
def global_random_state_untouched():
    """One of scikit-learn's checks shuffles with the global state itself; put it back and look no further."""
    state = np.random.get_state()
    yield
    np.random.set_state(state)


pytestmark = pytest.mark.usefixtures("global_random_state_untouched")


@parametrize_with_checks(
    [estimator for group in INSTANCES.values() for estimator in group],
    expected_failed_checks=expected_failures,
    xfail_strict=True,
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_every_public_estimator_is_checked():
    assert {cls.__name__ for cls in public_estimators()} == set(INSTANCES)


def test_the_corner_stones_fail_nothing():
    for name in ("NeuralImageClassifier", "ROIMasker"):
        assert expected_failures(INSTANCES[name][0]) == {}


@pytest.mark.parametrize("estimator", [group[0] for group in INSTANCES.values()], ids=lambda e: type(e).__name__)
def test_clone_keeps_every_parameter(estimator):
    again = clone(estimator)
    assert type(again) is type(estimator)
    assert repr(again) == repr(estimator)
