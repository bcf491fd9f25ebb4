"""SIIM-ACR pneumothorax segmentation: chest radiographs with outlined pneumothoraces."""

import os
import secrets
import warnings

import numpy as np
import pandas as pd

from ..images import ImageFiles, MaskFiles, dicom_metadata
from ._layout import Publication, by_name, keep_present, list_files, make_bunch, read_table, stem

_PUBLICATION = Publication(
    "SIIM-ACR pneumothorax",
    "https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation",
    """
siim-acr-pneumothorax/
  train-rle.csv                                        (or stage_2_train.csv)
  dicom-images-train/<study>/<series>/<image id>.dcm   (any depth of folders)
""",
)
_NATIVE = (1024, 1024)
_WINDOW = (127.5, 255)  # center and width that map the stored 8 bits, 0 to 255, to [0, 1]
_HEADERS = {"PatientAge": "age", "PatientSex": "sex", "ViewPosition": "view"}


def load_siim_acr(
    root,
    *,
    headers=False,
    size=(224, 224),
    resize="letterbox",
    on_missing="error",
    return_X_y=False,
):
    """Load the SIIM-ACR chest radiographs with outlined pneumothoraces.

    About 12,000 DICOM radiographs, published for the challenge of the Society for Imaging Informatics in Medicine
    and the American College of Radiology at https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation (terms of
    the challenge) [1]_. Expected folder::

        siim-acr-pneumothorax/
          train-rle.csv                                        (or stage_2_train.csv)
          dicom-images-train/<study>/<series>/<image id>.dcm   (any depth of folders)

    Parameters
    ----------
    root : path-like
        Folder of the data set.
    headers : bool, default=False
        Read age, sex, view and patient from the DICOM headers, which opens every file once. Patients become running
        numbers; nothing else of the header is kept.
    size : int or (int, int), default=(224, 224)
        Height and width of images and masks in pixels.
    resize : str, default="letterbox"
        How images and masks reach that size, see :class:`~sklearn_shortcuts.images.ImageFiles`.
    on_missing : {"error", "drop"}, default="error"
        What to do with rows of the table that have no image: raise, or leave them out with a warning.
    return_X_y : bool, default=False
        Return ``(bunch, target)`` instead of the bunch alone.

    Returns
    -------
    bunch : ImageBunch of shape (n, H, W)
        Images, decoded when asked for. ``target`` is 1 with a pneumothorax and 0 without, ``masks`` the pneumothorax
        (empty where there is none; every row has one), ``metadata`` has ``n_outlines``, ``file`` and, with
        ``headers=True``, ``age`` (years), ``sex`` and ``view``; then ``groups`` are the patients.
    target : ndarray of shape (n,)
        Only with ``return_X_y=True``.

    Raises
    ------
    FileNotFoundError
        If the table or images are missing.
    ValueError
        If an outline leaves the image, or an image is called both with and without pneumothorax.

    Notes
    -----
    Run lengths in this set are relative: every start counts from the end of the run before, columns come first, and
    images measure 1024 x 1024. The title ``" EncodedPixels"`` begins with a blank, ``-1`` means no pneumothorax, and
    an image with several outlines has several rows, which are joined. Images without a row in the table are left
    out with a warning. Many positives show a chest drain, which is treatment and not disease: look there first.
    The images were taken from NIH ChestX-ray14, so the two sets must not be split against each other.

    References
    ----------
    .. [1] A. Zawacki et al., "SIIM-ACR Pneumothorax Segmentation", Kaggle, 2019. R. W. Filice et al., "Crowdsourcing
       pneumothorax annotations using machine learning annotations on the NIH chest X-ray dataset", Journal of
       Digital Imaging 33, 2020.

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import load_siim_acr
    >>> X, y = load_siim_acr("siim-acr-pneumothorax", headers=True, return_X_y=True)  # doctest: +SKIP
    >>> load_siim_acr("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: SIIM-ACR pneumothorax is not complete in 'no-such-folder' (there is no such folder); ...
    """
    table, folder = _PUBLICATION.locate(
        root,
        table=("train-rle.csv", "stage_2_train.csv", "*/train-rle.csv"),
        images=("dicom-images-train", "stage_2_images", "*/dicom-images-train"),
    )
    frame = _join_outlines(read_table(table, ["ImageId", "EncodedPixels"], dtype=str), table.name)
    files = by_name(list_files(folder, {".dcm"}), stem)
    unlabeled = sorted(set(files) - set(frame["image"]))
    if unlabeled:
        warnings.warn(
            f"{len(unlabeled)} of {len(files)} images have no row in {table.name}; they are left out",
            UserWarning,
            stacklevel=2,
        )
    frame, paths = keep_present(frame, [files.get(name) for name in frame["image"]], on_missing, _PUBLICATION)
    images = ImageFiles(paths, size=size, channels=1, resize=resize, window=_WINDOW)
    masks = MaskFiles(
        frame["outlines"].tolist(),
        images.shape[-2:],
        kind="rle",
        dialect="siim",
        original_shapes=_NATIVE,
        resize=resize,
    )
    metadata = pd.DataFrame({"n_outlines": frame["outlines"].map(len)})
    fields = {}
    if headers:
        details = dicom_metadata(paths, list(_HEADERS), salt=secrets.token_bytes(32))
        for keyword, name in _HEADERS.items():
            metadata[name] = details[keyword].to_numpy()
        if details["patient_key"].notna().all():
            fields["groups"] = pd.factorize(details["patient_key"])[0]
    metadata["file"] = [os.path.basename(path) for path in paths]
    return make_bunch(
        images,
        return_X_y=return_X_y,
        target=(metadata["n_outlines"] > 0).to_numpy(dtype=int),
        metadata=metadata,
        masks=masks,
        **fields,
    )


def _join_outlines(table, name):
    """Give one row per image with the run lengths of all its outlines."""
    image = table["ImageId"].str.strip()
    runs = table["EncodedPixels"].str.strip()
    if image.isna().any() or runs.isna().any():
        row = np.flatnonzero(image.isna() | runs.isna())[0]
        raise ValueError(f"{name}: row {row} is blank; no pneumothorax is written -1")
    outlines = {}
    for key, run in zip(image, runs):
        outlines.setdefault(key, []).append(run)
    torn = [key for key, values in outlines.items() if "-1" in values and len(set(values)) > 1]
    if torn:
        raise ValueError(f"{name}: {len(torn)} images have both an outline and -1, such as {torn[0]}")
    joined = [[] if "-1" in values else list(dict.fromkeys(values)) for values in outlines.values()]
    return pd.DataFrame({"image": list(outlines), "outlines": pd.Series(joined, dtype=object)})
