"""What is measured of a network before and after a concept was removed."""

import numpy as np

from sklearn_shortcuts.audit import tcav_score
from sklearn_shortcuts.explain import relevance
from sklearn_shortcuts.latent import ConceptVector, LayerFeatures
from sklearn_shortcuts.metrics import artifact_relevance, paired_recovery

_MAPS = 100  # rows whose relevance is looked at


def rate(model, study, unrefined, layer):
    """Compare a network on the same rows without and with the artifact.

    Parameters
    ----------
    model : estimator
        Repaired network.
    study : ConceptStudy
        Rows.
    unrefined : NeuralImageClassifier
        The network before.
    layer : str
        Layer that TCAV looks at.

    Returns
    -------
    dict
        Accuracies on clean and attacked rows; share of predictions that the artifact changes; share of its effect on
        the logit that is gone; mean change of the logit of clean rows, in units of its standard deviation before;
        share of the relevance (LRP) on the artifact where it does not fill the image; TCAV of the class that had the
        artifact in training: share of positive derivatives along the concept, and their mean size.
    """
    target = study.clean.target
    logits = {name: _logits(model, rows) for name, rows in _copies(study)}
    before = {name: _logits(unrefined, rows) for name, rows in _copies(study)}
    recovery = paired_recovery(before["attacked"], before["clean"], logits["attacked"], logits["clean"])
    features = LayerFeatures(unrefined, layer).fit(study.train)
    train = features.transform(study.train)
    concept = ConceptVector("pattern", scope=1, layer=layer).fit(train, study.train.artifact, target=study.train.target)
    tcav = tcav_score(model, study.attacked, concept, 1)
    return {
        "clean": np.mean((logits["clean"] > 0) == target),
        "attacked": np.mean((logits["attacked"] > 0) == target),
        "flip_rate": np.mean((logits["clean"] > 0) != (logits["attacked"] > 0)),
        "recovery": recovery.value,
        "off_target": np.mean(np.abs(logits["clean"] - before["clean"])) / before["clean"].std(),
        "artifact_relevance": _artifact_relevance(model, study.attacked[:_MAPS]),
        "tcav": tcav.value,
        "tcav_magnitude": tcav.magnitude,
    }


def _copies(study):
    return ("clean", study.clean), ("attacked", study.attacked)


def _logits(model, rows):
    return np.asarray(model.decision_function(rows), dtype=np.float64)


def _artifact_relevance(model, rows):
    masks = np.asarray(rows.artifact_masks)
    if masks.all():
        return np.nan  # it is 1 whatever the network does
    maps = relevance(model, rows, 1, method="lrp", conservation_tol=np.inf)
    return artifact_relevance(maps, masks).value
