"""Logistic regression that does not go by a concept among its features."""

from numbers import Integral, Real

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, _fit_context
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..latent import ConceptVector
from ._concept_labels import artifact_levels, check_artifact, directions, fit_concept, is_fitted


class ConceptRegularizedLogisticRegression(LinearClassifierMixin, BaseEstimator):
    """Fit a logistic regression whose scores do not change along a concept, such as an artifact.

    What :class:`RRClArCClassifier` and :class:`AClArCClassifier` make of the last layer of a network, on features that
    any network has given, such as embeddings on disk. The problem is convex and solved to the minimum.

    Parameters
    ----------
    method : {"rr_clarc", "a_clarc"}, default="rr_clarc"
        - "rr_clarc": a penalty on the change of the scores along the concept;
        - "a_clarc": training rows are moved along the concept to the level of those with the artifact. Since it then is
          the same in all rows, a regression with intercept has no use for it.
    lambda_ : float, default=1.0
        Strength of the penalty of "rr_clarc", in units of the mean loss. 0 is an ordinary logistic regression, infinity
        one on features without the concept.
    C : float, default=1.0
        Inverse strength of the L2 penalty, as in :class:`~sklearn.linear_model.LogisticRegression`.
    concept : estimator, default=None
        Learns the concept from features and artifact labels, such as
        :class:`~sklearn_shortcuts.latent.ConceptVector`, or without labels, such as
        :class:`~sklearn.decomposition.PCA`: anything that has ``components_`` or ``coef_`` once it is fitted. By
        default ``ConceptVector("pattern")``. One that is fitted is used as it is.
    fit_intercept : bool, default=True
        Whether there is an intercept.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes.
    tol : float, default=1e-6
        Tolerance of the solver.
    max_iter : int, default=10000
        Most iterations of the solver.

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        Weights.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Intercepts.
    concept_ : estimator
        The fitted concept.
    classes_ : ndarray of shape (n_classes,)
        Classes.
    n_iter_ : ndarray of int of shape (1,)
        Iterations of the solver.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, if ``X`` was a DataFrame.

    See Also
    --------
    RRClArCClassifier : The same for networks, behind any layer.
    LastLayerRetraining : Weights rows in place of the concept.

    Notes
    -----
    With the weights ``W``, "rr_clarc" minimizes the weighted mean of the cross-entropies plus
    ``||W||^2 / (2 C n) + lambda_ * sum over directions(var(X v) * ||W v||^2)``, where n is the sum of the weights and
    ``v`` a unit vector of the concept. ``||W v||^2`` is the latent gradient penalty of a linear layer (for several
    classes that of all scores), and the variance over the training rows makes it independent of the features' scale: it
    is the variance of the scores that the concept causes. A change of basis turns this into the problem of
    :class:`~sklearn.linear_model.LogisticRegression`, which solves it.

    References
    ----------
    M. Dreyer et al., "From Hope to Safety: Unlearning Biases of Deep Models via Gradient Penalization in Latent
    Space", AAAI (2024).

    Examples
    --------
    A feature tells the class, another one the artifact, which goes with the class in most rows:

    >>> import numpy as np
    >>> from sklearn_shortcuts.mitigation import ConceptRegularizedLogisticRegression
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(400) % 2
    >>> artifact = np.where(rng.random(400) < 0.9, y, 1 - y)
    >>> X = np.column_stack([y, 3 * artifact]) + rng.normal(size=(400, 2))
    >>> for lambda_ in (0, 10):
    ...     model = ConceptRegularizedLogisticRegression(lambda_=lambda_).fit(X, y, artifact=artifact)
    ...     print(abs(model.coef_ @ model.concept_.coef_.T).item() > 0.5)
    True
    False
    """

    _parameter_constraints: dict = {
        "method": [StrOptions({"rr_clarc", "a_clarc"})],
        "lambda_": [Interval(Real, 0, None, closed="left")],
        "C": [Interval(Real, 0, None, closed="neither")],
        "concept": [HasMethods(["fit"]), None],
        "fit_intercept": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        method="rr_clarc",
        *,
        lambda_=1.0,
        C=1.0,
        concept=None,
        fit_intercept=True,
        class_weight=None,
        tol=1e-6,
        max_iter=10000,
    ):
        self.method = method
        self.lambda_ = lambda_
        self.C = C
        self.concept = concept
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter

    def __sklearn_clone__(self):
        again = super().__sklearn_clone__()
        if is_fitted(self.concept):
            again.concept = self.concept  # it would no longer be what it is
        return again

    def __sklearn_is_fitted__(self):
        return hasattr(self, "coef_")  # the parameter lambda_ has the look of a fitted attribute

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, artifact=None, sample_weight=None):
        """Learn the concept and fit the regression.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.
        y : array-like of shape (n,)
            Classes.
        artifact : array-like of shape (n,) or (n, n_artifacts), default=None
            1 for rows with the artifact, 0 without, a degree in between, or -1 where it is unknown: such rows take no
            part in learning the concept. Not needed by a concept that is fitted or learns without labels.
        sample_weight : array-like of shape (n,), default=None
            Weights, at least 0; a row of weight 0 counts as absent.

        Returns
        -------
        ConceptRegularizedLogisticRegression
            Itself.

        Raises
        ------
        ValueError
            If artifact labels are missing or wrong, or there is only one class.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        used = np.flatnonzero(weight > 0)
        if len(used) == 0:
            raise ValueError("sample_weight: all rows have the weight 0")
        artifact, _ = check_artifact(artifact, len(X))
        concept = ConceptVector("pattern") if self.concept is None else self.concept
        given = None if sample_weight is None else weight
        self.concept_ = fit_concept(concept, X.__getitem__, artifact, y=y, sample_weight=given)
        basis = directions(self.concept_, X.shape[1])
        rows, labels, weight = X[used], y[used], weight[used]
        classes = np.unique(labels)
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs rows of at least 2 classes, but the data contain only one class: "
                f"{classes[0]!r}"
            )
        projected = rows @ basis.T
        if self.method == "rr_clarc":
            spread = np.average(
                np.square(projected - np.average(projected, axis=0, weights=weight)), axis=0, weights=weight
            )
            shrunk = 1 / np.sqrt(1 + 2 * self.lambda_ * self.C * weight.sum() * spread)
            rows = rows + (projected * (shrunk - 1)) @ basis
        else:
            level = self._level(basis, X, artifact, used, projected, weight)
            rows = rows + (level - projected) @ basis
        model = LogisticRegression(
            C=self.C,
            fit_intercept=self.fit_intercept,
            class_weight=self.class_weight,
            tol=self.tol,
            max_iter=self.max_iter,
        ).fit(rows, labels, sample_weight=weight)
        self.classes_, self.intercept_, self.n_iter_ = model.classes_, model.intercept_, model.n_iter_
        self.coef_ = model.coef_
        if self.method == "rr_clarc":
            self.coef_ = model.coef_ + (model.coef_ @ basis.T * (shrunk - 1)) @ basis
        elif self.fit_intercept:
            # At the minimum it is 0 along the concept; what the solver has left there belongs to the intercept.
            along = model.coef_ @ basis.T
            self.coef_, self.intercept_ = model.coef_ - along @ basis, model.intercept_ + along @ level
        return self

    def predict_proba(self, X):
        """Give the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n, n_classes)
            Probabilities in the order of ``classes_``.
        """
        check_is_fitted(self)
        scores = self.decision_function(X)
        return np.column_stack([expit(-scores), expit(scores)]) if scores.ndim == 1 else softmax(scores, axis=1)

    def _level(self, basis, X, artifact, used, projected, weight):
        """Projections that all rows get."""
        if artifact is None and not hasattr(self.concept_, "artifact_levels_"):
            return np.average(projected, axis=0, weights=weight)  # with an intercept, any level does
        return artifact_levels(self.concept_, basis, lambda rows: X[rows] @ basis.T, artifact, used)
