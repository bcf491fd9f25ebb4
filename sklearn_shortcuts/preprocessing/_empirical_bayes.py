"""Empirical Bayes estimates of the shift and scale of many features in one batch."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning


def shrunken_shift_and_scale(standardized, *, mean_only, tol, max_iter):
    """Estimate shift and variance of every feature, drawn towards what the features have in common.

    The shift has a normal prior and the variance an inverse-gamma prior, both with the moments of the estimates over
    all features. The means of the posteriors depend on each other and are found by iteration.

    Parameters
    ----------
    standardized : ndarray of shape (n, n_features)
        Rows of one batch, at least 2 features.
    mean_only : bool
        Take the variance as 1.
    tol : float
        Largest relative change at which the iteration ends.
    max_iter : int
        Largest number of iterations.

    Returns
    -------
    shift, variance : ndarray of shape (n_features,)
        Means of the posteriors.
    n_iter : int
        Iterations it took.

    Warns
    -----
    ConvergenceWarning
        If the iteration did not end in time.

    References
    ----------
    Johnson, Li & Rabinovic (2007). Adjusting batch effects in microarray expression data using empirical Bayes
    methods. Biostatistics 8, 118-127; section 3.2.
    """
    n = len(standardized)
    mean = standardized.mean(axis=0)
    prior_mean, prior_variance = mean.mean(), mean.var(ddof=1)
    if mean_only:
        return _posterior_shift(mean, n, 1.0, prior_mean, prior_variance), np.ones_like(mean), 1
    variance = standardized.var(axis=0, ddof=1)
    center, spread = variance.mean(), variance.var(ddof=1)
    if spread <= np.finfo(np.float64).eps * center**2:  # all the same: the prior is a point
        return _posterior_shift(mean, n, center, prior_mean, prior_variance), np.full_like(mean, center), 1
    shape = (2 * spread + center**2) / spread
    rate = (center * spread + center**3) / spread
    shift, scale = mean, variance
    for n_iter in range(1, max_iter + 1):
        new_shift = _posterior_shift(mean, n, scale, prior_mean, prior_variance)
        squares = (n - 1) * variance + n * (mean - new_shift) ** 2
        new_scale = (rate + squares / 2) / (n / 2 + shape - 1)
        # Shifts are in units of the standard deviation, so one that is nearly 0 need not be known to many digits.
        change = max(np.max(np.abs(new_shift - shift) / (np.abs(shift) + 1e-3)), np.max(np.abs(new_scale / scale - 1)))
        shift, scale = new_shift, new_scale
        if change <= tol:
            return shift, scale, n_iter
    warnings.warn(
        f"the estimates still changed by a share of {change:.1g} after {max_iter} iterations; raise max_iter or tol",
        ConvergenceWarning,
        stacklevel=4,
    )
    return shift, scale, max_iter


def _posterior_shift(mean, n, variance, prior_mean, prior_variance):
    return (n * prior_variance * mean + variance * prior_mean) / (n * prior_variance + variance)
