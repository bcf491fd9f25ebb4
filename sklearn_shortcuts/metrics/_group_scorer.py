"""Scores of subgroups as scorers of scikit-learn."""

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.utils._metadata_requests import MetadataRequest, _MetadataRequester
from sklearn.utils._param_validation import StrOptions, validate_params

from ..images import ImageBunch
from ._calibration_error import expected_calibration_error
from ._label_scores import evaluation_target, label_scores
from ._subgroup_scores import check_subgroups, make_subgroups, subgroup_accuracy


@validate_params(
    {
        "attribute": [str],
        "metric": [StrOptions({"accuracy", "auc", "calibration_error"})],
        "summary": [StrOptions({"worst", "gap", "average"})],
        "cross_with_label": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def make_group_scorer(attribute="artifact", *, metric="accuracy", summary="worst", cross_with_label=True):
    """Make a scorer that selects models by how they do in subgroups of the rows.

    Parameters
    ----------
    attribute : str, default="artifact"
        What divides the rows: a field of the :class:`~sklearn_shortcuts.images.ImageBunch`, or a column of its
        metadata.
    metric : {"accuracy", "auc", "calibration_error"}, default="accuracy"
        What is measured in each subgroup. The last two need two classes.
    summary : {"worst", "gap", "average"}, default="worst"
        The worst subgroup, the difference of the best and the worst, or the mean over subgroups by their size. Greater
        is better: of a gap, and of the calibration error, the negative is given.
    cross_with_label : bool, default=True
        Whether subgroups are combinations of label and attribute, as usual for accuracies. Areas under the curve need
        both classes in a subgroup and never are.

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None, subgroups=None) -> float`` for the ``scoring`` of ``GridSearchCV``,
        ``cross_validate`` and the like. ``subgroups`` takes the place of the attribute, crossed with the label or not,
        where ``X`` is no bunch; request it by ``scorer.set_score_request(subgroups=True)`` with metadata routing
        enabled. It can be pickled.

    Raises
    ------
    ValueError
        By the scorer, which a search turns into NaN with a warning: if rows have no such attribute, or a subgroup has
        one class only ("auc").

    See Also
    --------
    subgroup_scores : All subgroups, with intervals.

    Notes
    -----
    Patients are something else: give them to the search as ``groups``, for its splitter.

    A subgroup that has no row in a test fold does not count there. Where one is rare, stratify the folds by
    :func:`make_subgroups`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from sklearn_shortcuts import ImageBunch
    >>> from sklearn_shortcuts.metrics import make_group_scorer
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(200) % 2
    >>> tube = np.where(rng.random(200) < 0.9, y, 1 - y)
    >>> images = rng.normal(size=(200, 2, 2))
    >>> images[:, 0, 0] += 9 * tube  # the shortcut
    >>> bunch = ImageBunch(images, artifact=tube)
    >>> flat = FunctionTransformer(lambda rows: np.asarray(rows).reshape(len(rows), -1))
    >>> model = make_pipeline(flat, LogisticRegression())
    >>> accuracy = cross_val_score(model, bunch, y, cv=3).mean()
    >>> worst = cross_val_score(model, bunch, y, cv=3, scoring=make_group_scorer("artifact")).mean()
    >>> bool(accuracy > 0.8), bool(worst < 0.3)
    (True, True)
    """
    return GroupScorer(attribute, metric, summary, bool(cross_with_label))


class GroupScorer(_MetadataRequester):
    """Callable that scores a fitted estimator in subgroups; made by :func:`make_group_scorer`.

    Parameters
    ----------
    attribute, metric, summary : str
        As there.
    cross_with_label : bool
        As there.
    """

    def __init__(self, attribute, metric, summary, cross_with_label):
        self.attribute = attribute
        self.metric = metric
        self.summary = summary
        self.cross_with_label = cross_with_label

    def __call__(self, estimator, X, y=None, *, subgroups=None):
        """Score.

        Parameters
        ----------
        estimator : fitted classifier
            Model.
        X : ImageBunch or array-like
            Rows.
        y : array-like of shape (n,), default=None
            Labels; by default the bunch's field ``target``.
        subgroups : array-like of shape (n,), default=None
            In place of the attribute.

        Returns
        -------
        float
            Score, greater for a better model.
        """
        bunch = X if isinstance(X, ImageBunch) else None
        if y is None and bunch is not None and "target" in bunch.fields:
            y = bunch.get("target")
        if y is None:
            raise ValueError("there are no labels: give y, or an ImageBunch with the field 'target'")
        if np.ndim(y) == 2 and np.shape(y)[1] > 1:
            raise ValueError(f"the scorer needs one label per row, but y has {np.shape(y)[1]} columns")
        values = check_subgroups(self._attribute(bunch) if subgroups is None else subgroups, y)
        if self.metric == "accuracy":
            names = make_subgroups(y, values) if self.cross_with_label else values
            value = subgroup_accuracy(y, estimator.predict(X), subgroups=names, summary=self.summary)
            return -value if self.summary == "gap" else value
        target = evaluation_target(y, estimator)
        if target.positive.shape[1] != 1:
            raise ValueError(f"metric={self.metric!r} needs two classes, but there are {target.positive.shape[1]}")
        if self.metric == "calibration_error" and not hasattr(estimator, "predict_proba"):
            raise ValueError(f"metric='calibration_error' needs predict_proba, which {type(estimator).__name__} lacks")
        positive, scores = target.positive[:, 0], label_scores(estimator, X, target)[:, 0]
        return self._summarize(positive, scores, values)

    def set_score_request(self, *, subgroups):
        """Say whether the scorer wants to be given ``subgroups``.

        Parameters
        ----------
        subgroups : bool or str
            True, False, or the name that they are given by.

        Returns
        -------
        GroupScorer
            The scorer itself.
        """
        self._metadata_request = MetadataRequest(owner=self)
        self._metadata_request.score.add_request(param="subgroups", alias=subgroups)
        return self

    def _summarize(self, positive, scores, values):
        names, index = np.unique(values, return_inverse=True)
        measured = []
        for number, name in enumerate(names.tolist()):
            rows = index == number
            if self.metric == "calibration_error":
                measured.append(-expected_calibration_error(positive[rows], scores[rows]))
            elif positive[rows].all() or not positive[rows].any():
                raise ValueError(f"subgroup {name!r} of {self.attribute!r} has one class only, so that it has no AUC")
            else:
                measured.append(roc_auc_score(positive[rows], scores[rows]))
        if self.summary == "worst":
            return float(min(measured))
        if self.summary == "gap":
            return float(min(measured) - max(measured))
        return float(np.average(measured, weights=np.bincount(index)))

    def _attribute(self, bunch):
        if bunch is None:
            raise ValueError(
                f"the scorer needs to know the attribute {self.attribute!r} of the rows: X must be an ImageBunch with "
                f"it, or give subgroups (by metadata routing)"
            )
        return bunch.column(self.attribute, "attribute").to_numpy()

    def __repr__(self):
        return (
            f"make_group_scorer({self.attribute!r}, metric={self.metric!r}, summary={self.summary!r}, "
            f"cross_with_label={self.cross_with_label})"
        )
