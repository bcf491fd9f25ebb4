"""ComBat against its published equations, closed forms, a peer, and in searches."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.preprocessing import ComBat


def study(counts=(12, 30, 18), p=25, seed=0, effect=True):
    """Embeddings of three scanners with shifts, scales and an effect of age and sex."""
    rng = np.random.default_rng(seed)
    scanner = np.repeat(["GE", "Philips", "Siemens"], counts)
    n = len(scanner)
    age, sex = rng.uniform(20, 90, n), rng.choice(["f", "m"], n)
    code = np.unique(scanner, return_inverse=True)[1]
    shift, scale = rng.normal(0, 1, (3, p)), rng.uniform(0.5, 2, (3, p))
    X = rng.normal(size=(n, p)) * scale[code] + shift[code] + rng.normal(0, 3, p)
    if effect:
        X += np.outer(age / 30, rng.normal(size=p)) + np.outer(sex == "m", rng.normal(size=p))
    table = pd.DataFrame(X, columns=[f"f{column}" for column in range(p)])
    return table.assign(scanner=scanner, age=age, sex=sex), X


def published_equations(X, batch, covariates=None, reference=None, mean_only=False):
    """Johnson, Li & Rabinovic (2007), one feature and one number at a time, to convergence."""
    n, p = X.shape
    levels = sorted(set(batch))
    design = np.column_stack([batch == level for level in levels]).astype(float)
    covariates = np.zeros((n, 0)) if covariates is None else covariates
    full = np.hstack([design, covariates])
    result, z, sigma, expected = X.copy(), np.empty_like(X), np.empty(p), np.empty_like(X)
    for v in range(p):
        beta = np.linalg.solve(full.T @ full, full.T @ X[:, v])
        residual = X[:, v] - full @ beta
        if reference is None:
            alpha = sum(np.mean(batch == level) * beta[i] for i, level in enumerate(levels))
            sigma[v] = np.sqrt(np.mean(residual**2))
        else:
            alpha = beta[levels.index(reference)]
            sigma[v] = np.sqrt(np.mean(residual[batch == reference] ** 2))
        expected[:, v] = alpha + covariates @ beta[len(levels) :]
        z[:, v] = (X[:, v] - expected[:, v]) / sigma[v]
    for level in levels:
        if level == reference:
            continue
        rows = z[batch == level]
        m = len(rows)
        means, variances = rows.mean(0), rows.var(0, ddof=1)
        center, tau2 = means.mean(), means.var(ddof=1)
        v_mean, v_var = variances.mean(), variances.var(ddof=1)
        lam, theta = (v_mean**2 + 2 * v_var) / v_var, (v_mean**3 + v_mean * v_var) / v_var
        for v in range(p):
            gamma, delta = means[v], 1.0 if mean_only else variances[v]
            for _ in range(500):
                gamma = (m * tau2 * means[v] + delta * center) / (m * tau2 + delta)
                if not mean_only:
                    delta = (theta + 0.5 * np.sum((rows[:, v] - gamma) ** 2)) / (m / 2 + lam - 1)
            inside = batch == level
            result[inside, v] = sigma[v] * (z[inside, v] - gamma) / np.sqrt(delta) + expected[inside, v]
    return result


@pytest.mark.parametrize("mean_only", [False, True])
@pytest.mark.parametrize("reference", [None, "Philips"])
@pytest.mark.parametrize("with_covariates", [False, True])
def test_published_equations(with_covariates, reference, mean_only):
    table, X = study()
    covariates = np.column_stack([table.age, table.sex == "m"]).astype(float) if with_covariates else None
    expected = published_equations(X, table.scanner.to_numpy(), covariates, reference, mean_only)
    names = ["age", "sex"] if with_covariates else None
    rows = table if with_covariates else table.drop(columns=["age", "sex"])
    combat = ComBat("scanner", covariates=names, reference_batch=reference, mean_only=mean_only, tol=1e-12)
    before = rows.copy()
    result = combat.fit_transform(rows)
    np.testing.assert_allclose(result, expected, rtol=1e-8, atol=1e-9)
    pd.testing.assert_frame_equal(rows, before)
    if reference is not None:
        kept = table.scanner == reference
        np.testing.assert_array_equal(result[kept], X[kept])


@pytest.mark.parametrize("empirical_bayes", [True, False])
@pytest.mark.parametrize("reference", [None, "Siemens"])
def test_agrees_with_neurocombat(empirical_bayes, reference, monkeypatch, capsys):
    peer = pytest.importorskip("neuroCombat").neuroCombat
    monkeypatch.setattr(np, "int", int, raising=False)  # what the peer still calls it
    table, X = study()
    theirs = peer(
        X.T,
        table[["scanner", "age", "sex"]],
        "scanner",
        categorical_cols="sex",
        continuous_cols="age",
        eb=empirical_bayes,
        ref_batch=reference,
    )["data"].T
    options = {"empirical_bayes": empirical_bayes, "reference_batch": reference}
    ours = ComBat("scanner", covariates=["sex", "age"], **options).fit_transform(table)
    np.testing.assert_allclose(ours, theirs, atol=2e-3 if empirical_bayes else 1e-5)  # it stops at changes of 1e-4


def test_many_rows_leave_nothing_to_shrink():
    """Closed form: every batch standardized, feature by feature, to the pooled mean and standard deviation."""
    table, X = study(counts=(6000, 9000, 5000), p=4, effect=False)
    result = ComBat("scanner").fit_transform(table.drop(columns=["age", "sex"]))
    scanner = table.scanner.to_numpy()
    means = {name: X[scanner == name].mean(axis=0) for name in set(scanner)}
    pooled = np.sqrt(np.mean([(x - means[name]) ** 2 for x, name in zip(X, scanner)], axis=0))
    exact = np.empty_like(X)
    for name, mean in means.items():
        rows = X[scanner == name]
        exact[scanner == name] = (rows - mean) / rows.std(axis=0, ddof=1) * pooled + X.mean(axis=0)
    np.testing.assert_allclose(result, exact, atol=0.02)
    unshrunken = ComBat("scanner", empirical_bayes=False).fit_transform(table.drop(columns=["age", "sex"]))
    np.testing.assert_allclose(unshrunken, exact, atol=1e-9)


def test_few_rows_are_drawn_to_what_features_share():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(43, 200))
    batch = np.repeat(["a", "b"], [40, 3])
    X[batch == "b"] += 2.0
    shrunken = ComBat().fit(X, batch=batch)
    plain = ComBat(empirical_bayes=False).fit(X, batch=batch)
    difference = {name: (fit.shift_[1] - fit.shift_[0]) for name, fit in (("eb", shrunken), ("plain", plain))}
    assert difference["eb"].std() < 0.6 * difference["plain"].std()
    assert difference["eb"].mean() == pytest.approx(difference["plain"].mean(), rel=0.02)


def test_covariates_are_preserved_and_the_shift_is_gone():
    table, _ = study(counts=(400, 400, 400), p=6)
    table["age"] += 25.0 * (table.scanner == "GE")  # older patients on one scanner
    table["f0"] = 0.1 * table.age + 3.0 * (table.scanner == "GE") + np.random.default_rng(0).normal(0, 0.1, len(table))
    kept = ComBat("scanner", covariates=["age", "sex"]).fit_transform(table)[:, 0]
    lost = ComBat("scanner", covariates="sex").fit_transform(table.drop(columns="age"))[:, 0]
    at_ge = (table.scanner == "GE").to_numpy()
    assert kept[at_ge].mean() - kept[~at_ge].mean() == pytest.approx(
        0.1 * (table.age[at_ge].mean() - table.age[~at_ge].mean()), abs=0.05
    )
    assert abs(lost[at_ge].mean() - lost[~at_ge].mean()) < 0.05


# -- new rows ----------------------------------------------------------------------------------------------------------
def test_new_rows_are_changed_one_by_one_as_training_rows_are():
    table, _ = study()
    combat = ComBat("scanner", covariates=["age", "sex"]).fit(table)
    whole = combat.transform(table)
    one_by_one = np.vstack([combat.transform(table.iloc[[row]]) for row in range(20)])
    np.testing.assert_allclose(one_by_one, whole[:20], rtol=1e-12)
    again = pickle.loads(pickle.dumps(combat))
    np.testing.assert_allclose(again.transform(table[::-1]), whole[::-1], rtol=1e-12)


def test_batches_that_fit_did_not_see():
    table, X = study()
    rows = table.drop(columns=["age", "sex"])
    combat = ComBat("scanner").fit(rows)
    known = combat.transform(rows)
    other = rows.copy()
    other.loc[[3, 40], "scanner"] = ["Canon", None]
    with pytest.warns(UserWarning, match="rows 3, 40 of X: batch not seen in fit; left as they are"):
        result = combat.transform(other)
    np.testing.assert_array_equal(result[[3, 40]], X[[3, 40]])
    np.testing.assert_array_equal(np.delete(result, [3, 40], 0), np.delete(known, [3, 40], 0))
    with pytest.raises(ValueError, match="rows 3, 40 of X: batch not seen"):
        combat.set_params(on_unknown="error").transform(other)


# -- ways of giving batches --------------------------------------------------------------------------------------------
def test_every_way_of_giving_batches_and_covariates():
    table, X = study()
    rows = table.drop(columns=["sex"])
    expected = ComBat("scanner", covariates="age").fit_transform(rows)
    routed = ComBat().fit_transform(X, batch=table.scanner, covariates=table[["age"]])
    np.testing.assert_array_equal(routed, expected)
    by_number = ComBat(-2, covariates=[-1]).fit_transform(rows.to_numpy())
    np.testing.assert_array_equal(by_number, expected)
    bunch = ImageBunch(X[:, None], signal=True, metadata=table[["scanner", "age"]])
    np.testing.assert_array_equal(ComBat("scanner", covariates="age").fit_transform(bunch), expected)
    by_call = ComBat(lambda features: table.scanner[: len(features)])
    np.testing.assert_array_equal(by_call.fit_transform(X), ComBat().fit_transform(X, batch=table.scanner))
    assert list(ComBat("scanner", covariates="age").fit(rows).get_feature_names_out()) == [*table.columns[:25]]


def test_in_a_search_and_cross_validation():
    table, _ = study(counts=(60, 60, 60), effect=False)
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, len(table))
    table.loc[:, "f0"] += 1.5 * y
    rows = table.drop(columns=["age", "sex"])
    folds = KFold(3, shuffle=True, random_state=0)  # the rows are in order of their scanners
    pipeline = make_pipeline(ComBat("scanner"), LogisticRegression())
    grid = {"combat__mean_only": [True, False], "combat": [ComBat("scanner"), ComBat("scanner", empirical_bayes=False)]}
    search = GridSearchCV(pipeline, grid, cv=folds, error_score="raise").fit(rows, y)
    assert search.best_score_ > 0.6
    assert cross_val_predict(pipeline, rows, y, cv=folds).shape == y.shape


def test_routed_batches_reach_a_pipeline():
    import sklearn

    table, X = study()
    y = np.arange(len(X)) % 2
    with sklearn.config_context(enable_metadata_routing=True):
        combat = ComBat().set_fit_request(batch=True).set_transform_request(batch=True)
        pipeline = make_pipeline(combat, LogisticRegression(max_iter=1000))
        fitted = pipeline.fit(X, y, batch=table.scanner).named_steps["logisticregression"].coef_
    harmonized = ComBat().fit_transform(X, batch=table.scanner)
    np.testing.assert_allclose(fitted, LogisticRegression(max_iter=1000).fit(harmonized, y).coef_)


# -- odd input ---------------------------------------------------------------------------------------------------------
def test_constant_features_lose_their_shift():
    table, _ = study()
    rows = table.drop(columns=["age", "sex"])
    expected = ComBat("scanner").fit_transform(rows)
    constant = rows.assign(same=7.0, label=(rows.scanner == "GE") * 3.0)
    result = ComBat("scanner").fit_transform(constant)
    np.testing.assert_allclose(result[:, :25], expected, rtol=1e-12)
    np.testing.assert_allclose(result[:, 25], 7.0)
    np.testing.assert_allclose(result[:, 26], constant.label.mean())


def test_one_feature_is_not_shrunken():
    table, X = study(effect=False)
    one = ComBat().fit_transform(X[:, :1], batch=table.scanner)
    plain = ComBat(empirical_bayes=False).fit_transform(X[:, :1], batch=table.scanner)
    np.testing.assert_array_equal(one, plain)


def test_float32_stays_float32():
    table, X = study()
    result = ComBat().fit_transform(X.astype(np.float32), batch=table.scanner)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, ComBat().fit_transform(X, batch=table.scanner), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda t: t.drop(columns="scanner"), {}, "X has 0 columns 'scanner'"),
        (lambda t: t.assign(scanner=t.scanner.where(t.index != 4)), {}, r"batch: row 4 has none \(1 such rows\)"),
        (lambda t: t.assign(scanner=t.scanner.where(t.index != 4, "Canon")), {}, "batch 'Canon' has 1 sample"),
        (lambda t: t.assign(age=t.age.where(t.index != 2)), {"covariates": ["age"]}, "'age' of row 2 is missing"),
        (
            lambda t: t.assign(age=(t.scanner == "GE") * 1),
            {"covariates": "age"},
            "cannot be told from that of the batch",
        ),
        (lambda t: t.assign(age=5), {"covariates": "age"}, "cannot be told from that of the batch"),
        (lambda t: t, {"reference_batch": "Canon"}, "reference_batch='Canon' is none of the batches"),
        (lambda t: t[["scanner"]], {}, "no features besides"),
        (lambda t: t[::20], {}, "n_samples=3 rows cannot tell|has 1 sample"),
        (lambda t: t.assign(f3=np.nan), {}, "Input X contains NaN"),
    ],
)
def test_what_fit_refuses(change, options, message):
    table = change(study()[0].drop(columns="sex"))
    if "covariates" not in options and "age" in table:
        table = table.drop(columns="age")
    with pytest.raises(ValueError, match=message):
        ComBat("scanner", **options).fit(table)


def test_what_transform_refuses():
    table, X = study()
    combat = ComBat("scanner", covariates="sex").fit(table)
    with pytest.raises(ValueError, match="'sex' of row 7 is a category not seen in fit"):
        combat.transform(table.assign(sex=table.sex.where(table.index != 7, "x")))
    with pytest.raises(ValueError, match=r"covariates: got \[\], but fit saw \['age'\]"):
        ComBat().fit(X, batch=table.scanner, covariates=table[["age"]]).transform(X, batch=table.scanner)
    with pytest.raises(ValueError, match="ComBat knows no batch of the rows"):
        ComBat().fit(X)
    with pytest.raises(ValueError, match="names a column, but X is no DataFrame"):
        ComBat("scanner").fit(X)
    with pytest.raises(ValueError, match="neither a field of the rows nor a column of their metadata"):
        ComBat("site").fit(ImageBunch(X[:, None], signal=True, metadata=table[["scanner"]]))


def test_too_few_iterations_warn():
    table, _ = study()
    with pytest.warns(ConvergenceWarning, match="after 1 iterations"):
        clone(ComBat("scanner", max_iter=1, tol=1e-12)).fit(table.drop(columns=["age", "sex"]))


def test_numbers_that_come_as_objects_are_numbers_and_dates_are_refused():
    rng = np.random.default_rng(0)
    age = rng.normal(60, 10, 40)
    table = pd.DataFrame(rng.normal(size=(40, 2)) + age[:, None] / 20, columns=["a", "b"])
    table = table.assign(scanner=np.arange(40) % 2, age=age)
    expected = ComBat("scanner", covariates="age").fit(table[:30]).transform(table[30:])
    bunch = ImageBunch(
        table[["a", "b"]].to_numpy().reshape(40, 1, 2), signal=True, metadata=table.astype({"age": object})
    )
    found = ComBat("scanner", covariates="age").fit(bunch[:30]).transform(bunch[30:])
    np.testing.assert_allclose(found, expected)
    dates = table.assign(age=pd.date_range("2020", periods=40))
    with pytest.raises(ValueError, match="covariates: 'age' holds dates or times; give a number"):
        ComBat("scanner", covariates="age").fit(dates)
