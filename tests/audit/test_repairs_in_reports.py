"""Reports on repaired networks of images and signals, and repairs along masks that a concept outlined."""

import numpy as np
import pytest

from sklearn_shortcuts import NeuralImageClassifier, make_chest_phantoms
from sklearn_shortcuts.audit import shortcut_report
from sklearn_shortcuts.datasets import make_ecg
from sklearn_shortcuts.latent import ConceptLocalizer, ConceptVector, LayerFeatures
from sklearn_shortcuts.mitigation import ExplanationRegularizedClassifier, PClArC, RRClArCClassifier
from sklearn_shortcuts.neural import ECGResNet, SmallCNN


def images():
    options = {"size": 32, "shortcut": "patch", "twins": True}
    train = make_chest_phantoms(80, prevalence={0: 0.1, 1: 0.9}, random_state=0, **options)
    return train, make_chest_phantoms(40, prevalence={0: 1, 1: 1}, random_state=1, **options), SmallCNN(width=4)


def signals():
    options = {"length": 200, "shortcut": "lead_noise", "twins": True}
    train = make_ecg(80, prevalence={0: 0.1, 1: 0.9}, random_state=0, **options)
    test = make_ecg(40, prevalence={0: 1, 1: 1}, random_state=1, **options)
    return train, test, ECGResNet(layers=(1, 1), width=8, expansion=1)


@pytest.mark.parametrize(("make", "layer"), [(images, "features.1"), (signals, "stage1")])
def test_repaired_networks_are_reported(make, layer):
    train, test, spec = make()
    network = NeuralImageClassifier(spec, max_epochs=3, lr=3e-3, random_state=0).fit(train, train.target)
    features = LayerFeatures(network, layer).fit(train)
    concept = ConceptVector().fit(features.transform(train), train.artifact)
    models = {
        "network": network,
        "projected": PClArC(network, layer, concept=concept, pool="mean").fit(train),
        "trained": RRClArCClassifier(network, layer, concept=concept, pool="mean", refine_epochs=1).fit(train),
    }
    table = shortcut_report(
        models,
        test,
        baseline="network",
        maps="gradient_x_input",
        concept=concept.coef_.ravel(),
        layer=layer,
        target_class=1,
        n_resamples=100,
        random_state=0,
    )
    for name, model in models.items():
        attacked = model.predict(test)
        assert table.loc[name, "accuracy_attacked"] == pytest.approx(np.mean(attacked == test.target))
        assert table.loc[name, "flip_rate"] == pytest.approx(np.mean(attacked != model.predict(test.twin)))
        measured = ["tcav", "decodability", "artifact_relevance"]
        assert np.isfinite(table.loc[name, measured].astype(float)).all()
    assert np.isfinite(table.loc[["projected", "trained"], "clean_accuracy_change"]).all()


def test_outlined_artifacts_are_the_masks_of_a_penalty():
    train, _, spec = images()
    network = NeuralImageClassifier(spec, max_epochs=25, lr=1e-2, random_state=0).fit(train, train.target)
    localizer = ConceptLocalizer(network, ConceptVector(), layer="features.1").fit(train)
    outlined = localizer.annotate(train.with_fields(masks=None) if "masks" in train.fields else train, "masks")
    assert outlined.masks.any(axis=(1, 2))[train.artifact == 1].mean() > 0.5
    model = ExplanationRegularizedClassifier(network, penalty="counterexamples", mask_field="masks", refine_epochs=3)
    model.fit(outlined, train.target)
    unmasked = ~outlined.masks.any(axis=(1, 2))
    assert 0 < unmasked.sum() < len(train)  # rows without the concept have an empty mask, and the penalty takes them
    swaps = model.counterfactuals_["region_swap_accuracy"]
    assert np.isfinite(np.asarray(swaps, dtype=float)).all()
