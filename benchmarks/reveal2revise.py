"""Which way of removing a concept makes a network hold when the artifact is everywhere, and what does it cost?

Run ``python -m benchmarks.reveal2revise [--quick] [--data phantoms radiographs] [--seeds 3] [--jobs 2]``. Every cell is
a network trained on rows of which one class has an artifact, and then repaired in every way from the same state;
``lambda = 0`` is the same training without a penalty, the fair comparison: of the layers behind the concept's for the
corrections of concepts, of the whole network for RRR. The same test rows are given without and with the artifact. Of
a few layers and settings those are taken that do best on clean and attacked validation rows. Results are kept in
``benchmarks/results``, one table per cell and seed, and a run goes on where the last one stopped; ``--fresh`` starts
anew. The real studies need the environment variable ``SKLEARN_SHORTCUTS_DATA``.

The candidates and the number of epochs were chosen on seeds from 100, which are never reported.
"""

import argparse
import os
import time
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import joblib
import pandas as pd

from ._concept_methods import EPOCHS, METHODS, Method
from ._concept_scores import rate
from ._concept_studies import (
    IMAGE_NETWORKS,
    SIGNAL_NETWORKS,
    ecg_study,
    generated_ecg_study,
    phantom_study,
    radiograph_study,
)
from ._concept_tables import judge, summarize

RESULTS = Path(__file__).parent / "results"
FOLDER = RESULTS / "reveal2revise"


@dataclass(frozen=True)
class Entry:
    """Rows, and what is trained on them.

    Attributes
    ----------
    make : callable
        ``make(seed, artifact)`` gives the :class:`ConceptStudy`; of real data, ``make(seed, artifact, folder)``.
    networks : dict
        Architectures by name.
    artifacts : tuple of str
        What is planted.
    folder : str or None
        Folder below ``SKLEARN_SHORTCUTS_DATA`` that it needs.
    """

    make: object
    networks: dict
    artifacts: tuple
    folder: str | None = None


_OF_IMAGES = ("microscope", "timestamp", "brightness")
STUDIES = {
    "phantoms": Entry(phantom_study, IMAGE_NETWORKS, _OF_IMAGES),
    "radiographs": Entry(radiograph_study, IMAGE_NETWORKS, _OF_IMAGES, "cxr_age"),
    "generated-ecg": Entry(generated_ecg_study, SIGNAL_NETWORKS, ("lead_noise",)),
    "ptb-xl": Entry(ecg_study, SIGNAL_NETWORKS, ("lead_noise",), "ecg_ptbxl500"),
}


def run_cell(name, network, artifact, seed, *, names, fresh, quick):
    """Train one network and repair it in every way; give what was computed before as it was.

    Parameters
    ----------
    name, network, artifact : str
        Study, network and artifact.
    seed : int
        Seed.
    names : list of str
        Methods.
    fresh : bool
        Whether to forget what was computed before.
    quick : bool
        Whether to train for one epoch only.

    Returns
    -------
    DataFrame
        One row per method.
    """
    import torch

    torch.set_num_threads(1)
    entry = STUDIES[name]
    architecture = entry.networks[network]
    where = () if entry.folder is None else (_data_folder() / entry.folder,)
    path = FOLDER / f"{name}-{network}-{artifact}{'-quick' if quick else ''}-seed{seed}.csv".replace(" ", "-")
    done = {} if fresh or not path.is_file() else _read(path)
    if quick:
        architecture = replace(architecture, training={**architecture.training, "max_epochs": 1})
    unrefined = study = None
    for method_name in names:
        method = METHODS[method_name]
        settings = joblib.hash((architecture, EPOCHS, _plain(method)))
        if done.get(method_name, {}).get("settings") == settings:
            continue
        if unrefined is None:
            study = entry.make(seed, artifact, *where)
            started = time.process_time()
            unrefined = architecture.fit(study, seed)
            trained = time.process_time() - started
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of masks without a region, and rows whose relevance is not conserved
            model, chosen = method.fit(study, unrefined, architecture.layers)
        seconds = trained if method_name == "unrefined" else time.process_time() - started
        record = {"study": name, "network": network, "artifact": artifact, "seed": seed, "method": method_name}
        scores = rate(model, study, unrefined, architecture.layers[1])
        done[method_name] = {**record, "chosen": chosen, **scores, "seconds": seconds, "settings": settings}
        pd.DataFrame(list(done.values())).to_csv(path, index=False)
        print(f"{name} {network} {artifact} {seed}: {method_name}, {seconds:.0f} s", flush=True)
    return pd.DataFrame([done[method_name] for method_name in names])


def main():
    """Run the cells asked for, print the table and whether a repair works in each cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch: does it run?")
    parser.add_argument("--data", nargs="+", choices=list(STUDIES), default=list(STUDIES), help="which studies")
    parser.add_argument("--networks", nargs="+", default=[*IMAGE_NETWORKS, *SIGNAL_NETWORKS], help="which networks")
    parser.add_argument("--artifacts", nargs="+", default=[*_OF_IMAGES, "lead_noise"], help="which artifacts")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), help="which methods")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--fresh", action="store_true", help="compute everything anew")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    seeds = range(options.first_seed, options.first_seed + (1 if options.quick else options.seeds))
    tasks = []
    for name in options.data:
        entry = STUDIES[name]
        if entry.folder is not None and not _has_data(entry.folder):
            print(f"{name}: skipped, SKLEARN_SHORTCUTS_DATA names no folder that holds {entry.folder}")
            continue
        tasks += [
            (name, network, artifact, seed)
            for seed in seeds
            for network in entry.networks
            for artifact in entry.artifacts
            if network in options.networks and artifact in options.artifacts
        ]
    if not tasks:
        return
    started = time.perf_counter()
    settings = {"names": options.methods, "fresh": options.fresh, "quick": options.quick}
    tables = joblib.Parallel(n_jobs=options.jobs, inner_max_num_threads=1)(
        joblib.delayed(run_cell)(*task, **settings) for task in tasks
    )
    cells = pd.concat(tables, ignore_index=True)
    verdicts = judge(cells)
    if options.first_seed == 0 and not options.quick:
        cells.drop(columns="settings").to_csv(RESULTS / "reveal2revise.csv", index=False)
        verdicts.to_csv(RESULTS / "reveal2revise_verdicts.csv", index=False)
    with pd.option_context("display.width", 250, "display.max_columns", None, "display.max_colwidth", 90):
        print(f"\n{summarize(cells).to_string(index=False)}")
        if not options.quick:  # networks that have hardly been trained say nothing
            print(f"\n{verdicts.to_string(index=False)}")
    print(f"\n{time.perf_counter() - started:.0f} seconds; tables are in {RESULTS}")


def _plain(value):
    """Candidates without the addresses of their functions, which change from process to process."""
    if isinstance(value, Method):
        return [_plain(candidate) for candidate in value.candidates]
    if isinstance(value, partial):
        return value.func.__name__, _plain(value.args), {name: _plain(one) for name, one in value.keywords.items()}
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return getattr(value, "__name__", repr(value))


def _data_folder():
    return Path(os.environ.get("SKLEARN_SHORTCUTS_DATA", ""))


def _has_data(folder):
    return "SKLEARN_SHORTCUTS_DATA" in os.environ and (_data_folder() / folder).is_dir()


def _read(path):
    return {record["method"]: record for record in pd.read_csv(path).to_dict("records")}


if __name__ == "__main__":
    main()
