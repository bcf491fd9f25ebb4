"""The strategies by which a network comes to a class, and the rows that follow none of them."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin, _fit_context
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .._random_state import draw_seed, make_random_state
from ._shrunk_mixture import ShrunkMixture


class ConceptPrototypes(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """Describe how a network comes to each class by a few prototypes of relevance, and rows by the prototypes.

    Of each class the relevances of a layer's channels follow a mixture of normal distributions, whose means are the
    prototypes: typical strategies [1]_. A strategy that few rows follow, far from the others, is a suspect of being a
    shortcut; so are rows that are likely under no strategy.

    Parameters
    ----------
    n_prototypes : int or "bic", default=4
        Prototypes per class; a class of fewer different rows has as many as those. "bic" takes from 1 to
        ``max_prototypes`` the number with the lowest Bayesian information criterion, class by class.
    covariance : {"shrunk", "full", "diag", "spherical"}, default="shrunk"
        Covariance within a strategy: a full matrix shrunk toward a multiple of identity by the oracle approximation,
        which few rows suffice for; or, of :class:`~sklearn.mixture.GaussianMixture`, a full matrix, which takes many
        times more rows than channels, independent channels, or one variance for all channels.
    n_components : int, default=None
        Principal components of the relevances that the mixture is fitted to; of fewer rows or channels as many as
        there are. None means all channels. What lies beyond the components makes no row unusual.
    max_prototypes : int, default=8
        Most prototypes with "bic".
    n_representatives : int, default=4
        Rows that stand for a prototype.
    n_channels : int, default=5
        Channels that stand for a prototype.
    n_init : int, default=3
        Times that each mixture is fitted anew; the best is kept.
    max_iter : int, default=200
        Most iterations of a fit.
    tol : float, default=1e-3
        Gain in mean log-likelihood below which a fit stops.
    reg_covar : float, default=1e-6
        Added to all variances, as a share of the mean variance of a channel: relevances are of any scale.
    random_state : int, RandomState instance or None, default=None
        Decides where the fits start.

    Attributes
    ----------
    coverage_ : DataFrame
        One row per prototype, by number, with the columns

        - ``class``;
        - ``n``, ``share``: rows of the class that are nearest to it;
        - ``separation``: how far they are from the other rows of the class, see Notes; 0 for an only prototype;
        - ``rows``: numbers of the nearest rows, the nearest first;
        - ``channels``: channels of the greatest relevance, the greatest first.
    ranking_ : ndarray of int of shape (`n_prototypes_`,)
        Prototypes by ``separation``, the most suspicious first; of several equally far ones that of the fewest rows.
    prototypes_ : ndarray of shape (`n_prototypes_`, n_features)
        Means of the distributions.
    prototype_classes_ : ndarray of shape (`n_prototypes_`,)
        Their classes.
    concept_matrix_ : DataFrame
        Relevances of the prototypes (rows) in the union of their ``channels`` (columns), the channel of the greatest
        mean absolute relevance first.
    labels_ : ndarray of int of shape (n,)
        Prototype of each row of ``fit``, of its class; -1 for rows that were left out.
    classes_ : ndarray of shape (n_classes,)
        Classes.
    n_prototypes_ : int
        Prototypes of all classes.
    n_iter_ : int
        Iterations of the fit, of the class that took most.
    n_features_in_ : int
        Number of channels.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if a DataFrame was given.

    See Also
    --------
    ConceptPrototypesDisplay : Shows prototypes, channels and shares.
    NeuronOutlierDetector : Looks for unusual channels, not rows.

    Notes
    -----
    Relevances should be divided by the sum of their absolute values in each row, as ``Normalizer("l1")`` does, or rows
    with high scores are strategies of their own.

    The strategy of a row is the prototype at the smallest Euclidean distance, as in [1]_, not the most probable one,
    so that ``predict`` agrees with ``transform``.

    ``separation`` is the distance between the mean :math:`m` of the rows of a prototype and that :math:`m'` of the
    other rows of the class, in standard deviations within the prototypes of the class along the line between both,

    .. math:: \\frac{\\sqrt{\\max(0, \\lVert m - m' \\rVert^2 - (1/n + 1/n') \\operatorname{tr} S)}}{\\sqrt{u^T S u}},
        \\quad u = \\frac{m - m'}{\\lVert m - m' \\rVert},

    with the pooled covariance :math:`S` within prototypes. What is subtracted is the distance that means of so few
    rows have by chance. One normal distribution cut in two halves has 2.6.

    References
    ----------
    .. [1] Dreyer et al. (2024). Understanding the (extra-)ordinary: validating deep model decisions with prototypical
       concept-based explanations. CVPR workshops.

    Examples
    --------
    Five of a hundred rows are decided by channel 7 alone:

    >>> import numpy as np
    >>> from sklearn_shortcuts.audit import ConceptPrototypes
    >>> relevances = np.random.default_rng(0).exponential(size=(100, 20))
    >>> relevances[40:45, 7] += 30
    >>> prototypes = ConceptPrototypes(2, random_state=0).fit(relevances)
    >>> suspect = prototypes.ranking_[0]
    >>> float(prototypes.coverage_.loc[suspect, "share"])
    0.05
    >>> prototypes.coverage_.loc[suspect, "channels"][0]
    7
    """

    _parameter_constraints: dict = {
        "n_prototypes": [Interval(Integral, 1, None, closed="left"), StrOptions({"bic"})],
        "covariance": [StrOptions({"shrunk", "full", "diag", "spherical"})],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "max_prototypes": [Interval(Integral, 1, None, closed="left")],
        "n_representatives": [Interval(Integral, 1, None, closed="left")],
        "n_channels": [Interval(Integral, 1, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "reg_covar": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_prototypes=4,
        *,
        covariance="shrunk",
        n_components=None,
        max_prototypes=8,
        n_representatives=4,
        n_channels=5,
        n_init=3,
        max_iter=200,
        tol=1e-3,
        reg_covar=1e-6,
        random_state=None,
    ):
        self.n_prototypes = n_prototypes
        self.covariance = covariance
        self.n_components = n_components
        self.max_prototypes = max_prototypes
        self.n_representatives = n_representatives
        self.n_channels = n_channels
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.reg_covar = reg_covar
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, y_pred=None):
        """Find the prototypes of each class.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Relevances of channels for the score of the row's class.
        y : array-like of shape (n,), default=None
            Classes; None means that all rows are of one class, 0.
        y_pred : array-like of shape (n,), default=None
            Predicted classes. If given, rows that are predicted wrongly are left out: their strategy failed.

        Returns
        -------
        ConceptPrototypes
            Itself.

        Raises
        ------
        ValueError
            If no row of a class is left, or ``y_pred`` comes without ``y``.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        y = self._read_classes(y, len(X))
        used = np.ones(len(X), dtype=bool)
        if y_pred is not None:
            y_pred = column_or_1d(y_pred)
            if len(y_pred) != len(X):
                raise ValueError(f"y_pred has {len(y_pred)} values, but X has {len(X)} rows")
            used = y_pred == y
        for name in self.classes_.tolist():
            if not np.any(used & (y == name)):
                raise ValueError(f"y_pred: no row of class {name!r} is predicted right; leave the class or y_pred out")
        generator = make_random_state(self.random_state)
        # Fitted are values of about 1, whatever the scale of relevances is.
        self._center = X[used].mean(axis=0)
        self._scale = float(np.sqrt(X[used].var(axis=0).mean())) or 1.0
        Z = (X - self._center) / self._scale
        self._pca = None
        if self.n_components is not None:
            n_components = min(self.n_components, int(used.sum()), X.shape[1])
            self._pca = PCA(n_components, svd_solver="full").fit(Z[used])
            Z = self._pca.transform(Z)
        self._mixtures = [self._fit_class(Z[used & (y == name)], generator) for name in self.classes_]
        self.n_iter_ = max(mixture.n_iter_ for mixture in self._mixtures)
        shares = np.array([np.sum(used & (y == name)) for name in self.classes_]) / used.sum()
        self._log_shares = np.log(shares)
        means = np.concatenate([mixture.means_ for mixture in self._mixtures])
        means = means if self._pca is None else self._pca.inverse_transform(means)
        self.prototypes_ = self._center + self._scale * means
        self.prototype_classes_ = np.repeat(self.classes_, [len(mixture.means_) for mixture in self._mixtures])
        self.n_prototypes_ = len(self.prototypes_)
        distances = cdist(X, self.prototypes_)
        self.labels_ = np.full(len(X), -1)
        self.labels_[used] = self._nearest(distances[used], y[used])
        self._describe(X, distances)
        return self

    def predict(self, X, y=None):
        """Tell the strategies of rows.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Relevances.
        y : array-like of shape (n,), default=None
            Classes of the rows, predicted ones for instance: only prototypes of the row's class count. None means all
            prototypes.

        Returns
        -------
        ndarray of int of shape (n,)
            Number of the nearest prototype.

        Raises
        ------
        ValueError
            If a class is not one of ``fit``.
        """
        distances = self.transform(X)
        return self._nearest(distances, None if y is None else self._known(y, len(distances)))

    def transform(self, X):
        """Give the Euclidean distances from all prototypes.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Relevances.

        Returns
        -------
        ndarray of shape (n, `n_prototypes_`)
            Distances.
        """
        check_is_fitted(self)
        return cdist(validate_data(self, X, reset=False, dtype=np.float64), self.prototypes_)

    def score_samples(self, X, y=None):
        """Give the log-likelihood of rows; a low one means an unusual strategy.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Relevances.
        y : array-like of shape (n,), default=None
            Classes of the rows: the likelihood is that under the mixture of the row's class. None means under all of
            them, weighted by their shares of rows.

        Returns
        -------
        ndarray of shape (n,)
            Natural logarithms of densities, of the principal components where ``n_components`` is given.

        Raises
        ------
        ValueError
            If a class is not one of ``fit``.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        Z = (X - self._center) / self._scale
        Z = Z if self._pca is None else self._pca.transform(Z)
        densities = np.column_stack([mixture.score_samples(Z) for mixture in self._mixtures])
        densities -= Z.shape[1] * np.log(self._scale)
        if y is None:
            return logsumexp(densities + self._log_shares, axis=1)
        return densities[np.arange(len(X)), np.searchsorted(self.classes_, self._known(y, len(X)))]

    def score(self, X, y=None):
        """Give the mean log-likelihood of rows.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Relevances.
        y : array-like of shape (n,), default=None
            See :meth:`score_samples`.

        Returns
        -------
        float
            Mean.
        """
        return float(np.mean(self.score_samples(X, y)))

    @property
    def _n_features_out(self):
        return self.n_prototypes_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "coverage_")

    # -- inside ----------------------------------------------------------------------------------------------------
    def _read_classes(self, y, n_rows):
        if y is None:
            self.classes_ = np.array([0])
            return np.zeros(n_rows, dtype=int)
        y = column_or_1d(y, warn=True)
        if len(y) != n_rows:
            raise ValueError(f"y has {len(y)} values, but X has {n_rows} rows")
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        return y

    def _known(self, y, n_rows):
        y = column_or_1d(y)
        if len(y) != n_rows:
            raise ValueError(f"y has {len(y)} values, but X has {n_rows} rows")
        unknown = np.flatnonzero(~np.isin(y, self.classes_))
        if len(unknown):
            raise ValueError(f"y: row {unknown[0]} is of a class that was not in fit; it had {self.classes_.tolist()}")
        return y

    def _fit_class(self, Z, generator):
        n_different = len(np.unique(Z, axis=0))
        if self.n_prototypes != "bic":
            return self._fit_mixture(Z, min(self.n_prototypes, n_different), generator)
        mixtures = [
            self._fit_mixture(Z, n_prototypes, generator)
            for n_prototypes in range(1, min(self.max_prototypes, n_different) + 1)
        ]
        return min(mixtures, key=lambda mixture: mixture.bic(Z))

    def _fit_mixture(self, Z, n_prototypes, generator):
        options = {name: getattr(self, name) for name in ("n_init", "max_iter", "tol", "reg_covar")}
        if self.covariance == "shrunk":
            return ShrunkMixture(n_prototypes, random_state=generator, **options).fit(Z)
        if len(Z) == 1:  # which GaussianMixture refuses, though the prior variance suffices
            Z = np.repeat(Z, 2, axis=0)
        seed = draw_seed(generator)
        # k-means, which a mixture starts from, is not there with array API dispatch; Z is of numpy.
        with config_context(array_api_dispatch=False):
            return GaussianMixture(n_prototypes, covariance_type=self.covariance, random_state=seed, **options).fit(Z)

    def _nearest(self, distances, y):
        if y is not None:
            distances = np.where(self.prototype_classes_ == np.asarray(y)[:, None], distances, np.inf)
        return distances.argmin(axis=1)

    def _describe(self, X, distances):
        names = getattr(self, "feature_names_in_", np.arange(X.shape[1]))
        records, chosen = [], set()
        for prototype, name in enumerate(self.prototype_classes_):
            siblings = np.flatnonzero(self.prototype_classes_ == name)
            of_class = np.flatnonzero(np.isin(self.labels_, siblings))
            own = of_class[self.labels_[of_class] == prototype]
            order = np.argsort(distances[own, prototype], kind="stable")[: self.n_representatives]
            channels = np.argsort(-self.prototypes_[prototype], kind="stable")[: self.n_channels]
            chosen.update(channels.tolist())
            records.append(
                {
                    "class": name,
                    "n": len(own),
                    "share": len(own) / len(of_class),
                    "separation": _separation(X[of_class], self.labels_[of_class], prototype),
                    "rows": own[order].tolist(),
                    "channels": names[channels].tolist(),
                }
            )
        self.coverage_ = pd.DataFrame(records).rename_axis("prototype")
        # Of two prototypes each is as far from the other; rounding must not decide.
        separation = [float(f"{value:.9e}") for value in self.coverage_["separation"]]
        self.ranking_ = np.lexsort((self.coverage_["n"], -np.array(separation)))
        chosen = np.array(sorted(chosen))
        sizes = np.abs(self.prototypes_[:, chosen]).mean(axis=0)
        chosen = chosen[np.argsort(-sizes, kind="stable")]
        self.concept_matrix_ = pd.DataFrame(
            self.prototypes_[:, chosen], index=self.coverage_.index, columns=pd.Index(names[chosen], name="channel")
        )


def _separation(X, labels, prototype):
    """How far the rows of a prototype are from the others, in standard deviations within prototypes."""
    inside = labels == prototype
    n_inside, n_outside = inside.sum(), (~inside).sum()
    if n_inside == 0 or n_outside == 0:
        return 0.0
    within = X.copy()
    for label in np.unique(labels):
        within[labels == label] -= X[labels == label].mean(axis=0)
    difference = X[inside].mean(axis=0) - X[~inside].mean(axis=0)
    length = np.linalg.norm(difference)
    n_free = max(len(X) - len(np.unique(labels)), 1)
    by_chance = np.square(within).sum() / n_free * (1 / n_inside + 1 / n_outside)
    gap = np.sqrt(max(length**2 - by_chance, 0.0))
    deviation = np.sqrt(np.square(within @ (difference / length)).sum() / n_free) if length > 0 else 0.0
    if gap == 0:
        return 0.0
    return float(gap / deviation) if deviation > 0 else float("inf")
