"""Transformer that weighs or selects rows so that the scanner tells nothing about the label."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..images import ImageBunch
from ..images._weighted_rows import attach_weights
from ._balancing import AcquisitionBalancing


class AcquisitionBalancer(TransformerMixin, AcquisitionBalancing):
    """Weigh training rows so that their acquisition (scanner, site, protocol) tells nothing about the label.

    Where one manufacturer's images are of sicker patients, a classifier may learn to name that manufacturer. As a step
    of a Pipeline before the classifier, this transformer attaches weights to the training rows under which it cannot
    gain by it. Nothing else changes: images and the number of rows stay, and rows to be predicted pass untouched.

    Acquisition and covariates travel with the rows: as fields or metadata of an
    :class:`~sklearn_shortcuts.images.ImageBunch`, which works everywhere in ``Pipeline``, ``GridSearchCV`` and
    ``cross_validate``; or they are passed to ``fit``.

    Parameters
    ----------
    strategy : {"weight", "match", "undersample", "oversample", "rake"}, default="weight"
        How to balance:

        - "weight": weights by ``method``, all rows stay;
        - "rake": weights that balance every variable by itself (iterative proportional fitting); for many variables in
          few rows;
        - "match": rows of the rarest acquisition with like rows of each other one; rows without partners get weight 0;
        - "undersample": in every stratum (label, bins of covariates) as many rows of each acquisition as the rarest
          has, drawn at random; the others get weight 0;
        - "oversample": in every stratum as many as the most frequent has; weights are whole numbers, how often a row is
          taken.
    acquisition : str, list of str, callable or None, default=None
        Name of a field or metadata column; several are crossed. Or ``acquisition(X)``, which gives the values of the
        rows. None if they are passed to ``fit``. Missing values are a category of their own.
    covariates : str, list of str, callable or None, default=None
        Names of further fields or metadata columns, or ``covariates(X)``. Numbers with more than two values are
        continuous, all else is categorical. Missing values are a category or bin of their own; in models, missing
        numbers stand at the median and have an indicator.
    target : {"label", "covariates", "both"}, default="label"
        What becomes independent of the acquisition: the label, given covariates if there are any; the covariates; or
        both together. Strategies that match or select rows make no difference between "label" with covariates and
        "both". Do not balance what the label causes: it would take part of the disease away.
    method : {"auto", "strata", "ipw", "overlap", "greedy", "optimal"}, default="auto"
        Of "weight": "strata", "ipw" or "overlap" as in :func:`acquisition_weights`; "auto" is "overlap" where there are
        covariates and "strata" where there are none. Of "match": "greedy", which serves rows that are hardest to match
        first, or "optimal", which has the least total distance; "auto" is "greedy".
    exact : list of str, default=()
        Covariates of which every value is a category of its own: never binned, and matched only with equals.
    n_bins : int, default=6
        Quantile bins of continuous covariates in strata and in "rake". What differs within them stays different: of a
        difference of 0.5 standard deviations about a tenth with 5 bins, a fourteenth with 6.
    max_weight : float, default=None
        Cap of the weights of "weight" and "rake", in units of their mean.
    trim : float, default=None
        With "ipw" and "overlap": weight 0 for rows where an acquisition has a probability below it.
    distance : {"propensity", "mahalanobis"}, default="propensity"
        What is alike in "match": the logit of the propensity score, by logistic regression of the acquisition on the
        covariates, or the covariates, by their Mahalanobis distance within acquisitions.
    caliper : float, "auto" or None, default="auto"
        Largest distance of a pair: in standard deviations ``sqrt((s1^2 + s0^2) / 2)`` of the logit, or the Mahalanobis
        distance. "auto" is None, no limit, for Mahalanobis distances, and 0.1 for propensities. That is half of what
        [1]_ recommends: it gives up about 3 % of the pairs, and leaves differences that stay below 0.1 where 0.2 lets
        some slightly above it.
    ratio : int, default=1
        In "match": partners from each other acquisition, at most. Nobody has a second one before all had a first.
    replacement : bool, default=False
        In "match": whether a row may be a partner several times. Every row then has its nearest partners, whatever
        ``method`` says.
    on_empty : {"raise", "drop"}, default="raise"
        What to do where an acquisition does not occur in a category or stratum, or the covariates tell it (propensities
        separate with an area under the ROC curve above 0.95): raise, or leave out what has no counterpart, which are
        strata without all acquisitions and rows outside the common range of propensities.
    random_state : int, RandomState instance or None, default=None
        Decides which rows are drawn, and between equal partners.

    Attributes
    ----------
    sample_weight_ : ndarray of shape (n,)
        Weights of the rows in ``fit``; given weights are multiplied in.
    sample_indices_ : ndarray of int
        Positions of the rows of positive weight; of "oversample" each as often as it is taken.
    matches_ : DataFrame or None
        Of "match": ``reference`` and ``partner``, positions of the rows (with groups, of the first row), the partner's
        ``acquisition``, and their ``distance``.
    propensity_ : ndarray of shape (n, n_acquisitions) or None
        Probability of each acquisition given what is balanced, if it was estimated; NaN in rows left out before.
    acquisitions_ : ndarray of str of shape (n_acquisitions,)
        Names of the acquisitions, in the order of the columns of ``propensity_``.
    balance_table_ : DataFrame
        Differences between acquisitions before and after, see :func:`balance_table`.
    effective_sample_size_ : float
        ``sum(w)^2 / sum(w^2)`` over the rows.
    n_features_in_ : int
        Number of values of one row.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if ``X`` was a DataFrame.

    See Also
    --------
    acquisition_weights : The weights as a function.
    AcquisitionResampler : The same for Pipelines of imbalanced-learn.
    balance_table : Balance under any weights.
    sklearn_shortcuts.audit.BalanceDisplay : Figure of the balance.
    sklearn_shortcuts.neural.NeuralImageClassifier : Puts weights into its loss, or draws rows by them.

    Notes
    -----
    The weights are attached by ``fit_transform``, which ``Pipeline.fit`` calls. By hand, ``fit(X).transform(X)``
    attaches none: ``transform`` cannot know whether rows are those of training. Acquisitions that training has not
    seen, and rows whose acquisition is not known at all, pass it like any others.

    Of a bunch the result is a bunch with the field ``sample_weight``; plain images ``(n, H, W)`` or ``(n, C, H, W)``
    become such a bunch. A table cannot carry weights: it is returned as it is, with a warning, and they stand in
    ``sample_weight_``.

    With patients (``groups``, or the bunch's field) these are balanced, and not rows: a patient counts once for every
    acquisition and label that the patient has rows of, with the covariates of the first of these rows, which all get
    the same weight. Who was scanned on two devices stays on both, and may be matched with themselves: nobody is more
    alike. With more than two acquisitions each is matched with the rarest, by a score of these two alone; sets without
    a partner in one of them are left out.

    Propensity scores balance covariates on average, single covariates less so in small samples; Mahalanobis distances
    with a caliper keep each of a few covariates close, and suffer from many [2]_. Where ``balance_table_`` still shows
    differences above 0.1, narrow the caliper, match optimally or exactly, or weigh.

    References
    ----------
    .. [1] Austin (2011). Optimal caliper widths for propensity-score matching when estimating differences in means and
       differences in proportions in observational studies. Pharmaceutical Statistics 10, 150-161.
    .. [2] Stuart (2010). Matching methods for causal inference: a review and a look forward. Statistical Science 25(1),
       1-21.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn_shortcuts import ImageBunch
    >>> from sklearn_shortcuts.preprocessing import AcquisitionBalancer
    >>> y = [1, 1, 1, 0, 0, 0, 0, 1]
    >>> metadata = pd.DataFrame({"manufacturer": ["GE"] * 4 + ["Siemens"] * 4})
    >>> bunch = ImageBunch(np.zeros((8, 4, 4)), metadata=metadata)
    >>> balancer = AcquisitionBalancer(acquisition="manufacturer")
    >>> balancer.fit_transform(bunch, y).sample_weight.round(2)
    array([0.67, 0.67, 0.67, 2.  , 0.67, 0.67, 0.67, 2.  ])
    >>> balancer.balance_table_.loc[("y", "smd")].round(2).to_dict()
    {'before': 1.15, 'after': 0.0}
    >>> balancer.set_params(strategy="undersample", random_state=0).fit(bunch, y).sample_indices_.size
    4
    """

    _parameter_constraints = {
        **AcquisitionBalancing._parameter_constraints,
        "strategy": [StrOptions({"weight", "match", "undersample", "oversample", "rake"})],
        "max_weight": [Interval(Real, 1, None, closed="neither"), None],
        "trim": [Interval(Real, 0, 0.5, closed="neither"), None],
        "ratio": [Interval(Integral, 1, None, closed="left")],
        "replacement": ["boolean"],
    }

    def __init__(
        self,
        strategy="weight",
        *,
        acquisition=None,
        covariates=None,
        target="label",
        method="auto",
        exact=(),
        n_bins=6,
        max_weight=None,
        trim=None,
        distance="propensity",
        caliper="auto",
        ratio=1,
        replacement=False,
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
        self.max_weight = max_weight
        self.trim = trim
        self.distance = distance
        self.caliper = caliper
        self.ratio = ratio
        self.replacement = replacement
        self.on_empty = on_empty
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, acquisition=None, covariates=None, groups=None, sample_weight=None):
        """Find the weights of the rows.

        Parameters
        ----------
        X : ImageBunch, DataFrame or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
            Rows; the images are not looked at.
        y : array-like of shape (n,) or (n, n_labels), default=None
            Labels, several are crossed; by default the bunch's field ``target``. Not needed for
            ``target="covariates"``.
        acquisition : array-like of shape (n,) or DataFrame of shape (n, k), default=None
            Acquisition of every row, or a table with the columns that the parameter names.
        covariates : DataFrame, dict of columns or array-like of shape (n,) or (n, k), default=None
            Covariates of every row, or a table with the columns that the parameter names.
        groups : array-like of shape (n,), default=None
            Patient of every row; by default the bunch's field.
        sample_weight : array-like of shape (n,), default=None
            Weights that are there already; by default the bunch's field.

        Returns
        -------
        AcquisitionBalancer
            Itself.

        Raises
        ------
        ValueError
            If acquisition, label or covariates are not found or malformed, or acquisitions do not overlap.
        """
        X = self._check_rows(X, reset=True)
        cohort, factors, pairs, probabilities, table = self._balance(
            X, y, acquisition, covariates, groups, sample_weight
        )
        if isinstance(X, ImageBunch) and sample_weight is None and "sample_weight" in X.fields:
            sample_weight = X.sample_weight
        times = cohort.to_rows(factors)
        self.sample_weight_ = times if sample_weight is None else times * np.asarray(sample_weight, dtype=np.float64)
        repeats = times.astype(np.intp) if self.strategy == "oversample" else times > 0
        self.sample_indices_ = np.repeat(np.arange(len(times)), repeats)
        self.matches_ = None
        if pairs is not None:
            self.matches_ = pairs.assign(
                reference=cohort.first_rows[pairs["reference"]], partner=cohort.first_rows[pairs["partner"]]
            )
        self.propensity_ = None
        if probabilities is not None:
            unknown = np.full((1, cohort.n_levels), np.nan)
            self.propensity_ = np.concatenate([probabilities, unknown])[cohort.unit_of_row]
        self.acquisitions_ = np.array(cohort.acquisition.levels)
        self.balance_table_ = table
        self.effective_sample_size_ = float(self.sample_weight_.sum() ** 2 / (self.sample_weight_**2).sum())
        return self

    def transform(self, X):
        """Give the rows as they are.

        Parameters
        ----------
        X : ImageBunch, DataFrame or array-like
            Rows, of training or others.

        Returns
        -------
        ImageBunch, DataFrame or ndarray
            The same rows.
        """
        check_is_fitted(self)
        return self._check_rows(X, reset=False)

    def fit_transform(self, X, y=None, acquisition=None, covariates=None, groups=None, sample_weight=None):
        """Find the weights of the rows and attach them.

        Parameters
        ----------
        X : ImageBunch, DataFrame or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
            Rows, as in :meth:`fit`.
        y : array-like of shape (n,) or (n, n_labels), default=None
            Labels.
        acquisition : array-like of shape (n,) or DataFrame of shape (n, k), default=None
            Acquisition of every row.
        covariates : DataFrame, dict of columns or array-like of shape (n,) or (n, k), default=None
            Covariates of every row.
        groups : array-like of shape (n,), default=None
            Patient of every row.
        sample_weight : array-like of shape (n,), default=None
            Weights that are there already.

        Returns
        -------
        ImageBunch, DataFrame or ndarray
            A bunch with the field ``sample_weight``; a table as it is, with a warning.
        """
        self.fit(X, y, acquisition=acquisition, covariates=covariates, groups=groups, sample_weight=sample_weight)
        return attach_weights(self._check_rows(X, reset=False), self.sample_weight_, type(self).__name__)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        tags.target_tags.required = self.target != "covariates"
        return tags
