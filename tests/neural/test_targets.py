"""Encoding of targets: what goes in comes back."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import DataConversionWarning

from sklearn_shortcuts.neural._targets import TargetEncoding, check_target


def learn(y, **options):
    y, names = check_target(y, "Model")
    return TargetEncoding.learn(y, names, **options), y


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["b", "a", "ccc", "Ü"]), min_size=2, max_size=30).filter(lambda y: len(set(y)) > 1)
    | st.lists(st.integers(-5, 5), min_size=2, max_size=30).filter(lambda y: len(set(y)) > 1)
    | st.lists(st.booleans(), min_size=2, max_size=30).filter(lambda y: len(set(y)) > 1)
)
def test_decoding_the_one_hot_code_gives_the_class_back(y):
    encoding, checked = learn(y)
    codes = encoding.encode(checked)
    np.testing.assert_array_equal(encoding.decode(np.eye(encoding.n_outputs)[codes]), y)
    assert encoding.kind == ("binary" if len(set(y)) == 2 else "multiclass")


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array, pd.DataFrame, list])
def test_labels_come_back_in_the_type_given(kind):
    y = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0]], dtype=np.int32)
    encoding, checked = learn(kind(y))
    assert encoding.kind == "multilabel"
    np.testing.assert_array_equal(encoding.encode(checked), y)
    np.testing.assert_array_equal(encoding.decode(encoding.encode(checked) - 0.5), y)
    assert encoding.decode(np.zeros((1, 3))).dtype == y.dtype


def test_label_names_are_the_columns():
    encoding, _ = learn(pd.DataFrame({"edema": [0, 1], "effusion": [1, 1]}))
    assert encoding.label_names.tolist() == ["edema", "effusion"]


def test_a_column_is_taken_as_classes_with_the_usual_warning():
    with pytest.warns(DataConversionWarning):
        encoding, _ = learn(np.array([[0], [1]]))
    assert encoding.kind == "binary"


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        ([1, 1, 1], "only one class"),
        ([0.5, 1.5, 2.5], "Unknown label type"),
        ([0.0, np.nan, 1.0], "NaN"),
        (np.array(["a", None, "b"], dtype=object), "y contains NaN: row 1 has no class"),
        (pd.Series(["a", "b", None], dtype="string"), "row 2 has no class"),
        (pd.Series([0, None, 1], dtype="Int64"), "row 1 has no class"),
        (pd.Series(["a", None, "b"], dtype="category"), "row 1 has no class"),
        (np.array(["a", 1], dtype=object), "mixes the types int, str"),
        ([[0, 1], [2, 1]], r"row 1 of label 0 is 2"),
        (pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, np.nan]}), r"row 1 of label 'b' is missing"),
        (pd.DataFrame({"a": [0, 1], "b": [1, None]}, dtype="Int64"), r"row 1 of label 'b' is missing"),
        ([["x", "y"], ["y", "x"]], "holds text"),
        (pd.DataFrame([[0, 1], [1, 0]], columns=["a", "a"]), "different names"),
    ],
)
def test_bad_targets_are_refused_by_name(y, message):
    with pytest.raises((ValueError, TypeError), match=message):
        learn(y)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array([1, 0], dtype=object), [0, 1]),
        (np.array([True, False], dtype=object), [False, True]),
        (pd.Series([1, 0], dtype="Int64"), [0, 1]),
        (pd.Series([True, False], dtype="boolean"), [False, True]),
        (pd.Series(["b", "a"], dtype="string"), ["a", "b"]),
        (pd.Series(["b", "a"], dtype="category"), ["a", "b"]),
    ],
)
def test_types_of_tables_keep_their_classes(y, classes):
    encoding, checked = learn(y)
    assert encoding.classes.tolist() == classes
    assert encoding.encode(checked).tolist() == [1, 0]


@pytest.mark.parametrize("columns", [["a", 1], [("a", "x"), ("a", "y")], [3, 7]])
def test_label_names_keep_their_type(columns):
    names = pd.MultiIndex.from_tuples(columns) if isinstance(columns[0], tuple) else columns
    encoding, _ = learn(pd.DataFrame([[0, 1], [1, 0]], columns=names))
    assert encoding.label_names.tolist() == columns


def test_classes_of_another_type_are_refused():
    with pytest.raises(ValueError, match="classes of type <U1, but the classifier was fitted on"):
        learn([0, 1])[0].encode(np.array(["0", "1"]))


def test_unknown_classes_and_other_shapes_are_refused():
    encoding, _ = learn(["a", "b"])
    for unknown in ("0", "c", "aa"):
        with pytest.raises(ValueError, match=f"class '{unknown}'"):
            encoding.encode(np.array(["a", unknown]))
    with pytest.raises(ValueError, match="fitted on"):
        encoding.encode(np.array([[0, 1]]))
    with pytest.raises(ValueError, match="fitted on 2 labels"):
        learn([[0, 1], [1, 0]])[0].encode(np.array([[0, 1, 1]]))
