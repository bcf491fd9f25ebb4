"""NIH ChestX-ray14: frontal chest radiographs with fourteen text-mined findings."""

import os

import numpy as np
import pandas as pd

from ..images import ImageFiles, MaskFiles
from ._chexmask_table import chexmask_masks
from ._layout import (
    Publication,
    add_drains,
    by_name,
    check_choice,
    choose_labels,
    first_match,
    indicator_table,
    keep_present,
    keep_rows,
    leading_number,
    list_files,
    make_bunch,
    read_table,
)

_PUBLICATION = Publication(
    "NIH ChestX-ray14",
    "https://nihcc.app.box.com/v/ChestXray-NIHCC",
    """
ChestX-ray14/
  Data_Entry_2017_v2020.csv          (or Data_Entry_2017.csv)
  images_001/images/00000001_000.png, ... images_012/images/   (or images/)
  train_val_list.txt, test_list.txt  (for subset="train_val" or "test")
  BBox_List_2017.csv                 (for masks="boxes")
""",
)
_FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
_BOX_NAMES = {"Infiltrate": "Infiltration"}  # the table of boxes has another word
_NATIVE = (1024, 1024)
_LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}


def load_nih_chestxray14(
    root,
    *,
    subset="all",
    labels=None,
    images=None,
    masks=None,
    min_dice=0.7,
    drains=None,
    size=(224, 224),
    channels=1,
    resize="letterbox",
    on_missing="error",
    return_X_y=False,
):
    """Load the frontal chest radiographs of NIH ChestX-ray14 with findings, view, age and sex.

    112,120 radiographs of 30,805 patients, free to use with attribution to the NIH Clinical Center, published at
    https://nihcc.app.box.com/v/ChestXray-NIHCC [1]_. Expected folder::

        ChestX-ray14/
          Data_Entry_2017_v2020.csv          (or Data_Entry_2017.csv)
          images_001/images/00000001_000.png, ... images_012/images/   (or images/)
          train_val_list.txt, test_list.txt  (for subset="train_val" or "test")
          BBox_List_2017.csv                 (for masks="boxes")

    Parameters
    ----------
    root : path-like
        Folder of the data set.
    subset : {"all", "train_val", "test"}, default="all"
        Official split, which does not divide patients.
    labels : sequence of str, default=None
        Some of the 14 findings, or ``"No Finding"``; all findings by default.
    images : path-like, default=None
        Folder that holds the images at any depth; by default ``root``.
    masks : {None, "boxes"} or path-like, default=None
        No masks; the boxes around findings (about 880 images have some; only boxes of the chosen ``labels`` count);
        or a CheXmask table, whose lungs become the masks.
    min_dice : float, default=0.7
        Least estimated quality ("Dice RCA (Mean)") of a CheXmask row.
    drains : path-like, default=None
        Table ``NIH-CX14_TubeAnnotations_NonExperts_aggregated.csv`` of the NEATX annotations
        (https://doi.org/10.5281/zenodo.14944064, CC BY-NC-SA) [2]_; adds the metadata column ``drain``: 1 with a
        chest drain, 0 without, NaN where nobody looked.
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
        Images, decoded when asked for. ``target`` is a DataFrame with one 0/1 column per label, ``groups`` the
        patient, ``metadata`` has ``age`` (years), ``sex``, ``view`` (PA or AP), ``follow_up``, ``split`` (where the
        lists are there), ``drain`` (if asked for) and ``file``.
    target : DataFrame of shape (n, n_labels)
        Only with ``return_X_y=True``.

    Raises
    ------
    FileNotFoundError
        If tables or images are missing.
    ValueError
        If a label is unknown or a table cannot be understood.

    Notes
    -----
    Labels were mined from reports; expect many to be wrong. Many pneumothoraces show a chest drain, so that the
    treatment gives the label away. AP images come from bed-ridden, sicker patients. In the first release of the
    table some ages exceed 100 years; ages above 120 are given as NaN.

    References
    ----------
    .. [1] X. Wang et al., "ChestX-ray8: Hospital-scale chest X-ray database and benchmarks", CVPR, 2017.
    .. [2] "Non-expert annotations of tubes in X-rays (NEATX)", Zenodo, 2025, doi:10.5281/zenodo.14944064.

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import load_nih_chestxray14
    >>> X = load_nih_chestxray14("ChestX-ray14", labels=["Pneumothorax"], size=224)  # doctest: +SKIP
    >>> load_nih_chestxray14("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: NIH ChestX-ray14 is not complete in 'no-such-folder' (there is no such folder); looked for...
    """
    check_choice("subset", subset, ("all", *_LISTS))
    chosen = choose_labels(_FINDINGS if labels is None else labels, (*_FINDINGS, "No Finding"))
    wanted = {
        "table": ("Data_Entry_2017_v2020.csv*", "Data_Entry_2017.csv*"),
    }
    if images is None:
        wanted["images"] = ("images_*/images", "images", "images*")
    if subset != "all":
        wanted["list"] = _LISTS[subset]
    boxed = isinstance(masks, str) and masks == "boxes"
    if boxed:
        wanted["boxes"] = ("BBox_List_2017.csv*", "BBox_list_2017.csv*")
    found = dict(zip(wanted, _PUBLICATION.locate(root, **wanted)))
    frame = read_table(found["table"], ["Image Index", "Finding Labels", "Patient ID"])
    frame = _with_split(frame, found["table"].parent)
    if subset != "all":
        frame = keep_rows(frame, frame["split"] == subset, f"subset={subset!r}")
    files = by_name(list_files(found["table"].parent if images is None else images, {".png", ".jpg"}))
    frame, paths = keep_present(frame, [files.get(name) for name in frame["Image Index"]], on_missing, _PUBLICATION)
    findings = [{name.strip() for name in str(text).split("|")} for text in frame["Finding Labels"]]
    unknown = sorted(set().union(*findings) - {*_FINDINGS, "No Finding"})
    if unknown:
        raise ValueError(f"{found['table'].name}: unknown findings {unknown[:3]}")
    pixels = ImageFiles(paths, size=size, channels=channels, resize=resize)
    fields = {}
    if boxed:
        boxes = _boxes(found["boxes"], chosen)
        fields["masks"] = MaskFiles(
            [boxes.get(name) for name in frame["Image Index"]],
            pixels.shape[-2:],
            kind="box",
            box_format="xywh",
            original_shapes=_NATIVE,
            resize=resize,
        )
    elif masks is not None:
        fields["masks"] = chexmask_masks(
            masks, frame["Image Index"], pixels.shape[-2:], min_dice, resize, native=_NATIVE
        )
    return make_bunch(
        pixels,
        return_X_y=return_X_y,
        target=indicator_table(findings, chosen),
        metadata=_metadata(frame, paths, drains),
        groups=frame["Patient ID"].astype("int64").to_numpy(),
        **fields,
    )


def _with_split(frame, folder):
    """Add the official split where its lists are there."""
    split = {}
    for name, file in _LISTS.items():
        path = first_match(folder, file)
        if path is not None:
            split.update(dict.fromkeys(path.read_text(encoding="ascii").split(), name))
    return frame.assign(split=frame["Image Index"].map(split)) if split else frame


def _metadata(frame, paths, drains):
    age = leading_number(frame["Patient Age"]) if "Patient Age" in frame else np.nan
    metadata = pd.DataFrame({"age": age}, index=frame.index)
    metadata["age"] = metadata["age"].where(metadata["age"] <= 120)
    for column, name in {"Patient Gender": "sex", "Patient Sex": "sex", "View Position": "view"}.items():
        if column in frame:
            metadata[name] = frame[column]
    if "Follow-up #" in frame:
        metadata["follow_up"] = frame["Follow-up #"]
    if "split" in frame:
        metadata["split"] = frame["split"]
    if drains is not None:
        add_drains(metadata, frame["Image Index"], drains, "Image Index")
    metadata["file"] = [os.path.basename(path) for path in paths]
    return metadata


def _boxes(path, labels):
    """Give the boxes (x, y, width, height) of every image in pixels of the published image."""
    # The header is 'Bbox [x,y,w,h]', which a CSV reader splits into four columns.
    table = pd.read_csv(path, header=0, usecols=range(6), names=["image", "finding", "x", "y", "width", "height"])
    table["finding"] = table["finding"].replace(_BOX_NAMES)
    table = table[table["finding"].isin(labels)]
    start = table[["x", "y"]].to_numpy(dtype=float)
    ends = np.clip(np.hstack([start, start + table[["width", "height"]].to_numpy(dtype=float)]), 0, _NATIVE[0])
    boxes = np.hstack([ends[:, :2], ends[:, 2:] - ends[:, :2]])
    return {name: boxes[rows].tolist() for name, rows in table.reset_index(drop=True).groupby("image").indices.items()}
