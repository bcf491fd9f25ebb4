"""Chaksu: fundus photographs of three cameras with optic disc and cup."""

import os
import re

import pandas as pd

from ..images import ImageFiles, MaskFiles
from ._layout import (
    Publication,
    check_choice,
    choose_labels,
    keep_present,
    list_files,
    make_bunch,
    read_table,
    stem,
)

_PUBLICATION = Publication(
    "Chaksu",
    "https://doi.org/10.6084/m9.figshare.20123135",
    """
Chaksu/
  Train/
    1.0_Original_Fundus_Images/Bosch/*.JPG, Forus/*.png, Remidio/*.JPG
    4.0_OD_CO_Fusion_Images/<camera>/STAPLE/<name>.png        (for masks)
    6.0_Glaucoma_Decision/Glaucoma_Decision_Comparison_<camera>_majority.csv
  Test/
    the same
""",
)
_CAMERAS = ("Bosch", "Forus", "Remidio")
_SPLITS = {"train": "Train", "test": "Test"}
_FUSIONS = ("STAPLE", "Mean", "Median", "Majority")
# Some experts write "GLAUCOMA  SUSUPECT".
_DECISIONS = {"NORMAL": 0, "GLAUCOMA SUSPECT": 1, "GLAUCOMA SUSUPECT": 1}
_PATIENT = re.compile(r"^(P\d+)_", re.IGNORECASE)


def load_chaksu(
    root,
    *,
    subset="all",
    cameras=None,
    masks="disc",
    fusion="STAPLE",
    size=(224, 224),
    resize="letterbox",
    on_missing="error",
    return_X_y=False,
):
    """Load the fundus photographs of Chaksu with glaucoma decision, camera and optic disc.

    1,345 photographs of three cameras with the decisions of five experts, published under CC BY 4.0 at
    https://doi.org/10.6084/m9.figshare.20123135 [1]_. Expected folder::

        Chaksu/
          Train/
            1.0_Original_Fundus_Images/Bosch/*.JPG, Forus/*.png, Remidio/*.JPG
            4.0_OD_CO_Fusion_Images/<camera>/STAPLE/<name>.png        (for masks)
            6.0_Glaucoma_Decision/Glaucoma_Decision_Comparison_<camera>_majority.csv
          Test/
            the same

    Parameters
    ----------
    root : path-like
        Folder that holds ``Train`` and ``Test``.
    subset : {"all", "train", "test"}, default="all"
        Published split to read.
    cameras : sequence of str, default=None
        Some of ``"Bosch"``, ``"Forus"``, ``"Remidio"``; all by default.
    masks : {"disc", "cup", None}, default="disc"
        Region of interest: the optic disc with its cup, the cup alone, or none.
    fusion : {"STAPLE", "Mean", "Median", "Majority"}, default="STAPLE"
        Which fusion of the experts' outlines the masks are taken from.
    size : int or (int, int), default=(224, 224)
        Height and width of images and masks in pixels.
    resize : str, default="letterbox"
        How images and masks reach that size, see :class:`~sklearn_shortcuts.images.ImageFiles`.
    on_missing : {"error", "drop"}, default="error"
        What to do with decisions that have no photograph: raise, or leave them out with a warning.
    return_X_y : bool, default=False
        Return ``(bunch, target)`` instead of the bunch alone.

    Returns
    -------
    bunch : ImageBunch of shape (n, 3, H, W)
        RGB photographs, decoded when asked for. ``target`` is 1 for glaucoma suspect and 0 for normal (majority of
        five experts), ``masks`` the region, ``groups`` the patient, ``metadata`` has ``camera``, ``split`` and
        ``file``. Photographs without an outline have no mask, see ``bunch.has_mask``.
    target : ndarray of shape (n,)
        Only with ``return_X_y=True``.

    Raises
    ------
    FileNotFoundError
        If folders, tables or photographs are missing.
    ValueError
        If a decision is neither normal nor glaucoma suspect.

    Notes
    -----
    Tables write names such as ``Image101.jpg-Image101-1.jpg`` with suffixes that differ from the files'
    (jpg for JPG, jpg for png, tif for JPG); names are compared without suffix and case. The decision is the last
    column, whose title differs between tables. The Bosch tables of both splits list the photographs of both; rows
    that belong to the other split are passed over. One folder of masks is spelled ``Remedio``. Fused masks are about
    127 in the rim of the disc and about 255 in the cup. Only names that begin with ``P<number>_``
    (Bosch) tell the patient; every other photograph is a group of its own. Remidio photographs are taller than wide,
    the others wider than tall, so that margins of a letterbox betray the camera. The camera goes with the diagnosis:
    glaucoma is suspected in 18 % of Bosch, 17 % of Forus and 13 % of Remidio training photographs.

    References
    ----------
    .. [1] J. R. H. Kumar et al., "Chaksu: A glaucoma specific fundus image database", Scientific Data 10, 70, 2023
       (with an author correction).

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import load_chaksu
    >>> X, y = load_chaksu("Chaksu", subset="train", on_missing="drop", return_X_y=True)  # doctest: +SKIP
    >>> load_chaksu("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: Chaksu is not complete in 'no-such-folder' (there is no such folder); looked for...
    """
    check_choice("subset", subset, ("all", *_SPLITS))
    check_choice("masks", masks, ("disc", "cup", None))
    check_choice("fusion", fusion, _FUSIONS)
    chosen = choose_labels(cameras, _CAMERAS, "cameras")
    splits = [subset] if subset != "all" else list(_SPLITS)
    frame = pd.concat(
        [_read_camera(root, split, camera, None if masks is None else fusion) for split in splits for camera in chosen],
        ignore_index=True,
    )
    frame, paths = keep_present(frame, frame["image"], on_missing, _PUBLICATION, "photographs")
    images = ImageFiles(paths, size=size, channels=3, resize=resize)
    fields = {}
    if masks is not None:
        files = [path if isinstance(path, str) else None for path in frame["mask"]]
        threshold = 1 if masks == "disc" else 192  # disc about 127, cup about 255
        fields["masks"] = MaskFiles(files, images.shape[-2:], threshold=threshold, resize=resize)
    frame["file"] = [os.path.basename(path) for path in paths]
    return make_bunch(
        images,
        return_X_y=return_X_y,
        target=frame["target"].to_numpy(dtype=int),
        metadata=frame[["camera", "split", "file"]],
        groups=frame["patient"].to_numpy(dtype=str),
        **fields,
    )


def _read_camera(root, split, camera, fusion):
    """Give decision, photograph and mask of every row of one camera's table."""
    part = _SPLITS[split]
    misspelled = camera.replace("Remidio", "Remedio")
    wanted = {
        "photographs": f"{part}/1.0_Original_Fundus_Images/{camera}",
        "decisions": tuple(
            f"{part}/6.0_Glaucoma_Decision/Glaucoma_Decision_Comparison_{name}_majority.csv"
            for name in (camera, misspelled)
        ),
    }
    if fusion is not None:
        wanted["fused_masks"] = tuple(
            f"{part}/4.0_OD_CO_Fusion_Images/{name}/{kind}"
            for name in (camera, misspelled)
            for kind in (fusion, fusion.lower())
        )
    found = _PUBLICATION.locate(root, **wanted)
    table = read_table(found[1], ["Images"])
    table = table[table["Images"].notna()]
    names = [_name(text) for text in table["Images"]]
    decisions = table.iloc[:, -1].astype(str).str.split().str.join(" ").str.upper()
    unknown = sorted(set(decisions) - set(_DECISIONS))
    if unknown:
        raise ValueError(f"{found[1].name}: the last column {table.columns[-1]!r} holds {unknown[:3]}, no decision")
    photographs = _index(found[0])
    other = _index(found[0].parents[2] / ("Test" if part == "Train" else "Train") / found[0].parent.name / camera)
    masks = _index(found[2]) if fusion is not None else {}
    frame = pd.DataFrame({"file": names, "target": decisions.map(_DECISIONS).to_numpy()})
    frame["image"] = [photographs.get(name) for name in names]
    frame["mask"] = [masks.get(name) for name in names]
    frame["camera"], frame["split"] = camera, split
    frame["patient"] = [_patient(name, camera, split) for name in names]
    return frame[[name in photographs or name not in other for name in names]]


def _index(folder):
    return {stem(path).lower(): path for path in list_files(folder)}


def _name(text):
    """Give the photograph's name from texts such as ``Image101.jpg-Image101-1.jpg``."""
    return stem(str(text).split("-")[0].strip()).lower()


def _patient(name, camera, split):
    match = _PATIENT.match(name)
    return f"{camera} {match[1].upper()}" if match else f"{camera} {split} {name}"
