"""Does an annotator find the rows with an artifact from ten confirmed ones and five rounds of fifty answers?

Run ``python -m benchmarks.concept_retrieval [--quick] [--sets "phantoms, timestamp" ...] [--seeds 3]``. An artifact is
planted into about one row in eight of a pool, all of one class. A small network has learned the class on other rows,
where it could rest on the artifact: all rows of that class carry it. The annotator gets the activations of all
its blocks (mean and maximum of each channel) on the pool, side by side. The 488 recordings of PTB-XL are all pool, and
the network learns on them. The seed draws rows, artifacts, the network, the ten confirmed rows and the folds. Real
images are read from the folder that ``SKLEARN_SHORTCUTS_DATA`` names, and left out without it.

Counted are, over the whole pool after the last round, the rows that people called artifact and the unanswered rows with
a positive cross-fitted score (``transduction_``): their recall, which includes the ten, and their precision. The goal
is 0.9 of both, with every seed; ``reached`` is the first round with both, of those seeds that have one. Answers alone
are precise; ``unasked_recall`` is the share of all artifact rows that are found by the score, without anybody having
been asked, and ``unasked_precision`` how many of the rows found so are right. Strategies have
the same concept, of which "random" shows what the answers alone bring. "isolation forest" flags, of the same features
and without answers, as many rows as truly carry the artifact, so that recall and precision are one number. ``accuracy``
is the network's on the pool; ``accuracy_artifact`` and ``accuracy_other`` are those among rows of the class of the
artifact with and without it: their difference tells whether the network rests on it. The table goes to ``docs/images``.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest
from threadpoolctl import threadpool_limits

from sklearn_shortcuts.datasets import ArtifactInjector, load_study, make_chest_phantoms, make_ecg
from sklearn_shortcuts.images import ImageBunch
from sklearn_shortcuts.latent import LayerFeatures
from sklearn_shortcuts.neural import ECGResNet, NeuralImageClassifier, SmallCNN
from sklearn_shortcuts.review import ConceptAnnotator

FOLDER = Path(__file__).parents[1] / "docs" / "images"
NAME = "concept_retrieval"
STRATEGIES = ("score", "uncertainty", "mixed", "diverse", "random")
PREVALENCE, PREVALENCE_TRAINING = {0: 0.0, 1: 0.25}, {0: 0.0, 1: 1.0}
N_TRAINING = 800
N_CONFIRMED, N_ROUNDS, N_PER_ROUND = 10, 5, 50
GOAL = 0.9


def phantoms(n, shortcut, seed):
    """Generated radiographs."""
    return _generated(make_chest_phantoms, n, seed, size=48, shortcut=shortcut)


def signals(n, shortcut, seed):
    """Generated electrocardiograms."""
    return _generated(make_ecg, n, seed, length=400, shortcut=shortcut)


def _generated(make, n, seed, **options):
    return tuple(
        make(size, prevalence=prevalence, random_state=random_state, **options)
        for size, prevalence, random_state in ((n, PREVALENCE, seed), (N_TRAINING, PREVALENCE_TRAINING, 1000 + seed))
    )


def radiographs(n, artifact, seed):
    """Read radiographs of sick and healthy, and plant an artifact."""
    study = load_study(_data() / "cxr_age", query="label != 'covid'", size=64)
    y, groups = (np.asarray(study.target) == "pneumonia").astype(int), np.asarray(study.groups)
    order = np.random.default_rng(seed).permutation(len(study))
    pool, training = order[:n], order[n:]
    training = training[~np.isin(groups[training], groups[pool])]
    return tuple(
        ArtifactInjector(artifact, probability=probability, random_state=seed).inject(
            ImageBunch(np.asarray(study[rows]), target=y[rows], groups=groups[rows]), y[rows]
        )
        for rows, probability in ((pool, PREVALENCE), (training, PREVALENCE_TRAINING))
    )


def recordings(n, kind, seed):
    """Read real electrocardiograms, and let lead II be defective for the first second of some."""
    study = load_study(
        _data() / "ecg_ptbxl500",
        array="ptbxl_100hz_500.npz",
        array_key="signal_uV",
        index="npz_index",
        axes="NTC",
        scale=1e-3,
        target="superclass",
        query="superclass.notna()",
    )[:n]
    y = (np.asarray(study.target) != "NORM").astype(int)
    traces = np.array(study, dtype=np.float32)
    rng = np.random.default_rng(seed)
    artifact = rng.random(len(y)) < np.where(y == 1, PREVALENCE[1], PREVALENCE[0])
    for row in np.flatnonzero(artifact):
        start = traces[row, 1, :100]
        traces[row, 1, :100] = 2 * start.max() + 0.1 * rng.standard_normal(100)
    pool = ImageBunch(traces, target=y, artifact=artifact, groups=np.asarray(study.groups), signal=True)
    return pool, pool


SETS = {
    "phantoms, timestamp": (phantoms, "timestamp"),
    "phantoms, drain": (phantoms, "drain"),
    "phantoms, pacemaker": (phantoms, "pacemaker"),
    "radiographs, timestamp": (radiographs, "timestamp"),
    "radiographs, patch": (radiographs, "patch"),
    "radiographs, marker": (radiographs, "marker"),
    "generated ECG, lead noise": (signals, "lead_noise"),
    "generated ECG, amplified beat": (signals, "amplified_beat"),
    "PTB-XL, lead noise": (recordings, "lead_noise"),
}


def features_of(study, training, max_epochs, seed):
    """Train a network on the class; give the activations of its blocks, and its accuracies."""
    if study.signal:
        spec, layers = ECGResNet(layers=(1, 1), width=16, expansion=1), ["stem", "stage1", "stage2"]
    else:
        spec, layers = SmallCNN(width=12), ["features.0", "features.1", "features.2"]
    network = NeuralImageClassifier(spec, max_epochs=max_epochs, lr=3e-3, random_state=seed)
    network.fit(training, training.target)
    right = network.predict(study) == np.asarray(study.target)
    artifact, sick = np.asarray(study.artifact) == 1, np.asarray(study.target) == 1
    accuracies = {
        "accuracy": right.mean(),
        "accuracy_artifact": right[artifact].mean(),
        "accuracy_other": right[sick & ~artifact].mean(),
    }
    return LayerFeatures(network, layers, pool="mean_max").fit(study).transform(study), accuracies


def retrieve(features, truth, groups, strategy, seed):
    """Run the loop, and give the recall and the precision after each round."""
    rng = np.random.default_rng(seed)
    known = np.full(len(truth), -1)
    known[rng.choice(np.flatnonzero(truth), N_CONFIRMED, replace=False)] = 1
    annotator = ConceptAnnotator(n_per_round=N_PER_ROUND, strategy=strategy, random_state=seed)
    annotator.fit(features, known, groups=groups)
    rounds = [annotator.evaluate(truth)]
    for _ in range(N_ROUNDS):
        rows = annotator.query()
        rounds.append(annotator.teach(rows, truth[rows]).evaluate(truth))
    table = pd.DataFrame(rounds)
    unasked = (annotator.transduction_ == 1) & ~annotator.answered_
    good = np.flatnonzero((table["recall"] >= GOAL) & (table["precision"] >= GOAL))
    return {
        "recall": table["recall"].iloc[-1],
        "precision": table["precision"].iloc[-1],
        "unasked_recall": np.sum(truth[unasked]) / np.sum(truth),
        "unasked_precision": truth[unasked].mean() if unasked.any() else np.nan,
        "recall_without_answers": table["recall"].iloc[0],
        "reached": good[0] if len(good) else np.nan,
    }


def flag_outliers(features, truth, seed):
    """Flag as many rows as carry the artifact by an isolation forest."""
    scores = -IsolationForest(random_state=seed).fit(features).score_samples(features)
    share = float(truth[np.argsort(-scores)[: truth.sum()]].mean())
    columns = ("recall", "precision", "unasked_recall", "unasked_precision", "recall_without_answers")
    return dict.fromkeys(columns, share) | {"reached": np.nan}


def run(name, n, seeds, max_epochs):
    """Fill the table of one set."""
    make, artifact = SETS[name]
    found = {strategy: [] for strategy in (*STRATEGIES, "isolation forest")}
    for seed in seeds:
        study, training = make(n, artifact, seed)
        truth, groups = np.asarray(study.artifact).astype(int), np.asarray(study.groups)
        features, accuracies = features_of(study, training, max_epochs, seed)
        for strategy, results in found.items():
            started = time.process_time()
            if strategy == "isolation forest":
                result = flag_outliers(features, truth, seed)
            else:
                result = retrieve(features, truth, groups, strategy, seed)
            seconds = time.process_time() - started
            results.append(
                {"n_rows": len(truth), "n_artifact": truth.sum(), **accuracies, **result, "cpu_seconds": seconds}
            )
    records = []
    for strategy, results in found.items():
        table = pd.DataFrame(results)
        lowest = table[["recall", "precision"]].min()
        record = {"set": name, "strategy": strategy, "seeds": len(table), **table.mean()}
        record |= {"recall_min": lowest["recall"], "precision_min": lowest["precision"]}
        records.append(record | {"goal": "reached" if lowest.min() >= GOAL else "FAILED"})
    return pd.DataFrame(records)


def _data():
    return Path(os.environ["SKLEARN_SHORTCUTS_DATA"])


def main():
    """Run all sets; the table is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="pools, networks and draws of the ten rows")
    parser.add_argument("--first-seed", type=int, default=0, help="from which on seeds count")
    parser.add_argument("--quick", action="store_true", help="one seed, small pools: does it run?")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS), help="which sets")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the table goes")
    options = parser.parse_args()
    n, n_seeds, max_epochs = (400, 1, 1) if options.quick else (1000, options.seeds, 12)
    seeds = range(options.first_seed, options.first_seed + n_seeds)
    started, parts = time.perf_counter(), []
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.sets:
        if SETS[name][0] in (radiographs, recordings) and "SKLEARN_SHORTCUTS_DATA" not in os.environ:
            print(f"{name}: left out, SKLEARN_SHORTCUTS_DATA names no folder")
            continue
        with threadpool_limits(1, user_api="blas"):
            parts.append(run(name, n, seeds, max_epochs))
        pd.concat(parts).round(4).to_csv(options.folder / f"{NAME}.csv", index=False)
        columns = ["recall", "recall_min", "precision_min", "unasked_recall", "unasked_precision", "reached", "goal"]
        shown = parts[-1].set_index("strategy")[columns].round(3)
        print(f"{time.perf_counter() - started:6.0f} s  {name}\n{shown.to_string()}", flush=True)


if __name__ == "__main__":
    main()
