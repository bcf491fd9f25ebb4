"""
Reveal to revise: find a concept, show it, remove it, prove it
==============================================================

Nobody has said that there is an artifact. The network's own activations tell, ten confirmed rows are enough to find the
others, and the network is repaired in several ways that one table compares.
"""

# %%
# The study
# ---------
# Generated radiographs. Half of those with opacities carry a burnt-in date, none of the others does. Test rows come
# twice: without a date, and all with one.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_shortcuts import NeuralImageClassifier
from sklearn_shortcuts.datasets import ArtifactInjector, make_chest_phantoms
from sklearn_shortcuts.neural import SmallCNN

rows = make_chest_phantoms(1000, size=48, sign_contrast=0.3, random_state=0)
injector = ArtifactInjector(
    "timestamp", probability={0: 0.0, 1: 0.5}, scale=2, random_state=0
)
train = injector.inject(rows[:600], rows.target[:600])
clean = rows[600:]
attacked = injector.attack(clean)

network = NeuralImageClassifier(
    SmallCNN(width=8),
    max_epochs=15,
    lr=3e-3,
    batch_size=32,
    normalize="channel",
    random_state=0,
).fit(train)
for name, copy in {"without": clean, "with": attacked}.items():
    print(f"accuracy {name} the date: {network.score(copy, clean.target):.3f}")

# %%
# Find: rows
# ----------
# A spectral analysis of what a layer holds, class by class, without any knowledge of dates. The last column is known
# here only because the radiographs are generated.
from sklearn_shortcuts.audit import (
    SpectralRelevanceAnalysis,
    SpectralRelevanceDisplay,
)
from sklearn_shortcuts.latent import LayerFeatures

LAYER = "features.2"
features = LayerFeatures(network, LAYER, pool="max").set_output(transform="pandas")
activations = features.fit_transform(train)
analysis = SpectralRelevanceAnalysis(random_state=0).fit(activations, train.target)
share = pd.Series(train.artifact).groupby(analysis.labels_).mean()
clusters = analysis.clusters_
clusters.assign(with_date=share.reindex(clusters["cluster"]).to_numpy()).round(2)

# %%
SpectralRelevanceDisplay.from_estimator(analysis, target=1)
plt.show()

# %%
# Find: channels
# --------------
# The same question asked of channels: which behave unlike the others? Below is what excites the first three most.
from sklearn_shortcuts.audit import NeuronOutlierDetector, ReferenceSamplesDisplay

detector = NeuronOutlierDetector().fit(activations)
ReferenceSamplesDisplay.from_estimator(
    network, train, LAYER, channels=detector.ranking_[:3], k=6, crop=False
)
plt.show()

# %%
# A ranking is where to look first, not an answer: whoever looks at the pictures decides what is an artifact.

# %%
# Confirm, and retrieve the rest
# ------------------------------
# A person has confirmed ten rows. The annotator asks for fifty more at a time. Here the truth answers; in a study a
# person does, on the sheet that ``annotator.write_sheet`` writes and ``teach_from_sheet`` reads.
from sklearn_shortcuts.review import ConceptAnnotator

truth = train.artifact.astype(int)
seeds = np.full(len(train), -1)
seeds[np.flatnonzero(truth)[:10]] = 1
annotator = ConceptAnnotator(random_state=0).fit(activations, seeds)
annotator.run(lambda asked: truth[asked], max_rounds=5)
annotator.history_[
    ["strategy", "n_asked", "n_positive", "precision", "total_positive"]
].round(2)

# %%
# Against the truth:
annotator.evaluate(truth).round(3)

# %%
# Show
# ----
# From here on the labels are those of the annotator. The localizer fits a vector by them and propagates it back to the
# pixels.
from sklearn_shortcuts.latent import ConceptLocalizer, ConceptVector

found = train.with_fields(artifact=annotator.transduction_)
localizer = ConceptLocalizer(
    network, ConceptVector("svm", C=0.01), layer=LAYER, method="lrp"
).fit(found)
heat, outlines = localizer.transform(found), localizer.predict(found)

figure, axes = plt.subplots(2, 5, figsize=(9, 3.8), layout="constrained")
for column, row in zip(axes.T, np.flatnonzero(found.artifact == 1)):
    column[0].imshow(found[row], cmap="gray", vmin=0, vmax=1)
    column[0].contour(outlines[row], levels=[0.5], colors="tab:orange")
    column[1].imshow(heat[row], cmap="magma")
    for axis in column:
        axis.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("mask")
axes[1, 0].set_ylabel("heat map")
plt.show()

# %%
# Good enough to say what it is, not to say where it ends: intersection over union with the true masks, and the share of
# rows that get a mask.
dated = train.artifact == 1
print(f"IoU: {localizer.score(train):.2f}")
for name, some in {"with": dated, "without": ~dated}.items():
    print(
        f"masks on rows {name} the date: {outlines[some].any(axis=(1, 2)).mean():.0%}"
    )

# %%
# Repair
# ------
# The vector is fitted within class 1: over all rows it would also be the direction of the diagnosis, which goes with
# the date. All repairs start from the same network. ``lambda = 0`` trains the layers behind the concept on without any
# penalty; it is what a correction must be compared with. At ``features.2`` an edit is the same at all positions, but
# the head of this network reads each cell of a coarse grid with weights of its own; "last" is the input of the head,
# where every cell is a feature. ``localized masks`` trains the whole network on with exchanged regions.
from sklearn.frozen import FrozenEstimator

from sklearn_shortcuts import ExplanationRegularizedClassifier
from sklearn_shortcuts.mitigation import PClArC, RRClArCClassifier

fitted = FrozenEstimator(network)
direction = ConceptVector("pattern", scope=1)
trained = {"layer": "last", "concept": direction, "refine_epochs": 5}
masked = found.with_fields(artifact_masks=outlines)
models = {
    "before": network,
    "P-ClArC, earlier": PClArC(fitted, LAYER, concept=direction),
    "P-ClArC": PClArC(fitted, "last", concept=direction),
    "reactive P-ClArC": PClArC(
        fitted, "last", concept=direction, condition="concept", random_state=0
    ),
    "lambda = 0": RRClArCClassifier(fitted, lambda_=0, **trained),
    "RR-ClArC": RRClArCClassifier(fitted, lambda_=10, **trained),
    "localized masks": ExplanationRegularizedClassifier(
        warm_start_from=network, mask_field="artifact_masks", refine_epochs=5
    ),
}
for name, model in models.items():
    if name != "before":
        model.fit(masked)

# %%
# Prove
# -----
# One table, on rows that no network has seen, without and with the date. TCAV looks at the vector of the last layer.
from sklearn_shortcuts.audit import ShortcutReportDisplay, shortcut_report

last = LayerFeatures(network, "last").fit_transform(found)
head_concept = ConceptVector("pattern", scope=1, layer="last")
head_concept.fit(last, found.artifact, target=found.target)
report = shortcut_report(
    models,
    clean,
    X_clean=clean,
    X_attacked=attacked,
    artifact=np.zeros(len(clean), dtype=int),
    baseline="before",
    concept=head_concept,
    target_class=1,
    n_resamples=500,
    random_state=0,
)
measures = ["accuracy_clean", "accuracy_attacked", "gap", "flip_rate", "recovery"]
report[[*measures, "tcav"]].round(3)

# %%
ShortcutReportDisplay.from_report(
    report, panels=["accuracy", "flip_rate", "recovery"]
)
plt.show()

# %%
# TCAV of one model with its uncertainty: the share of rows whose score of class 1 grows along the concept.
from sklearn_shortcuts.audit import tcav_score

for name in ("before", "RR-ClArC"):
    score = tcav_score(models[name], attacked, head_concept, 1)
    print(f"{name}: TCAV {score.value:.2f}, mean derivative {score.magnitude:.3g}")

# %%
# Read the columns together. A repair is one if the attacked accuracy rises, the clean one does not fall, and both are
# better than with ``lambda = 0``. Maps or TCAV alone do not tell that: see what the edits of the last layer leave of
# the gap, though its TCAV is 0.5, which stands for no influence. This is one seed and one network; the user guide
# (:doc:`/user_guide/concepts`) has more of both, and says which repair to try when.
#
# Layers were chosen for this story by looking at these very test rows, so the figures flatter the repairs. In a study,
# choose on validation rows without and with the artifact, and report others.
