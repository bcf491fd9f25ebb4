"""Measure hard-sample mining on real radiographs in which age and hospital go with the label, over several seeds.

Run ``python docs/make_hard_sample_study.py [--seeds 3]`` with ``SKLEARN_SHORTCUTS_DATA`` naming a folder that holds
``cxr_age``. Of the training rows with pneumonia 95 % are children from one hospital, of those without 95 % adults from
another; which rows are the exceptions is not told to any method but one. A seed decides which patients are for testing,
which rows are the exceptions, and the networks' initial weights. Tables for the user guide go to
``docs/images/hard_sample_study_found.csv`` and ``hard_sample_study.csv``. Settings were chosen on seeds from 100.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupShuffleSplit

from sklearn_shortcuts import BAMHardSampleMiner, ImageBunch, NeuralImageClassifier
from sklearn_shortcuts.audit import enrichment_table
from sklearn_shortcuts.datasets import load_study
from sklearn_shortcuts.metrics import make_subgroups, subgroup_accuracy
from sklearn_shortcuts.neural import SmallCNN

_EXCEPTIONS = 0.05  # share of the rows of each class that come from the other hospital
_QUANTILE = {"selection": "quantile", "quantile": _EXCEPTIONS}
METHODS = {
    "plain": {"amplification": 0.0, "upweight": 1.0},
    "BAM": {},
    "BAM, hardest 5 %": _QUANTILE,
    "JTT": {"amplification": 0.0, "difficulty": "loss", "continue_training": False, "upweight": 21.0},
    "top loss, hardest 5 %": {"amplification": 0.0, "difficulty": "loss", **_QUANTILE},
    "EL2N, hardest 5 %": {"amplification": 0.0, "difficulty": "el2n", **_QUANTILE},
    "balanced groups (knows them)": {"amplification": 0.0, "upweight": 1.0},
}


def read_study(folder, size):
    """Read children and adults without Covid.

    Parameters
    ----------
    folder : Path
        Folder of the study.
    size : int
        Height and width of the images. They are stretched, because the proportions alone tell the hospital.

    Returns
    -------
    ImageBunch
        Radiographs in memory; the target is 1 for pneumonia, the column ``source`` of the metadata the hospital.
    """
    study = load_study(
        folder, query="label != 'covid' and (source == 'kermany' or age_group == 'adult')", size=size, resize="stretch"
    )
    return ImageBunch(
        np.asarray(study),
        target=(study.target == "pneumonia").astype(int),
        groups=study.groups,
        metadata=study.metadata[["source"]].reset_index(drop=True),
    )


def choose_rows(bunch, rng):
    """Choose rows in which the hospital tells the label, and a few in which it does not.

    Parameters
    ----------
    bunch : ImageBunch
        Radiographs.
    rng : numpy.random.Generator
        Decides.

    Returns
    -------
    ndarray of int
        Rows, sorted.
    """
    related = bunch.target == (bunch.metadata["source"] == "kermany").to_numpy()
    chosen = [np.flatnonzero(related)]
    for label in (0, 1):
        n = round((related & (bunch.target == label)).sum() * _EXCEPTIONS / (1 - _EXCEPTIONS))
        chosen.append(rng.permutation(np.flatnonzero(~related & (bunch.target == label)))[:n])
    return np.sort(np.concatenate(chosen))


def run_seed(seed, bunch, *, max_epochs, methods=tuple(METHODS)):
    """Train every method on one choice of rows.

    Parameters
    ----------
    seed : int
        Decides the split, the exceptions and the initial weights.
    bunch : ImageBunch
        Radiographs.
    max_epochs : int
        Epochs of either stage.
    methods : sequence of str
        Which methods.

    Returns
    -------
    DataFrame
        One row per method.
    """
    import torch

    torch.set_num_threads(1)
    learn, test = next(GroupShuffleSplit(1, test_size=1 / 3, random_state=seed).split(bunch, groups=bunch.groups))
    train, test = bunch[learn], bunch[test]
    train = train[choose_rows(train, np.random.default_rng(seed))]
    source = train.metadata["source"].to_numpy()
    against = train.target != (source == "kermany")
    group = np.unique(make_subgroups(train.target, source), return_inverse=True)[1]
    balanced = len(group) / np.bincount(group)[group] / 4
    network = NeuralImageClassifier(
        SmallCNN(width=8), batch_size=32, lr=1e-3, max_epochs=max_epochs, normalize="channel", random_state=seed
    )
    records = []
    for method in methods:
        rows = train.with_fields(sample_weight=balanced) if "knows" in method else train
        miner = BAMHardSampleMiner(network, **METHODS[method])
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of empty hard sets: the table shows them
            miner.fit(rows)
        record = {"method": method, "seed": seed, **_rate(miner, test), "seconds": time.process_time() - started}
        if miner.upweight > 1:
            record.update(_found(miner, train, against))
        records.append(record)
    return pd.DataFrame(records)


def _rate(model, test):
    """Scores on patients of all four groups; those of the training's exceptions are half of them or more."""
    source, score = test.metadata["source"].to_numpy(), model.predict_proba(test)[:, 1]
    within = {name: roc_auc_score(test.target[source == name], score[source == name]) for name in np.unique(source)}
    flipped = test.target != (source == "kermany")
    return {
        "AUC, related groups": roc_auc_score(test.target[~flipped], score[~flipped]),
        "AUC, flipped groups": roc_auc_score(test.target[flipped], score[flipped]),
        "AUC, worst hospital": min(within.values()),
        "accuracy, worst group": subgroup_accuracy(
            test.target, model.predict(test), subgroups=make_subgroups(test.target, source)
        ),
    }


def _found(miner, train, against):
    """How well scores and hard set agree with the exceptions, and what the table of enrichment says of them."""
    table = miner.sample_table_
    seen = ~table["held_out"].to_numpy()
    hard, exceptions, score = miner.hard_mask_[seen], against[seen], miner.sample_scores_[seen]
    found = {
        "exceptions": exceptions.sum(),
        "hard": hard.sum(),
        "AUROC": roc_auc_score(exceptions, score),
        "recall": (hard & exceptions).sum() / exceptions.sum(),
        "precision": (hard & exceptions).sum() / hard.sum() if hard.any() else np.nan,
    }
    if not hard.any():
        return found
    enriched = enrichment_table(table, train.metadata, groups=train.groups, n_resamples=500, random_state=0)
    for label, name in ((0, "odds ratio, children among hard normal"), (1, "odds ratio, adults among hard pneumonia")):
        part = enriched.query("label == @label")
        if len(part):
            # The table tests the second value, "nih_cxr14".
            ratio = part["odds_ratio"].iloc[0]
            found[name] = ratio if label == 1 else 1 / ratio
    return found


def summarize(cells, columns):
    """Give mean and standard deviation over seeds as text, one row per method."""
    table = {}
    for method, part in cells.groupby("method", sort=False):
        means, deviations = part[columns].mean(), part[columns].std()
        if means.notna().any():
            table[method] = {
                name: f"{means[name]:.3g} ± {deviations[name]:.2g}" if np.isfinite(means[name]) else ""
                for name in columns
            }
    return pd.DataFrame(table).T.rename_axis("method")


def main():
    """Run all seeds; write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0, help="first seed")
    parser.add_argument("--size", type=int, default=64, help="height and width of the images")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of either stage")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), help="which methods")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images", help="folder for the results")
    options = parser.parse_args()
    if "SKLEARN_SHORTCUTS_DATA" not in os.environ:
        parser.error("the environment variable SKLEARN_SHORTCUTS_DATA must name a folder that holds cxr_age")
    started = time.perf_counter()
    bunch = read_study(Path(os.environ["SKLEARN_SHORTCUTS_DATA"]) / "cxr_age", options.size)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    settings = {"max_epochs": options.epochs, "methods": options.methods}
    cells = pd.concat(
        joblib.Parallel(n_jobs=options.jobs, inner_max_num_threads=1)(
            joblib.delayed(run_seed)(seed, bunch, **settings) for seed in seeds
        )
    )
    rated = [name for name in cells if name.startswith(("AUC,", "accuracy"))]
    found = [name for name in cells if name not in ("method", "seed", "seconds", *rated)]
    tables = {
        "hard_sample_study": summarize(cells, [*rated, "seconds"]),
        "hard_sample_study_found": summarize(cells, found),
    }
    for name, table in tables.items():
        if options.first_seed == 0:
            table.to_csv(options.output / f"{name}.csv")
        print(f"{table.to_string()}\n")
    print(f"{time.perf_counter() - started:.0f} seconds")


if __name__ == "__main__":
    main()
