"""The demonstration: the main job on generated radiographs, on bundled DICOM slices and on real studies."""

import os
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from ..audit import RegionSensitivity, RegionSensitivityDisplay
from ..datasets import load_study, make_chest_phantoms
from ..images import ImageBunch, ImageFiles, cache_bunch, dicom_metadata
from ..metrics import auc_interval
from ..neural import NeuralImageClassifier, SmallCNN
from ..preprocessing import ROIMasker

_BUNDLED_SLICES = ("CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm", "MR_small.dcm", "examples_overlay.dcm")
_MASKINGS = ("all", "roi", "background")
_WORDS = {"all": "the full image", "roi": "the lungs only", "background": "everything but the lungs"}


def run_demo(output, *, data=None, quick=False):
    """Run the main job and write pictures and a report.

    Parameters
    ----------
    output : path-like
        Folder to write to; made if it is not there.
    data : path-like, default=None
        Folder of real studies; by default what ``SKLEARN_SHORTCUTS_DATA`` names, if anything.
    quick : bool, default=False
        Fewer images and epochs.
    """
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    data = data or os.environ.get("SKLEARN_SHORTCUTS_DATA") or None
    jobs = [("Generated chest radiographs with a drain", lambda: _generated(output, quick))]
    jobs.append(("Real CT and MR slices that come with pydicom", lambda: _bundled_slices(output)))
    if data is not None and (Path(data) / "cxr_age").is_dir():
        jobs.append(("Real chest radiographs of children and adults", lambda: _radiographs(Path(data), output, quick)))
    report = ["# Does the network need the region it should look at?"]
    for title, job in jobs:
        print(f"\n{title}", flush=True)
        started = time.perf_counter()
        lines = job()
        print("\n".join(lines))
        print(f"({time.perf_counter() - started:.0f} seconds)")
        report += ["", f"## {title}", "", *lines]
    (output / "report.md").write_text("\n".join(report) + "\n", encoding="utf-8")
    print(f"\nPictures and report.md are in {output}")


def _generated(output, quick):
    bunch, y = make_chest_phantoms(
        200 if quick else 400, size=64, shortcut="drain", prevalence=0.95, random_state=0, return_X_y=True
    )
    audit = _audit(epochs=4 if quick else 10).fit(bunch, y)
    _save(RegionSensitivityDisplay.from_estimator(audit, bunch), output / "generated_radiographs.png")
    return ["![matrix and examples](generated_radiographs.png)", "", *_table(audit), "", audit.verdict_]


def _audit(epochs):
    network = NeuralImageClassifier(SmallCNN(), max_epochs=epochs, batch_size=32, normalize="channel", random_state=0)
    return RegionSensitivity(network, maskings=_MASKINGS, cv=3, region_name="lungs", n_jobs=2, random_state=0)


def _table(audit):
    """The matrix as lines of text: rows say what the network was trained on."""
    frame = audit.matrix_.copy()
    return ["AUC (rows: trained on, columns: tested on)", "", *frame.round(3).to_string().splitlines()]


def _save(display, path):
    display.figure_.savefig(path, dpi=110, bbox_inches="tight")


def _bundled_slices(output):
    import matplotlib.pyplot as plt
    from pydicom.data import get_testdata_file

    paths = [get_testdata_file(name, download=False) for name in _BUNDLED_SLICES]
    found = [path for path in paths if path is not None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these are pydicom's own test files: some headers are odd on purpose
        table = dicom_metadata(found, fields=["Modality", "Rows", "Columns", "TransferSyntaxUID"])
        images = np.asarray(ImageFiles(found, size=(256, 256), window="auto"))
    bunch = ImageBunch(images, masks=np.stack([_bright_structure(image) for image in images]), metadata=table)
    inside = np.asarray(ROIMasker(keep="roi").fit_transform(bunch))
    outside = np.asarray(ROIMasker(keep="background", margin=4).fit_transform(bunch))
    figure, axes = plt.subplots(3, len(found), figsize=(2.2 * len(found), 6.8), layout="constrained")
    for axis_row, name, rows in zip(
        axes, ("decoded", "structure only", "without the structure"), (images, inside, outside)
    ):
        for axis, image in zip(axis_row, rows):
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        axis_row[0].set_ylabel(name)
    for axis, modality in zip(axes[0], table["Modality"]):
        axis.set_title(modality)
    figure.savefig(output / "dicom_slices.png", dpi=110)
    plt.close(figure)
    share = bunch.masks.reshape(len(bunch), -1).mean(axis=1)
    counts = ", ".join(f"{count} {modality}" for modality, count in table["Modality"].value_counts().items())
    sentence = (
        f"{len(found)} real slices ({counts}) were decoded and masked: the largest bright structure covers "
        f"{share.min():.0%} to {share.max():.0%} of the image, and nothing that identifies a patient left the headers."
    )
    return ["![slices](dicom_slices.png)", "", sentence]


def _bright_structure(image):
    """Segment the largest bright structure, without its holes."""
    import cv2
    from scipy.ndimage import binary_fill_holes, label

    gray = np.round(image * 255).astype(np.uint8)
    _, bright = cv2.threshold(cv2.GaussianBlur(gray, (5, 5), 0), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    labels, n_labels = label(bright)
    if n_labels == 0:
        return np.zeros(image.shape, dtype=bool)
    largest = 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return binary_fill_holes(labels == largest)


def _radiographs(data, output, quick):
    study = load_study(
        data / "cxr_age",
        masks=("mask", "mask_pred"),
        mask_threshold=200,
        groups="patient_id",
        size=64,
        resize="stretch",  # the margins of a letterbox would be one more shortcut: the sources differ in proportions
    )
    trained = _pick(study, [("pneumonia", "kermany", "pediatric"), ("normal", "nih_cxr14", "adult")])
    flipped = _pick(study, [("normal", "kermany", "pediatric"), ("pneumonia", "nih_cxr14", "adult")])
    flipped = flipped[~np.isin(study.groups[flipped], study.groups[trained])]  # no patient on both sides
    if quick:
        trained, flipped = trained[::4], flipped[::4]
    X, X_flipped = cache_bunch(study[trained]), cache_bunch(study[flipped])
    y, y_flipped = np.asarray(X.target), np.asarray(X_flipped.target)
    # No metadata control: every column of this table is known for one of the two hospitals only.
    audit = _audit(epochs=3 if quick else 8).set_params(controls=("mask_only", "other_mask", "kept_fraction"))
    audit.fit(X, y)
    _save(RegionSensitivityDisplay.from_estimator(audit, X), output / "real_radiographs.png")

    lines = [
        "![matrix and examples](real_radiographs.png)",
        "",
        f"Trained on pneumonia of children ({np.sum(y == 'pneumonia')} images) against normal images of adults "
        f"({np.sum(y == 'normal')}); flipped: normal children ({np.sum(y_flipped == 'normal')}) against adults with "
        f"pneumonia ({np.sum(y_flipped == 'pneumonia')}). {_mask_origin(X)}",
        "",
        *_table(audit),
        "",
        audit.verdict_,
        "",
    ]
    areas = {}
    for keep in _MASKINGS:
        model = clone(make_pipeline(ROIMasker(keep=keep), audit.estimator)).fit(X, y)
        score = model.predict_proba(X_flipped)[:, list(model.classes_).index("pneumonia")]
        areas[keep] = auc_interval(y_flipped == "pneumonia", score, groups=X_flipped.groups)
    inside = audit.cells_.query("train == test").set_index("train")
    for keep, flipped_area in areas.items():
        cell = inside.loc[keep]
        like_trained = f"{cell['auc']:.3f} (95 % interval {cell['low']:.3f} to {cell['high']:.3f})"
        on_flipped = f"{flipped_area.auc:.3f} ({flipped_area.low:.3f} to {flipped_area.high:.3f})"
        lines.append(
            f"- trained and tested on {_WORDS[keep]}: AUC {like_trained} on patients like those it was trained on, "
            f"{on_flipped} on the flipped groups"
        )
    return lines


def _mask_origin(bunch):
    counts = bunch.metadata.groupby("label")["mask_column"].value_counts()
    names = {"mask": "drawn by people", "mask_pred": "predicted by a network"}
    parts = [f"{count} lung masks of {label} images were {names[column]}" for (label, column), count in counts.items()]
    return "; ".join(parts) + "."


def _pick(study, wanted):
    """Rows of the label, source and age group wanted that have a lung mask."""
    table = study.metadata
    rows = np.zeros(len(table), dtype=bool)
    for label, source, age in wanted:
        rows |= ((table["label"] == label) & (table["source"] == source) & (table["age_group"] == age)).to_numpy()
    return np.flatnonzero(rows & study.has_mask)
