"""
What saliency maps show, and what they do not
=============================================

A network that decides by a chest drain, and nine ways of asking where it looks. The maps differ; what the network needs
does not.
"""

# %%
# A network that reads the drain
# ------------------------------
# 95 % of the generated radiographs with an opacity have a drain, and 5 % of those without. ``twins=True`` gives every
# image without its drain too, so that we know what the drain does.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_shortcuts import NeuralImageClassifier
from sklearn_shortcuts.datasets import make_chest_phantoms
from sklearn_shortcuts.neural import SmallCNN

X, y = make_chest_phantoms(
    300, size=48, shortcut="drain", random_state=0, return_X_y=True
)
network = NeuralImageClassifier(
    SmallCNN(width=8),
    max_epochs=12,
    batch_size=32,
    lr=3e-3,
    normalize="channel",
    random_state=0,
).fit(X, y)

# %%
# In the test rows, drains have nothing to do with the opacity.
test = make_chest_phantoms(
    120, size=48, shortcut="drain", prevalence=0.5, twins=True, random_state=1
)
rows = test[test.artifact == 1]
print(f"accuracy: {network.score(test, test.target):.2f}")

without_drain = network.predict(rows.get("twin"))
flips = np.mean(network.predict(rows) != without_drain)
print(f"predictions that change when the drain is taken away: {flips:.0%}")

# %%
# The maps
# --------
# Every method explains the score of the class "opacity" (``target=1``). Each map is divided by its own largest value.
# The outline is the drain. Red speaks for an opacity, blue against it; methods that show evidence *for* a class only
# go from dark to bright.
from sklearn_shortcuts.explain import SaliencyDisplay

shown = rows.with_fields(masks=rows.artifact_masks)
with_both = np.flatnonzero(rows.target == 1)[:2]
drain_only = np.flatnonzero(rows.target == 0)[:1]
examples = [*with_both, *drain_only]

SaliencyDisplay.from_estimator(
    network,
    shown,
    ["grad_cam", "grad_cam_plus_plus", "hires_cam", "occlusion"],
    target=1,
    rows=examples,
)
plt.show()

# %%
SaliencyDisplay.from_estimator(
    network,
    shown,
    ["input_gradients", "smooth_grad", "integrated_gradients", "relevance"],
    target=1,
    rows=examples,
    clip=0.995,
)
plt.show()

# %%
# Shapley values of rectangles cost hundreds of forward passes per row. Two rows will do.
from sklearn_shortcuts.explain import shap_values

maps = shap_values(network, shown[examples[:2]], target=1, max_evals=300)
SaliencyDisplay.from_maps(shown[examples[:2]], {"shap_values": maps}, clip=0.995)
plt.show()

# %%
# Numbers beside the pictures
# ---------------------------
# Pictures of three rows prove nothing. ``artifact_relevance`` is the share of a map that lies on the drain. Its level
# by chance is the area of the drain: 1 in the column *times chance* is what a map gets that knows nothing.
# ``activation_precision`` is the share of the brightest 5 % of the pixels that lies in the lungs.
from sklearn_shortcuts import explain
from sklearn_shortcuts.metrics import activation_precision, artifact_relevance

methods = {
    "grad_cam": {},
    "grad_cam_plus_plus": {},
    "hires_cam": {},
    "input_gradients": {},
    "smooth_grad": {"random_state": 0},
    "integrated_gradients": {},
    "relevance": {},
    "occlusion": {},
}
records = {}
for name, options in methods.items():
    maps = getattr(explain, name)(network, rows, target=1, **options)
    drain = artifact_relevance(maps, rows.artifact_masks)
    lungs = activation_precision(maps, rows.masks)
    records[name] = {
        "share on the drain": drain.value,
        "times chance": drain.ratio,
        "zero maps": drain.n_zero,
        "precision in the lungs": lungs.value,
        "its chance": lungs.chance,
    }
pd.DataFrame(records).T.round(2)

# %%
# The prediction hangs on the drain, and Grad-CAM puts nine tenths of its map elsewhere, in the pictures even into a
# corner without anything. Part of that is its resolution: a cell of its map is 8 pixels wide, the drain three. The
# other part is that it averages the gradient of every channel over the image. This network reads its last map on a
# grid whose cells have weights of their own, and their average says little about any of them. ``hires_cam`` keeps the
# gradient of each cell; ``integrated_gradients`` goes down to the pixels. ``occlusion`` errs in another way: a gray
# window over the bright abdomen is a sight of its own, and the network responds to it.
#
# Look at the lungs as well: precision there is above chance with several methods, as a reader would wish. It means
# nothing here. The network cannot tell an opacity without a drain:
subgroup = test.truth["subgroup"]
pd.Series(
    {
        name: network.score(test[mask], test.target[mask])
        for name in sorted(subgroup.unique())
        for mask in [(subgroup == name).to_numpy()]
    },
    name="accuracy",
).round(2)

# %%
# Shares that add up
# ------------------
# If the regions are known, no map is needed. :func:`~sklearn_shortcuts.explain.region_shapley` shares out what the
# image adds to the score among them: here the drain, the lungs around it, and the rest. Regions are shown and hidden in
# all combinations, so it is exact.
from sklearn_shortcuts.explain import region_shapley

drain, lungs = rows.artifact_masks.astype(bool), rows.masks.astype(bool)
regions = {
    "drain": drain,
    "lungs": lungs & ~drain,
    "rest": ~lungs & ~drain,
}
shares = region_shapley(network, rows, regions, target=1)
added = shares.values.assign(sum=shares.score - shares.base)
added.agg(["mean", "std"]).T.round(2)

# %%
# Hidden regions show the mean of the visible pixels, which no radiograph does: compare another ``fill`` before you
# quote such a number.
#
# What decides is the network's answer to changed images: here the twins, with real images
# :func:`~sklearn_shortcuts.metrics.region_swap_accuracy` and its kin. Maps suggest where to look for a shortcut. That a
# map is clean proves nothing.
