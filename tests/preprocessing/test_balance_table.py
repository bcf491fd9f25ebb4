"""The table of balance against closed forms, scipy and statsmodels."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import ks_2samp
from sklearn.metrics import roc_auc_score

from sklearn_shortcuts.metrics import cramers_v
from sklearn_shortcuts.preprocessing import acquisition_weights, balance_table
from tests.preprocessing.cohorts import simulate


def test_statistics_before_are_those_of_peers():
    acquisition, label, covariates, _ = simulate()
    siemens, age = acquisition == "Siemens", covariates["age"].to_numpy()
    table = balance_table(acquisition, label, covariates=covariates)["before"]
    first, second = age[siemens], age[~siemens]
    spread = np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    assert table["age", "smd"] == pytest.approx((first.mean() - second.mean()) / spread, rel=1e-12)
    assert table["age", "ks"] == pytest.approx(ks_2samp(first, second).statistic, rel=1e-12)
    ratio = first.var() / second.var()
    assert table["age", "variance_ratio"] == pytest.approx(max(ratio, 1 / ratio), rel=1e-12)
    for name, binary in (("y", label == 1), ("sex", (covariates["sex"] == "F").to_numpy())):
        p, q = binary[siemens].mean(), binary[~siemens].mean()
        expected = abs(p - q) / np.sqrt((p * (1 - p) + q * (1 - q)) / 2)
        assert table[name, "smd"] == pytest.approx(expected, rel=1e-12)
        assert table[name, "cramers_v"] == pytest.approx(cramers_v(acquisition, binary), rel=1e-12)
    design = sm.add_constant(np.column_stack([age, covariates["sex"] == "F", label]).astype(float))
    fitted = sm.Logit(siemens.astype(float), design).fit(disp=0).predict()
    assert table["acquisition", "propensity_auc"] == pytest.approx(roc_auc_score(siemens, fitted), abs=1e-6)
    assert table["acquisition", "n_rows"] == table["acquisition", "effective_sample_size"] == 2000
    assert table["acquisition", "n_rows, Siemens"] == siemens.sum()


def test_weights_after_count_as_repetitions_but_the_denominator_stays():
    acquisition, label, covariates, _ = simulate(1, n=400)
    counts = np.random.default_rng(1).integers(0, 4, 400)
    rows = np.repeat(np.arange(400), counts)
    table = balance_table(acquisition, label, covariates=covariates, sample_weight=counts)
    repeated = balance_table(acquisition[rows], label[rows], covariates=covariates.iloc[rows])["before"]
    for key in (("age", "ks"), ("age", "variance_ratio"), ("acquisition", "propensity_auc")):
        assert table["after"][key] == pytest.approx(repeated[key], abs=1e-6)
    siemens, age = acquisition == "Siemens", covariates["age"].to_numpy()
    spread = np.sqrt((age[siemens].var(ddof=1) + age[~siemens].var(ddof=1)) / 2)
    gap = age[rows][siemens[rows]].mean() - age[rows][~siemens[rows]].mean()
    assert table["after"]["age", "smd"] == pytest.approx(abs(gap) / spread, rel=1e-12)
    after = table.loc["acquisition", "after"]
    assert after["n_rows"] == (counts > 0).sum()
    assert after["share_dropped"] == pytest.approx((counts == 0).mean())
    assert after["effective_sample_size"] == pytest.approx(counts.sum() ** 2 / (counts**2).sum())
    assert after["design_effect"] == pytest.approx((counts > 0).sum() / after["effective_sample_size"])
    assert after["max_weight_share"] == pytest.approx(3 / counts.sum())


def test_categories_have_the_length_of_yang_and_dalton():
    """Three categories by hand, and the same whichever of them is left out."""
    a = np.repeat([0, 1], 100)
    kind = np.r_[np.repeat([0, 1, 2], [50, 30, 20]), np.repeat([0, 1, 2], [30, 30, 40])]
    p, q = np.array([0.3, 0.2]), np.array([0.3, 0.4])
    covariance = (np.diag(p) - np.outer(p, p) + np.diag(q) - np.outer(q, q)) / 2
    expected = np.sqrt((p - q) @ np.linalg.solve(covariance, p - q))
    for order in (["x", "y", "z"], ["z", "x", "y"]):
        table = balance_table(a, covariates={"kind": np.array(order)[kind]})
        assert table["before"]["kind", "smd"] == pytest.approx(expected, rel=1e-9)


def test_of_several_acquisitions_the_worst_pair_counts():
    rng = np.random.default_rng(2)
    site, age = np.repeat(["a", "b", "c"], 100), rng.normal(np.repeat([50, 52, 60], 100), 10)
    table = balance_table(site, covariates={"age": age})["before"]
    pairs = [
        balance_table(site[part], covariates={"age": age[part]})["before"]
        for part in (site != "a", site != "b", site != "c")
    ]
    for name in ("smd", "variance_ratio", "ks"):
        assert table["age", name] == pytest.approx(max(pair["age", name] for pair in pairs))


def test_missing_numbers_are_a_variable():
    acquisition, _, covariates, _ = simulate(3)
    covariates.loc[(acquisition == "GE") & (np.arange(2000) % 2 == 0), "age"] = np.nan
    table = balance_table(acquisition, covariates=covariates)["before"]
    known = covariates["age"].notna().to_numpy()
    expected = balance_table(acquisition[known], covariates=covariates[known])["before"]
    assert table["age", "smd"] == pytest.approx(expected["age", "smd"])
    assert table["age (missing)", "smd"] > 0.9


def test_patients_are_compared():
    acquisition, label, covariates, _ = simulate(4, n=200)
    rows = np.repeat(np.arange(200), np.random.default_rng(4).integers(1, 5, 200))
    weights = acquisition_weights(acquisition, label)
    table = balance_table(
        acquisition[rows], label[rows], covariates=covariates.iloc[rows], sample_weight=weights[rows], groups=rows
    )
    expected = balance_table(acquisition, label, covariates=covariates, sample_weight=weights)
    pd.testing.assert_frame_equal(table, expected)


def test_what_weights_leave_nothing_of_is_not_a_number():
    acquisition, label, covariates, _ = simulate(5, n=100)
    table = balance_table(acquisition, label, covariates=covariates, sample_weight=acquisition == "GE")["after"]
    assert table[["age", "sex", "y"]].isna().all()
    assert np.isnan(table["acquisition", "propensity_auc"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y": None}, "pass y, covariates or both"),
        ({"sample_weight": [1, 1]}, r"sample_weight has shape \(2,\), but there are 4 rows"),
        ({"sample_weight": [1, 1, 1, -1]}, "finite numbers from 0 on"),
        ({"acquisition": [0, 0, 0, 0]}, "two or more acquisitions"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        balance_table(**{"acquisition": [0, 0, 1, 1], "y": [0, 1, 0, 1], **options})
