"""Labels that estimators are fitted on, as one yes-or-no question each."""

import numpy as np

from ..metrics._label_scores import Target
from ..neural._targets import TargetEncoding, check_target


def make_target(y, estimator_name):
    """Check the labels and turn them into questions.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, n_labels)
        Classes, or one 0/1 column per label.
    estimator_name : str
        For messages.

    Returns
    -------
    Target
        Labels.
    """
    y, names = check_target(y, estimator_name)
    encoding = TargetEncoding.learn(y, names)
    if encoding.kind == "multilabel":
        return Target(encoding.kind, y, None, list(encoding.label_names.tolist()), y.astype(bool), None)
    classes = np.asarray(encoding.classes)
    codes = encoding.encode(y)
    positive = codes[:, None] == np.arange(len(classes))
    if encoding.kind == "binary":
        return Target(encoding.kind, y, classes, classes[1:].tolist(), positive[:, 1:], codes)
    return Target(encoding.kind, y, classes, classes.tolist(), positive, codes)
