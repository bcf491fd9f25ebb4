"""ISIC 2019: dermoscopic images of skin lesions."""

import os

import numpy as np

from ..images import ImageFiles
from ._layout import Publication, by_name, keep_present, list_files, make_bunch, read_table, select_columns, stem

_PUBLICATION = Publication(
    "ISIC 2019",
    "https://challenge.isic-archive.com/data/#2019",
    """
ISIC2019/
  ISIC_2019_Training_Input/ISIC_0000000.jpg, ISIC_0000002_downsampled.jpg, ...
  ISIC_2019_Training_GroundTruth.csv
  ISIC_2019_Training_Metadata.csv
""",
)
_CLASSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
_METADATA = {"age_approx": "age", "sex": "sex", "anatom_site_general": "anatomical_site"}
_SOURCES = ("HAM", "BCN", "MSK")


def load_isic2019(root, *, size=(224, 224), resize="letterbox", on_missing="error", return_X_y=False):
    """Load the training images of the ISIC 2019 challenge with lesion, age, sex, site and source.

    25,331 dermoscopic images of eight classes, published under CC BY-NC 4.0 at
    https://challenge.isic-archive.com/data/#2019 [1]_. Expected folder::

        ISIC2019/
          ISIC_2019_Training_Input/ISIC_0000000.jpg, ISIC_0000002_downsampled.jpg, ...
          ISIC_2019_Training_GroundTruth.csv
          ISIC_2019_Training_Metadata.csv

    Parameters
    ----------
    root : path-like
        Folder of the data set.
    size : int or (int, int), default=(224, 224)
        Height and width of the images in pixels.
    resize : str, default="letterbox"
        How images reach that size, see :class:`~sklearn_shortcuts.images.ImageFiles`.
    on_missing : {"error", "drop"}, default="error"
        What to do with rows of the table that have no image: raise, or leave them out with a warning.
    return_X_y : bool, default=False
        Return ``(bunch, target)`` instead of the bunch alone.

    Returns
    -------
    bunch : ImageBunch of shape (n, 3, H, W)
        RGB images, decoded when asked for. ``target`` is the class (MEL, NV, BCC, AK, BKL, DF, VASC, SCC),
        ``groups`` the lesion, ``metadata`` has ``age`` (years, rounded to five), ``sex``, ``anatomical_site``,
        ``source`` (HAM, BCN, MSK), ``downsampled`` and ``file``.
    target : ndarray of shape (n,)
        Only with ``return_X_y=True``.

    Raises
    ------
    FileNotFoundError
        If tables or images are missing.
    ValueError
        If a row of the ground truth does not name exactly one class.

    Notes
    -----
    The ninth column UNK of the ground truth is empty in the training set, so models trained on it never see an
    unknown lesion. Lesions were photographed several times: split by ``groups``. About 2,000 rows name no lesion;
    each of them is a group of its own. Patients are not told. The three sources differ in microscope, framing and
    class frequencies: HAM10000 images are cropped, many BCN_20000 images show a black microscope border.

    References
    ----------
    .. [1] P. Tschandl et al., "The HAM10000 dataset", Scientific Data 5, 180161, 2018. N. C. F. Codella et al.,
       arXiv:1710.05006, 2017. M. Combalia et al., "BCN20000: Dermoscopic lesions in the wild", arXiv:1908.02288.

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import load_isic2019
    >>> X, y = load_isic2019("ISIC2019", size=224, return_X_y=True)  # doctest: +SKIP
    >>> load_isic2019("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: ISIC 2019 is not complete in 'no-such-folder' (there is no such folder); looked for...
    """
    folder, truth, table = _PUBLICATION.locate(
        root,
        images=("ISIC_2019_Training_Input", "ISIC_2019_Training_Input/ISIC_2019_Training_Input"),
        ground_truth="ISIC_2019_Training_GroundTruth.csv",
        metadata="ISIC_2019_Training_Metadata.csv",
    )
    frame = read_table(truth, ["image", *_CLASSES])
    one_hot = frame[list(_CLASSES)].to_numpy(dtype=float)
    wrong = np.flatnonzero((one_hot.sum(axis=1) != 1) | ~np.isin(one_hot, (0, 1)).all(axis=1))
    if len(wrong):
        raise ValueError(
            f"{truth.name}: {len(wrong)} rows do not name exactly one class, such as {frame['image'].iloc[wrong[0]]}"
        )
    frame["target"] = np.array(_CLASSES)[one_hot.argmax(axis=1)]
    details = read_table(table, ["image", "lesion_id"])
    frame = frame[["image", "target"]].merge(details, on="image", how="left", validate="one_to_one")
    files = by_name(list_files(folder), stem)
    frame, paths = keep_present(frame, [files.get(name) for name in frame["image"]], on_missing, _PUBLICATION)
    lesion = frame["lesion_id"].astype("object").where(frame["lesion_id"].notna(), None)
    metadata = select_columns(frame, _METADATA)
    metadata["source"] = [_source(name) for name in lesion]
    metadata["downsampled"] = frame["image"].str.endswith("_downsampled").to_numpy()
    metadata["file"] = [os.path.basename(path) for path in paths]
    return make_bunch(
        ImageFiles(paths, size=size, channels=3, resize=resize),
        return_X_y=return_X_y,
        target=frame["target"].to_numpy(dtype=str),
        metadata=metadata,
        groups=np.array([name or f"image {image}" for name, image in zip(lesion, frame["image"])]),
    )


def _source(lesion):
    """Give the collection a lesion was taken from, which its name begins with."""
    return next((source for source in _SOURCES if lesion and str(lesion).upper().startswith(source)), None)
