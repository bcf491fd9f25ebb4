"""PTB-XL: 12-lead electrocardiograms."""

import ast
import os

import numpy as np
import pandas as pd

from ._layout import (
    Publication,
    check_choice,
    choose_labels,
    indicator_table,
    keep_present,
    keep_rows,
    make_bunch,
    read_table,
    select_columns,
)
from ._wfdb import WfdbRows

_PUBLICATION = Publication(
    "PTB-XL",
    "https://physionet.org/content/ptb-xl/",
    """
ptb-xl/
  ptbxl_database.csv
  scp_statements.csv
  records100/00000/00001_lr.dat, 00001_lr.hea, ...
  records500/00000/00001_hr.dat, 00001_hr.hea, ...
""",
)
_SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
_FOLDS = {"train": range(1, 9), "validation": range(9, 10), "test": range(10, 11)}
_FILES = {100: "filename_lr", 500: "filename_hr"}
_METADATA = {
    "ecg_id": "ecg_id",
    "age": "age",
    "sex": "sex",
    "height": "height",
    "weight": "weight",
    "site": "site",
    "device": "device",
    "nurse": "nurse",
    "baseline_drift": "baseline_drift",
    "static_noise": "static_noise",
    "burst_noise": "burst_noise",
    "electrodes_problems": "electrodes_problems",
    "extra_beats": "extra_beats",
    "pacemaker": "pacemaker",
    "validated_by_human": "validated_by_human",
    "strat_fold": "strat_fold",
}


def load_ptbxl(
    root,
    *,
    subset="all",
    target="superclass",
    labels=None,
    min_likelihood=0.0,
    sampling_rate=100,
    on_missing="error",
    return_X_y=False,
):
    """Load the 12-lead electrocardiograms of PTB-XL with their diagnoses, devices and sites.

    21,799 recordings of 10 s from 18,869 patients, published under CC BY 4.0 at
    https://physionet.org/content/ptb-xl/ [1]_. Expected folder::

        ptb-xl/
          ptbxl_database.csv
          scp_statements.csv
          records100/00000/00001_lr.dat, 00001_lr.hea, ...
          records500/00000/00001_hr.dat, 00001_hr.hea, ...

    Parameters
    ----------
    root : path-like
        Folder of the data set.
    subset : {"all", "train", "validation", "test"}, default="all"
        Recommended folds: 1 to 8, 9, and 10 of ``strat_fold``. Folds never divide a patient.
    target : {"superclass", "subclass", "diagnostic", "form", "rhythm"}, default="superclass"
        Level of the labels: the 5 diagnostic superclasses, the 23 diagnostic subclasses, or the single diagnostic,
        form or rhythm statements.
    labels : sequence of str, default=None
        Some labels of that level; all of them by default.
    min_likelihood : float in [0, 100], default=0
        Least likelihood in percent of a statement to count. PTB-XL writes 0 where the likelihood is not known, so 0
        counts every statement, as the authors do.
    sampling_rate : {100, 500}, default=100
        Samples per second.
    on_missing : {"error", "drop"}, default="error"
        What to do with recordings of the table that have no file: raise, or leave them out with a warning.
    return_X_y : bool, default=False
        Return ``(bunch, target)`` instead of the bunch alone.

    Returns
    -------
    bunch : ImageBunch of shape (n, 12, 10 * sampling_rate)
        Signals in mV, read when asked for, their checksums verified. ``target`` is a DataFrame with one 0/1 column
        per label, ``groups`` the patient, ``metadata`` age (years), sex, height (cm), weight (kg), device, site,
        nurse, signal quality remarks, pacemaker and ``split``.
    target : DataFrame of shape (n, n_labels)
        Only with ``return_X_y=True``.

    Raises
    ------
    FileNotFoundError
        If tables or recordings are missing.
    ValueError
        If an argument or a table cannot be understood.

    Notes
    -----
    Ages above 89 years are published as 300; they are given as 90 here. Some recordings carry no statement of the
    chosen level: their labels are all 0. Normal recordings are far more frequent on some devices and sites than on
    others, which makes the device a natural shortcut.

    References
    ----------
    .. [1] P. Wagner et al., "PTB-XL, a large publicly available electrocardiography dataset", Scientific Data 7,
       154, 2020.

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import load_ptbxl
    >>> ecg = load_ptbxl("ptb-xl", subset="train")  # doctest: +SKIP
    >>> ecg.shape  # doctest: +SKIP
    (17418, 12, 1000)
    >>> load_ptbxl("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: PTB-XL is not complete in 'no-such-folder' (there is no such folder); looked for...
    """
    check_choice("subset", subset, ("all", *_FOLDS))
    check_choice("target", target, ("superclass", "subclass", "diagnostic", "form", "rhythm"))
    check_choice("sampling_rate", sampling_rate, tuple(_FILES))
    if not 0 <= min_likelihood <= 100:
        raise ValueError(f"min_likelihood is a percentage in [0, 100], got {min_likelihood!r}")
    table, statements = _PUBLICATION.locate(root, database="ptbxl_database.csv", statements="scp_statements.csv")
    file_column = _FILES[sampling_rate]
    frame = read_table(table, ["ecg_id", "patient_id", "scp_codes", "strat_fold", file_column])
    if subset != "all":
        frame = keep_rows(frame, frame["strat_fold"].isin(_FOLDS[subset]), f"subset={subset!r}")
    records = [os.path.join(table.parent, *str(name).strip().split("/")) for name in frame[file_column]]
    frame, headers = keep_present(
        frame, [f"{record}.hea" for record in records], on_missing, _PUBLICATION, "record headers"
    )
    samples = [f"{os.path.splitext(header)[0]}.dat" for header in headers]
    frame, samples = keep_present(frame, samples, on_missing, _PUBLICATION, "recordings")
    meaning = _meanings(statements, target)
    known = _SUPERCLASSES if target == "superclass" else sorted(set(meaning.values()))
    chosen = choose_labels(labels, known)
    codes = [_parse_codes(text, row) for row, text in zip(frame["ecg_id"], frame["scp_codes"])]
    found = [
        {meaning[code] for code, likelihood in row.items() if code in meaning and likelihood >= min_likelihood}
        for row in codes
    ]
    return make_bunch(
        WfdbRows([os.path.splitext(path)[0] for path in samples]),
        return_X_y=return_X_y,
        target=indicator_table(found, chosen),
        metadata=_metadata(frame),
        groups=frame["patient_id"].astype("int64").to_numpy(),
        signal=True,
    )


def _meanings(path, target):
    """Give the label of every statement code at the chosen level."""
    level = {"superclass": "diagnostic_class", "subclass": "diagnostic_subclass"}.get(target)
    kind = "diagnostic" if level else target
    frame = read_table(path, [kind, *([level] if level else [])], index_col=0)
    frame = frame[frame[kind] == 1]
    labels = frame[level] if level else pd.Series(frame.index, index=frame.index)
    return labels.dropna().astype(str).to_dict()


def _parse_codes(text, ecg_id):
    try:
        codes = ast.literal_eval(text)
        return {str(code): float(likelihood) for code, likelihood in codes.items()}
    except (ValueError, SyntaxError, AttributeError, TypeError) as error:
        raise ValueError(f"ptbxl_database.csv: scp_codes of ecg_id {ecg_id} cannot be read: {text!r}") from error


def _metadata(frame):
    metadata = select_columns(frame, _METADATA)
    metadata["split"] = frame["strat_fold"].map({fold: name for name, folds in _FOLDS.items() for fold in folds})
    if "age" in metadata:
        metadata["age"] = metadata["age"].where(~(metadata["age"] > 89), 90.0)
    if "sex" in metadata:
        metadata["sex"] = metadata["sex"].map({0: "M", 1: "F"})
    if "device" in metadata:
        metadata["device"] = metadata["device"].str.replace(r"\s+", " ", regex=True)
    for column in {"site", "nurse"} & set(metadata.columns):  # pseudonyms, not quantities
        metadata[column] = metadata[column].map(lambda value: f"{value:.0f}", na_action="ignore")
    for column in {"baseline_drift", "static_noise", "burst_noise", "electrodes_problems", "extra_beats"} & set(
        metadata.columns
    ):
        metadata[column] = metadata[column].replace("", np.nan)
    return metadata
