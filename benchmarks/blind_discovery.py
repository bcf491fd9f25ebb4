"""Which rows have an artifact that nobody told of? Spectral analysis against isolation forests.

Run ``python -m benchmarks.blind_discovery [--seeds 10] [--quick]``. A time stamp, a marker or a patch is planted in
1 %, 5 % or 20 % of the rows of one class of generated radiographs and, where the environment variable
``SKLEARN_SHORTCUTS_DATA`` names the folder that holds ``cxr_age``, of real ones; a small network is trained on them.
What is scored are the training rows of that class: average precision of the outlier scores for the artifact, place of
the first cluster in which most rows have it among eight clusters of either class, place of the first channel that tells
artifact rows apart (AUC >= 0.9), and how often the verdict is "suspicious", which on studies without the artifact is a
false alarm. The table goes to ``benchmarks/results``; studies that are there already are not computed again.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

from sklearn_shortcuts.audit import NeuronOutlierDetector, SpectralRelevanceAnalysis

from ._blind_studies import children, describe, phantoms, plant, train

RESULTS = Path(__file__).parent / "results"
SHARES = (0.05, 0.0, 0.2, 0.01)


def spectral_record(features, y, artifact, seed):
    """Analyze features of all rows; give average precision, place of the artifact's cluster, and verdicts."""
    block_size = 4 if features.ndim == 3 else 1
    analysis = SpectralRelevanceAnalysis(n_clusters=8, block_size=block_size, random_state=seed).fit(features, y)
    share = pd.Series(artifact).groupby(analysis.labels_).mean().reindex(analysis.clusters_["cluster"])
    places = np.flatnonzero(share.to_numpy() > 0.5)
    affected = y == 1
    return {
        "average_precision": _precision(artifact[affected], analysis.outlier_scores_[affected]),
        "channel_place": _channel_place(features[affected], artifact[affected]),
        "cluster_place": places[0] + 1 if len(places) else np.nan,
        "suspicious": bool(analysis.verdicts_.loc[1, "suspicious"]),
        "suspicious_other": bool(analysis.verdicts_.loc[0, "suspicious"]),
        "ratio": analysis.verdicts_.loc[1, "ratio"],
    }


def forest_record(features, y, artifact, seed):
    """Average precision of an isolation forest on the affected class."""
    affected = y == 1
    rows = features[affected].reshape(affected.sum(), -1)
    scores = -IsolationForest(random_state=seed).fit(rows).score_samples(rows)
    return {"average_precision": _precision(artifact[affected], scores)}


def _channel_place(features, artifact):
    """Place among outlying channels of the first whose values tell artifact rows apart."""
    if features.ndim == 3 or not artifact.any():
        return np.nan
    ranking = NeuronOutlierDetector().fit(features).ranking_
    places = [place for place, channel in enumerate(ranking, 1) if roc_auc_score(artifact, features[:, channel]) >= 0.9]
    return places[0] if places else np.nan


def _precision(artifact, scores):
    return average_precision_score(artifact, scores) if artifact.any() else np.nan


def study_records(source, draw, share, seed, *, max_epochs):
    """Train on one study and search it by every method."""
    X, y = draw(seed)
    planted, artifact, attacked, kind = plant(X, y, share, seed)
    network = train(planted, y, seed, max_epochs)
    effect = network.predict_proba(attacked)[:, 1].mean() - network.predict_proba(X[y == 0])[:, 1].mean()
    study = {
        "study": source,
        "share": share,
        "seed": seed,
        "artifact": kind,
        "n_artifact": int(artifact.sum()),
        "accuracy": network.score(planted, y),
        "effect": effect,
    }
    features = describe(network, planted, y)
    records = []
    for name, values in features.items():
        if name == "embeddings":
            continue
        records.append({**study, "method": f"spectral, {name}", **spectral_record(values, y, artifact, seed)})
    for name, values in {"pixels": planted, "embeddings": features["embeddings"]}.items():
        records.append({**study, "method": f"isolation forest, {name}", **forest_record(values, y, artifact, seed)})
    return records


def summarize(table):
    """Means and spread over the seeds."""
    return table.groupby(["study", "share", "method"], sort=False).agg(
        studies=("seed", "size"),
        effect=("effect", "mean"),
        average_precision=("average_precision", "mean"),
        spread=("average_precision", "std"),
        lowest=("average_precision", "min"),
        cluster_found=("cluster_place", "count"),
        median_place=("cluster_place", "median"),
        channel_found=("channel_place", "count"),
        median_channel=("channel_place", "median"),
        suspicious=("suspicious", "mean"),
        suspicious_other=("suspicious_other", "mean"),
    )


def main():
    """Run all studies, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="number of studies of each kind")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one small study of each kind")
    options = parser.parse_args()
    n_rows, settings = (200, {"max_epochs": 2}) if options.quick else (800, {"max_epochs": 12})
    n_seeds = 1 if options.quick else options.seeds
    sources = {"phantoms": lambda seed: phantoms(seed, n_rows)}
    folder = Path(os.environ.get("SKLEARN_SHORTCUTS_DATA", "")) / "cxr_age"
    if folder.is_dir():
        sources["children"] = lambda seed: children(seed, n_rows, folder)
    else:
        print("children: skipped, SKLEARN_SHORTCUTS_DATA names no folder that holds cxr_age")
    started, tables = time.perf_counter(), []
    cells = RESULTS / ("blind_discovery_quick" if options.quick else "blind_discovery")
    cells.mkdir(parents=True, exist_ok=True)
    for seed in range(options.first_seed, options.first_seed + n_seeds):
        for source, draw in sources.items():
            for share in SHARES:
                cell = cells / f"{source}_{share}_{seed}.csv"
                if not cell.exists():
                    records = study_records(source, draw, share, seed, **settings)
                    pd.DataFrame(records).to_csv(cell, index=False)
                tables.append(pd.read_csv(cell))
                print(f"{time.perf_counter() - started:6.0f} s  {source}, {share:.0%}, seed {seed}", flush=True)
        table = pd.concat(tables, ignore_index=True)
        table.round(4).to_csv(RESULTS / "blind_discovery.csv", index=False)
    summary = summarize(table)
    summary.round(3).to_csv(RESULTS / "blind_discovery_summary.csv")
    with pd.option_context("display.width", 160, "display.max_columns", None, "display.max_rows", None):
        print(summary.round(3).to_string())
    print(f"{time.perf_counter() - started:.0f} seconds; tables are in {RESULTS}")


if __name__ == "__main__":
    main()
