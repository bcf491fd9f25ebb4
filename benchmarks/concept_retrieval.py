"""Does an annotator find the rows with an artifact from ten confirmed ones and five rounds of fifty answers?

Run ``python -m benchmarks.concept_retrieval [--quick] [--sets "phantoms, timestamp" ...] [--seeds 3]``. An artifact is
planted into about one row in eight of a pool, all of one class; a small network learns the class on the pool, and the
annotator gets the activations of all its blocks (mean and maximum of each channel), side by side. The seed draws the
ten confirmed rows and the folds; pool and network stay. Real images are read
from the folder that ``SKLEARN_SHORTCUTS_DATA`` names, and left out without it.

Counted are, over the whole pool after the last round, the rows that people called artifact and the unanswered rows with
a positive cross-fitted score (``transduction_``): their recall, which includes the ten, and their precision. The goal
is 0.9 of both, with every seed; ``reached`` is the first round with both, of those seeds that have one. Strategies have
the same concept, of which "random" shows what the answers alone bring. "isolation forest" flags, of the same features
and without answers, as many rows as truly carry the artifact, so that recall and precision are one number. The table
goes to ``docs/images``.
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
PREVALENCE = {0: 0.0, 1: 0.25}
N_CONFIRMED, N_ROUNDS, N_PER_ROUND = 10, 5, 50
GOAL = 0.9


def phantoms(n, shortcut):
    """Generated radiographs."""
    return make_chest_phantoms(n, size=48, shortcut=shortcut, prevalence=PREVALENCE, random_state=0)


def signals(n, shortcut):
    """Generated electrocardiograms."""
    return make_ecg(n, length=400, shortcut=shortcut, prevalence=PREVALENCE, random_state=0)


def radiographs(n, artifact):
    """Read radiographs of sick and healthy, and plant an artifact."""
    study = load_study(_data() / "cxr_age", query="label != 'covid'", size=80)
    rows = np.sort(np.random.default_rng(0).permutation(len(study))[:n])
    y = (np.asarray(study.target)[rows] == "pneumonia").astype(int)
    images = np.asarray(study[rows]).clip(0, 1)  # resizing overshoots by a rounding
    bunch = ImageBunch(images, target=y, groups=np.asarray(study.groups)[rows])
    return ArtifactInjector(artifact, probability=PREVALENCE, random_state=0).inject(bunch, y)


def recordings(n, kind):
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
    rng = np.random.default_rng(0)
    artifact = rng.random(len(y)) < np.where(y == 1, PREVALENCE[1], PREVALENCE[0])
    for row in np.flatnonzero(artifact):
        start = traces[row, 1, :100]
        traces[row, 1, :100] = 2 * start.max() + 0.1 * rng.standard_normal(100)
    return ImageBunch(traces, target=y, artifact=artifact, groups=np.asarray(study.groups), signal=True)


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


def features_of(study, max_epochs):
    """Train a network on the class and give the activations of its blocks."""
    if study.signal:
        spec, layers = ECGResNet(layers=(1, 1), width=16, expansion=1), ["stem", "stage1", "stage2"]
    else:
        spec, layers = SmallCNN(width=12), ["features.0", "features.1", "features.2"]
    network = NeuralImageClassifier(spec, max_epochs=max_epochs, lr=3e-3, random_state=0).fit(study, study.target)
    return LayerFeatures(network, layers, pool="mean_max").fit(study).transform(study)


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
    good = np.flatnonzero((table["recall"] >= GOAL) & (table["precision"] >= GOAL))
    return {
        "recall": table["recall"].iloc[-1],
        "precision": table["precision"].iloc[-1],
        "recall_without_answers": table["recall"].iloc[0],
        "reached": good[0] if len(good) else np.nan,
    }


def flag_outliers(features, truth, seed):
    """Flag as many rows as carry the artifact by an isolation forest."""
    scores = -IsolationForest(random_state=seed).fit(features).score_samples(features)
    share = float(truth[np.argsort(-scores)[: truth.sum()]].mean())
    return {"recall": share, "precision": share, "recall_without_answers": share, "reached": np.nan}


def run(name, n, n_seeds, max_epochs):
    """Fill the table of one set."""
    make, artifact = SETS[name]
    study = make(n, artifact)
    truth, groups = np.asarray(study.artifact).astype(int), np.asarray(study.groups)
    features = features_of(study, max_epochs)
    records = []
    for strategy in (*STRATEGIES, "isolation forest"):
        started, seeds = time.process_time(), range(n_seeds)
        if strategy == "isolation forest":
            found = pd.DataFrame([flag_outliers(features, truth, seed) for seed in seeds])
        else:
            found = pd.DataFrame([retrieve(features, truth, groups, strategy, seed) for seed in seeds])
        records.append(
            {
                "set": name,
                "strategy": strategy,
                "n_rows": len(truth),
                "n_artifact": int(truth.sum()),
                "seeds": len(seeds),
                "recall": found["recall"].mean(),
                "recall_min": found["recall"].min(),
                "precision": found["precision"].mean(),
                "precision_min": found["precision"].min(),
                "recall_without_answers": found["recall_without_answers"].mean(),
                "reached": found["reached"].mean(),
                "goal": "yes" if min(found["recall"].min(), found["precision"].min()) >= GOAL else "no",
                "cpu_seconds": (time.process_time() - started) / len(seeds),
            }
        )
    return pd.DataFrame(records)


def _data():
    return Path(os.environ["SKLEARN_SHORTCUTS_DATA"])


def main():
    """Run all sets; the table is written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="draws of the ten confirmed rows")
    parser.add_argument("--quick", action="store_true", help="one seed, small pools: does it run?")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS), help="which sets")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the table goes")
    options = parser.parse_args()
    n, n_seeds, max_epochs = (400, 1, 1) if options.quick else (1000, options.seeds, 5)
    started, parts = time.perf_counter(), []
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.sets:
        if SETS[name][0] in (radiographs, recordings) and "SKLEARN_SHORTCUTS_DATA" not in os.environ:
            print(f"{name}: left out, SKLEARN_SHORTCUTS_DATA names no folder")
            continue
        with threadpool_limits(1, user_api="blas"):
            parts.append(run(name, n, n_seeds, max_epochs))
        pd.concat(parts).round(4).to_csv(options.folder / f"{NAME}.csv", index=False)
        columns = ["recall", "recall_min", "precision", "precision_min", "reached", "goal"]
        shown = parts[-1].set_index("strategy")[columns].round(3)
        print(f"{time.perf_counter() - started:6.0f} s  {name}\n{shown.to_string()}", flush=True)


if __name__ == "__main__":
    main()
