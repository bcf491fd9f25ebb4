"""Channels of a layer that behave unlike all others."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.neighbors import LocalOutlierFactor
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import validate_data

from ._neuron_distances import (
    extreme_activation_distances,
    pairwise_extreme_activation_distances,
    relevance_cosine_distances,
)

_DISTANCES = {
    "relevance_cosine": relevance_cosine_distances,
    "extreme_activation": extreme_activation_distances,
    "extreme_activation_pair": pairwise_extreme_activation_distances,
}


class NeuronOutlierDetector(BaseEstimator):
    """Rank the channels of a layer by how unlike the others they behave, to find those that detect an artifact.

    Channels that see a clinical sign or the anatomy share their images with many others; those of an artifact that few
    images have keep to themselves. Every channel gets the local outlier factor [3]_ of its distances to the others,
    on the distances themselves and not on a map in two dimensions.

    Parameters
    ----------
    metric : {"relevance_cosine", "extreme_activation", "extreme_activation_pair"}, default="relevance_cosine"
        How far apart two channels are, and what ``fit`` takes:

        - "relevance_cosine": one minus the cosine of their relevances (or activations) over the rows [1]_; of a table
          of shape (n, C). Values below 0 count as 0: evidence against a class is no use of the channel for it.
        - "extreme_activation": ``sqrt((1 - cos) / 2)`` of what all channels respond to the strongest signals of the
          one and of the other [2]_; of a square matrix as :func:`extreme_activation_matrix` gives.
        - "extreme_activation_pair": the same, with the responses of these two channels only.
    n_neighbors : int, default=None
        Neighbors of the local outlier factor; at most all other channels are used. A group of as many artifact
        channels or more is taken for a crowd of its own and missed. None means half of the channels, which misses no
        small group.
    min_share : float, default=0.1
        Channels with less relevance, over all rows, than this share of an average channel's are left out as dead; only
        with "relevance_cosine". A channel that is active in a row or two is unlike all others, but decides nothing. 0
        leaves out only channels without any.

    Attributes
    ----------
    outlier_scores_ : ndarray of shape (C,)
        Local outlier factor: the higher, the more suspicious; about 1 where a channel lies as close to others as these
        do among themselves. NaN for dead channels.
    ranking_ : ndarray of int of shape (n_alive,)
        Numbers of the channels that are not dead, the most suspicious first; of equal ones the first first.
    distances_ : ndarray of shape (C, C)
        Distances between channels; NaN for dead ones.
    dead_ : ndarray of bool of shape (C,)
        Channels that are hardly ever used, see ``min_share``, or respond to no signal or are excited by none.
    n_neighbors_ : int
        Neighbors used.
    n_features_in_ : int
        Number of channels.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if a DataFrame was given.

    See Also
    --------
    extreme_activation_matrix : What channels respond to each other's strongest signals.
    top_reference_samples : The images that show what a channel stands for.
    ConceptPrototypes : Outliers among the rows' strategies.

    Notes
    -----
    The largest score of a layer without artifact is not 1: with 128 channels and 300 rows of generated relevances it
    was between 1.4 and 1.6, and 1.8 to 2.1 with an artifact in one row of twenty. Scores rank the channels of one
    layer; they are no probabilities.

    References
    ----------
    .. [1] Achtibat et al. (2023). From attribution maps to human-understandable explanations through Concept Relevance
       Propagation. Nature Machine Intelligence 5, 1006-1019.
    .. [2] Bykov et al. (2023). DORA: Exploring Outlier Representations in Deep Neural Networks. TMLR.
    .. [3] Breunig et al. (2000). LOF: identifying density-based local outliers. SIGMOD.

    Examples
    --------
    Three of forty channels are used for the same five images only:

    >>> import numpy as np
    >>> from sklearn_shortcuts.audit import NeuronOutlierDetector
    >>> relevances = np.random.default_rng(0).exponential(size=(100, 40))
    >>> relevances[:5, [3, 7, 20]] += 20
    >>> sorted(NeuronOutlierDetector().fit(relevances).ranking_[:3].tolist())
    [3, 7, 20]
    """

    _parameter_constraints: dict = {
        "metric": [StrOptions(set(_DISTANCES))],
        "n_neighbors": [Interval(Integral, 1, None, closed="left"), None],
        "min_share": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(self, metric="relevance_cosine", *, n_neighbors=None, min_share=0.1):
        self.metric = metric
        self.n_neighbors = n_neighbors
        self.min_share = min_share

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Score the channels.

        Parameters
        ----------
        X : array-like of shape (n, C) or (C, C)
            With "relevance_cosine" the relevances of every row, pooled over positions (mean or maximum). Otherwise the
            square matrix of responses.
        y : Ignored
            Not used, present for API consistency.

        Returns
        -------
        NeuronOutlierDetector
            Itself.

        Raises
        ------
        ValueError
            If fewer than two channels are alive, there is one row only, or the matrix of responses is not square.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2, ensure_min_features=2)
        if self.metric == "relevance_cosine":
            X = np.maximum(X, 0)
            totals = X.mean(axis=0)
            alive = np.flatnonzero((totals > 0) & (totals >= self.min_share * totals.mean()))
        else:
            if X.shape[0] != X.shape[1]:
                raise ValueError(
                    f"X has shape {X.shape}, but metric={self.metric!r} takes a square matrix of the responses of "
                    "channels to each other's strongest signals, as extreme_activation_matrix gives"
                )
            alive = _responding(X)
        if len(alive) < 2:
            raise ValueError(f"X: {len(alive)} of {X.shape[1]} channels are alive; to compare channels takes two")
        self.dead_ = np.ones(X.shape[1], dtype=bool)
        self.dead_[alive] = False
        used = X[:, alive] if self.metric == "relevance_cosine" else X[np.ix_(alive, alive)]
        distances = _DISTANCES[self.metric](used)
        wanted = len(alive) // 2 if self.n_neighbors is None else self.n_neighbors
        self.n_neighbors_ = max(1, min(wanted, len(alive) - 1))
        factors = LocalOutlierFactor(n_neighbors=self.n_neighbors_, metric="precomputed").fit(distances)
        self.distances_ = np.full((X.shape[1], X.shape[1]), np.nan)
        self.distances_[np.ix_(alive, alive)] = distances
        self.outlier_scores_ = np.full(X.shape[1], np.nan)
        self.outlier_scores_[alive] = -factors.negative_outlier_factor_
        self.ranking_ = alive[np.argsort(-self.outlier_scores_[alive], kind="stable")]
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.metric != "relevance_cosine"
        return tags


def _responding(responses):
    """Channels that respond to a signal of, and have a signal that excites, one of these channels."""
    alive = np.arange(len(responses))
    while True:
        some = responses[np.ix_(alive, alive)]
        responding = some.any(axis=0) & some.any(axis=1)
        if responding.all():
            return alive
        alive = alive[responding]
