"""Clusters and outliers among relevances: which rows does the network judge by something of their own?"""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.base import _fit_context as fit_context
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .._random_state import make_random_state
from ._relevance_rows import as_rows
from ._spectral_clusters import cluster_rows, cluster_table
from ._spectral_group import FEWEST_ROWS, SpectralGroup


class SpectralRelevanceAnalysis(ClusterMixin, BaseEstimator):
    """Find the rows that a network judges in a way of their own, without labels of what may be wrong with them.

    Spectral relevance analysis (SpRAy) [1]_ on relevances or activations of a layer, or on heat maps of the input:
    a sparse graph of nearest rows, the leading eigenvectors of its normalized affinity, clusters among them, and an
    outlier score for each row. Every score and verdict is relative to normally distributed rows of the same
    covariance, which have no clusters.

    Parameters
    ----------
    n_neighbors : int, default=16
        Neighbors of a row in the graph, at most a quarter of the rows of its class. A cluster of fewer rows than about
        this many stays tied to the others; [1]_ and later work take 32.
    n_components : int, default=16
        Eigenvectors of the spectral embedding.
    clusterer : {"kmeans", "agglomerative", "hdbscan"}, clusterer or None, default="kmeans"
        Makes the clusters in the spectral embedding. A clusterer is cloned; None leaves each class one cluster.
    n_clusters : "eigengap" or int, default="eigengap"
        Clusters in each class for "kmeans" and "agglomerative": as many as there are eigenvalues before the widest gap
        between two of them, or this many.
    by_class : bool, default=True
        Whether rows of each class of ``y`` are analyzed on their own.
    metric : {"whitened", "euclidean", "cosine"}, default="whitened"
        Distance between rows. "whitened" is Euclidean along the first principal components, scaled so that a small
        artifact is not lost among the anatomy; "euclidean" is that of [1]_.
    n_directions : int, default=32
        Principal components for ``metric="whitened"``, at most a tenth of the rows of a class.
    whitening : float, default=0.5
        Power of its standard deviation that each of these components is divided by: 1 gives all the same variance and
        0 leaves them. The default found frequent and rare artifacts, which 1 or fewer components did not.
    normalize : {"abs_sum", None}, default="abs_sum"
        Divide each row by the sum of its absolute values. Not by its sum, which may be close to 0.
    block_size : int, default=1
        Heat maps are averaged over blocks of this many pixels per side.
    n_references : int, default=19
        Reference sets without clusters for each class. The smallest p-value is 1 / (1 + ``n_references``).
    alpha : float, default=0.05
        Largest p-value with which a class is suspicious.
    eigenvalue_ratio : float, default=0.4
        Largest second eigenvalue of a suspicious class, relative to the references': at 0 a cluster is cut off from
        the rest, at 1 there is none. Real relevances are never quite like the references, so that the p-value alone
        would find something in all of them.
    exact_limit : int, default=5000
        Rows of a class up to which nearest rows are exact; see Notes.
    n_probes : int, default=16
        Cells of about 128 rows that are searched for the neighbors of a row beyond ``exact_limit``.
    random_state : int, RandomState instance or None, default=None
        Decides the references, start vectors, samples and cells.

    Attributes
    ----------
    labels_ : ndarray of shape (n,)
        Cluster of each row, counted over all classes; -1 for rows that the clusterer leaves out.
    outlier_scores_ : ndarray of shape (n,)
        Higher is more suspicious. For each local outlier factor 0 is the median of the references and 1 their 99th
        percentile, in every class.
    embedding_ : ndarray of shape (n, n_components)
        Spectral embedding, rows of length 1. Classes have embeddings of their own; columns that a small class lacks
        are 0.
    eigenvalues_ : DataFrame of shape (n_classes, n_components)
        One minus the eigenvalues of the normalized affinity of each class, ascending from 0; NaN where there is none.
    verdicts_ : DataFrame
        One row per class: rows, distinct rows, clusters by the eigengap, the gap, the second eigenvalue, its mean
        among the references, their ratio, p-value, and whether it is suspicious.
    clusters_ : DataFrame
        One row per cluster, the most suspicious first: class, cluster, rows, share of the class, mean outlier score,
        isolation (share of the affinity of its rows that stays within), and whether it is suspicious: not the largest
        of a suspicious class.
    p_value_ : float
        Smallest p-value of the classes times their number, at most 1.
    is_suspicious_ : bool
        Whether any class is suspicious.
    n_clusters_ : int
        Clusters in all classes.
    classes_ : ndarray of shape (n_classes,)
        Classes; one, None, without ``y``.
    row_classes_ : ndarray of shape (n,)
        Position of each row's class in ``classes_``.
    n_features_in_ : int
        Values of a row, of matrices.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if ``R`` was a DataFrame.

    See Also
    --------
    SpectralRelevanceDisplay : Shows the result.
    sklearn_shortcuts.latent.LayerFeatures : Gives the rows.

    Notes
    -----
    The outlier score is the greatest of three local outlier factors, see [2]_: one with 20 neighbors, which finds
    single rows, and two whose neighborhood is a quarter of the class, in the space of the rows and in the spectral
    embedding, which find clusters. Rows of clusters before the widest gap get up to 2 more, the more the smaller their
    cluster and the less of its affinity goes to others.

    Time and memory are linear in the rows, but for the choice among cells: beyond ``exact_limit`` rows of a class only
    the nearest cells of a k-means partition are searched for neighbors.

    Equal rows, after division, are one row of the graph. The result does not depend on the order of the rows.

    An artifact that the network does not use leaves little trace in relevances; look for it in activations of an early
    block too, with ``LayerFeatures(pool="mean_max")``: deeper layers leave out what the network does not need.

    The verdict tells clusters, not artifacts, and is no calibrated test. Of 20 studies without an artifact in
    ``benchmarks/blind_discovery.py``, 40 classes, 1 class was suspicious by activations of either block, 3 by
    relevances of an early block, 7 by those of a late one, and 16 by heat maps, nearly all of them the class with
    the sign of disease. With the artifact in one row of twenty of a class, early activations called 3 classes of 20
    suspicious, in one of five 10 of 20: look at the rows of the highest outlier scores whatever the verdict is.

    References
    ----------
    .. [1] Lapuschkin et al. (2019). Unmasking Clever Hans predictors and assessing what machines really learn. Nature
       Communications 10, 1096.
    .. [2] Breunig et al. (2000). LOF: identifying density-based local outliers. SIGMOD.

    Examples
    --------
    Thirty rows of three hundred owe their relevance to a channel of their own:

    >>> import numpy as np
    >>> from sklearn_shortcuts.audit import SpectralRelevanceAnalysis
    >>> R = np.random.default_rng(0).normal(1, 0.2, (300, 8))
    >>> R[:30, 0] += 3
    >>> analysis = SpectralRelevanceAnalysis(random_state=0).fit(R)
    >>> analysis.is_suspicious_, analysis.n_clusters_
    (True, 2)
    >>> analysis.clusters_[["rows", "suspicious"]].values.tolist()
    [[30, True], [270, False]]
    """

    _parameter_constraints: dict = {
        "n_neighbors": [Interval(Integral, 2, None, closed="left")],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "clusterer": [StrOptions({"kmeans", "agglomerative", "hdbscan"}), HasMethods("fit_predict"), None],
        "n_clusters": [StrOptions({"eigengap"}), Interval(Integral, 1, None, closed="left")],
        "by_class": ["boolean"],
        "metric": [StrOptions({"whitened", "euclidean", "cosine"})],
        "n_directions": [Interval(Integral, 1, None, closed="left")],
        "whitening": [Interval(Real, 0, 1, closed="both")],
        "normalize": [StrOptions({"abs_sum"}), None],
        "block_size": [Interval(Integral, 1, None, closed="left")],
        "n_references": [Interval(Integral, 1, None, closed="left")],
        "alpha": [Interval(Real, 0, 1, closed="both")],
        "eigenvalue_ratio": [Interval(Real, 0, None, closed="left")],
        "exact_limit": [Interval(Integral, 1, None, closed="left")],
        "n_probes": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_neighbors=16,
        *,
        n_components=16,
        clusterer="kmeans",
        n_clusters="eigengap",
        by_class=True,
        metric="whitened",
        n_directions=32,
        whitening=0.5,
        normalize="abs_sum",
        block_size=1,
        n_references=19,
        alpha=0.05,
        eigenvalue_ratio=0.4,
        exact_limit=5000,
        n_probes=16,
        random_state=None,
    ):
        self.n_neighbors = n_neighbors
        self.n_components = n_components
        self.clusterer = clusterer
        self.n_clusters = n_clusters
        self.by_class = by_class
        self.metric = metric
        self.n_directions = n_directions
        self.whitening = whitening
        self.normalize = normalize
        self.block_size = block_size
        self.n_references = n_references
        self.alpha = alpha
        self.eigenvalue_ratio = eigenvalue_ratio
        self.exact_limit = exact_limit
        self.n_probes = n_probes
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, R, y=None):
        """Analyze relevances.

        Parameters
        ----------
        R : array-like of shape (n, C), (n, T) or (n, H, W)
            Relevances or activations, a row each, or heat maps. Classes of fewer than 8 distinct rows get scores of 0.
        y : array-like of shape (n,), default=None
            Classes. None takes all rows for one.

        Returns
        -------
        SpectralRelevanceAnalysis
            Itself.

        Raises
        ------
        ValueError
            If a value is not finite, or a block does not fit into a heat map.
        """
        rows = self._rows(R, reset=True)
        if len(rows) < 2:
            raise ValueError("R has 1 sample, but a row needs others to be compared with; give at least 2")
        groups, self.classes_ = self._groups(rows, y)
        self.row_classes_ = groups
        generator = make_random_state(self.random_state)
        n = len(rows)
        self.labels_ = np.full(n, -1)
        self.outlier_scores_ = np.zeros(n)
        self.embedding_ = np.zeros((n, self.n_components))
        self._models, self._model_labels, verdicts, eigenvalues, clusters = [], [], [], [], []
        first = 0
        for position, name in enumerate(self.classes_):
            members = np.flatnonzero(groups == position)
            distinct, inverse = np.unique(rows[members], axis=0, return_inverse=True)
            inverse = inverse.ravel()
            model, labels, verdict = self._analyze(distinct, generator)
            table = cluster_table(labels, inverse, first, model)
            verdicts.append({"class": name, "rows": len(members), "distinct": len(distinct), **verdict})
            clusters.append(table.assign(**{"class": name}))
            labels = np.where(labels < 0, -1, labels + first)
            self.labels_[members] = labels[inverse]
            first += len(table)
            spectrum = np.full(self.n_components, np.nan)
            if model is not None:
                width = min(self.n_components, len(model.spectrum.eigenvalues))
                spectrum[:width] = model.spectrum.eigenvalues[:width]
                self.outlier_scores_[members] = model.scores[inverse]
                self.embedding_[members, :width] = model.spectrum.embedding[inverse, :width]
            eigenvalues.append(spectrum)
            self._models.append(model if model is not None else distinct)
            self._model_labels.append(labels)
        self.n_clusters_ = first
        self.eigenvalues_ = pd.DataFrame(eigenvalues, index=pd.Index(self.classes_, name="class"))
        self.verdicts_ = pd.DataFrame(verdicts).set_index("class")
        self.p_value_ = float(min(1.0, self.verdicts_["p_value"].min() * len(self.verdicts_)))
        self.is_suspicious_ = bool(self.verdicts_["suspicious"].any())
        self.clusters_ = self._ranked(pd.concat(clusters, ignore_index=True))
        return self

    def fit_predict(self, R, y=None):
        """Analyze relevances and give the clusters.

        Parameters
        ----------
        R : array-like of shape (n, C), (n, T) or (n, H, W)
            Relevances.
        y : array-like of shape (n,), default=None
            Classes.

        Returns
        -------
        ndarray of shape (n,)
            Cluster of each row.
        """
        return self.fit(R, y).labels_

    def score_samples(self, R, y=None):
        """Give minus the outlier scores, by the nearest rows of the training.

        Parameters
        ----------
        R : array-like of shape (n, C), (n, T) or (n, H, W)
            Relevances like those in ``fit``.
        y : array-like of shape (n,), default=None
            Classes. None takes for each row the class in which it is the least of an outlier.

        Returns
        -------
        ndarray of shape (n,)
            Lower is more suspicious. Rows of the training get ``-outlier_scores_``.
        """
        return -self._look_up(R, y)[0]

    def predict(self, R, y=None):
        """Give the clusters of the nearest rows of the training.

        Parameters
        ----------
        R : array-like of shape (n, C), (n, T) or (n, H, W)
            Relevances like those in ``fit``.
        y : array-like of shape (n,), default=None
            Classes. None takes for each row the class in which it is the least of an outlier.

        Returns
        -------
        ndarray of shape (n,)
            Clusters, as in ``labels_``.
        """
        return self._look_up(R, y)[1]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # -- inside ----------------------------------------------------------------------------------------------------
    def _rows(self, R, *, reset):
        if np.ndim(R) == 3:
            R = check_array(R, allow_nd=True, dtype=(np.float64, np.float32), input_name="R")
            if reset:
                self._map_shape = R.shape[1:]
            elif R.shape[1:] != getattr(self, "_map_shape", None):
                raise ValueError(f"R has heat maps of shape {R.shape[1:]}, other than in fit")
        else:
            if reset:
                self._map_shape = None
            elif self._map_shape is not None:
                raise ValueError(f"R must hold heat maps of shape {self._map_shape}, as in fit")
            R = validate_data(self, R, dtype=(np.float64, np.float32), reset=reset)
        return as_rows(R, self.normalize, self.block_size)

    def _groups(self, rows, y):
        if y is None or not self.by_class:
            return np.zeros(len(rows), dtype=int), np.array([None])
        y = column_or_1d(y)
        check_consistent_length(rows, y)
        check_classification_targets(y)
        classes, groups = np.unique(y, return_inverse=True)
        return groups, classes

    def _analyze(self, distinct, generator):
        """Give the model, the clusters and the verdict of one class."""
        if len(distinct) < FEWEST_ROWS:
            nothing = dict.fromkeys(("gap", "eigenvalue", "reference", "ratio"), np.nan)
            labels = np.zeros(len(distinct), dtype=int)
            return None, labels, {"eigengap_clusters": 1, **nothing, "p_value": 1.0, "suspicious": False}
        model = SpectralGroup(self, generator).fit(distinct)
        n_clusters = model.spectrum.n_before_gap if self.n_clusters == "eigengap" else self.n_clusters
        labels = cluster_rows(self.clusterer, model.spectrum, n_clusters, generator)
        ratio = model.eigenvalue / max(model.reference_eigenvalue, np.finfo(float).tiny)
        return (
            model,
            labels,
            {
                "eigengap_clusters": model.spectrum.n_before_gap,
                "gap": model.spectrum.gap,
                "eigenvalue": model.eigenvalue,
                "reference": model.reference_eigenvalue,
                "ratio": ratio,
                "p_value": model.p_value,
                "suspicious": bool(model.p_value <= self.alpha and ratio <= self.eigenvalue_ratio),
            },
        )

    def _ranked(self, table):
        table["suspicious"] = self.verdicts_["suspicious"].reindex(table["class"]).to_numpy() & ~table.pop("largest")
        order = np.lexsort((-table["outlier_score"], ~table["suspicious"]))
        columns = ["class", "cluster", "rows", "share", "outlier_score", "isolation", "suspicious"]
        return table.iloc[order][columns].reset_index(drop=True)

    def _look_up(self, R, y):
        check_is_fitted(self)
        rows = self._rows(R, reset=False)
        scores = np.full((len(rows), len(self.classes_)), np.inf)
        labels = np.zeros((len(rows), len(self.classes_)), dtype=int)
        wanted = None
        if y is not None and len(self.classes_) > 1:
            y = column_or_1d(y)
            check_consistent_length(rows, y)
            unknown = np.flatnonzero(~np.isin(y, self.classes_))
            if len(unknown):
                raise ValueError(f"y: row {unknown[0]} has a class that was not there in fit; leave such rows out")
            wanted = np.searchsorted(self.classes_, y)
        for position, (model, own) in enumerate(zip(self._models, self._model_labels)):
            some = np.arange(len(rows)) if wanted is None else np.flatnonzero(wanted == position)
            if len(some) == 0:
                continue
            if isinstance(model, SpectralGroup):
                scores[some, position], nearest = model.score(rows[some])
                labels[some, position] = own[nearest[:, 0]]
            elif (
                wanted is not None
                or len(self._models) == 1
                or not any(isinstance(other, SpectralGroup) for other in self._models)
            ):
                scores[some, position], labels[some, position] = 0, own[0]
        best = scores.argmin(1) if wanted is None else wanted
        at = np.arange(len(rows)), best
        return scores[at], labels[at]
