"""Which ways of telling a network where not to look make it hold when the shortcut is flipped?

Run ``python -m benchmarks.explanation_regularization [--quick] [--data digits mnist] [--seeds 5] [--jobs 2]``. Every
method starts from the same data, and every refinement from the same unrefined network with the same number of epochs;
``lambda = 0`` is that refinement without a penalty, the fair comparison for all others. Results are kept in
``benchmarks/results``, one table per study and seed, and a run goes on where the last one stopped; ``--fresh`` starts
anew. The real studies need the environment variable ``SKLEARN_SHORTCUTS_DATA``.

Strengths and epochs were chosen on seeds from 100, which are never reported.
"""

import argparse
import os
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib
import pandas as pd

from ._chest_studies import age_study, patch_study, phantom_study
from ._decoy_digits import digits_study, mnist_study
from ._regularization_methods import METHODS
from ._regularization_scores import rate
from ._regularization_tables import bars, summarize

RESULTS = Path(__file__).parent / "results"
FOLDER = RESULTS / "explanation_regularization"


@dataclass(frozen=True)
class Entry:
    """A study of the benchmark.

    Attributes
    ----------
    make : callable
        ``make(seed, **quick)`` gives the :class:`ShortcutStudy`; studies of real data take the folder before that.
    n_seeds : int
        Seeds by default.
    quick : dict
        Arguments of ``make`` that make it small.
    folder : str or None
        Folder below ``SKLEARN_SHORTCUTS_DATA`` that it needs.
    """

    make: object
    n_seeds: int
    quick: dict
    folder: str | None = None


SMALL = {"n_train": 300, "max_epochs": 4}
STUDIES = {
    "digits": {
        "digits-fixed": Entry(digits_study, 5, SMALL),
        "digits-random": Entry(partial(digits_study, corner="random"), 5, SMALL),
        "digits-pooled": Entry(partial(digits_study, pooled=True), 5, SMALL),
    },
    "mnist": {"mnist": Entry(mnist_study, 5, {"n_test": 500, **SMALL}, "mnist10k")},
    "phantoms-tube": {"phantoms-tube": Entry(partial(phantom_study, shortcut="drain"), 5, {"n_test": 100, **SMALL})},
    "phantoms-marker": {
        "phantoms-marker": Entry(
            partial(phantom_study, shortcut={"marker": {"text": "PORTABLE"}}), 5, {"n_test": 100, **SMALL}
        )
    },
    "cxr-patch": {"cxr-patch": Entry(patch_study, 3, SMALL, "cxr_age")},
    "cxr-age": {"cxr-age": Entry(age_study, 3, SMALL, "cxr_age")},
}


def run_cells(name, entry, seed, *, quick, names, fresh):
    """Train and rate every method on one study and seed; give those computed before as they were.

    Parameters
    ----------
    name : str
        Name of the study.
    entry : Entry
        The study.
    seed : int
        Seed.
    quick : bool
        Whether to use little data and few epochs.
    names : list of str
        Methods.
    fresh : bool
        Whether to forget what was computed before.

    Returns
    -------
    DataFrame
        One row per method.
    """
    import torch

    torch.set_num_threads(1)
    path = FOLDER / f"{name}{'-quick' if quick else ''}-seed{seed}.csv"
    done = {} if fresh or not path.is_file() else _read(path)
    where = () if entry.folder is None else (_data_folder() / entry.folder,)
    study = entry.make(seed, *where, **(entry.quick if quick else {}))
    unrefined = None
    for method_name in names:
        method = METHODS[method_name]
        reason = None if method.suits is None else method.suits(study)
        if reason is not None:
            done[method_name] = {"method": method_name, "note": reason}
            continue
        settings = joblib.hash((study.network, study.refine_lr, study.refine_epochs, method.make(study)))
        if done.get(method_name, {}).get("settings") == settings:
            continue
        if unrefined is None and method.refines:
            unrefined = METHODS["unrefined"].fit(study, None)
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of published forms that cannot work, which is what is shown here
            try:
                model = method.fit(study, unrefined)
            except (FloatingPointError, ValueError) as error:
                if not (method.n_pairs or isinstance(error, FloatingPointError)):
                    raise
                # Exemplars whose explanations are all zero are a result too: that of the published form.
                done[method_name] = {"method": method_name, "settings": settings, "note": str(error)}
                _write(path, done)
                continue
        seconds = time.process_time() - started
        if method_name == "unrefined":
            unrefined = model
        done[method_name] = {
            "method": method_name,
            "settings": settings,
            **rate(model, study, clean=method.clean),
            "seconds": seconds,
        }
        _write(path, done)
        print(f"{name} seed {seed}: {method_name}, {seconds:.0f} s", flush=True)
    table = pd.DataFrame([done[method_name] for method_name in names])
    table.insert(0, "study", name)
    table.insert(1, "seed", seed)
    return table


def main():
    """Run the studies asked for, print the table of methods and whether the bars are reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, little data, few epochs: does it run?")
    names = [name for group, studies in STUDIES.items() for name in dict.fromkeys((group, *studies))]
    parser.add_argument("--data", nargs="+", choices=names, default=list(STUDIES), help="which studies")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), help="which methods")
    parser.add_argument("--seeds", type=int, help="number of seeds; by default 5, and 3 on real radiographs")
    parser.add_argument("--first-seed", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--fresh", action="store_true", help="compute everything anew")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    tasks = []
    for group, studies in STUDIES.items():
        for name, entry in studies.items():
            if not {group, name} & set(options.data):
                continue
            if entry.folder is not None and not _has_data(entry.folder):
                print(f"{name}: skipped, SKLEARN_SHORTCUTS_DATA names no folder that holds {entry.folder}")
                continue
            n_seeds = 1 if options.quick else options.seeds or entry.n_seeds
            tasks += [(name, entry, seed) for seed in range(options.first_seed, options.first_seed + n_seeds)]
    if not tasks:
        return
    started = time.perf_counter()
    settings = {"quick": options.quick, "names": options.methods, "fresh": options.fresh}
    tables = joblib.Parallel(n_jobs=options.jobs, inner_max_num_threads=1)(
        joblib.delayed(run_cells)(*task, **settings) for task in tasks
    )
    cells = pd.concat(tables, ignore_index=True)
    table = summarize(cells)
    verdicts = bars(cells)
    suffix = "-quick" if options.quick else ""
    if options.first_seed == 0:
        cells.to_csv(RESULTS / f"explanation_regularization{suffix}.csv", index=False)
        verdicts.to_csv(RESULTS / f"explanation_regularization_bars{suffix}.csv", index=False)
    with pd.option_context("display.width", 250, "display.max_columns", None, "display.max_colwidth", 80):
        for name, part in table.groupby("study", sort=False):
            print(f"\n{name}\n{part.drop(columns='study').set_index('method').to_string(na_rep='')}")
        if not options.quick:  # networks that have hardly been trained say nothing about the bars
            print(f"\n{verdicts.to_string(index=False)}")
    print(f"\n{time.perf_counter() - started:.0f} seconds; tables are in {RESULTS}")


def _data_folder():
    return Path(os.environ.get("SKLEARN_SHORTCUTS_DATA", ""))


def _has_data(folder):
    return "SKLEARN_SHORTCUTS_DATA" in os.environ and (_data_folder() / folder).is_dir()


def _read(path):
    return {record["method"]: record for record in pd.read_csv(path).to_dict("records")}


def _write(path, done):
    pd.DataFrame(list(done.values())).to_csv(path, index=False)


if __name__ == "__main__":
    main()
