"""
Does the network need the lungs?
================================

A classifier of chest radiographs scores well. Does it look at the lungs? We train and test it with the full image,
with nothing but the lungs, and with everything but the lungs.
"""

# %%
# A study in which we know the truth
# ----------------------------------
# Generated radiographs with lung masks. In 95 % of the images with an opacity there is also a chest drain, and in 5 %
# of those without: drains are placed after the diagnosis, so that they predict it.
import matplotlib.pyplot as plt
import numpy as np

from sklearn_shortcuts.datasets import make_chest_phantoms

X, y = make_chest_phantoms(
    400, shortcut="drain", prevalence=0.95, random_state=0, return_X_y=True
)
print(X)

figure, axes = plt.subplots(2, 6, figsize=(9, 3.2), layout="constrained")
for axis_row, label in zip(axes, (0, 1)):
    for axis, row in zip(axis_row, np.flatnonzero(y == label)):
        axis.imshow(X[row], cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
    axis_row[0].set_ylabel(["no opacity", "opacity"][label])

# %%
# The audit
# ---------
# One clone of the network is trained for each masking and fold, and tested on every masking of the left-out patients.
from sklearn_shortcuts import NeuralImageClassifier, RegionSensitivity

network = NeuralImageClassifier(
    max_epochs=10, batch_size=32, normalize="channel", random_state=0
)
audit = RegionSensitivity(
    network,
    maskings=("all", "roi", "background"),
    cv=3,
    region_name="lungs",
    n_jobs=2,
    random_state=0,
)
audit.fit(X, y)
print(audit.verdict_)

# %%
# The matrix says it in figures: rows are what the network was trained on, columns what it was tested on.
from sklearn_shortcuts.audit import RegionSensitivityDisplay

RegionSensitivityDisplay.from_estimator(audit, X)
plt.show()

# %%
# The controls belong to the answer. The outline of the mask (``mask_only``) or its size (``kept_fraction``) can give
# the label away; here they do not, and neither do age and sex (``metadata``).
audit.cells_.query(
    "train in ['mask_only', 'other_mask', 'metadata', 'kept_fraction']"
)[["train", "auc", "low", "high", "pvalue_chance"]].round(3)
