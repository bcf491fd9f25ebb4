"""Probes of layers against scikit-learn's own cross-validation, and after edits of the layer."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklearn_shortcuts import ImageBunch
from sklearn_shortcuts._random_state import draw_seed, make_random_state
from sklearn_shortcuts.audit import concept_decodability
from sklearn_shortcuts.latent import ConceptVector
from sklearn_shortcuts.neural._layer_hook import LayerHook
from tests.explain.networks import build


@pytest.fixture
def module():
    return build(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 2)).double())


def study(n=200, strength=0.5):
    rng = np.random.default_rng(0)
    artifact = (rng.random(n) < 0.4).astype(int)
    X = rng.normal(size=(n, 4, 4))
    X[artifact == 1, 0] += strength
    return X, artifact, np.arange(n) // 2


def test_areas_are_those_of_held_out_patients(module):
    X, artifact, groups = study()
    found = concept_decodability(module, X, artifact, layer="1", groups=groups, cv=4, random_state=3)
    features = X.reshape(200, 16) @ module[1].weight.detach().numpy().T + module[1].bias.detach().numpy()
    splitter = StratifiedGroupKFold(4, shuffle=True, random_state=draw_seed(make_random_state(3)))
    aurocs = []
    for train, test in splitter.split(features, artifact, groups):
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10000)).fit(
            features[train], artifact[train]
        )
        aurocs.append(roc_auc_score(artifact[test], probe.decision_function(features[test])))
    assert found.auc == pytest.approx(np.mean(aurocs), abs=1e-6)
    assert 0.5 < found.low < found.auc < found.high < 1
    assert concept_decodability(module, X, artifact, layer="1", groups=groups, cv=4, random_state=3) == found


def test_an_edit_of_the_layer_leaves_nothing(module):
    X, artifact, _ = study(strength=2)
    assert concept_decodability(module, X, artifact, layer="1", random_state=0).low > 0.9
    features = X.reshape(200, 16) @ module[1].weight.detach().numpy().T + module[1].bias.detach().numpy()
    v = torch.from_numpy(ConceptVector().fit(features, artifact).coef_[0])
    LayerHook(lambda values: values - (values[:, :, 0] @ v)[:, None, None] * v[:, None], 4).attach(module, "1")
    assert concept_decodability(module, X, artifact, layer="1", random_state=0).auc < 0.55


def test_unknown_rows_are_left_out_and_fields_are_read(module):
    X, artifact, groups = study()
    labels = np.where(np.arange(200) < 40, -1, artifact)
    known = concept_decodability(module, X[40:], artifact[40:], groups=groups[40:], random_state=0)
    bunch = ImageBunch(X, artifact=labels, groups=groups)
    assert concept_decodability(module, bunch, random_state=0) == known


def test_what_is_refused(module):
    X, artifact, groups = study()
    with pytest.raises(ValueError, match="artifact: give the labels of the rows"):
        concept_decodability(module, X)
    with pytest.raises(ValueError, match="artifact: row 7 has"):
        concept_decodability(module, X, np.where(np.arange(200) == 7, 2, artifact))
    with pytest.raises(ValueError, match="3 rows with the artifact are too few for cv=5 folds"):
        concept_decodability(module, X, np.arange(200) < 3)
    with pytest.raises(ValueError, match="1 patients with the artifact are too few"):
        concept_decodability(module, X, np.arange(200) < 20, groups=np.where(np.arange(200) < 20, 0, groups))
