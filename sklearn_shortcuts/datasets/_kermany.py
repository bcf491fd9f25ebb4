"""Chest X-Ray Images (pneumonia): pediatric radiographs from Guangzhou."""

import os
import re

import pandas as pd

from ..images import ImageFiles
from ._layout import Publication, check_choice, list_files, make_bunch, stem

_PUBLICATION = Publication(
    "Chest X-Ray Images (pneumonia)",
    "https://data.mendeley.com/datasets/rscbjbr9sj",
    """
chest_xray/
  train/NORMAL/IM-0115-0001.jpeg, ...
  train/PNEUMONIA/person1_bacteria_1.jpeg, person1000_virus_1681.jpeg, ...
  test/NORMAL/, test/PNEUMONIA/
  val/NORMAL/, val/PNEUMONIA/   (not in every release)
""",
)
_NAMES = (
    re.compile(r"^(?P<patient>person\d+)_(?P<kind>virus|bacteria)_\d+", re.IGNORECASE),
    re.compile(r"^(?P<patient>(?P<kind>normal)-\d+)-\d+", re.IGNORECASE),
    re.compile(r"^(?P<kind>virus|bacteria)-(?P<patient>\d+)-\d+", re.IGNORECASE),
    re.compile(r"^(?P<patient>(?:NORMAL2-)?IM-\d+)-\d+(?P<kind>)", re.IGNORECASE),
)


def load_kermany(root, *, subset="all", size=(224, 224), channels=1, resize="letterbox", return_X_y=False):
    """Load the pediatric chest radiographs of Kermany et al., normal or with pneumonia.

    5,856 radiographs of children of one to five years from Guangzhou, published under CC BY 4.0 at
    https://data.mendeley.com/datasets/rscbjbr9sj [1]_. Expected folder::

        chest_xray/
          train/NORMAL/IM-0115-0001.jpeg, ...
          train/PNEUMONIA/person1_bacteria_1.jpeg, person1000_virus_1681.jpeg, ...
          test/NORMAL/, test/PNEUMONIA/
          val/NORMAL/, val/PNEUMONIA/   (not in every release)

    Parameters
    ----------
    root : path-like
        Folder that holds ``train`` and ``test``.
    subset : {"all", "train", "val", "test"}, default="all"
        Folder to read.
    size : int or (int, int), default=(224, 224)
        Height and width of the images in pixels.
    channels : {1, 3}, default=1
        Gray or RGB.
    resize : str, default="letterbox"
        How images reach that size, see :class:`~sklearn_shortcuts.images.ImageFiles`.
    return_X_y : bool, default=False
        Return ``(bunch, target)`` instead of the bunch alone.

    Returns
    -------
    bunch : ImageBunch of shape (n, H, W)
        Images, decoded when asked for. ``target`` is ``"NORMAL"`` or ``"PNEUMONIA"``, ``groups`` the patient,
        ``metadata`` has ``kind`` (normal, virus, bacteria), ``split`` and ``file``.
    target : ndarray of shape (n,)
        Only with ``return_X_y=True``.

    Raises
    ------
    FileNotFoundError
        If folders are missing or empty.
    ValueError
        If a file name does not tell the patient.

    Notes
    -----
    The patient is read from the file name. One person number occurs with virus and with bacteria and in more than
    one folder; all of them count as one patient here, because joining two children is harmless in a split and
    dividing one is not. The published ``val`` folder holds 16 images only: validate on a patient-wise part of
    ``train``. All patients are children and images are wider than tall; joined with adults from another source,
    age, hospital and aspect ratio all betray the class.

    References
    ----------
    .. [1] D. S. Kermany et al., "Identifying medical diagnoses and treatable diseases by image-based deep
       learning", Cell 172, 2018.

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import load_kermany
    >>> X, y = load_kermany("chest_xray", subset="train", return_X_y=True)  # doctest: +SKIP
    >>> load_kermany("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: Chest X-Ray Images (pneumonia) is not complete in 'no-such-folder' ...
    """
    check_choice("subset", subset, ("all", "train", "val", "test"))
    splits = ["train", "test"] if subset == "all" else [subset]
    wanted = {f"{split}_{label}": f"{split}/{label}" for split in splits for label in ("NORMAL", "PNEUMONIA")}
    folders = _PUBLICATION.locate(root, **wanted)
    home = folders[0].parents[1]
    if subset == "all" and (home / "val").is_dir():
        splits.append("val")
    rows, paths = [], []
    for split in splits:
        for label in ("NORMAL", "PNEUMONIA"):
            for path in list_files(home / split / label):
                patient, kind = _patient(path)
                rows.append({"target": label, "kind": kind, "split": split, "patient": patient})
                paths.append(path)
    if not rows:
        raise FileNotFoundError(f"there are no images in {str(root)!r}\n{_PUBLICATION.advice()}")
    frame = pd.DataFrame(rows)
    frame["file"] = [os.path.basename(path) for path in paths]
    return make_bunch(
        ImageFiles(paths, size=size, channels=channels, resize=resize),
        return_X_y=return_X_y,
        target=frame["target"].to_numpy(dtype=str),
        metadata=frame[["kind", "split", "file"]],
        groups=frame["patient"].to_numpy(dtype=str),
    )


def _patient(path):
    """Give patient and kind from the name, in the way of either release."""
    for pattern in _NAMES:
        match = pattern.match(stem(path))
        if match:
            return match["patient"].lower(), match["kind"].lower() or "normal"
    raise ValueError(
        f"{path!r}: the file name tells no patient; expected person<number>_<virus|bacteria>_<number>, "
        "IM-<number>-<number> or <KIND>-<number>-<number>"
    )
