"""
Which recorder? Probe signals, and a study of your own
======================================================

Scanners are not the only thing that leaves a trace. The same probe takes any column that says how rows were acquired,
and signals as well as images: here the recorder of electrocardiograms.
"""

# %%
# Two recorders
# -------------
# Generated electrocardiograms. One recorder lets some hum of the mains through; it stands in the ward, where four of
# five patients have the infarction that is to be recognized. The column ``recorder`` is what a table of a hospital has.
import matplotlib.pyplot as plt
import numpy as np

from sklearn_shortcuts.datasets import make_ecg

study = make_ecg(
    300,
    n_leads=3,
    length=500,
    shortcut={"mains_hum": {"strength": 0.5}},
    prevalence=0.8,
    random_state=0,
)
recorder = np.where(study.artifact == 1, "ward", "clinic")
study = study.with_fields(metadata=study.metadata.assign(recorder=recorder))

figure, axes = plt.subplots(1, 2, figsize=(8, 2), sharey=True, layout="constrained")
for axis, name in zip(axes, ("clinic", "ward")):
    axis.plot(study[np.flatnonzero(recorder == name)[0]][1, :200], linewidth=0.8)
    axis.set(title=name, xlabel="sample")
axes[0].set_ylabel("lead II")
plt.show()

# %%
# Probe
# -----
from sklearn_shortcuts import AcquisitionProbe
from sklearn_shortcuts.audit import AcquisitionProbeDisplay

probe = AcquisitionProbe(n_permutations=129, random_state=0)
probe.fit(study, "recorder", covariates="heart_rate")
print(probe.verdict_)

# %%
probe.scores_[
    [
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "auc",
        "auc_low",
        "auc_high",
        "pvalue",
    ]
].round(2)

# %%
# Noise and spectrum give the recorder away, not the beats: families alone, and what is lost without them.
probe.evidence_.round(2)

# %%
AcquisitionProbeDisplay.from_estimator(probe)
plt.show()

# %%
# What goes with the label is a hazard; what does not is only a property of the data. As a control, recorders that were
# dealt out at random are not told:
control = AcquisitionProbe(n_permutations=19, evidence=False, random_state=0)
control.fit(study, np.random.default_rng(0).permutation(recorder))
control.scores_[["auc", "auc_low", "auc_high", "pvalue"]].round(2)

# %%
# Real studies
# ------------
# For files on disk nothing changes but the first line:
#
# .. code-block:: python
#
#    study = load_study("my_study", size=128)  # a folder with images and metadata.csv
#    AcquisitionProbe().fit(study, "view", covariates=["age", "sex"], groups=study.groups)
#
# The user guide has what this finds in real data (:doc:`/user_guide/acquisition`): the hospital of radiographs, their
# view, minors among adults, and the recorder in PTB-XL; and what balancing did to a network that had learned the
# hospital. ``docs/make_acquisition_study.py`` is the script behind these tables.
