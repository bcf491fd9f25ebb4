"""How probable was each acquisition, given what is known of the row?"""

import warnings

import numpy as np
from scipy.linalg import LinAlgWarning
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

# A penalty too weak to change a probability by more than rounding; it keeps coefficients of collinear columns finite.
_C = 1e6
MOST_SEPARATED = 0.95  # area under the ROC curve above which an acquisition is told by the covariates


def design_matrix(columns):
    """Give covariates as numbers of like size.

    Parameters
    ----------
    columns : list of Column
        Covariates.

    Returns
    -------
    matrix : ndarray of shape (n, k)
        Numbers standardized, missing ones at the median with an indicator; categories one-hot without the first.
    owners : list of str
        Covariate that each column of the matrix comes from.
    """
    parts, owners = [], []
    for column in columns:
        if column.is_continuous:
            values = column.values
            missing = np.isnan(values)
            if missing.any():
                values = np.where(missing, np.nanmedian(values), values)
                parts.append(missing.astype(np.float64))
                owners.append(column.name)
            parts.append((values - values.mean()) / (values.std() or 1.0))
            owners.append(column.name)
        else:
            for code in range(1, len(column.levels)):
                parts.append((column.values == code).astype(np.float64))
                owners.append(column.name)
    matrix = np.stack(parts, axis=1) if parts else np.empty((len(columns[0].values) if columns else 0, 0))
    varied = np.flatnonzero(np.ptp(matrix, axis=0) > 0) if matrix.size else []
    return matrix[:, varied], [owners[place] for place in varied]


def propensity(matrix, codes, n_levels, weights=None, at=None):
    """Give the probability of every acquisition in every row, by logistic regression.

    Parameters
    ----------
    matrix : ndarray of shape (n, k)
        Covariates as numbers.
    codes : ndarray of int of shape (n,)
        Acquisition of every row.
    n_levels : int
        Number of acquisitions.
    weights : ndarray of shape (n,), default=None
        Weights of the rows.
    at : ndarray of shape (n, k), default=None
        Covariates for which the probabilities are wanted; by default those that the model is fitted to.

    Returns
    -------
    ndarray of shape (n, n_levels)
        Probabilities.
    """
    weights = np.ones(len(codes)) if weights is None else weights
    if matrix.shape[1] == 0:
        shares = np.bincount(codes, weights, minlength=n_levels) / weights.sum()
        return np.tile(shares, (len(codes), 1))
    model = LogisticRegression(C=_C, solver="newton-cholesky", tol=1e-8, max_iter=200)
    with warnings.catch_warnings():
        # Both come where the covariates tell the acquisition, which is looked at afterwards, in words of its own.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", LinAlgWarning)
        # Weights of mean 1, so that the penalty stays as weak as it is meant.
        model.fit(matrix, codes, sample_weight=weights * (len(weights) / weights.sum()))
    probabilities = np.zeros((len(codes), n_levels))
    probabilities[:, model.classes_] = model.predict_proba(matrix if at is None else at)
    return np.clip(probabilities, np.finfo(np.float64).tiny, 1)


def separation(probabilities, codes, weights=None):
    """Give, for every acquisition, the area under the ROC curve of its probability against all others'.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_levels)
        Probabilities of the acquisitions.
    codes : ndarray of int of shape (n,)
        Acquisition of every row.
    weights : ndarray of shape (n,), default=None
        Weights of the rows.

    Returns
    -------
    ndarray of shape (n_levels,)
        Areas; NaN for an acquisition that has no row, or all.
    """
    areas = np.full(probabilities.shape[1], np.nan)
    for level in range(len(areas)):
        is_level = codes == level
        if is_level.any() and not is_level.all():
            areas[level] = roc_auc_score(is_level, probabilities[:, level], sample_weight=weights)
    return areas


def check_overlap(probabilities, acquisition, matrix, owners):
    """Raise if the covariates tell an acquisition, so that its rows have nothing to be compared with.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_levels)
        Probabilities of the acquisitions.
    acquisition : Column
        Acquisition of every row.
    matrix : ndarray of shape (n, k)
        Covariates as numbers.
    owners : list of str
        Covariate of each column of the matrix.

    Raises
    ------
    ValueError
        If the area under the ROC curve exceeds 0.95 for an acquisition; names the covariates that tell it most.
    """
    areas = np.nan_to_num(separation(probabilities, acquisition.values))
    worst = int(np.argmax(areas))
    if areas[worst] <= MOST_SEPARATED:
        return
    is_worst = acquisition.values == worst
    alone = np.array([abs(roc_auc_score(is_worst, column) - 0.5) for column in matrix.T])
    ranked = dict.fromkeys(owners[place] for place in np.argsort(-alone) if alone[place] > alone.max() / 2)
    told = ", ".join(repr(name) for name in list(ranked)[:3])
    raise ValueError(
        f"no overlap: the covariates tell acquisition {acquisition.levels[worst]!r} from the others with an area under "
        f"the ROC curve of {areas[worst]:.3f} (at most {MOST_SEPARATED} allowed), most of all {told}; leave such a "
        'covariate out, restrict the rows to where acquisitions overlap, or set on_empty="drop" to do so by the '
        "propensity score"
    )


def common_support(probabilities, codes):
    """Find the rows whose probability of every acquisition occurs in all acquisitions.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_levels)
        Probabilities of the acquisitions.
    codes : ndarray of int of shape (n,)
        Acquisition of every row.

    Returns
    -------
    ndarray of bool of shape (n,)
        Rows between the largest minimum and the smallest maximum of the acquisitions, for each probability.
    """
    groups = [probabilities[codes == level] for level in np.unique(codes)]
    low = np.max([group.min(axis=0) for group in groups], axis=0)
    high = np.min([group.max(axis=0) for group in groups], axis=0)
    return ((probabilities >= low) & (probabilities <= high)).all(axis=1)
