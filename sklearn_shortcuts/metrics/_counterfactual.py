"""What becomes of predictions when the content of a region is exchanged or removed."""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions, validate_params

from .._random_state import draw_seed, make_random_state
from ._label_scores import check_label_names, equal_labels, evaluation_target, label_scores
from ._macro_auc import MacroAUC
from ._region_removal import remove_regions
from ._region_rows import RegionRows
from ._region_swap import EXCHANGE_CONSTRAINTS, draw_donors, exchanges_absence, with_donors
from ._row_means import RowMeans

_SWAPS = {
    "estimator": [HasMethods(["predict"])],
    "y": ["array-like", None],
    "masks": ["array-like", None],
    "groups": ["array-like", None],
    **EXCHANGE_CONSTRAINTS,
    "confidence_level": [Interval(Real, 0, 1, closed="neither")],
    "n_resamples": [Interval(Integral, 2, None, closed="left")],
    "random_state": ["random_state"],
}
REMOVAL_CONSTRAINTS = {
    "fill": [
        StrOptions({"zero", "mean", "noise", "shuffle", "blur"}),
        Interval(Real, None, None, closed="neither"),
    ],
    "blur_sigma": [Interval(Real, 0, None, closed="neither")],
    "mask_role": EXCHANGE_CONSTRAINTS["mask_role"],
}


@dataclass(frozen=True, eq=False)
class CounterfactualScore:
    """What a model scores on images that were changed in a region; ``float(score)`` is its ``value``.

    Attributes
    ----------
    value : float
        The score.
    low, high : float
        Confidence limits; NaN if all rows are of one patient.
    original : float or None
        The same score of the same rows as they are; None for a flip rate, which compares with them.
    n_used : int
        Rows that it was measured on.
    n_missing : int
        Rows without a mask, which are left out.
    n_empty : int
        Rows that are left out because their region is empty; always 0 where an artifact is exchanged with its absence.
    n_groups : int
        Patients among the rows used; ``n_used`` where none are known.
    scores : ndarray of shape (n,) or None
        Score of every row, over all draws; NaN for rows that were left out. None for an area under the curve, which
        is no average of rows.
    """

    value: float
    low: float
    high: float
    original: float | None
    n_used: int
    n_missing: int
    n_empty: int
    n_groups: int
    scores: np.ndarray | None

    def __float__(self):
        return self.value


@validate_params(_SWAPS, prefer_skip_nested_validation=True)
def region_swap_accuracy(
    estimator,
    X,
    y=None,
    *,
    masks=None,
    groups=None,
    how="any",
    content="auto",
    mask_role="avoid",
    n_draws=5,
    confidence_level=0.95,
    n_resamples=2000,
    random_state=None,
):
    """Measure how accurate a model is when the region shows what belongs to another row.

    A model that goes by the region falls towards chance; one that does not stays as it was.

    Parameters
    ----------
    estimator : fitted classifier
        Model with ``predict``. It is given a bunch where ``X`` is one and an array of the shape of ``X`` otherwise.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
        Rows; those that take no part in an exchange are left out and counted.
    y : array-like of shape (n,) or (n, n_labels), default=None
        Labels; by default the bunch's field ``target``.
    masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
        Regions; by default the bunch's field.
    groups : array-like of shape (n,), default=None
        Patients; by default the bunch's field. They are resampled as a whole, and content never comes from another
        image of the same patient.
    how : {"other_class", "any"}, default="any"
        Which rows content comes from.
    content : {"auto", "exchange", "place", "region"}, default="auto"
        What is exchanged (see :func:`swap_regions`). "auto" also exchanges an artifact with its absence, for which rows
        without it need an empty mask, unless ``mask_role`` is "attend".
    mask_role : {"avoid", "attend"}, default="avoid"
        Whether the region is the mask or all but the mask.
    n_draws : int, default=5
        Exchanges of the whole set; every row's score is averaged over them.
    confidence_level : float, default=0.95
        Of the interval.
    n_resamples : int, default=2000
        Bootstrap samples of patients.
    random_state : int, RandomState instance or None, default=None
        Decides exchanges and bootstrap.

    Returns
    -------
    CounterfactualScore
        Accuracy; of several labels the share of them that is right.

    Raises
    ------
    ValueError
        If there are no labels, masks or rows with a region, or a row has nobody to exchange with.

    See Also
    --------
    swap_regions : Makes the images.
    make_counterfactual_scorer : Makes a scorer for ``GridSearchCV``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_shortcuts.metrics import region_swap_accuracy
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 100)
    >>> X = rng.normal(size=(200, 4))
    >>> X[:, 0] += y  # honest, but weak
    >>> X[:, 3] += 9 * y  # the shortcut
    >>> model = LogisticRegression().fit(X, y)
    >>> score = region_swap_accuracy(model, X, y, masks=np.tile([0, 0, 0, 1], (200, 1)), random_state=0)
    >>> score.original, round(score.value, 1)
    (1.0, 0.5)
    """
    rows, rng = rows_to_exchange(X, masks, groups, content, mask_role), make_random_state(random_state)
    y = rows.labels(y)
    original = right_share(estimator.predict(rows.as_given(rows.bunch)), y).mean()
    scores = swap_scores(estimator, rows, y, how=how, content=content, mask_role=mask_role, n_draws=n_draws, rng=rng)
    return _mean_score(rows, scores, original, confidence_level, n_resamples, rng)


@validate_params(_SWAPS, prefer_skip_nested_validation=True)
def flip_rate(
    estimator,
    X,
    y=None,
    *,
    masks=None,
    groups=None,
    how="other_class",
    content="auto",
    mask_role="avoid",
    n_draws=5,
    confidence_level=0.95,
    n_resamples=2000,
    random_state=None,
):
    """Measure how many predictions change when the region shows what belongs to another row.

    Parameters
    ----------
    estimator : fitted classifier
        Model with ``predict``. It is given a bunch where ``X`` is one and an array of the shape of ``X`` otherwise.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
        Rows; those without a region are left out and counted.
    y : array-like of shape (n,) or (n, n_labels), default=None
        Labels, only used by ``how="other_class"``; by default the bunch's field ``target``.
    masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
        Regions; by default the bunch's field.
    groups : array-like of shape (n,), default=None
        Patients; by default the bunch's field. They are resampled as a whole, and content never comes from another
        image of the same patient.
    how : {"other_class", "any"}, default="other_class"
        Which rows content comes from. With "any", much of it is like the row's own.
    content : {"auto", "exchange", "place", "region"}, default="auto"
        What is exchanged (see :func:`swap_regions`). "auto" also exchanges an artifact with its absence, for which rows
        without it need an empty mask, unless ``mask_role`` is "attend".
    mask_role : {"avoid", "attend"}, default="avoid"
        Whether the region is the mask or all but the mask.
    n_draws : int, default=5
        Exchanges of the whole set; every row's score is averaged over them.
    confidence_level : float, default=0.95
        Of the interval.
    n_resamples : int, default=2000
        Bootstrap samples of patients.
    random_state : int, RandomState instance or None, default=None
        Decides exchanges and bootstrap.

    Returns
    -------
    CounterfactualScore
        Share of predictions that change, 0 for a model that does not look at the region; of several labels the share
        of them.

    Raises
    ------
    ValueError
        If there are no masks or rows with a region, no labels where they are needed, or a row has nobody to exchange
        with, such as where all rows are of one class.

    See Also
    --------
    swap_regions : Makes the images.
    make_counterfactual_scorer : Makes a scorer for ``GridSearchCV``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_shortcuts.metrics import flip_rate
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 100)
    >>> X = rng.normal(size=(200, 4))
    >>> X[:, 3] += 9 * y  # the shortcut
    >>> model = LogisticRegression().fit(X, y)
    >>> flip_rate(model, X, y, masks=np.tile([0, 0, 0, 1], (200, 1)), random_state=0).value
    1.0
    """
    rows, rng = rows_to_exchange(X, masks, groups, content, mask_role), make_random_state(random_state)
    y = rows.labels(y, needed=False)
    scores = flip_scores(estimator, rows, y, how=how, content=content, mask_role=mask_role, n_draws=n_draws, rng=rng)
    return _mean_score(rows, scores, None, confidence_level, n_resamples, rng)


@validate_params(
    {
        "estimator": [HasMethods(["predict_proba"]), HasMethods(["decision_function"])],
        "y": ["array-like", None],
        "masks": ["array-like", None],
        "groups": ["array-like", None],
        **REMOVAL_CONSTRAINTS,
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def region_removal_auc(
    estimator,
    X,
    y=None,
    *,
    masks=None,
    groups=None,
    mask_role="avoid",
    fill="mean",
    blur_sigma=0.0625,
    confidence_level=0.95,
    random_state=None,
):
    """Measure how well a model still ranks images whose region was filled.

    Parameters
    ----------
    estimator : fitted classifier
        Model with ``predict_proba`` or ``decision_function``. It is given a bunch where ``X`` is one and an array of
        the shape of ``X`` otherwise.
    X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W), (n, C, T) or (n, n_features)
        Rows; those without a region are left out and counted.
    y : array-like of shape (n,) or (n, n_labels), default=None
        Labels; by default the bunch's field ``target``.
    masks : array-like of shape (n, H, W), (n, T) or (n, n_features), default=None
        Regions; by default the bunch's field.
    groups : array-like of shape (n,), default=None
        Patients; by default the bunch's field. The interval takes the rows of one for dependent.
    mask_role : {"avoid", "attend"}, default="avoid"
        Whether the region is the mask or all but the mask.
    fill : {"zero", "mean", "noise", "shuffle", "blur"} or float, default="mean"
        What takes the place of the region, as in :class:`~sklearn_shortcuts.preprocessing.ROIMasker`; "mean" is that
        of the pixels around.
    blur_sigma : float, default=0.0625
        Standard deviation of ``fill="blur"`` as a share of the longer side of the image.
    confidence_level : float, default=0.95
        Of the interval.
    random_state : int, RandomState instance or None, default=None
        Decides noise and shuffling.

    Returns
    -------
    CounterfactualScore
        Area under the ROC curve, with more than two classes (each against the rest) or several labels the average over
        them, and its interval by DeLong's variance, clustered by patient.

    Raises
    ------
    ValueError
        If there are no labels, masks or rows with a region, or a class or label has fewer than two independent rows
        with and without.

    Notes
    -----
    Filled images look like none the model was trained on: an area that falls does not prove that the model needed the
    region, while one that stays shows that it did not. :func:`region_swap_accuracy` keeps images natural.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_shortcuts.metrics import region_removal_auc
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 100)
    >>> X = rng.normal(size=(200, 4))
    >>> X[:, 3] += 9 * y  # the shortcut
    >>> model = LogisticRegression().fit(X, y)
    >>> score = region_removal_auc(model, X, y, masks=np.tile([0, 0, 0, 1], (200, 1)))
    >>> score.original, score.value < 0.7
    (1.0, True)
    """
    rows, rng = RegionRows(X, masks, groups, mask_role), make_random_state(random_state)
    target = evaluation_target(rows.labels(y), estimator)
    removed = removal_scores(estimator, rows, target, fill=fill, blur_sigma=blur_sigma, mask_role=mask_role, rng=rng)
    original = label_scores(estimator, rows.as_given(rows.bunch), target)
    areas = MacroAUC(target.positive, np.stack([removed, original]), target.label_names, rows.groups)
    low, high = areas.interval(0, confidence_level)
    return CounterfactualScore(
        value=float(areas.auc[0]), low=low, high=high, original=float(areas.auc[1]), scores=None, **_counts(rows)
    )


# -- scores of rows, for this file and for scorers ---------------------------------------------------------------------
def rows_to_exchange(X, masks, groups, content, mask_role):
    """Give the rows that take part in an exchange."""
    return RegionRows(X, masks, groups, mask_role, keep_empty=exchanges_absence(content, mask_role))


def right_share(predicted, expected):
    """Give the share of labels that are as expected, per row: 0 or 1 for classes."""
    right = equal_labels(predicted, expected)
    return right.reshape(len(right), -1).mean(axis=1)


def swap_scores(estimator, rows, y, **exchange):
    """Give the share of exchanges after which a row's prediction is right."""
    check_label_names(estimator, y)
    return np.mean([right_share(predicted, y) for predicted in _predictions(estimator, rows, y, **exchange)], axis=0)


def flip_scores(estimator, rows, y, **exchange):
    """Give the share of exchanges that change a row's prediction."""
    before = np.asarray(estimator.predict(rows.as_given(rows.bunch)))
    kept = [right_share(predicted, before) for predicted in _predictions(estimator, rows, y, **exchange)]
    return 1 - np.mean(kept, axis=0)


def removal_scores(estimator, rows, target, *, fill, blur_sigma, mask_role, rng):
    """Give the scores of rows whose regions are filled."""
    seed = draw_seed(rng)
    filled = remove_regions(rows.bunch, fill=fill, blur_sigma=blur_sigma, mask_role=mask_role, seed=seed)
    return label_scores(estimator, rows.as_given(filled), target)


def _predictions(estimator, rows, y, *, how, content, mask_role, n_draws, rng):
    everyone, numbers = np.ones(len(rows.bunch), dtype=bool), np.flatnonzero(rows.found)
    for _ in range(n_draws):
        donors = draw_donors(rows.bunch, y, everyone, how, rng, numbers)
        yield estimator.predict(rows.as_given(with_donors(rows.bunch, donors, content, mask_role)))


def _mean_score(rows, scores, original, confidence_level, n_resamples, rng):
    means = RowMeans(scores[:, None], rows.groups)
    low, high = means.intervals(confidence_level, n_resamples, rng)[:, 0]
    everyone = np.full(len(rows.found), np.nan)
    everyone[rows.found] = scores
    return CounterfactualScore(
        value=float(means.mean[0]),
        low=float(low),
        high=float(high),
        original=None if original is None else float(original),
        scores=everyone,
        **_counts(rows),
    )


def _counts(rows):
    return {
        "n_used": len(rows.bunch),
        "n_missing": rows.n_missing,
        "n_empty": rows.n_empty,
        "n_groups": rows.n_groups,
    }
