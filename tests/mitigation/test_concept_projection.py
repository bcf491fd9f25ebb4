"""Edited activations stand at the level of clean rows, and rows that are not edited keep every bit."""

import copy
import pickle
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.explain import grad_cam
from sklearn_shortcuts.latent import ConceptVector, LayerFeatures
from sklearn_shortcuts.mitigation import PClArC
from sklearn_shortcuts.neural import CrossEntropy, NeuralImageClassifier, SmallCNN

LAYERS = ["features.0", "features.1", "last"]


def draw(n, seed, agreement=0.8, size=10):
    """Images with a bright corner that goes with the class in most rows, and another sign that always does."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    corner = np.where(rng.random(n) < agreement, y, 1 - y)
    X = rng.normal(size=(n, size, size))
    X[:, :3, :3] += 4 * corner[:, None, None]
    X[:, 5:, 5:] += 0.7 * y[:, None, None]
    return X, y, corner


def fitted(precision="float64", module=None, n=160):
    X, y, _ = draw(n, 0)
    module = SmallCNN(4, depth=2) if module is None else module
    model = NeuralImageClassifier(module, lr=0.02, max_epochs=4, precision=precision, random_state=0)
    return model.fit(X, y)


@pytest.fixture(scope="module")
def network():
    return fitted()


class Subspace(BaseEstimator):
    """Concept of two directions that are neither of length 1 nor at right angles."""

    def fit(self, X, y):
        self.components_ = np.stack([X[y == 1].mean(0) - X[y == 0].mean(0), X[1] - X[0]])
        self.clean_levels_ = self.components_ @ X[y == 0].mean(0)
        return self


class Tokens(nn.Module):
    """Tokens of image rows, with channels on the last axis."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(10, 6)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 2)

    def forward(self, X):
        return self.head(torch.relu(self.norm(self.embed(X[:, 0]))).mean(1))


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


# -- the level ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pool", ["max", "mean"])
@pytest.mark.parametrize("layer", LAYERS)
def test_pooled_projections_of_all_rows_are_the_clean_level(network, layer, pool):
    X, y, corner = draw(160, 0)
    model = PClArC(FrozenEstimator(network), layer, pool=pool).fit(X, y, artifact=corner)
    fresh = 3 * draw(40, 1)[0]
    before, after = (
        LayerFeatures(subject, layer, pool=pool).fit(fresh).transform(fresh) for subject in (model.unedited_, model)
    )
    clean = LayerFeatures(network, layer, pool=pool).fit(X).transform(X)[corner == 0]
    level = (clean @ model.concept_.coef_[0]).mean()
    np.testing.assert_allclose(after @ model.concept_.coef_[0], level, rtol=1e-12)
    assert np.ptp(before @ model.concept_.coef_[0]) > 0.1
    # What is orthogonal to the direction stays.
    away = np.eye(len(model.directions_.T)) - model.directions_.T @ model.directions_
    np.testing.assert_allclose(after @ away, before @ away, atol=1e-12)
    assert model.layer_ == layer
    assert model.concept_.layer_ == layer
    assert model.edited_share_ == 1
    assert model.flagged(fresh).all()


def test_the_other_pooling_may_still_tell(network):
    X, y, corner = draw(160, 0)
    model = PClArC(FrozenEstimator(network), "features.1", pool="max").fit(X, y, artifact=corner)
    means = LayerFeatures(model, "features.1", pool="mean").fit(X).transform(X) @ model.directions_[0]
    assert np.ptp(means) > 0.1


def test_several_directions_at_once(network):
    X, y, corner = draw(160, 0)
    model = PClArC(FrozenEstimator(network), "features.1", concept=Subspace()).fit(X, y, artifact=corner)
    features = LayerFeatures(model, "features.1", pool="max").fit(X).transform(X)
    np.testing.assert_allclose(features @ model.concept_.components_.T - model.concept_.clean_levels_, 0, atol=1e-11)
    np.testing.assert_allclose(model.directions_ @ model.directions_.T, np.eye(2), atol=1e-12)


@pytest.mark.parametrize("pool", ["max", "mean", "token"])
def test_tokens(pool):
    X, y, corner = draw(80, 0)
    tokens = fitted(module=seeded(Tokens), n=80)
    model = PClArC(FrozenEstimator(tokens), "norm", pool=pool).fit(X, y, artifact=corner)
    after = LayerFeatures(model, "norm", pool=pool).fit(X).transform(X)
    np.testing.assert_allclose(after @ model.directions_[0], model.levels_[0], atol=1e-12)


def test_signals():
    X, y, corner = draw(80, 0)
    bunch = ImageBunch(X, signal=True, target=y, artifact=corner)
    network = NeuralImageClassifier(SmallCNN(4, depth=1), precision="float64", max_epochs=1, random_state=0)
    model = PClArC(network, "features.0").fit(bunch)
    after = LayerFeatures(model, "features.0", pool="max").fit(bunch).transform(bunch)
    np.testing.assert_allclose(after @ model.directions_[0], model.levels_[0], atol=1e-12)


@pytest.mark.parametrize("layer", ["flatten", "last"])
def test_vector_layers_equal_a_changed_head(network, layer):
    X, y, corner = draw(160, 0)
    model = PClArC(FrozenEstimator(network), layer).fit(X, y, artifact=corner)
    weight, bias = (part.detach().numpy() for part in (network.module_.head.weight, network.module_.head.bias))
    v = model.directions_[0]
    fresh = draw(30, 1)[0]
    features = LayerFeatures(network).fit(fresh).transform(fresh)
    logits = features @ (weight @ (np.eye(len(v)) - np.outer(v, v))).T + bias + model.levels_[0] * weight @ v
    np.testing.assert_allclose(model.decision_function(fresh), logits[:, 1] - logits[:, 0], atol=1e-12)


def test_the_correction_helps_where_the_shortcut_misleads(network):
    X, y, corner = draw(160, 0)
    X_attack, y_attack, _ = draw(300, 1, agreement=0.0)
    model = PClArC(FrozenEstimator(network), concept=ConceptVector(scope=0)).fit(X, y, artifact=corner)
    assert model.score(X_attack, y_attack) > network.score(X_attack, y_attack) + 0.05


# -- what is given -----------------------------------------------------------------------------------------------------
def test_rows_of_unknown_artifact_and_of_weight_0_are_left_out(network):
    X, y, corner = draw(160, 0)
    unknown, weight = corner.copy(), np.ones(160)
    unknown[100:] = -1
    weight[100:] = 0
    missing = np.where(unknown == -1, np.nan, unknown)
    models = [
        PClArC(FrozenEstimator(network), "features.1").fit(X[:100], artifact=corner[:100]),
        PClArC(FrozenEstimator(network), "features.1").fit(X, artifact=unknown),
        PClArC(FrozenEstimator(network), "features.1").fit(X, artifact=missing),
        PClArC(FrozenEstimator(network), "features.1").fit(X, artifact=corner, sample_weight=weight),
        PClArC(FrozenEstimator(network), "features.1").fit(
            ImageBunch(X, metadata=pd.DataFrame({"artifact": unknown}), target=y)
        ),
        PClArC(FrozenEstimator(network), "features.1", artifact="tube").fit(ImageBunch(X, tube=unknown)),
    ]
    for model in models[1:]:
        np.testing.assert_allclose(model.directions_, models[0].directions_, atol=1e-12)
        np.testing.assert_allclose(model.levels_, models[0].levels_, atol=1e-12)


def test_the_artifact_may_be_in_row_0_alone(network):
    X, _, _ = draw(40, 0)
    features = LayerFeatures(network, pool="max").fit(X).transform(X)
    model = PClArC(FrozenEstimator(network)).fit(X, artifact=np.arange(40) == 0)
    expected = features[0] - features[1:].mean(0)
    np.testing.assert_allclose(model.directions_[0], expected / np.linalg.norm(expected), atol=1e-12)


def test_a_scope_needs_the_classes(network):
    X, y, corner = draw(160, 0)
    features = LayerFeatures(network, pool="max").fit(X).transform(X)
    model = PClArC(FrozenEstimator(network), concept=ConceptVector(scope=1)).fit(X, y, artifact=corner)
    expected = ConceptVector().fit(features[y == 1], corner[y == 1])
    np.testing.assert_allclose(model.directions_, expected.coef_, atol=1e-12)
    np.testing.assert_allclose(model.levels_, expected.mean_clean_, atol=1e-12)
    with pytest.raises(ValueError, match="scope=1 needs the classes of the diagnosis"):
        PClArC(FrozenEstimator(network), concept=ConceptVector(scope=1)).fit(X, artifact=corner)


@pytest.mark.parametrize("wrap", [FrozenEstimator, lambda concept: concept])
def test_a_fitted_concept_needs_no_labels(network, wrap):
    X, _, corner = draw(160, 0)
    first = PClArC(FrozenEstimator(network)).fit(X, artifact=corner)
    again = PClArC(FrozenEstimator(network), concept=wrap(first.concept_)).fit(X)
    assert again.concept_ is first.concept_
    np.testing.assert_array_equal(again.predict_proba(X), first.predict_proba(X))


def test_an_estimator_that_is_not_fitted_is_trained(network):
    X, y, corner = draw(160, 0)
    own = NeuralImageClassifier(
        SmallCNN(4, depth=2), criterion=CrossEntropy(), lr=0.02, max_epochs=4, precision="float64", random_state=0
    )
    trained = PClArC(own).fit(X, y, artifact=corner)
    frozen = PClArC(FrozenEstimator(network)).fit(X, y, artifact=corner)
    np.testing.assert_allclose(trained.predict_proba(X), frozen.predict_proba(X), atol=1e-10)
    np.testing.assert_allclose(trained.unedited_.predict_proba(X), network.predict_proba(X), atol=1e-10)
    assert not hasattr(own, "net_")


def test_in_pipelines_and_searches():
    X, y, corner = draw(80, 0)
    own = make_pipeline(FunctionTransformer(np.abs), NeuralImageClassifier(SmallCNN(4, depth=1), max_epochs=1))
    model = PClArC(own, random_state=0).fit(X, y, artifact=corner)
    assert model.estimator_.steps[-1][0] == "neuralimageclassifier"
    assert model.predict(X).shape == (80,)
    assert model.flagged(X).shape == (80,)
    bunch = ImageBunch(X, artifact=corner)
    assert cross_val_score(clone(model), bunch, y, cv=2).shape == (2,)


def test_a_table_leaves_the_fitted_classifier_as_it_is():
    X, y, corner = draw(80, 0, size=4)
    table = pd.DataFrame(X.reshape(80, -1)).add_prefix("pixel")
    network = NeuralImageClassifier(SmallCNN(4, depth=1), max_epochs=1, random_state=0)
    on_arrays, on_tables = clone(network).fit(table.to_numpy(), y), clone(network).fit(table, y)
    for given in (on_arrays, on_tables):
        before = sorted(vars(given))
        model = PClArC(FrozenEstimator(given)).fit(table, y, artifact=corner)
        assert sorted(vars(given)) == before
        np.testing.assert_array_equal(model.feature_names_in_, table.columns)
        model.predict(table)
        model.unedited_.predict(table)


# -- the condition -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("layer", LAYERS)
def test_rows_that_are_not_flagged_keep_every_bit(layer, precision):
    X, y, corner = draw(160, 0)
    subject = fitted(precision)
    model = PClArC(FrozenEstimator(subject), layer, condition="concept", random_state=0)
    model.fit(X, y, artifact=corner)
    fresh, _, tube = draw(200, 1, agreement=0.5)
    flagged = model.flagged(fresh)
    plain, edited = subject.decision_function(fresh), model.decision_function(fresh)
    np.testing.assert_array_equal(edited[~flagged], plain[~flagged])
    assert (edited[flagged] != plain[flagged]).mean() > 0.5
    assert flagged[tube == 1].mean() > 0.9
    assert flagged[tube == 0].mean() < 0.2
    # Neither the other rows of a batch nor its size decide whether a row is edited.
    parts = np.concatenate([model.flagged(fresh[rows]) for rows in np.array_split(np.arange(200), [7, 8, 120])])
    np.testing.assert_array_equal(parts, flagged)
    assert model.edited_share_ == pytest.approx(model.flagged(X).mean())
    score = model.detector_.decision_function(LayerFeatures(subject, layer, pool="max").fit(fresh).transform(fresh))
    np.testing.assert_array_equal(flagged, score > model.threshold_)


@pytest.mark.parametrize("calibration", [5, 0.5])
def test_fresh_rows_without_the_artifact_are_spared(network, calibration):
    n_flagged = n_rows = 0
    fresh, _, tube = draw(1200, 99)
    fresh = fresh[tube == 0]
    for seed in range(5):
        X, y, corner = draw(240, seed + 1)
        model = PClArC(
            FrozenEstimator(network), "features.1", condition="concept", calibration=calibration, random_state=seed
        ).fit(X, y, artifact=corner)
        flagged = model.flagged(fresh)
        same = model.decision_function(fresh) == network.decision_function(fresh)
        assert (same >= ~flagged).all()
        n_flagged += (~same).sum()
        n_rows += len(fresh)
    # The draws of the calibrating rows add to the spread: with 60 of them, the rate itself varies by 0.03.
    assert n_flagged / n_rows < 0.05 + 3 * (0.03 / np.sqrt(5) + np.sqrt(0.05 * 0.95 / n_rows))
    assert binom.cdf(n_flagged, n_rows, 0.001) > 0.99  # and some are flagged, or the detector would find nothing


def test_patients_stay_together_in_the_calibration(network):
    X, y, corner = draw(160, 0)
    groups = np.arange(160) // 4
    options = {"condition": "concept", "false_positive_rate": 0.1, "random_state": 0}
    with_groups = PClArC(FrozenEstimator(network), **options).fit(X, y, artifact=corner, groups=groups)
    bunch = ImageBunch(X, artifact=corner, groups=groups)
    from_bunch = PClArC(FrozenEstimator(network), **options).fit(bunch)
    assert with_groups.threshold_ == from_bunch.threshold_
    with pytest.raises(ValueError, match=r"at least 19 patients without the artifact .* but there are 8"):
        PClArC(FrozenEstimator(network), condition="concept").fit(X, artifact=corner, groups=np.arange(160) // 20)


def test_a_detector_that_is_not_linear(network):
    X, _, corner = draw(160, 0)
    detector = make_pipeline(StandardScaler(), LogisticRegression())
    model = PClArC(FrozenEstimator(network), condition="concept", detector=detector, random_state=0)
    model.fit(X, artifact=corner)
    features = LayerFeatures(network, pool="max").fit(X).transform(X)
    expected = model.detector_.decision_function(features) > model.threshold_
    np.testing.assert_array_equal(model.flagged(X), expected)
    with pytest.raises(ValueError, match="linear detector"):
        model.export()


def test_a_fitted_detector_only_gets_a_threshold(network):
    X, _, corner = draw(160, 0)
    features = LayerFeatures(network, pool="max").fit(X).transform(X)
    detector = ConceptVector("logistic").fit(features[:80], corner[:80])
    concept = ConceptVector().fit(features, corner)
    model = PClArC(
        FrozenEstimator(network), concept=concept, condition="concept", detector=FrozenEstimator(detector)
    ).fit(X[80:], artifact=np.where(corner[80:] == 1, -1, 0))
    assert model.detector_ is detector
    clean = np.sort(detector.decision_function(features[80:][corner[80:] == 0]))
    assert model.threshold_ == clean[int(np.ceil((len(clean) + 1) * 0.95)) - 1]


@pytest.mark.parametrize("one_logit", [False, True])
def test_rows_of_a_predicted_class(one_logit):
    X, y, corner = draw(120, 0)
    y = np.array(["healthy", "ill"])[y]
    module = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(100, 8), nn.ReLU(), nn.Linear(8, 1)))
    subject = NeuralImageClassifier(module if one_logit else SmallCNN(4), max_epochs=2, random_state=0).fit(X, y)
    model = PClArC(FrozenEstimator(subject), condition="class", classes=["ill"]).fit(X, y, artifact=corner)
    predicted = subject.predict(X) == "ill"
    assert 0 < predicted.sum() < 120
    np.testing.assert_array_equal(model.flagged(X), predicted)
    plain, edited = subject.decision_function(X), model.decision_function(X)
    np.testing.assert_array_equal(edited[~predicted], plain[~predicted])
    assert (edited[predicted] != plain[predicted]).all()
    assert model.edited_share_ == predicted.mean()
    head = model.estimator_.module_[-1] if one_logit else model.estimator_.module_.head
    with pytest.raises(RuntimeError, match="needs the whole network to run"):
        head(torch.zeros(3, head.in_features))
    with pytest.raises(ValueError, match="only the conditions"):
        model.export()


def test_rows_of_a_predicted_label():
    X, y, corner = draw(120, 0)
    labels = pd.DataFrame({"effusion": y, "tube": corner})
    subject = NeuralImageClassifier(SmallCNN(4), lr=0.02, max_epochs=3, random_state=0).fit(X, labels)
    model = PClArC(FrozenEstimator(subject), condition="class", classes=["tube"]).fit(X, artifact=corner)
    np.testing.assert_array_equal(model.flagged(X), subject.predict(X)[:, 1] == 1)


def test_rows_that_a_function_chooses(network):
    X, _, corner = draw(120, 0)
    features = LayerFeatures(network, "features.1", pool="max").fit(X).transform(X)
    channel = np.argmax(features.std(0))
    limit = np.median(features[:, channel])
    model = PClArC(FrozenEstimator(network), "features.1", condition=lambda pooled: pooled[:, channel] > limit)
    model.fit(X, artifact=corner)
    np.testing.assert_array_equal(model.flagged(X), features[:, channel] > limit)
    assert model.edited_share_ == (features[:, channel] > limit).mean()
    model.set_params(condition=lambda pooled: pooled[:, channel])
    with pytest.raises(ValueError, match="one truth value per row"):
        model.fit(X, artifact=corner)


# -- copies and traces -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("condition", ["always", "concept", "class"])
def test_copies_are_edited_too(network, condition):
    X, y, corner = draw(120, 0)
    model = PClArC(FrozenEstimator(network), condition=condition, classes=[1], random_state=0)
    model.fit(X, y, artifact=corner)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(again.flagged(X), model.flagged(X))
    assert not hasattr(clone(model), "estimator_")
    results = []
    threads = [threading.Thread(target=lambda: results.append(model.predict_proba(X))) for _ in range(3)]
    [thread.start() for thread in threads]
    model.flagged(X)
    [thread.join() for thread in threads]
    for result in results:
        np.testing.assert_array_equal(result, model.predict_proba(X))


def test_a_file_of_weights_is_refused(network, tmp_path):
    X, _, corner = draw(120, 0)
    model = PClArC(FrozenEstimator(network)).fit(X, artifact=corner)
    with pytest.raises(ValueError, match=r"edited by a hook.*export"):
        model.estimator_.save(tmp_path / "model.zip")
    assert not list(tmp_path.iterdir())
    model.unedited_.save(tmp_path / "model.zip")


def test_edits_of_several_artifacts_add_up(network):
    X, _, corner = draw(160, 0)
    other = np.arange(160) // 2 % 2
    first = PClArC(FrozenEstimator(network), "features.1").fit(X, artifact=corner)
    second = PClArC(FrozenEstimator(first), "last", condition=lambda pooled: pooled[:, 0] > 0).fit(X, artifact=other)
    after = LayerFeatures(second, "features.1", pool="max").fit(X).transform(X)
    np.testing.assert_allclose(after @ first.directions_[0], first.levels_[0], atol=1e-12)
    np.testing.assert_array_equal(second.flagged(X), LayerFeatures(first).fit(X).transform(X)[:, 0] > 0)
    with pytest.raises(ValueError, match="has 2 edits"):
        PClArC(FrozenEstimator(first)).fit(X, artifact=other).export()


def test_explanations_see_the_edit(network):
    X, _, corner = draw(60, 0)
    model = PClArC(FrozenEstimator(network), "features.1", pool="mean").fit(X, artifact=corner)
    assert not np.allclose(grad_cam(model, X[:4]), grad_cam(network, X[:4]))


@pytest.mark.parametrize("condition", ["always", "concept", "class"])
def test_the_given_network_stays_as_it_is(network, condition):
    X, y, corner = draw(120, 0)
    subject = copy.deepcopy(network)
    subject.module_.features[0].requires_grad_(False)
    subject.module_.head.register_forward_hook(keep_output)
    before, attributes = state(subject.module_), sorted(vars(subject))
    model = PClArC(FrozenEstimator(subject), "features.0", condition=condition, classes=[1], random_state=0)
    model.fit(X, y, artifact=corner)
    model.predict(X)
    model.flagged(X)
    if condition != "class":
        model.export()
    with pytest.raises(ValueError, match="is no layer"):
        clone(model).set_params(layer="features.7").fit(X, y, artifact=corner)
    with pytest.raises(ValueError, match=r"has 4 features, but layer 'features.0' has 5 channels"):
        clone(model).set_params(channel_axis=-1, concept=model.concept_).fit(X, y, artifact=corner)
    assert state(subject.module_) == before
    assert sorted(vars(subject)) == attributes
    edited = state(model.estimator_.module_)
    model.predict(X)
    model.flagged(X)
    assert state(model.estimator_.module_) == edited


def keep_output(layer, inputs, output):
    """A user's own hook, which changes nothing."""


def state(module):
    """Everything that a call could have changed."""
    return {
        "weights": {name: value.tolist() for name, value in module.state_dict().items()},
        "trained": {name: value.requires_grad for name, value in module.named_parameters()},
        "gradients": {name: value.grad is None for name, value in module.named_parameters()},
        "hooks": {
            name: (list(part._forward_hooks), list(part._forward_pre_hooks), list(part._backward_hooks))
            for name, part in module.named_modules()
        },
        "training": {name: part.training for name, part in module.named_modules()},
    }


# -- export ------------------------------------------------------------------------------------------------------------
def check_export(model, X, folded):
    exported = model.export()
    assert all(not (part._forward_hooks or part._forward_pre_hooks) for part in exported.modules())
    names = {name for name, _ in model.unedited_.module_.named_modules()}
    assert ({name for name, _ in exported.named_modules()} == names) == folded
    (batch,) = model.estimator_.iter_batches(X, batch_size=len(X))
    with torch.no_grad():
        given, wanted = exported(batch["X"]), model.estimator_.module_(batch["X"])
    torch.testing.assert_close(given, wanted, rtol=1e-12, atol=1e-12)
    return exported


@pytest.mark.parametrize(
    ("layer", "pool", "folded"),
    [
        ("last", "max", True),
        ("drop", "max", True),
        ("pool", "max", True),
        ("relu", "mean", True),
        ("relu", "max", False),
        ("conv", "mean", False),  # a ReLU lies between
    ],
)
def test_export_folds_where_it_can(layer, pool, folded):
    X, _, corner = draw(80, 0)
    subject = fitted(module=seeded(Averages), n=80)
    model = PClArC(FrozenEstimator(subject), layer, pool=pool).fit(X, artifact=corner)
    exported = check_export(model, X, folded)
    if not folded:
        assert type(exported.get_submodule(layer).layer) is type(subject.module_.get_submodule(layer))


def test_export_of_the_reactive_form(network):
    X, _, corner = draw(120, 0)
    for layer in ("last", "features.1"):
        model = PClArC(FrozenEstimator(network), layer, condition="concept", random_state=0).fit(X, artifact=corner)
        check_export(model, X, folded=False)


def test_export_gives_a_head_without_bias_one():
    X, _, corner = draw(80, 0)
    module = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(100, 6), nn.ReLU(), nn.Linear(6, 2, bias=False)))
    model = PClArC(FrozenEstimator(fitted(module=module, n=80))).fit(X, artifact=corner)
    assert check_export(model, X, folded=True)[-1].bias is not None
    assert model.unedited_.module_[-1].bias is None


def test_export_in_float32_is_rounded_once():
    X, _, corner = draw(120, 0)
    model = PClArC(FrozenEstimator(fitted("float32"))).fit(X, artifact=corner)
    exported = model.export()
    assert {part.dtype for part in exported.parameters()} == {torch.float32}
    (batch,) = model.estimator_.iter_batches(X, batch_size=120)
    torch.testing.assert_close(exported(batch["X"]), model.estimator_.module_(batch["X"]), rtol=1e-4, atol=1e-4)


class Averages(nn.Module):
    """Maps, averaged, and a linear head."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 3)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, 2)

    def forward(self, X):
        return self.head(self.drop(self.pool(self.relu(self.conv(X))).flatten(1)))


class Skips(nn.Module):
    """The layer before the head is used a second time, past it."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(100, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, X):
        features = self.embed(X.flatten(1))
        return self.head(features) + features[:, :2]


class ReadsWeights(Skips):
    """The layer is not called, and cannot be replaced."""

    def forward(self, X):
        features = self.embed(X.flatten(1))
        return self.head(features) + self.embed.weight[:2, 0] * (type(self.embed) is nn.Linear)


def test_export_sees_what_else_a_layer_is_used_for():
    X, _, corner = draw(80, 0)
    model = PClArC(FrozenEstimator(fitted(module=seeded(Skips), n=80)), "embed").fit(X, artifact=corner)
    check_export(model, X, folded=False)
    model = PClArC(FrozenEstimator(fitted(module=seeded(ReadsWeights), n=80)), "embed", condition="concept")
    model.fit(X, artifact=corner)
    with pytest.raises(ValueError, match="cannot be replaced"):
        model.export()


# -- errors ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "artifact", "message"),
    [
        ({}, None, "needs to know which rows have the artifact"),
        ({}, np.ones(60), "no row is known to be without the artifact"),
        ({}, np.zeros(60), "no row is known to be with the artifact"),
        ({}, np.full(60, -1), "no row is known to be with the artifact"),
        ({}, np.arange(60), "row 2 has 2"),
        ({}, np.arange(59) % 2, "artifact has 59 values, but X has 60 rows"),
        ({}, ["tube", "none"] * 30, "but it is text"),
        ({"artifact": "tube"}, None, "artifact='tube' is neither a field"),
        ({"condition": "class"}, np.arange(60) % 2, "needs classes"),
        ({"condition": "class", "classes": [2]}, np.arange(60) % 2, "classes: 2 is none of"),
        ({"condition": "class", "classes": []}, np.arange(60) % 2, "name at least one"),
        ({"condition": "concept", "false_positive_rate": 0.01}, np.arange(60) % 2, "at least 99 rows.*there are 30"),
        ({"condition": "concept"}, np.arange(60) < 3, "calibration=5 needs as many rows.*3 with it"),
        ({"concept": StandardScaler()}, np.arange(60) % 2, "neither components_ nor coef_"),
        ({"concept": LogisticRegression()}, np.arange(60) % 2, "neither clean_levels_ nor mean_clean_"),
        ({"pool": "token", "layer": "features.0"}, np.arange(60) % 2, "gives no tokens"),
    ],
)
def test_what_does_not_fit_is_refused(network, options, artifact, message):
    X, y, _ = draw(60, 0)
    with pytest.raises(ValueError, match=message):
        PClArC(FrozenEstimator(network), **options).fit(X, y, artifact=artifact)
