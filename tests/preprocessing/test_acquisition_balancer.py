"""AcquisitionBalancer: what it promises on simulated cohorts, its pairs, and as a step of Pipelines."""

import pickle

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from sklearn_shortcuts import ImageBunch, NeuralImageClassifier, ROIMasker
from sklearn_shortcuts.neural import SmallCNN
from sklearn_shortcuts.preprocessing import AcquisitionBalancer, acquisition_weights, balance_table
from tests.preprocessing.cohorts import simulate

SELECTING = [
    {"strategy": "match"},
    {"strategy": "match", "method": "optimal"},
    {"strategy": "match", "distance": "mahalanobis", "caliper": 0.2},
    {"strategy": "undersample"},
]
STRATEGIES = ["weight", "match", "undersample", "oversample", "rake"]


def bunch_of(acquisition, covariates=None, **fields):
    """Rows without content, whose metadata has an index of its own as tables read from files do."""
    metadata = pd.DataFrame({"manufacturer": acquisition})
    for name in () if covariates is None else covariates:
        metadata[name] = covariates[name].to_numpy()
    metadata.index = np.arange(len(metadata)) * 3 + 7
    return ImageBunch(np.zeros((len(metadata), 4, 4), dtype=np.float32), metadata=metadata, **fields)


def balancer(**options):
    return AcquisitionBalancer(
        **{"acquisition": "manufacturer", "covariates": ["age", "sex"], "target": "both", "random_state": 0, **options}
    )


# -- what it promises --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", SELECTING, ids=lambda options: "-".join(map(str, options.values())))
def test_matching_and_undersampling_balance_covariates_and_label(options):
    acquisition, label, covariates, _ = simulate()
    fitted = balancer(**options).fit(bunch_of(acquisition, covariates), label)
    table = fitted.balance_table_
    smd = table.xs("smd", level="statistic")
    assert (smd.loc[["age", "sex", "y"], "before"] > 0.3).all()
    assert (smd["after"] <= 0.1).all()
    assert table.loc[("y", "cramers_v"), "before"] > 0.2
    assert table.loc[("y", "cramers_v"), "after"] <= 0.05
    assert set(fitted.sample_weight_) == {0.0, 1.0}
    np.testing.assert_array_equal(fitted.sample_indices_, np.flatnonzero(fitted.sample_weight_))
    siemens = acquisition[fitted.sample_indices_] == "Siemens"
    for code in (0, 1):  # as many of each label, exactly
        part = siemens[label[fitted.sample_indices_] == code]
        assert part.sum() == (~part).sum()
    expected = balance_table(acquisition, label, covariates=covariates, sample_weight=fitted.sample_weight_)
    pd.testing.assert_frame_equal(table, expected)


@pytest.mark.parametrize("target", ["covariates", "both"])
@pytest.mark.parametrize("options", [SELECTING[0], SELECTING[3]], ids=["match", "undersample"])
def test_defaults_balance_every_cohort(options, target):
    for seed in range(100, 124):
        acquisition, label, covariates, _ = simulate(seed)
        fitted = balancer(target=target, **options).fit(bunch_of(acquisition, covariates), label)
        table = fitted.balance_table_.drop(index=[("y", "smd"), ("y", "cramers_v")] if target == "covariates" else [])
        assert (table.xs("smd", level="statistic")["after"] <= 0.1).all()
        assert (table.xs("cramers_v", level="statistic")["after"] <= 0.05).all()


@pytest.mark.parametrize(
    "options",
    [
        *SELECTING[:3],
        {"strategy": "match", "ratio": 2},
        {"strategy": "match", "ratio": 2, "replacement": True},
        {"strategy": "match", "replacement": True},
        {"strategy": "undersample", "n_bins": 10},
        {"strategy": "weight"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_a_known_effect_is_estimated_without_bias_where_the_naive_estimate_is_biased(options):
    estimates, naive = [], []
    for seed in range(12):
        acquisition, _, covariates, outcome = simulate(seed, n=1000, effect=0.5)
        siemens = acquisition == "Siemens"
        fitted = balancer(target="covariates", on_empty="drop", **options)
        weights = fitted.fit(bunch_of(acquisition, covariates)).sample_weight_
        means = [np.average(outcome[part], weights=weights[part]) for part in (siemens, ~siemens)]
        estimates.append(means[0] - means[1])
        naive.append(outcome[siemens].mean() - outcome[~siemens].mean())
    assert np.mean(naive) - 0.5 > 8 * np.std(naive, ddof=1) / np.sqrt(12)
    assert abs(np.mean(estimates) - 0.5) < 3 * np.std(estimates, ddof=1) / np.sqrt(12)


def test_weights_are_those_of_the_function():
    acquisition, label, covariates, _ = simulate(1)
    bunch = bunch_of(acquisition, covariates)
    for target in ("label", "covariates", "both"):
        for method in ("strata", "ipw", "overlap"):
            fitted = balancer(target=target, method=method, max_weight=3).fit(bunch, label)
            expected = acquisition_weights(
                acquisition, label, covariates=covariates, target=target, method=method, max_weight=3
            )
            np.testing.assert_array_equal(fitted.sample_weight_, expected)
            assert (fitted.propensity_ is None) == (method == "strata")
    raked = balancer(strategy="rake").fit(bunch, label).sample_weight_
    expected = acquisition_weights(acquisition, label, covariates=covariates, target="both", method="rake")
    np.testing.assert_array_equal(raked, expected)


def test_a_label_that_is_not_balanced_is_shown_if_it_is_a_category():
    acquisition, label, covariates, outcome = simulate(2, n=400)
    bunch = bunch_of(acquisition, covariates)
    plain = balancer(target="covariates").fit(bunch)
    assert "y" not in plain.balance_table_.index.get_level_values("variable")
    for y, is_shown in ((label, True), (np.where(label, "ill", None), True), (outcome, False)):
        fitted = balancer(target="covariates").fit(bunch, y)
        np.testing.assert_array_equal(fitted.sample_weight_, plain.sample_weight_)
        assert ("y" in fitted.balance_table_.index.get_level_values("variable")) == is_shown
    with pytest.raises(ValueError, match="y has 3 rows"):
        balancer(target="covariates").fit(bunch, [0, 1, 0])


def test_fitted_propensities_agree_with_statsmodels():
    acquisition, label, covariates, _ = simulate(2)
    design = sm.add_constant(np.column_stack([covariates["age"], covariates["sex"] == "M", label]).astype(float))
    expected = sm.Logit((acquisition == "Siemens").astype(float), design).fit(disp=0, tol=1e-12).predict()
    for strategy in ("weight", "match"):
        fitted = balancer(strategy=strategy).fit(bunch_of(acquisition, covariates), label)
        assert fitted.acquisitions_.tolist() == ["GE", "Siemens"]
        np.testing.assert_allclose(fitted.propensity_[:, 1], expected, rtol=1e-6)
        np.testing.assert_allclose(fitted.propensity_.sum(axis=1), 1)


def test_oversampling_repeats_evenly():
    acquisition, label, _, _ = simulate(3)
    fitted = balancer(strategy="oversample", covariates=None, target="label").fit(bunch_of(acquisition), label)
    counts = pd.Series(fitted.sample_indices_).value_counts().reindex(range(2000), fill_value=0).to_numpy()
    np.testing.assert_array_equal(counts, fitted.sample_weight_)
    assert counts.min() == 1  # nobody is left out
    cells = pd.DataFrame({"a": acquisition, "y": label, "n": counts}).groupby(["y", "a"])["n"]
    assert (cells.max() - cells.min() <= 1).all()
    sums, sizes = cells.sum().unstack(), cells.size().unstack()
    for name in ("GE", "Siemens"):
        np.testing.assert_array_equal(sums[name], sizes.max(axis=1))
    effective = counts.sum() ** 2 / (counts**2).sum()
    assert fitted.effective_sample_size_ == pytest.approx(effective)


# -- pairs -------------------------------------------------------------------------------------------------------------
def independent_pairs(acquisition, label, columns, *, optimal, mahalanobis, caliper):
    """Match label by label: statsmodels' score, textbook covariance, a loop or a dense solver. Distances by pair."""
    siemens = acquisition == "Siemens"
    design = sm.add_constant(np.column_stack([columns, label]))
    score = columns @ sm.Logit(siemens.astype(float), design).fit(disp=0, tol=1e-12).params[1:-1]
    pooled = sum((part.sum() - 1) * np.cov(columns[part].T) for part in (siemens, ~siemens)) / (len(label) - 2)
    if not mahalanobis:
        caliper = caliper * np.sqrt((score[siemens].var(ddof=1) + score[~siemens].var(ddof=1)) / 2)
    pairs = {}
    for code in (0, 1):
        own, others = np.flatnonzero(siemens & (label == code)), np.flatnonzero(~siemens & (label == code))
        if mahalanobis:
            distances = cdist(columns[own], columns[others], "mahalanobis", VI=np.linalg.inv(pooled))
            order = np.argsort(-distances.min(axis=1), kind="stable")
        else:
            distances = np.abs(score[own][:, None] - score[others])
            order = np.argsort(-score[own], kind="stable")
        if optimal:
            order, places = linear_sum_assignment(np.where(distances <= caliper, distances, 1e6))
        taken = np.zeros(len(others))
        for number, row in enumerate(order):
            place = places[number] if optimal else np.argmin(distances[row] + taken)
            if distances[row, place] + taken[place] <= caliper:
                pairs[own[row], others[place]] = distances[row, place]
                taken[place] = np.inf
    return pairs


@pytest.mark.parametrize("mahalanobis", [False, True])
@pytest.mark.parametrize("optimal", [False, True])
def test_pairs_are_those_of_an_independent_implementation(optimal, mahalanobis):
    acquisition, label, covariates, _ = simulate(4, n=500)
    covariates["dose"] = np.random.default_rng(4).normal(10, 3, 500)
    columns = np.column_stack([covariates["age"], covariates["sex"] == "M", covariates["dose"]]).astype(float)
    columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    options = {"distance": "mahalanobis"} if mahalanobis else {}
    fitted = balancer(
        strategy="match",
        covariates=["age", "sex", "dose"],
        method="optimal" if optimal else "greedy",
        caliper=0.5,
        **options,
    ).fit(bunch_of(acquisition, covariates), label)
    matches = fitted.matches_
    expected = independent_pairs(acquisition, label, columns, optimal=optimal, mahalanobis=mahalanobis, caliper=0.5)
    assert len(matches) == len(expected)
    assert matches["distance"].sum() == pytest.approx(sum(expected.values()), rel=1e-6)
    assert (matches["acquisition"] == "GE").all()
    if not optimal or mahalanobis:  # on a line pairs may cross at no cost, and the best matching is not the only one
        assert set(zip(matches["reference"], matches["partner"])) == set(expected)
        found = [expected[pair] for pair in zip(matches["reference"], matches["partner"])]
        np.testing.assert_allclose(matches["distance"], found, atol=1e-6)


def test_exact_columns_are_equal_within_pairs():
    acquisition, label, covariates, _ = simulate(5, n=600)
    covariates["decade"] = covariates["age"].to_numpy() // 10
    fitted = balancer(strategy="match", covariates=["age", "sex", "decade"], exact=["sex", "decade"], on_empty="drop")
    matches = fitted.fit(bunch_of(acquisition, covariates), label).matches_
    assert len(matches) > 50
    for values in (label, covariates["sex"].to_numpy(), covariates["decade"].to_numpy()):
        np.testing.assert_array_equal(values[matches["reference"]], values[matches["partner"]])


def test_several_partners_share_the_weight():
    acquisition, _, covariates, _ = simulate(6, n=900)
    bunch = bunch_of(acquisition, covariates)
    fitted = balancer(strategy="match", target="covariates", ratio=2).fit(bunch)
    sizes = fitted.matches_.groupby("reference").size()
    assert set(sizes) == {1, 2}
    assert fitted.matches_["partner"].is_unique
    weights = fitted.sample_weight_
    assert (weights[sizes.index] == 1).all()
    shares = 1 / sizes[fitted.matches_["reference"]].to_numpy()
    np.testing.assert_allclose(weights[fitted.matches_["partner"]], shares * len(fitted.matches_) / len(sizes))
    again = balancer(strategy="match", target="covariates", replacement=True).fit(bunch)
    used = again.matches_["partner"].value_counts()
    assert used.max() > 1
    np.testing.assert_allclose(weights_of := again.sample_weight_[used.index], used * len(used) / len(again.matches_))
    assert weights_of.sum() == pytest.approx(len(used))


def test_more_acquisitions_are_matched_with_the_rarest():
    rng = np.random.default_rng(7)
    site = rng.choice(["a", "b", "c"], 900, p=[0.5, 0.35, 0.15])
    covariates = pd.DataFrame({"age": rng.normal(50 + 4 * (site == "a") + 6 * (site == "c"), 10)})
    fitted = balancer(strategy="match", covariates=["age"], target="covariates").fit(bunch_of(site, covariates))
    matches = fitted.matches_
    assert (site[matches["reference"]] == "c").all()
    np.testing.assert_array_equal(site[matches["partner"]], matches["acquisition"])
    assert (matches.groupby("reference")["acquisition"].nunique() == 2).all()
    assert len(set(pd.Series(site[fitted.sample_indices_]).value_counts())) == 1
    smd = fitted.balance_table_.loc[("age", "smd")]
    assert smd["after"] < 0.15 < smd["before"]


@pytest.mark.parametrize("distance", ["propensity", "mahalanobis"])
def test_covariates_that_say_nothing_leave_pairs_to_chance(distance):
    acquisition = np.array(["GE"] * 6 + ["Siemens"] * 4)
    patients = np.array([0, 1, 2, 3, 4, 5, 6, 6, 6, 6])  # one of Siemens
    for age in (np.full(10, 50.0), np.r_[np.full(6, 50.0), [50.0, 60.0, 70.0, 80.0]]):
        bunch = bunch_of(acquisition, pd.DataFrame({"age": age}), groups=patients)
        fitted = balancer(strategy="match", covariates=["age"], target="covariates", distance=distance).fit(bunch)
        assert len(fitted.matches_) == 1
        assert fitted.sample_weight_[6:].tolist() == [1.0] * 4
    spread = pd.DataFrame({"age": [50.0, 51, 52, 53, 54, 55, 53.5, 0, 0, 0]})
    found = balancer(strategy="match", covariates=["age"], target="covariates", distance=distance, caliper=1.0)
    assert found.fit(bunch_of(acquisition, spread, groups=patients)).matches_["partner"].tolist() in ([3], [4])


def test_ties_are_decided_by_the_random_state():
    acquisition, label, _, _ = simulate(8, n=400)
    bunch = bunch_of(acquisition)
    fits = [
        balancer(strategy="match", covariates=None, target="label", random_state=seed).fit(bunch, label)
        for seed in (0, 0, 1)
    ]
    pd.testing.assert_frame_equal(fits[0].matches_, fits[1].matches_)
    assert not np.array_equal(fits[0].sample_weight_, fits[2].sample_weight_)
    assert len(fits[0].matches_) == sum(
        min(((acquisition == name) & (label == code)).sum() for name in ("GE", "Siemens")) for code in (0, 1)
    )


# -- patients, weights, missing values ---------------------------------------------------------------------------------
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rows_of_a_patient_stay_together(strategy):
    acquisition, label, covariates, _ = simulate(9, n=400)
    rng = np.random.default_rng(9)
    rows = rng.permutation(np.repeat(np.arange(400), rng.integers(1, 5, 400)))
    options = {"strategy": strategy, "on_empty": "drop"}
    bunch = bunch_of(acquisition[rows], covariates.iloc[rows], groups=rows)
    fitted = balancer(**options).fit(bunch, label[rows])
    per_patient = pd.Series(fitted.sample_weight_).groupby(rows)
    assert (per_patient.nunique() == 1).all()
    table = fitted.balance_table_
    assert table.loc[("acquisition", "n_rows"), "before"] == 400
    assert (table.xs("smd", level="statistic")["after"] < 0.12).all()
    assert table.loc[("y", "cramers_v"), "after"] < 0.01
    if strategy == "match":
        assert fitted.matches_["reference"].isin(pd.Series(rows).drop_duplicates().index).all()
    passed = balancer(**options).fit(bunch.with_fields(groups=None), label[rows], groups=rows)
    np.testing.assert_array_equal(passed.sample_weight_, fitted.sample_weight_)


def test_who_was_scanned_on_both_devices_stays_on_both():
    device = np.array(["GE", "Siemens"] * 10 + ["GE"] * 10)
    patient = np.r_[np.repeat(np.arange(10), 2), np.arange(10, 20)]
    age = np.linspace(30, 80, 20)[patient]
    bunch = bunch_of(device, pd.DataFrame({"age": age}), groups=patient)
    fitted = balancer(
        strategy="match", covariates=["age"], target="covariates", distance="mahalanobis", on_empty="drop", caliper=0.01
    ).fit(bunch)
    np.testing.assert_array_equal(patient[fitted.matches_["reference"]], patient[fitted.matches_["partner"]])
    assert len(fitted.matches_) == 10


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_given_weights_multiply(strategy):
    acquisition, label, covariates, _ = simulate(10, n=500)
    given = np.random.default_rng(10).choice([0.0, 1.0, 2.5], 500)
    options = {"strategy": strategy, "on_empty": "drop", "covariates": ["sex"], "n_bins": 2}
    bunch = bunch_of(acquisition, covariates, sample_weight=given)
    result = balancer(**options).fit_transform(bunch, label)
    assert not result.sample_weight[given == 0].any()
    counted = given > 0
    if strategy in ("undersample", "oversample"):  # which rows are taken does not depend on the weights of the others
        alone = balancer(**options).fit(bunch[counted].with_fields(sample_weight=None), label[counted])
        np.testing.assert_allclose(result.sample_weight[counted], alone.sample_weight_ * given[counted])
    elif strategy == "weight":
        expected = acquisition_weights(
            acquisition, label, covariates=covariates[["sex"]], target="both", sample_weight=given
        )
        np.testing.assert_array_equal(result.sample_weight, expected)
    ratio = result.sample_weight[counted] / given[counted]
    assert np.isfinite(ratio).all()
    np.testing.assert_array_equal(bunch.sample_weight, given)  # the caller's rows are as they were


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_missing_values_are_balanced_like_others(strategy):
    acquisition, label, covariates, _ = simulate(11)
    covariates = covariates.astype({"sex": object})
    covariates.loc[(np.arange(2000) % 5 == 0) | ((acquisition == "GE") & (np.arange(2000) % 3 == 0)), "age"] = np.nan
    covariates.loc[::13, "sex"] = None
    options = {"strategy": strategy, "on_empty": "drop", "n_bins": 4}
    fitted = balancer(**options).fit(bunch_of(acquisition, covariates), label)
    smd = fitted.balance_table_.xs("smd", level="statistic")
    assert smd.loc["age (missing)", "before"] > 0.2
    assert (smd["after"] < 0.12).all()


def test_a_number_that_only_one_acquisition_has_is_refused_by_that_name():
    site = np.repeat(["a", "b", "c"], 40)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"dose": np.where(site == "c", rng.normal(size=120), np.nan), "age": rng.normal(size=120)})
    options = {"strategy": "match", "covariates": ["dose", "age"], "target": "covariates"}
    with pytest.raises(ValueError, match=r"no overlap: .*most of all 'dose'"):
        balancer(**options).fit(bunch_of(site, frame))
    pair = site != "c"
    assert len(balancer(**options).fit(bunch_of(site[pair], frame[pair])).matches_) > 20


# -- as a step ---------------------------------------------------------------------------------------------------------
def test_fit_transform_attaches_weights_and_transform_does_not():
    acquisition, label, covariates, _ = simulate(12, n=300)
    bunch = bunch_of(acquisition, covariates, target=label)
    fitted = balancer()
    result = fitted.fit_transform(bunch)
    np.testing.assert_array_equal(result.sample_weight, fitted.sample_weight_)
    assert "sample_weight" not in bunch.fields
    assert fitted.transform(bunch) is bunch  # rows to be predicted pass: so do those of scanners never seen
    unseen = bunch_of(["Canon"] * 5)
    assert fitted.transform(unseen) is unseen
    bare = np.zeros((3, 4, 4))
    np.testing.assert_array_equal(fitted.transform(bare), bare)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.sample_weight_, fitted.sample_weight_)


def shortcut_study(n=160, seed=0):
    """Images in which the device shows in a corner, and the label, faintly, in the middle; both go together."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    device = np.where(rng.random(n) < 0.9, label, 1 - label)
    images = rng.normal(0, 0.3, (n, 12, 12)).astype(np.float32)
    images[:, :4, :4] += 2.0 * device[:, None, None]
    images[:, 6:10, 6:10] += 0.5 * label[:, None, None]
    metadata = pd.DataFrame({"device": np.array(["GE", "Siemens"])[device]})
    return ImageBunch(images, metadata=metadata), label


def test_it_is_searched_and_switched_off_in_front_of_a_network():
    bunch, label = shortcut_study()
    network = NeuralImageClassifier(SmallCNN(width=4, depth=1), max_epochs=12, lr=0.03, random_state=0)
    pipe = make_pipeline(AcquisitionBalancer(acquisition="device"), network)
    search = GridSearchCV(
        pipe,
        {
            "acquisitionbalancer": [
                pipe[0],
                AcquisitionBalancer("undersample", acquisition="device", random_state=0),
                "passthrough",
            ]
        },
        cv=2,
    ).fit(bunch, label)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert cross_validate(pipe, bunch, label, cv=2, scoring=["roc_auc", "accuracy"])["test_roc_auc"].min() > 0
    # weights reach the network: the result is that of passing them to its fit
    weights = acquisition_weights(bunch.metadata["device"], label)
    expected = clone(network).fit(bunch, label, sample_weight=weights).predict_proba(bunch)
    np.testing.assert_array_equal(pipe.fit(bunch, label).predict_proba(bunch), expected)
    plain = clone(network).fit(bunch, label).predict_proba(bunch)
    swapped, _ = shortcut_study(seed=1)
    moved = [
        np.abs(
            np.diff([model.predict_proba(ImageBunch(images))[:, 1] for images in corner_pairs(swapped)], axis=0)
        ).mean()
        for model in (pipe, clone(network).fit(bunch, label))
    ]
    assert moved[0] < 0.8 * moved[1]  # what the device's corner does to the prediction
    assert not np.array_equal(plain, expected)


def corner_pairs(bunch):
    """The same images as if from either device."""
    images = np.asarray(bunch)
    bare = images.copy()
    bare[bunch.metadata["device"].to_numpy() == "Siemens", :4, :4] -= 2.0
    marked = bare.copy()
    marked[:, :4, :4] += 2.0
    return bare, marked


def test_plain_images_by_routing():
    bunch, label = shortcut_study(n=60)
    images, device = np.asarray(bunch), bunch.metadata["device"].to_numpy()
    network = NeuralImageClassifier(SmallCNN(width=4, depth=1), max_epochs=2, random_state=0)
    expected = make_pipeline(AcquisitionBalancer(acquisition="device"), network).fit(bunch, label).predict_proba(bunch)
    by_prefix = make_pipeline(AcquisitionBalancer(), clone(network))
    by_prefix.fit(images, label, acquisitionbalancer__acquisition=device)
    np.testing.assert_array_equal(by_prefix.predict_proba(images), expected)
    with config_context(enable_metadata_routing=True):
        step = AcquisitionBalancer().set_fit_request(acquisition=True)
        routed = make_pipeline(step, clone(network)).fit(images, label, acquisition=device)
        np.testing.assert_array_equal(routed.predict_proba(images), expected)
    masked = make_pipeline(AcquisitionBalancer(acquisition="device"), ROIMasker(on_missing="keep"), clone(network))
    np.testing.assert_array_equal(masked.fit(bunch, label).predict_proba(bunch), expected)


def test_tables_cannot_carry_weights_and_say_so():
    acquisition, label, covariates, _ = simulate(13, n=200)
    frame = covariates.assign(manufacturer=acquisition)
    with pytest.warns(UserWarning, match="a table cannot carry the weights"):
        result = balancer().fit_transform(frame, label)
    pd.testing.assert_frame_equal(result, frame)
    fitted = balancer().fit(frame, label)
    same = balancer().fit(bunch_of(acquisition, covariates), label)
    np.testing.assert_array_equal(fitted.sample_weight_, same.sample_weight_)
    passed = balancer(acquisition=None, covariates=None).fit(
        np.zeros((200, 3)), label, acquisition=acquisition, covariates=covariates
    )
    np.testing.assert_array_equal(passed.sample_weight_, same.sample_weight_)
    chosen = balancer().fit(np.zeros((200, 3)), label, acquisition=frame, covariates=frame.assign(other=0.0))
    np.testing.assert_array_equal(chosen.sample_weight_, same.sample_weight_)


def test_several_columns_fields_and_callables_name_the_acquisition():
    acquisition, label, covariates, _ = simulate(14, n=400)
    kernel = np.random.default_rng(14).choice(["soft", "sharp"], 400)
    expected = acquisition_weights(pd.DataFrame({"a": acquisition, "k": kernel}), label)
    bunch = bunch_of(acquisition, covariates, kernel=kernel)
    for names in (
        ["manufacturer", "kernel"],
        lambda X: pd.DataFrame({"m": X.metadata["manufacturer"].to_numpy(), "k": X.kernel}),
    ):
        found = AcquisitionBalancer(acquisition=names).fit(bunch, label)
        np.testing.assert_array_equal(found.sample_weight_, expected)
    assert found.acquisitions_.tolist() == [
        f"m={maker}, k={name}" for maker in ("GE", "Siemens") for name in ("sharp", "soft")
    ]


# -- refusals ----------------------------------------------------------------------------------------------------------
def test_no_acquisition_is_an_error_that_names_the_ways():
    with pytest.raises(ValueError, match=r"\(acquisition='manufacturer'\), set a callable.* fit\(X, "):
        AcquisitionBalancer().fit(np.zeros((4, 3, 3)), [0, 1, 0, 1])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_overlap_is_refused_or_dropped(strategy):
    acquisition, label, covariates, _ = simulate(15, n=300)
    label = np.where(acquisition == "GE", 0, label)
    covariates["other"] = np.arange(300) % 2
    bunch = bunch_of(acquisition, covariates)
    options = {"strategy": strategy, "covariates": ["sex", "other"]}
    with pytest.raises(
        ValueError, match=r"no overlap: there are no rows of acquisition 'GE' in .*set on_empty=\"drop\""
    ):
        balancer(**options).fit(bunch, label)
    fitted = balancer(on_empty="drop", **options).fit(bunch, label)
    assert not fitted.sample_weight_[label == 1].any()
    assert fitted.sample_weight_[label == 0].any()


def test_a_covariate_that_tells_the_acquisition_is_refused():
    acquisition, label, covariates, _ = simulate(16, n=400)
    covariates["dose"] = np.where(acquisition == "GE", 5.0, 8.0) + np.random.default_rng(0).normal(0, 1, 400)
    bunch = bunch_of(acquisition, covariates)
    for strategy in ("weight", "match"):
        with pytest.raises(ValueError, match=r"no overlap: .*most of all 'dose'"):
            balancer(strategy=strategy, covariates=["age", "dose"], target="covariates").fit(bunch)
        kept = balancer(strategy=strategy, covariates=["age", "dose"], target="covariates", on_empty="drop").fit(bunch)
        assert 10 < (kept.sample_weight_ > 0).sum() < 250
    with pytest.raises(
        ValueError, match=r"no row has a partner in every other acquisition within the caliper of 1e-12"
    ):
        balancer(strategy="match", caliper=1e-12).fit(bunch, label)


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        (
            {"acquisition": "site"},
            {},
            r"acquisition='site' is neither a field .* and the columns \['manufacturer', 'age', 'sex'\]",
        ),
        ({"covariates": ["weight"]}, {}, "covariates='weight' is neither a field of the rows nor"),
        ({"method": "greedy"}, {}, "method='greedy' is none of strategy='weight'"),
        ({"strategy": "match", "method": "ipw"}, {}, "method='ipw' is none of strategy='match'"),
        ({"strategy": "smote"}, {}, "'strategy' parameter"),
        ({"caliper": -1.0}, {}, "'caliper' parameter"),
        ({"covariates": None}, {}, "balances covariates, but there are none"),
        (
            {"acquisition": None},
            {"acquisition": ["GE"] * 30},
            "acquisition has 30 rows, but X has 60",
        ),
        ({"acquisition": None}, {"acquisition": ["GE"] * 60}, "two or more acquisitions, found only 'GE'"),
        ({}, {"y": None}, "requires y to be passed"),
        ({}, {"y": np.zeros(60)}, "y has one class only"),
        ({}, {"y": np.tile([0.0, np.nan], 30)}, "y: row 1 has no label"),
        ({}, {"groups": [1, 2]}, "groups has 2 rows"),
        ({}, {"sample_weight": np.zeros(60)}, "sample_weight is zero in all rows"),
    ],
)
def test_bad_input(options, arguments, message):
    acquisition, label, covariates, _ = simulate(17, n=60)
    with pytest.raises(ValueError, match=message):
        balancer(**options).fit(bunch_of(acquisition, covariates), **{"y": label, **arguments})


def test_names_need_rows_that_have_names():
    with pytest.raises(
        ValueError, match=r"acquisition='manufacturer' names fields or columns, which rows of type ndarray"
    ):
        balancer().fit(np.zeros((4, 3, 3)), [0, 1, 0, 1])
    fitted = balancer(covariates=None, target="label").fit(bunch_of(["a", "a", "b", "b"]), [0, 1, 0, 1])
    with pytest.raises(ValueError, match="X has 9 features, but AcquisitionBalancer is expecting 16 features"):
        fitted.transform(np.zeros((4, 3, 3)))
