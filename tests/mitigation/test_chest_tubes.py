"""Chest tubes on generated radiographs: a small form of task X of ``benchmarks/hard_samples.py``."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from sklearn_shortcuts.datasets import make_chest_phantoms
from sklearn_shortcuts.metrics import make_subgroups, subgroup_accuracy
from sklearn_shortcuts.mitigation import BAMHardSampleMiner
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

CONTRASTS = (0.6, 0.4, 0.25, 0.12)


def study(n, prevalence, seed):
    return make_chest_phantoms(
        n,
        size=32,
        sign_contrast=CONTRASTS,
        class_balance=0.25,
        shortcut={"drain": {"strength": 2.5, "scale": 1.5}},
        prevalence=prevalence,
        random_state=seed,
    )


@pytest.fixture(scope="module")
def tubes():
    return study(1000, {0: 0.05, 1: 0.9}, 0)


@pytest.fixture(scope="module")
def validation():
    return study(300, 0.5, 1)


@pytest.fixture(scope="module")
def miners(tubes, validation):
    """The miner, and plain training on the same rows for the same steps; epochs are chosen by the worst subgroup."""
    network = NeuralImageClassifier(
        SmallCNN(8, depth=2), optimizer="sgd", lr=0.01, batch_size=32, normalize="channel", random_state=0
    )
    options = {
        "stage_one_epochs": 15,
        "stage_two_epochs": 25,
        "monitor": lambda model, X, y: worst_subgroup(model, validation),
        "validation_fraction": 0.02,
    }
    return (
        BAMHardSampleMiner(network, **options).fit(tubes),
        BAMHardSampleMiner(network, amplification=0, upweight=1, **options).fit(tubes),
    )


def worst_subgroup(model, rows):
    return subgroup_accuracy(rows.target, model.predict(rows), subgroups=make_subgroups(rows.target, rows.artifact))


def test_rows_against_the_tube_are_the_hard_ones(tubes, miners):
    table = miners[0].sample_table_
    scored = ~table["held_out"].to_numpy()
    against, score = tubes.artifact[scored] != tubes.target[scored], miners[0].sample_scores_[scored]
    assert roc_auc_score(against, score) >= 0.97
    bucket = table["bucket"].to_numpy()[scored]
    assert against[np.isin(bucket, ("FN", "FP"))].mean() >= 0.8
    assert score[bucket == "FN"].mean() >= 1.5 * score[bucket == "TP"].mean()


def test_faint_signs_without_a_tube_are_the_hardest(tubes, miners):
    alone = (tubes.target == 1) & (tubes.artifact == 0) & ~miners[0].sample_table_["held_out"].to_numpy()
    contrast = tubes.get("truth")["sign_contrast"].to_numpy(dtype=float)[alone]
    assert spearmanr(-contrast, miners[0].sample_scores_[alone]).statistic >= 0.4


def test_the_worst_subgroup_gains(miners):
    test = study(1200, 0.5, 2)
    assert worst_subgroup(miners[0], test) >= worst_subgroup(miners[1], test) + 0.15
