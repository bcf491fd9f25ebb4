"""What does a spectral analysis of many relevances cost? Seconds, processor seconds, memory, and recall of neighbors.

Run ``python -m benchmarks.spectral_scale [--quick]``. Rows are generated: 24 groups in 16 latent dimensions, seen
through 512 rectified channels with noise. The table goes to ``benchmarks/results``.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from sklearn_shortcuts.audit import SpectralRelevanceAnalysis
from sklearn_shortcuts.audit._nearest_rows import NearestRows

from ._timing import measure
from .memory import PeakMemory

RESULTS = Path(__file__).parent / "results"
_QUERIES = 500  # rows whose neighbors are compared with the exact ones


def make_relevances(n, n_channels=512, n_latent=16, n_groups=24):
    """Generate relevances, a piece at a time, so that generating needs no more memory than they do."""
    rng = np.random.default_rng(0)
    centers = rng.normal(0, 2, (n_groups, n_latent))
    mixing = rng.normal(0, 1, (n_latent, n_channels))
    rows = np.empty((n, n_channels), dtype=np.float32)
    for start in range(0, n, 5000):
        some = rows[start : start + 5000]
        latent = centers[rng.integers(n_groups, size=len(some))] + rng.normal(size=(len(some), n_latent))
        some[:] = np.maximum(latent @ mixing + rng.normal(0, 0.3, some.shape), 0)
    return rows


def neighbor_recall(analysis):
    """Share of the exact nearest neighbors that are in the graph, for some rows."""
    spectrum = analysis._models[0].spectrum
    points = spectrum.points
    rows = np.random.default_rng(0).permutation(len(points))[:_QUERIES]
    found = spectrum.index.query(points[rows], spectrum.n_neighbors, own=rows)[1]
    exact = NearestRows(exact_limit=len(points), n_probes=1, seed=0).fit(points)
    true = exact.query(points[rows], spectrum.n_neighbors, own=rows)[1]
    return np.mean([len(np.intersect1d(*pair)) / len(pair[0]) for pair in zip(found, true)])


def main():
    """Measure three sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rows: only to see that it runs")
    quick = parser.parse_args().quick
    if not sys.platform.startswith("linux"):
        sys.exit("peak memory is read from /proc, which only Linux has")
    sizes = (1_000, 3_000) if quick else (10_000, 30_000, 100_000)
    SpectralRelevanceAnalysis(random_state=0).fit(make_relevances(200))  # imports, thread pools
    records = []
    for n in sizes:
        rows = make_relevances(n)
        analysis = SpectralRelevanceAnalysis(random_state=0, exact_limit=2000 if quick else 5000)
        with PeakMemory() as memory:
            wall, cpu = measure(lambda analysis=analysis, rows=rows: analysis.fit(rows))
        extra = (memory.peak - memory.start) / rows.nbytes
        records.append(
            {
                "rows": n,
                "seconds": wall,
                "cpu_seconds": cpu,
                "rows_MiB": rows.nbytes / 2**20,
                "peak_MiB": (memory.peak - memory.start) / 2**20,
                "peak_per_rows": extra,
                "recall": neighbor_recall(analysis),
                "cpu_growth": cpu / records[0]["cpu_seconds"] if records else 1.0,
            }
        )
        print(pd.Series(records[-1]).round(2).to_dict(), flush=True)
    RESULTS.mkdir(exist_ok=True)
    table = pd.DataFrame(records)
    table.round(3).to_csv(RESULTS / "spectral_scale.csv", index=False)
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    main()
