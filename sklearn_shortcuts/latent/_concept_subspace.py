"""The subspace that concepts span among the activations of a layer."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.base import _fit_context as fit_context
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .._random_state import draw_seed, make_random_state
from ..metrics import auc_interval
from ._concept_vector import ConceptVector, degrees_of, layer_of
from ._directions import DIRECTIONS, NoDirectionError
from ._folds import folds_of

_VECTOR = ("kind", "C", "alpha", "balanced", "tol", "max_iter", "n_components")
_ONE_DIRECTION = ("pattern", "nmf")
_DEPENDENT = 1e-6  # what is left of a unit vector without the others, below which it adds no direction


class ConceptSubspace(ClassNamePrefixFeaturesOutMixin, ClassifierMixin, TransformerMixin, BaseEstimator):
    """Find the directions in which one or several concepts move the features of a network, and remove them together.

    Of each concept as many vectors are found as wanted, every further one among the features with those before it
    projected out (iterative nullspace projection [1]_). Vectors of several concepts overlap where the concepts go
    together; an orthonormal basis of all of them takes each direction out once.

    Parameters
    ----------
    kind : {"pattern", "svm", "ridge", "lasso", "logistic", "neuron", "nmf"}, default="pattern"
        As in :class:`ConceptVector`. Without the pattern of a concept the means with and without it are the same, and
        no linear classifier of these rows does better than its intercept alone [2]_; filters need several directions
        to get there.
    rank : int or "auto", default=1
        Most directions of each concept; there are fewer where nothing is left that goes with it. "auto" goes on until
        cross-fitted directions of what is left rank held-out rows no better than chance, see ``residual_aurocs_``.
        "pattern" and "nmf" have no second one.
    scope : object, default=None
        Fit on rows of this class of the diagnosis only, which ``target`` tells in ``fit``. None means all rows.
    C : float, default=1.0
        Inverse strength of the penalty of "svm" and "logistic".
    alpha : float, default=None
        Strength of the penalty of "ridge" and "lasso"; None as in :class:`ConceptVector`.
    balanced : bool, default=True
        Whether rows with and without a concept get the same total weight when its vectors are found.
    tol : float, default=1e-6
        Tolerance of the solvers of "svm", "lasso" and "logistic".
    max_iter : int, default=10000
        Most iterations of these solvers.
    n_components : int, default=64
        Factors of "nmf".
    random_state : int, RandomState instance or None, default=None
        Decides what "nmf" draws; not used by other kinds.
    cv : int, splitter or iterable, default=5
        Folds of ``rank="auto"``, with labels in equal shares, or how to split.
    layer : str, default=None
        Name of the layer whose features these are. None takes it from the names of the columns if ``X`` is a DataFrame
        of :class:`LayerFeatures` of one layer.

    Attributes
    ----------
    components_ : ndarray of shape (k, n_features)
        Orthonormal basis of all directions, in the order in which they were found.
    clean_levels_, artifact_levels_ : ndarray of shape (k,)
        Mean projections on the basis of the training rows that have none of the concepts, and of those that have any.
        Soft labels count as shares.
    mean_clean_, mean_artifact_ : ndarray of shape (k,)
        The same, by the names that :class:`ConceptVector` has for its one direction.
    coef_ : ndarray of shape (n_concepts, n_features)
        First vector of each concept, of length 1. Not orthogonal to each other.
    intercept_ : ndarray of shape (n_concepts,)
        Added to the projections on ``coef_``, so that they are positive for rows with the concept.
    n_iter_ : int
        Most iterations that the solver took for one of the first vectors; 1 for kinds that need none.
    ranks_ : ndarray of int of shape (n_concepts,)
        Directions found for each concept. They may add up to more than ``k`` where concepts share some.
    residual_aurocs_ : DataFrame or None
        With ``rank="auto"`` one row per concept and number of directions removed: the area under the ROC curve of
        cross-fitted further directions, with limits of 95 % confidence. The search stopped where the lower limit was no
        longer above one half.
    concepts_ : ndarray of shape (n_concepts,)
        Names of the columns if the labels came as a DataFrame, their numbers otherwise.
    layer_ : str or None
        Name of the layer.
    classes_ : ndarray of shape (2,)
        Labels without and with the concept; 0 and 1 for several concepts and for soft labels.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if ``X`` was a DataFrame.

    See Also
    --------
    ConceptVector : One direction, with probabilities and cross-fitted scores.

    References
    ----------
    .. [1] Ravfogel et al. (2020). Null It Out: Guarding Protected Attributes by Iterative Nullspace Projection. ACL,
       algorithm 1.
    .. [2] Belrose et al. (2023). LEACE: Perfect linear concept erasure in closed form. NeurIPS, theorem 3.1.

    Examples
    --------
    Two artifacts that often come together:

    >>> import numpy as np
    >>> from sklearn_shortcuts.latent import ConceptSubspace
    >>> rng = np.random.default_rng(0)
    >>> artifacts = (rng.random((300, 2)) < [[0.5, 0.2]]) | (rng.random((300, 1)) < 0.2)
    >>> X = rng.normal(size=(300, 5)) + artifacts @ np.array([[3, 0, 0, 0, 0], [0, 3, 0, 0, 0]])
    >>> subspace = ConceptSubspace().fit(X, artifacts.astype(int))
    >>> subspace.components_.shape
    (2, 5)
    >>> cleaned = subspace.project_out(X)
    >>> bool(np.allclose(subspace.transform(cleaned), subspace.mean_clean_))
    True
    """

    _parameter_constraints: dict = {
        "kind": [StrOptions(set(DIRECTIONS))],
        "rank": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "scope": "no_validation",
        "C": [Interval(Real, 0, None, closed="neither")],
        "alpha": [Interval(Real, 0, None, closed="neither"), None],
        "balanced": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "cv": ["cv_object"],
        "layer": [str, None],
    }

    def __init__(
        self,
        kind="pattern",
        *,
        rank=1,
        scope=None,
        C=1.0,
        alpha=None,
        balanced=True,
        tol=1e-6,
        max_iter=10000,
        n_components=64,
        random_state=None,
        cv=5,
        layer=None,
    ):
        self.kind = kind
        self.rank = rank
        self.scope = scope
        self.C = C
        self.alpha = alpha
        self.balanced = balanced
        self.tol = tol
        self.max_iter = max_iter
        self.n_components = n_components
        self.random_state = random_state
        self.cv = cv
        self.layer = layer

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, target=None, groups=None):
        """Find the directions.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.
        y : array-like of shape (n,) or (n, n_concepts)
            Of one concept two labels, of which the greater means that it is there, or floats in [0, 1], the degree to
            which it is. Of several one column each, with 0 and 1 or floats in [0, 1]. -1 means that it is unknown:
            the row takes no part in finding the vectors of that concept.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows, at least 0; rows with 0 are left out.
        target : array-like of shape (n,), default=None
            Classes of the diagnosis; needed with ``scope``.
        groups : array-like of shape (n,), default=None
            Patients, who then stand on one side of each split of ``rank="auto"`` and of "nmf".

        Returns
        -------
        ConceptSubspace
            Itself.

        Raises
        ------
        ValueError
            If labels are of another kind, if no feature goes with a concept, if no row is known to have none of the
            concepts or none to have any, or if no row is of the class ``scope``.
        """
        if self.rank not in (1, "auto") and self.kind in _ONE_DIRECTION:
            raise ValueError(
                f"rank={self.rank}: kind={self.kind!r} has one direction per concept; give rank=1, or choose a filter "
                "such as 'logistic'"
            )
        names = getattr(y, "columns", None)
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True)
        check_consistent_length(X, target, groups)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        kept = (weights > 0) & ConceptVector(scope=self.scope)._in_scope(target, len(X))
        if not kept.any():
            raise ValueError("no row is left: sample_weight is 0 for all rows of the scope")
        X, y, weights = X[kept], y[kept], weights[kept]
        groups = None if groups is None else np.asarray(groups)[kept]
        degrees, known = self._read_labels(y)
        self.concepts_ = np.arange(degrees.shape[1]) if names is None else np.asarray(names)
        vector = ConceptVector(**{name: getattr(self, name) for name in _VECTOR})
        vector.random_state = draw_seed(make_random_state(self.random_state))
        directions, firsts, tables = [], [], []
        for number, concept in enumerate(self.concepts_):
            rows = known[:, number]
            own = None if groups is None else groups[rows]
            parts = X[rows], degrees[rows, number], weights[rows], own, np.flatnonzero(kept)[rows]
            try:
                found, first, table = self._find(vector, *parts)
            except ValueError as error:
                if degrees.shape[1] == 1:
                    raise
                raise type(error)(f"concept {str(concept)!r}: {error}") from None
            directions.append(found)
            firsts.append(first)
            tables.append(table)
        self.coef_ = np.concatenate([first.coef_ for first in firsts])
        self.intercept_ = np.concatenate([first.intercept_ for first in firsts])
        self.n_iter_ = max(first.n_iter_ for first in firsts)
        self.ranks_ = np.array([len(found) for found in directions])
        self.residual_aurocs_ = None if tables[0] is None else pd.concat(tables, keys=self.concepts_, names=["concept"])
        self.components_ = _orthonormal(np.concatenate(directions))
        self._find_levels(X, np.where(known, degrees, 0), known, weights)
        self.layer_ = layer_of(self)
        return self

    def transform(self, X):
        """Project rows on the basis.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n, k)
            Projections on ``components_``.
        """
        return self._checked(X) @ self.components_.T

    def project_out(self, X):
        """Move rows along the basis to the level of rows without any of the concepts.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n, n_features)
            ``X - (X @ components_.T - mean_clean_) @ components_``.
        """
        X = self._checked(X)
        return X - (X @ self.components_.T - self.clean_levels_) @ self.components_

    def decision_function(self, X):
        """Give the signed distance from the boundary between rows without and with each concept.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n,) or (n, n_concepts)
            By the first vector of each concept, in units of the features; positive with the concept. One column per
            concept if the labels had columns.
        """
        scores = self._checked(X) @ self.coef_.T + self.intercept_
        return scores if self._has_columns else scores[:, 0]

    def predict(self, X):
        """Tell which rows have the concepts.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n,) or (n, n_concepts)
            Values of ``classes_``.
        """
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int)]

    def score(self, X, y, sample_weight=None):
        """Give the area under the ROC curve of the first vector, averaged over the concepts.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.
        y : array-like of shape (n,) or (n, n_concepts)
            Labels as in ``fit``; soft ones count as present from one half on, unknown ones do not count.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows.

        Returns
        -------
        float
            In [0, 1].

        Raises
        ------
        ValueError
            If there are labels of one class only, or of another number of concepts than in ``fit``.
        """
        scores = self._checked(X) @ self.coef_.T
        degrees, known = self._read_labels(np.asarray(y), self.classes_)
        if degrees.shape[1] != len(self.coef_):
            raise ValueError(f"y has {degrees.shape[1]} concepts, but {len(self.coef_)} in fit")
        check_consistent_length(scores, degrees, sample_weight)
        aurocs = []
        for column, rows in enumerate(known.T):
            weights = None if sample_weight is None else np.asarray(sample_weight)[rows]
            aurocs.append(roc_auc_score(degrees[rows, column] >= 0.5, scores[rows, column], sample_weight=weights))
        return float(np.mean(aurocs))

    @property
    def mean_clean_(self):
        return self.clean_levels_

    @property
    def mean_artifact_(self):
        return self.artifact_levels_

    @property
    def _n_features_out(self):
        return len(self.components_)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "components_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        tags.input_tags.positive_only = self.kind == "nmf"
        return tags

    def _checked(self, X):
        check_is_fitted(self)
        return validate_data(self, X, reset=False, dtype=np.float64)

    def _read_labels(self, y, classes=None):
        """Degrees of every concept, of shape (n, n_concepts), and where they are known."""
        if y.ndim == 1:
            known = y != -1 if y.dtype.kind in "iuf" else np.ones(len(y), dtype=bool)
            found, values = degrees_of(y[known])
            if classes is not None and not np.array_equal(found, classes):
                raise ValueError(f"y has the labels {found.tolist()}, but {classes.tolist()} in fit")
            degrees = np.zeros(len(y))
            degrees[known] = values
        else:
            try:
                degrees = y.astype(np.float64)
            except (TypeError, ValueError):
                raise ValueError("y: the labels of several concepts must be numbers, 0 and 1") from None
            known = degrees != -1
            outside = np.argwhere(known & ~((degrees >= 0) & (degrees <= 1)))
            if len(outside):
                row, column = outside[0]
                raise ValueError(
                    f"y: row {row} has {degrees[row, column]:.6g} for concept {column}; labels of several concepts lie "
                    "in [0, 1], and -1 means unknown"
                )
            found = np.array([0, 1])
        if classes is None:
            self.classes_, self._has_columns = found, y.ndim == 2
        return degrees.reshape(len(y), -1), known.reshape(len(y), -1)

    def _find(self, vector, X, t, weights, groups, rows):
        """Directions of one concept, its first vector, and the table of what was left."""
        chain = _Chain(vector, X, t, weights, groups)
        first = chain.advance()
        if self.rank != "auto":
            while len(chain.directions) < self.rank and chain.advance(optional=True):
                pass
            return chain.directions, first, None
        positive = t >= 0.5
        folds = []
        for train, test in folds_of(self.cv, rows, positive, groups):
            own = None if groups is None else groups[train]
            folds.append((_Chain(vector, X[train], t[train], weights[train], own), X[test], test))
        records = [_judge(folds, positive, groups)]
        while True:
            records.append(_judge(folds, positive, groups))  # of what the directions so far have left
            if records[-1]["low"] <= 0.5 or chain.advance(optional=True) is None:
                break
        return chain.directions, first, pd.DataFrame(records).rename_axis("n_removed")

    def _find_levels(self, X, degrees, known, weights):
        none = np.prod(1 - degrees, axis=1)
        clean, artifact = weights * none * known.all(axis=1), weights * (1 - none)
        if not clean.any():
            raise ValueError("y: no row is known to have none of the concepts; the level without them needs some")
        projected = X @ self.components_.T
        self.clean_levels_, self.artifact_levels_ = (
            np.average(projected, axis=0, weights=part) for part in (clean, artifact)
        )


class _Chain:
    """Vectors found one after the other, each among the features without those before it."""

    def __init__(self, vector, X, t, weights, groups):
        self.vector = vector
        self.X = X
        self.t, self.weights, self.groups = t, weights, groups
        self.directions = np.empty((0, X.shape[1]))

    def advance(self, optional=False):
        """Find the next vector; where it is optional, None if there is none."""
        if len(self.directions) and self.vector.kind in _ONE_DIRECTION:
            return None
        try:
            vector = clone(self.vector)
            vector.fit(_without(self.X, self.directions), self.t, self.weights, groups=self.groups)
            direction = _without(vector.coef_, self.directions)
            length = np.linalg.norm(direction)
            if length < _DEPENDENT:
                raise NoDirectionError("the vector is one of those before it")
        except NoDirectionError:
            if optional:
                return None
            raise
        self.directions = np.concatenate([self.directions, direction / length])
        return vector


def _judge(folds, positive, groups):
    """How well the next vectors of chains, which are found, rank rows that took no part in them."""
    ranks = np.full(len(positive), np.nan)
    for chain, X, test in folds:
        left = _without(X, chain.directions)
        vector = chain.advance(optional=True)
        # Projections on vectors of different folds have no common origin: only ranks within a fold are compared.
        ranks[test] = 0.5 if vector is None else rankdata(vector.transform(left)[:, 0]) / (len(test) + 1)
    tested = np.isfinite(ranks)
    own = None if groups is None else groups[tested]
    auroc, low, high, _ = auc_interval(positive[tested], ranks[tested], groups=own)
    return {"auroc": auroc, "low": low, "high": high}


def _without(X, directions):
    return X - (X @ directions.T) @ directions


def _orthonormal(directions):
    """Orthonormal basis of the span of unit vectors, each vector adding what is new in it."""
    basis = np.empty((0, directions.shape[1]))
    for direction in directions:
        new = _without(direction, basis)
        length = np.linalg.norm(new)
        if length > _DEPENDENT:
            new = _without(new / length, basis)  # once more, for what rounding left
            basis = np.concatenate([basis, new[None] / np.linalg.norm(new)])
    return basis
