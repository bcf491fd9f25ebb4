"""What is known of rows: the same ways and the same messages in all estimators that ask for it."""

import numpy as np
import pandas as pd
import pytest

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.audit import AcquisitionProbe
from sklearn_shortcuts.datasets import apply_scanner, split_by_patient
from sklearn_shortcuts.preprocessing import AcquisitionBalancer, ComBat, HistogramMatcher, ResolutionNoiseMatcher
from sklearn_shortcuts.preprocessing._row_labels import row_columns, row_labels

SITE = np.array(["a", "b", "b", "a"])
BUNCH = ImageBunch(
    np.arange(4.0 * 400).reshape(4, 20, 20),
    metadata=pd.DataFrame({"site": SITE}, index=[9, 3, 3, 1]),
    kernel=SITE[::-1],
)


@pytest.mark.parametrize(
    ("wanted", "given", "expected"),
    [
        ("site", None, SITE),
        ("kernel", None, SITE[::-1]),
        (lambda X: X.kernel, None, SITE[::-1]),
        (None, SITE, SITE),
        ("site", SITE[::-1], SITE[::-1]),  # what is passed goes first
        (lambda X: X.kernel, list(SITE), SITE),
        ("kernel", pd.DataFrame({"site": SITE, "kernel": SITE[::-1]}), SITE[::-1]),
        ("kernel", {"site": SITE, "kernel": SITE[::-1]}, SITE[::-1]),
        (None, pd.DataFrame({"site": SITE}, index=[5, 6, 7, 8]), SITE),
    ],
)
def test_the_ways_to_labels(wanted, given, expected):
    np.testing.assert_array_equal(row_labels(BUNCH, wanted, given, "acquisition", owner="It"), expected)


def test_several_columns_lose_the_index_of_their_table():
    for rows in (BUNCH, pd.DataFrame({"site": SITE, "kernel": SITE[::-1], "other": 0}, index=[9, 3, 3, 1])):
        found = row_columns(rows, ["kernel", "site"], None, "covariates", owner="It")
        pd.testing.assert_frame_equal(
            found.astype(object), pd.DataFrame({"kernel": SITE[::-1], "site": SITE}).astype(object)
        )
    assert row_columns(BUNCH, None, None, "covariates", owner="It") is None


@pytest.mark.parametrize(
    "ask",
    [
        lambda name: AcquisitionBalancer(acquisition=name).fit(BUNCH, [0, 1, 0, 1]),
        lambda name: AcquisitionBalancer(acquisition="site", covariates=[name]).fit(BUNCH, [0, 1, 0, 1]),
        lambda name: ComBat(name).fit(BUNCH),
        lambda name: ComBat("site", covariates=name).fit(BUNCH),
        lambda name: HistogramMatcher(acquisition=name, reference_acquisition="a").fit(BUNCH),
        lambda name: ResolutionNoiseMatcher(acquisition=name).fit(BUNCH),
        lambda name: AcquisitionProbe().fit(BUNCH, name),
        lambda name: AcquisitionProbe().fit(BUNCH, "site", y=name),
        lambda name: AcquisitionProbe().fit(BUNCH, "site", covariates=name),
        lambda name: apply_scanner(BUNCH, name, {}),
        lambda name: split_by_patient(BUNCH, groups=SITE, stratify=name),
    ],
)
def test_an_unknown_name_has_one_message(ask):
    with pytest.raises(
        ValueError,
        match=r"='Site' is neither a field of the rows nor a column of their metadata; they have the fields "
        r"\['metadata', 'kernel'\] and the columns \['site'\]; did you mean 'site'\?$",
    ):
        ask("Site")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: AcquisitionBalancer().fit(BUNCH, [0, 1, 0, 1]),
        lambda: HistogramMatcher(reference_acquisition="a").fit(BUNCH),
        lambda: ResolutionNoiseMatcher().fit(BUNCH),
    ],
)
def test_no_name_has_one_message(ask):
    with pytest.raises(ValueError, match=r"knows no acquisition of the rows: .*\(acquisition='manufacturer'\)"):
        ask()


@pytest.mark.parametrize(
    "ask",
    [
        lambda rows: AcquisitionBalancer(acquisition="PatientID").fit(rows, [0, 1, 0, 1]),
        lambda rows: AcquisitionBalancer(acquisition="site", covariates=["PatientID"]).fit(rows, [0, 1, 0, 1]),
        lambda rows: AcquisitionBalancer().fit(rows, [0, 1, 0, 1], acquisition=rows.metadata[["PatientID"]]),
        lambda rows: AcquisitionBalancer(acquisition="site").fit(rows, [0, 1, 0, 1], covariates=rows.metadata),
        lambda rows: ComBat("PatientID").fit(rows),
        lambda rows: ComBat("PatientID").fit(rows.metadata),
        lambda rows: ComBat("site", covariates=["PatientID"]).fit(rows),
        lambda rows: ResolutionNoiseMatcher(acquisition="PatientID").fit(rows),
        lambda rows: AcquisitionProbe().fit(rows, "PatientID"),
        lambda rows: AcquisitionProbe().fit(rows, "site", covariates="PatientID"),
    ],
)
def test_patients_are_no_category_and_stay_unnamed(ask):
    rows = ImageBunch(
        np.zeros((4, 20, 20)), metadata=pd.DataFrame({"site": SITE, "PatientID": ["Ann", "Ann", "Bob", "Eve"]})
    )
    with pytest.raises(ValueError, match="column 'PatientID' tells patients apart; leave it out") as error:
        ask(rows)
    assert not any(name in str(error.value) for name in ("Ann", "Bob", "Eve"))
