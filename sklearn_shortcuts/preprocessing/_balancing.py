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
from ._row_labels import require_given, row_columns
from ._rows import read_rows
from ._selection import selected_counts
from ._weighting import balancing_weights

# Standard deviations of the logit propensity. Half of what Austin (2011) recommends for unbiased effects: of simulated
# cohorts in which age differs by 0.5 standard deviations, 0.2 leaves a difference above 0.1 in one of thirty, and 0.1
# in none of four hundred, at the cost of 3 % of the pairs.
_CALIPER = 0.1
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
        acquisition = require_given(self._columns(X, acquisition, "acquisition"), "acquisition", type(self).__name__)
        n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
        if len(acquisition) != n_rows:
            raise ValueError(f"acquisition has {len(acquisition)} rows, but X has {n_rows}")
        cohort = read_cohort(
            acquisition,
            y,
            covariates=self._columns(X, covariates, "covariates"),
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

    def _columns(self, X, given, name):
        """Give acquisition or covariates: passed, by their names, or made from the rows."""
        return row_columns(X, getattr(self, name), given, name, owner=type(self).__name__)

    def _check_rows(self, X, *, reset):
        """Check ``X``, of which nothing is read, copied or turned into numbers."""
        if hasattr(X, "columns") and hasattr(X, "iloc"):  # may hold paths and names
            return validate_data(self, X, reset=reset, skip_check_array=True)
        return read_rows(self, X, reset=reset)


def _label_to_show(y, cohort):
    """Give a label that is not balanced but shown; None where it is no category."""
    y = as_frame(y, "y", len(cohort.unit_of_row))
    try:
        return replace(categories(y, "y").take(cohort.first_rows), name="y")
    except ValueError:
        return None
