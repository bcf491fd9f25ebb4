"""The direction of a concept among the activations of a layer."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import kendalltau
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.base import _fit_context as fit_context
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, check_cv
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ._directions import DIRECTIONS


class ConceptVector(ClassNamePrefixFeaturesOutMixin, ClassifierMixin, TransformerMixin, BaseEstimator):
    """Find the direction in which a concept, such as an artifact, moves the features of a network.

    A linear classifier whose coefficients are the concept's activation vector (CAV). Kinds differ in what the vector
    means: filters ("svm", "ridge", "lasso", "logistic") separate rows with the concept from those without as well as
    they can, and turn away from the concept's own direction to cancel what else varies. The pattern [1]_ is the change
    of the features with the concept. Take a filter to find rows, the pattern to edit features or to compare
    directions.

    Parameters
    ----------
    kind : {"pattern", "svm", "ridge", "lasso", "logistic", "neuron"}, default="pattern"
        - "pattern": covariance of each feature with the label divided by the variance of the label, equation 5 of
          [1]_; for labels of 0 and 1, the difference of the two means;
        - "svm", "logistic": :class:`~sklearn.svm.LinearSVC` with squared hinge loss,
          :class:`~sklearn.linear_model.LogisticRegression`;
        - "ridge", "lasso": :class:`~sklearn.linear_model.Ridge`, :class:`~sklearn.linear_model.Lasso` on labels of -1
          and 1;
        - "neuron": the one channel with the greatest distance of its AUROC from one half.
    scope : object, default=None
        Fit on rows of this class of the diagnosis only, which ``target`` tells in ``fit``: where the concept goes with
        a class, the vector would else become that of the class. None means all rows.
    C : float, default=1.0
        Inverse strength of the penalty of "svm" and "logistic".
    alpha : float, default=None
        Strength of the penalty of "ridge" and "lasso". None means 1 for "ridge", and for "lasso" one tenth of the
        smallest strength that leaves no channel.
    balanced : bool, default=True
        Whether rows with and without the concept get the same total weight. For labels of 0 and 1 "pattern" and
        "neuron" do not depend on it.
    tol : float, default=1e-6
        Tolerance of the solvers of "svm", "lasso" and "logistic".
    max_iter : int, default=10000
        Most iterations of these solvers.
    layer : str, default=None
        Name of the layer whose features these are, for those that use the vector. None takes it from the names of the
        columns if ``X`` is a DataFrame of :class:`LayerFeatures` of one layer.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features)
        Vector of length 1, pointing to the concept.
    raw_coef_ : ndarray of shape (1, n_features)
        The vector as the kind defines it.
    intercept_ : ndarray of shape (1,)
        Added to the projection on ``coef_``, so that it is positive for rows with the concept: that of the filter, or
        minus the middle of the two means.
    mean_clean_, mean_artifact_ : float
        Mean projection on ``coef_`` of the training rows without and with the concept.
    components_ : ndarray of shape (1, n_features)
        ``coef_``; with the next two, what :class:`ConceptSubspace` calls its basis and the levels along it.
    clean_levels_, artifact_levels_ : ndarray of shape (1,)
        ``mean_clean_`` and ``mean_artifact_``.
    slope_ : float
        Turns ``decision_function`` into log-odds: the length of ``raw_coef_`` for "logistic", for other kinds that of
        two normal distributions with equal variance along the vector.
    layer_ : str or None
        Name of the layer.
    classes_ : ndarray of shape (2,)
        Labels without and with the concept; 0 and 1 for soft labels.
    n_iter_ : int
        Iterations of the solver; 1 for kinds that need none.
    cross_validated_ : DataFrame
        Result of the last :meth:`evaluate`.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if ``X`` was a DataFrame.

    See Also
    --------
    LayerFeatures : Gives the features.

    References
    ----------
    .. [1] Pahde et al. (2022). Navigating Neural Space: Revisiting Concept Activation Vectors to Overcome Directional
       Divergence. arXiv:2202.03482.

    Examples
    --------
    A concept moves the first feature, and a distractor moves both:

    >>> import numpy as np
    >>> from sklearn_shortcuts.latent import ConceptVector
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(400) % 2
    >>> X = np.outer(y, [1, 0]) + np.outer(rng.normal(size=400), [1, 1]) + rng.normal(0, 0.1, (400, 2))
    >>> ConceptVector("pattern").fit(X, y).coef_.round(1).tolist()
    [[1.0, 0.2]]
    >>> ConceptVector("logistic").fit(X, y).coef_.round(1).tolist()
    [[0.7, -0.7]]
    """

    _parameter_constraints: dict = {
        "kind": [StrOptions(set(DIRECTIONS))],
        "scope": "no_validation",
        "C": [Interval(Real, 0, None, closed="neither")],
        "alpha": [Interval(Real, 0, None, closed="neither"), None],
        "balanced": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "layer": [str, None],
    }

    def __init__(
        self,
        kind="pattern",
        *,
        scope=None,
        C=1.0,
        alpha=None,
        balanced=True,
        tol=1e-6,
        max_iter=10000,
        layer=None,
    ):
        self.kind = kind
        self.scope = scope
        self.C = C
        self.alpha = alpha
        self.balanced = balanced
        self.tol = tol
        self.max_iter = max_iter
        self.layer = layer

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, target=None):
        """Find the vector.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.
        y : array-like of shape (n,)
            Two labels, of which the greater means that the concept is there, or floats in [0, 1], the degree to which
            it is.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows, at least 0; rows with 0 are left out.
        target : array-like of shape (n,), default=None
            Classes of the diagnosis; needed with ``scope``.

        Returns
        -------
        ConceptVector
            Itself.

        Raises
        ------
        ValueError
            If the labels are neither of two classes nor in [0, 1], if no feature goes with them, or if no row is of
            the class ``scope``.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        rows = np.flatnonzero((weights > 0) & self._in_scope(target, len(X)))
        if len(rows) == 0:
            raise ValueError("no row is left: sample_weight is 0 for all rows of the scope")
        X, weights = X[rows], weights[rows]
        self.classes_, t = _degrees(y[rows])
        present, absent = weights * t, weights * (1 - t)
        scale = weights.sum() / 2 / np.array([present.sum(), absent.sum()]) if self.balanced else (1, 1)
        # The origin of the features decides nothing, neither exactly nor by rounding.
        origin = np.average(X, axis=0, weights=weights)
        X = X - origin
        spread = np.sqrt(np.average(np.square(X), axis=0, weights=weights).sum())
        if spread <= 1e-12 * np.linalg.norm(origin):
            raise ValueError("X: all rows have the same features, so that none goes with the labels")
        raw, intercept, self.n_iter_ = DIRECTIONS[self.kind](X, t, scale[0] * present, scale[1] * absent, self)
        length = np.linalg.norm(raw)
        if length == 0 or (self.kind == "pattern" and length <= 1e-12 * spread):
            raise ValueError(
                f"kind={self.kind!r} finds no feature that goes with the labels"
                + ("; choose a smaller alpha" if self.kind == "lasso" else "")
            )
        self.raw_coef_ = raw[None]
        self.coef_ = self.raw_coef_ / length
        projected = X @ self.coef_[0]
        with_concept, without = (np.average(projected, weights=part) for part in (present, absent))
        offset = -(with_concept + without) / 2 if intercept is None else intercept / length
        shift = origin @ self.coef_[0]
        self.mean_artifact_, self.mean_clean_ = float(with_concept + shift), float(without + shift)
        self.intercept_ = np.array([offset - shift])
        self.slope_ = float(length)
        if self.kind != "logistic":
            squares = present @ np.square(projected - with_concept) + absent @ np.square(projected - without)
            gap = max(with_concept - without, 1e-6 * spread)  # a filter may be wrong about its own rows
            self.slope_ = float(gap / max(squares / weights.sum(), (1e-6 * gap) ** 2))
        self.layer_ = self._find_layer()
        return self

    def decision_function(self, X):
        """Give the signed distance from the boundary between rows without and with the concept.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n,)
            In units of the features; positive with the concept.
        """
        return self._projected(X) + self.intercept_[0]

    def predict(self, X):
        """Tell which rows have the concept.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n,)
            Values of ``classes_``.
        """
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int)]

    def predict_proba(self, X):
        """Give the probability that rows have the concept.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n, 2)
            Probabilities without and with the concept: the logistic function of ``slope_`` times the distance.
        """
        scores = self.decision_function(X) * self.slope_
        return np.column_stack([expit(-scores), expit(scores)])

    def transform(self, X):
        """Project rows on the vector.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n, 1)
            Projections on ``coef_``.
        """
        return self._projected(X)[:, None]

    def score(self, X, y, sample_weight=None):
        """Give the area under the ROC curve of the projections.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.
        y : array-like of shape (n,)
            Labels of both classes as in ``fit``; soft ones count as present from one half on.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows.

        Returns
        -------
        float
            In [0, 1].

        Raises
        ------
        ValueError
            If the labels are not those of ``fit``, or all the same.
        """
        projected = self._projected(X)
        classes, degrees = _degrees(column_or_1d(y))
        if not np.array_equal(classes, self.classes_):
            raise ValueError(f"y has the labels {classes.tolist()}, but {self.classes_.tolist()} in fit")
        return float(roc_auc_score(degrees >= 0.5, projected, sample_weight=sample_weight))

    def evaluate(self, X, y, groups=None, *, cv=5, sample_weight=None, target=None):
        """Score vectors on rows that they were not fitted on.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.
        y : array-like of shape (n,)
            Labels as in ``fit``; for AUROC and average precision soft ones count as present from one half on.
        groups : array-like of shape (n,), default=None
            Patients, who then stand on one side of each split.
        cv : int, splitter or iterable, default=5
            Number of folds, with labels in equal shares, or how to split.
        sample_weight : array-like of shape (n,), default=None
            Weights of the training rows.
        target : array-like of shape (n,), default=None
            Classes of the diagnosis; with ``scope`` vectors are fitted and scored on rows of that class.

        Returns
        -------
        DataFrame
            Rows "auroc", "average_precision" and "kendall_tau"; columns "mean" and "std" over folds, and the folds by
            number. Kept as ``cross_validated_``; nothing else of this estimator is changed.

        Raises
        ------
        ValueError
            If a patient stands on both sides of a split, or a side lacks a class.
        """
        X = check_array(X, dtype=np.float64, input_name="X", estimator=self)
        y = column_or_1d(y)
        check_consistent_length(X, y, groups, sample_weight)
        rows = np.flatnonzero(self._in_scope(target, len(X)))
        X, y = X[rows], y[rows]
        groups, weights = (None if v is None else np.asarray(v)[rows] for v in (groups, sample_weight))
        degrees = _degrees(y)[1]
        positive = degrees >= 0.5
        if isinstance(cv, Integral):
            cv = StratifiedKFold(cv) if groups is None else StratifiedGroupKFold(cv)
        folds = {}
        for fold, (train, test) in enumerate(check_cv(cv).split(X, positive, groups)):
            if groups is not None and np.isin(groups[test], groups[train]).any():
                row = rows[test][np.isin(groups[test], groups[train])][0]
                raise ValueError(
                    f"cv puts the patient (group) of row {row} into both the training and the test part of fold "
                    f"{fold}; give a splitter that respects groups, such as StratifiedGroupKFold"
                )
            for part, side in ((train, "training"), (test, "test")):
                if len(np.unique(positive[part])) < 2:
                    raise ValueError(
                        f"y: the {side} part of fold {fold} has rows of one class only; choose fewer folds"
                    )
            vector = clone(self).set_params(scope=None)
            vector.fit(X[train], degrees[train], None if weights is None else weights[train])
            projected = vector.transform(X[test])[:, 0]
            folds[fold] = {
                "auroc": roc_auc_score(positive[test], projected),
                "average_precision": average_precision_score(positive[test], projected),
                "kendall_tau": kendalltau(degrees[test], projected).statistic,
            }
        table = pd.DataFrame(folds)
        summary = pd.DataFrame({"mean": table.mean(axis=1), "std": table.std(axis=1, ddof=1)})
        self.cross_validated_ = pd.concat([summary, table], axis=1)
        return self.cross_validated_

    def alignment(self, X_with, X_without):
        """Compare the vector with what the concept truly changes in pairs of the same images with and without it.

        Parameters
        ----------
        X_with : array-like of shape (n, n_features)
            Features of images with the concept.
        X_without : array-like of shape (n, n_features)
            Features of the same images without it, in the same order.

        Returns
        -------
        float
            Cosine of ``coef_`` and the mean difference, in [-1, 1].

        Raises
        ------
        ValueError
            If the numbers of rows differ, or the mean difference is 0.
        """
        check_is_fitted(self)
        X_with, X_without = (validate_data(self, X, reset=False, dtype=np.float64) for X in (X_with, X_without))
        if len(X_with) != len(X_without):
            raise ValueError(f"X_with has {len(X_with)} rows, but X_without {len(X_without)}; give pairs of rows")
        difference = (X_with - X_without).mean(axis=0)
        length = np.linalg.norm(difference)
        if length == 0:
            raise ValueError("X_with and X_without have the same mean, so that there is no direction to compare with")
        return float(self.coef_[0] @ difference / length)

    @property
    def components_(self):
        return self.coef_

    @property
    def clean_levels_(self):
        return np.array([self.mean_clean_])

    @property
    def artifact_levels_(self):
        return np.array([self.mean_artifact_])

    @property
    def _n_features_out(self):
        return 1

    def __sklearn_is_fitted__(self):
        return hasattr(self, "coef_")  # evaluate leaves its result without a vector

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _projected(self, X):
        check_is_fitted(self)
        return validate_data(self, X, reset=False, dtype=np.float64) @ self.coef_[0]

    def _in_scope(self, target, n_rows):
        if self.scope is None:
            return np.ones(n_rows, dtype=bool)
        if target is None:
            raise ValueError(f"scope={self.scope!r} needs the classes of the diagnosis: give target=...")
        target = column_or_1d(target)
        if len(target) != n_rows:
            raise ValueError(f"target has {len(target)} values, but X has {n_rows} rows")
        inside = target == self.scope
        if not np.any(inside):
            raise ValueError(f"scope: no row of target is {self.scope!r}; it has {np.unique(target).tolist()}")
        return inside

    def _find_layer(self):
        if self.layer is not None:
            return self.layer
        names = {str(name).partition(":")[::2] for name in getattr(self, "feature_names_in_", ())}
        layers = {layer if channel else None for layer, channel in names}
        return layers.pop() if len(layers) == 1 else None


def _degrees(y):
    """Classes, and for each row the degree in [0, 1] to which the concept is there."""
    kind = type_of_target(y, input_name="y", raise_unknown=True)
    if kind == "continuous":
        y = np.asarray(y, dtype=np.float64)
        outside = np.flatnonzero((y < 0) | (y > 1))
        if len(outside):
            raise ValueError(
                f"y is continuous, but row {outside[0]} has {y[outside[0]]:.6g}: soft labels lie in [0, 1]; for "
                "labels give two classes"
            )
        if np.ptp(y) == 0:
            raise ValueError("y: all soft labels are the same, as of one class; rows must differ in the concept")
        return np.array([0, 1]), y
    if kind != "binary":
        raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError("y has rows of one class only; a concept needs rows with it and rows without it")
    return classes, codes.astype(np.float64)
