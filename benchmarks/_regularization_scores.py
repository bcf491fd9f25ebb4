"""What is measured of a fitted classifier in a study with a shortcut."""

import numpy as np
from sklearn.metrics import roc_auc_score

from sklearn_shortcuts.explain import grad_cam
from sklearn_shortcuts.metrics import activation_precision, flip_rate, region_swap_accuracy

_MAPS = 500  # rows whose maps are looked at


def rate(model, study, *, clean=False):
    """Measure accuracy with and without the association, what regions change, and where the network looks.

    Parameters
    ----------
    model : estimator
        Fitted classifier that takes the rows of the study.
    study : ShortcutStudy
        The study.
    clean : bool, default=False
        Whether the model was trained without the shortcut, and is therefore tested without it too.

    Returns
    -------
    dict
        Accuracies in distribution and decorrelated; the area under the ROC curve in the latter (several classes: mean
        over one against the rest); accuracy and share of predictions that change when wrong regions are exchanged
        between rows; activation precision of Grad-CAM in the right region with its chance level.
    """
    correlated = study.clean_test if clean else study.correlated
    decorrelated = study.clean_test if clean else study.decorrelated
    exchange = {"mask_role": study.mask_role, "random_state": 0}
    some = correlated[:_MAPS]
    precision = activation_precision(grad_cam(model, some), some.roi)
    return {
        "in_distribution": model.score(correlated, correlated.target),
        "decorrelated": model.score(decorrelated, decorrelated.target),
        "decorrelated_auc": _auc(model, decorrelated),
        "region_swap": region_swap_accuracy(model, study.correlated, **exchange).value,
        "flip_rate": flip_rate(model, study.correlated, **exchange).value,
        "activation_precision": precision.value,
        "chance": precision.chance,
        "zero_maps": precision.n_zero,
    }


def _auc(model, bunch):
    probabilities = model.predict_proba(bunch)
    if probabilities.shape[1] == 2:
        return roc_auc_score(bunch.target, probabilities[:, 1])
    return roc_auc_score(bunch.target, probabilities, multi_class="ovr", labels=np.arange(probabilities.shape[1]))
