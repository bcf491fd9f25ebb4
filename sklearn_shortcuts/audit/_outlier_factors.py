"""Local outlier factors at two scales, in the space of the rows and in their spectral embedding."""

import numpy as np
from sklearn.neighbors import LocalOutlierFactor

_FEW = 20  # neighbors of the factor that finds single rows
_LARGE_SHARE = 0.25  # share of the rows that is the neighborhood of the factor that finds clusters
_MOST_REFERENCES = 2000  # rows that the large neighborhood is taken from
_SAME = 1e-4  # of the distance to the farthest neighbor: a row that is as near as this is the row itself


class OutlierFactors:
    """Logarithms of three local outlier factors of every row.

    A factor with few neighbors finds single rows and is blind to a cluster of more rows than it has neighbors; one
    whose neighborhood is a quarter of all rows finds clusters up to that size. The third has the large neighborhood in
    the spectral embedding. Large neighborhoods are taken from at most 2,000 rows, so that their cost is linear.
    """

    def __init__(self, seed):
        self.seed = seed

    def fit(self, points, embedding, distances, indices):
        """Compute ``factors`` of shape (n, 3) from points, their embedding, and their nearest neighbors."""
        self.few = min(_FEW, distances.shape[1])
        distances, indices = distances[:, : self.few], indices[:, : self.few]
        self.reach = distances[:, -1]
        self.density = 1 / (np.maximum(distances, self.reach[indices]).mean(1) + 1e-10)
        small = self.density[indices].mean(1) / self.density
        n = len(points)
        sample = np.sort(np.random.RandomState(self.seed).permutation(n)[:_MOST_REFERENCES])
        k = min(max(2, round(_LARGE_SHARE * len(sample))), len(sample) - 1)
        self.large = [
            LocalOutlierFactor(k, algorithm="brute", novelty=True).fit(rows[sample]) for rows in (points, embedding)
        ]
        columns = [small]
        for factor, rows in zip(self.large, (points, embedding)):
            values = np.empty(n)
            values[sample] = -factor.negative_outlier_factor_
            others = np.setdiff1d(np.arange(n), sample)
            if len(others):
                values[others] = -factor.score_samples(rows[others])
            columns.append(values)
        self.factors = _logarithm(np.column_stack(columns))
        return self

    def of(self, points, embedding, distances, indices):
        """Give factors of shape (m, 3) of new points; those that are rows of the training get what these have."""
        near, who = distances[:, : self.few], indices[:, : self.few]
        density = 1 / (np.maximum(near, self.reach[who]).mean(1) + 1e-10)
        columns = [self.density[who].mean(1) / density]
        columns += [-factor.score_samples(rows) for factor, rows in zip(self.large, (points, embedding))]
        factors = _logarithm(np.column_stack(columns))
        known = near[:, 0] <= _SAME * self.reach[who[:, 0]]
        factors[known] = self.factors[who[known, 0]]
        return factors


def _logarithm(factors):
    # Equal points have infinite density; their neighbors' factors would know no bound.
    return np.log(np.clip(factors, 1e-3, 1e6))
