"""HyperKvasir: endoscopic images of the gastrointestinal tract."""

import os
import warnings

import numpy as np
import pandas as pd

from ..images import ImageFiles, MaskFiles
from ._layout import Publication, by_name, check_choice, first_match, list_files, make_bunch, read_table, stem

_PUBLICATION = Publication(
    "HyperKvasir",
    "https://datasets.simula.no/hyper-kvasir/",
    """
hyper-kvasir/
  labeled-images/
    image-labels.csv
    lower-gi-tract/<kind>/<finding>/<name>.jpg
    upper-gi-tract/<kind>/<finding>/<name>.jpg
  segmented-images/            (for subset="segmented")
    images/<name>.jpg
    masks/<name>.jpg
""",
)
_LABELED = ("labeled-images", "hyper-kvasir-labeled-images", "hyper_kvasir_labeled_images", "labeled_images")
_SEGMENTED = ("segmented-images", "hyper-kvasir-segmented-images", "hyper_kvasir_segmented_images")
_TARGETS = ("finding", "kind", "tract", "pathological")


def load_hyperkvasir(
    root,
    *,
    subset="labeled",
    target="finding",
    official_split=None,
    size=(224, 224),
    resize="letterbox",
    on_missing="error",
    return_X_y=False,
):
    """Load the labeled or the segmented endoscopic images of HyperKvasir.

    10,662 labeled images of 23 findings and 1,000 segmented polyps, published under CC BY 4.0 at
    https://datasets.simula.no/hyper-kvasir/ [1]_. Expected folder::

        hyper-kvasir/
          labeled-images/
            image-labels.csv
            lower-gi-tract/<kind>/<finding>/<name>.jpg
            upper-gi-tract/<kind>/<finding>/<name>.jpg
          segmented-images/            (for subset="segmented")
            images/<name>.jpg
            masks/<name>.jpg

    Parameters
    ----------
    root : path-like
        Folder of the data set.
    subset : {"labeled", "segmented"}, default="labeled"
        Images with a finding, or polyps with a mask.
    target : {"finding", "kind", "tract", "pathological"}, default="finding"
        The 23 findings, the 4 kinds (landmarks, pathological findings, quality, treatment), upper or lower tract, or
        1 for pathological findings and 0 for all else.
    official_split : path-like, default=None
        The authors' ``2_fold_split.csv`` or ``5_fold_split.csv``; adds the column ``fold`` to the metadata.
    size : int or (int, int), default=(224, 224)
        Height and width of images and masks in pixels.
    resize : str, default="letterbox"
        How images and masks reach that size, see :class:`~sklearn_shortcuts.images.ImageFiles`.
    on_missing : {"error", "drop"}, default="error"
        What to do with images of ``image-labels.csv`` that have no file: raise, or leave them out with a warning.
    return_X_y : bool, default=False
        Return ``(bunch, target)`` instead of the bunch alone.

    Returns
    -------
    bunch : ImageBunch of shape (n, 3, H, W)
        RGB images, decoded when asked for, with ``metadata`` columns ``finding``, ``kind``, ``tract``,
        ``pathological`` and ``file``; ``masks`` are the polyps of the segmented subset.
    target : ndarray of shape (n,)
        Only with ``return_X_y=True``.

    Raises
    ------
    FileNotFoundError
        If folders, tables or masks are missing.
    ValueError
        If files are not in ``image-labels.csv`` or do not lie where a finding's images belong.

    Notes
    -----
    Patients and videos are not told, so there are no ``groups``, and near-identical frames of one examination may
    lie on both sides of any split. Many images carry the position display of the endoscope (a green box at the
    lower left) or an insertion tube, both of them natural artifacts. Masks are JPEG files: values above 127 are
    inside.

    References
    ----------
    .. [1] H. Borgli et al., "HyperKvasir, a comprehensive multi-class image and video dataset for gastrointestinal
       endoscopy", Scientific Data 7, 283, 2020.

    Examples
    --------
    >>> from sklearn_shortcuts.datasets import load_hyperkvasir
    >>> X, y = load_hyperkvasir("hyper-kvasir", target="pathological", return_X_y=True)  # doctest: +SKIP
    >>> load_hyperkvasir("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: HyperKvasir is not complete in 'no-such-folder' (there is no such folder); looked for...
    """
    check_choice("subset", subset, ("labeled", "segmented"))
    check_choice("target", target, _TARGETS)
    check_choice("on_missing", on_missing, ("error", "drop"))
    frame = _labeled(root, on_missing) if subset == "labeled" else _segmented(root)
    if official_split is not None:
        folds = read_table(official_split, ["file-name", "split-index"], sep=";").set_index("file-name")["split-index"]
        lost = ~frame["file"].isin(folds.index)
        if lost.any():
            raise ValueError(
                f"official_split names no fold for {lost.sum()} of {len(frame)} images, such as "
                f"{frame['file'][lost].iloc[0]}"
            )
        frame["fold"] = frame["file"].map(folds)
    images = ImageFiles(frame["image"].tolist(), size=size, channels=3, resize=resize)
    fields = {}
    if subset == "segmented":
        fields["masks"] = MaskFiles(frame["mask"].tolist(), images.shape[-2:], threshold=128, resize=resize)
    columns = [column for column in (*_TARGETS, "file", "fold") if column in frame]
    values = frame[target].to_numpy()
    return make_bunch(
        images,
        return_X_y=return_X_y,
        target=values if target == "pathological" else values.astype(str),
        metadata=frame[columns],
        **fields,
    )


def _row(path, finding, kind, tract):
    return {
        "image": path,
        "finding": finding,
        "kind": kind,
        "tract": tract,
        "pathological": np.int8(kind == "pathological-findings"),
        "file": os.path.basename(path),
    }


def _labeled(root, on_missing):
    folder, _, _ = _PUBLICATION.locate(
        root,
        labeled_images=_LABELED,
        lower_tract=[f"{name}/lower-gi-tract" for name in _LABELED],
        upper_tract=[f"{name}/upper-gi-tract" for name in _LABELED],
    )
    rows = []
    for tract in ("lower", "upper"):
        for path in list_files(folder / f"{tract}-gi-tract"):
            parts = os.path.relpath(path, folder).split(os.sep)
            if len(parts) != 4:
                raise ValueError(f"{path!r} does not lie in <tract>/<kind>/<finding>/")
            rows.append(_row(path, parts[2], parts[1], tract))
    if not rows:
        raise FileNotFoundError(f"there are no images in {str(folder)!r}\n{_PUBLICATION.advice()}")
    frame = pd.DataFrame(rows)
    table = first_match(folder, "image-labels.csv")
    if table is not None:
        _compare(frame, read_table(table, ["Video file"]), on_missing)
    return frame


def _compare(frame, labels, on_missing):
    """See that the table of labels and the folders hold the same images."""
    named = {stem(str(name).strip()) for name in labels["Video file"]}
    stems = {stem(path) for path in frame["image"]}
    unknown, absent = sorted(stems - named), sorted(named - stems)
    if unknown:
        raise ValueError(f"{len(unknown)} files are not in image-labels.csv, such as {unknown[0]}")
    if absent:
        message = f"{len(absent)} of {len(named)} images of image-labels.csv have no file, such as {absent[0]}"
        if on_missing == "error":
            raise FileNotFoundError(
                f"{message}. Complete the folder, or pass on_missing='drop'.\n{_PUBLICATION.advice()}"
            )
        warnings.warn(f"{message}; these rows are left out", UserWarning, stacklevel=4)


def _segmented(root):
    images, masks = _PUBLICATION.locate(
        root,
        segmented_images=[f"{name}/images" for name in _SEGMENTED],
        segmentation_masks=[f"{name}/masks" for name in _SEGMENTED],
    )
    paths, files = list_files(images), by_name(list_files(masks), stem)
    missing = [path for path in paths if stem(path) not in files]
    if missing or not paths:
        raise FileNotFoundError(
            f"{len(missing)} of {len(paths)} segmented images have no mask"
            f"{f', such as {missing[0]}' if missing else ''}\n{_PUBLICATION.advice()}"
        )
    frame = pd.DataFrame([_row(path, "polyps", "pathological-findings", "lower") for path in paths])
    frame["mask"] = [files[stem(path)] for path in paths]
    return frame
