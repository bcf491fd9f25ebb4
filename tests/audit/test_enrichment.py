"""Tables of enrichment against SciPy and by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact, norm
from scipy.stats.contingency import odds_ratio

from sklearn_shortcuts.audit import _enrichment, enrichment_table
from sklearn_shortcuts.metrics import holm_correction


def tubes(n=400, seed=0):
    """Hard rows of class 1 lack the tube, hard rows of class 0 have it."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    hard = rng.random(n) < 0.15
    tube = np.where(hard, label == 0, label == 1)
    tube = np.where(rng.random(n) < 0.1, ~tube, tube)
    bucket = np.where(hard, np.where(label == 1, "FN", "FP"), np.where(label == 1, "TP", "TN"))
    rows = pd.DataFrame({"label": label, "hard": hard, "bucket": bucket})
    age = np.where(rng.random(n) < 0.1, np.nan, rng.normal(60, 10, n))
    return rows, pd.DataFrame({"tube": tube, "view": rng.choice(["AP", "PA", "LL"], n), "age": age})


def test_counts_ratios_and_tests_are_those_of_scipy():
    rows, metadata = tubes()
    table = enrichment_table(rows, metadata)
    assert set(table["column"]) == {"tube", "view", "age"}
    for record in table.to_dict("records"):
        if record["column"] == "age":
            continue
        chosen = rows[rows["label"] == record["label"]]
        has = metadata.loc[chosen.index, record["column"]].astype(str) == record["value"]
        cells = np.array([[(a & b).sum() for a in (has, ~has)] for b in (chosen["hard"], ~chosen["hard"])])
        assert (record["n_hard"], record["n_other"]) == tuple(cells.sum(1))
        assert record["prevalence_hard"] == pytest.approx(cells[0, 0] / cells[0].sum())
        assert record["pvalue"] == pytest.approx(fisher_exact(cells)[1])
        expected = odds_ratio(cells)
        assert record["odds_ratio"] == pytest.approx(expected.statistic)
        assert (record["low"], record["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
        bucket = "TP" if record["label"] == 1 else "TN"
        assert record[f"prevalence_{bucket}"] == pytest.approx(has[chosen["bucket"] == bucket].mean())
    np.testing.assert_allclose(table["pvalue_holm"], holm_correction(table["pvalue"]))
    assert table["pvalue"].is_monotonic_increasing


def test_a_shortcut_shows_within_classes_and_cancels_over_all():
    rows, metadata = tubes()
    table = enrichment_table(rows, metadata, columns=["tube"]).set_index("label")
    assert table.loc[1, "odds_ratio"] < 0.1
    assert table.loc[0, "odds_ratio"] > 10
    assert (table["pvalue_holm"] < 1e-6).all()
    assert (table["value"] == "True").all()
    pooled = enrichment_table(rows, metadata, columns=["tube"], within="all")
    assert "label" not in pooled
    assert pooled.loc[0, "pvalue"] > 0.05


def test_bands_and_missing_values():
    rows, metadata = tubes()
    table = enrichment_table(rows, metadata[["age"]], n_bands=3, within="all")
    assert len(table) == 4
    share = metadata["age"].isna()[~rows["hard"]].mean()
    assert table.set_index("value").loc["missing", "prevalence_other"] == pytest.approx(share)
    bands = table[table["value"] != "missing"]
    np.testing.assert_allclose(bands["prevalence_other"], 0.3, atol=0.06)


def test_held_out_rows_and_columns_of_the_table_itself():
    rows, metadata = tubes()
    rows = rows.join(metadata).assign(held_out=np.arange(400) < 100)
    table = enrichment_table(rows, columns=["tube"])
    expected = enrichment_table(rows.iloc[100:].drop(columns="held_out"), columns=["tube"])
    pd.testing.assert_frame_equal(table, expected)


def test_patients_are_resampled_as_a_whole():
    """Ten copies of every row are ten times the rows, but no more patients."""
    rows, metadata = tubes(120)
    once = enrichment_table(rows, metadata, columns=["tube"], groups=np.arange(120), random_state=0)
    copies = np.repeat(np.arange(120), 10)
    ten = rows.iloc[copies].reset_index(drop=True), metadata.iloc[copies]
    clustered = enrichment_table(*ten, columns=["tube"], groups=copies, random_state=0)
    width = (np.log(clustered["high"]) - np.log(clustered["low"])).to_numpy()
    single = (np.log(once["high"]) - np.log(once["low"])).to_numpy()
    assert (width > 0.8 * single).all()
    naive = enrichment_table(*ten, columns=["tube"])
    assert (np.log(naive["high"]) - np.log(naive["low"]) < 0.6 * width).all()


def test_size_of_the_tests_where_nothing_is_enriched():
    rng = np.random.default_rng(0)
    rejected = {"exact": 0, "patients": 0}
    for _ in range(150):
        patients = np.repeat(np.arange(60), 5)
        rows = pd.DataFrame({"label": 1, "hard": np.repeat(rng.random(60) < 0.4, 5)})
        metadata = pd.DataFrame({"tube": np.repeat(rng.random(60) < 0.5, 5)})
        clustered = enrichment_table(rows, metadata, groups=patients, n_resamples=200, random_state=rng.integers(99))
        one_each = enrichment_table(rows[::5], metadata[::5])
        rejected["patients"] += clustered.loc[0, "pvalue"] < 0.05
        rejected["exact"] += one_each.loc[0, "pvalue"] < 0.05
    assert rejected["exact"] <= 15  # binomial: 7.5 expected, 15 or more in 1 of 100
    assert rejected["patients"] <= 17


def test_size_of_the_test_where_few_patients_have_hard_rows():
    """Cells without rows are common then, and resampling never fills them."""
    rng = np.random.default_rng(0)
    patients, rejected = np.repeat(np.arange(60), 5), 0
    for seed in range(100):
        rows = pd.DataFrame({"label": 1, "hard": np.repeat(rng.permutation(60) < 6, 5)})
        metadata = pd.DataFrame({"tube": np.repeat(rng.random(60) < 0.2, 5)})
        table = enrichment_table(rows, metadata, groups=patients, n_resamples=100, random_state=seed)
        rejected += table.loc[0, "pvalue"] < 0.05
    assert rejected <= 13  # binomial: 5 expected, more than 13 in 1 of 2000


def test_perfect_separation_by_patients():
    """Closed form: resampling gives no variance where every patient is alike but for the cells' sums."""
    hard = np.arange(40) < 10
    table = enrichment_table(
        pd.DataFrame({"label": 1, "hard": np.repeat(hard, 3)}),
        pd.DataFrame({"tube": np.repeat(hard, 3)}),
        groups=np.repeat(np.arange(40), 3),
        random_state=0,
    )
    record = table.iloc[0]
    assert record["odds_ratio"] == pytest.approx(10.5 * 30.5 / 0.25)
    error = np.log(record["high"] / record["low"]) / (2 * norm.ppf(0.975))
    assert error == pytest.approx(np.sqrt(2 + 2 + 1 / 10 + 1 / 30), rel=0.05)
    exact = enrichment_table(pd.DataFrame({"label": 1, "hard": hard}), pd.DataFrame({"tube": hard})).iloc[0]
    assert exact["pvalue"] < record["pvalue"] < 0.001


def test_patients_are_drawn_in_parts(monkeypatch):
    rows, metadata = tubes()
    options = {"groups": np.arange(400) // 2, "n_resamples": 150, "random_state": 3}
    whole = enrichment_table(rows, metadata, **options)
    monkeypatch.setattr(_enrichment, "_DRAWS_AT_ONCE", 7000)
    pd.testing.assert_frame_equal(enrichment_table(rows, metadata, **options), whole)


def bands(values, **options):
    n = len(values)
    rows = pd.DataFrame({"label": 1, "hard": np.arange(n) % 3 == 0})
    table = enrichment_table(rows, pd.DataFrame({"x": values}), **options)
    return sorted(table["value"]), table.set_index("value")


def test_bands_have_names_that_differ():
    values, table = bands(20200101 + np.arange(60) // 3)
    assert values == [
        "20200101 to 20200105",
        "20200106 to 20200110",
        "20200111 to 20200115",
        "20200116 to 20200120",
    ]
    np.testing.assert_allclose(table["prevalence_hard"], 0.25)
    days = pd.Timestamp("2020-01-30") + pd.to_timedelta(np.arange(80), unit="D")
    assert bands(days, n_bands=2)[0] == ["2020-03-10 to 2020-04-18"]  # of two values the second is told
    hours = pd.Timestamp("2020-01-30") + pd.to_timedelta(np.arange(20), unit="h")
    assert bands(hours, n_bands=2)[0] == ["2020-01-30 10:00:00 to 2020-01-30 19:00:00"]


def test_bands_of_numbers_most_of_which_are_the_same():
    assert bands(np.r_[np.zeros(70), np.arange(1, 9)])[0] == ["1 to 8"]  # against "0"
    assert bands(np.r_[np.arange(8), np.full(70, 8.0)])[0] == ["8"]  # against "0 to 7"
    assert bands(np.r_[np.arange(30.0), np.full(10, np.inf)], n_bands=2)[0] == ["20 to inf"]


def test_numbers_in_columns_of_objects_are_numbers():
    values = pd.Series([*range(40), None, 2.5], dtype=object)
    assert bands(values)[0] == ["0 to 9", "10 to 19", "20 to 29", "30 to 39", "missing"]
    assert bands(pd.Series(list("123456") * 5))[0] == list("123456")
    assert bands(["missing", "x", None] * 5)[0] == ["'missing'", "missing", "x"]


def test_rows_that_took_no_part_are_left_out():
    rows, metadata = tubes()
    weight = np.where(np.arange(400) < 100, 0.0, 1.0)
    table = enrichment_table(rows.assign(weight=weight), metadata[["tube"]])
    pd.testing.assert_frame_equal(table, enrichment_table(rows[100:], metadata[["tube"]][100:]))


def test_a_value_that_all_or_none_have():
    rows = pd.DataFrame({"label": 1, "hard": [True, False] * 10})
    table = enrichment_table(rows, pd.DataFrame({"tube": ["yes"] * 20, "age": range(20)}))
    record = table[table["column"] == "tube"].iloc[0]
    assert np.isnan(record["pvalue"])
    assert record["prevalence_hard"] == record["prevalence_other"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata": None}, "name the columns to look at"),
        ({"columns": ["tubes"]}, r"there is no column 'tubes'; there are \['tube', 'view', 'age'\]"),
        ({"hard": "tough"}, "sample_table has no column 'tough'"),
        ({"hard": np.ones(400)}, "hard must say True or False of each of the 400 rows"),
        ({"hard": np.ones(400, dtype=bool)}, "no rows to compare"),
        ({"groups": np.arange(3)}, "groups has 3 rows, but sample_table has 400"),
        ({"groups": np.r_[np.nan, np.arange(399)]}, "groups: row 0 has no group"),
    ],
)
def test_bad_input(change, message):
    rows, metadata = tubes()
    arguments = {"metadata": metadata, **change}
    with pytest.raises(ValueError, match=message):
        enrichment_table(rows, **arguments)
    with pytest.raises(ValueError, match="metadata has 3 rows, but sample_table has 400"):
        enrichment_table(rows, metadata[:3])
    with pytest.raises(ValueError, match="column 'name' has 200 values in 400 rows, as names of patients"):
        enrichment_table(rows, metadata.assign(name=[f"p{row // 2}" for row in range(400)]))
    with pytest.raises(ValueError, match="there are several columns 'view'"):
        enrichment_table(rows, metadata.rename(columns={"tube": "view"}))
    with pytest.raises(ValueError, match="row 3 has no label"):
        enrichment_table(rows.assign(label=rows["label"].where(rows.index != 3)), metadata)
    with pytest.raises(ValueError, match="no column 'label'"):
        enrichment_table(rows.drop(columns="label"), metadata)
