"""Covariates of rows as columns of numbers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..images._fields import refuse_patients


@dataclass(frozen=True)
class Design:
    """How a table of covariates becomes columns of numbers.

    Attributes
    ----------
    categories : dict
        Name of a covariate -> its categories, or None if it is a number.
    """

    categories: dict

    @classmethod
    def learn(cls, table):
        """Learn the categories of a table.

        Parameters
        ----------
        table : DataFrame of shape (n, n_covariates) or None
            Covariates.

        Returns
        -------
        Design
            For tables with the same columns.
        """
        if table is None:
            return cls({})
        refuse_patients(table.columns, "covariates")
        table = table.infer_objects()  # numbers that came as objects are numbers
        return cls({name: _categories(table[name]) for name in table.columns})

    def matrix(self, table, n_rows):
        """Give the columns of numbers.

        Parameters
        ----------
        table : DataFrame of shape (n, n_covariates) or None
            Covariates, as those learned from.
        n_rows : int
            Number of rows.

        Returns
        -------
        ndarray of shape (n, n_effects)
            Numbers as they are; one indicator for every category but the first.

        Raises
        ------
        ValueError
            If covariates are missing, or a category is new.
        """
        names = [] if table is None else list(table.columns)
        if names != list(self.categories):
            raise ValueError(f"covariates: got {names}, but fit saw {list(self.categories)}; give the same of new rows")
        parts = [_numbers(table[name], categories, name) for name, categories in self.categories.items()]
        return np.hstack(parts) if parts else np.zeros((n_rows, 0))

    def require_distinct(self, indicators, effects):
        """Refuse covariates whose effects cannot be told from those of the batches.

        Parameters
        ----------
        indicators : ndarray of shape (n, n_batches)
            Which batch each row is of.
        effects : ndarray of shape (n, n_effects)
            Columns of the covariates.

        Raises
        ------
        ValueError
            If columns depend on each other linearly, or there are no rows to estimate a variance from.
        """
        center = effects - indicators @ np.linalg.lstsq(indicators, effects, rcond=None)[0]
        spread = np.sqrt(np.mean(effects**2, axis=0))
        if (
            np.linalg.matrix_rank(center / np.where(spread > 0, spread, 1.0), tol=1e-9 * len(effects))
            < effects.shape[1]
        ):
            raise ValueError(
                f"covariates {list(self.categories)}: within batches at least one is constant or follows from the "
                "others, so that its effect cannot be told from that of the batch; leave it out"
            )
        if len(effects) <= indicators.shape[1] + effects.shape[1]:
            raise ValueError(
                f"n_samples={len(effects)} rows cannot tell {indicators.shape[1]} batches and {effects.shape[1]} "
                "effects of covariates from noise; give more rows"
            )


def _categories(column):
    _require_complete(column, column.name)
    if pd.api.types.is_numeric_dtype(column):
        return None
    if getattr(column.dtype, "kind", "O") in "Mm":
        raise ValueError(f"covariates: {column.name!r} holds dates or times; give a number instead, such as years")
    return sorted(pd.unique(column).tolist())


def _numbers(column, categories, name):
    _require_complete(column, name)
    if categories is None:
        values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise ValueError(f"covariates: {name!r} of row {wrong[0]} is no finite number, as it was in fit")
        return values[:, None]
    codes = pd.Index(categories).get_indexer(column)
    if (codes < 0).any():
        raise ValueError(
            f"covariates: {name!r} of row {np.flatnonzero(codes < 0)[0]} is a category not seen in fit; leave the row "
            "out, or join rare categories before"
        )
    return (codes[:, None] == np.arange(1, len(categories))).astype(np.float64)


def _require_complete(column, name):
    missing = np.flatnonzero(column.isna())
    if len(missing):
        raise ValueError(
            f"covariates: {name!r} of row {missing[0]} is missing ({len(missing)} such rows); fill it in or leave the "
            "rows out"
        )
