"""
Hard, or mislabeled?
====================

Rows against a shortcut are hard for a network, and so are rows with a wrong label. The first ought to count more, the
second not at all. Scores from training do not tell them apart; a model that cannot see the shortcut does, in part.
"""

# %%
# A study with wrong labels
# -------------------------
# Generated radiographs of 500 patients, two of each. A chest tube goes with the disease, and 6 % of the patients have
# the wrong label. A healthy patient without a tube who is labeled ill looks, to a network that knows tubes and labels
# only, like an ill one who has none.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_shortcuts.datasets import make_chest_phantoms


def draw(n, prevalence, images_per_patient, seed):
    """Generate radiographs with chest tubes."""
    return make_chest_phantoms(
        n,
        size=32,
        sign_contrast=(0.7, 0.5, 0.3),
        shortcut={"drain": {"strength": 2.0, "scale": 1.5}},
        prevalence=prevalence,
        images_per_patient=images_per_patient,
        random_state=seed,
    )


true = draw(1000, {0: 0.05, 1: 0.9}, images_per_patient=2, seed=0)
patients = np.unique(true.groups)
rng = np.random.default_rng(0)
wrong = rng.choice(patients, size=round(0.06 * len(patients)), replace=False)
flipped = np.isin(true.groups, wrong)
X = true.with_fields(target=np.where(flipped, 1 - true.target, true.target))

kind = np.full(len(X), "ordinary", dtype=object)
kind[true.artifact != true.target] = "against the tube"
kind[flipped] = "wrong label"
pd.Series(kind).value_counts()

# %%
# Both are hard
# -------------
from sklearn_shortcuts import BAMHardSampleMiner, NeuralImageClassifier
from sklearn_shortcuts.audit import HardSampleDisplay
from sklearn_shortcuts.neural import SmallCNN

network = NeuralImageClassifier(
    SmallCNN(width=8, depth=2),
    max_epochs=20,
    batch_size=64,
    optimizer="sgd",
    lr=0.01,
    normalize="channel",
    random_state=0,
)
miner = BAMHardSampleMiner(
    network, amplification=0.4, stage_two_epochs=0, vog_checkpoints=5
)
miner.fit(X)
display = HardSampleDisplay.from_table(miner.sample_table_.assign(bucket=kind))
display.axes_["buckets"].set_xlabel("what it is, and its number of rows")
plt.show()

# %%
# Areas under ROC curves tell how well scores separate two kinds: 1 is perfect, 0.5 is chance. Both kinds are far from
# ordinary rows. Wrong labels tend to have the larger scores of the two, so that whoever weights up the hardest rows
# weights up mistakes first. Not every score is large for them: the
# variability of the probability and the variance of gradients (``vog``) find neither kind here.
from sklearn.metrics import roc_auc_score


def separate(scores, first, second):
    """Area under the ROC curve of scores between two kinds of rows."""
    rows = np.isin(kind, [first, second])
    return roc_auc_score(kind[rows] == first, np.asarray(scores)[rows])


pairs = [
    ("wrong label", "ordinary"),
    ("against the tube", "ordinary"),
    ("wrong label", "against the tube"),
]
scores = miner.sample_table_[
    ["aux", "loss", "el2n", "aum", "prototypicality", "variability", "vog"]
]
pd.DataFrame(
    {
        f"{a} / {b}": {name: separate(scores[name], a, b) for name in scores}
        for a, b in pairs
    }
).round(2)

# %%
# Ask a model that has not seen the row
# -------------------------------------
# :func:`~sklearn_shortcuts.mitigation.label_quality` trains on some patients and judges the labels of others. But a
# model that goes by tubes disbelieves the right label of a patient without one. So a second judge gets images without
# tubes.
#
# Cutting them out is not enough, because the hole tells where there was a tube. Every image gets two holes in the shape
# of tubes: its own, if it has one, and those of other images.
from sklearn.pipeline import make_pipeline

from sklearn_shortcuts import ROIMasker
from sklearn_shortcuts.mitigation import label_quality

tubes = np.asarray(X.artifact_masks)
own = np.flatnonzero(tubes.any(axis=(1, 2)))
holes = tubes.copy()
without = np.setdiff1d(np.arange(len(X)), own)
holes[without] = tubes[rng.choice(own, len(without))]
holes |= tubes[rng.choice(own, len(X))]

blind = make_pipeline(ROIMasker(keep="background"), network)
some = [own[0], own[1], without[0], without[1]]
figure, axes = plt.subplots(1, 8, figsize=(9.5, 1.5), layout="constrained")
shown = blind[0].fit_transform(X.with_fields(masks=holes)[some])
for number, row in enumerate(some):
    for axis, image in zip(axes[2 * number :], (X[row], shown[number])):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
    axes[2 * number].set_title("tube" if row in own else "no tube", fontsize=9)
plt.show()

# %%
quality = {
    "all of the image": label_quality(network, X, cv=4, random_state=0),
    "without tubes": label_quality(
        blind, X.with_fields(masks=holes), cv=4, random_state=0
    ),
}

# %%
# What the judges doubt, by kind:
doubts = {name: table["label_issue"].to_numpy() for name, table in quality.items()}
pd.DataFrame(
    {name: pd.Series(kind[doubt]).value_counts() for name, doubt in doubts.items()}
).fillna(0).astype(int)

# %%
# The judge that sees tubes finds most wrong labels, and with them doubts right labels of rows against the tube. The
# other one leaves these alone; but holes hide some of the opacities, so that it doubts ordinary rows and finds fewer
# wrong labels. Ordinary rows are not hard. What is hard *and* doubted by it is almost always wrong:
from sklearn.metrics import precision_score, recall_score

summary = {}
for name, doubt in doubts.items():
    for which, rows in (
        ("doubted", doubt),
        ("hard, doubted", doubt & miner.hard_mask_),
    ):
        summary[f"{which}, {name}"] = {
            "precision": precision_score(flipped, rows),
            "recall": recall_score(flipped, rows),
            "share of rows against the tube": rows[
                kind == "against the tube"
            ].mean(),
        }
pd.DataFrame(summary).T.round(2)

# %%
# Without a threshold, the same: areas between wrong labels and rows against the tube, from what each judge believes of
# the label.
pd.Series(
    {
        name: separate(-table["self_confidence"], "wrong label", "against the tube")
        for name, table in quality.items()
    }
).round(2)

# %%
# Train without the doubted rows
# ------------------------------
# Two selectors in a row: the first leaves out what is hard and doubted, the second weights up what else is hard. They
# read columns of the metadata, which go with the rows into the folds of a search.
#
# *Nothing left out* weights up wrong labels as well. *All hard rows left out* is what data are often cleaned by.
# *Wrong labels left out* cannot be had outside of this page, where nobody knows them. *Plain* neither leaves out nor
# weights. Test rows have right labels, and tubes that tell nothing.
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sklearn_shortcuts.metrics import make_subgroups, subgroup_scores
from sklearn_shortcuts.mitigation import HardSampleSelector

hard = miner.hard_mask_
left_out = {
    "nothing left out": np.zeros(len(X), dtype=bool),
    "left out: hard, doubted, all of the image": hard & doubts["all of the image"],
    "left out: hard, doubted, without tubes": hard & doubts["without tubes"],
    "wrong labels left out": flipped,
    "all hard rows left out": hard,
}
pipeline = Pipeline(
    [
        ("doubts", HardSampleSelector("doubtful", upweight=0)),
        ("hard", HardSampleSelector("hard", upweight=10)),
        ("network", network),
    ]
)
for step in ("doubts", "hard"):
    pipeline.set_params(
        **{f"{step}__selection": "threshold", f"{step}__threshold": 1}
    )
pipeline.set_params(network__max_epochs=30)

test = draw(800, 0.5, images_per_patient=1, seed=1)
tube = np.where(test.artifact == 1, "tube", "no tube")
subgroups = make_subgroups(np.where(test.target == 1, "ill", "healthy"), tube)
accuracies, areas = {}, {}
for name in ("plain", *left_out):
    rows = left_out.get(name, np.zeros(len(X), dtype=bool))
    table = X.metadata.assign(doubtful=rows * 1.0, hard=hard * 1.0)
    skipped = {
        "doubts": not rows.any(),
        "hard": name in ("plain", "all hard rows left out"),
    }
    steps = {step: "passthrough" for step, skip in skipped.items() if skip}
    model = clone(pipeline).set_params(**steps).fit(X.with_fields(metadata=table))
    by_group = subgroup_scores(
        test.target, model.predict(test), subgroups=subgroups
    )
    by_tube = subgroup_scores(
        test.target, subgroups=tube, y_score=model.predict_proba(test)[:, 1]
    )
    accuracies[name], areas[name] = by_group["accuracy"], by_tube["auc"]
pd.DataFrame(accuracies).T.round(2)

# %%
# Areas under the curve of the rows with and of those without a tube:
pd.DataFrame(areas).T.round(3)

# %%
# In plain words:
#
# - Leaving out all hard rows cleans the minority away. What remains agrees with the tube in nearly every row, and so
#   does the network.
# - Weighting up all hard rows makes wrong labels count ten times. The areas fall below those of the plain network.
# - Leaving out what is hard and doubted repairs most of this, even though many wrong labels stay. If the judge sees
#   tubes, the ones left out are also those that were needed: healthy patients with a tube fare worse than if nothing is
#   left out.
# - At one fixed weight, accuracies also depend on how many rows have it. With all wrong labels left out fewer rows are
#   weighted up, the areas are large, and the threshold still leans to the tube. Choose the weight by a search, as in
#   :ref:`sphx_glr_gallery_0070_chest_tubes.py`.
#
# A list of doubted labels is for looking at. Whoever can look at 40 radiographs, should, before a program drops them.
