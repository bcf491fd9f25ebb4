"""
How strong should a penalty be?
===============================

A penalty on looking at the wrong place has a strength, ``lambda_``. Cross-validated accuracy cannot choose it, because
the held-out rows have the shortcut too. A score on rows whose wrong regions were exchanged can.
"""

# %%
# Digits with a decoy
# -------------------
# The digits of scikit-learn with noise, in a larger frame. In the corner there is a gray patch whose brightness tells
# the digit. The masks say where it is.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from sklearn_shortcuts import ImageBunch

digits, y = load_digits(return_X_y=True)
rng = np.random.default_rng(0)


def make_rows(rows, told):
    """Put digits into a frame, and a patch that tells a class into its corner."""
    images = np.zeros((len(rows), 16, 16), dtype=np.float32)
    images[:, 4:12, 4:12] = digits[rows].reshape(-1, 8, 8) / 16
    images = np.clip(images + rng.normal(0, 0.25, images.shape), 0, 1)
    masks = np.zeros(images.shape, dtype=bool)
    masks[:, :3, :3] = True
    shade = (1 - 0.1 * told).astype(np.float32)
    images = np.where(masks, shade[:, None, None], images.astype(np.float32))
    return ImageBunch(images, target=y[rows], masks=masks)


order = rng.permutation(len(y))
train, rest = order[:600], order[600:]
X = make_rows(train, told=y[train])
same = make_rows(rest, told=y[rest])
random_patch = make_rows(rest, told=rng.integers(0, 10, len(rest)))

figure, axes = plt.subplots(1, 10, figsize=(9, 1.3), layout="constrained")
for digit, axis in enumerate(axes):
    first = np.flatnonzero(X.target == digit)[0]
    axis.imshow(X[first], cmap="gray", vmin=0, vmax=1)
    axis.set(title=digit, xticks=[], yticks=[])
plt.show()

# %%
# The search
# ----------
# Every candidate refines the same network with another strength; 0 is the refinement without penalty, the fair one to
# compare with. ``memory`` keeps the network before the penalty, so that it is trained once per fold and not once per
# candidate. Two scores are computed on the same held-out rows, and the second one selects.
import tempfile

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_shortcuts import (
    ExplanationRegularizedClassifier,
    NeuralImageClassifier,
)
from sklearn_shortcuts.metrics import make_counterfactual_scorer
from sklearn_shortcuts.neural import SmallCNN

network = NeuralImageClassifier(
    SmallCNN(width=16, depth=2),
    max_epochs=15,
    batch_size=64,
    lr=5e-3,
    random_state=0,
)
strengths = [0, 0.001, 0.01, 0.1, 1, 100]
scoring = {
    "accuracy": "accuracy",
    "region_swap": make_counterfactual_scorer("region_swap_accuracy"),
}
with tempfile.TemporaryDirectory() as folder:
    model = ExplanationRegularizedClassifier(network, penalty="rrr", memory=folder)
    search = GridSearchCV(
        model, {"lambda_": strengths}, scoring=scoring, refit="region_swap", cv=3
    )
    search.fit(X, X.target)
results = pd.DataFrame(search.cv_results_).set_index("param_lambda_")
columns = [
    "mean_test_accuracy",
    "std_test_accuracy",
    "mean_test_region_swap",
    "std_test_region_swap",
]
results[columns].round(3)

# %%
# The trade-off
# -------------
# Up and to the right is better; the bars are standard deviations over folds. On the dashed line exchanging the patches
# changes nothing.
across, up = results["mean_test_accuracy"], results["mean_test_region_swap"]
figure, axis = plt.subplots(figsize=(5.6, 4.2), layout="constrained")
axis.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
axis.plot(across, up, color="0.7", linewidth=1)
colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(strengths)))
for strength, color in zip(strengths, colors):
    row = results.loc[strength]
    axis.errorbar(
        row["mean_test_accuracy"],
        row["mean_test_region_swap"],
        xerr=row["std_test_accuracy"],
        yerr=row["std_test_region_swap"],
        color=color,
        marker="o",
        label=f"$\\lambda$ = {strength:g}",
    )
axis.legend(frameon=False)
axis.set(
    xlabel="accuracy, held-out rows as they are",
    ylabel="accuracy, patches exchanged",
    xlim=(across.min() - 0.06, 1.02),
    ylim=(up.min() - 0.06, 1.0),
)
plt.show()

# %%
# Accuracy alone prefers no penalty at all, and pays for it where it does not look:
strength = search.best_params_["lambda_"]
print(f"selected by accuracy:             lambda_ = {across.idxmax():g}")
print(f"selected with patches exchanged:  lambda_ = {strength:g}")

# %%
# Was the choice right?
# ---------------------
# Here we can make the rows that a study does not have: digits that nobody has seen, with patches that tell nothing.
# ``"auto"`` is what is taken if no strength is given; the last network has the default penalty, counterexamples.
from sklearn_shortcuts.audit import compare_models

regularized = ExplanationRegularizedClassifier(network, penalty="rrr")
by_accuracy = clone(regularized).set_params(lambda_=across.idxmax())
models = {
    "selected by accuracy": by_accuracy.fit(X),
    "selected with patches exchanged": search.best_estimator_,
    "auto": clone(regularized).fit(X),
    "counterexamples": clone(regularized)
    .set_params(penalty="counterexamples")
    .fit(X),
}
comparison = compare_models(
    models,
    same,
    flipped=random_patch,
    metrics=["accuracy", "region_swap_accuracy", "flipped_accuracy"],
    reference="selected by accuracy",
    random_state=0,
)
comparison.wide_.round(3)

# %%
# ``flipped_accuracy`` is the one on random patches. ``region_swap_accuracy`` told it from rows that all have the
# shortcut. Most of the accuracy that is lost on rows as they are was the patch's. ``"auto"`` does no worse than the
# search: between 0.01 and 0.1 folds differ more than strengths, so there is little to gain.
from sklearn_shortcuts.audit import ModelComparisonDisplay

ModelComparisonDisplay.from_comparison(comparison)
plt.show()

# %%
# The refit kept its record: what the network does with changed patches before and after the penalty. These are
# training rows; for a choice use held-out ones, as above.
search.best_estimator_.counterfactuals_.round(3)

# %%
# Penalties are parameters too. ``{"penalty": ["rrr", "counterexamples"], "lambda_": [0.1, 1]}`` searches both, with one
# network before the penalty per fold.
