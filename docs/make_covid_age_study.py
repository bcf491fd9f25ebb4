"""Measure the Covid/age study of the gallery on real radiographs, over several seeds.

Run ``python docs/make_covid_age_study.py [--seeds 3]`` with ``SKLEARN_SHORTCUTS_DATA`` naming a folder that holds
``cxr_age``. The table and the figure of the user guide go to ``docs/images/covid_age_study.csv`` and ``.png``. A seed
decides which patients are for testing and the network's initial weights.
"""

import argparse
import os
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GroupShuffleSplit

from sklearn_shortcuts import ExplanationRegularizedClassifier, ImageBunch, NeuralImageClassifier, compare_models
from sklearn_shortcuts.datasets import load_study
from sklearn_shortcuts.explain import grad_cam
from sklearn_shortcuts.mitigation import CounterexampleAugmentation, ExemplarTripletPenalty
from sklearn_shortcuts.neural import SmallCNN

METRICS = {
    "accuracy": "accuracy",
    "activation_precision": "activation precision",
    "chance": "chance",
    "zero_maps": "share of zero maps",
    "region_swap_accuracy": "accuracy, surroundings exchanged",
    "flipped_auc": "AUC, flipped groups",
}
DRAWN = {"activation_precision": "chance", "region_swap_accuracy": 0.5, "flipped_auc": 0.5}  # with their chance levels


def read_study(folder, size):
    """Read children and adults with their lungs; those drawn by people go before predicted ones.

    Parameters
    ----------
    folder : Path
        Folder of the study.
    size : int
        Height and width of the images. They are stretched, because the proportions alone tell the hospital.

    Returns
    -------
    bunch : ImageBunch
        Radiographs; the target is 1 for pneumonia.
    child : ndarray of bool of shape (n,)
        Which of them show children.
    """
    study = load_study(
        folder,
        masks=("mask", "mask_pred"),
        mask_threshold=200,
        query="label != 'covid' and (source == 'kermany' or age_group == 'adult')",
        size=size,
        resize="stretch",
    )
    bunch = ImageBunch(
        np.asarray(study),
        target=(study.target == "pneumonia").astype(int),
        masks=np.asarray(study.masks) >= 0.5,
        groups=study.groups,
    )
    return bunch, (study.metadata["source"] == "kermany").to_numpy()


def run_seed(seed, bunch, child, *, n_train, max_epochs):
    """Train all models on one split and measure them.

    Parameters
    ----------
    seed : int
        Decides the split and the initial weights.
    bunch : ImageBunch
        Radiographs.
    child : ndarray of bool of shape (n,)
        Which show children.
    n_train : int or None
        Rows to train on; by default all.
    max_epochs : int
        Epochs of the unrefined network, and of each refinement.

    Returns
    -------
    DataFrame
        One row per model.
    """
    import torch

    torch.set_num_threads(1)
    learn, test = next(GroupShuffleSplit(1, test_size=1 / 3, random_state=seed).split(bunch, groups=bunch.groups))
    related = bunch.target == child
    rng = np.random.default_rng(seed)
    train = bunch[np.sort(rng.permutation(learn[related[learn]])[:n_train])]
    balanced = bunch[np.sort(rng.permutation(learn)[: len(train)])]
    models = fit_models(train, balanced, seed, max_epochs)
    comparison = compare_models(
        models,
        bunch[test[related[test]]],
        flipped=bunch[test[~related[test]]],
        explainer=grad_cam,
        metrics=["accuracy", "activation_precision", "region_swap_accuracy", "flipped_auc"],
        mask_role="attend",
        n_resamples=100,  # intervals are not used
        random_state=seed,
    )
    precision = comparison.table_.query("metric == 'activation_precision'").set_index("model")
    zero_maps = precision["n_zero"] / (precision["n_rows"] + precision["n_left_out"])
    return comparison.wide_.assign(chance=precision["chance"], zero_maps=zero_maps, seed=seed)


def fit_models(train, balanced, seed, max_epochs):
    """Train the unrefined network, all refinements of it, and the network that sees all four groups.

    Parameters
    ----------
    train : ImageBunch
        Ill children and healthy adults.
    balanced : ImageBunch
        As many rows of all four groups.
    seed : int
        Decides the initial weights.
    max_epochs : int
        Epochs of the unrefined network, and of each refinement.

    Returns
    -------
    dict of str to estimator
        Fitted models by name.
    """
    network = NeuralImageClassifier(
        SmallCNN(width=8), max_epochs=max_epochs, batch_size=32, lr=3e-3, normalize="channel", random_state=seed
    )
    unrefined = clone(network).fit(train)

    def refine(penalty, **settings):
        model = ExplanationRegularizedClassifier(
            network, penalty=penalty, mask_role="attend", warm_start_from=unrefined, refine_lr=1e-3, **settings
        )
        return model.fit(train)

    return {
        "unrefined": unrefined,
        "lambda = 0": refine("rrr", lambda_=0),
        "eXBL, published": refine(ExemplarTripletPenalty("published"), lambda_=1),
        "eXBL, repaired": refine("exbl"),
        "RRR": refine("rrr"),
        "exchanged backgrounds": refine(CounterexampleAugmentation("swap")),
        "all four groups": clone(network).set_params(max_epochs=2 * max_epochs).fit(balanced),
    }


def summarize(cells):
    """Give mean and standard deviation over seeds as text, one row per model."""
    table = {}
    for model, part in cells.groupby(level="model", sort=False):
        means, deviations = part[list(METRICS)].mean(), part[list(METRICS)].std()
        table[model] = {
            title: f"{means[name]:.3f}"
            + (f" ± {deviations[name]:.3f}" if name != "chance" and np.isfinite(deviations[name]) else "")
            for name, title in METRICS.items()
        }
    return pd.DataFrame(table).T.rename_axis("model")


def draw(cells, path):
    """Show one point per model and seed, and the level of chance."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    models = list(pd.unique(cells.index))
    figure, axes = plt.subplots(1, len(DRAWN), figsize=(9, 2.8), sharey=True, layout="constrained")
    for axis, (name, chance) in zip(axes, DRAWN.items()):
        for place, model in enumerate(models):
            part = cells.loc[[model]]
            level = part[chance].mean() if isinstance(chance, str) else chance
            (mark,) = axis.plot([level] * 2, [place - 0.3, place + 0.3], color="0.6", linestyle=":")
            axis.plot(part[name], [place] * len(part), "o", color="#0072B2", alpha=0.5, markersize=5)
            axis.plot(part[name].mean(), place, "|", color="#0072B2", markersize=14, markeredgewidth=2)
        axis.set(title=METRICS[name], xlim=(-0.04, 1.04), ylim=(len(models) - 0.5, -0.5))
        axis.set_yticks(range(len(models)), models)
        axis.title.set_fontsize(10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].legend([mark], ["chance"], frameon=False, fontsize=8, loc="center right")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main():
    """Run all seeds; write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--size", type=int, default=64, help="height and width of the images")
    parser.add_argument("--epochs", type=int, default=15, help="epochs, and epochs of each refinement")
    parser.add_argument("--rows", type=int, help="rows to train on; by default all")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images", help="folder for the results")
    options = parser.parse_args()
    if "SKLEARN_SHORTCUTS_DATA" not in os.environ:
        parser.error("the environment variable SKLEARN_SHORTCUTS_DATA must name a folder that holds cxr_age")
    started = time.perf_counter()
    bunch, child = read_study(Path(os.environ["SKLEARN_SHORTCUTS_DATA"]) / "cxr_age", options.size)
    settings = {"n_train": options.rows, "max_epochs": options.epochs}
    tables = joblib.Parallel(n_jobs=options.jobs, inner_max_num_threads=1)(
        joblib.delayed(run_seed)(seed, bunch, child, **settings) for seed in range(options.seeds)
    )
    cells = pd.concat(tables)
    options.output.mkdir(parents=True, exist_ok=True)
    table = summarize(cells)
    table.to_csv(options.output / "covid_age_study.csv")
    draw(cells, options.output / "covid_age_study.png")
    print(f"{table.to_string()}\n{time.perf_counter() - started:.0f} seconds; results are in {options.output}")


if __name__ == "__main__":
    main()
