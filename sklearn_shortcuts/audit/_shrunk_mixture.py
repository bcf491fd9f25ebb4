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
    n_iter_ : int
        Iterations of the fit that was kept.

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

        self._span(X)
        rows, _ = self._coordinates(X)
        best, kept = -np.inf, None
        for _ in range(self.n_init):
            seed = draw_seed(self.random_state)
            labels = KMeans(self.n_components, n_init=1, random_state=seed).fit(rows).labels_
            self._maximize(rows, np.eye(self.n_components)[labels])
            bound, converged = -np.inf, False
            for iteration in range(1, self.max_iter + 1):
                self.n_iter_ = iteration
                joint = self._joint(rows, 0.0)
                log_likelihood = logsumexp(joint, axis=1)
                self._maximize(rows, np.exp(joint - log_likelihood[:, None]))
                before, bound = bound, log_likelihood.mean()
                converged = abs(bound - before) < self.tol
                if converged:
                    break
            if kept is None or bound > best:
                names = ("weights_", "_means", "_covariances", "_outside", "_roots", "shrinkages_", "n_iter_")
                best, kept = bound, {name: getattr(self, name) for name in names} | {"converged": converged}
        converged = kept.pop("converged")
        self.__dict__.update(kept)
        if not converged:
            warnings.warn(
                f"the mixture did not converge in max_iter={self.max_iter} iterations; raise max_iter",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    @property
    def means_(self):
        """Means in the features."""
        return self._origin + (self._means if self._basis is None else self._means @ self._basis)

    @property
    def covariances_(self):
        """Shrunk covariances of the features."""
        if self._basis is None:
            return self._covariances
        n_inside, n_features = self._basis.shape
        beyond = self._outside[:, None, None]
        return self._basis.T @ (self._covariances - beyond * np.eye(n_inside)) @ self._basis + beyond * np.eye(
            n_features
        )

    def score_samples(self, X):
        """Log-likelihood of every row, shape (n,)."""
        return logsumexp(self._joint(*self._coordinates(X)), axis=1)

    def bic(self, X):
        """Bayesian information criterion; a covariance has as many free parameters as shrinkage leaves."""
        n_rows, n_features = X.shape
        free = n_features * (n_features + 1) / 2
        n_parameters = self.n_components * (n_features + 1) - 1
        n_parameters += ((1 - self.shrinkages_) * free + self.shrinkages_).sum()
        return -2 * self.score_samples(X).sum() + n_parameters * np.log(n_rows)

    def _span(self, X):
        """Find the coordinates to compute in: of fewer rows than features the space that the rows span suffices.

        Beyond it every covariance is the multiple of identity that it is shrunk toward.
        """
        self._n_features = X.shape[1]
        self._origin, self._basis = X.mean(axis=0), None
        if len(X) <= X.shape[1]:
            _, lengths, directions = np.linalg.svd(X - self._origin, full_matrices=False)
            n_inside = max(1, int(np.sum(lengths > 1e-10 * lengths[0])))
            self._basis = directions[:n_inside]

    def _coordinates(self, X):
        """Rows in these coordinates, and their squared distances from what the coordinates reach."""
        centered = X - self._origin
        if self._basis is None:
            return centered, 0.0
        inside = centered @ self._basis.T
        return inside, np.square(centered - inside @ self._basis).sum(axis=1)

    def _maximize(self, X, responsibilities):
        n_inside = X.shape[1]
        totals = responsibilities.sum(axis=0) + 10 * np.finfo(np.float64).eps
        self.weights_ = totals / totals.sum()
        self._means = responsibilities.T @ X / totals[:, None]
        self._covariances = np.empty((self.n_components, n_inside, n_inside))
        self._outside = np.empty(self.n_components)
        self.shrinkages_ = np.empty(self.n_components)
        for component, (total, mean) in enumerate(zip(totals, self._means)):
            weights = responsibilities[:, component]
            centered = X - mean
            covariance = (weights * centered.T) @ centered / total
            share = self.shrinkage
            if share is None:
                n_rows = total**2 / max(np.square(weights).sum(), np.finfo(np.float64).tiny)
                share = oracle_shrinkage(covariance, n_rows, self._n_features)
            self._outside[component] = share * np.trace(covariance) / self._n_features + self.reg_covar
            covariance = (1 - share) * covariance
            covariance.flat[:: n_inside + 1] += self._outside[component]
            self._covariances[component], self.shrinkages_[component] = covariance, share
        self._roots = np.linalg.cholesky(self._covariances)

    def _joint(self, X, beyond):
        joint = np.empty((len(X), self.n_components))
        n_beyond = self._n_features - X.shape[1]
        for component, (mean, root, outside) in enumerate(zip(self._means, self._roots, self._outside)):
            standard = solve_triangular(root, (X - mean).T, lower=True, check_finite=False)
            size = self._n_features * np.log(2 * np.pi) + 2 * np.log(np.diagonal(root)).sum()
            distances = np.square(standard).sum(axis=0)
            if n_beyond:
                size += n_beyond * np.log(outside)
                distances = distances + beyond / outside
            joint[:, component] = -(size + distances) / 2
        return joint + np.log(self.weights_)


def oracle_shrinkage(covariance, n_rows, n_features):
    """Give the share of identity of the oracle approximation.

    Parameters
    ----------
    covariance : ndarray of shape (n_inside, n_inside)
        Empirical covariance, in coordinates beyond which it is 0.
    n_rows : float
        Rows that it is from.
    n_features : int
        Features, those beyond the coordinates included.

    Returns
    -------
    float
        In [0, 1].
    """
    mean_variance = np.trace(covariance) / n_features
    mean_square = np.square(covariance).sum() / n_features**2
    above = mean_square + mean_variance**2
    below = (n_rows + 1) * (mean_square - mean_variance**2 / n_features)
    return 1.0 if below <= 0 else float(min(above / below, 1.0))
