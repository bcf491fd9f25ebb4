"""CheXpert: chest radiographs with fourteen observations, some of them uncertain."""

import os
import re

import numpy as np
import pandas as pd

from ..images import ImageFiles
from ._chexmask_table import chexmask_masks
from ._layout import (
    Publication,
    check_choice,
    choose_labels,
    files_present,
    keep_present,
    keep_rows,
    make_bunch,
    read_table,
    select_columns,
)

_PUBLICATION = Publication(
    "CheXpert",
    "https://stanfordmlgroup.github.io/competitions/chexpert/",
    """
CheXpert-v1.0-small/                  (or CheXpert-v1.0/)
  train.csv, valid.csv, test.csv      (those of the chosen subset)
  train/patient00001/study1/view1_frontal.jpg, ...
  valid/patient64541/study1/view1_frontal.jpg, ...
  test/...
""",
)
_OBSERVATIONS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
_SUBSETS = ("train", "valid", "test")
_POLICIES = ("negative", "positive", "ignore", "nan")
_PATIENT = re.compile(r"(?:^|/)(patient\d+)/")
_METADATA = {"Age": "age", "Sex": "sex", "Frontal/Lateral": "projection", "AP/PA": "view"}


def load_chexpert(
    root,
    *,
    subset="train",
    labels=None,
    uncertain="negative",
    projection="frontal",
    masks=None,
    min_dice=0.7,
    size=(224, 224),
    channels=1,
    resize="letterbox",
    on_missing="error",
    return_X_y=False,
):
    """Load the chest radiographs of CheXpert with observations, projection, age and sex.

    224,316 radiographs of 65,240 patients under the Stanford research use agreement (registration, no
    redistribution), published at https://stanfordmlgroup.github.io/competitions/chexpert/ [1]_. Expected folder::

        CheXpert-v1.0-small/                  (or CheXpert-v1.0/)
          train.csv, valid.csv, test.csv      (those of the chosen subset)
          train/patient00001/study1/view1_frontal.jpg, ...
          valid/patient64541/study1/view1_frontal.jpg, ...
          test/...

    Parameters
    ----------
    root : path-like
        Folder that holds the tables.
    subset : {"train", "valid", "test", "all"}, default="train"
        Table to read; ``"all"`` joins train and valid.
    labels : sequence of str, default=None
        Some of the 14 observations; all by default.
    uncertain : {"negative", "positive", "ignore", "nan"} or dict, default="negative"
        What becomes of uncertain observations (-1): 0, 1, the row is left out, or NaN. A dict gives a policy for
        every label. Observations that are not mentioned (blank) are always 0. Estimators refuse NaN in their
        targets, so ``"nan"`` is for analyses of your own.
    projection : {"frontal", "lateral", "all"}, default="frontal"
        Images to keep.
    masks : path-like, default=None
        CheXmask table, whose lungs become the masks.
    min_dice : float, default=0.7
        Least estimated quality ("Dice RCA (Mean)") of a CheXmask row.
    size : int or (int, int), default=(224, 224)
        Height and width of images and masks in pixels.
    channels : {1, 3}, default=1
        Gray or RGB.
    resize : str, default="letterbox"
        How images and masks reach that size, see :class:`~sklearn_shortcuts.images.ImageFiles`.
    on_missing : {"error", "drop"}, default="error"
        What to do with rows of the table that have no image: raise, or leave them out with a warning.
    return_X_y : bool, default=False
        Return ``(bunch, target)`` instead of the bunch alone.

    Returns
    -------
    bunch : ImageBunch of shape (n, H, W)
        Images, decoded when asked for. ``target`` is a DataFrame with one column per label, ``groups`` the patient,
        ``metadata`` has ``age`` (years, 90 means 90 or older), ``sex``, ``projection``, ``view`` (AP or PA),
        ``split`` and ``file``.
    target : DataFrame of shape (n, n_labels)
        Only with ``return_X_y=True``.

    Raises
    ------
    FileNotFoundError
        If tables or images are missing.
    ValueError
        If a label or policy is unknown, or no row is left.

    Notes
    -----
    The paths in the tables begin with the name of the release, which is replaced by ``root``; releases that divide
    the images among ``CheXpert-v1.0 batch ...`` folders are understood. "Support Devices" (lines, pacemakers,
    drains) is a label of its own and a shortcut for many others. CheXmask was made for the full-size release; its
    masks fit the small one as well, since they are scaled with the image.

    References
    ----------
    .. [1] J. Irvin et al., "CheXpert: A large chest radiograph dataset with uncertainty labels and expert
       comparison", AAAI, 2019.

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import load_chexpert
    >>> X = load_chexpert("CheXpert-v1.0-small", labels=["Cardiomegaly"], uncertain="ignore")  # doctest: +SKIP
    >>> load_chexpert("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: CheXpert is not complete in 'no-such-folder' (there is no such folder); looked for...
    """
    check_choice("subset", subset, (*_SUBSETS, "all"))
    check_choice("projection", projection, ("frontal", "lateral", "all"))
    chosen = choose_labels(labels, _OBSERVATIONS)
    policies = _policies(uncertain, chosen)
    parts = ("train", "valid") if subset == "all" else (subset,)
    tables = _PUBLICATION.locate(root, **{f"{part}_table": f"{part}.csv" for part in parts})
    frame = pd.concat(
        [read_table(table, ["Path", *chosen]).assign(split=part) for table, part in zip(tables, parts)],
        ignore_index=True,
    )
    if projection != "all":
        frame = keep_rows(frame, _projection(frame) == projection, f"projection={projection!r}")
    frame, target = _apply_policies(frame, chosen, policies)
    frame["patient"] = frame["Path"].astype(str).str.extract(_PATIENT)[0]
    if frame["patient"].isna().any():
        raise ValueError(f"Path {frame['Path'][frame['patient'].isna()].iloc[0]!r} names no patient<number> folder")
    frame = pd.concat([frame, target.add_prefix("target ")], axis=1)
    frame, paths = keep_present(frame, _resolve(tables[0].parent, frame["Path"]), on_missing, _PUBLICATION)
    images = ImageFiles(paths, size=size, channels=channels, resize=resize)
    fields = {}
    if masks is not None:
        fields["masks"] = chexmask_masks(masks, frame["Path"], images.shape[-2:], min_dice, resize, key=_chexmask_key)
    target = frame[[f"target {label}" for label in chosen]].set_axis(chosen, axis=1)
    metadata = select_columns(frame, _METADATA)
    if "projection" in metadata:
        metadata["projection"] = metadata["projection"].str.lower()
    metadata["split"] = frame["split"]
    metadata["file"] = [_below_release(path) for path in frame["Path"]]
    return make_bunch(
        images,
        return_X_y=return_X_y,
        target=target,
        metadata=metadata,
        groups=frame["patient"].to_numpy(dtype=str),
        **fields,
    )


def _policies(uncertain, labels):
    policies = dict.fromkeys(labels, uncertain) if isinstance(uncertain, str) else dict(uncertain)
    missing = [label for label in labels if label not in policies]
    if missing:
        raise ValueError(f"uncertain gives no policy for {missing}")
    for label in labels:
        check_choice("uncertain", policies[label], _POLICIES)
    return policies


def _apply_policies(frame, labels, policies):
    """Turn -1, 0, 1 and blanks into targets; leave out rows whose uncertain label is to be ignored."""
    values = frame[labels].astype(float)
    wrong = ~(values.isna() | values.isin([-1, 0, 1]))
    if wrong.any(axis=None):
        raise ValueError(f"observations must be -1, 0, 1 or blank, got {values.to_numpy()[wrong.to_numpy()][0]:g}")
    is_uncertain = values == -1
    keep = ~is_uncertain[[label for label in labels if policies[label] == "ignore"]].any(axis=1)
    frame = keep_rows(frame, keep, "uncertain='ignore'")
    values, is_uncertain = values[keep].reset_index(drop=True), is_uncertain[keep].reset_index(drop=True)
    values = values.fillna(0.0)
    for label in labels:
        replacement = {"negative": 0.0, "positive": 1.0, "ignore": 0.0, "nan": np.nan}[policies[label]]
        values[label] = values[label].mask(is_uncertain[label], replacement)
    return frame, values if values.isna().any(axis=None) else values.astype(np.int8)


def _projection(frame):
    if "Frontal/Lateral" in frame:
        return frame["Frontal/Lateral"].astype(str).str.strip().str.lower()
    return frame["Path"].astype(str).str.extract(r"view\d+_(frontal|lateral)")[0]  # test.csv has no such column


def _below_release(path):
    """Give a path of the tables without the name of the release it begins with."""
    parts = str(path).strip().split("/")
    start = next((i for i, part in enumerate(parts) if part in _SUBSETS), 0)
    return "/".join(parts[start:])


def _chexmask_key(path):
    return _below_release(path).removesuffix(".jpg").removesuffix(".png")


def _resolve(root, paths):
    """Find the file of every path, in the plain tree or in the batches of the full-size release."""
    plain = [os.path.join(root, *_below_release(path).split("/")) for path in paths]
    batches = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and "batch" in entry.name.lower()]
    if not batches:
        return plain
    home = {patient: batch for batch in batches for patient in os.listdir(batch)}
    resolved = []
    for path, present in zip(plain, files_present(plain)):
        parts = os.path.relpath(path, root).split(os.sep)
        batch = None if present else home.get(parts[1] if len(parts) > 1 else "")
        resolved.append(path if batch is None else os.path.join(batch, *parts[1:]))
    return resolved
