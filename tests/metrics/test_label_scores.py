"""Labels of rows to be scored, against what an estimator knows."""

import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts.metrics._label_scores import evaluation_target
from tests.metrics.readers import INSIDE, Reader


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


def test_bad_input():
    with pytest.raises(ValueError, match=r"row 1 has no label \(1 such rows\)"):
        evaluation_target([0, np.nan, 1], Reader(INSIDE))
    with pytest.raises(ValueError, match="y has the class 5, but the estimator knows"):
        evaluation_target([0, 1, 5], Reader(INSIDE))
    with pytest.raises(ValueError, match="one 0/1 column per label"):
        evaluation_target([[0, 2], [1, 1]], Reader(INSIDE))
    with pytest.raises(ValueError, match="fitted on 3 labels, but y has one column"):
        evaluation_target([0, 1], Reader(INSIDE, classes=[[0, 1]] * 3))
