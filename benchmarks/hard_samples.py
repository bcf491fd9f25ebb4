"""Do the rows' own logits find the rows against a shortcut, and does weighting them up help where it is absent?

Run ``python -m benchmarks.hard_samples [--tasks G D ...] [--seeds 5] [--jobs 2]``. Every method trains the same network
on the same rows for the same numbers of steps; the epoch of the second training is chosen on validation rows by the
worst subgroup, for all methods alike. Settings were chosen on seeds from 100, which are never reported.
"""

import argparse
import time
import warnings
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from sklearn_shortcuts.metrics import subgroup_accuracy
from sklearn_shortcuts.mitigation import BAMHardSampleMiner

from ._hard_sample_tasks import (
    colors_task,
    decoy_task,
    digits_task,
    gaussian_task,
    memorized_task,
    tube_task,
)

RESULTS = Path(__file__).parent / "results"
TASKS = {
    "G": gaussian_task,
    "D": digits_task,
    "X": tube_task,
    "C": colors_task,
    "N": decoy_task,
    "L": partial(gaussian_task, flips=0.1),
    "W": memorized_task,
    "WL": partial(memorized_task, flips=0.1),
    "GL": partial(memorized_task, agreement=0.95, noise=0.2, flips=0.1),
}
EPOCHS = {
    "G": (12, 15, 60),
    "D": (12,),
    "X": (15,),
    "C": (10, 60),
    "N": (15,),
    "L": (60,),
    "W": (60,),
    "WL": (60,),
    "GL": (60,),
}
METHODS = {
    "plain": {"amplification": 0.0, "upweight": 1.0},
    "BAM": {},
    "JTT": {"amplification": 0.0, "continue_training": False},
    "top loss": {"amplification": 0.0, "selection": "quantile", "difficulty": "loss"},
    "EL2N": {"amplification": 0.0, "selection": "quantile", "difficulty": "el2n"},
    "balanced groups": {"amplification": 0.0, "upweight": 1.0},  # the only one that knows the subgroups
}


def run(name, seed, epochs):
    """Train and rate every method on one task, seed and number of epochs.

    Parameters
    ----------
    name : str
        Task.
    seed : int
        Seed.
    epochs : int
        Epochs of the first training.

    Returns
    -------
    list of dict
        One record per method.
    """
    import torch

    torch.set_num_threads(1)
    task = TASKS[name](seed)

    def monitor(estimator, X, y):
        return _worst(estimator, task.validation)

    def record(method, model, seconds, **found):
        return {
            "task": name,
            "seed": seed,
            "epochs": epochs,
            "method": method,
            "worst group": _worst(model, task.test),
            "accuracy": model.score(task.test.X, task.test.y),
            **found,
            "seconds": seconds,
        }

    group = task.train.group
    balanced = (len(group) / np.bincount(group) / len(np.unique(group)))[group]
    records = []
    for method, options in METHODS.items():
        options = {"upweight": task.upweight, "amplification": task.amplification, **options}
        miner = BAMHardSampleMiner(
            task.network,
            stage_one_epochs=epochs,
            stage_two_epochs=task.stage_two_epochs,
            quantile=float(task.train.minority.mean()),
            monitor=monitor,
            validation_fraction=0.02,  # the task brings its own validation rows
            **options,
        )
        rows = task.train.X.with_fields(sample_weight=balanced) if method == "balanced groups" else task.train.X
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of empty hard sets, which are what is shown here
            miner.fit(rows)
        seconds = time.process_time() - started
        found = {} if miner.upweight == 1 else _found(miner, task.train)
        records.append(record(method, miner, seconds, **found))
    return records


def _worst(model, rows):
    return subgroup_accuracy(rows.y, model.predict(rows.X), subgroups=rows.group)


def _found(miner, rows):
    """How well scores and hard set agree with the minority."""
    scored = ~np.isnan(miner.sample_scores_)
    hard, minority = miner.hard_mask_[scored], rows.minority[scored]
    column = "aux" if miner.amplification > 0 else miner.difficulty if miner.selection == "quantile" else "loss"
    score = miner.sample_table_[column].to_numpy()[scored]
    known = scored if rows.flipped is None else scored & ~rows.flipped  # rows with a wrong label are neither
    found = {
        "AUROC": roc_auc_score(rows.minority[known], miner.sample_table_[column][known]),
        "recall": (hard & minority).sum() / minority.sum(),
        "precision": (hard & minority).sum() / hard.sum() if hard.any() else np.nan,
    }
    if rows.flipped is not None and rows.flipped.any():
        majority = ~minority | rows.flipped[scored]
        found["AUROC flips"] = roc_auc_score(rows.flipped[scored][majority], score[majority])
    if rows.level is not None:
        alone = minority & (rows.y[scored] == 1)
        found["Spearman level"] = spearmanr(rows.level[scored][alone], score[alone]).statistic
        bucket = miner.sample_table_["bucket"].to_numpy()[scored]
        mean = {name: score[bucket == name].mean() if (bucket == name).any() else np.nan for name in ("FN", "TP")}
        found["FN / TP"] = mean["FN"] / mean["TP"]
        wrong = np.isin(bucket, ("FN", "FP"))
        found["minority of FN, FP"] = minority[wrong].mean() if wrong.any() else np.nan
    return found


def thresholds(cells):
    """Compare means over seeds with what is promised.

    Parameters
    ----------
    cells : DataFrame
        One row per task, seed, number of epochs and method.

    Returns
    -------
    DataFrame
        ``task``, ``what``, ``value``, ``bar`` and ``verdict``.
    """
    means = cells.groupby(["task", "epochs", "method"]).mean(numeric_only=True)
    least = cells.pivot_table(index=["task", "epochs", "seed"], columns="method", values="worst group")
    gain = (least["BAM"] - least["plain"]).groupby(["task", "epochs"]).min()
    records = []

    def judge(task, what, value, bar, reached):
        verdict = "reached" if reached else "FAILED"
        records.append({"task": task, "what": what, "value": round(float(value), 3), "bar": bar, "verdict": verdict})

    def at_least(task, what, value, bar):
        judge(task, what, value, f">= {bar}", value >= bar)

    def known(task, epochs):
        return (task, epochs, "BAM") in means.index

    for epochs in EPOCHS["G"]:
        if known("G", epochs):
            at_least("G", f"AUROC at T={epochs}", means.loc[("G", epochs, "BAM"), "AUROC"], 0.97)
    if known("G", 60):
        own, forgot = means.loc[("G", 60, "BAM")], means.loc[("G", 60, "JTT"), "recall"]
        at_least("G", "recall of the hard set at T=60", own["recall"], 0.75)
        at_least("G", "its precision", own["precision"], 0.9)
        judge("G", "recall of plain training's errors at T=60", forgot, "<= 0.15", forgot <= 0.15)
        gained = own["worst group"] - means.loc[("G", 60, "plain"), "worst group"]
        at_least("G", "worst group above plain at T=60", gained, 0.25)
    if known("G", 60) and known("G", 12):
        for method, what in (("BAM", "BAM"), ("JTT", "JTT, which collapses")):
            lost = means.loc[("G", 12, method), "worst group"] - means.loc[("G", 60, method), "worst group"]
            kept = lost <= 0.02 if method == "BAM" else lost > 0.02
            bar = "<= 0.02" if method == "BAM" else "> 0.02"
            judge("G", f"worst group lost from T=12 to T=60: {what}", lost, bar, kept)
    if known("D", 12):
        own = means.loc[("D", 12, "BAM")]
        at_least("D", "AUROC", own["AUROC"], 0.98)
        at_least("D", "recall of the hard set", own["recall"], 0.85)
        at_least("D", "its precision", own["precision"], 0.85)
        at_least("D", "worst group above plain, worst seed", gain[("D", 12)], 0.25)
    if known("X", 15):
        own = means.loc[("X", 15, "BAM")]
        at_least("X", "Spearman of level and score", own["Spearman level"], 0.5)
        at_least("X", "mean score of FN over TP", own["FN / TP"], 1.5)
        at_least("X", "minority among FN and FP", own["minority of FN, FP"], 0.8)
        at_least("X", "worst group above plain, worst seed", gain[("X", 15)], 0.25)
    if known("C", 10):
        at_least("C", "AUROC at T=10", means.loc[("C", 10, "BAM"), "AUROC"], 0.93)
    if known("C", 60):
        gained = means.loc[("C", 60, "BAM"), "worst group"] - means.loc[("C", 60, "plain"), "worst group"]
        at_least("C", "conflicting accuracy above plain at T=60", gained, 0.04)
    if known("N", 15):
        lost = means.loc[("N", 15, "plain"), "worst group"] - means.loc[("N", 15, "BAM"), "worst group"]
        judge("N", "worst group below plain, a control", lost, "<= 0.02", lost <= 0.02)
    if known("L", 60):
        at_least("L", "AUROC of wrong labels", means.loc[("L", 60, "BAM"), "AUROC flips"], 0.95)
    for task, bars in (("GL", (0.19,)), ("W", (0.14, 0.19)), ("WL", (0.27, 0.35))):  # weak and strong amplification
        for bar in bars if known(task, 60) else ():
            margin = means.loc[(task, 60, "BAM"), "AUROC"] - means.loc[(task, 60, "JTT"), "AUROC"]
            at_least(task, "AUROC above that of plain training's last loss at T=60", margin, bar)
    return pd.DataFrame(records, columns=["task", "what", "value", "bar", "verdict"])


def summarize(cells):
    """Give mean and standard deviation over seeds, as text, one row per task, number of epochs and method."""
    columns = [name for name in cells if name not in ("task", "seed", "epochs", "method")]
    groups = cells.groupby(["task", "epochs", "method"], sort=False)[columns]
    mean, spread = groups.mean(), groups.std()
    table = pd.DataFrame(index=mean.index)
    for name in columns:
        texts = [f"{m:.3f} ± {s:.3f}" if s == s else f"{m:.3f}" for m, s in zip(mean[name], spread[name])]
        table[name] = np.where(mean[name].isna(), "", texts)
    return table.reset_index()


def main():
    """Run the tasks asked for, print the table of methods and whether the bars are reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed of each task: does it run?")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS), help="which tasks")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + (1 if options.quick else options.seeds))
    jobs = [(name, seed, epochs) for name in options.tasks for epochs in EPOCHS[name] for seed in seeds]
    started = time.perf_counter()
    parts = joblib.Parallel(n_jobs=options.jobs, inner_max_num_threads=1)(joblib.delayed(run)(*job) for job in jobs)
    cells = pd.DataFrame([record for part in parts for record in part])
    verdicts = thresholds(cells)
    if options.first_seed == 0 and not options.quick:
        RESULTS.mkdir(exist_ok=True)
        cells.to_csv(RESULTS / "hard_samples.csv", index=False)
    with pd.option_context("display.width", 250, "display.max_columns", None):
        print(summarize(cells).to_string(index=False))
        if not options.quick:  # one seed says nothing about the bars
            print(f"\n{verdicts.to_string(index=False)}")
    print(f"\n{time.perf_counter() - started:.0f} seconds")


if __name__ == "__main__":
    main()
