"""Weights against the formulas of the papers, statsmodels' propensities, and what they promise."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from sklearn_shortcuts.metrics import cramers_v
from sklearn_shortcuts.preprocessing import acquisition_weights
from tests.preprocessing.cohorts import simulate, smd

METHODS = ["strata", "ipw", "overlap", "rake"]


def logit_propensity(acquisition, *columns):
    """Probability of Siemens by statsmodels, in float64 to full convergence."""
    design = sm.add_constant(np.column_stack([np.asarray(column, dtype=float) for column in columns]))
    return sm.Logit((acquisition == "Siemens").astype(float), design).fit(disp=0, tol=1e-12, maxiter=100).predict()


def mean_one(weights):
    return weights / weights.mean()


@pytest.mark.parametrize("method", ["auto", "strata"])
def test_label_weights_are_those_of_kamiran_and_calders(method):
    acquisition, label, _, _ = simulate()
    table = pd.crosstab(acquisition, label, normalize=True)
    expected = [table.loc[a].sum() * table[y].sum() / table.loc[a, y] for a, y in zip(acquisition, label)]
    np.testing.assert_allclose(acquisition_weights(acquisition, label, method=method), expected, rtol=1e-12)


def test_propensity_weights_agree_with_statsmodels():
    acquisition, label, covariates, _ = simulate()
    siemens = acquisition == "Siemens"
    female = covariates["sex"] == "F"
    e = logit_propensity(acquisition, covariates["age"], female)
    own, share = np.where(siemens, e, 1 - e), np.where(siemens, siemens.mean(), 1 - siemens.mean())
    options = {"covariates": covariates, "target": "covariates"}
    ipw = acquisition_weights(acquisition, method="ipw", **options)
    np.testing.assert_allclose(ipw, mean_one(share / own), rtol=1e-6)
    overlap = acquisition_weights(acquisition, method="overlap", **options)
    np.testing.assert_allclose(overlap, mean_one(1 - own), rtol=1e-6)
    for values in (covariates["age"].to_numpy(), female.to_numpy(float)):  # the property that gave them their fame
        assert abs(smd(values, siemens, overlap)) < 1e-7
    # With the label as target, given the covariates: P(a | c) / P(a | c, y).
    e_both = logit_propensity(acquisition, covariates["age"], female, label)
    both = np.where(siemens, e_both, 1 - e_both)
    given = acquisition_weights(acquisition, label, covariates=covariates, method="ipw")
    np.testing.assert_allclose(given, mean_one(own / both), rtol=1e-6)
    trimmed = acquisition_weights(acquisition, method="ipw", trim=0.3, **options)
    inside = (e >= 0.3) & (e <= 0.7)
    np.testing.assert_array_equal(trimmed > 0, inside)
    np.testing.assert_allclose(trimmed[inside], mean_one((share / own)[inside]), rtol=1e-6)


def test_generalized_overlap_weights_agree_with_statsmodels():
    rng = np.random.default_rng(3)
    age, sex = rng.normal(60, 10, 900), rng.integers(0, 2, 900)
    scores = np.stack([np.zeros(900), 0.05 * (age - 60), 0.5 * sex - 0.03 * (age - 60)], axis=1) + rng.gumbel(
        size=(900, 3)
    )
    site = np.array(["a", "b", "c"])[scores.argmax(axis=1)]
    design = sm.add_constant(np.column_stack([age - 60, sex]))
    e = sm.MNLogit(scores.argmax(axis=1), design).fit(disp=0, tol=1e-12, maxiter=100).predict()
    expected = 1 / (1 / e).sum(axis=1) / e[np.arange(900), scores.argmax(axis=1)]
    covariates = pd.DataFrame({"age": age, "sex": sex})
    found = acquisition_weights(site, covariates=covariates, target="covariates", method="overlap")
    np.testing.assert_allclose(found, mean_one(expected), rtol=1e-6)
    for first, second in (("a", "b"), ("b", "c"), ("a", "c")):
        pair = np.isin(site, [first, second])
        for values in (age, sex):
            assert abs(smd(values[pair], site[pair] == first, found[pair])) < 0.05


@pytest.mark.parametrize("method", METHODS)
def test_both_targets_are_met(method):
    acquisition, label, covariates, _ = simulate(1)
    siemens, female = acquisition == "Siemens", (covariates["sex"] == "F").to_numpy(float)
    before = np.ones(len(label))
    assert abs(smd(covariates["age"].to_numpy(), siemens, before)) > 0.45
    assert abs(smd(female, siemens, before)) > 0.3
    assert cramers_v(acquisition, label) > 0.2
    weights = acquisition_weights(acquisition, label, covariates=covariates, target="both", method=method)
    assert abs(smd(covariates["age"].to_numpy(), siemens, weights)) < 0.1
    assert abs(smd(female, siemens, weights)) < 0.1
    assert cramers_v(acquisition, label, sample_weight=weights) < 0.05
    assert np.mean(weights) == pytest.approx(1)


def test_strata_make_label_and_acquisition_independent_given_covariates():
    acquisition, label, covariates, _ = simulate(2)
    frame = pd.DataFrame({"a": acquisition, "y": label, "sex": covariates["sex"]})
    weights = acquisition_weights(acquisition, label, covariates=covariates[["sex"]], method="strata")
    for _, part in frame.assign(w=weights).groupby("sex"):
        assert cramers_v(part["a"], part["y"], sample_weight=part["w"], bias_correction=False) < 1e-7
        # what the covariate tells of acquisition and label is left as it was
        for name in ("a", "y"):
            shares = part.groupby(name)["w"].sum() / part.groupby(name).size()
            np.testing.assert_allclose(shares, 1, rtol=1e-12)


def test_raking_meets_every_table():
    acquisition, label, covariates, _ = simulate(4)
    weights = acquisition_weights(acquisition, label, covariates=covariates, target="both", method="rake", n_bins=4)
    age = pd.qcut(covariates["age"], 4).astype(str)
    for values in (label, covariates["sex"], age):
        before = pd.crosstab(acquisition, values, normalize=True).to_numpy()
        after = pd.crosstab(acquisition, values, weights, aggfunc="sum", normalize=True).to_numpy()
        np.testing.assert_allclose(after, np.outer(before.sum(1), before.sum(0)), rtol=1e-7)
    kept = acquisition_weights(acquisition, label, covariates=covariates[["sex"]], method="rake")
    table = pd.crosstab(acquisition, covariates["sex"], kept, aggfunc="sum")
    np.testing.assert_allclose(table, pd.crosstab(acquisition, covariates["sex"]), rtol=1e-7)
    assert cramers_v(acquisition, label, sample_weight=kept, bias_correction=False) < 1e-6


def test_patients_are_balanced_rather_than_rows():
    rng = np.random.default_rng(5)
    acquisition, label, _, _ = simulate(5, n=300)
    counts = np.where(label == 1, 5, 1) + rng.integers(0, 2, 300)
    rows = rng.permutation(np.repeat(np.arange(300), counts))
    weights = acquisition_weights(acquisition[rows], label[rows], groups=rows)
    by_patient = acquisition_weights(acquisition, label)
    np.testing.assert_allclose(weights, by_patient[rows], rtol=1e-12)
    # somebody who was scanned on both devices counts on both
    both = acquisition_weights(["GE", "Siemens", "GE", "Siemens"], [0, 0, 1, 1], groups=["x", "x", "y", "z"])
    np.testing.assert_allclose(both, 1)


def test_given_weights_count_and_multiply():
    acquisition, label, covariates, _ = simulate(6, n=500)
    given = np.random.default_rng(6).integers(0, 4, 500)
    for method in METHODS:
        options = {"covariates": covariates[["sex"]], "target": "both", "method": method}
        weights = acquisition_weights(acquisition, label, sample_weight=given, **options)
        rows = np.repeat(np.arange(500), given)
        repeated = acquisition_weights(
            acquisition[rows], label[rows], **{**options, "covariates": covariates[["sex"]].iloc[rows]}
        )
        np.testing.assert_allclose(weights[rows] / given[rows], repeated, rtol=1e-6)
        assert not weights[given == 0].any()


def test_missing_values_have_a_place():
    acquisition, label, covariates, _ = simulate(7)
    covariates = covariates.astype({"sex": object})
    covariates.loc[::7, "age"] = np.nan
    covariates.loc[::11, "sex"] = None
    siemens, unknown = acquisition == "Siemens", covariates.isna()
    for method in METHODS:
        weights = acquisition_weights(
            acquisition, label, covariates=covariates, target="both", method=method, on_empty="drop"
        )
        for name in unknown:
            assert abs(smd(unknown[name].to_numpy(float), siemens, weights)) < 0.1
    device = np.where(np.arange(2000) % 9 == 0, None, acquisition)
    weights = acquisition_weights(device, label)
    assert cramers_v(pd.Series(device).fillna("?"), label, sample_weight=weights, bias_correction=False) < 1e-7


def test_cap_bounds_weights():
    acquisition, _, covariates, _ = simulate(8)
    options = {"covariates": covariates, "target": "covariates", "method": "ipw"}
    assert acquisition_weights(acquisition, **options).max() > 2.5
    weights = acquisition_weights(acquisition, max_weight=2, **options)
    assert weights.max() == pytest.approx(2)
    assert weights.mean() == pytest.approx(1)


def test_several_acquisition_columns_are_crossed():
    acquisition, label, _, _ = simulate(9)
    kernel = np.random.default_rng(9).choice(["soft", "sharp"], 2000)
    frame = pd.DataFrame({"maker": acquisition, "kernel": kernel})
    joint = np.char.add(acquisition.astype(str), kernel)
    np.testing.assert_allclose(acquisition_weights(frame, label), acquisition_weights(joint, label))


def test_without_overlap_it_says_where_and_what_to_do():
    acquisition = np.array(["GE"] * 50 + ["Siemens"] * 50)
    label = np.r_[np.zeros(50), np.tile([0, 1], 25)].astype(int)
    for method in METHODS:
        with pytest.raises(ValueError, match=r"no overlap: there are no rows of acquisition 'GE' in y '1'"):
            acquisition_weights(acquisition, label, method=method)
    dropped = acquisition_weights(acquisition, label, on_empty="drop")
    np.testing.assert_array_equal(dropped > 0, label == 0)
    covariates = pd.DataFrame(
        {"age": np.r_[np.linspace(20, 50, 50), np.linspace(48, 90, 50)], "dose": np.tile([1, 2, 3, 4], 25)}
    )
    for method in ("ipw", "overlap"):
        with pytest.raises(ValueError, match=r"no overlap: .* most of all 'age'.* leave such a covariate out"):
            acquisition_weights(acquisition, covariates=covariates, target="covariates", method=method)
        kept = acquisition_weights(
            acquisition, covariates=covariates, target="covariates", method=method, on_empty="drop"
        )
        assert 0 < (kept > 0).sum() < 10
    with pytest.raises(ValueError, match="no stratum holds every acquisition"):
        acquisition_weights(acquisition, np.repeat([0, 1], 50), on_empty="drop")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"acquisition": ["GE"] * 4}, "two or more acquisitions, found only 'GE'"),
        ({"y": None}, "requires y to be passed"),
        ({"y": [0, 1, None, 1]}, "y: row 2 has no label"),
        ({"y": [0, 1, 1]}, "y has 3 rows, but there are 4"),
        ({"target": "both"}, "balances covariates, but there are none"),
        ({"covariates": pd.DataFrame({"age": [1, 2, np.inf, 4]})}, "column 'age' is infinite in row 2"),
        ({"covariates": pd.DataFrame({"age": [1, 2, 3]})}, "covariates has 3 rows, but there are 4"),
        ({"covariates": pd.DataFrame({"date": pd.date_range("2020", periods=4)})}, "'date' holds dates"),
        ({"covariates": {"age": [1, 2, 3, 4]}, "exact": ["sex"]}, "exact: 'sex' is not among the covariates"),
        ({"exact": ["sex"]}, "names covariates, but there are none"),
        ({"groups": [1, 2, 3]}, "groups has 3 rows"),
        ({"sample_weight": [1, 1, -1, 1]}, "sample_weight: row 2 has -1"),
        ({"sample_weight": [0, 0, 0, 0]}, "sample_weight is zero in all rows"),
        ({"method": "other"}, "'method' parameter"),
    ],
)
def test_bad_input(options, message):
    arguments = {"acquisition": ["GE", "GE", "Siemens", "Siemens"], "y": [0, 1, 0, 1], **options}
    with pytest.raises(ValueError, match=message):
        acquisition_weights(**arguments)


def test_what_is_no_category_is_refused():
    with pytest.raises(ValueError, match="column 'thickness' has 100 values and is no category"):
        acquisition_weights(pd.DataFrame({"thickness": np.linspace(0.5, 5, 100)}), np.tile([0, 1], 50))
    names = pd.DataFrame({"accession": [f"p{number}" for number in range(100)]})
    with pytest.raises(ValueError, match="100 categories in 100 rows") as caught:
        acquisition_weights(np.tile([0, 1], 50), covariates=names, target="covariates")
    assert "p1" not in str(caught.value)
