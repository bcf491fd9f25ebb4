"""Heat maps and masks of concepts against planted artifacts and against the same maps made step by step."""

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from torch import nn

from sklearn_shortcuts import ImageBunch, NeuralImageClassifier, ROIMasker, make_chest_phantoms
from sklearn_shortcuts.datasets import make_ecg
from sklearn_shortcuts.latent import ConceptLocalizer, ConceptSubspace, ConceptVector, LayerFeatures
from sklearn_shortcuts.neural import SmallCNN
from tests.explain.networks import assert_same_state, state_of

METHODS = ("activation", "gradient", "lrp")
LAYERS = ["features.0", "features.1", "features.2"]
AREA = 0.0157  # of the artifact in the image: the overlap of a mask of the whole image


def phantoms(seed):
    shortcut = {"patch": {"scale": 1.5}}
    rates = {0: 0.1, 1: 0.9}
    X, y = make_chest_phantoms(
        260, size=32, shortcut=shortcut, prevalence=rates, twins=True, random_state=seed, return_X_y=True
    )
    return X, y, NeuralImageClassifier(SmallCNN(width=8), max_epochs=15, random_state=0).fit(X[:180], y[:180])


@pytest.fixture(scope="module")
def studies():
    return [phantoms(seed) for seed in range(2)]


@pytest.mark.parametrize(("method", "lowest"), [("activation", 8), ("gradient", 12), ("lrp", 14)])
def test_masks_overlap_with_planted_artifacts(studies, method, lowest):
    overlaps = []
    for X, _, network in studies:
        train, test = X[:180], X[180:]
        localizer = ConceptLocalizer(network, ConceptVector("svm", C=0.01), layer=LAYERS, method=method).fit(train)
        has = test.artifact.astype(bool)
        masks = localizer.predict(test)
        empty = ~masks.reshape(len(masks), -1).any(axis=1)
        assert empty[~has].mean() > 0.9
        assert empty[has].mean() < 0.25
        overlaps.append(localizer.score(test))
        # The twins, which are the same but for the artifact, get no mask.
        assert not localizer.predict(test.twin[has]).any(axis=(1, 2)).mean() > 0.1
        true = test.artifact_masks[has]
        joint = (masks[has] & true).sum(axis=(1, 2)) / (masks[has] | true).sum(axis=(1, 2))
        assert overlaps[-1] == pytest.approx(joint.mean())
    assert np.mean(overlaps) > lowest * AREA


def test_the_layer_is_chosen_on_rows_that_its_vector_was_not_fitted_on(studies):
    X, _, network = studies[0]
    train = X[:180]
    masks = [mask if row % 3 == 0 else None for row, mask in enumerate(train.artifact_masks)]
    localizer = ConceptLocalizer(network, ConceptVector(), layer=LAYERS, cv=2)
    localizer.fit(train, masks=masks)
    table = localizer.layer_scores_
    assert table.index.tolist() == LAYERS
    has = train.artifact.astype(bool) & (np.arange(180) % 3 == 0)
    assert (table["n_rows"] == has.sum()).all()
    assert localizer.layer_ == table["mean_iou"].idxmax() == localizer.concept_.layer_
    # One layer by hand.
    features = LayerFeatures(network, LAYERS[2], pool="max").fit(train).transform(train)
    found = []
    for fit_rows, held_out in StratifiedKFold(2).split(features, train.artifact):
        vector = ConceptVector(layer=LAYERS[2]).fit(features[fit_rows], train.artifact[fit_rows])
        rows = held_out[has[held_out]]
        own = ConceptLocalizer(network, vector, gate=False).fit(train)
        found += [own.score(train[[row]]) for row in rows]
    assert table.loc[LAYERS[2], "mean_iou"] == pytest.approx(np.mean(found), rel=5e-3)


@pytest.fixture(scope="module")
def fitted(studies):
    X, _, network = studies[0]
    features = LayerFeatures(network, "features.1", pool="max").fit(X).transform(X)
    return X, network, ConceptVector(layer="features.1").fit(features, X.artifact)


def outputs_of(network, X):
    """What layer features.1 gives, in the graph of the images."""
    batch = next(network.iter_batches(X, batch_size=len(X)))
    images = batch["X"].clone().requires_grad_()
    return images, network.module_.get_submodule("features.1")(network.module_.get_submodule("features.0")(images))


@pytest.mark.parametrize("method", ["activation", "gradient"])
def test_maps_are_those_of_the_formulas(fitted, method):
    X, network, concept = fitted
    X = np.asarray(X.twin[:9])  # within a patch all is equal, and rounding decides which value is the largest
    images, outputs = outputs_of(network, X)
    v = torch.from_numpy(concept.coef_[0]).float()
    if method == "activation":
        raw = F.interpolate(torch.einsum("nchw,c->nhw", outputs.relu(), v)[:, None], (32, 32), mode="bilinear")[:, 0]
    else:
        (gradient,) = torch.autograd.grad((outputs.mean((2, 3)) @ v).sum(), images)
        raw = (gradient * images).sum(1)
    expected = raw.relu().detach().numpy()
    sharp = ConceptLocalizer(network, concept, method=method, pool="mean", smooth=0, batch_size=4).fit(X).transform(X)
    np.testing.assert_allclose(sharp, expected, rtol=1e-3, atol=1e-5 * expected.max())
    smooth = ConceptLocalizer(network, concept, method=method, pool="mean", smooth=0.05).fit(X)
    for found, one in zip(smooth.transform(X), expected):
        np.testing.assert_allclose(
            found, gaussian_filter(one, 1.6, mode="nearest"), rtol=1e-3, atol=1e-4 * expected.max()
        )


def test_relevance_of_a_network_of_one_linear_layer_is_the_flat_rule():
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
    X = np.abs(np.random.default_rng(0).normal(size=(4, 6, 6)))
    v = np.array([0.6, 0.8], dtype=np.float32)
    features = LayerFeatures(module, "1", pool="max").fit(X).transform(X)
    concept = ConceptVector(layer="1").fit(features, [0, 1, 0, 1])
    concept.coef_ = v[None]
    maps = ConceptLocalizer(module, concept, method="lrp", smooth=0).fit(X).transform(X)
    with torch.no_grad():
        outputs = module[:2](torch.from_numpy(X).float()[:, None])
        start = torch.einsum("nchw,c->nhw", outputs, torch.from_numpy(v))
        # The first layer shares relevance equally among the pixels that an output sees.
        counts = F.conv2d(torch.ones(1, 1, 6, 6), torch.ones(1, 1, 3, 3), padding=1)
        expected = F.conv_transpose2d(start[:, None] / counts, torch.ones(1, 1, 3, 3), padding=1)[:, 0]
    np.testing.assert_allclose(maps, expected.numpy(), rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_network_is_left_as_it_was(fitted, method):
    X, network, concept = fitted
    network.module_.train()
    before = state_of(network.module_)
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in network.module_.modules()]
    ConceptLocalizer(network, concept, method=method).fit(X[:8]).predict(X[:8])
    assert_same_state(before, state_of(network.module_))
    assert hooks == [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in network.module_.modules()]
    network.module_.eval()


def test_gate_and_threshold(fitted):
    X, network, concept = fitted
    X = X[:60]
    features = LayerFeatures(network, "features.1", pool="max").fit(X).transform(X)
    distance = concept.decision_function(features)
    always = ConceptLocalizer(network, concept, gate=False).fit(X)
    masks = always.predict(X)
    level = float(np.median(distance))
    for gate, lowest in ((True, 0.0), (level, level)):
        gated = ConceptLocalizer(network, concept, gate=gate).fit(X).predict(X)
        np.testing.assert_array_equal(gated, masks & (distance >= lowest)[:, None, None])
    maps = always.transform(X)
    top = ConceptLocalizer(network, concept, gate=False, threshold=0.92).fit(X).predict(X)
    levels = np.maximum(np.quantile(maps.reshape(60, -1), 0.92, axis=1), 0)
    np.testing.assert_array_equal(top, maps > levels[:, None, None])


def test_annotated_rows_feed_the_masker(fitted):
    X, network, concept = fitted
    localizer = ConceptLocalizer(network, concept).fit(X)
    bunch = localizer.annotate(X[:40])
    np.testing.assert_array_equal(bunch.masks, localizer.predict(X[:40]))
    np.testing.assert_array_equal(bunch.target, X[:40].target)
    hidden = np.asarray(ROIMasker(keep="background", fill=0.0, on_missing="keep").fit_transform(bunch))
    assert (hidden[bunch.masks] == 0).all()
    np.testing.assert_array_equal(hidden[~bunch.masks], np.asarray(X[:40])[~bunch.masks])
    plain = localizer.annotate(np.asarray(X[:5]), field="artifact_masks")
    np.testing.assert_array_equal(plain.artifact_masks, bunch.masks[:5])


class Halve(TransformerMixin, BaseEstimator):
    """Shrink images to half their size."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        X = np.asarray(X)
        return X.reshape(len(X), X.shape[1] // 2, 2, X.shape[2] // 2, 2).mean(axis=(2, 4))

    def __sklearn_is_fitted__(self):
        return True


def test_maps_have_the_size_of_the_rows_as_they_were_given(fitted):
    X, network, concept = fitted
    large = np.asarray(X[:6]).repeat(2, axis=1).repeat(2, axis=2)
    pipeline = make_pipeline(Halve(), network)
    maps = ConceptLocalizer(pipeline, concept, smooth=0).fit(large).transform(large)
    assert maps.shape == (6, 64, 64)
    small = ConceptLocalizer(network, concept, smooth=0).fit(X).transform(X[:6])
    expected = F.interpolate(torch.from_numpy(small)[:, None], (64, 64), mode="bilinear")[:, 0].numpy()
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5 * small.max())


@pytest.mark.parametrize("method", METHODS)
def test_signals(method):
    signals, y = make_ecg(40, random_state=0, return_X_y=True)
    network = NeuralImageClassifier(SmallCNN(width=4), max_epochs=1, random_state=0).fit(signals, y)
    labels = np.arange(40) % 2
    localizer = ConceptLocalizer(network, ConceptVector(), layer="features.1", method=method)
    localizer.fit(signals, artifact=labels)
    n_samples = np.asarray(signals).shape[-1]
    assert localizer.transform(signals).shape == (40, n_samples)
    assert localizer.annotate(signals).masks.shape == (40, n_samples)
    np.testing.assert_array_equal(localizer.transform(np.asarray(signals)), localizer.transform(signals))


def test_clones_and_pickles_keep_network_and_vector(fitted):
    X, network, concept = fitted
    localizer = ConceptLocalizer(network, concept).fit(X)
    again = pickle.loads(pickle.dumps(localizer))
    np.testing.assert_array_equal(again.transform(X[:4]), localizer.transform(X[:4]))
    copied = clone(localizer)
    assert copied.estimator is network
    assert copied.concept is concept
    unfitted = ConceptLocalizer(network, ConceptVector(), layer="features.1")
    assert clone(unfitted).concept is not unfitted.concept


def test_unknown_rows_and_subspaces(fitted):
    X, network, _ = fitted
    labels = np.where(np.arange(260) < 100, -1, X.artifact)
    localizer = ConceptLocalizer(network, ConceptSubspace("ridge", rank=2), layer="features.1").fit(X, artifact=labels)
    features = LayerFeatures(network, "features.1", pool="max").fit(X).transform(X)
    expected = ConceptSubspace("ridge", rank=2).fit(features[100:], labels[100:])
    np.testing.assert_allclose(localizer.concept_.components_, expected.components_, rtol=1e-6, atol=1e-8)
    assert localizer.predict(X[:4]).shape == (4, 32, 32)


def test_what_is_refused(fitted):
    X, network, concept = fitted
    plain = ImageBunch(np.asarray(X))
    with pytest.raises(ValueError, match="artifact: the concept is not fitted and needs labels"):
        ConceptLocalizer(network, ConceptVector(), layer="features.1").fit(plain)
    with pytest.raises(ValueError, match="layer: the concept names none"):
        ConceptLocalizer(network, ConceptVector()).fit(X)
    with pytest.raises(ValueError, match="a fitted concept belongs to one layer"):
        ConceptLocalizer(network, concept, layer=LAYERS).fit(X)
    with pytest.raises(ValueError, match=r"its vector has 16 features, but layer 'features\.0' has 8 channels"):
        ConceptLocalizer(network, concept, layer="features.0").fit(X)
    with pytest.raises(ValueError, match="masks: give masks of some rows"):
        ConceptLocalizer(network, ConceptVector(), layer=LAYERS).fit(plain, artifact=X.artifact)
    with pytest.raises(ValueError, match="masks: no row has a mask with anything inside"):
        ConceptLocalizer(network, concept).fit(X).score(X, masks=np.zeros((260, 32, 32)))
    with pytest.raises(ValueError, match="layer: 'last' has no positions that method='activation' could show"):
        ConceptLocalizer(network, ConceptVector(), layer="last").fit(X).transform(X)
