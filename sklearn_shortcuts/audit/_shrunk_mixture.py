"""A mixture of normal distributions whose covariances are shrunk, so that few rows suffice for many features."""

import warnings

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning

from .._random_state import draw_seed


class ShrunkMixture:
    """Mixture of normal distributions, each with a full covariance matrix that is shrunk toward a multiple of identity.

    The strength of shrinkage is that of the oracle approximation [1]_, from as many rows as the weights of a component
    are worth. Parameters, attributes and methods are named as in :class:`sklearn.mixture.GaussianMixture`, which
    offers no shrinkage.

    Parameters
    ----------
    n_components : int
        Distributions.
    shrinkage : float, default=None
        Share of the multiple of identity, in [0, 1]; None computes it for each component.
    tol : float, default=1e-3
        Gain in mean log-likelihood below which the iteration stops.
    reg_covar : float, default=1e-6
        Added to the variances.
    max_iter : int, default=100
        Most iterations.
    n_init : int, default=1
        Times to start; the best result is kept.
    random_state : RandomState
        Decides the starts, which are k-means clusters.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Shares.
    means_ : ndarray of shape (n_components, n_features)
        Means.
    covariances_ : ndarray of shape (n_components, n_features, n_features)
        Shrunk covariances.
    shrinkages_ : ndarray of shape (n_components,)
        Strengths of shrinkage.

    References
    ----------
    .. [1] Chen et al. (2010). Shrinkage algorithms for MMSE covariance estimation. IEEE Transactions on Signal
       Processing 58, 5016-5029, equation 23.
    """

    def __init__(
        self, n_components, *, shrinkage=None, tol=1e-3, reg_covar=1e-6, max_iter=100, n_init=1, random_state=None
    ):
        self.n_components = n_components
        self.shrinkage = shrinkage
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.random_state = random_state

    def fit(self, X):
        """Fit by expectation maximization to rows X of shape (n, n_features)."""
        from sklearn.cluster import KMeans

        best = -np.inf
        for _ in range(self.n_init):
            seed = draw_seed(self.random_state)
            labels = KMeans(self.n_components, n_init=1, random_state=seed).fit(X).labels_
            self._maximize(X, np.eye(self.n_components)[labels])
            bound, converged = -np.inf, False
            for _ in range(self.max_iter):
                joint = self._joint(X)
                log_likelihood = logsumexp(joint, axis=1)
                self._maximize(X, np.exp(joint - log_likelihood[:, None]))
                before, bound = bound, log_likelihood.mean()
                converged = abs(bound - before) < self.tol
                if converged:
                    break
            if bound > best or best == -np.inf:
                best = bound
                kept = converged, self.weights_, self.means_, self.covariances_, self.shrinkages_, self._roots
        converged, self.weights_, self.means_, self.covariances_, self.shrinkages_, self._roots = kept
        if not converged:
            warnings.warn(
                f"the mixture did not converge in max_iter={self.max_iter} iterations; raise max_iter",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def score_samples(self, X):
        """Log-likelihood of every row, shape (n,)."""
        return logsumexp(self._joint(X), axis=1)

    def bic(self, X):
        """Bayesian information criterion; a covariance has as many free parameters as shrinkage leaves."""
        n_rows, n_features = X.shape
        free = n_features * (n_features + 1) / 2
        n_parameters = self.n_components * (n_features + 1) - 1
        n_parameters += ((1 - self.shrinkages_) * free + self.shrinkages_).sum()
        return -2 * self.score_samples(X).sum() + n_parameters * np.log(n_rows)

    def _maximize(self, X, responsibilities):
        n_features = X.shape[1]
        totals = responsibilities.sum(axis=0) + 10 * np.finfo(np.float64).eps
        self.weights_ = totals / totals.sum()
        self.means_ = responsibilities.T @ X / totals[:, None]
        self.covariances_ = np.empty((self.n_components, n_features, n_features))
        self.shrinkages_ = np.empty(self.n_components)
        for component, (total, mean) in enumerate(zip(totals, self.means_)):
            weights = responsibilities[:, component]
            centered = X - mean
            covariance = (weights * centered.T) @ centered / total
            share = self.shrinkage
            if share is None:
                share = oracle_shrinkage(covariance, total**2 / max(np.square(weights).sum(), np.finfo(float).tiny))
            average = share * np.trace(covariance) / n_features
            covariance = (1 - share) * covariance
            covariance.flat[:: n_features + 1] += average + self.reg_covar
            self.covariances_[component], self.shrinkages_[component] = covariance, share
        self._roots = np.linalg.cholesky(self.covariances_)

    def _joint(self, X):
        joint = np.empty((len(X), self.n_components))
        for component, (mean, root) in enumerate(zip(self.means_, self._roots)):
            standard = solve_triangular(root, (X - mean).T, lower=True, check_finite=False)
            size = X.shape[1] * np.log(2 * np.pi) + 2 * np.log(np.diagonal(root)).sum()
            joint[:, component] = -(size + np.square(standard).sum(axis=0)) / 2
        return joint + np.log(self.weights_)


def oracle_shrinkage(covariance, n_rows):
    """Give the share of identity of the oracle approximation for an empirical covariance of so many rows."""
    n_features = len(covariance)
    mean_variance = np.trace(covariance) / n_features
    mean_square = np.square(covariance).mean()
    above = mean_square + mean_variance**2
    below = (n_rows + 1) * (mean_square - mean_variance**2 / n_features)
    return 1.0 if below <= 0 else float(min(above / below, 1.0))
