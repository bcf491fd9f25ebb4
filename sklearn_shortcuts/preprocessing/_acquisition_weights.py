"""The rule of balancing as a function: row weights that make the acquisition independent of label or covariates."""

from numbers import Integral, Real

from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ._cohort import read_cohort
from ._weighting import balancing_weights


@validate_params(
    {
        "acquisition": ["array-like"],
        "y": ["array-like", None],
        "covariates": ["array-like", dict, None],
        "target": [StrOptions({"label", "covariates", "both"})],
        "method": [StrOptions({"auto", "strata", "ipw", "overlap", "rake"})],
        "exact": ["array-like"],
        "n_bins": [Interval(Integral, 1, None, closed="left")],
        "max_weight": [Interval(Real, 1, None, closed="neither"), None],
        "trim": [Interval(Real, 0, 0.5, closed="neither"), None],
        "groups": ["array-like", None],
        "sample_weight": ["array-like", None],
        "on_empty": [StrOptions({"raise", "drop"})],
    },
    prefer_skip_nested_validation=True,
)
def acquisition_weights(
    acquisition,
    y=None,
    *,
    covariates=None,
    target="label",
    method="auto",
    exact=(),
    n_bins=6,
    max_weight=None,
    trim=None,
    groups=None,
    sample_weight=None,
    on_empty="raise",
):
    """Weigh rows so that the acquisition (scanner, site) tells nothing about the label, or about covariates.

    Parameters
    ----------
    acquisition : array-like of shape (n,) or DataFrame of shape (n, k)
        Manufacturer, site, protocol of every row: categories. Several columns are crossed; missing values are a
        category of their own.
    y : array-like of shape (n,) or (n, n_labels), default=None
        Labels, none missing; needed unless ``target="covariates"``. Several are crossed.
    covariates : DataFrame, dict of columns or array-like of shape (n,) or (n, k), default=None
        Age, sex and the like. Numbers with more than two values are continuous, all else is categorical; turn numbers
        that are codes into strings, or name them in ``exact``. Missing categories are a category of their own. Missing
        numbers are a bin of their own or, in models, stand at the median and have an indicator.
    target : {"label", "covariates", "both"}, default="label"
        What becomes independent of the acquisition:

        - "label": the label; where there are covariates, given these;
        - "covariates": the covariates, whatever the label;
        - "both": label and covariates together.
    method : {"auto", "strata", "ipw", "overlap", "rake"}, default="auto"
        With acquisition a, and s for what becomes independent of it:

        - "strata": ``P(a) P(s) / P(a, s)`` [1]_, continuous covariates in bins. Exact, but every combination must occur
          in every acquisition. For ``target="label"`` the probabilities are those given the bins of the covariates;
        - "ipw": stabilized inverse propensities ``P(a) / P(a | s)`` by logistic regression. Keeps the population, at
          the price of large weights where an acquisition is improbable;
        - "overlap": ``1 / P(a | s) / sum_k 1 / P(k | s)`` [2]_: bounded, rows count by how much acquisitions overlap
          where they are. For two acquisitions it is one minus the propensity of the own, and means of covariates
          agree exactly;
        - "rake": iterative proportional fitting to the tables of the acquisition with every variable by itself. Needs
          no combination of variables to occur in all acquisitions, and does not balance combinations;
        - "auto": "overlap" where there are covariates, else "strata".

        With ``target="label"`` and covariates c, ``P(a | c)`` takes the place of ``P(a)``, "overlap" is multiplied by
        it, and "rake" keeps the tables of acquisition and covariates as they are.
    exact : sequence of str, default=()
        Covariates of which every value is a category, numbers too: never binned.
    n_bins : int, default=6
        Quantile bins of a continuous covariate in "strata" and "rake".
    max_weight : float, default=None
        Cap of the weights, in units of their mean. A cap bounds the variance, and balance is no longer exact.
    trim : float, default=None
        With "ipw" and "overlap": weight 0 for rows where an acquisition has a probability below it [3]_, such as 0.1.
    groups : array-like of shape (n,), default=None
        Patient of every row. Patients are balanced, not rows: a patient counts once for every acquisition (and balanced
        label) that the patient has rows of, with the covariates of the first of them, and these rows get one weight.
    sample_weight : array-like of shape (n,), default=None
        Weights that are there already: probabilities are weighted by them, and the result is multiplied by them.
    on_empty : {"raise", "drop"}, default="raise"
        What to do where an acquisition does not occur in a category, or is told by the covariates (propensities
        separate acquisitions with an area under the ROC curve above 0.95): raise, or give the weight 0 to categories
        without all acquisitions and to rows outside the common range of propensities.

    Returns
    -------
    ndarray of shape (n,)
        Weights from 0 on, of mean 1 over the rows that are kept; times ``sample_weight`` if it is given.

    Raises
    ------
    ValueError
        If there is one acquisition only, acquisitions do not overlap, or the input is malformed.

    See Also
    --------
    sklearn_shortcuts.metrics.cramers_v : Association of acquisition and label, before and after.

    References
    ----------
    .. [1] Kamiran and Calders (2012). Data preprocessing techniques for classification without discrimination.
       Knowledge and Information Systems 33, 1-33, section 4.2.
    .. [2] Li and Li (2019). Propensity score weighting for causal inference with multiple treatments. Annals of Applied
       Statistics 13(4), 2389-2415.
    .. [3] Crump, Hotz, Imbens and Mitnik (2009). Dealing with limited overlap in estimation of average treatment
       effects. Biometrika 96(1), 187-199.

    Examples
    --------
    >>> from sklearn_shortcuts.metrics import cramers_v
    >>> from sklearn_shortcuts.preprocessing import acquisition_weights
    >>> scanner, label = ["GE", "GE", "GE", "Siemens", "Siemens", "Siemens"], [1, 1, 0, 0, 0, 1]
    >>> weights = acquisition_weights(scanner, label)
    >>> weights
    array([0.75, 0.75, 1.5 , 0.75, 0.75, 1.5 ])
    >>> cramers_v(scanner, label, sample_weight=weights, bias_correction=False)
    0.0
    """
    cohort = read_cohort(
        acquisition,
        y,
        covariates=covariates,
        exact=exact,
        target=target,
        groups=groups,
        sample_weight=sample_weight,
    )
    factors, _ = balancing_weights(
        cohort, method=method, n_bins=n_bins, max_weight=max_weight, trim=trim, on_empty=on_empty
    )
    weights = cohort.to_rows(factors)
    return weights if sample_weight is None else weights * sample_weight
