"""Scores of saliency maps as scorers of scikit-learn."""

import math

from sklearn.utils._param_validation import StrOptions, validate_params

from .. import metrics
from ..images import ImageBunch
from ._explainers import find_explainer

_ATTENDED = (
    "activation_precision",
    "pointing_game",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "saliency_iou",
)
_AVOIDED = ("artifact_relevance", "wrong_reason_score")
_METRICS = {*_ATTENDED, *_AVOIDED}


@validate_params(
    {
        "metric": [StrOptions(_METRICS), callable],
        "mask_role": [StrOptions({"attend", "avoid"}), None],
        "field": [str, None],
    },
    prefer_skip_nested_validation=True,
)
def make_explanation_scorer(
    metric="activation_precision", explainer="grad_cam", *, mask_role=None, field=None, **explainer_options
):
    """Make a scorer that rates models by where they look.

    The scorer explains the held-out rows and compares the maps with their masks. Maps can be moved without changing
    what a model uses: look at :func:`~sklearn_shortcuts.metrics.make_counterfactual_scorer` beside it.

    Parameters
    ----------
    metric : str or callable, default="activation_precision"
        What is measured: "activation_precision", "pointing_game", "relevance_mass_accuracy",
        "relevance_rank_accuracy", "saliency_iou", "artifact_relevance" or "wrong_reason_score" of
        :mod:`sklearn_shortcuts.metrics`, or ``metric(maps, masks, has_mask=has_mask)`` that gives a float or a
        :class:`~sklearn_shortcuts.metrics.SaliencyScore`, for instance a :func:`functools.partial` of one of them.
    explainer : str or callable, default="grad_cam"
        Function of :mod:`sklearn_shortcuts.explain`, or its name.
    mask_role : {"attend", "avoid"}, default=None
        What the masks mean: where to look, or where not to; the score is then the negative of the metric, so that
        greater is better. By default "avoid" with "artifact_relevance" and "wrong_reason_score", otherwise
        "attend".
    field : str, default=None
        Field of the rows that holds the masks. By default "artifact_masks" with "artifact_relevance", otherwise
        "masks".
    **explainer_options : object
        Options of the explainer, such as ``layer``, ``target`` or ``batch_size``.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None) -> float`` for the ``scoring`` of ``GridSearchCV``, ``cross_validate`` and the
        like, where ``X`` is an :class:`~sklearn_shortcuts.images.ImageBunch` with masks. It can be pickled if its
        parts can.

    Raises
    ------
    ValueError
        If there is no such metric or explainer. The scorer raises it, which a search turns into NaN with a warning,
        where the rows have no masks or no map says anything.

    Notes
    -----
    Rows without a region, and maps that are zero everywhere, do not count; the metrics themselves tell how many there
    were.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn_shortcuts import ImageBunch
    >>> from sklearn_shortcuts.explain import make_explanation_scorer
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 20)
    >>> images, masks = rng.normal(size=(40, 8, 8)), np.zeros((40, 8, 8))
    >>> masks[:, 2:6, 2:6] = 1
    >>> images += 2 * y[:, None, None] * masks
    >>> model = NeuralImageClassifier(SmallCNN(width=2, depth=1), max_epochs=2, random_state=0)
    >>> scorer = make_explanation_scorer("relevance_mass_accuracy", "input_gradients")
    >>> scores = cross_val_score(model, ImageBunch(images, masks=masks), y, scoring=scorer, cv=2)
    >>> bool(np.all((scores > 0) & (scores < 1)))
    True
    """
    name = _name(metric)
    if mask_role is None:
        mask_role = "avoid" if name in _AVOIDED else "attend"
    if field is None:
        field = "artifact_masks" if name == "artifact_relevance" else "masks"
    find_explainer(explainer)  # a wrong name is reported now, not by every fold
    return ExplanationScorer(metric, explainer, mask_role, field, explainer_options)


class ExplanationScorer:
    """Callable that explains the rows and rates the maps; made by :func:`make_explanation_scorer`.

    Parameters
    ----------
    metric, explainer : str or callable
        What is measured, and what makes the maps.
    mask_role : {"attend", "avoid"}
        Whether the metric counts for or against a model.
    field : str
        Where the masks are.
    explainer_options : dict
        Options of the explainer.
    """

    def __init__(self, metric, explainer, mask_role, field, explainer_options):
        self.metric = metric
        self.explainer = explainer
        self.mask_role = mask_role
        self.field = field
        self.explainer_options = explainer_options

    def __call__(self, estimator, X, y=None):
        """Score.

        Parameters
        ----------
        estimator : fitted classifier
            Model.
        X : ImageBunch
            Rows with masks.
        y : array-like of shape (n,) or (n, n_labels), default=None
            Labels, for ``target="true"``.

        Returns
        -------
        float
            Score, greater for a better model.
        """
        if not isinstance(X, ImageBunch) or self.field not in X.fields:
            what = f"has the fields {list(X.fields)}" if isinstance(X, ImageBunch) else f"is {type(X).__name__}"
            raise ValueError(
                f"a scorer of explanations needs the masks with the rows: X must be an ImageBunch with the field "
                f"{self.field!r}, but {what}"
            )
        options = dict(self.explainer_options)
        if y is not None:
            options.setdefault("y", y)
        maps = find_explainer(self.explainer)(estimator, X, **options)
        has_mask = X.has_mask if self.field == "masks" else None
        metric = getattr(metrics, self.metric) if isinstance(self.metric, str) else self.metric
        score = metric(maps, X.get(self.field), has_mask=has_mask)
        value = float(getattr(score, "value", score))
        if math.isnan(value):
            raise ValueError(
                f"{_name(self.metric)} is not defined: no map of these {len(X)} rows says anything (all are "
                f"zero where it counts); try another explainer or layer"
            )
        return -value if self.mask_role == "avoid" else value

    def __repr__(self):
        parts = [
            *(repr(part) if isinstance(part, str) else _name(part) for part in (self.metric, self.explainer)),
            f"mask_role={self.mask_role!r}",
            f"field={self.field!r}",
            *(f"{name}={value!r}" for name, value in self.explainer_options.items()),
        ]
        return f"make_explanation_scorer({', '.join(parts)})"


def _name(function):
    inner = getattr(function, "func", function)  # of a functools.partial
    return function if isinstance(function, str) else getattr(inner, "__name__", type(function).__name__)
