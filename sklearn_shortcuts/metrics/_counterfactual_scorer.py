"""Counterfactual scores as scorers of scikit-learn."""

from numbers import Integral

from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints, validate_params

from .._random_state import make_random_state
from ..images import ImageBunch
from ._counterfactual import REMOVAL_CONSTRAINTS, flip_scores, removal_scores, rows_to_exchange, swap_scores
from ._label_scores import evaluation_target
from ._macro_auc import MacroAUC
from ._region_rows import RegionRows
from ._region_swap import EXCHANGE_CONSTRAINTS

_EXCHANGE = {"content": "auto", "mask_role": "avoid", "n_draws": 5}
_DEFAULTS = {
    "region_swap_accuracy": {"how": "any", **_EXCHANGE},
    "flip_rate": {"how": "other_class", **_EXCHANGE},
    "region_removal_auc": {"mask_role": "avoid", "fill": "mean", "blur_sigma": 0.0625},
}


@validate_params(
    {"metric": [StrOptions(set(_DEFAULTS))], "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both")]},
    prefer_skip_nested_validation=True,
)
def make_counterfactual_scorer(metric="region_swap_accuracy", *, random_state=0, **options):
    """Make a scorer that selects models by what they do without their shortcut.

    Cross-validated accuracy prefers the model that uses a shortcut, because held-out rows have it as well. These
    scorers exchange or remove the region in the held-out rows first.

    Parameters
    ----------
    metric : {"region_swap_accuracy", "flip_rate", "region_removal_auc"}, default="region_swap_accuracy"
        What is measured (see :func:`region_swap_accuracy`, :func:`flip_rate`, :func:`region_removal_auc`). Greater is
        better: of the flip rate the negative is given.
    random_state : int, default=0
        Decides exchanges and noise. All candidates of a search meet the same.
    **options : object
        Options of the metric: ``how``, ``content``, ``mask_role`` and ``n_draws`` of the first two, ``mask_role``,
        ``fill`` and ``blur_sigma`` of the last.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None) -> float`` for the ``scoring`` of ``GridSearchCV``, ``cross_validate`` and the
        like, where ``X`` is an :class:`~sklearn_shortcuts.images.ImageBunch` with masks. Rows without a mask do not
        count, those with an empty one only in exchanges. It can be pickled.

    Raises
    ------
    ValueError
        If the metric has no such option or the option no such value. The scorer raises it, which a search turns into
        NaN with a warning, where the rows have no region, no two classes to exchange between ("flip_rate" with
        ``how="other_class"``), or one class only ("region_removal_auc").

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from sklearn_shortcuts import ImageBunch
    >>> from sklearn_shortcuts.metrics import make_counterfactual_scorer
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 60)
    >>> images = rng.normal(size=(120, 2, 2))
    >>> images[:, 0, 0] += 2 * y
    >>> images[:, 1, 1] += 9 * y  # the shortcut
    >>> bunch = ImageBunch(images, masks=np.tile([[0, 0], [0, 1]], (120, 1, 1)))
    >>> flat = FunctionTransformer(lambda rows: np.asarray(rows).reshape(len(rows), -1))
    >>> model = make_pipeline(flat, LogisticRegression())
    >>> search = GridSearchCV(model, {"logisticregression__C": [1.0]}, scoring=make_counterfactual_scorer(), cv=3)
    >>> bool(search.fit(bunch, y).best_score_ < 0.7)
    True
    """
    defaults = _DEFAULTS[metric]
    unknown = [name for name in options if name not in defaults]
    if unknown:
        raise ValueError(f"{metric} has no option {unknown[0]!r}; it has {[*defaults, 'random_state']}")
    validate_parameter_constraints(
        {**EXCHANGE_CONSTRAINTS, **REMOVAL_CONSTRAINTS}, options, caller_name="make_counterfactual_scorer"
    )
    return CounterfactualScorer(metric, {**defaults, **options}, int(random_state))


class CounterfactualScorer:
    """Callable that scores a fitted estimator on changed rows; made by :func:`make_counterfactual_scorer`.

    Parameters
    ----------
    metric : str
        What is measured.
    options : dict
        All its options.
    random_state : int
        Seed of every call.
    """

    def __init__(self, metric, options, random_state):
        self.metric = metric
        self.options = options
        self.random_state = random_state

    def __call__(self, estimator, X, y=None):
        """Score.

        Parameters
        ----------
        estimator : fitted classifier
            Model.
        X : ImageBunch
            Rows with masks.
        y : array-like of shape (n,) or (n, n_labels), default=None
            Labels; by default the bunch's field ``target``.

        Returns
        -------
        float
            Score, greater for a better model.
        """
        if not isinstance(X, ImageBunch):
            raise ValueError(
                f"a scorer of {self.metric} needs the masks with the rows: X must be an ImageBunch with the field "
                f"'masks', not {type(X).__name__}"
            )
        options, rng = self.options, make_random_state(self.random_state)
        if self.metric == "region_removal_auc":
            rows = RegionRows(X, None, None, options["mask_role"])
            target = evaluation_target(rows.labels(y), estimator)
            scores = removal_scores(estimator, rows, target, rng=rng, **options)
            return float(MacroAUC(target.positive, scores[None], target.label_names).auc[0])
        rows = rows_to_exchange(X, None, None, options["content"], options["mask_role"])
        if self.metric == "flip_rate":
            return -float(flip_scores(estimator, rows, rows.labels(y, needed=False), rng=rng, **options).mean())
        return float(swap_scores(estimator, rows, rows.labels(y), rng=rng, **options).mean())

    def __repr__(self):
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"make_counterfactual_scorer({self.metric!r}{options}, random_state={self.random_state})"
