"""Features brought to the level that they have without an artifact."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ._artifact_rows import ConceptRows, find_artifact, group_codes, require_artifact
from ._concept_directions import concept_directions, fit_concept, is_fitted_concept
from ._false_positive_threshold import fit_detector


class ConceptProjector(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Bring features to a given level along the direction of an artifact, so that they no longer tell of it.

    What :class:`PClArC` does inside a network, for arrays of features such as those of
    :class:`~sklearn_shortcuts.latent.LayerFeatures`, before any classifier.

    Parameters
    ----------
    concept : ConceptVector or other estimator with ``coef_`` or ``components_``, default=None
        Artifact to remove, by default ``ConceptVector("pattern")``. A copy is fitted to the labels of the artifact.
        One that is fitted, best in a :class:`~sklearn.frozen.FrozenEstimator` since searches clone all others, is used
        as it is.
    level : {"clean", "artifact", "zero"}, default="clean"
        Level along the concept that rows get: the mean of the rows without the artifact, of those with it, or 0, which
        is the orthogonal projection.
    condition : {"always", "concept"}, default="always"
        Which rows are changed: all, or those that ``detector`` flags.
    detector : estimator, default=None
        What flags rows with ``condition="concept"`` by its ``decision_function``; by default ``ConceptVector("svm")``.
        One in a FrozenEstimator must have been fitted on other rows.
    false_positive_rate : float, default=0.05
        Share of fresh rows without the artifact that the detector may flag, in (0, 1).
    calibration : int or float, default=5
        Rows to find the detector's threshold by: with an int all rows, in so many folds that are scored by detectors
        fitted on the others; with a float in (0, 1) this share of the rows, which the detector is not fitted on.
    artifact : callable, default=None
        Gives the labels of the artifact for ``X``, unless ``fit(..., artifact=...)`` does.
    random_state : int, RandomState instance or None, default=None
        Division of the rows for ``calibration``.

    Attributes
    ----------
    concept_ : estimator
        Fitted concept.
    directions_ : ndarray of shape (k, n_features)
        Orthonormal directions of it.
    levels_ : ndarray of shape (k,)
        Levels along them.
    detector_ : estimator or None
        Fitted detector, with ``condition="concept"``.
    threshold_ : float or None
        Rows whose decision function exceeds it are flagged.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if ``X`` was a DataFrame.

    See Also
    --------
    PClArC : The same inside a network, at any layer.

    Notes
    -----
    Rows ``x`` become ``x + sum_k (z_k - x . v_k) v_k`` with directions ``v_k`` and levels ``z_k``. A linear classifier
    ``W x + b`` on them is the classifier ``W (I - V^T V) x + b + W V^T z`` on the unchanged rows.

    References
    ----------
    C. J. Anders et al., "Finding and removing Clever Hans: Using explanation methods to debug and improve deep models",
    Information Fusion 77 (2022).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_shortcuts.latent import ConceptVector
    >>> from sklearn_shortcuts.mitigation import ConceptProjector
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(400) % 2
    >>> artifact = np.where(rng.random(400) < 0.8, y, 1 - y)
    >>> X = rng.normal(size=(400, 3)) + np.outer(y, [1, 0, 0]) + np.outer(artifact, [0, 4, 0])
    >>> plain = LogisticRegression().fit(X, y)
    >>> model = make_pipeline(ConceptProjector(ConceptVector(scope=0)), LogisticRegression())
    >>> model = model.fit(X, y, conceptprojector__artifact=artifact)
    >>> attack = np.array([0, 4, 0])
    >>> before, after = (m.decision_function(X + attack) - m.decision_function(X) for m in (plain, model))
    >>> bool(before.mean() > 1.5), bool(abs(after.mean()) < 0.1)
    (True, True)
    """

    _parameter_constraints: dict = {
        "concept": [HasMethods(["fit"]), None],
        "level": [StrOptions({"clean", "artifact", "zero"})],
        "condition": [StrOptions({"always", "concept"})],
        "detector": [HasMethods(["fit", "decision_function"]), None],
        "false_positive_rate": [Interval(Real, 0, 1, closed="neither")],
        "calibration": [Interval(Integral, 2, None, closed="left"), Interval(Real, 0, 1, closed="neither")],
        "artifact": [callable, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        concept=None,
        *,
        level="clean",
        condition="always",
        detector=None,
        false_positive_rate=0.05,
        calibration=5,
        artifact=None,
        random_state=None,
    ):
        self.concept = concept
        self.level = level
        self.condition = condition
        self.detector = detector
        self.false_positive_rate = false_positive_rate
        self.calibration = calibration
        self.artifact = artifact
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, artifact=None, groups=None):
        """Find the direction of the artifact, and the threshold of the detector.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.
        y : array-like of shape (n,), default=None
            Classes of the diagnosis, which only a concept with a ``scope`` looks at.
        artifact : array-like of shape (n,), default=None
            1 for rows with the artifact, 0 without, -1 where it is not known; soft labels in [0, 1]. Not needed if the
            concept is fitted, unless ``condition="concept"``.
        groups : array-like of shape (n,), default=None
            Patients, who stay together in the division for ``calibration``.

        Returns
        -------
        ConceptProjector
            Itself.

        Raises
        ------
        ValueError
            If the labels of the artifact are missing or of one kind, the concept has another number of features, or
            there are too few rows for the ``false_positive_rate``.
        """
        rows = X
        fits_concept, calibrates = not is_fitted_concept(self.concept), self.condition == "concept"
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2 if fits_concept else 1)
        fitting, owner = None, type(self).__name__
        if fits_concept or calibrates:
            labels = find_artifact(artifact, self.artifact, rows, len(X), owner)
            both = fits_concept or not isinstance(self.detector, FrozenEstimator)
            known = require_artifact(labels, np.arange(len(X)), owner, both)
            target = None if y is None else np.asarray(y)[known]
            fitting = ConceptRows(X[known], labels[known], target=target, groups=group_codes(groups, known))
        self.concept_ = fit_concept(self.concept, fitting, default="pattern")
        self.directions_, self.levels_ = concept_directions(self.concept_, self.level)
        if self.directions_.shape[1] != X.shape[1]:
            raise ValueError(
                f"concept: {type(self.concept_).__name__} has {self.directions_.shape[1]} features, but X has "
                f"{X.shape[1]}"
            )
        self.detector_ = self.threshold_ = None
        if calibrates:
            self.detector_, self.threshold_ = fit_detector(
                self.detector,
                fitting,
                rate=self.false_positive_rate,
                calibration=self.calibration,
                random_state=self.random_state,
            )
        return self

    def transform(self, X):
        """Bring rows to the level.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n, n_features), dtype float32 or float64
            A copy. Rows that are not flagged keep every bit.
        """
        X = self._checked(X)
        wide = X.astype(np.float64)
        projected = (wide + (self.levels_ - wide @ self.directions_.T) @ self.directions_).astype(X.dtype)
        return np.where(self._flagged(wide)[:, None], projected, X)

    def flagged(self, X):
        """Tell which rows are changed.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Features.

        Returns
        -------
        ndarray of bool of shape (n,)
            Rows.
        """
        return self._flagged(self._checked(X).astype(np.float64))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _checked(self, X):
        check_is_fitted(self)
        return validate_data(self, X, reset=False, dtype=[np.float64, np.float32])

    def _flagged(self, X):
        if self.detector_ is None:
            return np.ones(len(X), dtype=bool)
        return self.detector_.decision_function(X) > self.threshold_
