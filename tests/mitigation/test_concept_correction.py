"""Training on with a penalty along a concept, or with the concept in all rows."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts.latent import ConceptVector
from sklearn_shortcuts.mitigation import AClArCClassifier, RRClArCClassifier
from sklearn_shortcuts.mitigation._augmentive_correction import ConceptInAllRows
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

SMALL = {"max_epochs": 2, "lr": 0.01, "batch_size": 16, "random_state": 0}


def rows_with_mark(n=48, seed=0, agreement=0.9):
    """Squares that tell the class, and a mark in the corner that goes with it in most rows."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    artifact = np.where(rng.random(n) < agreement, y, 1 - y)
    X = rng.normal(size=(n, 12, 12)).astype(np.float32)
    X[:, 6:, 6:] += y[:, None, None]
    clean = X.copy()
    X[:, :4, :4] += 3 * artifact[:, None, None]
    attacked = clean.copy()
    attacked[:, :4, :4] += 3
    return ImageBunch(X, artifact=artifact, target=y), clean, attacked


def trained(**options):
    bunch, _, _ = rows_with_mark()
    return NeuralImageClassifier(SmallCNN(4, depth=2), **{**SMALL, **options}).fit(bunch), bunch


@pytest.mark.parametrize("method", [RRClArCClassifier, AClArCClassifier])
@pytest.mark.parametrize("layer", ["last", "features.0"])
def test_what_is_left_alone(method, layer):
    network, bunch = trained()
    before = copy.deepcopy(network.module_.state_dict())
    model = method(FrozenEstimator(network), layer, refine_epochs=2).fit(bunch)
    for name, value in network.module_.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    refined = model.estimator_.module_
    for module in (network.module_, refined):
        assert all(weight.requires_grad for weight in module.parameters())
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    changed = {name for name, value in refined.state_dict().items() if not torch.equal(value, before[name])}
    behind = {name for name in before if name.startswith(("head", "features.1")[: 1 + (layer != "last")])}
    assert changed == behind
    assert model.estimator_.get_params()["freeze"] is None
    assert model.history_["phase"].tolist() == ["unrefined"] * 2 + ["refined"] * 2


def test_without_penalty_it_is_training_on():
    network, bunch = trained()
    model = RRClArCClassifier(FrozenEstimator(network), lambda_=0, refine_epochs=3, gradient_clip=None).fit(bunch)
    again = copy.deepcopy(network).set_params(warm_start=True, freeze="flatten", max_epochs=3).fit(bunch)
    # The optimizer of the one is new and that of the other is not, so that only the sizes can agree.
    assert model.strength_ == 0
    assert (model.history_["train_penalty"] == 0).all()
    torch.testing.assert_close(
        model.estimator_.module_.features.state_dict(), again.module_.features.state_dict(), rtol=0, atol=0
    )


def test_the_penalty_counts_in_units_of_its_first_value():
    network, bunch = trained()
    model = RRClArCClassifier(FrozenEstimator(network), "last", lambda_=2.0, refine_epochs=1).fit(bunch)
    v = model.concept_.coef_[0]
    weight = network.module_.head.weight.detach().double().numpy()
    assert model.strength_ == pytest.approx(2.0 / np.square(weight @ v).sum(), rel=1e-5)


def test_unknown_labels_and_the_first_row():
    network, bunch = trained()
    artifact = np.asarray(bunch.get("artifact")).copy()
    known = np.arange(len(artifact)) % 3 != 1
    partly = np.where(known, artifact, -1)
    model = RRClArCClassifier(FrozenEstimator(network), refine_epochs=1).fit(bunch, artifact=partly)
    features = network.embed(bunch).astype(np.float64)
    wanted = features[known & (artifact == 1)].mean(0) - features[known & (artifact == 0)].mean(0)
    np.testing.assert_allclose(model.concept_.coef_[0], wanted / np.linalg.norm(wanted), rtol=1e-5, atol=1e-7)
    only_first = (np.arange(len(artifact)) == 0).astype(int)
    model.fit(bunch, artifact=only_first)
    wanted = features[0] - features[1:].mean(0)
    np.testing.assert_allclose(model.concept_.coef_[0], wanted / np.linalg.norm(wanted), rtol=1e-5, atol=1e-7)


def test_concepts_that_are_given():
    network, bunch = trained()
    concept = ConceptVector("svm").fit(network.embed(bunch), bunch.get("artifact"))
    model = RRClArCClassifier(FrozenEstimator(network), concept=concept, refine_epochs=1)
    assert clone(model).fit(bunch).concept_ is concept
    scoped = RRClArCClassifier(FrozenEstimator(network), concept=ConceptVector(scope=1), refine_epochs=1).fit(bunch)
    features, y, artifact = network.embed(bunch).astype(float), bunch.get("target"), bunch.get("artifact")
    wanted = features[(y == 1) & (artifact == 1)].mean(0) - features[(y == 1) & (artifact == 0)].mean(0)
    np.testing.assert_allclose(scoped.concept_.coef_[0], wanted / np.linalg.norm(wanted), rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="was fitted on layer"):
        RRClArCClassifier(network, "features.0", concept=ConceptVector(layer="last").fit(features, artifact)).fit(bunch)


@pytest.mark.parametrize(
    ("artifact", "message"),
    [(None, "artifact: ConceptVector needs"), ([2] * 48, "row 0 has 2"), ([1] * 3, "one label")],
)
def test_wrong_labels(artifact, message):
    network, bunch = trained()
    with pytest.raises(ValueError, match=message):
        RRClArCClassifier(FrozenEstimator(network)).fit(bunch.images, bunch.get("target"), artifact=artifact)


def test_search_over_strengths():
    bunch, _, _ = rows_with_mark()
    model = RRClArCClassifier(NeuralImageClassifier(SmallCNN(4, depth=1), **SMALL), refine_epochs=1)
    search = GridSearchCV(model, {"lambda_": [0.0, 1.0]}, cv=2).fit(bunch, bunch.get("target"))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("method", [RRClArCClassifier, AClArCClassifier])
def test_several_labels_and_signals(method):
    bunch, _, _ = rows_with_mark()
    y = np.column_stack([bunch.get("target"), np.arange(48) % 3 == 0]).astype(int)
    network = NeuralImageClassifier(SmallCNN(4, depth=1), **SMALL)
    model = method(network, "features.0", refine_epochs=1).fit(bunch.images, y, artifact=bunch.get("artifact"))
    assert model.predict_proba(bunch.images).shape == (48, 2)
    signals = ImageBunch(np.asarray(bunch.images).reshape(48, 2, 72), artifact=bunch.get("artifact"), signal=True)
    model = method(network, "features.0", refine_epochs=1).fit(signals, bunch.get("target"))
    assert model.predict(signals).shape == (48,)


def test_activations_are_moved_to_the_level():
    basis = np.eye(3)[:2]
    built = ConceptInAllRows("0", 4, directions=basis, levels=np.array([[5.0, -1.0]]), pool="max").build(4, 2, "binary")
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 3, 6)))
    moved = built._moved(values)
    np.testing.assert_allclose(moved.amax(2)[:, :2], np.tile([5.0, -1.0], (4, 1)), rtol=1e-12)
    torch.testing.assert_close(moved[:, 2], values[:, 2])
    shift = moved - values
    torch.testing.assert_close(shift, shift[:, :, :1].expand_as(shift))


def test_it_works_on_a_planted_mark():
    closed = []
    for seed in range(3):
        bunch, _, _ = rows_with_mark(300, seed, 0.95)
        _, clean, attacked = rows_with_mark(200, 1000 + seed)
        y = np.arange(200) % 2
        network = NeuralImageClassifier(
            SmallCNN(8, depth=2), lr=0.005, batch_size=32, max_epochs=6, random_state=seed
        ).fit(bunch)
        models = {"before": network}
        for lambda_ in (0.0, 1.0):
            models[lambda_] = RRClArCClassifier(FrozenEstimator(network), lambda_=lambda_, refine_epochs=6).fit(bunch)
        scores = {}
        for name, model in models.items():
            with_mark, without = model.predict(attacked), model.predict(clean)
            scores[name] = np.mean(without == y), np.mean(with_mark == y), np.mean(with_mark != without)
        closed.append(scores)
    for scores in closed:
        assert scores[1.0][2] < min(scores["before"][2], scores[0.0][2])
        assert scores[1.0][1] > scores[0.0][1]
        assert scores[1.0][0] >= scores["before"][0] - 0.02
