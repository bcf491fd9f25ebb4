"""Sampler for Pipelines of imbalanced-learn that selects rows so that the scanner tells nothing about the label."""

import dataclasses
import sys
from collections import Counter

import numpy as np
from sklearn.base import OneToOneFeatureMixin, _fit_context
from sklearn.utils import _safe_indexing
from sklearn.utils._metadata_requests import RequestMethod
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import validate_data

from ..images import ImageBunch
from ._balancing import AcquisitionBalancing


class AcquisitionResampler(OneToOneFeatureMixin, AcquisitionBalancing):
    """Select training rows so that their acquisition (scanner, site, protocol) tells nothing about the label.

    What :class:`AcquisitionBalancer` does by weights, for Pipelines of imbalanced-learn, whose steps may change the
    number of rows: ``imblearn.pipeline.make_pipeline(AcquisitionResampler(...), classifier)``. scikit-learn's own
    Pipeline refuses such steps. imbalanced-learn is needed for its Pipeline only, not for this class.

    Parameters
    ----------
    strategy : {"undersample", "oversample", "match"}, default="undersample"
        In every stratum (label, bins of covariates) as many rows of each acquisition as the rarest has, or as the most
        frequent has; or pairs of like rows of the rarest acquisition and each other one.
    acquisition : str, list of str, callable or None, default=None
        Name of a field or metadata column of an :class:`~sklearn_shortcuts.images.ImageBunch`, or of a column of a
        DataFrame; several are crossed. Or ``acquisition(X)``, which gives the values of the rows. None if they are
        passed to ``fit_resample``.
    covariates : str, list of str, callable or None, default=None
        Names of further columns, or ``covariates(X)``.
    target : {"label", "covariates", "both"}, default="label"
        What becomes independent of the acquisition: the label and, if there are any, the covariates; or the covariates
        alone.
    method : {"auto", "greedy", "optimal"}, default="auto"
        Of "match", as in :class:`AcquisitionBalancer`; "auto" is "greedy".
    exact : list of str, default=()
        Covariates of which every value is a category of its own.
    n_bins : int, default=6
        Quantile bins of continuous covariates in strata.
    distance : {"propensity", "mahalanobis"}, default="propensity"
        What is alike in "match".
    caliper : float, "auto" or None, default="auto"
        Largest distance of a pair, as in :class:`AcquisitionBalancer`.
    on_empty : {"raise", "drop"}, default="raise"
        What to do where an acquisition does not occur: raise, or leave out what has no counterpart.
    random_state : int, RandomState instance or None, default=None
        Decides which rows are drawn, and between equal partners.

    Attributes
    ----------
    sample_indices_ : ndarray of int
        Positions of the selected rows, ascending; repeated rows stand next to each other.
    groups_resampled_ : ndarray or None
        Patients of the selected rows, if there are any. Copies of a row must not be divided between training and test:
        split by patients, or before resampling, as cross-validation of the whole Pipeline does.
    sampling_strategy_ : dict
        Number of selected rows of every class; None as the class where there are several labels.
    balance_table_ : DataFrame
        Differences between acquisitions before and after, see :func:`balance_table`.
    n_features_in_ : int
        Number of values of one row.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if ``X`` was a DataFrame.

    See Also
    --------
    AcquisitionBalancer : Weights, for Pipelines of scikit-learn; keeps the number of rows.

    Notes
    -----
    Resampling changes how frequent labels are, and with it calibration; weights can do without. What is passed by name
    to a Pipeline of imbalanced-learn reaches this step by metadata routing (it asks for both ``set_fit_request`` and
    ``set_fit_resample_request``), but later steps in the length from before: let weights and patients travel with the
    rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_shortcuts.preprocessing import AcquisitionResampler
    >>> X = pd.DataFrame({"scanner": ["GE"] * 4 + ["Siemens"] * 4, "intensity": range(8)})
    >>> y = pd.Series([1, 1, 1, 0, 0, 0, 0, 1], name="label")
    >>> X_resampled, y_resampled = AcquisitionResampler(acquisition="scanner", random_state=0).fit_resample(X, y)
    >>> pd.crosstab(X_resampled["scanner"], y_resampled).to_numpy()
    array([[1, 1],
           [1, 1]])
    """

    _estimator_type = "sampler"
    _parameter_constraints = {
        **AcquisitionBalancing._parameter_constraints,
        "strategy": [StrOptions({"undersample", "oversample", "match"})],
        "method": [StrOptions({"auto", "greedy", "optimal"})],
    }

    # scikit-learn makes it for methods that it knows; this one it knows from the import of imbalanced-learn on.
    set_fit_resample_request = RequestMethod("fit_resample", ["acquisition", "covariates", "groups"])

    def __init__(
        self,
        strategy="undersample",
        *,
        acquisition=None,
        covariates=None,
        target="label",
        method="auto",
        exact=(),
        n_bins=6,
        distance="propensity",
        caliper="auto",
        on_empty="raise",
        random_state=None,
    ):
        self.strategy = strategy
        self.acquisition = acquisition
        self.covariates = covariates
        self.target = target
        self.method = method
        self.exact = exact
        self.n_bins = n_bins
        self.distance = distance
        self.caliper = caliper
        self.on_empty = on_empty
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, acquisition=None, covariates=None, groups=None):
        """Find the rows to select.

        Parameters
        ----------
        X : ImageBunch, DataFrame, list, sparse or other array-like with n rows
            Rows; the images are not looked at.
        y : array-like of shape (n,) or (n, n_labels)
            Labels; several are crossed.
        acquisition : array-like of shape (n,) or DataFrame of shape (n, k), default=None
            Acquisition of every row, or a table with the columns that the parameter names.
        covariates : DataFrame, dict of columns or array-like of shape (n,) or (n, k), default=None
            Covariates of every row, or a table with the columns that the parameter names.
        groups : array-like of shape (n,), default=None
            Patient of every row; by default the bunch's field. All rows of a patient of one acquisition and label are
            selected together.

        Returns
        -------
        AcquisitionResampler
            Itself.

        Raises
        ------
        ValueError
            If acquisition, label or covariates are not found or malformed, or acquisitions do not overlap.
        """
        if isinstance(X, ImageBunch) or np.ndim(X) > 2:
            self._check_rows(X, reset=True)
        else:
            validate_data(self, X, accept_sparse=["csr", "csc"], dtype=None, ensure_all_finite=False)
        balance = self._balance(X, y, acquisition, covariates, groups, None)
        times = balance.cohort.to_rows(balance.factors).astype(np.intp)
        self.sample_indices_ = np.repeat(np.arange(len(times)), times)
        self.balance_table_ = balance.table
        if groups is None and isinstance(X, ImageBunch) and "groups" in X.fields:
            groups = X.groups
        self.groups_resampled_ = None if groups is None else np.asarray(groups)[self.sample_indices_]
        labels = np.asarray(y)[self.sample_indices_]
        several = labels.size != len(labels)
        self.sampling_strategy_ = {None: len(labels)} if several else dict(Counter(labels.ravel().tolist()))
        return self

    def fit_resample(self, X, y, acquisition=None, covariates=None, groups=None):
        """Select rows.

        Parameters
        ----------
        X : ImageBunch, DataFrame, list, sparse or other array-like with n rows
            Rows, as in :meth:`fit`.
        y : array-like of shape (n,) or (n, n_labels)
            Labels.
        acquisition : array-like of shape (n,) or DataFrame of shape (n, k), default=None
            Acquisition of every row.
        covariates : DataFrame, dict of columns or array-like of shape (n,) or (n, k), default=None
            Covariates of every row.
        groups : array-like of shape (n,), default=None
            Patient of every row.

        Returns
        -------
        X_resampled : same type as X
            Selected rows.
        y_resampled : same type as y
            Their labels.
        """
        self.fit(X, y, acquisition=acquisition, covariates=covariates, groups=groups)
        return _safe_indexing(X, self.sample_indices_), _safe_indexing(y, self.sample_indices_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "sampler"
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.input_tags.string = True
        if sys.modules.get("imblearn") is None:
            return tags
        from imblearn.utils._tags import InputTags, SamplerTags, Tags  # they have further fields

        inputs, others = (
            {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
            for part in (tags.input_tags, tags)
        )
        known = {field.name for field in dataclasses.fields(Tags)}
        others = {name: value for name, value in others.items() if name in known}
        return Tags(
            **{**others, "input_tags": InputTags(**inputs, dataframe=True)},
            sampler_tags=SamplerTags(sample_indices=True),
        )
