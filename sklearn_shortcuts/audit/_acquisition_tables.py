"""Tables of an acquisition probe: scores with intervals, recalls, errors by covariate, association with the label."""

import math

import numpy as np
import pandas as pd
from scipy.stats import binomtest, chi2
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ..metrics import cramers_v, holm_correction
from ..metrics._row_means import RowMeans
from ._fold_auc import FoldAUC

_N_RESAMPLES = 2000
_MOST_VALUES = 6  # of a number that is a category of its own in the table of errors
_N_BANDS = 4


class Ratings:
    """Predictions of the acquisition compared with the truth, by rows that may have weights.

    Parameters
    ----------
    target : Target
        Acquisition.
    folds : Folds
        Splits.
    patients : ndarray of int of shape (n,) or None
        Patients.
    weights : ndarray of shape (n,) or None
        Weights that balance the covariates.
    confidence_level : float
        Of all intervals.
    seed : int
        Decides the bootstrap samples.
    """

    def __init__(self, target, folds, patients, weights, confidence_level, seed):
        self.target, self.folds, self.patients, self.weights = target, folds, patients, weights
        self.confidence_level, self.seed = confidence_level, seed
        self.tested = folds.number >= 0
        units = np.arange(len(target.codes)) if patients is None else patients
        self._is_binomial = weights is None and not pd.Series(units[self.tested]).duplicated().any()

    def areas(self, probabilities):
        """Average areas over folds, for the probabilities (n, n_classes) of each probe of a list."""
        if len(self.target.classes) == 2:
            positive, scores = self.target.codes == 1, np.stack([values[:, 1] for values in probabilities], axis=1)
        else:
            positive, scores = self.target.positive, np.stack(probabilities, axis=1)
        return FoldAUC(
            positive,
            scores,
            self.folds.number,
            self.patients,
            test_share=self.folds.test_share,
            reciprocal=self.folds.reciprocal,
            weights=self.weights,
        )

    def share(self, correct, rows):
        """Share of correct rows with its interval: exact where each patient has one row, else from patients.

        Parameters
        ----------
        correct : ndarray of bool of shape (n,)
            Which rows are right.
        rows : ndarray of bool of shape (n,)
            Which of the tested rows count.

        Returns
        -------
        share, low, high : float
            NaN where there is no row.
        """
        rows = rows & self.tested
        if not rows.any() or (self.weights is not None and not self.weights[rows].any()):
            return math.nan, math.nan, math.nan
        if self._is_binomial:
            found = binomtest(int(correct[rows].sum()), int(rows.sum()))
            interval = found.proportion_ci(self.confidence_level, method="exact")
            return float(found.statistic), float(interval.low), float(interval.high)
        groups = None if self.patients is None else self.patients[rows]
        weights = None if self.weights is None else self.weights[rows]
        means = RowMeans(correct[rows, None].astype(np.float64), groups, weights)
        low, high = means.intervals(self.confidence_level, _N_RESAMPLES, self.seed)[:, 0]
        return float(means.mean[0]), float(low), float(high)

    def scores(self, probabilities):
        """Scores of one probe, and its recalls.

        Returns
        -------
        scores : dict
            ``accuracy``, ``balanced_accuracy`` and ``auc``, each with ``_low`` and ``_high``, and ``chance_accuracy``.
        recalls : list of dict
            One per acquisition.
        areas : FoldAUC
            Of this probe alone.
        """
        codes = self.target.codes
        predicted = predicted_codes(probabilities)
        correct = predicted == codes
        recalls = []
        for code, name in enumerate(self.target.classes.tolist()):
            rows = (codes == code) & self.tested
            recall, low, high = self.share(correct, rows)
            record = {"acquisition": name, "recall": recall, "low": low, "high": high, "n_rows": int(rows.sum())}
            if self.patients is not None:
                record["n_patients"] = len(np.unique(self.patients[rows]))
            recalls.append(record)
        accuracy, low, high = self.share(correct, self.tested)
        record = {"accuracy": accuracy, "accuracy_low": low, "accuracy_high": high}
        balanced = _mean_of_shares([(one["recall"], one["low"], one["high"]) for one in recalls])
        record.update(zip(("balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"), balanced))
        areas = self.areas([probabilities])
        low, high = areas.interval(0, self.confidence_level)
        record.update(auc=float(areas.mean[0]), auc_low=low, auc_high=high)
        shares = np.bincount(codes[self.tested], None if self.weights is None else self.weights[self.tested])
        record["chance_accuracy"] = float(shares.max() / shares.sum())
        return record, recalls, areas

    def errors(self, probabilities, covariates):
        """Error rates by covariate and band of it.

        Parameters
        ----------
        probabilities : ndarray of shape (n, n_classes)
            Predictions of one probe.
        covariates : DataFrame of shape (n, n_covariates)
            Categories, or numbers, which are divided at their quartiles.

        Returns
        -------
        list of dict
            One per band.
        """
        wrong = predicted_codes(probabilities) != self.target.codes
        records = []
        for name in covariates.columns:
            bands = _bands(covariates[name])
            for band in pd.unique(bands.sort_values()):
                rows = (bands == band).to_numpy() & self.tested
                if rows.any():
                    error, low, high = self.share(wrong, rows)
                    record = {"covariate": name, "band": band, "error": error, "low": low, "high": high}
                    record["n_rows"] = int(rows.sum())
                    if self.patients is not None:
                        record["n_patients"] = len(np.unique(self.patients[rows]))
                    records.append(record)
        return records


def predicted_codes(probabilities):
    """Most probable class; -1 for rows that were never tested."""
    tested = np.isfinite(probabilities).all(axis=1)
    return np.where(tested, np.nan_to_num(probabilities).argmax(axis=1), -1)


def confusion_table(target, probabilities):
    """Counts of tested rows, true acquisitions by predicted ones."""
    predicted = predicted_codes(probabilities)
    tested, n_classes = predicted >= 0, len(target.classes)
    cells = np.bincount(target.codes[tested] * n_classes + predicted[tested], minlength=n_classes**2)
    names = target.classes.tolist()
    return pd.DataFrame(
        cells.reshape(n_classes, n_classes),
        index=pd.Index(names, name="acquisition"),
        columns=pd.Index(names, name="predicted"),
    )


def association_table(codes, label, patients, confidence_level, seed):
    """Measure how strongly acquisition and label go together.

    Parameters
    ----------
    codes : ndarray of int of shape (n,)
        Acquisition.
    label : Target
        Label.
    patients : ndarray of int of shape (n,) or None
        Patients.
    confidence_level : float
        Of the interval.
    seed : int
        Decides the bootstrap samples.

    Returns
    -------
    DataFrame
        One row per label: ``cramers_v``, ``low``, ``high``, ``pvalue``, ``pvalue_holm``.
    """
    records = []
    for name, positive in zip(label.label_names, label.positive.T):
        association = cramers_v(codes, positive, confidence_level=confidence_level, groups=patients, random_state=seed)
        records.append(
            {
                "label": name,
                "cramers_v": association.value,
                "low": association.low,
                "high": association.high,
                "pvalue": independence_pvalue(codes, positive, patients),
            }
        )
    table = pd.DataFrame(records).set_index("label")
    table["pvalue_holm"] = holm_correction(table["pvalue"].to_numpy())
    return table


def independence_pvalue(codes, positive, patients=None):
    """Test whether acquisition and label are independent, by the score test whose variance is summed over patients.

    Every patient contributes how much more often than expected the label occurs in each acquisition; the sum of the
    contributions is compared with the sum of their squares. With one row per patient this is nearly Pearson's test.

    Parameters
    ----------
    codes : ndarray of int of shape (n,)
        Acquisition.
    positive : ndarray of bool of shape (n,)
        Label.
    patients : ndarray of int of shape (n,), default=None
        Patient of every row; by default each row is its own.

    Returns
    -------
    float
        P-value, by the distribution of chi-square.

    References
    ----------
    D. D. Boos, "On generalized score tests", The American Statistician 46 (1992).
    """
    of_code = np.eye(codes.max() + 1)[codes]
    parts = (of_code - of_code.mean(axis=0)) * (positive - positive.mean())[:, None]
    if patients is not None:
        parts = np.stack([np.bincount(patients, column) for column in parts.T], axis=1)
    total, squares = parts.sum(axis=0), parts.T @ parts
    return float(chi2.sf(total @ np.linalg.pinv(squares, rtol=1e-9) @ total, max(np.linalg.matrix_rank(squares), 1)))


def risk_table(target, label, probabilities, folds, patients, confidence_level, association, auc):
    """Predict the label from the out-of-fold probabilities of the acquisition alone, and from the true acquisition.

    Returns
    -------
    DataFrame
        One row per label: ``auc``, ``low``, ``high``, ``auc_true`` and ``risk``, with NaN for labels of which a fold
        has too few patients.
    """
    clipped = np.clip(probabilities, 1e-6, 1)
    told = np.log(clipped)
    truth = np.eye(len(target.classes))[target.codes]
    records = []
    for number, name in enumerate(label.label_names):
        positive = label.positive[:, number]
        record = {"label": name, "auc": math.nan, "low": math.nan, "high": math.nan, "auc_true": math.nan}
        if _is_measurable(positive, folds, patients):
            scores = [_label_scores(features, positive, folds) for features in (told, truth)]
            areas = FoldAUC(
                positive,
                np.stack(scores, axis=1),
                folds.number,
                patients,
                test_share=folds.test_share,
                reciprocal=folds.reciprocal,
            )
            low, high = areas.interval(0, confidence_level)
            record.update(auc=float(areas.mean[0]), low=low, high=high, auc_true=float(areas.mean[1]))
        record["risk"] = max(2 * auc - 1, 0.0) * float(association.loc[name, "cramers_v"])
        records.append(record)
    return pd.DataFrame(records).set_index("label")


# -- inside ------------------------------------------------------------------------------------------------------------
def _mean_of_shares(limits):
    """Mean of independent shares, with the limits that follow from theirs (Zou and Donner 2008)."""
    shares, low, high = np.array(limits).T
    mean, n = shares.mean(), len(shares)
    below, above = np.sqrt(((shares - low) ** 2).sum()) / n, np.sqrt(((high - shares) ** 2).sum()) / n
    return float(mean), float(max(mean - below, 0)), float(min(mean + above, 1))


def _bands(values):
    """Categories as text; numbers of many values in bands between their quartiles."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        if values.nunique() <= _MOST_VALUES:
            return values
        return pd.qcut(values.astype(float), _N_BANDS, duplicates="drop")
    return values.astype(str)


def _is_measurable(positive, folds, patients):
    units = np.arange(len(positive)) if patients is None else patients
    for train, test in folds.splits:
        for has in (True, False):
            if not (positive[train] == has).any() or len(np.unique(units[test[positive[test] == has]])) < 2:
                return False
    return True


def _label_scores(features, positive, folds):
    scores = np.full(len(positive), np.nan)
    for train, test in folds.splits:
        train = train[np.isfinite(features[train]).all(axis=1)]
        scaler = StandardScaler().fit(features[train])
        model = LogisticRegression(class_weight="balanced").fit(scaler.transform(features[train]), positive[train])
        scores[test] = model.decision_function(scaler.transform(features[test]))
    return scores
