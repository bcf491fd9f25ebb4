"""Probe real studies for hospital, view, age and recorder, and balance one of them, over several seeds.

Run ``python docs/make_acquisition_study.py [--seeds 3] [--jobs 2]`` with ``SKLEARN_SHORTCUTS_DATA`` naming a folder
that holds ``cxr_age``, ``cxr_nih64`` and ``ecg_ptbxl500``. The tables for the user guide go to
``docs/images/acquisition_probe_study.csv`` and ``acquisition_balancer_study.csv``. Rows for the balancer are those of
``make_hard_sample_study.py``: 95 % of the training rows with pneumonia are from one hospital, 95 % of those without
from another. A seed decides which patients are for testing, which rows are the exceptions, which rows are drawn, and
the initial weights.
"""

import argparse
import os
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from make_hard_sample_study import choose_rows, read_study, summarize
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline

from sklearn_shortcuts import AcquisitionBalancer, AcquisitionProbe, NeuralImageClassifier
from sklearn_shortcuts.datasets import load_study
from sklearn_shortcuts.neural import SmallCNN

PLAIN, MIXED = "plain", "half and half, as many rows"
# By name: parameters of the balancer, and how the network uses the weights.
METHODS = {
    PLAIN: None,
    "weight": ({"strategy": "weight"}, "loss"),
    "weight, drawn": ({"strategy": "weight"}, "sampling"),
    "undersample": ({"strategy": "undersample"}, "loss"),
    "oversample": ({"strategy": "oversample"}, "loss"),
    MIXED: None,
}


def read_hospitals(folder, size):
    """Read all radiographs; the proportions alone would tell the hospital, so they are stretched."""
    study = _in_memory(load_study(folder / "cxr_age", masks=False, size=size, resize="stretch"))
    return study, "source", study.target, None


def read_tied(folder, size):
    """Read the rows that the balancer's networks are trained on in seed 0."""
    train = split_rows(read_study(folder / "cxr_age", size), seed=0)[0]
    return train, "source", train.target, None


def read_minors(folder, size):
    """Read the radiographs of one hospital, of adults and of minors."""
    query = "source == 'nih_cxr14'"
    study = _in_memory(load_study(folder / "cxr_age", masks=False, query=query, size=size, resize="stretch"))
    return study, "age_group", study.target == "pneumonia", ["sex", "view"]


def read_views(folder, _size):
    """Read radiographs of one hospital, back to front (PA) or front to back (AP)."""
    study = _in_memory(load_study(folder / "cxr_nih64"))
    return study, "view", study.target == "abnormal", ["age", "sex"]


def read_recorders(folder, _size):
    """Read ECGs with known age, from recorders of two makes."""
    study = load_study(
        folder / "ecg_ptbxl500",
        array="ptbxl_100hz_500.npz",
        array_key="signal_uV",
        index="npz_index",
        axes="NTC",
        scale=1e-3,
        target=False,
        query="age < 120",
    )
    table = study.metadata
    study = study.with_fields(metadata=table.assign(make=table["device"].str.split("-").str[0]))
    return study, "make", (table["superclass"] != "NORM").to_numpy(), ["age", "sex"]


STUDIES = {
    "hospital, of three": read_hospitals,
    "hospital, of two, goes with pneumonia": read_tied,
    "minor or adult, in one hospital": read_minors,
    "view, in one hospital": read_views,
    "recorder of the ECG": read_recorders,
}


def probe_study(name, folder, *, size, n_permutations, network):
    """Probe one study.

    Parameters
    ----------
    name : str
        Which study.
    folder : Path
        Folder of all studies.
    size : int
        Height and width of radiographs that come in larger sizes.
    n_permutations : int
        Permutations of the fast probe.
    network : bool
        Train a network too.

    Returns
    -------
    DataFrame
        One row per probe.
    """
    import torch

    torch.set_num_threads(1)
    study, acquisition, label, covariates = STUDIES[name](folder, size)
    records = []
    for method in ("fast", "network")[: 1 + network]:
        started = time.process_time()
        probe = AcquisitionProbe(method=method, n_permutations=n_permutations, random_state=0)
        probe.fit(study, acquisition, y=label, covariates=covariates)
        scores, risk = probe.scores_.loc[method], probe.shortcut_risk_.sort_values("risk").iloc[-1]
        tied = probe.association_.loc[risk.name]
        record = {
            "what": name,
            "probe": method,
            "images": len(study),
            "patients": len(np.unique(study.groups)),
            "balanced": "" if covariates is None else ", ".join(covariates),
            "accuracy": _interval(scores["accuracy"], scores["accuracy_low"], scores["accuracy_high"]),
            "balanced accuracy": _interval(
                scores["balanced_accuracy"], scores["balanced_accuracy_low"], scores["balanced_accuracy_high"]
            ),
            "AUC": _interval(scores["auc"], scores["auc_low"], scores["auc_high"]),
            "p": f"{scores['pvalue']:.2g}",
            "told most by": "",
            "Cramér's V with the label": _interval(tied["cramers_v"], tied["low"], tied["high"]),
            "AUC of the label from the predicted acquisition": _interval(risk["auc"], risk["low"], risk["high"]),
            "risk": f"{risk['risk']:.2f}",
            "seconds": f"{time.process_time() - started:.0f}",
        }
        if probe.evidence_ is not None:
            best = probe.evidence_.sort_values("auc").iloc[-1]
            record["told most by"] = f"{best.name} (AUC {best['auc']:.2f})"
        records.append(record)
    return pd.DataFrame(records)


def split_rows(bunch, seed):
    """Split radiographs by patient into rows to train on, in which hospital and label go together, and others.

    Parameters
    ----------
    bunch : ImageBunch
        Radiographs of two hospitals.
    seed : int
        Decides.

    Returns
    -------
    train, mixed, test : ImageBunch
        Rows to train on; as many of the same patients and others in which hospital and label are as independent as in
        all rows; and those of the patients for testing.
    """
    learn, test = next(GroupShuffleSplit(1, test_size=1 / 3, random_state=seed).split(bunch, groups=bunch.groups))
    rng = np.random.default_rng(seed)
    pool = bunch[learn]
    train = pool[choose_rows(pool, rng)]
    return train, pool[np.sort(rng.permutation(len(pool))[: len(train)])], bunch[test]


def balance_study(seed, folder, *, size, max_epochs):
    """Train on rows in which the hospital goes with the label, with and without balance.

    Parameters
    ----------
    seed : int
        Decides the split, the exceptions, the draws and the initial weights.
    folder : Path
        Folder of all studies.
    size : int
        Height and width of the radiographs.
    max_epochs : int
        Epochs of each network.

    Returns
    -------
    DataFrame
        One row per method.
    """
    import torch

    torch.set_num_threads(1)
    train, mixed, test = split_rows(read_study(folder / "cxr_age", size), seed)
    source = test.metadata["source"].to_numpy()
    flipped = test.target != (source == "kermany")
    network = NeuralImageClassifier(
        SmallCNN(width=8), batch_size=32, lr=1e-3, max_epochs=max_epochs, normalize="channel", random_state=seed
    )
    records = []
    for name, settings in METHODS.items():
        started = time.process_time()
        model, n_rows, n_effective = clone(network), len(train), float(len(train))
        if settings is not None:
            parameters, weighting = settings
            balancer = AcquisitionBalancer(acquisition="source", **parameters, random_state=seed).fit(train)
            n_rows, n_effective = int((balancer.sample_weight_ > 0).sum()), balancer.effective_sample_size_
            # Rows of weight 0 count as absent: more epochs make about as many steps.
            model.set_params(weighting=weighting, max_epochs=round(max_epochs * len(train) / n_rows))
            model = make_pipeline(balancer, model)
        score = model.fit(mixed if name == MIXED else train).predict_proba(test)[:, 1]
        records.append(
            {
                "method": name,
                "seed": seed,
                "rows": n_rows,
                "effective rows": n_effective,
                "AUC, related groups": roc_auc_score(test.target[~flipped], score[~flipped]),
                "AUC, flipped groups": roc_auc_score(test.target[flipped], score[flipped]),
                **{
                    f"AUC, in {hospital}": roc_auc_score(test.target[source == hospital], score[source == hospital])
                    for hospital in np.unique(source)
                },
                "seconds": time.process_time() - started,
            }
        )
    return pd.DataFrame(records)


def _in_memory(study):
    return study.with_images(np.asarray(study))


def _interval(value, low, high):
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def main():
    """Run all probes and seeds; write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of the balancer's networks")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--size", type=int, default=64, help="height and width of the images")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of the balancer's networks")
    parser.add_argument("--permutations", type=int, default=99, help="permutations of each fast probe")
    parser.add_argument("--studies", nargs="*", choices=list(STUDIES), default=list(STUDIES), help="which to probe")
    parser.add_argument("--network", action="store_true", help="probe by a network too, which takes minutes")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images", help="folder for the results")
    options = parser.parse_args()
    if "SKLEARN_SHORTCUTS_DATA" not in os.environ:
        parser.error("the environment variable SKLEARN_SHORTCUTS_DATA must name a folder that holds the studies")
    started = time.perf_counter()
    folder = Path(os.environ["SKLEARN_SHORTCUTS_DATA"])
    probes = [
        joblib.delayed(probe_study)(
            name,
            folder,
            size=options.size,
            n_permutations=options.permutations,
            network=options.network,
        )
        for name in options.studies
    ]
    trainings = [
        joblib.delayed(balance_study)(seed, folder, size=options.size, max_epochs=options.epochs)
        for seed in range(options.seeds)
    ]
    results = []
    for part in joblib.Parallel(n_jobs=options.jobs, return_as="generator")([*probes, *trainings]):
        results.append(part)
        print(f"{time.perf_counter() - started:5.0f} s: {len(results)} of {len(probes) + len(trainings)}", flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    tables = {}
    if probes:
        tables["acquisition_probe_study"] = pd.concat(results[: len(probes)]).set_index(["what", "probe"])
    if trainings:
        cells = pd.concat(results[len(probes) :])
        tables["acquisition_balancer_study"] = summarize(cells, list(cells)[2:])
    for name, table in tables.items():
        table.to_csv(options.output / f"{name}.csv")
        print(f"{table.to_string()}\n")
    print(f"{time.perf_counter() - started:.0f} seconds; tables are in {options.output}")


if __name__ == "__main__":
    main()
