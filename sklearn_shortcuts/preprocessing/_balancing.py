"""What transformer and resampler share: where acquisition and covariates come from, and what is done with them."""

from dataclasses import replace
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import validate_data

from .._random_state import make_random_state
from ..images import ImageBunch
from ._acquisition_columns import as_frame, categories
from ._balance_table import table_of
from ._cohort import Cohort, read_cohort
from ._matching import match_units
from ._selection import selected_counts
from ._weighting import balancing_weights

_CALIPER = 0.2  # standard deviations of the logit propensity (Austin 2011, Pharmaceutical Statistics 10, 150-161)
_METHODS = {
    "weight": ("auto", "strata", "ipw", "overlap"),
    "rake": ("auto",),
    "match": ("auto", "greedy", "optimal"),
    "undersample": ("auto",),
    "oversample": ("auto",),
}


class Balance(NamedTuple):
    """What balancing gives, by unit.

    Attributes
    ----------
    cohort : Cohort
        Units.
    factors : ndarray of shape (n_units,)
        Factors of the given weights.
    pairs : DataFrame or None
        Matched units.
    probabilities : ndarray of shape (n_units, n_levels) or None
        Propensities of the acquisitions.
    table : DataFrame
        Table of balance.
    """

    cohort: Cohort
    factors: np.ndarray
    pairs: pd.DataFrame | None
    probabilities: np.ndarray | None
    table: pd.DataFrame


class AcquisitionBalancing(BaseEstimator):
    """Base of what balances acquisitions; not public. Subclasses have the parameters that it reads."""

    _parameter_constraints = {
        "acquisition": [str, list, tuple, callable, None],
        "covariates": [str, list, tuple, callable, None],
        "target": [StrOptions({"label", "covariates", "both"})],
        "method": [StrOptions({"auto", "strata", "ipw", "overlap", "greedy", "optimal"})],
        "exact": [list, tuple],
        "n_bins": [Interval(Integral, 1, None, closed="left")],
        "distance": [StrOptions({"propensity", "mahalanobis"})],
        "caliper": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither"), None],
        "on_empty": [StrOptions({"raise", "drop"})],
        "random_state": ["random_state"],
    }

    def _balance(self, X, y, acquisition, covariates, groups, sample_weight):
        """Balance the rows of ``X``, of which all that is not passed is read from their fields and columns."""
        allowed = _METHODS[self.strategy]
        if self.method not in allowed:
            raise ValueError(
                f"method={self.method!r} is none of strategy={self.strategy!r}, which knows "
                f"{', '.join(map(repr, allowed))}"
            )
        if isinstance(X, ImageBunch):
            fields = {"target": y, "groups": groups, "sample_weight": sample_weight}
            y, groups, sample_weight = (
                X.get(name) if given is None and name in X.fields else given for name, given in fields.items()
            )
        acquisition = self._columns(X, acquisition, "acquisition", required=True)
        n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
        if len(acquisition) != n_rows:
            raise ValueError(f"acquisition has {len(acquisition)} rows, but X has {n_rows}")
        cohort = read_cohort(
            acquisition,
            y,
            covariates=self._columns(X, covariates, "covariates", required=False),
            exact=tuple(self.exact),
            target=self.target,
            groups=groups,
            sample_weight=sample_weight,
        )
        factors, pairs, probabilities = self._balance_units(cohort)
        compared = cohort
        if cohort.label is None and y is not None:
            compared = replace(cohort, label=_label_to_show(y, cohort))
        return Balance(cohort, factors, pairs, probabilities, table_of(compared, cohort.weights * factors))

    def _balance_units(self, cohort):
        rng = make_random_state(self.random_state)
        if self.strategy in ("weight", "rake"):
            factors, probabilities = balancing_weights(
                cohort,
                method="rake" if self.strategy == "rake" else self.method,
                n_bins=self.n_bins,
                max_weight=self.max_weight,
                trim=self.trim,
                on_empty=self.on_empty,
            )
            return factors, None, probabilities
        if self.strategy == "match":
            caliper = self.caliper
            if isinstance(caliper, str):
                caliper = _CALIPER if self.distance == "propensity" else None
            found = match_units(
                cohort,
                method="greedy" if self.method == "auto" else self.method,
                distance=self.distance,
                caliper=caliper,
                ratio=getattr(self, "ratio", 1),  # what gives no weights takes pairs only
                replacement=getattr(self, "replacement", False),
                on_empty=self.on_empty,
                rng=rng,
            )
            return found.factors, found.pairs, found.probabilities
        counts = selected_counts(
            cohort, oversample=self.strategy == "oversample", n_bins=self.n_bins, on_empty=self.on_empty, rng=rng
        )
        return counts.astype(np.float64), None, None

    def _columns(self, X, given, name, *, required):
        """Give acquisition or covariates: passed, by their names, or made from the rows."""
        wanted = getattr(self, name)
        if callable(wanted):
            if given is not None:
                raise ValueError(f"{name} is passed, but the parameter {name} is a callable; give one of the two")
            return wanted(X)
        names = [wanted] if isinstance(wanted, str) else wanted
        if given is not None:
            if names is None or not hasattr(given, "columns"):
                return given
            return pd.DataFrame({label: _column_of(given, label, name) for label in names})
        if names is None:
            if required:
                raise ValueError(
                    f"{type(self).__name__} knows no acquisition: name a field or a column of the rows' metadata "
                    "(acquisition='manufacturer'), set a callable that gives it, or pass it as "
                    "fit(X, y, acquisition=...)"
                )
            return None
        if not (isinstance(X, ImageBunch) or hasattr(X, "columns")):
            raise ValueError(
                f"{name}={wanted!r} names fields or columns, which rows of type {type(X).__name__} do not have: put "
                f"them into an ImageBunch(images, metadata=...), or pass fit(X, y, {name}=...)"
            )
        return pd.DataFrame({label: _column_of(X, label, name) for label in names})

    def _check_rows(self, X, *, reset):
        """Check ``X`` as far as it is no bunch; it is neither copied nor turned into numbers."""
        if isinstance(X, ImageBunch):
            n_features = int(np.prod(X.shape[1:]))
            if reset:
                self.n_features_in_ = n_features
                vars(self).pop("feature_names_in_", None)
            elif n_features != self.n_features_in_:
                raise ValueError(
                    f"X has {n_features} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                    "features as input"
                )
            return X
        if hasattr(X, "columns") and hasattr(X, "iloc"):  # may hold paths and names
            return validate_data(self, X, reset=reset, skip_check_array=True)
        if not hasattr(X, "ndim"):
            X = np.asarray(X)
        if X.ndim > 4:
            raise ValueError(f"Found array with dim {X.ndim}, while dim <= 4 is required by {type(self).__name__}.")
        shape = X.shape
        if X.ndim > 2:
            X = np.asarray(X).reshape(len(X), int(np.prod(shape[1:])))
        return validate_data(self, X, reset=reset, ensure_all_finite=False).reshape(shape)


def _label_to_show(y, cohort):
    """Give a label that is not balanced but shown; None where it is no category."""
    y = as_frame(y, "y", len(cohort.unit_of_row))
    try:
        return replace(categories(y, "y").take(cohort.first_rows), name="y")
    except ValueError:
        return None


def _column_of(rows, label, name):
    """A field or column by its name, without its index."""
    if isinstance(rows, ImageBunch):
        return rows.column(label, name)
    if label not in rows.columns:
        raise ValueError(f"{name}={label!r} is no column of the table; it has {list(rows.columns)}")
    return rows[label].reset_index(drop=True)
