"""What do the hard rows have that the others lack?"""

from numbers import Integral, Real

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact, norm
from scipy.stats.contingency import odds_ratio
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from .._random_state import make_random_state
from ..metrics import holm_correction
from ._column_values import MISSING, column_values

_DRAWS_AT_ONCE = 2**22  # numbers of draws of patients that are held at a time


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
        :class:`~sklearn_shortcuts.mitigation.BAMHardSampleMiner`. Used if there: ``label`` (classes), ``bucket``,
        ``held_out`` and ``weight`` (held-out rows and those of weight 0 are left out).
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
        Numbers and dates with more values than this are cut into so many bands of about equal size, which are called
        by their smallest and largest value.
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
        If a column is missing, or has more than 20 categories and fewer than 10 rows for each, as names of patients and
        files have; if lengths differ, or no class has hard and other rows.

    Notes
    -----
    Without ``groups`` the odds ratio is the conditional maximum likelihood estimate, its interval is Cornfield's exact
    one and the test is Fisher's. With them it is the sample odds ratio with half a patient (half the mean number of
    rows per patient, of hard and of other rows) added to each cell. Interval and test use the standard error of its
    logarithm: the variance over resampled patients, plus 2 (Woolf's variance of half a patient) for every cell without
    rows, which resampling cannot fill. With few patients of hard rows they are approximate. Holm's correction counts
    the whole table.

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
    if "weight" in sample_table:
        used &= sample_table["weight"].to_numpy() != 0
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
    tested = [(name, value) for name, column in values.items() for value in _tested_values(column[used])]
    for label, stratum in _strata(sample_table, within, used):
        rows = np.flatnonzero(stratum & used)
        if hard[rows].all() or not hard[rows].any():
            continue
        members = [(values[name] == value)[rows] for name, value in tested]
        if patients is None:
            compared = [_exactly(has, hard[rows], confidence_level) for has in members]
        else:
            compared = _by_patients(members, hard[rows], patients[rows], confidence_level, n_resamples, rng)
        for (name, value), has, comparison in zip(tested, members, compared):
            record = {"column": name, "value": value, "label": label, **comparison}
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
    if hard.dtype == object and all(isinstance(value, (bool, np.bool_)) for value in hard.flat):
        hard = hard.astype(bool)
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
    if columns is None and metadata is None:
        raise ValueError("name the columns to look at, or give metadata")
    return column_values(source, list(source.columns) if columns is None else list(columns), n_bands)


def _tested_values(column):
    values = np.unique(column.astype(str))
    return values[1:] if len(values) == 2 and MISSING not in values else values


def _strata(sample_table, within, used):
    if within == "all":
        yield None, np.ones(len(sample_table), dtype=bool)
        return
    if "label" not in sample_table:
        raise ValueError("sample_table has no column 'label'; give within='all' to compare over all classes")
    labels = sample_table["label"]
    if not labels.map(np.isscalar).all():
        raise ValueError("rows have several labels each; put one of them into the column 'label', or give within='all'")
    missing = np.flatnonzero(labels.isna().to_numpy() & used)
    if len(missing):
        raise ValueError(f"sample_table: row {missing[0]} has no label ({len(missing)} such rows); leave it out")
    for label in np.unique(labels.to_numpy()[used]):
        yield label, (labels == label).to_numpy()


def _corners(has, hard):
    return has & hard, ~has & hard, has & ~hard, ~has & ~hard


def _prevalences(cells):
    """What is told of all comparisons; the others are NaN if all or none of the rows have the value."""
    return {
        "n_hard": cells[0].sum(),
        "n_other": cells[1].sum(),
        "prevalence_hard": cells[0, 0] / cells[0].sum(),
        "prevalence_other": cells[1, 0] / cells[1].sum(),
        **dict.fromkeys(("odds_ratio", "low", "high", "pvalue"), np.nan),
    }


def _exactly(has, hard, confidence_level):
    """Compare rows that are independent."""
    cells = np.array([part.sum() for part in _corners(has, hard)]).reshape(2, 2)
    record = _prevalences(cells)
    if cells.sum(axis=0).all():
        ratio = odds_ratio(cells)
        low, high = ratio.confidence_interval(confidence_level)
        record.update(odds_ratio=float(ratio.statistic), low=low, high=high, pvalue=fisher_exact(cells)[1])
    return record


def _by_patients(members, hard, patients, confidence_level, n_resamples, rng):
    """Compare rows of which those of a patient belong together, for every value that some of them have."""
    codes, n_patients = pd.factorize(patients)[0], len(np.unique(patients))
    corners = [part for has in members for part in _corners(has, hard)]
    counts = np.array([np.bincount(codes[part], minlength=n_patients) for part in corners], dtype=float)
    share, at_once = np.full(n_patients, 1 / n_patients), max(1, _DRAWS_AT_ONCE // n_patients)
    sampled = [
        rng.multinomial(n_patients, share, size=min(at_once, n_resamples - first)) @ counts.T
        for first in range(0, n_resamples, at_once)
    ]
    sampled = np.concatenate(sampled).reshape(n_resamples, len(members), 2, 2)
    cells = counts.sum(axis=1).reshape(len(members), 2, 2)
    # Half a patient is added to each cell, which may be zero.
    half = np.array([[part.sum() / len(np.unique(codes[part])) / 2] for part in (hard, ~hard)])
    estimates = _log_odds(cells + half)
    # Cells without rows have none in any sample: their variance, that of the logarithm of half a patient, is missing.
    variances = _log_odds(sampled + half).var(axis=0, ddof=1) + 2 * (cells == 0).sum(axis=(1, 2))
    records = []
    for table, estimate, error in zip(cells, estimates, np.sqrt(variances)):
        record = _prevalences(table.astype(int))
        if table.sum(axis=0).all() and error > 0:
            reach = norm.ppf(0.5 + confidence_level / 2) * error
            low, high = np.exp([estimate - reach, estimate + reach])
            pvalue = 2 * norm.sf(abs(estimate) / error)
            record.update(odds_ratio=np.exp(estimate), low=low, high=high, pvalue=pvalue)
        records.append(record)
    return records


def _log_odds(cells):
    return np.log(cells[..., 0, 0] * cells[..., 1, 1]) - np.log(cells[..., 0, 1] * cells[..., 1, 0])
