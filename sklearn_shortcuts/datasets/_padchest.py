"""PadChest: chest radiographs from Alicante with labels, scanners and exposure settings."""

import ast
import os

import numpy as np
import pandas as pd

from ..images import ImageFiles
from ._chexmask_table import chexmask_masks
from ._layout import (
    Publication,
    add_drains,
    by_name,
    indicator_table,
    keep_present,
    keep_rows,
    list_files,
    make_bunch,
    read_table,
    select_columns,
)

_PUBLICATION = Publication(
    "PadChest",
    "https://bimcv.cipf.es/bimcv-projects/padchest/",
    """
PadChest/
  PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv   (or .csv.gz)
  0/*.png, 1/*.png, ... 54/*.png                         (any folders below)
""",
)
LABELS = ("cardiomegaly", "pneumonia", "atelectasis", "pneumothorax", "pleural effusion")
_METADATA = {
    "Projection": "view",
    "PatientSex_DICOM": "sex",
    "Pediatric": "pediatric",
    "Manufacturer_DICOM": "manufacturer",
    "Modality_DICOM": "modality",
    "PhotometricInterpretation_DICOM": "photometric_interpretation",
    "BitsStored_DICOM": "bits_stored",
    "Rows_DICOM": "rows",
    "Columns_DICOM": "columns",
    "SpatialResolution_DICOM": "spatial_resolution",
    "XRayTubeCurrent_DICOM": "tube_current",
    "Exposure_DICOM": "exposure",
    "ExposureTime_DICOM": "exposure_time",
    "RelativeXRayExposure_DICOM": "relative_exposure",
    "MethodLabel": "label_method",
}


def load_padchest(
    root,
    *,
    labels=LABELS,
    projections=("PA", "AP", "AP_horizontal"),
    exclude=("suboptimal study", "exclude", "unchanged"),
    invalid=(),
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
    """Load the chest radiographs of PadChest with labels, view, scanner, exposure, age and sex.

    More than 160,000 radiographs of 67,000 patients under the PadChest research use agreement (registration, no
    redistribution), published at https://bimcv.cipf.es/bimcv-projects/padchest/ [1]_. Expected folder::

        PadChest/
          PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv   (or .csv.gz)
          0/*.png, 1/*.png, ... 54/*.png                         (any folders below)

    The default selection is that of a published study of regions [2]_.

    Parameters
    ----------
    root : path-like
        Folder of the data set.
    labels : sequence of str, default=("cardiomegaly", "pneumonia", "atelectasis", "pneumothorax", "pleural effusion")
        Labels to predict, in lower case. A row with none of them counts as negative for all.
    projections : sequence of str, default=("PA", "AP", "AP_horizontal")
        Projections to keep; None keeps all (also L, COSTAL and others).
    exclude : sequence of str, default=("suboptimal study", "exclude", "unchanged")
        Rows with one of these labels are left out, as are rows without any entry in ``Labels``.
    invalid : sequence of str, default=()
        Image names to leave out, such as files that are known to be corrupt.
    images : path-like, default=None
        Folder that holds the images at any depth; by default ``root``.
    masks : path-like, default=None
        CheXmask table of PadChest (``.csv`` or ``.csv.gz``, https://physionet.org/content/chexmask-cxr-segmentation-data/)
        [3]_, whose lungs become the masks. Rows without a good mask stay, see ``bunch.has_mask``.
    min_dice : float, default=0.7
        Least estimated quality ("Dice RCA (Mean)") of a CheXmask row.
    drains : path-like, default=None
        Table ``PadChest_TubeAnnotations_NonExperts_aggregated.csv`` of the NEATX annotations
        (https://doi.org/10.5281/zenodo.14944064); adds the metadata column ``drain``.
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
        patient, ``metadata`` the acquisition (``manufacturer``, ``view``, ``exposure``, ``tube_current``,
        ``bits_stored``, ``rows``, ``columns`` and more), ``sex``, ``birth_year``, ``age`` (years, the difference of
        two calendar years) and ``file``.
    target : DataFrame of shape (n, n_labels)
        Only with ``return_X_y=True``.

    Raises
    ------
    FileNotFoundError
        If the table or images are missing.
    ValueError
        If an entry of ``Labels`` cannot be read, no row is left, or a label never occurs.

    Notes
    -----
    Images are 16-bit PNG, of which often only 12 bits are used. ``Labels`` is written as a Python list with stray
    blanks, capitals, empty and repeated items, all of which are cleaned. Three quarters of the labels were assigned
    by a network that read the report. Some published files are corrupt and fail when they are decoded; name them in
    ``invalid``. AP_horizontal images show lying, sicker patients.

    References
    ----------
    .. [1] A. Bustos et al., "PadChest: A large chest x-ray image dataset with multi-label annotated reports",
       Medical Image Analysis 66, 2020.
    .. [2] T. Sourget et al., "Mask of truth: model sensitivity to unexpected regions of medical images",
       arXiv:2412.04030, 2024.
    .. [3] N. Gaggion et al., "CheXmask: a large-scale dataset of anatomical segmentation masks for multi-center
       chest x-ray images", Scientific Data 11, 2024.

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import load_padchest
    >>> X, y = load_padchest("PadChest", masks="CheXmask/Padchest.csv", return_X_y=True)  # doctest: +SKIP
    >>> load_padchest("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: PadChest is not complete in 'no-such-folder' (there is no such folder); looked for...
    """
    (table,) = _PUBLICATION.locate(
        root, table=("PADCHEST_chest_x_ray_images_labels_160K*.csv*", "*PADCHEST*.csv*", "labels.csv*")
    )
    wanted = [str(label).strip().lower() for label in ([labels] if isinstance(labels, str) else labels)]
    frame = read_table(table, ["ImageID", "PatientID", "Labels", "Projection"], dtype={"PatientID": str})
    frame = keep_rows(frame, frame["Labels"].notna(), "leaving out rows without labels")
    if projections is not None:
        kept = [projections] if isinstance(projections, str) else list(projections)
        frame = keep_rows(frame, frame["Projection"].isin(kept), f"projections={kept}")
    frame = keep_rows(frame, ~frame["ImageID"].isin(list(invalid)), "leaving out invalid images")
    frame["Labels"] = [parse_labels(text, name) for text, name in zip(frame["Labels"], frame["ImageID"])]
    refused = {str(label).strip().lower() for label in exclude}
    frame = keep_rows(frame, [refused.isdisjoint(row) for row in frame["Labels"]], f"exclude={sorted(refused)}")
    known = set().union(*frame["Labels"])
    unknown = [label for label in wanted if label not in known]
    if unknown or not wanted:
        raise ValueError(f"labels {unknown} never occur in the selected rows; known are such as {sorted(known)[:20]}")
    files = by_name(list_files(table.parent if images is None else images, {".png", ".jpg"}))
    paths = [files.get(name) for name in frame["ImageID"]]
    frame, paths = keep_present(frame, paths, on_missing, _PUBLICATION, name="ImageID")
    pixels = ImageFiles(paths, size=size, channels=channels, resize=resize)
    fields = {}
    if masks is not None:
        fields["masks"] = chexmask_masks(masks, frame["ImageID"], pixels.shape[-2:], min_dice, resize)
    metadata = _metadata(frame)
    if drains is not None:
        add_drains(metadata, frame["ImageID"], drains, "ImageID")
    metadata["file"] = [os.path.basename(path) for path in paths]
    return make_bunch(
        pixels,
        return_X_y=return_X_y,
        target=indicator_table(frame["Labels"].tolist(), wanted),
        metadata=metadata,
        groups=frame["PatientID"].to_numpy(dtype=object),
        **fields,
    )


def parse_labels(text, name):
    """Read the list of labels of one image, cleaned of blanks, capitals, empty and repeated items."""
    try:
        labels = ast.literal_eval(text)
        return frozenset(label.strip().lower() for label in labels if label.strip())
    except (ValueError, SyntaxError, TypeError, AttributeError) as error:
        raise ValueError(f"Labels of image {name} cannot be read: {text!r}") from error


def _metadata(frame):
    metadata = select_columns(frame, _METADATA)
    if "PatientBirth" in frame:
        birth = pd.to_numeric(frame["PatientBirth"].astype(str).str[:4], errors="coerce")
        metadata["birth_year"] = birth
        if "StudyDate_DICOM" in frame:
            study = pd.to_numeric(frame["StudyDate_DICOM"].astype(str).str[:4], errors="coerce")
            age = study - birth
            metadata["age"] = age.where(age.between(0, 120), np.nan)
    return metadata
