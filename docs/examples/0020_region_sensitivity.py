"""
A full region audit, read number by number
==========================================

A study with several images per patient, all maskings and controls, and the same study without the shortcut. Every
table and figure below comes from this script.
"""

# %%
# A study with patients
# ---------------------
# 110 generated patients have two radiographs each. Most images of patients with an opacity also show a letter in the
# corner, most others show none: portable machines have their own letter, and serve the sicker patients. Both images of
# a patient share anatomy and label, so the rows are not independent.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_shortcuts.datasets import make_chest_phantoms

settings = {
    "n": 220,
    "images_per_patient": 2,
    "sign_contrast": 0.3,
    "random_state": 1,
}
X, y = make_chest_phantoms(
    **settings, shortcut="marker", prevalence=0.95, return_X_y=True
)
pd.crosstab(X.truth["sign"], X.truth["marker"])

# %%
# Red is the outline of the lung mask, yellow the letter.
figure, axes = plt.subplots(1, 4, figsize=(9, 2.6), layout="constrained")
for axis, row in zip(axes, np.flatnonzero(X.artifact == 1)[:8:2]):
    axis.imshow(X[row], cmap="gray", vmin=0, vmax=1)
    axis.contour(X.masks[row], [0.5], colors="tab:red", linewidths=1)
    axis.contour(X.artifact_masks[row], [0.5], colors="yellow", linewidths=1)
    axis.set(title=X.truth["sign"].iloc[row], xticks=[], yticks=[])

# %%
# What was drawn stands in the table ``truth``, apart from the ``metadata``, which have what a hospital would know. Here
# the hospital also notes which images have a letter.
X = X.with_fields(metadata=X.metadata.assign(marker=X.truth["marker"]))

# %%
# The audit
# ---------
# Five maskings are trained and tested in three folds. Folds keep patients together, because the bunch brings them as
# ``groups``. ``dilations`` adds a curve over the margin of the mask. It needs no further training.
from sklearn_shortcuts import NeuralImageClassifier, RegionSensitivity
from sklearn_shortcuts.neural import SmallCNN

network = NeuralImageClassifier(
    SmallCNN(width=8), max_epochs=10, batch_size=32, lr=3e-3, normalize="channel"
)
audit = RegionSensitivity(
    network,
    cv=3,
    dilations=(-4, -2, 0, 2, 4, 8),
    region_name="lungs",
    n_jobs=2,
    random_state=0,
)
audit.fit(X, y)

# %%
# The verdict is one sentence with the numbers that decide.
print(audit.verdict_)

# %%
# The matrix
# ----------
# Rows of the matrix say what a model was trained on, columns what it was tested on. The diagonal decides: each of these
# models has seen images of its own kind in training.
from sklearn_shortcuts import RegionSensitivityDisplay

RegionSensitivityDisplay.from_estimator(audit, panels=["matrix"])
plt.show()

# %%
# This is what the models saw: one row with a letter, one without.
rows = [np.flatnonzero(X.artifact == present)[0] for present in (1, 0)]
RegionSensitivityDisplay.from_estimator(audit, X, rows=rows, panels=["examples"])
plt.show()

# %%
# The controls
# ------------
# The models of the diagonal (blue), and the controls (orange).
RegionSensitivityDisplay.from_estimator(audit, panels=["controls"])
plt.show()

# %%
# The same as a table. ``pvalue_chance`` tests one-sided whether the AUC is above 0.5. ``difference_from_full`` compares
# a cell with the model that was trained and tested on the full image.
columns = ["auc", "low", "high", "pvalue_chance", "difference_from_full"]
diagonal = audit.cells_.query("train == test").set_index("train")
diagonal[columns].round(3)

# %%
# - ``mask_only`` sees the outline of the mask as a white shape. Every image that was cut out by the mask shows that
#   outline too. Where this control is above chance, the verdict is "shortcut" only if the background model beats it.
# - ``other_mask`` cuts the image with the mask of another row. If it does as well as ``roi``, the place of the mask
#   does not matter.
# - ``metadata`` is a logistic regression on the columns of the table. Here it may read whether there is a
#   letter:
#
print("read:", audit.metadata_columns_)
for column, reason in audit.metadata_left_out_.items():
    print(f"left out: {column} ({reason})")

# %%
# - ``kept_fraction`` knows the size of the mask and nothing else.
#
# Numbers derived from the matrix
# -------------------------------
# - ``excess_no_roi``: AUC above chance of the model that never saw the lungs. The verdict rests on it.
# - ``shortcut_gap``: the full-image model, on the background minus on the lungs.
# - ``roi_necessity``: what the full-image model loses without the lungs.
# - ``roi_sufficiency``: the share of its AUC that it keeps on the lungs alone.
#
# The last three test the full-image model on images unlike those it was trained on. A loss there may come from the
# unusual look of masked images. Only the diagonal tells the two apart.
audit.summary_.round(3)

# %%
# The dilation curve
# ------------------
# The full-image model is tested while the mask grows or shrinks, on all rows (solid), or on the rows of one class only
# (dashed and dotted) while the other class keeps the smallest margin. Without the lungs (orange) this model does not
# care. On the lungs alone (blue) its lines part: the score follows the size of the blank area. Its AUC on lungs alone
# then says little, and the diagonal of the matrix must answer.
RegionSensitivityDisplay.from_estimator(audit, panels=["dilation"])
plt.show()

# %%
# Embeddings
# ----------
# How close do masked images stay to their full images inside the network? Embeddings of different patients are similar
# already (``null_cosine``), so the plain cosine is too optimistic. ``corrected_cosine`` is 0 for the similarity of
# unrelated images and 1 for no change. The map shows the test rows of the first fold.
RegionSensitivityDisplay.from_estimator(audit, panels=["embedding"])
plt.show()

# %%
similarity = audit.embedding_similarity_.xs("all", level="rows")
similarity[["cosine", "null_cosine", "corrected_cosine", "linear_cka"]].round(2)

# %%
# Two images are not two patients
# -------------------------------
# The out-of-fold scores are in ``predictions_``. The opacity belongs to the patient. Lungs only, one fold, with and
# without the knowledge of who is who:
from sklearn_shortcuts.metrics import auc_interval

score = audit.predictions_["roi", "roi", 1].to_numpy()
test = audit.fold_ == 0
for name, groups in (("rows counted", None), ("patients counted", X.groups[test])):
    area = auc_interval(y[test], score[test], groups=groups)
    print(
        f"{name:<17} AUC {area.auc:.3f}, 95 % interval {area.low:.3f} to {area.high:.3f}"
    )

# %%
# The audit counts patients wherever it knows them. It warns when a column of the metadata looks like patients, but no
# ``groups`` were given.
#
# The counterpart without a shortcut
# ----------------------------------
# An audit that always says "shortcut" is of no use. The same patients without letters:
X_plain, y_plain = make_chest_phantoms(**settings, shortcut=None, return_X_y=True)
assert np.array_equal(y, y_plain)
plain = RegionSensitivity(
    network,
    maskings=("all", "roi", "background"),
    controls=("mask_only", "kept_fraction"),
    cv=3,
    region_name="lungs",
    n_jobs=2,
    random_state=0,
)
plain.fit(X_plain, y_plain)
print(plain.verdict_)
RegionSensitivityDisplay.from_estimator(plain, panels=["matrix", "controls"])
plt.show()

# %%
# One pair of studies proves little. :ref:`region_sensitivity_calibration` repeats the pair over many seeds.
#
# Write it up
# -----------
# Report the design, the deciding cell with its interval, the full image, and the controls. Name the verdict as what it
# is: evidence that the label can be read outside the region, in this data, by this network.


def with_interval(name):
    """Write an AUC as it stands in a paper."""
    cell = diagonal.loc[name]
    return f"{cell['auc']:.2f} (95 % CI {cell['low']:.2f}-{cell['high']:.2f})"


p_value = audit.verdicts_["pvalue"].iloc[0]
n_folds, n_patients = audit.fold_.max() + 1, len(np.unique(X.groups))
p_text = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
print(
    f"We trained and tested the network in {n_folds}-fold cross-validation, grouped by "
    f"patient ({len(X)} images, {n_patients} patients), on full images, on the lungs and "
    f"on everything else. The AUC was {with_interval('all')} on full images and "
    f"{with_interval('roi')} on the lungs alone. Without the lungs it was "
    f"{with_interval('background')}, one-sided {p_text} against chance. The mask outline "
    f"alone gave {with_interval('mask_only')}, mask size {with_interval('kept_fraction')}."
)
