"""Do probabilities say how often a classifier is right?"""

from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval, validate_params

from ._inputs import SCORE_CONSTRAINTS, check_labels, check_probabilities


@validate_params(
    {
        "y_prob": ["array-like"],
        **{name: rule for name, rule in SCORE_CONSTRAINTS.items() if name != "groups"},
        "n_bins": [Interval(Integral, 1, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def expected_calibration_error(y_true, y_prob, *, n_bins=10, pos_label=None):
    """Measure how far predicted probabilities are from observed shares.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Labels of two classes, or of one of them only.
    y_prob : array-like of shape (n,)
        Probability of the positive class, in [0, 1].
    n_bins : int, default=10
        Bins of equal width; a probability on an edge belongs to the bin above.
    pos_label : int, float, bool or str, default=None
        Label of the positive class; may be left out for labels 0/1, -1/1 and False/True.

    Returns
    -------
    float
        Mean over rows of the absolute difference between the mean probability and the share of positives in the row's
        bin, in [0, 1]. It is biased upwards in small samples: compare subgroups of like size.

    Raises
    ------
    ValueError
        If a probability lies outside [0, 1], or the input is malformed.

    References
    ----------
    .. [1] Naeini, Cooper and Hauskrecht (2015). Obtaining well calibrated probabilities using Bayesian binning. AAAI.

    Examples
    --------
    >>> from sklearn_shortcuts.metrics import expected_calibration_error
    >>> expected_calibration_error([0, 1, 1, 1], [0.25, 0.75, 0.75, 0.75])
    0.25
    """
    positive = check_labels(y_true, pos_label, needs_both=False)
    scores = check_probabilities(y_prob, len(positive), "y_prob")
    # Edges are divided once: the product of a score and n_bins may be rounded into the bin below, as 0.29 * 100 is.
    bins = np.searchsorted(np.arange(1, n_bins) / n_bins, scores, side="right")
    return float(np.abs(np.bincount(bins, scores - positive)).sum() / len(scores))
