"""Does the acquisition probe raise no more false alarms than it says, and does it find scanners that differ?

Run ``python -m benchmarks.acquisition_probe_calibration [--runs 200] [--jobs 2] [--quick]``. Chest phantoms are made
and measured once; every run deals scanners out to the patients anew. In the studies without a difference the p-values
must be uniform: scanners that are names only, for one and for four images per patient, by permutation and by the
network probe's test (with a linear model in place of the network); and scanners that go with the patients' age, which
the images show, with the age balanced. In the last studies the scanners blur differently and add different noise.
Tables and the figure go to ``docs/images``.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import binomtest, kstest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from sklearn_shortcuts.audit import AcquisitionProbe
from sklearn_shortcuts.datasets import apply_scanner, make_chest_phantoms
from sklearn_shortcuts.preprocessing import AcquisitionFeatures

FOLDER = Path(__file__).parents[1] / "docs" / "images"
NAME = "acquisition_probe_calibration"
ONE, FOUR = "one image per patient", "four images per patient"
NETWORK, AGE, NO_AGE = "network probe's test", "scanner goes with age, balanced", "scanner goes with age, not balanced"
SCANNERS = {"GE": {"blur": 0.6, "noise": 0.005}, "Siemens": {"blur": 0.4, "noise": 0.012}}
SIZES = {ONE: (120, 1), FOUR: (40, 4), NETWORK: (120, 1), AGE: (200, 1), NO_AGE: (200, 1)}


def measure(n_patients, images_per_patient, seed):
    """Make phantoms, half of them children, and give their features, patients and ages."""
    study = make_chest_phantoms(
        n_patients * images_per_patient,
        size=32,
        shortcut="age",
        prevalence=0.5,
        images_per_patient=images_per_patient,
        random_state=seed,
    )
    features = AcquisitionFeatures(use_masks=False, thumbnail_size=4).fit_transform(study)
    return features, np.asarray(study.groups), study.metadata["age"].to_numpy()


def run(kind, pool, seed, n_permutations):
    """Deal scanners out to some patients of the pool and give the p-value of the probe."""
    features, patients, age = pool
    rng = np.random.default_rng(seed)
    n_patients, n_images = SIZES[kind]
    chosen = rng.choice(np.unique(patients), n_patients, replace=False)
    rows = np.flatnonzero(np.isin(patients, chosen))
    of_patient, first = np.unique(patients[rows], return_inverse=True)[1], np.arange(0, len(rows), n_images)
    chance = np.full(n_patients, 0.5)
    if kind in (AGE, NO_AGE):
        chance = 1 / (1 + np.exp((30 - age[rows][first]) / 30))
    scanner = np.array(["Siemens", "GE"])[(rng.random(n_patients) < chance).astype(int)][of_patient]
    probe = AcquisitionProbe(
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1)),
        method="network" if kind == NETWORK else "fast",
        features=FunctionTransformer(),
        evidence=False,
        n_permutations=n_permutations,
        random_state=seed,
    )
    covariates = pd.DataFrame({"age": age[rows]}) if kind == AGE else None
    with threadpool_limits(1, user_api="blas"):
        probe.fit(features[rows], scanner, groups=patients[rows], covariates=covariates)
    scores = probe.scores_.iloc[0]
    return {"study": kind, "seed": seed, "pvalue": scores["pvalue"], "auc": scores["auc"]}


def tell_scanners(seed, n_images, n_permutations):
    """Probe a study of two scanners with 342 patients each, as large as that of the paper."""
    study = make_chest_phantoms(n_images, size=64, random_state=seed)
    scanner = np.random.default_rng(seed).permutation(np.resize(list(SCANNERS), n_images))
    study = apply_scanner(study, scanner, SCANNERS, random_state=seed)
    with threadpool_limits(1, user_api="blas"):
        probe = AcquisitionProbe(n_permutations=n_permutations, evidence=False, random_state=seed)
        scores = probe.fit(study, "scanner").scores_.iloc[0]
    return {"study": "blur and noise differ", "seed": seed, "n_images": n_images, **scores}


def summarize(table):
    """Rate of p-values at or below 0.05 by kind of study, with Clopper and Pearson's intervals."""
    records = []
    for kind, part in table.groupby("study", sort=False):
        called = int((part["pvalue"] <= 0.05).sum())
        interval = binomtest(called, len(part)).proportion_ci()
        # P-values of permutations are multiples of a hundredth; spread out below, they are uniform without gaps.
        spread = part["pvalue"]
        if kind != NETWORK:
            spread = spread - np.random.default_rng(0).random(len(part)) * part["pvalue"].min().clip(max=0.01)
        records.append(
            {
                "study": kind,
                "runs": len(part),
                "called": called,
                "rate": called / len(part),
                "low": interval.low,
                "high": interval.high,
                "KS pvalue": kstest(spread, "uniform").pvalue,
                "mean AUC": part["auc"].mean(),
            }
        )
    return pd.DataFrame(records).set_index("study")


def draw(table, path):
    """Show the distribution of the p-values of every kind of study."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(6.2, 4.6), layout="constrained")
    colors = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#D55E00")
    for color, (kind, part) in zip(colors, table.groupby("study", sort=False)):
        pvalues = np.sort(part["pvalue"])
        ax.step(pvalues, np.arange(1, len(pvalues) + 1) / len(pvalues), where="post", color=color, label=kind)
    ax.plot([0, 1], [0, 1], color="0.5", linestyle=":", linewidth=1)
    ax.set(xlabel="p-value", ylabel="share of studies at or below it", xlim=(0, 1), ylim=(0, 1.01))
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main():
    """Run all kinds of study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="studies of each kind without a difference")
    parser.add_argument("--jobs", type=int, default=2, help="studies at a time")
    parser.add_argument("--quick", action="store_true", help="few runs, small studies")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where tables and figure go")
    options = parser.parse_args()
    n_runs, n_permutations, n_images, n_seeds, n_pool = options.runs, 99, 684, 5, 1000
    if options.quick:
        n_runs, n_permutations, n_images, n_seeds, n_pool = min(n_runs, 10), 19, 200, 1, 240
    started = time.perf_counter()
    pools = {1: measure(n_pool, 1, seed=0), 4: measure(n_pool // 4, 4, seed=1)}
    parallel, records = Parallel(n_jobs=options.jobs), []
    for kind, share in {ONE: 1, FOUR: 1, NETWORK: 1, AGE: 2, NO_AGE: 4}.items():
        seeds = range(max(n_runs // share, 5))
        records += parallel(delayed(run)(kind, pools[SIZES[kind][1]], seed, n_permutations) for seed in seeds)
        called = np.sum([record["pvalue"] <= 0.05 for record in records if record["study"] == kind])
        print(f"{time.perf_counter() - started:6.0f} s  {kind}: called in {called} of {len(seeds)}", flush=True)
    scanners = pd.DataFrame(parallel(delayed(tell_scanners)(seed, n_images, n_permutations) for seed in range(n_seeds)))
    table = pd.DataFrame(records)
    options.folder.mkdir(parents=True, exist_ok=True)
    summary = summarize(table)
    summary.round(4).to_csv(options.folder / f"{NAME}.csv")
    scanners.round(4).to_csv(options.folder / f"{NAME}_scanners.csv", index=False)
    draw(table, options.folder / f"{NAME}.png")
    with pd.option_context("display.width", 140, "display.max_columns", None):
        print(summary.round(3).to_string())
        columns = ["seed", "accuracy", "accuracy_low", "accuracy_high", "auc", "auc_low", "auc_high", "pvalue"]
        print(scanners[columns].round(3).to_string(index=False))
    print(f"{time.perf_counter() - started:.0f} seconds; tables and figure are in {options.folder}")


if __name__ == "__main__":
    main()
