"""Adjustment of p-values for the number of tests."""

import numpy as np
from sklearn.utils._param_validation import validate_params


@validate_params({"pvalues": ["array-like"]}, prefer_skip_nested_validation=True)
def holm_correction(pvalues):
    """Adjust p-values so that the chance of any false rejection in the family stays below the level.

    Holm's step-down procedure holds whatever the dependence between the tests, and is never less powerful than
    Bonferroni's.

    Parameters
    ----------
    pvalues : array-like of any shape
        P-values in [0, 1] of one family of tests. NaN marks a test that could not be made: it stays NaN and does not
        count.

    Returns
    -------
    ndarray of the same shape
        Adjusted p-values: reject those at or below the wanted level.

    Raises
    ------
    ValueError
        If a value lies outside [0, 1].

    References
    ----------
    .. [1] Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6,
       65-70.

    Examples
    --------
    >>> from sklearn_shortcuts.metrics import holm_correction
    >>> holm_correction([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    pvalues = np.asarray(pvalues, dtype=np.float64)
    if (wrong := (pvalues < 0) | (pvalues > 1)).any():
        raise ValueError(f"p-values must lie in [0, 1], got {pvalues[wrong][0]}")
    adjusted = pvalues.copy()
    tested = ~np.isnan(pvalues)
    family = pvalues[tested]
    order = np.argsort(family, kind="stable")
    steps = np.maximum.accumulate(family[order] * np.arange(len(family), 0, -1))
    family[order] = np.minimum(steps, 1)
    adjusted[tested] = family
    return adjusted
