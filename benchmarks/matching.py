"""Matching of many rows: time against the obvious double loop, and memory as rows grow.

The double loop is written with NumPy: each row in turn measures its distance to all others and takes the nearest free
one. In plain Python it would take a thousand times longer.
"""

import argparse
import sys

import numpy as np
import pandas as pd

from benchmarks._timing import compare, measure
from benchmarks.memory import PeakMemory
from sklearn_shortcuts.preprocessing import AcquisitionBalancer
from sklearn_shortcuts.preprocessing._matching_algorithms import match_greedily

_COVARIATES = ["age", "dose", "thickness", "bmi", "sex", "kernel"]


def make_rows(n):
    """Six covariates, of which four are numbers, that differ between two scanners; 40 % are of the second."""
    rng = np.random.default_rng(0)
    second = rng.random(n) < 0.4
    frame = pd.DataFrame(
        {
            "age": rng.normal(55 + 5 * second, 14),
            "dose": rng.normal(6 + 0.5 * second, 2),
            "thickness": rng.normal(2 - 0.2 * second, 0.8),
            "bmi": rng.normal(26, 4, n),
            "sex": rng.choice(["F", "M"], n),
            "kernel": rng.choice(["soft", "sharp", "bone"], n),
        }
    )
    return frame, np.where(second, "Siemens", "GE")


def double_loop(queries, points, limit):
    """Serve queries by descending score; each takes the nearest free point."""
    pairs, taken = [], np.zeros(len(points), dtype=bool)
    for query in np.argsort(-queries, kind="stable"):
        distances = np.abs(points - queries[query])
        distances[taken] = np.inf
        point = np.argmin(distances)
        if distances[point] <= limit:
            pairs.append((query, point))
            taken[point] = True
    return pairs


def main():
    """Time greedy matching with a caliper, and print the peak memory of whole fits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rows: only to see that it runs")
    quick = parser.parse_args().quick
    if not sys.platform.startswith("linux"):
        sys.exit("peak memory is read from /proc, which only Linux has")
    sizes = (1_000, 2_000, 4_000) if quick else (25_000, 50_000, 100_000)

    frame, scanner = make_rows(sizes[-1])
    numbers = (frame["age"] / 14 + frame["dose"] / 2 - frame["thickness"] / 0.8).to_numpy()
    queries, points = numbers[scanner == "Siemens"], numbers[scanner == "GE"]
    limit = 0.2 * np.sqrt((queries.var(ddof=1) + points.var(ddof=1)) / 2)
    found = match_greedily(queries, points, limit=limit)
    assert list(zip(found[0], found[1])) == double_loop(queries, points, limit)
    print(
        compare(
            lambda: match_greedily(queries, points, limit=limit),
            lambda: double_loop(queries, points, limit),
            repeats=3,
            warmup=0,
            name=f"greedy 1:1, caliper, {len(numbers):,} rows",
        ),
        flush=True,
    )
    for distance, caliper in (("propensity", 0.2), ("mahalanobis", 1.0)):
        for n in sizes:
            frame, scanner = make_rows(n)
            balancer = AcquisitionBalancer(
                "match",
                acquisition="scanner",
                covariates=_COVARIATES,
                target="covariates",
                distance=distance,
                caliper=caliper,
                random_state=0,
            )
            rows = frame.assign(scanner=scanner)
            balancer.fit(rows[:500])  # imports, thread pools
            with PeakMemory() as memory:
                wall, _ = measure(lambda balancer=balancer, rows=rows: balancer.fit(rows))
            smd = balancer.balance_table_.xs("smd", level="statistic")
            print(
                f"fit, {distance:<12} {n:>8,} rows x {len(_COVARIATES)}: {wall:6.2f} s, peak "
                f"{(memory.peak - memory.start) / 2**20:6.1f} MiB, {len(balancer.matches_):,} pairs, largest smd "
                f"{smd['before'].max():.2f} -> {smd['after'].max():.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
