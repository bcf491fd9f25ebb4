"""What do the hard rows have that the others lack?"""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from scipy.stats import fisher_exact, norm
from scipy.stats.contingency import odds_ratio
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from .._random_state import make_random_state
from ..metrics import holm_correction

MISSING = "missing"


@validate_params(
    {
        "sample_table": [pd.DataFrame],
        "metadata": [pd.DataFrame, None],
        "columns": ["array-like", None],
        "hard": ["array-like", str],
        "within": [StrOptions({"label", "all"})],
        "n_bands": [Interval(Integral, 2, None, closed="left")],
        "groups": ["array-like", None],
        "confidence_level": [Interval(Real, 0, 1, closed="neither")],
        "n_resamples": [Interval(Integral, 100, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def enrichment_table(
    sample_table,
    metadata=None,
    *,
    columns=None,
    hard="hard",
    within="label",
    n_bands=4,
    groups=None,
    confidence_level=0.95,
    n_resamples=2000,
    random_state=None,
):
    """Tell which values of the metadata are over-represented among the hard rows.

    A shortcut shows as an artifact that hard rows of one class lack and hard rows of the other class have.

    Parameters
    ----------
    sample_table : DataFrame of n rows
        Rows with a column that says which are hard, such as ``sample_table_`` of
        :class:`~sklearn_shortcuts.mitigation.BAMHardSampleMiner`. Used if there: ``label`` (classes), ``bucket``, and
        ``held_out`` (rows that are left out).
    metadata : DataFrame of n rows, default=None
        Devices, view, scanner, age, in the same order; by default further columns of ``sample_table``, which must then
        be named by ``columns``.
    columns : sequence of str, default=None
        Columns to look at; by default all of ``metadata``.
    hard : str or array-like of bool of shape (n,), default="hard"
        Column of ``sample_table``, or which rows are hard.
    within : {"label", "all"}, default="label"
        Compare hard rows with others of the same class, or with all others. Over all classes a shortcut cancels out,
        and what goes with the class looks like one.
    n_bands : int, default=4
        Numbers with more values than this are cut into so many bands of about equal size.
    groups : array-like of shape (n,), default=None
        Patients. Without them rows are taken for independent and intervals and tests are exact; with them patients are
        resampled as a whole.
    confidence_level : float, default=0.95
        Of the intervals.
    n_resamples : int, default=2000
        Bootstrap samples of patients.
    random_state : int, RandomState instance or None, default=None
        Decides the bootstrap.

    Returns
    -------
    DataFrame
        One row per column, value and class, most significant first: ``column``, ``value``, ``label``, ``n_hard`` and
        ``n_other`` rows, ``prevalence_hard`` and ``prevalence_other`` of the value, ``odds_ratio`` with ``low`` and
        ``high``, ``pvalue`` and ``pvalue_holm``; and the prevalence per bucket, as ``prevalence_TP``. Of a column with
        two values only the second has rows. Missing values are a value of their own.

    Raises
    ------
    ValueError
        If a column is missing, lengths differ, or no class has hard and other rows.

    Notes
    -----
    Without ``groups`` the odds ratio is the conditional maximum likelihood estimate, its interval is Cornfield's exact
    one and the test is Fisher's. With them it is the sample odds ratio with one half added to each cell, and interval
    and test use the standard error of its logarithm over resampled patients. Holm's correction counts the whole table.

    Enrichment shows what goes with being hard, not why: minority, mislabeled and truly difficult rows all do.

    References
    ----------
    F. Li et al., "Automated Identification of Shortcuts and Spurious Correlations in Medical Imaging" (their Fig. 1b).

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_shortcuts.audit import enrichment_table
    >>> rows = pd.DataFrame({"label": [1] * 40, "hard": [True] * 10 + [False] * 30})
    >>> tube = pd.DataFrame({"tube": [False] * 9 + [True] * 30 + [False]})
    >>> found = enrichment_table(rows, tube)
    >>> found.loc[0, ["prevalence_hard", "prevalence_other"]].tolist()
    [0.1, 0.966...]
    >>> bool(found.loc[0, "pvalue_holm"] < 0.001)
    True
    """
    hard = _hard_rows(sample_table, hard)
    values = _columns(sample_table, metadata, columns, n_bands)
    n_rows = len(sample_table)
    used = np.ones(n_rows, dtype=bool)
    if "held_out" in sample_table:
        used &= ~sample_table["held_out"].to_numpy(dtype=bool)
    patients = None
    if groups is not None:
        patients = pd.factorize(np.asarray(groups))[0]
        if len(patients) != n_rows:
            raise ValueError(f"groups has {len(patients)} rows, but sample_table has {n_rows}")
        if (patients[used] < 0).any():
            raise ValueError(f"groups: row {np.flatnonzero(used & (patients < 0))[0]} has no group")
    buckets = sample_table["bucket"].to_numpy() if "bucket" in sample_table else None
    rng = make_random_state(random_state)
    records = []
    for label, stratum in _strata(sample_table, within):
        rows = np.flatnonzero(stratum & used)
        if hard[rows].all() or not hard[rows].any():
            continue
        weights = None if patients is None else _resampled(patients[rows], n_resamples, rng)
        for name, column in values.items():
            for value in _tested_values(column[used]):
                has = (column == value)[rows]
                record = {"column": name, "value": value, "label": label}
                record.update(_compare(has, hard[rows], weights, confidence_level))
                if buckets is not None:
                    for bucket in pd.unique(buckets[rows]):
                        record[f"prevalence_{bucket}"] = has[buckets[rows] == bucket].mean()
                records.append(record)
    if not records:
        raise ValueError("there are no rows to compare: hard and other rows must both be there, in one class at least")
    table = pd.DataFrame(records)
    table.insert(table.columns.get_loc("pvalue") + 1, "pvalue_holm", holm_correction(table["pvalue"]))
    if within == "all":
        table = table.drop(columns="label")
    return table.sort_values("pvalue", kind="stable", ignore_index=True)


def _hard_rows(sample_table, hard):
    if isinstance(hard, str):
        if hard not in sample_table:
            raise ValueError(f"sample_table has no column {hard!r}; name the one that says which rows are hard")
        hard = sample_table[hard]
    hard = np.asarray(hard)
    if hard.shape != (len(sample_table),) or hard.dtype != bool:
        raise ValueError(
            f"hard must say True or False of each of the {len(sample_table)} rows, got shape {hard.shape} of type "
            f"{hard.dtype}"
        )
    return hard


def _columns(sample_table, metadata, columns, n_bands):
    """Values of the columns to look at as text, bands and missing values included."""
    source = sample_table if metadata is None else metadata
    if len(source) != len(sample_table):
        raise ValueError(f"metadata has {len(source)} rows, but sample_table has {len(sample_table)}")
    if columns is None:
        if metadata is None:
            raise ValueError("name the columns to look at, or give metadata")
        columns = list(metadata.columns)
    missing = [name for name in columns if name not in source]
    if missing:
        raise ValueError(f"there is no column {missing[0]!r}; there are {list(source.columns)}")
    return {name: _as_text(source[name], n_bands) for name in columns}


def _as_text(values, n_bands):
    values = values.reset_index(drop=True)
    text = np.full(len(values), MISSING, dtype=object)
    known = values.notna().to_numpy()
    if is_numeric_dtype(values) and not is_bool_dtype(values) and values.nunique() > n_bands:
        bands = pd.qcut(values[known].astype(float), n_bands, duplicates="drop")
        text[known] = [f"{band.left:.4g} to {band.right:.4g}" for band in bands]
    else:
        text[known] = [str(value) for value in values[known].tolist()]
    return text


def _tested_values(column):
    values = np.unique(column.astype(str))
    return values[1:] if len(values) == 2 and MISSING not in values else values


def _strata(sample_table, within):
    if within == "all":
        yield None, np.ones(len(sample_table), dtype=bool)
        return
    if "label" not in sample_table:
        raise ValueError("sample_table has no column 'label'; give within='all' to compare over all classes")
    labels = sample_table["label"]
    if not labels.map(np.isscalar).all():
        raise ValueError("rows have several labels each; put one of them into the column 'label', or give within='all'")
    for label in np.unique(labels.to_numpy()):
        yield label, (labels == label).to_numpy()


def _resampled(patients, n_resamples, rng):
    """How often each row is in each bootstrap sample of patients, shape (n_resamples, n)."""
    codes, n_patients = pd.factorize(patients)[0], len(np.unique(patients))
    draws = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_resamples)
    return draws[:, codes]


def _compare(has, hard, weights, confidence_level):
    cells = np.array([[(has & hard).sum(), (~has & hard).sum()], [(has & ~hard).sum(), (~has & ~hard).sum()]])
    record = {
        "n_hard": cells[0].sum(),
        "n_other": cells[1].sum(),
        "prevalence_hard": cells[0, 0] / cells[0].sum(),
        "prevalence_other": cells[1, 0] / cells[1].sum(),
    }
    if not cells.sum(axis=0).all():  # all or none of the rows have the value
        return {**record, "odds_ratio": np.nan, "low": np.nan, "high": np.nan, "pvalue": np.nan}
    if weights is None:
        ratio = odds_ratio(cells)
        low, high = ratio.confidence_interval(confidence_level)
        return {**record, "odds_ratio": ratio.statistic, "low": low, "high": high, "pvalue": fisher_exact(cells)[1]}
    corners = np.stack([has & hard, ~has & hard, has & ~hard, ~has & ~hard]).astype(float)
    estimate, samples = _log_odds(corners.sum(axis=1)), _log_odds(corners @ weights.T)
    error = samples.std(ddof=1)
    reach = norm.ppf(0.5 + confidence_level / 2) * error
    pvalue = 2 * norm.sf(abs(estimate) / error) if error > 0 else np.nan
    low, high = np.exp([estimate - reach, estimate + reach])
    return {**record, "odds_ratio": np.exp(estimate), "low": low, "high": high, "pvalue": pvalue}


def _log_odds(cells):
    """Logarithm of the odds ratio of (a, b, c, d) with one half added to each, which may be zero."""
    a, b, c, d = cells + 0.5
    return np.log(a * d / (b * c))
