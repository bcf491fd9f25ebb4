"""What predicts the label without any pixel: patient metadata, and the size of the masked region."""

import warnings

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from ..images._fields import PATIENT_NAMES, plain_name

_MAX_CATEGORIES = 50  # a text column with more values than this names files, dates or people


def choose_metadata(table, positive):
    """Choose the metadata columns that a baseline may read when nobody has said which.

    Parameters
    ----------
    table : DataFrame of shape (n, n_columns)
        Metadata of the rows.
    positive : ndarray of bool of shape (n, n_labels)
        Rows that have each label.

    Returns
    -------
    chosen : list
        Names of the columns.
    left_out : dict
        Why each of the others was not chosen.
    """
    chosen, left_out = [], {}
    outcome = pd.factorize(pd.MultiIndex.from_arrays(positive.T))[0]
    for column in table.columns:
        values = table[column]
        known = values.dropna()
        if plain_name(column) in PATIENT_NAMES:
            left_out[column] = "names the patient"
        elif known.nunique() < 2:
            left_out[column] = "has one value"
        elif not _is_measured(values) and known.astype(str).nunique() > min(_MAX_CATEGORIES, len(known) / 2):
            left_out[column] = "has too many values for a category"
        elif any(_is_same_division(values, code) for code in [outcome, *positive.T]):
            left_out[column] = "says the same as the label"
        else:
            chosen.append(column)
    return chosen, left_out


def metadata_scores(table, target, folds):
    """Predict the label from metadata by logistic regression, out of fold.

    Parameters
    ----------
    table : DataFrame of shape (n, n_columns)
        Numbers are imputed by their median (with an indicator) and standardized, everything else is one-hot encoded
        with missing values as a category of their own.
    target : Target
        Labels.
    folds : Folds
        Splits.

    Returns
    -------
    ndarray of shape (n, n_labels)
        Scores, NaN for rows that are never tested.
    """
    features, numeric = {}, []
    for number, column in enumerate(table.columns):
        values, name = table[column], f"{number}: {column}"
        if values.dtype.kind == "M":
            values = (values - values.min()).dt.total_seconds()
        if pd.api.types.is_numeric_dtype(values):
            features[name] = values.to_numpy(dtype=float, na_value=np.nan)
            numeric.append(name)
        else:
            features[name] = values.astype(object).where(values.notna(), "missing").astype(str).to_numpy(dtype=object)
    table = pd.DataFrame(features)
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    encoder = make_column_transformer(
        (make_pipeline(imputer, StandardScaler()), numeric),
        (OneHotEncoder(handle_unknown="ignore"), [column for column in table.columns if column not in numeric]),
    )
    return _out_of_fold(make_pipeline(encoder, LogisticRegression(max_iter=1000)), table, target, folds)


def size_scores(kept_fraction, target, folds):
    """Predict the label from the size of the kept region by logistic regression on it and its square, out of fold.

    Parameters
    ----------
    kept_fraction : ndarray of shape (n,)
        Share of the image that is kept.
    target : Target
        Labels.
    folds : Folds
        Splits.

    Returns
    -------
    ndarray of shape (n, n_labels)
        Scores, NaN for rows that are never tested.
    """
    model = make_pipeline(
        StandardScaler(), PolynomialFeatures(2, include_bias=False), LogisticRegression(max_iter=1000)
    )
    return _out_of_fold(model, kept_fraction[:, None], target, folds)


def _out_of_fold(model, features, target, folds):
    scores = np.full(target.positive.shape, np.nan)
    take = features.iloc.__getitem__ if hasattr(features, "iloc") else features.__getitem__
    for train, test in folds.splits:
        for label in range(scores.shape[1]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline that ranks well enough will do
                model.fit(take(train), target.positive[train, label])
            scores[test, label] = model.decision_function(take(test))
    return scores


def _is_measured(values):
    return values.dtype.kind == "M" or pd.api.types.is_numeric_dtype(values)


def _is_same_division(values, outcome):
    """Whether two columns divide the rows in the same way, whatever they call the parts."""
    codes = pd.factorize(values)[0]
    pairs = len(set(zip(codes.tolist(), np.asarray(outcome).tolist())))
    return pairs == len(np.unique(codes)) == len(np.unique(outcome))
