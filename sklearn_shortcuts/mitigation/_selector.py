"""Transformer that chooses or weights training rows by how hard they are."""

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, TransformerMixin, _fit_context, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..images._weighted_rows import attach_weights
from ..neural._inputs import check_images
from ..neural._split import rarest_label
from ..neural._targets import TargetEncoding, check_target
from ..neural._training import check_weights
from ._hard_samples import ALL_SCORES, BAMHardSampleMiner
from ._network_meta import given_or_field
from ._row_selection import divide_among, first_rows, preferences, share_of_each


class HardSampleSelector(MetaEstimatorMixin, TransformerMixin, BaseEstimator):
    """Choose training rows by their difficulty, and let the steps behind it in a pipeline know by weights.

    A step of a scikit-learn pipeline cannot drop rows; weights do the same. ``fit_transform``, which a pipeline calls
    when it is fitted, gives the rows of an :class:`~sklearn_shortcuts.images.ImageBunch` the field ``sample_weight``,
    by which a :class:`~sklearn_shortcuts.neural.NeuralImageClassifier` behind it is trained. ``transform``, which it
    calls to predict, leaves rows as they are. So the share of rows and their weight can be searched over like any other
    parameter, and the step can be switched off by ``"passthrough"``.

    Parameters
    ----------
    miner : estimator, array-like of shape (n,), str or None, default=None
        Where scores come from:

        - an estimator with ``sample_table_`` or ``sample_scores_`` once it is fitted, of which a copy is fitted; by
          default ``BAMHardSampleMiner()``. A :class:`BAMHardSampleMiner` is fitted without its second stage;
        - a fitted one in a :class:`~sklearn.frozen.FrozenEstimator`, or the scores themselves, higher is harder, if
          ``fit`` gets the same rows;
        - the name of a field of the bunch or of a column of its ``metadata``. These go with the rows into the folds of
          a cross-validation.

        Rows whose score is NaN are never chosen.
    difficulty : str or None, default="aux"
        Column of the miner's ``sample_table_``; None takes its ``sample_scores_``. Only used where ``miner`` is an
        estimator.
    keep : {"hard", "easy", "ambiguous"}, default="hard"
        Rows to choose: those with the largest, the smallest or the middle scores. (The ambiguous rows of data maps,
        whose probabilities vary most, are the hard ones by ``difficulty="variability"``.)
    selection : {"quantile", "top_k", "threshold"}, default="quantile"
        How many: the share ``quantile``, the number ``k``, or all those beyond ``threshold``.
    quantile : float, default=0.1
        Share of rows for ``selection="quantile"``, in (0, 1]; with ``stratify_by_class`` at least one row of every
        class.
    k : int, default=20
        Number of rows for ``selection="top_k"``.
    threshold : float or tuple of two floats, default=None
        For ``selection="threshold"``: hard rows have at least this score, easy ones at most; ambiguous ones lie between
        two, borders included.
    stratify_by_class : bool, default=True
        Compare rows within their class only, and choose the same share of every class: scores are often higher in the
        rarer one, and the hardest rows of all would be that class. With several labels a row counts as of the rarest
        one that it has. Has no influence on what a ``threshold`` chooses.
    weighting : {"selected", "rank"}, default="selected"
        Chosen rows have the weight ``upweight`` and others ``rest_weight``; or weights rise evenly with the rank of
        the row, from ``rest_weight`` for the row that would be chosen last to ``upweight`` for the first.
    upweight : float, default=20.0
        Weight of chosen rows; 0 leaves them out, for instance those whose labels are doubted.
    rest_weight : float, default=1.0
        Weight of the others, and of rows without a score; 0 leaves them out.

    Attributes
    ----------
    miner_ : estimator
        Fitted miner, if there is one.
    sample_scores_ : ndarray of shape (n,)
        Difficulty of every row, higher is harder; NaN for rows of weight 0 and those the miner held out.
    selected_ : ndarray of bool of shape (n,)
        Rows that were chosen.
    sample_indices_ : ndarray of int of shape (n_selected,)
        Their numbers in the order in which they are chosen, that which most belongs there first.
    sample_weight_ : ndarray of shape (n,)
        Weights that ``fit_transform`` gives to the rows, times given ones.
    image_shape_ : tuple of int
        Shape of one row as networks see it.
    n_features_in_ : int
        Values per row.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, if ``X`` was a DataFrame.

    See Also
    --------
    BAMHardSampleMiner : Scores, and a second training on from the network that found them.
    label_quality : Whether hard rows are mislabeled; ``1 - self_confidence`` can be given as scores.

    Notes
    -----
    In a search every candidate of this step's own parameters fits the miner anew, to the same result. With ``memory``
    of the miner its network is trained once per fold, and only the selection is made again.

    Weights are attached by ``fit_transform`` only: ``fit(X, y).transform(X)`` gives the rows without. Images of arrays
    become a bunch; to a table there is nothing to attach, of which ``fit_transform`` warns; take ``sample_weight_`` or
    :meth:`get_support`.

    Of rows with the same score those with smaller numbers are chosen first.

    Examples
    --------
    The corner tells the class in all but six rows. They are the hardest, and the network behind is trained with them
    weighted up.

    >>> import numpy as np
    >>> from sklearn.pipeline import Pipeline
    >>> from sklearn_shortcuts import ImageBunch
    >>> from sklearn_shortcuts.mitigation import BAMHardSampleMiner, HardSampleSelector
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(160) % 2
    >>> corner = np.where(np.arange(160) < 6, 1 - y, y)
    >>> X = rng.normal(size=(160, 8, 8))
    >>> X[:, :3, :3] += 3 * (2 * corner - 1)[:, None, None]
    >>> X[:, 4:, 4:] += 0.5 * (2 * y - 1)[:, None, None]
    >>> network = NeuralImageClassifier(SmallCNN(4, depth=1), lr=0.01, batch_size=16, max_epochs=12, random_state=0)
    >>> selector = HardSampleSelector(BAMHardSampleMiner(network), quantile=0.04)
    >>> model = Pipeline([("selector", selector), ("network", network)]).fit(ImageBunch(X), y)
    >>> model["selector"].get_support(indices=True)
    array([0, 1, 2, 3, 4, 5])
    >>> model["selector"].sample_weight_[4:8]
    array([20., 20.,  1.,  1.])

    What to search over:

    >>> grid = [
    ...     {"selector__quantile": [0.02, 0.05], "selector__upweight": [5, 20]},
    ...     {"selector": ["passthrough"]},
    ... ]
    """

    _parameter_constraints: dict = {
        "miner": [HasMethods(["fit", "get_params"]), "array-like", str, None],
        "difficulty": [str, None],
        "keep": [StrOptions({"hard", "easy", "ambiguous"})],
        "selection": [StrOptions({"quantile", "top_k", "threshold"})],
        "quantile": [Interval(Real, 0, 1, closed="right")],
        "k": [Interval(Integral, 1, None, closed="left")],
        "threshold": [Interval(Real, None, None, closed="neither"), tuple, list, None],
        "stratify_by_class": ["boolean"],
        "weighting": [StrOptions({"selected", "rank"})],
        "upweight": [Interval(Real, 0, None, closed="left")],
        "rest_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        miner=None,
        *,
        difficulty="aux",
        keep="hard",
        selection="quantile",
        quantile=0.1,
        k=20,
        threshold=None,
        stratify_by_class=True,
        weighting="selected",
        upweight=20.0,
        rest_weight=1.0,
    ):
        self.miner = miner
        self.difficulty = difficulty
        self.keep = keep
        self.selection = selection
        self.quantile = quantile
        self.k = k
        self.threshold = threshold
        self.stratify_by_class = stratify_by_class
        self.weighting = weighting
        self.upweight = upweight
        self.rest_weight = rest_weight

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None, groups=None):
        """Score the rows and choose.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images.
        y : array-like of shape (n,), or array-like or DataFrame of shape (n, n_labels), default=None
            Classes, or one 0/1 column per label; by default the bunch's field ``target``.
        sample_weight : array-like of shape (n,), default=None
            Weights, not negative; a row of weight 0 counts as absent. By default the bunch's field.
        groups : array-like of shape (n,), default=None
            Patients, for the miner. By default the bunch's field.

        Returns
        -------
        HardSampleSelector
            The fitted selector itself.

        Raises
        ------
        ValueError
            If there are no scores for these rows, ``threshold`` does not fit ``keep``, more rows are to be chosen than
            there are, or all weights would be 0.

        Warns
        -----
        UserWarning
            If no row lies beyond the threshold.
        """
        self._forget()
        borders = self._check_choices()
        rows = check_images(self, X, image_shape=None, precision="float32", reset=True)
        if rows.bunch is not None:
            y = given_or_field(rows.bunch, "target", y)
            sample_weight = given_or_field(rows.bunch, "sample_weight", sample_weight)
            groups = given_or_field(rows.bunch, "groups", groups)
        labels, names = check_target(y, type(self).__name__)
        check_consistent_length(rows.images, labels)
        weights = check_weights(sample_weight, rows)
        encoding = TargetEncoding.learn(labels[weights.used], names)
        weight = np.ones(len(rows)) if weights.sample_weight is None else weights.sample_weight
        scores = self._find_scores(X, rows, y, labels, sample_weight, groups)
        scores = np.where(weight > 0, scores, np.nan)
        if np.isnan(scores).all():
            raise ValueError("no row of positive weight has a score: all are NaN")

        strata = np.zeros(len(rows), dtype=int)
        if self.stratify_by_class:
            codes = encoding.encode_rows(labels, weights.used)
            strata = codes if codes.ndim == 1 else rarest_label(codes)
        preference = preferences(scores, strata, self.keep)
        selected = self._select(scores, preference, strata, borders)
        part = selected.astype(float) if self.weighting == "selected" else np.nan_to_num(preference)
        weight = weight * (self.rest_weight + (self.upweight - self.rest_weight) * part)
        if not weight.any():
            raise ValueError(
                f"all weights would be 0: {selected.sum()} rows are chosen, upweight={self.upweight}, "
                f"rest_weight={self.rest_weight}"
            )
        chosen = np.flatnonzero(selected)
        self.sample_scores_, self.selected_ = scores, selected
        self.sample_indices_ = chosen[np.argsort(-preference[chosen], kind="stable")]
        self.sample_weight_ = weight
        return self

    def fit_transform(self, X, y=None, sample_weight=None, groups=None):
        """Score the rows, choose, and attach the weights to them.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images; not changed.
        y : array-like of shape (n,), or array-like or DataFrame of shape (n, n_labels), default=None
            Classes, or one 0/1 column per label; by default the bunch's field ``target``.
        sample_weight : array-like of shape (n,), default=None
            Weights, not negative; a row of weight 0 counts as absent. By default the bunch's field.
        groups : array-like of shape (n,), default=None
            Patients, for the miner. By default the bunch's field.

        Returns
        -------
        ImageBunch or array-like
            A bunch with ``sample_weight_`` as its field ``sample_weight``, which images become; a table as it is.

        Warns
        -----
        UserWarning
            If ``X`` is a table, so that the weights stay behind.
        """
        self.fit(X, y, sample_weight=sample_weight, groups=groups)
        return attach_weights(self.transform(X), self.sample_weight_, type(self).__name__)

    def transform(self, X):
        """Give the rows as they are.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images.

        Returns
        -------
        ImageBunch or array-like
            The same; lists become arrays.
        """
        check_is_fitted(self)
        rows = check_images(self, X, image_shape=None, precision="float64", reset=False)
        return X if hasattr(X, "shape") else rows.images

    def get_support(self, indices=False):
        """Give the chosen rows of the ``X`` that ``fit`` got.

        Parameters
        ----------
        indices : bool, default=False
            Give row numbers, in ascending order, in place of a mask.

        Returns
        -------
        ndarray of bool of shape (n,) or of int of shape (n_selected,)
            Chosen rows.
        """
        check_is_fitted(self)
        return np.flatnonzero(self.selected_) if indices else self.selected_.copy()

    def __sklearn_is_fitted__(self):
        return hasattr(self, "sample_weight_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags

    # -- inside ----------------------------------------------------------------------------------------------------
    def _forget(self):
        """Should anything fail from here on, the selector is not fitted."""
        for name in ("sample_weight_", "miner_", "feature_names_in_"):
            if hasattr(self, name):
                delattr(self, name)

    def _given_miner(self):
        return BAMHardSampleMiner() if self.miner is None else self.miner

    def _check_choices(self):
        """Give the smallest and largest score that ``selection="threshold"`` chooses."""
        miner = self._given_miner()
        if isinstance(miner, BAMHardSampleMiner) and self.difficulty is not None:
            if self.difficulty not in (*ALL_SCORES, "vog"):
                raise ValueError(f"difficulty={self.difficulty!r} is none of {[*ALL_SCORES, 'vog']}")
            if self.difficulty == "vog" and miner.vog_checkpoints == 0:
                raise ValueError("difficulty='vog' needs a miner with vog_checkpoints, which are 0; set for instance 5")
        if self.selection != "threshold":
            return None
        if self.keep == "ambiguous":
            if np.shape(self.threshold) != (2,) or not self.threshold[0] < self.threshold[1]:
                raise ValueError(
                    f"keep='ambiguous' with selection='threshold' needs two scores, the smaller one first, but "
                    f"threshold={self.threshold!r}"
                )
            return tuple(self.threshold)
        if not isinstance(self.threshold, Real):
            raise ValueError(
                f"keep={self.keep!r} with selection='threshold' needs one score, but threshold={self.threshold!r}"
            )
        return (self.threshold, np.inf) if self.keep == "hard" else (-np.inf, self.threshold)

    def _find_scores(self, X, rows, y, labels, sample_weight, groups):
        miner = self._given_miner()
        if isinstance(miner, str):
            return _scores_of_bunch(rows.bunch, miner)
        if not hasattr(miner, "fit"):
            return _check_scores(miner, "miner", len(rows))
        if isinstance(miner, FrozenEstimator):
            self.miner_ = miner.estimator
            scores = self._scores_of_miner(len(rows))
            self._check_same_rows(labels)
            return scores
        miner = clone(miner)
        if isinstance(miner, BAMHardSampleMiner):
            miner.set_params(stage_two_epochs=0)
        given = {"sample_weight": sample_weight, "groups": groups}
        with warnings.catch_warnings():
            # The miner would not know which rows to weight up; here they are chosen otherwise.
            warnings.filterwarnings("ignore", "no row is hard by selection", UserWarning)
            self.miner_ = miner.fit(X, y, **{name: value for name, value in given.items() if value is not None})
        return self._scores_of_miner(len(rows))

    def _scores_of_miner(self, n_rows):
        kind = type(self.miner_).__name__
        if self.difficulty is None:
            scores = getattr(self.miner_, "sample_scores_", None)
            if scores is None:
                raise ValueError(
                    f"the fitted {kind} has no sample_scores_; set difficulty to a column of its sample_table_"
                )
            return _check_scores(scores, f"sample_scores_ of the {kind}", n_rows)
        table = getattr(self.miner_, "sample_table_", None)
        if table is None:
            raise ValueError(
                f"the fitted {kind} has no sample_table_ with the score {self.difficulty!r}; set difficulty=None"
            )
        if self.difficulty not in table:
            numbers = table.select_dtypes("number").columns.tolist()
            raise ValueError(
                f"difficulty={self.difficulty!r} is no column of the {kind}'s sample_table_, which has {numbers}"
            )
        return _check_scores(table[self.difficulty], f"sample_table_ of the {kind}", n_rows)

    def _check_same_rows(self, labels):
        table = getattr(self.miner_, "sample_table_", None)
        if table is None:
            return
        fitted = np.array(table["label"].tolist())
        if fitted.shape != labels.shape or (fitted != labels).any():
            raise ValueError(
                "the frozen miner was fitted on rows with other labels than these; give the same rows in the same order"
            )

    def _select(self, scores, preference, strata, borders):
        if self.selection == "threshold":
            low, high = borders
            selected = (scores >= low) & (scores <= high)
            if not selected.any():
                warnings.warn(
                    f"no row is {self.keep} by threshold={self.threshold!r}: scores are from {np.nanmin(scores):.4g} "
                    f"to {np.nanmax(scores):.4g}",
                    UserWarning,
                    stacklevel=4,
                )
            return selected
        if self.selection == "quantile":
            return first_rows(preference, strata, lambda sizes: share_of_each(sizes, self.quantile))
        n_scored = int((~np.isnan(scores)).sum())
        if self.k > n_scored:
            raise ValueError(f"k={self.k} is more than the {n_scored} rows with a score")
        return first_rows(preference, strata, lambda sizes: divide_among(sizes, self.k))


def _scores_of_bunch(bunch, name):
    if bunch is None:
        raise ValueError(f"miner={name!r} names a column or field of an ImageBunch, but X is none")
    return _check_scores(bunch.column(name, "miner"), f"miner={name!r}", len(bunch))


def _check_scores(scores, what, n_rows):
    scores = column_or_1d(np.asarray(scores), warn=False)
    try:
        scores = scores.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} must hold numbers, but is of type {scores.dtype}") from error
    if len(scores) != n_rows:
        raise ValueError(
            f"{what} has scores of {len(scores)} rows, but X has {n_rows}; in a cross-validation, which fits on some "
            "of the rows, give the scores as a column of the bunch's metadata, and its name as miner"
        )
    return scores
