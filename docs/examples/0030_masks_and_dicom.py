"""
Read DICOM files and mask them
==============================

From files to masked rows: header fields that may leave the file, intensity windows, masks from several formats, and a
grid search over what the network may see. The slices come with pydicom.
"""

# %%
# Files
# -----
# Nothing is decoded before rows are asked for. ``window="auto"`` takes the intensity window that the file names.
import matplotlib.pyplot as plt
import numpy as np
from pydicom.data import get_testdata_file

from sklearn_shortcuts.images import ImageBunch, ImageFiles, dicom_metadata

names = ["CT_small.dcm", "693_J2KI.dcm", "MR_small.dcm", "examples_overlay.dcm"]
paths = [get_testdata_file(name, download=False) for name in names]
files = ImageFiles(paths, size=(256, 256))
files

# %%
# What the headers may tell
# -------------------------
# Fields on the allow-list become columns. Anything that could identify a person, a place or a time is refused.
headers = dicom_metadata(
    paths, fields=["Modality", "Manufacturer", "Rows", "Columns"]
)
headers.assign(path=names)

# %%
try:
    dicom_metadata(paths, fields=["PatientName"])
except ValueError as error:
    print(error)

# %%
# Masks
# -----
# Boxes, polygons and run lengths become masks of the same kind: 1 inside.
from sklearn_shortcuts.images import (
    boxes_to_masks,
    polygons_to_masks,
    rle_decode,
    rle_encode,
)

box = boxes_to_masks([[(40, 30, 215, 225)]], (256, 256))[0]
outline = [(128, 20), (235, 128), (128, 236), (20, 128)]
diamond = polygons_to_masks([[outline]], (256, 256))[0]
text = rle_encode(diamond, dialect="chexmask")
print(text[:40], "...")
assert np.array_equal(rle_decode(text, (256, 256), dialect="chexmask"), diamond)

# %%
# A bunch of them, masked
# -----------------------
from sklearn_shortcuts import ROIMasker

bunch = ImageBunch(files, masks=[box, diamond, diamond, box])
variants = {
    "image": bunch,
    "region": ROIMasker(keep="roi").fit_transform(bunch),
    "background": ROIMasker(keep="background").fit_transform(bunch),
    "grown by 12 px": ROIMasker(keep="roi", margin=12).fit_transform(bunch),
    "blurred outside": ROIMasker(keep="roi", fill="blur").fit_transform(bunch),
}
figure, axes = plt.subplots(
    len(bunch), len(variants), figsize=(9, 7.4), layout="constrained"
)
for column, (title, variant) in zip(axes.T, variants.items()):
    column[0].set_title(title)
    for axis, image in zip(column, np.asarray(variant)):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
plt.show()

# %%
# In a search
# -----------
# Masks travel inside ``X``, so what the network may see is a parameter like any other.
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_shortcuts import NeuralImageClassifier
from sklearn_shortcuts.datasets import make_chest_phantoms
from sklearn_shortcuts.neural import SmallCNN

X, y = make_chest_phantoms(
    150, size=48, shortcut="drain", random_state=0, return_X_y=True
)
model = make_pipeline(
    ROIMasker(),
    NeuralImageClassifier(SmallCNN(width=8), max_epochs=5, random_state=0),
)
search = GridSearchCV(
    model,
    {"roimasker__keep": ["all", "roi", "background"]},
    cv=2,
    scoring="roc_auc",
)
search.fit(X, y)
for keep, score in zip(
    search.cv_results_["param_roimasker__keep"],
    search.cv_results_["mean_test_score"],
):
    print(f"{keep:<10} {score:.3f}")
