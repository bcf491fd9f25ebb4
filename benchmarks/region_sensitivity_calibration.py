"""How often does the region audit call a shortcut where there is one, and where there is none?

Run ``python -m benchmarks.region_sensitivity_calibration [--seeds 20] [--quick]``. Chest phantoms come in two kinds:
with a drain that goes with the label at 95 % prevalence, and without any shortcut. Every seed is a new study of each
kind. The table goes to ``benchmarks/results``, the figure to the folder named by ``--figure``.
"""

import argparse
import time
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from sklearn_shortcuts.audit import RegionSensitivity
from sklearn_shortcuts.datasets import make_chest_phantoms
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN

RESULTS = Path(__file__).parent / "results"
KINDS = {"drain at 95 %": "drain", "no shortcut": None}


def audit_study(shortcut, seed, *, n_images, max_epochs):
    """Audit one generated study and give what was decided, and on what evidence."""
    bunch, y = make_chest_phantoms(
        n_images,
        size=64,
        sign_contrast=0.3,  # a small network learns the true sign from a few hundred images
        shortcut=shortcut,
        prevalence=0.95,
        random_state=seed,
        return_X_y=True,
    )
    network = NeuralImageClassifier(
        SmallCNN(width=8), max_epochs=max_epochs, batch_size=16, lr=3e-3, normalize="channel"
    )
    audit = RegionSensitivity(
        network,
        maskings=("all", "background"),
        controls=("mask_only", "kept_fraction"),
        cv=3,
        embeddings=False,
        region_name="lungs",
        n_jobs=2,
        random_state=seed,
    ).fit(bunch, y)
    cells = audit.cells_[audit.cells_["train"] == audit.cells_["test"]].set_index("test")
    record = {"seed": seed, "found": audit.shortcut_found_, "status": audit.verdicts_["status"].iloc[0]}
    for name, cell in cells.iterrows():
        record.update({f"{name}_auc": cell["auc"], f"{name}_low": cell["low"], f"{name}_high": cell["high"]})
    return record


def summarize(table):
    """Rate of verdicts by kind of study, with Clopper and Pearson's intervals."""
    records = []
    for kind, part in table.groupby("study", sort=False):
        interval = binomtest(int(part["found"].sum()), len(part)).proportion_ci()
        records.append(
            {
                "study": kind,
                "shortcut called": f"{part['found'].sum()} of {len(part)}",
                "rate": part["found"].mean(),
                "low": interval.low,
                "high": interval.high,
                "undecided": int((part["status"] == "undecided").sum()),
                "AUC without lungs": part["background_auc"].mean(),
                "AUC full image": part["all_auc"].mean(),
            }
        )
    return pd.DataFrame(records).set_index("study")


def draw(table, path):
    """Show the interval of every study, colored by the verdict."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8.5, 4.2), sharex=True, sharey=True, layout="constrained")
    for ax, (kind, part) in zip(axes, table.groupby("study", sort=False)):
        part = part.sort_values("background_auc").reset_index(drop=True)
        for found, color, name in ((True, "#D55E00", "shortcut"), (False, "#0072B2", "no shortcut, or undecided")):
            some = part[part["found"] == found]
            ax.hlines(some.index, some["background_low"], some["background_high"], color=color, linewidth=1.5)
            ax.plot(some["background_auc"], some.index, "o", color=color, markersize=4, label=f"verdict: {name}")
        ax.axvline(0.5, color="0.5", linestyle=":", linewidth=1)
        ax.set(title=kind, xlabel="AUC trained and tested without the lungs", yticks=[])
        ax.spines[["top", "right", "left"]].set_visible(False)
    axes[0].set_ylabel("one study each, by AUC")
    axes[1].legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main():
    """Run both kinds of study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="number of studies of each kind")
    parser.add_argument("--quick", action="store_true", help="two small studies of each kind")
    parser.add_argument("--figure", type=Path, default=RESULTS, help="folder for the figure")
    options = parser.parse_args()
    n_seeds, settings = options.seeds, {"n_images": 300, "max_epochs": 12}
    if options.quick:
        n_seeds, settings = min(n_seeds, 2), {"n_images": 200, "max_epochs": 12}
    started, records = time.perf_counter(), []
    for kind, shortcut in KINDS.items():
        for seed in range(n_seeds):
            records.append({"study": kind, **audit_study(shortcut, seed, **settings)})
            last = records[-1]
            print(
                f"{time.perf_counter() - started:6.0f} s  {kind:<14} seed {seed:2d}: {last['status']:<9} without lungs "
                f"{last['background_auc']:.2f} ({last['background_low']:.2f} to {last['background_high']:.2f}), full "
                f"image {last['all_auc']:.2f}",
                flush=True,
            )
    table = pd.DataFrame(records)
    RESULTS.mkdir(exist_ok=True)
    table.round(4).to_csv(RESULTS / "region_sensitivity_calibration.csv", index=False)
    options.figure.mkdir(parents=True, exist_ok=True)
    draw(table, options.figure / "region_sensitivity_calibration.png")
    with pd.option_context("display.width", 120, "display.max_columns", None):
        print(summarize(table).round(3).to_string())
    print(f"{time.perf_counter() - started:.0f} seconds; tables are in {RESULTS}")


if __name__ == "__main__":
    main()
