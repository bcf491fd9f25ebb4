"""scikit-learn's own checks over every public estimator."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.discovery import public_estimators
from tests.instances import expected_failures, image_instances, instances

INSTANCES = instances()
IMAGE_INSTANCES = image_instances()
CHECKS_WITHOUT_DATA = [
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_mixin_order,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_set_params,
    estimator_checks.check_valid_tag_types,
]


@pytest.fixture
def global_random_state_untouched():
    """One of scikit-learn's checks shuffles with the global state itself; put it back and look no further."""
    state = np.random.get_state()
    yield
    np.random.set_state(state)


pytestmark = [
    pytest.mark.usefixtures("global_random_state_untouched"),
    # What the miner says, rightly, of a few rows of noise.
    pytest.mark.filterwarnings("ignore:no row is hard:UserWarning"),
    pytest.mark.filterwarnings("ignore:.* rows are hard. the network of stage 1:UserWarning"),
    pytest.mark.filterwarnings("ignore:the network of stage 1 is right in:UserWarning"),
    # The data of these checks are tables, to which weights cannot be attached.
    pytest.mark.filterwarnings("ignore:.*a table cannot carry the weights:UserWarning"),
]


@parametrize_with_checks(
    [estimator for group in INSTANCES.values() for estimator in group],
    expected_failed_checks=expected_failures,
    xfail_strict=True,
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", CHECKS_WITHOUT_DATA, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", IMAGE_INSTANCES)
def test_scikit_learn_contract_of_what_takes_only_images(name, check):
    for estimator in IMAGE_INSTANCES[name]:
        assert not estimator.__sklearn_tags__().input_tags.two_d_array
        check(name, estimator)


def test_every_public_estimator_is_checked():
    assert {cls.__name__ for cls in public_estimators()} == {*INSTANCES, *IMAGE_INSTANCES}


def test_the_corner_stones_fail_nothing():
    for name in ("NeuralImageClassifier", "ROIMasker"):
        assert expected_failures(INSTANCES[name][0]) == {}


@pytest.mark.parametrize(
    "estimator", [group[0] for group in {**INSTANCES, **IMAGE_INSTANCES}.values()], ids=lambda e: type(e).__name__
)
def test_clone_keeps_every_parameter(estimator):
    again = clone(estimator)
    assert type(again) is type(estimator)
    assert repr(again) == repr(estimator)
