"""The loop in which a concept finds rows with an artifact, people confirm them, and the concept learns."""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy.stats import binomtest, hypergeom
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.base import _fit_context as fit_context
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data

from .._random_state import draw_seed, make_random_state
from ..images import ImageBunch
from ..images._sources import as_row_indices
from ..latent import ConceptVector
from ._cross_fitting import cross_fit, deal_into_folds, fit_concept, order_by_content, scores_of
from ._queries import by_distance, by_score, by_score_and_uncertainty, by_uncertainty
from ._sheet import read_review_sheet, write_review_sheet

_STRATEGIES = ("score", "uncertainty", "mixed", "diverse", "random")
_HISTORY = (
    "strategy",
    "n_asked",
    "n_positive",
    "n_negative",
    "n_unsure",
    "n_corrected",
    "precision",
    "precision_low",
    "precision_high",
    "total_positive",
    "total_negative",
    "n_predicted",
)


def _gives_probabilities(annotator):
    concept = getattr(annotator, "concept_", annotator.concept)
    return concept is None or hasattr(concept, "predict_proba")


class ConceptAnnotator(ClassifierMixin, BaseEstimator):
    """Find the rows of a pool that carry an artifact, from a few confirmed ones and a person's answers.

    :meth:`query` names the rows that are worth a look, :meth:`teach` takes the answers and fits the concept again,
    until batches hold hardly any more rows with the artifact. The answers may come from a function (:meth:`run`) or
    from a sheet that people fill in (:meth:`write_sheet`, :meth:`teach_from_sheet`). Ten rows with the artifact are
    enough to begin with; none without it is needed.

    Parameters
    ----------
    concept : classifier, default=None
        Cloned; tells rows with the artifact (1) from others (0), by ``decision_function`` or ``predict_proba``.
        None means :class:`~sklearn_shortcuts.latent.ConceptVector` ``("logistic", C=0.1, balanced=False)`` on features
        of unit variance: unequal scales of layers decide nothing, and the boundary knows that most rows are clean.
    features : transformer, default=None
        Turns rows into features, such as :class:`~sklearn_shortcuts.latent.LayerFeatures` of several layers; cloned.
        None means that rows are features.
    n_per_round : int, default=50
        Rows to ask for at a time.
    strategy : {"score", "uncertainty", "mixed", "diverse", "random"}, default="score"
        Which unanswered rows to ask for.

        - "score": those that most likely carry the artifact;
        - "uncertainty": those next to the boundary of the concept;
        - "mixed": by score and by uncertainty in turn;
        - "diverse": of four times as many by score, each farthest from the rows known to carry it and from those
          chosen before (farthest-first traversal);
        - "random": any. Finds little, but :meth:`estimate_remaining` needs such a batch.
    stop_precision : float, default=0.1
        A batch is poor if no larger share of its answers is "artifact". That few are left, this tells of batches that
        are chosen by score; random ones do not count.
    patience : int, default=2
        Stop after this many poor batches in a row.
    budget : int, default=None
        Stop after this many rows were answered, those of ``fit`` not counted. None means no limit.
    cv : int, default=5
        Folds for the scores of the pool.
    random_state : int, RandomState instance or None, default=None
        Decides folds and random batches, and seeds concepts that have no seed.

    Attributes
    ----------
    artifact_ : ndarray of int of shape (n,)
        What people said of the pool: 1 artifact, 0 none, -1 unknown.
    answered_ : ndarray of bool of shape (n,)
        Rows that are not asked for again: those with a label, and those that people were unsure of.
    transduction_ : ndarray of int of shape (n,)
        1 for rows with the artifact, 0 for others: ``artifact_`` where it is known, elsewhere whether
        ``sample_scores_`` is positive.
    sample_scores_ : ndarray of shape (n,)
        Score of each row by a concept that was fitted on the other folds; positive for the artifact.
    scores_ : DataFrame
        How well these scores rank rows: columns "auroc" and "average_precision", means over folds, with their standard
        deviations "auroc_std" and "average_precision_std", and "n_positive", "n_negative". Row "labeled" compares the
        artifact rows with those that people called clean, which are the hard ones if they were chosen by score; row
        "pool" with all other rows, of which some carry the artifact as long as not all are found. NaN where a fold has
        too few rows.
    history_ : DataFrame
        One row per call of :meth:`teach`, after that of ``fit``: "strategy" ("seeds" for ``fit``, "given" for rows that
        were not asked for), "n_asked" rows new to the annotator, of which "n_positive", "n_negative" and "n_unsure",
        "n_corrected" earlier answers changed, "precision" (share of artifact rows among the new answers other than
        unsure, the precision at k) with Wilson's 95 % interval "precision_low" and "precision_high", "total_positive",
        "total_negative", and "n_predicted", unanswered rows with a positive score.
    finished_ : bool
        Whether a reason to stop was reached; :meth:`query` and :meth:`teach` go on working.
    stop_reason_ : {"all rows are answered", "budget", "precision"} or None
        The reason.
    concept_ : classifier
        Fitted on the pool, with labels 0 and 1.
    features_ : transformer or None
        Fitted ``features``.
    X_ : ndarray of shape (n, n_features), dtype float64
        Features of the pool.
    groups_ : ndarray of shape (n,) or None
        Patients.
    classes_ : ndarray of shape (2,)
        Labels without and with the artifact.
    n_features_in_ : int
        Number of features, if ``features`` is None.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if ``X`` was a DataFrame and ``features`` is None.

    See Also
    --------
    sklearn_shortcuts.latent.ConceptVector : Linear concepts.
    sklearn_shortcuts.latent.LayerFeatures : Activations of a network's layers.
    write_review_sheet : Sheets without an annotator.

    Notes
    -----
    Rows of unknown label count as rows without the artifact when a concept is fitted, as in learning from positive and
    unlabeled examples [2]_: most are, and rows that people called clean are too few and too hard to stand for all. No
    row is ranked by a concept that was told so of it: each score comes from the concept fitted on the other folds,
    which keep patients together. Rows people were unsure of have no part in the fit. If without a fold no artifact row
    is left, ``concept_`` scores that fold.

    After every change of labels everything is computed anew from ``artifact_``: the order in which answers came has
    no influence, and neither has the order of the rows of the pool.

    The loop of [1]_ ranks by a vector fitted on the rows that it ranks, keeps no negatives and has no rule to stop.

    References
    ----------
    .. [1] F. Pahde et al. (2025). Ensuring Medical AI Safety: Interpretability-Driven Detection and Mitigation of
       Spurious Model Behavior and Associated Data. Machine Learning 114, 206.
    .. [2] C. Elkan and K. Noto (2008). Learning Classifiers from Only Positive and Unlabeled Data. KDD.

    Examples
    --------
    One row in ten carries an artifact, which two features show; ten such rows are known.

    >>> import numpy as np
    >>> from sklearn_shortcuts.review import ConceptAnnotator
    >>> rng = np.random.default_rng(0)
    >>> truth = (np.arange(500) % 10 == 0).astype(int)
    >>> X = rng.normal(size=(500, 8))
    >>> X[:, :2] += 4 * truth[:, None]
    >>> seeds = np.full(500, -1)
    >>> seeds[np.flatnonzero(truth)[:10]] = 1
    >>> annotator = ConceptAnnotator(n_per_round=20, random_state=0).fit(X, seeds)
    >>> rows = annotator.query()
    >>> _ = annotator.teach(rows, truth[rows])
    >>> _ = annotator.run(lambda rows: truth[rows], max_rounds=4)
    >>> annotator.stop_reason_
    'precision'
    >>> annotator.evaluate(truth)[["recall", "precision"]].round(2).tolist()
    [1.0, 1.0]
    """

    _parameter_constraints: dict = {
        "concept": [HasMethods(["fit", "decision_function"]), HasMethods(["fit", "predict_proba"]), None],
        "features": [HasMethods(["fit", "transform"]), None],
        "n_per_round": [Interval(Integral, 1, None, closed="left")],
        "strategy": [StrOptions(set(_STRATEGIES))],
        "stop_precision": [Interval(Real, 0, 1, closed="both")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "budget": [Interval(Integral, 1, None, closed="left"), None],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        concept=None,
        *,
        features=None,
        n_per_round=50,
        strategy="score",
        stop_precision=0.1,
        patience=2,
        budget=None,
        cv=5,
        random_state=None,
    ):
        self.concept = concept
        self.features = features
        self.n_per_round = n_per_round
        self.strategy = strategy
        self.stop_precision = stop_precision
        self.patience = patience
        self.budget = budget
        self.cv = cv
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, groups=None):
        """Start from the rows whose label is known.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, ...)
            The pool: features of shape ``(n, n_features)``, or what ``features`` takes.
        y : array-like of shape (n,)
            1 for rows that carry the artifact, 0 for rows that do not, -1 for unknown; rows with 0 are not needed. Of
            two other labels the greater one means the artifact.
        groups : array-like of shape (n,), default=None
            Patients, who then stand in one fold. By default the bunch's field.

        Returns
        -------
        ConceptAnnotator
            Itself.

        Raises
        ------
        ValueError
            If no row is known to carry the artifact, all rows do, or the input does not fit together.
        """
        if groups is None and isinstance(X, ImageBunch) and "groups" in X.fields:
            groups = X.get("groups")
        if self.features is None:
            if isinstance(X, ImageBunch):
                raise ValueError("X holds images, but the concept needs features: give features=..., or their features")
            X, y = validate_data(self, X, y, dtype=np.float64, copy=True)
            self.features_ = None
        else:
            if y is None:
                raise ValueError("requires y to be passed, but the target y is None")
            self.features_ = clone(self.features).fit(X)
            X = self._as_features(X)
        y = column_or_1d(y)
        check_consistent_length(X, y, groups)
        classes, artifact = _as_labels(y)
        if groups is not None and pd.isna(groups).any():
            raise ValueError(f"groups: row {np.flatnonzero(pd.isna(groups))[0]} has no patient; give each row one")
        self.groups_ = None if groups is None else np.array(groups)
        self.classes_ = classes
        self.X_ = X
        self.seed_ = draw_seed(make_random_state(self.random_state))
        self._order, self._pool = order_by_content(X)
        self._rounds, self._asked, self._drawn = [], None, None
        self._learn(artifact, artifact >= 0, strategy="seeds", new=np.flatnonzero(artifact >= 0), n_corrected=0)
        return self

    def query(self, n=None, strategy=None):
        """Choose rows to ask people about; nothing changes until they are taught.

        Parameters
        ----------
        n : int, default=None
            How many; by default ``n_per_round``. Fewer if fewer are left, or the budget allows no more.
        strategy : {"score", "uncertainty", "mixed", "diverse", "random"}, default=None
            By default that of the annotator.

        Returns
        -------
        ndarray of int of shape (n,)
            Rows of the pool without an answer, the best first.

        Raises
        ------
        ValueError
            If ``n`` is less than 1 or the strategy is not known.
        """
        check_is_fitted(self)
        n = self.n_per_round if n is None else n
        if not isinstance(n, Integral) or n < 1:
            raise ValueError(f"n={n!r} must be a whole number from 1")
        strategy = self.strategy if strategy is None else strategy
        if strategy not in _STRATEGIES:
            raise ValueError(f"strategy={strategy!r} is none of {', '.join(map(repr, _STRATEGIES))}")
        if self.budget is not None:
            n = min(n, max(self.budget - self._n_answers(), 0))
        rows = self._order[~self.answered_[self._order]]  # equal scores: by content, not by place
        scores = self.sample_scores_[rows]
        if n == 0 or len(rows) == 0:
            places = np.empty(0, dtype=int)
        elif strategy == "score":
            places = by_score(scores, n)
        elif strategy == "uncertainty":
            places = by_uncertainty(scores, n)
        elif strategy == "mixed":
            places = by_score_and_uncertainty(scores, n)
        elif strategy == "diverse":
            scale = self.X_.std(axis=0)
            scaled = self.X_ / np.where(scale > 0, scale, 1)
            found = self._order[self.artifact_[self._order] == 1]
            places = by_distance(scores, n, scaled[rows], scaled[found])
        else:
            places = np.random.RandomState((self.seed_ + len(self._rounds)) % 2**32).permutation(len(rows))[:n]
        self._asked = strategy, np.sort(rows[places])
        return rows[places]

    def teach(self, rows, labels):
        """Store answers and fit the concept again.

        Parameters
        ----------
        rows : array-like of int of shape (n_answers,)
            Rows of the pool: those that were asked for, others, or rows answered before, whose label is then corrected.
        labels : array-like of shape (n_answers,)
            1 artifact, 0 none, -1 unsure: such a row has no label any more and is not asked for again.

        Returns
        -------
        ConceptAnnotator
            Itself.

        Raises
        ------
        ValueError
            If a label is none of these, a row gets two different labels, or no artifact row would be left. Nothing is
            then stored.
        IndexError
            If there is no such row.
        """
        check_is_fitted(self)
        rows, labels = _checked_answers(rows, labels, len(self.X_))
        artifact, answered = self.artifact_.copy(), self.answered_.copy()
        new = rows[~answered[rows]]
        n_corrected = int(np.sum(answered[rows] & (artifact[rows] != labels)))
        artifact[rows], answered[rows] = labels, True
        strategy = "given"
        if self._asked is not None and len(new) and np.isin(new, self._asked[1]).all():
            strategy = self._asked[0]
        drawn = self._drawn
        if strategy == "random" and len(new) == len(self._asked[1]):
            drawn = np.flatnonzero(~self.answered_), new  # all of the batch: a part of it may be chosen by people
        self._learn(artifact, answered, strategy=strategy, new=new, n_corrected=n_corrected)
        self._drawn = drawn
        return self

    def run(self, oracle, max_rounds=20):
        """Ask a function until there is a reason to stop.

        Parameters
        ----------
        oracle : callable
            ``oracle(rows) -> labels`` as for :meth:`teach`.
        max_rounds : int, default=20
            Most rounds of this call.

        Returns
        -------
        ConceptAnnotator
            Itself.
        """
        check_is_fitted(self)
        for _ in range(max_rounds):
            if self.finished_:
                break
            rows = self.query()
            self.teach(rows, oracle(rows))
        return self

    def write_sheet(self, path, X, rows=None, **options):
        """Write a sheet on which people answer for the rows of a query.

        Parameters
        ----------
        path : path-like
            File to write, ending in ``.html`` or ``.csv``.
        X : ImageBunch or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
            Pictures of the pool, in its order.
        rows : array-like of int, default=None
            Rows to ask for; by default those of :meth:`query`.
        **options
            Passed on to :func:`write_review_sheet`.

        Returns
        -------
        str
            Number of the batch.

        Raises
        ------
        ValueError
            If ``X`` has another number of rows than the pool, or no row is left.
        """
        check_is_fitted(self)
        if len(X) != len(self.X_):
            raise ValueError(f"X has {len(X)} rows, but the pool has {len(self.X_)}; give the pictures of all of them")
        rows = self.query() if rows is None else rows
        return write_review_sheet(path, X, rows, pool=self._pool, **options)

    def teach_from_sheet(self, path, batch=None):
        """Store the answers of a sheet that :meth:`write_sheet` wrote.

        The pool is told by its features, to the last digit: keep the annotator, by pickle for instance, until the
        answers are back.

        Parameters
        ----------
        path : path-like
            CSV file with the answers.
        batch : str, default=None
            Number of the batch; by default any of this pool.

        Returns
        -------
        ConceptAnnotator
            Itself.

        Raises
        ------
        ValueError
            If the file is none of a sheet of this pool, see :func:`read_review_sheet`, or nothing is answered.
        """
        check_is_fitted(self)
        rows, labels = read_review_sheet(path, n_rows=len(self.X_), pool=self._pool, batch=batch)
        if len(rows) == 0:
            raise ValueError("the sheet holds no answers; answer at least one row")
        return self.teach(rows, labels)

    def evaluate(self, truth):
        """Compare what was found with the truth of the whole pool, where it is known.

        Parameters
        ----------
        truth : array-like of shape (n,)
            1 for rows that carry the artifact, 0 for others.

        Returns
        -------
        Series
            "recall" and "precision" of ``transduction_``; "auroc" and "average_precision" of ``sample_scores_``, which
            leave people's answers aside.

        Raises
        ------
        ValueError
            If the truth has another length, other values, or one class only.
        """
        check_is_fitted(self)
        truth = np.asarray(column_or_1d(truth))
        if len(truth) != len(self.X_):
            raise ValueError(f"truth has {len(truth)} values, but the pool has {len(self.X_)} rows")
        if not np.array_equal(np.unique(truth), [0, 1]):
            raise ValueError(f"truth must hold 0 and 1, got {np.unique(truth)[:5].tolist()}")
        hits = float(np.sum((truth == 1) & (self.transduction_ == 1)))
        return pd.Series(
            {
                "recall": hits / np.sum(truth == 1),
                "precision": hits / max(np.sum(self.transduction_ == 1), 1),
                "auroc": roc_auc_score(truth, self.sample_scores_),
                "average_precision": average_precision_score(truth, self.sample_scores_),
            }
        )

    def estimate_remaining(self, confidence=0.95):
        """Estimate how many rows with the artifact are not found yet.

        Scores cannot tell: they were learned from rows that were chosen. A batch of ``strategy="random"`` can, whatever
        the concept is worth. All rows of the last such batch that was taught as a whole count.

        Parameters
        ----------
        confidence : float, default=0.95
            Of the interval.

        Returns
        -------
        Series
            "estimate", "low" and "high": number of rows that carry the artifact among those not labeled so. The
            interval is exact for draws without replacement (hypergeometric distribution, both tails); rows that people
            were unsure of count as clean for the lower end and as artifact for the upper one, and are left out of the
            estimate.

        Raises
        ------
        ValueError
            If no random batch was taught, or all of it was unsure.
        """
        check_is_fitted(self)
        if not 0 < confidence < 1:
            raise ValueError(f"confidence={confidence} must lie between 0 and 1")
        if self._drawn is None:
            raise ValueError("no random batch was taught as a whole: teach the rows of query(strategy='random')")
        population, drawn = self._drawn
        n_positive, n_unsure = (int(np.sum(self.artifact_[drawn] == label)) for label in (1, -1))
        n_known = len(drawn) - n_unsure
        if n_known == 0:
            raise ValueError("people were unsure of all rows of the random batch; teach another one")
        possible = np.arange(len(population) + 1)
        tail = (1 - confidence) / 2
        at_least = hypergeom.sf(n_positive - 1, len(population), possible, len(drawn))
        at_most = hypergeom.cdf(n_positive + n_unsure, len(population), possible, len(drawn))
        found = np.sum(self.artifact_[population] == 1)
        counts = {
            "estimate": len(population) * n_positive / n_known,
            "low": possible[at_least > tail].min(),
            "high": possible[at_most > tail].max(),
        }
        return pd.Series({name: max(float(count - found), 0.0) for name, count in counts.items()})

    def decision_function(self, X):
        """Give the scores of the concept for any rows.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, ...)
            Rows as in ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            Positive for the artifact. For rows of the pool ``sample_scores_`` is honest, and this is not.
        """
        check_is_fitted(self)
        return scores_of(self.concept_, self._new_rows(X))

    def predict(self, X):
        """Tell which of any rows carry the artifact.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, ...)
            Rows as in ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            Values of ``classes_``.
        """
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int)]

    @available_if(_gives_probabilities)
    def predict_proba(self, X):
        """Give the probability of the concept that rows carry the artifact.

        Parameters
        ----------
        X : ImageBunch or array-like of shape (n, ...)
            Rows as in ``fit``.

        Returns
        -------
        ndarray of shape (n, 2)
            Probabilities without and with the artifact. While artifact rows of unknown label count as clean they are
            too low.
        """
        check_is_fitted(self)
        return self.concept_.predict_proba(self._new_rows(X))

    def __sklearn_is_fitted__(self):
        return hasattr(self, "concept_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        if self.features is not None:
            tags.input_tags.two_d_array = False
            tags.input_tags.three_d_array = True
        return tags

    def _new_rows(self, X):
        if self.features_ is None:
            return validate_data(self, X, reset=False, dtype=np.float64)
        return self._as_features(X)

    def _as_features(self, X):
        return check_array(self.features_.transform(X), dtype=np.float64, input_name="features", copy=True)

    def _n_answers(self):
        return sum(record["n_asked"] for record in self._rounds[1:])

    def _learn(self, artifact, answered, *, strategy, new, n_corrected):
        """Compute everything from the labels, and keep it if all of it could be computed."""
        if not np.any(artifact == 1):
            raise ValueError(
                "no row is known to carry the artifact (class 1); label at least one, and better ten, to begin with"
            )
        # Rows stand in the order of their content: where they stood before decides nothing, not even by rounding.
        order = self._order
        X, labels = self.X_[order], artifact[order]
        used = (labels >= 0) | ~answered[order]
        if not np.any(labels[used] != 1):
            raise ValueError("all rows carry the artifact, which is one class; a concept needs rows without it")
        groups = np.arange(len(X)) if self.groups_ is None else self.groups_[order]
        concept = self.concept
        if concept is None:
            concept = make_pipeline(StandardScaler(), ConceptVector("logistic", C=0.1, balanced=False, tol=1e-4))
        fitted = fit_concept(concept, X, labels, used, self.seed_)
        n_folds = min(self.cv, len(np.unique(groups)))
        fold = deal_into_folds(np.where(used, labels, -1), groups, n_folds, np.random.RandomState(self.seed_))
        sorted_scores, measures = cross_fit(concept, fitted, X, labels, used, fold, self.seed_)
        scores = np.empty(len(X))
        scores[order] = sorted_scores
        self.concept_, self.artifact_, self.answered_ = fitted, artifact, answered
        self.sample_scores_, self.scores_ = scores, measures
        self.transduction_ = np.where(artifact >= 0, artifact, scores > 0).astype(int)
        self._record(strategy, new, n_corrected)
        self._asked = None

    def _record(self, strategy, new, n_corrected):
        positive, negative, unsure = (int(np.sum(self.artifact_[new] == label)) for label in (1, 0, -1))
        precision = low = high = np.nan
        if strategy != "seeds" and positive + negative:
            precision = positive / (positive + negative)
            low, high = binomtest(positive, positive + negative).proportion_ci(method="wilson")
        totals = (int(np.sum(self.artifact_ == label)) for label in (1, 0))
        n_predicted = int(np.sum((self.sample_scores_ > 0) & ~self.answered_))
        values = (strategy, len(new), positive, negative, unsure, n_corrected, precision, low, high)
        self._rounds.append(dict(zip(_HISTORY, (*values, *totals, n_predicted))))
        self.history_ = pd.DataFrame(self._rounds, columns=list(_HISTORY)).rename_axis("round")
        chosen = [record for record in self._rounds if record["strategy"] not in ("seeds", "given", "random")]
        last = chosen[-self.patience :]
        self.stop_reason_ = None
        if self.answered_.all():
            self.stop_reason_ = "all rows are answered"
        elif self.budget is not None and self._n_answers() >= self.budget:
            self.stop_reason_ = "budget"
        elif len(last) == self.patience and all(record["precision"] <= self.stop_precision for record in last):
            self.stop_reason_ = "precision"
        self.finished_ = self.stop_reason_ is not None


def _as_labels(y):
    """Classes without and with the artifact, and labels of 1, 0 and -1."""
    kind = type_of_target(y, input_name="y", raise_unknown=True)
    if kind not in ("binary", "multiclass"):
        raise ValueError(f"Unknown label type: {kind}. y holds 1 (artifact), 0 (none) and -1 (unknown)")
    if y.dtype.kind == "b":
        y = y.astype(int)
    unknown = np.zeros(len(y), dtype=bool) if y.dtype.kind in "US" else np.asarray(y == -1, dtype=bool)
    classes = np.unique(y[~unknown])
    if len(classes) > 2:
        raise ValueError(
            f"Only binary classification is supported. The type of the target is {kind}: y has the labels "
            f"{classes[:5].tolist()} besides -1"
        )
    if len(classes) < 2:
        if len(classes) == 0 or not (classes.dtype.kind in "iuf" and classes[0] in (0, 1)):
            shown = "only unknown labels" if len(classes) == 0 else f"one class only, {classes[0]!r}"
            raise ValueError(f"y has {shown}; give 1 for some rows that carry the artifact, and -1 for unknown ones")
        classes = np.array([0, 1], dtype=classes.dtype)
    return classes, np.where(unknown, -1, (y == classes[1]).astype(int))


def _checked_answers(rows, labels, n_rows):
    """Rows, each once, and their labels as integers."""
    rows = as_row_indices(rows, n_rows)
    labels = column_or_1d(labels)
    if len(rows) != len(labels):
        raise ValueError(f"there are {len(rows)} rows, but {len(labels)} labels; give one label for each row")
    if len(rows) == 0:
        raise ValueError("rows: no row is answered")
    wrong = np.flatnonzero(~np.isin(labels, [1, 0, -1]))
    if len(wrong):
        raise ValueError(
            f"labels: row {rows[wrong[0]]} has {labels[wrong[0]]!r}; labels are 1 (artifact), 0 (none) and -1 (unsure)"
        )
    labels = labels.astype(int)
    unique, first = np.unique(rows, return_index=True)
    differ = labels != labels[first][np.searchsorted(unique, rows)]
    if differ.any():
        raise ValueError(f"labels: row {rows[differ][0]} has two different labels; give one")
    kept = np.sort(first)
    return rows[kept], labels[kept]
