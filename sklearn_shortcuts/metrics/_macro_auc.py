"""Areas under ROC curves averaged over labels or classes, for several models of the same rows."""

import math

import numpy as np
from scipy.stats import norm

from ._auc_interval import auc_limits
from ._delong import AUCComponents
from ._inputs import UnmeasurableError, check_scores

_ZERO = 1e-13  # a standard error below this is rounding


class MacroAUC:
    """Average of the areas of all labels, per model.

    With one label these are DeLong's (with patients Obuchowski's) variances. Areas of several labels on the same rows
    are not independent: there each patient's influence is averaged over the labels before it is squared.

    Parameters
    ----------
    answers : ndarray of bool of shape (n, n_labels)
        Which rows have which label.
    scores : ndarray of shape (k, n, n_labels)
        Scores of every model.
    label_names : list
        For messages.
    groups : array-like of shape (n,), default=None
        Patient of every row.

    Attributes
    ----------
    auc : ndarray of shape (k,)
        Averages.
    """

    def __init__(self, answers, scores, label_names, groups=None):
        for name, column in zip(label_names, answers.T):
            if column.all() or not column.any():
                has = "all" if column.all() else "none"
                raise UnmeasurableError(
                    f"{has} of the {len(column)} rows are {name!r}: an AUC needs rows with and without; give other "
                    "rows, or measure accuracy"
                )
        self._components = [
            AUCComponents(*check_scores(column, of_label, groups))
            for column, of_label in zip(answers.T, np.moveaxis(scores, 0, -1).transpose(1, 0, 2))
        ]
        self.auc = np.mean([components.auc for components in self._components], axis=0)

    def standard_error(self, contrast):
        """Give the standard error of a linear combination of the models' averages."""
        contrast = np.asarray(contrast, dtype=np.float64)[None]
        covariances = [components.covariance(contrast) for components in self._components]
        if len(covariances) == 1:
            return _root(covariances[0].item())
        influence = np.mean([components.influence @ contrast[0] for components in self._components], axis=0)
        return _root((influence**2).sum() * len(influence) / (len(influence) - 1))

    def interval(self, model, confidence_level):
        """Give the confidence limits of one model's average."""
        n_pairs = min(components.n_disjoint_pairs() for components in self._components)
        error = self.standard_error(np.eye(len(self.auc))[model])
        return auc_limits(float(self.auc[model]), error, n_pairs, confidence_level)

    def difference(self, one, other, confidence_level):
        """Compare two models.

        Parameters
        ----------
        one, other : int
            Numbers of the models.
        confidence_level : float
            Of the interval.

        Returns
        -------
        difference, low, high, pvalue : float
            ``auc[one] - auc[other]`` with its limits and two-sided p-value; limits and p-value are NaN where the areas
            differ but the estimated variance of their difference is zero.
        """
        difference = float(self.auc[one] - self.auc[other])
        unit = np.eye(len(self.auc))
        error = self.standard_error(unit[one] - unit[other])
        if error <= _ZERO:
            return (0.0, 0.0, 0.0, 1.0) if abs(difference) <= _ZERO else (difference, math.nan, math.nan, math.nan)
        reach = float(norm.isf((1 - confidence_level) / 2)) * error
        pvalue = float(2 * norm.sf(abs(difference) / error))
        return difference, max(difference - reach, -1.0), min(difference + reach, 1.0), pvalue


class MacroComponents:
    """Averages over the classes of the areas of each class against the rest, as sums over independent units.

    Has what :class:`AUCComponents` has of one class.

    Parameters
    ----------
    answers : ndarray of bool of shape (n, n_classes)
        Which rows are of which class.
    scores : ndarray of shape (n, k, n_classes)
        Scores of every model.
    group_index : ndarray of int of shape (n,)
        Which rows belong together.
    weights : ndarray of shape (n,), default=None
        Weights of the rows.

    Attributes
    ----------
    auc : ndarray of shape (k,)
        Averages.
    n_groups_positive, n_groups_negative : int
        Groups with a row of the class that the fewest have, and with a row of another.
    """

    def __init__(self, answers, scores, group_index, weights=None):
        self._components = [
            AUCComponents(column, scores[:, :, number], group_index, weights) for number, column in enumerate(answers.T)
        ]
        self.auc = np.mean([components.auc for components in self._components], axis=0)
        rarest = min(self._components, key=lambda components: components.n_groups_positive)
        self.n_groups_positive, self.n_groups_negative = rarest.n_groups_positive, rarest.n_groups_negative

    def covariance(self):
        """Give the covariance matrix of the averages: each group's influence is averaged before it is squared."""
        influence = np.mean([components.influence for components in self._components], axis=0)
        return influence.T @ influence * len(influence) / (len(influence) - 1)

    def n_disjoint_pairs(self):
        """Count the pairs of a positive and a negative row that can be formed when each group is used once."""
        return min(components.n_disjoint_pairs() for components in self._components)


def _root(variance):
    return math.sqrt(max(variance, 0.0))
