"""ComBat: features of different scanners brought to common means and variances."""

import math
import warnings
from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from ..images import ImageBunch
from ..images._fields import refuse_patients
from ._design import Design
from ._empirical_bayes import shrunken_shift_and_scale
from ._row_labels import known_codes, learn_labels, row_labels, shown_rows

_FLOATING = [np.float64, np.float32]


class ComBat(TransformerMixin, BaseEstimator):
    """Remove from features, such as embeddings, the means and variances that tell their scanners.

    Every feature ``v`` of row ``j`` in batch ``i`` is taken as
    ``x_ijv = alpha_v + c_ij' beta_v + sigma_v (gamma_iv + sqrt(delta_iv) e_ijv)`` with covariates ``c``. Shift and
    variance of a batch are estimated by empirical Bayes over all features [1]_ and taken out. Learned in ``fit`` from
    training rows and applied to new rows of the same batches.

    Parameters
    ----------
    batch : str, int or callable, default=None
        The batch (scanner, site, kernel) of every row: name or number of a column of ``X``, which is no feature; of
        an :class:`~sklearn_shortcuts.images.ImageBunch` a field or a column of the metadata; or ``batch(X)`` gives
        it. This is the way that works everywhere in ``Pipeline``, ``GridSearchCV`` and ``cross_validate``. None wants
        ``fit(X, batch=...)`` and ``transform(X, batch=...)``.
    covariates : str, int or list of them, default=None
        Columns, named in the same way, whose linear effect is preserved, such as age and sex. Text becomes one
        indicator per category. They must be known of new rows too. Never the class that is to be predicted: new rows
        do not have it, and preserving it in training rows alone would leak it into them. With None, differences
        between batches that come from the class are removed as well: balance the classes over the batches first.
    empirical_bayes : bool, default=True
        Draw the estimates of each feature towards those of all features. Without it, and for a single feature, every
        batch is standardized feature by feature.
    mean_only : bool, default=False
        Remove shifts and leave variances alone.
    reference_batch : object, default=None
        Batch that stays as it is and that the others are brought to; by default the average of all batches.
    on_unknown : {"warn", "error"}, default="warn"
        What to do in ``transform`` with rows of batches that ``fit`` did not see, or of none: leave them as they are
        (``gamma=0``, ``delta=1``) with a warning, or raise.
    tol : float, default=1e-6
        Largest relative change of the estimates at which their iteration ends.
    max_iter : int, default=1000
        Largest number of iterations.

    Attributes
    ----------
    batches_ : ndarray of shape (n_batches,)
        Batches seen in ``fit``.
    mean_ : ndarray of shape (n_features_out,)
        ``alpha``: mean of every feature over the batches, by their numbers of rows, or in the reference batch.
    coef_ : ndarray of shape (n_effects, n_features_out)
        ``beta``: effects of the covariates.
    scale_ : ndarray of shape (n_features_out,)
        ``sigma``: pooled standard deviation within batches; 1 for a feature that does not vary within them, which
        only loses its shift.
    shift_ : ndarray of shape (n_batches, n_features_out)
        ``gamma``, in units of ``scale_``.
    variance_ : ndarray of shape (n_batches, n_features_out)
        ``delta``.
    n_iter_ : int
        Iterations, of the batch that took the most.
    n_features_in_ : int
        Number of columns, batch and covariates among them.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if ``X`` was a DataFrame.

    See Also
    --------
    HistogramMatcher : Works on pixels and needs no batches of new rows.

    Notes
    -----
    ComBat was made for studies in which all rows are there at once. Applied to new rows it takes them for draws from
    the batches as training saw them: check on held-out rows that scanners cannot be told apart afterwards. Only means
    and variances of single features are matched; a nonlinear probe may still find the scanner in how features vary
    together.

    References
    ----------
    .. [1] Johnson, Li & Rabinovic (2007). Adjusting batch effects in microarray expression data using empirical Bayes
       methods. Biostatistics 8, 118-127.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sklearn_shortcuts.preprocessing import ComBat
    >>> rng = np.random.default_rng(0)
    >>> table = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "c"])
    >>> table["scanner"] = np.repeat(["GE", "Siemens"], 30)
    >>> table.loc[30:, ["a", "b", "c"]] += 5
    >>> harmonized = ComBat("scanner").fit_transform(table)
    >>> harmonized.shape
    (60, 3)
    >>> bool(np.abs(harmonized[30:].mean(axis=0) - harmonized[:30].mean(axis=0)).max() < 0.2)
    True
    """

    _parameter_constraints: dict = {
        "batch": [str, Integral, callable, None],
        "covariates": [str, Integral, list, None],
        "empirical_bayes": ["boolean"],
        "mean_only": ["boolean"],
        "reference_batch": "no_validation",
        "on_unknown": [StrOptions({"warn", "error"})],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        batch=None,
        *,
        covariates=None,
        empirical_bayes=True,
        mean_only=False,
        reference_batch=None,
        on_unknown="warn",
        tol=1e-6,
        max_iter=1000,
    ):
        self.batch = batch
        self.covariates = covariates
        self.empirical_bayes = empirical_bayes
        self.mean_only = mean_only
        self.reference_batch = reference_batch
        self.on_unknown = on_unknown
        self.tol = tol
        self.max_iter = max_iter

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, batch=None, covariates=None):
        """Learn shift and variance of every feature in every batch.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_columns), or ImageBunch
            Features, perhaps with columns of batches and covariates. The rows of a bunch are flattened.
        y : Ignored
            Not used, present for API consistency; the classes are never preserved.
        batch : array-like of shape (n,), default=None
            Batch of every row; goes before the parameter.
        covariates : array-like or DataFrame of shape (n, n_covariates), default=None
            Covariates; go before the parameter.

        Returns
        -------
        ComBat
            Itself.

        Raises
        ------
        ValueError
            If batches are missing, a batch has too few rows, or covariates and batches cannot be told apart.
        """
        features, labels, table = self._read(X, batch, covariates, reset=True)
        features = features.astype(np.float64, copy=False)
        batches, codes = learn_labels(labels, "batch")
        self._require_rows(batches, codes)
        self._design = Design.learn(table)
        effects = self._design.matrix(table, len(features))
        indicators = (codes[:, None] == np.arange(len(batches))).astype(np.float64)
        self._design.require_distinct(indicators, effects)
        solution = np.linalg.lstsq(np.hstack([indicators, effects]), features, rcond=None)[0]
        of_batches, self.coef_ = solution[: len(batches)], solution[len(batches) :]
        residuals = features - indicators @ of_batches - effects @ self.coef_
        reference = self._reference(batches)
        if reference is None:
            self.mean_ = np.bincount(codes) / len(codes) @ of_batches
        else:
            self.mean_, residuals = of_batches[reference], residuals[codes == reference]
        variance = np.mean(residuals**2, axis=0)
        rounding = np.finfo(features.dtype).eps * np.abs(features).max(axis=0)
        varies = variance > (8 * rounding) ** 2
        self.scale_ = np.where(varies, np.sqrt(variance), 1.0)
        standardized = (features - self.mean_ - effects @ self.coef_) / self.scale_
        self.shift_, self.variance_ = self._estimate(standardized, codes, varies, reference)
        self.batches_ = np.asarray(batches)
        return self

    def transform(self, X, *, batch=None, covariates=None):
        """Remove the shift and variance of each row's batch.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_columns), or ImageBunch
            Features, perhaps with columns of batches and covariates; not changed.
        batch : array-like of shape (n,), default=None
            Batch of every row; goes before the parameter.
        covariates : array-like or DataFrame of shape (n, n_covariates), default=None
            Covariates; go before the parameter.

        Returns
        -------
        ndarray of shape (n, n_features_out)
            Harmonized features, without the columns of batches and covariates.

        Raises
        ------
        ValueError
            If a category of a covariate is new, or a batch and ``on_unknown="error"``.
        """
        check_is_fitted(self)
        features, labels, table = self._read(X, batch, covariates, reset=False)
        codes = known_codes(labels, pd.Index(self.batches_))
        unknown = np.flatnonzero(codes < 0)
        if len(unknown):
            text = f"{shown_rows(unknown)} of X: batch not seen in fit"
            if self.on_unknown == "error":
                raise ValueError(
                    f'{text}; fit on rows of all batches, or set on_unknown="warn" to leave such rows as they are'
                )
            warnings.warn(f"{text}; left as they are", UserWarning, stacklevel=2)
        expected = self.mean_ + self._design.matrix(table, len(features)) @ self.coef_
        # A row of its own for the unknown: no shift, variance 1.
        shift = np.vstack([self.shift_, np.zeros_like(self.mean_)])[codes]
        spread = np.sqrt(np.vstack([self.variance_, np.ones_like(self.mean_)]))[codes]
        result = ((features - expected) / self.scale_ - shift) / spread * self.scale_ + expected
        unchanged = (codes < 0) | (codes == (-1 if self._kept is None else self._kept))
        return np.where(unchanged[:, None], features, result).astype(features.dtype, copy=False)

    def fit_transform(self, X, y=None, *, batch=None, covariates=None):
        """Learn from the rows, then harmonize them.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_columns), or ImageBunch
            Features, perhaps with columns of batches and covariates; not changed.
        y : Ignored
            Not used, present for API consistency; the classes are never preserved.
        batch : array-like of shape (n,), default=None
            Batch of every row; goes before the parameter.
        covariates : array-like or DataFrame of shape (n, n_covariates), default=None
            Covariates; go before the parameter.

        Returns
        -------
        ndarray of shape (n, n_features_out)
            As :meth:`transform`.
        """
        fitted = self.fit(X, y, batch=batch, covariates=covariates)
        return fitted.transform(X, batch=batch, covariates=covariates)

    def get_feature_names_out(self, input_features=None):
        """Give the names of the harmonized features.

        Parameters
        ----------
        input_features : array-like of str of shape (`n_features_in_`,), default=None
            Names of the columns; by default those seen in ``fit``, or ``x0``, ``x1``, ...

        Returns
        -------
        ndarray of str of shape (n_features_out,)
            The names without batch and covariates.
        """
        check_is_fitted(self)
        return _check_feature_names_in(self, input_features)[self._features]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = isinstance(self.batch, (str, Integral))
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # -- reading ---------------------------------------------------------------------------------------------------
    def _read(self, X, batch, covariates, *, reset):
        """Give features (n, p), labels of batches (n,) and the table of covariates or None."""
        names = self.covariates if isinstance(self.covariates, (list, type(None))) else [self.covariates]
        if isinstance(X, ImageBunch):
            if len(X) == 0:
                raise ValueError("Found an ImageBunch with 0 rows while a minimum of 1 is required by ComBat.")
            features = np.asarray(X).reshape(len(X), math.prod(X.shape[1:]))
            features = validate_data(self, features, dtype=_FLOATING, reset=reset)
            if reset:
                self._features = np.arange(features.shape[1])
            labels = row_labels(X, self.batch, batch, "batch", owner="ComBat")
            table = {name: X.column(name, "covariates").to_numpy() for name in names or ()}
        else:
            if not hasattr(X, "iloc"):
                X = check_array(X, dtype=None, ensure_all_finite=False, input_name="X", estimator=self)
            validate_data(self, X, skip_check_array=True, reset=reset)
            places = [self._place(X, name, "covariates") for name in names or ()]
            taken = [] if self.batch is None or callable(self.batch) else [self._place(X, self.batch, "batch")]
            if reset:
                self._features = np.setdiff1d(np.arange(X.shape[1]), [*taken, *places])
                if len(self._features) == 0:
                    raise ValueError("X has no features besides the columns of batch and covariates")
            features = X.iloc[:, self._features] if hasattr(X, "iloc") else X[:, self._features]
            features = check_array(features, dtype=_FLOATING, input_name="X", estimator=self)
            given = _column(X, taken[0]) if taken and batch is None else batch
            labels = row_labels(X, self.batch, given, "batch", owner="ComBat")
            table = {name: _column(X, place) for name, place in zip(names or (), places)}
        if covariates is not None:
            table = covariates if hasattr(covariates, "iloc") else pd.DataFrame(np.asarray(covariates)).infer_objects()
        else:
            table = pd.DataFrame(table) if table else None
        if table is not None and len(table) != len(features):
            raise ValueError(f"covariates has {len(table)} rows, but X has {len(features)}")
        return features, labels, table

    def _place(self, X, name, argument):
        """Number of a column of X."""
        if isinstance(name, str):
            refuse_patients([name], argument)
            if not hasattr(X, "columns"):
                raise ValueError(f"{argument}={name!r} names a column, but X is no DataFrame; give the column's number")
            places = np.flatnonzero(X.columns == name)
            if len(places) != 1:
                raise ValueError(
                    f"{argument}: X has {len(places)} columns {name!r}; it has {list(map(str, X.columns))}"
                )
            return int(places[0])
        if not isinstance(name, Integral) or not -X.shape[1] <= name < X.shape[1]:
            raise ValueError(f"{argument}={name!r} must name or number one of the {X.shape[1]} columns of X")
        return int(name) % X.shape[1]

    # -- learning --------------------------------------------------------------------------------------------------
    def _require_rows(self, batches, codes):
        counts = np.bincount(codes)
        fewest = int(np.argmin(counts))
        if counts[fewest] < 2 and not self.mean_only:
            raise ValueError(
                f"batch {batches[fewest]!r} has 1 sample, which tells nothing of its variance; leave it out, join it "
                "with another batch, or set mean_only=True"
            )

    def _reference(self, batches):
        self._kept = None
        if self.reference_batch is None:
            return None
        if self.reference_batch not in batches:
            raise ValueError(f"reference_batch={self.reference_batch!r} is none of the batches: {batches.tolist()}")
        self._kept = batches.get_loc(self.reference_batch)
        return self._kept

    def _estimate(self, standardized, codes, varies, reference):
        """Shift and variance (n_batches, p)."""
        shape = (codes.max() + 1, standardized.shape[1])
        shift, variance = np.zeros(shape), np.ones(shape)
        self.n_iter_ = 1
        shrinks = self.empirical_bayes and np.count_nonzero(varies) > 1
        for code in range(shape[0]):
            if code == reference:
                continue
            rows = standardized[codes == code]
            shift[code] = rows.mean(axis=0)
            if shrinks:
                shift[code, varies], variance[code, varies], n_iter = shrunken_shift_and_scale(
                    rows[:, varies], mean_only=self.mean_only, tol=self.tol, max_iter=self.max_iter
                )
                self.n_iter_ = max(self.n_iter_, n_iter)
            elif not self.mean_only:
                own = rows[:, varies].var(axis=0, ddof=1)
                variance[code, varies] = np.where(own > 0, own, 1.0)  # what is constant cannot be scaled
        return shift, variance


def _column(X, place):
    return X.iloc[:, place].to_numpy() if hasattr(X, "iloc") else pd.Series(X[:, place]).infer_objects().to_numpy()
