"""Labels of rows to be scored, against what an estimator knows."""

import numpy as np
import pandas as pd
import pytest
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from sklearn_shortcuts.metrics import region_swap_accuracy
from sklearn_shortcuts.metrics._label_scores import equal_labels, evaluation_target, label_scores
from tests.metrics.readers import INSIDE, Reader, make_rows


def test_rows_of_one_class_keep_the_classes_of_the_estimator():
    target = evaluation_target(["b", "b"], Reader(INSIDE, classes=["a", "b"]))
    assert (target.kind, target.label_names, target.positive.tolist()) == ("binary", ["b"], [[True], [True]])
    target = evaluation_target(pd.Series([2, 0]), Reader(INSIDE, classes=[0, 1, 2]))
    assert (target.kind, target.label_names) == ("multiclass", [0, 1, 2])
    assert target.positive.tolist() == [[False, False, True], [True, False, False]]


def test_labels_keep_their_names():
    target = evaluation_target(pd.DataFrame({"mass": [0, 1], "nodule": [1, 1]}), Reader(INSIDE))
    assert (target.kind, target.label_names) == ("multilabel", ["mass", "nodule"])
    assert evaluation_target(np.eye(2), Reader(INSIDE)).label_names == [0, 1]


def test_tables_of_mixed_types_are_labels_too():
    table = pd.DataFrame({"mass": [True, False], "nodule": [1, 0]})
    assert equal_labels([[1, 1], [1, 0]], table).tolist() == [[True, True], [False, True]]
    assert equal_labels(np.array(["a", "b"]), pd.Series(["a", "a"])).tolist() == [True, False]


def test_a_label_that_was_never_met_has_no_score():
    X = np.arange(4.0)[:, None]
    tree = DecisionTreeClassifier(random_state=0).fit(X, [[0, 0], [0, 0], [1, 0], [1, 0]])
    scores = label_scores(tree, X, evaluation_target([[0, 1], [0, 0], [1, 1], [1, 0]], tree))
    np.testing.assert_array_equal(scores, [[0, 0], [0, 0], [1, 0], [1, 0]])


def test_scores_of_pairs_of_classes_are_refused():
    X, y = np.arange(8.0)[:, None], np.repeat(np.arange(4), 2)
    machine = SVC(decision_function_shape="ovo", random_state=0).fit(X, y)
    with pytest.raises(ValueError, match=r"SVC gives scores of shape \(8, 6\) for 4 classes"):
        label_scores(machine, X, evaluation_target(y, machine))


def test_labels_in_another_order_are_refused():
    bunch, y = make_rows(n=20)
    reader = Reader(INSIDE, columns=2)
    reader.label_names_ = np.array(["mass", "nodule"])
    table = pd.DataFrame({"nodule": 0, "mass": y})
    for measure in (region_swap_accuracy, lambda *given: evaluation_target(given[2], reader)):
        with pytest.raises(ValueError, match=r"y has the labels \['nodule', 'mass'\], but the estimator knows"):
            measure(reader, bunch, table)
    assert region_swap_accuracy(reader, bunch, table[["mass", "nodule"]], random_state=0).original == 1


def test_bad_input():
    with pytest.raises(ValueError, match=r"row 1 has no label \(1 such rows\)"):
        evaluation_target([0, np.nan, 1], Reader(INSIDE))
    with pytest.raises(ValueError, match="y has the class 5, but the estimator knows"):
        evaluation_target([0, 1, 5], Reader(INSIDE))
    with pytest.raises(ValueError, match="one 0/1 column per label"):
        evaluation_target([[0, 2], [1, 1]], Reader(INSIDE))
    with pytest.raises(ValueError, match="fitted on 3 labels, but y has one column"):
        evaluation_target([0, 1], Reader(INSIDE, classes=[[0, 1]] * 3))
