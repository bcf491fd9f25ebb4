"""Areas under ROC curves averaged over the folds of one cross-validation, with an honest variance."""

import math

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from ..metrics._auc_interval import _bootstrap
from ..metrics._delong import AUCComponents
from ..metrics._inputs import check_groups, check_scores
from ..metrics._macro_auc import MacroComponents

_ZERO = 1e-13  # a standard error below this is rounding


class FoldAUC:
    """Areas of several models per fold, averaged over the folds, with intervals and tests on them.

    Predictions of differently trained models cannot be pooled before they are ranked, so every fold gets its own
    areas, which are averaged. The (clustered) DeLong covariances of the folds are summed as for independent folds,
    and doubled if the folds train on each other's test rows: a pair of rows in different folds is then scored twice,
    each time by a model that saw the other row; where models have learned nothing but noise, both scores say the
    same, and the variance of the average is twice the sum. Without the factor, a one-sided test of models without
    signal at level 0.025 rejects in 6 to 10 % of the cases.

    That is the variance of one average. Of a difference (or ratio) of averages, what differs between trainings
    (initial weights, an unlucky fold) may be all there is to see. There the variance between the folds, with the
    correction of Nadeau and Bengio for overlapping training sets, counts where it is larger. A test against chance
    needs no such care: without any signal every model has an expected area of one half, however it was trained.

    Parameters
    ----------
    positive : ndarray of bool of shape (n,) or (n, n_classes)
        Rows of the positive class, or of every class, whose areas against the rest then are averaged.
    scores : ndarray of shape (n, k) or (n, k, n_classes)
        One column per cell.
    fold : ndarray of int of shape (n,)
        Fold in which a row is tested; -1 for rows that never are.
    groups : ndarray of int of shape (n,), default=None
        Patient of every row.
    test_share : float, default=0
        Test rows (patients) per training row (patient), on average over the folds.
    reciprocal : bool, default=True
        Whether folds train on each other's test rows.
    n_resamples : int, default=0
        Bootstrap samples of patients that replace the DeLong covariances; 0 for none.
    random_state : int, default=None
        Decides the bootstrap samples.
    weights : ndarray of shape (n,), default=None
        Weights of the rows; not for the bootstrap, nor are several classes.

    Attributes
    ----------
    fold_auc : ndarray of shape (n_folds, k)
        Areas per fold.
    mean : ndarray of shape (k,)
        Their averages.
    """

    def __init__(
        self,
        positive,
        scores,
        fold,
        groups=None,
        *,
        test_share=0.0,
        reciprocal=True,
        n_resamples=0,
        random_state=None,
        weights=None,
    ):
        n_folds = int(fold.max()) + 1
        aucs, covariances, replicates, self._pairs, self._log_separation = [], [], [], 0, 0.0
        for number in range(n_folds):
            rows = fold == number
            own_groups = None if groups is None else groups[rows]
            own_weights = None if weights is None else weights[rows]
            if positive.ndim == 1:
                checked = check_scores(positive[rows], scores[rows], own_groups)
                components = AUCComponents(*checked, own_weights)
            else:
                index = check_groups(own_groups, int(rows.sum()))
                components = MacroComponents(positive[rows], scores[rows], index, own_weights)
            aucs.append(components.auc)
            covariances.append(components.covariance())
            self._pairs += components.n_disjoint_pairs()
            n_orders = math.comb(
                components.n_groups_positive + components.n_groups_negative, components.n_groups_positive
            )
            self._log_separation -= math.log(n_orders)
            if n_resamples:
                seed = None if random_state is None else random_state + number
                replicates.append(_replicates(*checked, components, n_resamples, seed))
        self.fold_auc = np.array(aucs)
        self.mean = self.fold_auc.mean(axis=0)
        self._replicates = np.mean(replicates, axis=0) if n_resamples else None
        if n_resamples:
            within = np.cov(self._replicates, rowvar=False).reshape(scores.shape[1], scores.shape[1])
        else:
            within = np.sum(covariances, axis=0) / n_folds**2
        self._within = within * (2 if reciprocal and n_folds > 1 else 1)
        self._between = np.zeros_like(self._within)
        if n_folds > 1:
            deviations = self.fold_auc - self.mean
            self._between = deviations.T @ deviations / (n_folds - 1) * (1 / n_folds + test_share)

    def standard_error(self, column):
        """Give the standard error of one average, for the models at hand."""
        return _root(self._within[column, column])

    def contrast_error(self, contrast):
        """Give the standard error of a linear combination of the averages, for other models trained alike."""
        return _root(max(contrast @ self._within @ contrast, contrast @ self._between @ contrast))

    def interval(self, column, confidence_level):
        """Give the confidence limits of one average, within [0, 1]."""
        tail = (1 - confidence_level) / 2
        mean, error = self.mean[column], self.standard_error(column)
        if min(mean, 1 - mean) < _ZERO:
            # All folds are separated perfectly: the exact limit of the disjoint pairs of rows, all of them in order.
            bound = tail ** (1 / self._pairs)
            return (bound, 1.0) if mean > 0.5 else (0.0, 1 - bound)
        if error == 0:
            return float(mean), float(mean)
        if self._replicates is not None:
            # Percentiles, spread as much as the error exceeds theirs; on the logit scale they stay inside (0, 1).
            drawn = self._replicates[:, column]
            stretch = error / drawn.std(ddof=1) if drawn.std() > _ZERO else 0.0
            drawn = logit(np.clip(drawn, 1e-6, 1 - 1e-6))
            limits = np.quantile(drawn, [tail, 1 - tail]) - np.median(drawn)
            low, high = expit(logit(mean) + stretch * limits)
        else:
            reach = norm.isf(tail) * error / (mean * (1 - mean))
            low, high = expit(logit(mean) + np.array([-reach, reach]))
        return float(low), float(high)

    def chance_pvalue(self, column):
        """Give the one-sided p-value of the hypothesis that the average is at most one half.

        The test is made on the logit scale, as is the interval, so that they agree.
        """
        mean, error = self.mean[column], self.standard_error(column)
        if error == 0:
            return math.exp(self._log_separation) if mean > 1 - _ZERO else 1.0
        return float(norm.sf(logit(mean) * mean * (1 - mean) / error))

    def difference_pvalue(self, column, other, alternative="two-sided"):
        """Give the p-value of the hypothesis that two averages are equal, or that the first is at most the other."""
        difference = self.mean[column] - self.mean[other]
        error = self.contrast_error(self._unit(column) - self._unit(other))
        if error == 0:
            separated = math.exp(self._log_separation)  # areas of 1, 0.5 or 0 have no estimated variance
            greater = separated if difference > _ZERO else 1.0
            return greater if alternative == "greater" or abs(difference) <= _ZERO else min(1.0, 2 * separated)
        statistic = difference / error
        return float(norm.sf(statistic) if alternative == "greater" else 2 * norm.sf(abs(statistic)))

    def difference_interval(self, column, other, confidence_level):
        """Give the confidence limits of a difference of two averages."""
        difference = self.mean[column] - self.mean[other]
        reach = norm.isf((1 - confidence_level) / 2) * self.contrast_error(self._unit(column) - self._unit(other))
        return float(max(difference - reach, -1)), float(min(difference + reach, 1))

    def ratio_interval(self, column, other, confidence_level):
        """Give the confidence limits of a ratio of two averages by the delta method on the log scale."""
        above, below = self.mean[column], self.mean[other]
        if min(above, below) < _ZERO:
            return math.nan, math.nan
        error = self.contrast_error(self._unit(column) / above - self._unit(other) / below)
        reach = norm.isf((1 - confidence_level) / 2) * error
        return float(above / below * math.exp(-reach)), float(above / below * math.exp(reach))

    def _unit(self, column):
        contrast = np.zeros(len(self.mean))
        contrast[column] = 1.0
        return contrast


def _root(variance):
    error = math.sqrt(max(variance, 0.0))
    return error if error > _ZERO else 0.0


def _replicates(positive, scores, group_index, components, n_resamples, seed):
    """Bootstrap areas of shape (n_resamples, k); the same patients are drawn for all columns."""
    return np.stack(
        [_bootstrap(positive, column, group_index, components, n_resamples, seed) for column in scores.T], axis=1
    )
