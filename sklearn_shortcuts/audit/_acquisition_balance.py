"""Covariates balanced between acquisitions before an acquisition probe looks at any image."""

import numpy as np
import pandas as pd

from ..preprocessing import acquisition_weights
from ..preprocessing._acquisition_columns import covariate_columns
from ..preprocessing._propensity import design_matrix, propensity


def adjusted_columns(covariates, label):
    """Give what is to be balanced: covariates, the squares of numbers among them, and the label.

    Balanced means of the squares are balanced spreads: a scanner for children and the very old is not taken for one
    of the middle-aged.

    Parameters
    ----------
    covariates : DataFrame of shape (n, n_covariates)
        Without missing values.
    label : Target or None
        Label, where it is to be balanced too.

    Returns
    -------
    DataFrame or None
        None where there is nothing to balance.
    """
    columns = {str(name): covariates[name] for name in covariates.columns}
    for column in covariate_columns(covariates) if len(columns) else []:
        if column.is_continuous:
            columns[f"{column.name} squared"] = (column.values - column.values.mean()) ** 2
    if label is not None:
        values = np.asarray(label.y).reshape(len(label.y), -1)
        columns.update({f"label {number}": values[:, number].astype(str) for number in range(values.shape[1])})
    return pd.DataFrame(columns) if columns else None


def weigh(codes, *, adjusted, patients, on_empty="raise"):
    """Weigh rows so that covariates do not tell the acquisition.

    Parameters
    ----------
    codes : ndarray of int of shape (n,)
        Acquisitions.
    adjusted : DataFrame or None
        What :func:`adjusted_columns` gives.
    patients : ndarray of int of shape (n,) or None
        Patients.
    on_empty : {"raise", "drop"}, default="raise"
        What to do where acquisitions do not overlap.

    Returns
    -------
    ndarray of shape (n,) or None
        Overlap weights; None where there is nothing to balance.
    """
    if adjusted is None:
        return None
    return acquisition_weights(
        codes, covariates=adjusted, target="covariates", method="overlap", groups=patients, on_empty=on_empty
    )


def weigh_permuted(codes, *, adjusted, patients):
    """Weigh rows for permuted acquisitions, which by chance may not overlap where the true ones do.

    Parameters
    ----------
    codes : ndarray of int of shape (n,)
        Permuted acquisitions.
    adjusted : DataFrame or None
        What :func:`adjusted_columns` gives.
    patients : ndarray of int of shape (n,) or None
        Patients.

    Returns
    -------
    ndarray of shape (n,) or None
        As :func:`weigh`. Rows without counterparts get the weight 0; where even that is not possible there are no
        weights, and covariates tell the permuted acquisition: its area is too large rather than too small.
    """
    try:
        return weigh(codes, adjusted=adjusted, patients=patients)
    except ValueError:
        pass
    try:
        return weigh(codes, adjusted=adjusted, patients=patients, on_empty="drop")
    except ValueError:
        return None


def acquisition_probabilities(codes, adjusted, patients):
    """Give the logarithms of the probabilities of the acquisitions, given the covariates.

    Parameters
    ----------
    codes : ndarray of int of shape (n,)
        Acquisitions.
    adjusted : DataFrame or None
        What :func:`adjusted_columns` gives.
    patients : ndarray of int of shape (n,) or None
        Patients, who count once however many rows they have.

    Returns
    -------
    ndarray of shape (n, n_acquisitions) or None
        None where there is nothing to balance.
    """
    if adjusted is None:
        return None
    matrix, _ = design_matrix(covariate_columns(adjusted), len(codes))
    weights = None if patients is None else 1 / np.bincount(patients)[patients]
    if matrix.size == 0:
        return None
    return np.log(propensity(matrix, codes, int(codes.max()) + 1, weights))
