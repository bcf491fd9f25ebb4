"""The figure shows the numbers of the tables."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from sklearn_shortcuts.audit import ConceptPrototypes, ConceptPrototypesDisplay


@pytest.fixture(scope="module")
def prototypes():
    relevances = np.random.default_rng(0).exponential(size=(80, 10))
    y = np.arange(80) % 2
    relevances[y == 1, 2] += 5
    return ConceptPrototypes(2, n_init=1, random_state=0).fit(relevances, y)


def test_bars_and_matrix_are_those_of_the_tables(prototypes):
    display = ConceptPrototypesDisplay.from_estimator(prototypes)
    coverage = prototypes.coverage_.loc[display.prototypes_]
    assert coverage["class"].tolist() == [0, 0, 1, 1]
    for column in ("share", "separation"):
        np.testing.assert_allclose([bar.get_width() for bar in display.axes_[column].patches], coverage[column])
    shown = np.asarray(display.axes_["matrix"].images[0].get_array())
    np.testing.assert_allclose(shown, prototypes.concept_matrix_.loc[display.prototypes_])
    labels = [text.get_text() for text in display.axes_["matrix"].get_xticklabels()]
    assert labels == [str(channel) for channel in prototypes.concept_matrix_.columns]


def test_errors(prototypes):
    with pytest.raises(NotFittedError):
        ConceptPrototypesDisplay.from_estimator(ConceptPrototypes())
    with pytest.raises(ValueError, match="other prototypes"):
        ConceptPrototypesDisplay.from_tables(prototypes.concept_matrix_, prototypes.coverage_.iloc[:2])
    with pytest.raises(ValueError, match="ax must hold three axes"):
        ConceptPrototypesDisplay.from_tables(prototypes.concept_matrix_, prototypes.coverage_, ax=[None])
