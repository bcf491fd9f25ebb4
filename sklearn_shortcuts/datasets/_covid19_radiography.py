"""COVID-19 Radiography Database: four classes of chest radiographs with lung masks."""

import os
import warnings
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from ..images import ImageFiles, MaskFiles
from ._layout import Publication, by_name, check_choice, choose_labels, files_present, list_files, make_bunch, stem

_PUBLICATION = Publication(
    "COVID-19 Radiography Database",
    "https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database",
    """
COVID-19_Radiography_Dataset/
  COVID/images/COVID-1.png, ...            COVID/masks/COVID-1.png, ...
  Lung_Opacity/images/, masks/
  Normal/images/, masks/
  Viral Pneumonia/images/, masks/
  COVID.metadata.xlsx, Lung_Opacity.metadata.xlsx, Normal.metadata.xlsx, Viral Pneumonia.metadata.xlsx
""",
)
_CLASSES = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")
_SOURCES = {
    "bimcv": "padchest",
    "padchest": "padchest",
    "rsna": "rsna",
    "paultimothymooney": "kermany",
    "ml-workgroup": "hannover",
    "sirm": "sirm",
    "eurorad": "eurorad",
    "armiro": "covid-cxnet",
    "ieee8023": "ieee8023",
}


def load_covid19_radiography(
    root,
    *,
    classes=None,
    masks=True,
    sources=True,
    size=(224, 224),
    channels=1,
    resize="letterbox",
    on_missing="error",
    return_X_y=False,
):
    """Load the COVID-19 Radiography Database with lung masks and the origin of every image.

    21,165 radiographs in four classes, published for research at
    https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database (mixed licenses of the collections
    it joins) [1]_. Expected folder::

        COVID-19_Radiography_Dataset/
          COVID/images/COVID-1.png, ...            COVID/masks/COVID-1.png, ...
          Lung_Opacity/images/, masks/
          Normal/images/, masks/
          Viral Pneumonia/images/, masks/
          COVID.metadata.xlsx, Lung_Opacity.metadata.xlsx, Normal.metadata.xlsx, Viral Pneumonia.metadata.xlsx

    Parameters
    ----------
    root : path-like
        Folder that holds the class folders.
    classes : sequence of str, default=None
        Some of ``"COVID"``, ``"Lung_Opacity"``, ``"Normal"``, ``"Viral Pneumonia"``; all by default.
    masks : bool, default=True
        Read the lung masks.
    sources : bool, default=True
        Read the origin of every image from the ``.metadata.xlsx`` tables, which takes the package ``openpyxl``.
    size : int or (int, int), default=(224, 224)
        Height and width of images and masks in pixels.
    channels : {1, 3}, default=1
        Gray or RGB.
    resize : str, default="letterbox"
        How images and masks reach that size, see :class:`~sklearn_shortcuts.images.ImageFiles`.
    on_missing : {"error", "drop"}, default="error"
        What to do with images that have no mask file: raise, or keep them without a mask and warn.
    return_X_y : bool, default=False
        Return ``(bunch, target)`` instead of the bunch alone.

    Returns
    -------
    bunch : ImageBunch of shape (n, H, W)
        Images, decoded when asked for. ``target`` is the class, ``masks`` the lungs, ``metadata`` has ``source``
        (with ``sources=True``) and ``file``. The database tells no patients, so there are no ``groups``.
    target : ndarray of shape (n,)
        Only with ``return_X_y=True``.

    Raises
    ------
    FileNotFoundError
        If folders, masks or tables are missing.
    ImportError
        If the tables are to be read and ``openpyxl`` is not installed.

    Notes
    -----
    The class is all but decided by the origin: viral pneumonia shows children of one to five years (Kermany et al.),
    lung opacity and most normal images adults of the RSNA challenge, COVID six sources, foremost PadChest. Masks
    are 256 x 256 while images are 299 x 299; both show the same frame. Images of one patient may lie on both sides
    of a random split, since patients are not told.

    References
    ----------
    .. [1] M. E. H. Chowdhury et al., "Can AI help in screening viral and COVID-19 pneumonia?", IEEE Access 8, 2020.
       T. Rahman et al., "Exploring the effect of image enhancement techniques on COVID-19 detection using chest
       X-ray images", Computers in Biology and Medicine 132, 2021.

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import load_covid19_radiography
    >>> X = load_covid19_radiography("COVID-19_Radiography_Dataset")  # doctest: +SKIP
    >>> X.metadata.groupby("source").size()  # doctest: +SKIP
    >>> load_covid19_radiography("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: COVID-19 Radiography Database is not complete in 'no-such-folder' ...
    """
    check_choice("on_missing", on_missing, ("error", "drop"))
    chosen = choose_labels(classes, _CLASSES, "classes")
    wanted = {}
    for label in chosen:
        spellings = (label, label.replace(" ", "_"), label.replace("_", " "))  # releases differ
        wanted[f"{label}_images"] = tuple(f"{name}/images" for name in spellings)
        if masks:
            wanted[f"{label}_masks"] = tuple(f"{name}/masks" for name in spellings)
        if sources:
            wanted[f"{label}_table"] = tuple(f"{name}.metadata.xlsx" for name in spellings)
    found = dict(zip(wanted, _PUBLICATION.locate(root, **wanted)))
    frames = []
    for label in chosen:
        paths = list_files(found[f"{label}_images"])
        frame = pd.DataFrame({"target": label, "image": paths, "file": [os.path.basename(path) for path in paths]})
        if masks:
            files = by_name(list_files(found[f"{label}_masks"]), lambda path: stem(path).lower())
            frame["mask"] = [files.get(stem(path).lower()) for path in paths]
        if sources:
            origin = _read_sources(found[f"{label}_table"])
            frame["source"] = [origin.get(stem(path).lower().replace(" ", "")) for path in paths]
        frames.append(frame)
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        raise FileNotFoundError(f"there are no images in {str(root)!r}\n{_PUBLICATION.advice()}")
    images = ImageFiles(frame["image"].tolist(), size=size, channels=channels, resize=resize)
    fields = {}
    if masks:
        files = [path if isinstance(path, str) else None for path in frame["mask"]]
        _report_missing_masks(files, frame, on_missing)
        fields["masks"] = MaskFiles(files, images.shape[-2:], threshold=128, resize=resize)
    if sources and frame["source"].isna().any():
        warnings.warn(
            f"{frame['source'].isna().sum()} of {len(frame)} images are not in the .metadata.xlsx tables; "
            "their source is missing",
            UserWarning,
            stacklevel=2,
        )
    return make_bunch(
        images,
        return_X_y=return_X_y,
        target=frame["target"].to_numpy(dtype=str),
        metadata=frame[[column for column in ("source", "file") if column in frame]],
        **fields,
    )


def _report_missing_masks(files, frame, on_missing):
    missing = np.flatnonzero(~files_present(files))
    if not len(missing):
        return
    names = ", ".join(frame["file"].iloc[missing[:3]])
    message = f"{len(missing)} of {len(files)} images have no mask file, such as {names}"
    if on_missing == "error":
        raise FileNotFoundError(
            f"{message}. Complete the folder, pass on_missing='drop' to keep them without a mask, or masks=False."
        )
    warnings.warn(f"{message}; they are kept without a mask", UserWarning, stacklevel=3)


def _read_sources(path):
    """Give the origin of every image of a class, by lower-case stem without blanks."""
    try:
        frame = pd.read_excel(path)
    except ImportError as error:
        raise ImportError(
            "reading the .metadata.xlsx tables takes the package openpyxl; install it, or pass sources=False"
        ) from error
    frame.columns = [str(column).strip().upper() for column in frame.columns]
    missing = {"FILE NAME", "URL"} - set(frame.columns)
    if missing:
        raise ValueError(f"{str(path)!r} lacks the columns {sorted(missing)}; it has {list(frame.columns)}")
    names = frame["FILE NAME"].astype(str).str.strip().str.lower().str.replace(" ", "", regex=False)
    names = names.str.replace(r"\.png$", "", regex=True)
    return dict(zip(names, frame["URL"].map(_source, na_action="ignore")))


def _source(url):
    """Give a short name for the collection an address belongs to, or its host."""
    url = str(url).strip()
    for part, name in _SOURCES.items():
        if part in url.lower():
            return name
    return urlsplit(url if "//" in url else f"//{url}").netloc.lower() or None
