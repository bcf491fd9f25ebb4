"""New last layers on rows that the features were not trained on."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.explain import grad_cam
from sklearn_shortcuts.mitigation import LastLayerRetraining
from sklearn_shortcuts.mitigation._last_layer_solvers import (
    balanced_regression,
    choose_strength,
    difficulty_weights,
    disagreement_weights,
    pulled_regression,
)
from sklearn_shortcuts.neural import CrossEntropy, NeuralImageClassifier, SmallCNN
from sklearn_shortcuts.neural._net import ClassifierNet

from .planted_groups import draw, small_network, worst_group


def draw_clear(n, agreement, seed):
    """Rows whose own sign is clear but small, beside a large shortcut."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    against = rng.random(n) >= agreement
    X = 0.3 * rng.normal(size=(n, 32)).astype(np.float32)
    X[:, 0] = 0.5 * (2 * y - 1) + 0.05 * X[:, 0]
    X[:, 1] += 2 * np.where(against, 1 - 2 * y, 2 * y - 1)
    return X, y, against


# -- the regressions ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("intercept", [True, False])
def test_balanced_regression_with_one_draw_of_all_rows(intercept):
    rng = np.random.default_rng(0)
    features = rng.normal(3, 2, (80, 5)) * [1, 10, 0.1, 1, 1]
    codes = np.arange(80) % 2
    features[:, 0] += 2 * codes
    weight = rng.uniform(0.5, 2, 80)
    coef, bias, drawn = balanced_regression(
        features, codes, codes, weight, C=0.5, n_draws=1, intercept=intercept, rng=np.random.default_rng(0)
    )
    scaler = StandardScaler(with_mean=intercept)
    options = {"solver": "saga", "tol": 1e-8, "max_iter": 10000, "random_state": 0}
    reference = LogisticRegression(C=0.5, l1_ratio=1, fit_intercept=intercept, **options)
    expected = reference.fit(scaler.fit_transform(features), codes, weight).decision_function(
        scaler.transform(features)
    )
    np.testing.assert_allclose(features @ (coef[1] - coef[0]) + bias[1] - bias[0], expected, atol=5e-3)
    np.testing.assert_array_equal(coef[0], -coef[1])
    assert (drawn == 1).all()
    assert intercept or not bias.any()


def test_balanced_regression_takes_as_many_rows_of_every_subgroup():
    rng = np.random.default_rng(0)
    subgroups = np.repeat([0, 1, 2, 3], [60, 10, 8, 40])
    features, codes = rng.normal(size=(118, 3)), subgroups // 2
    _, _, drawn = balanced_regression(
        features, codes, subgroups, np.ones(118), C=1.0, n_draws=7, intercept=True, rng=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(np.bincount(subgroups, drawn), 7 * 8)
    assert (drawn[subgroups == 2] == 7).all()
    assert drawn.max() == 7


def test_balanced_regression_of_three_classes():
    rng = np.random.default_rng(0)
    codes = np.arange(150) % 3
    features = rng.normal(size=(150, 4)) + 2 * np.eye(4)[codes]
    coef, bias, _ = balanced_regression(
        features, codes, codes, np.ones(150), C=0.3, n_draws=1, intercept=True, rng=np.random.default_rng(0)
    )
    # At the minimum the gradient is zero where a weight is not, and within 1 / C where it is.
    scale = features.std(axis=0)
    p = softmax(features @ coef.T + bias, axis=1)
    slopes = (p - np.eye(3)[codes]).T @ ((features - features.mean(axis=0)) / scale)
    away = np.abs(coef * scale) > 1e-6
    np.testing.assert_allclose(0.3 * slopes[away], -np.sign(coef[away]), atol=1e-2)
    assert (np.abs(0.3 * slopes[~away]) < 1.01).all()
    assert away.any()
    assert not away.all()


def test_strength_is_chosen_by_the_worst_subgroup():
    rng = np.random.default_rng(0)
    codes = np.arange(400) % 2
    features = rng.normal(size=(400, 6))
    features[:, 0] += 3 * (2 * codes - 1)
    halves = np.arange(200), np.arange(200, 400)
    options = {"n_draws": 2, "intercept": True, "seed": 0}
    chosen = choose_strength(features, codes, codes, np.ones(400), halves, **options)
    assert chosen in (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)

    def worst(C):
        coef, bias, _ = balanced_regression(
            *(part[:200] for part in (features, codes, codes, np.ones(400))),
            C=C,
            n_draws=2,
            intercept=True,
            rng=np.random.default_rng(0),
        )
        correct = (features[200:] @ coef.T + bias).argmax(1) == codes[200:]
        return min(correct[codes[200:] == label].mean() for label in (0, 1))

    assert worst(chosen) == max(worst(C) for C in (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01))


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_pulled_regression_is_at_its_minimum(n_outputs, biased):
    rng = np.random.default_rng(0)
    features, weight = rng.normal(size=(50, 4)), rng.dirichlet(np.ones(50))[:, None]
    codes = rng.integers(0, max(2, n_outputs), (50, 1))
    start, bias = rng.normal(size=(n_outputs, 4)), rng.normal(size=n_outputs) if biased else None
    coef, new_bias = pulled_regression(features, codes, weight, start, bias, pull=0.02)
    logits = features @ coef.T + (new_bias if biased else 0)
    away = softmax(logits, axis=1) - np.eye(3)[codes[:, 0]] if n_outputs == 3 else expit(logits) - codes
    # 2 * pull * (w - w_0) is minus the gradient of the weighted cross-entropy: implicit, but in closed form.
    np.testing.assert_allclose(coef, start - (weight * away).T @ features / 0.04, atol=1e-4)
    if biased:
        np.testing.assert_allclose(new_bias, bias - (weight * away).sum(0) / 0.04, atol=1e-4)
    else:
        assert new_bias is None


def test_strong_pull_leaves_the_layer():
    rng = np.random.default_rng(0)
    features, start = rng.normal(size=(30, 4)), rng.normal(size=(2, 4))
    codes = rng.integers(0, 2, (30, 1))
    coef, bias = pulled_regression(features, codes, np.full((30, 1), 1 / 30), start, np.zeros(2), pull=1e6)
    np.testing.assert_allclose(coef, start, atol=1e-5)
    np.testing.assert_allclose(bias, 0, atol=1e-5)


def test_weights_of_automatic_feature_reweighting():
    rng = np.random.default_rng(0)
    logits, codes, weight = rng.normal(size=(40, 3)), rng.integers(0, 3, 40), rng.uniform(0.5, 2, 40)
    p = softmax(logits, axis=1)[np.arange(40), codes]
    expected = np.exp(-5 * p) * weight / np.bincount(codes, weight)[codes]
    values = difficulty_weights(logits, codes[:, None], "multiclass", 5.0, weight)
    np.testing.assert_allclose(values[:, 0], expected / expected.sum())
    labels = rng.integers(0, 2, (40, 3))
    values = difficulty_weights(logits, labels, "multilabel", 0.0, np.ones(40))
    for column, label in zip(values.T, labels.T):
        np.testing.assert_allclose(np.bincount(label, column), 0.5)


def test_weights_by_disagreement():
    rng = np.random.default_rng(0)
    logits, early, weight = rng.normal(size=(60, 2)), rng.normal(size=(60, 2)), rng.uniform(0.5, 2, 60)
    codes = np.repeat([0, 1], [40, 20])
    last, first = softmax(logits, axis=1), softmax(early, axis=1)
    divergence = (last * np.log(last / first)).sum(1)
    values = disagreement_weights(logits, early, codes[:, None], "binary", 0.25, weight)[:, 0]
    for label, n_taken in ((0, 10), (1, 5)):
        rows = np.flatnonzero(codes == label)
        taken = rows[np.argsort(-divergence[rows])[:n_taken]]
        assert set(np.flatnonzero(values[rows]) + rows[0]) == set(taken)
        np.testing.assert_allclose(values[taken], 0.5 * weight[taken] / weight[taken].sum())
    # One logit for two classes says the same as the difference of two.
    one = disagreement_weights(np.diff(logits, axis=1), np.diff(early, axis=1), codes[:, None], "binary", 0.25, weight)
    np.testing.assert_allclose(one[:, 0], values)


# -- the classifier ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", [0, 1])
def test_worst_group_is_better_than_before(seed):
    X, y, against = draw(1000, 0.95, seed)
    test = draw(2000, 0.5, 10 + seed)
    network = small_network(max_epochs=12, random_state=seed)
    gains = {}
    for weighting in ("group_balanced", "afr"):
        subgroups = against if weighting == "group_balanced" else None
        model = LastLayerRetraining(network, weighting=weighting, held_out_fraction=0.3)
        model.fit(X, y, subgroups=subgroups)
        gains[weighting] = worst_group(model, *test) - worst_group(model.stage_one_, *test)
        assert model.sample_weight_.sum() == pytest.approx(1)
        assert model.sample_weight_[against].sum() > 0.4  # of 5 % of the rows
    assert gains["group_balanced"] > 0.3
    assert gains["afr"] > 0.15


@pytest.mark.parametrize("seed", [0, 1])
def test_disagreement_finds_rows_that_the_network_has_learned_late(seed):
    X, y, against = draw_clear(1000, 0.95, seed)
    network = small_network(max_epochs=20, random_state=seed)
    model = LastLayerRetraining(network, weighting="self").fit(X, y)
    test = draw_clear(2000, 0.5, 10 + seed)
    assert worst_group(model, *test) > worst_group(model.stage_one_, *test) + 0.4
    assert model.sample_weight_[against].sum() > 0.3
    held_out = model.held_out_mask_
    assert (model.sample_weight_ > 0).sum() == pytest.approx(0.1 * held_out.sum(), abs=1)


@pytest.mark.parametrize("weighting", ["group_balanced", "afr", "self"])
def test_features_are_those_of_the_other_rows(weighting):
    X, y, against = draw(200, 0.7, 0)
    patients = np.arange(200) // 4
    network = small_network(max_epochs=4)
    model = LastLayerRetraining(network, weighting=weighting, C=0.5).fit(X, y, subgroups=against, groups=patients)
    held_out = model.held_out_mask_
    assert 20 <= held_out.sum() <= 60
    assert not set(patients[held_out]) & set(patients[~held_out])
    assert not model.sample_weight_[~held_out].any()
    plain = clone(network).fit(X, y, sample_weight=(~held_out).astype(float))
    np.testing.assert_allclose(model.stage_one_.predict_proba(X), plain.predict_proba(X), rtol=1e-5)
    np.testing.assert_allclose(model.embed(X), plain.embed(X), rtol=1e-5, atol=1e-6)
    assert np.abs(model.predict_proba(X) - plain.predict_proba(X)).max() > 1e-3
    # What the held-out rows show does not matter to the features, what they are labeled does to the layer.
    other = X.copy()
    other[held_out] += 1
    again = clone(model).fit(other, y, subgroups=against, groups=patients)
    np.testing.assert_allclose(again.embed(X), model.embed(X), rtol=1e-5, atol=1e-6)


def test_layer_is_the_average_of_balanced_regressions():
    X, y, against = draw(300, 0.8, 0)
    model = LastLayerRetraining(small_network(max_epochs=3), C=0.2, n_draws=3).fit(X, y, subgroups=against)
    held_out = model.held_out_mask_
    features, codes = model.embed(X)[held_out].astype(float), y[held_out]
    seed = np.random.RandomState(0).randint(np.iinfo(np.int32).max)
    coef, bias, drawn = balanced_regression(
        *(features, codes, (2 * y + against)[held_out], np.ones(len(codes))),
        C=0.2,
        n_draws=3,
        intercept=True,
        rng=np.random.default_rng(seed),
    )
    logits = features @ (coef[1] - coef[0]) + bias[1] - bias[0]
    np.testing.assert_allclose(model.decision_function(X[held_out]), logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.sample_weight_[held_out], drawn / drawn.sum())
    assert model.C_ == 0.2


@pytest.mark.parametrize("weighting", ["group_balanced", "afr", "self"])
def test_result_is_an_ordinary_classifier_and_nothing_is_changed(weighting, tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(100) % 2
    images = rng.normal(size=(100, 8, 8)) + y[:, None, None]
    copies = images.copy(), y.copy()
    network = NeuralImageClassifier(SmallCNN(4, depth=1), max_epochs=3, random_state=0)
    before = str(network.get_params())
    models = [LastLayerRetraining(network, weighting=weighting).fit(images, y) for _ in range(2)]
    np.testing.assert_array_equal(*[model.predict_proba(images) for model in models])
    fitted = models[0].estimator_
    assert str(fitted.get_params()) == before == str(network.get_params())
    assert not hasattr(network, "net_")
    fitted.save(tmp_path / "model.zip")
    loaded = NeuralImageClassifier.load(tmp_path / "model.zip")
    np.testing.assert_array_equal(loaded.predict_proba(images), fitted.predict_proba(images))
    assert np.isfinite(grad_cam(fitted, images[:4])).all()
    again = pickle.loads(pickle.dumps(models[0]))
    np.testing.assert_array_equal(again.predict(images), fitted.predict(images))
    old = models[0].stage_one_.predict_proba(images)
    fitted.set_params(warm_start=True).fit(images, y)
    np.testing.assert_array_equal(models[0].stage_one_.predict_proba(images), old)
    np.testing.assert_array_equal(images, copies[0])
    np.testing.assert_array_equal(y, copies[1])


def test_fitted_estimator_keeps_its_features():
    X, y, _ = draw(1000, 0.95, 0)
    other = draw(400, 0.8, 20)
    fitted = small_network(max_epochs=12).fit(X, y)
    old = fitted.predict_proba(X)
    for template in (fitted, make_pipeline(FunctionTransformer(), clone(fitted)).fit(X, y)):
        model = LastLayerRetraining(FrozenEstimator(template)).fit(other[0], other[1], subgroups=other[2])
        np.testing.assert_allclose(model.embed(X), fitted.embed(X), rtol=1e-5, atol=1e-6)
        assert model.held_out_mask_.all()
        test = draw(2000, 0.5, 10)
        assert worst_group(model, *test) > worst_group(fitted, *test) + 0.3
    np.testing.assert_array_equal(fitted.predict_proba(X), old)
    one_class = other[1] == 0
    with pytest.raises(ValueError, match="needs rows of all 2 classes, but those to train it on have only 1"):
        LastLayerRetraining(FrozenEstimator(fitted)).fit(other[0][one_class], other[1][one_class])
    with pytest.raises(ValueError, match="which a fitted estimator does not have"):
        LastLayerRetraining(FrozenEstimator(fitted), weighting="self").fit(*other[:2])


@pytest.mark.parametrize("weighting", ["group_balanced", "afr", "self"])
@pytest.mark.parametrize("target", ["text", "classes", "one logit", "labels"])
def test_kinds_of_target(target, weighting):
    rng = np.random.default_rng(0)
    X, y, against = draw(240, 0.6, 0)
    n_outputs = {"classes": 3, "one logit": 1, "labels": 3}.get(target, 2)
    if target == "classes":
        y = np.arange(240) % 3
        X[:, :3] += 3 * np.eye(3)[y]
    if target == "labels":
        y = pd.DataFrame(rng.integers(0, 2, (240, 3)), columns=["a", "b", "c"])
        X[:, :3] += 3 * y.to_numpy()
    y = np.array(["no", "yes"])[y] if target == "text" else y
    network = small_network(n_outputs, max_epochs=8, lr=0.03)
    model = LastLayerRetraining(network, weighting=weighting, C=0.5, n_draws=3).fit(X, y, subgroups=against)
    right = np.asarray(model.predict(X)) == np.asarray(y)
    assert right.mean() > 0.7
    assert np.shape(model.predict_proba(X)) == (240, max(2, n_outputs))
    if weighting == "group_balanced":
        assert np.shape(model.C_) == ((3,) if target == "labels" else ())


def test_layers_without_bias_keep_none():
    X, y, against = draw(200, 0.8, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2, bias=False))
    for weighting in ("group_balanced", "afr", "self"):
        network = NeuralImageClassifier(module, max_epochs=8, lr=0.01, random_state=0)
        model = LastLayerRetraining(network, weighting=weighting, C=0.5).fit(X, y, subgroups=against)
        head = model.estimator_.module_[-1]
        assert head.bias is None
        logits = model.embed(X) @ head.weight.detach().numpy().T
        np.testing.assert_allclose(np.diff(logits)[:, 0], model.decision_function(X), atol=1e-5)


def test_fields_of_the_rows():
    X, y, against = draw(200, 0.7, 0)
    weight = np.where(np.arange(200) < 20, 0.0, 1.0)
    bunch = ImageBunch(X[:, None, None], target=y, artifact=against, groups=np.arange(200) // 4, sample_weight=weight)
    model = LastLayerRetraining(small_network(max_epochs=2), attribute="artifact", C=0.3).fit(bunch)
    options = {"subgroups": against, "groups": np.arange(200) // 4, "sample_weight": weight}
    given = clone(model).set_params(attribute=None).fit(X, y, **options)
    np.testing.assert_array_equal(given.predict_proba(X), model.predict_proba(X[:, None, None]))
    assert not model.held_out_mask_[:20].any()
    assert not model.sample_weight_[:20].any()


def test_interrupted_training_leaves_the_layer(monkeypatch):
    X, y, _ = draw(200, 0.8, 0)
    plain_step, steps = ClassifierNet.train_step_single, []

    def press(self, batch, **kwargs):
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return plain_step(self, batch, **kwargs)

    monkeypatch.setattr(ClassifierNet, "train_step_single", press)
    with pytest.warns(UserWarning, match="training was interrupted in epoch 2"):
        model = LastLayerRetraining(small_network(max_epochs=4)).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), model.stage_one_.predict_proba(X))
    assert not model.sample_weight_.any()


def test_labels_of_a_fitted_estimator():
    X, y, _ = draw(200, 0.8, 0)
    labels = pd.DataFrame({"a": y, "b": X[:, 0] > 0}).astype(int)
    fitted = small_network(max_epochs=2).fit(X, labels)
    model = LastLayerRetraining(FrozenEstimator(fitted), C=0.5)
    assert model.fit(X, labels).label_names_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match=r"y has the labels \['b', 'a'\], but the classifier knows \['a', 'b'\]"):
        model.fit(X, labels[["b", "a"]])
    with pytest.raises(ValueError, match="have only 1 of label 'b'"):
        model.fit(X, labels.assign(b=1))


def test_another_weighting_leaves_nothing_of_the_last():
    X, y, _ = draw(100, 0.8, 0)
    model = LastLayerRetraining(small_network(max_epochs=1)).fit(X, y)
    assert hasattr(model, "C_")
    assert not hasattr(model.set_params(weighting="afr").fit(X, y), "C_")


# -- what may go wrong -------------------------------------------------------------------------------------------------
def test_too_few_held_out_rows():
    X, y, against = draw(200, 0.97, 0)
    assert 2 < against.sum() < 10
    model = LastLayerRetraining(small_network(max_epochs=1))
    with pytest.warns(UserWarning, match="C: too few rows"), pytest.raises(ValueError, match="to choose C by one half"):
        model.fit(X, y, subgroups=against)
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Conv2d(1, 2, (1, 32)), nn.Flatten()), "is a convolution"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(32, 2), nn.Tanh()), "but it changes them"),
    ],
)
def test_networks_that_do_not_end_in_a_linear_layer(make, message):
    X, y, _ = draw(100, 0.7, 0)
    with torch.random.fork_rng(devices=[]):
        network = NeuralImageClassifier(make(), max_epochs=1, random_state=0)
    with pytest.raises(ValueError, match=message):
        LastLayerRetraining(network, weighting="afr").fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weighting": "dfr"}, "'weighting' parameter"),
        ({"pull": 0}, "'pull' parameter"),
        ({"weighting": "self", "early_epoch": 9}, "early_epoch=9 must be smaller than max_epochs=2"),
        ({"attribute": "tube"}, "attribute='tube' is neither a field of the rows nor"),
        ({"estimator": small_network(criterion=CrossEntropy())}, "has a criterion of its own"),
    ],
)
def test_bad_parameters(options, message):
    X, y, _ = draw(60, 0.7, 0)
    estimator = options.pop("estimator", small_network(max_epochs=2))
    with pytest.raises(ValueError, match=message):
        LastLayerRetraining(estimator, **options).fit(X, y)


def test_bad_groups():
    X, y, _ = draw(60, 0.7, 0)
    model = LastLayerRetraining(small_network(max_epochs=1))
    with pytest.raises(ValueError, match="groups has 59 rows, but X has 60"):
        model.fit(X, y, groups=np.arange(59))
    with pytest.warns(UserWarning, match="only one group"), pytest.raises(ValueError, match="has no held-out row"):
        model.fit(X, y, groups=np.zeros(60))
