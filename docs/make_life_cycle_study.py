"""Go through the life cycle of a concept on real radiographs and ECGs, over several seeds.

Run ``python docs/make_life_cycle_study.py [--seeds 3]`` with ``SKLEARN_SHORTCUTS_DATA`` naming a folder that holds
``cxr_age`` and ``ecg_ptbxl500``. A burnt-in date is planted into 70 % of the radiographs with pneumonia, a defective
lead into half of the abnormal ECGs, and into none of the others; a network is trained on them. Then the artifact is
found without labels, ten confirmed rows and the truth in the place of a person retrieve the others, and the labels so
found are what localization and repairs get. Tables and figure for the user guide go to ``docs/images``, as
``life_cycle_study_found.csv``, ``life_cycle_study.csv`` and ``life_cycle_study.png``. A seed decides which patients are
for testing, where artifacts are, and the initial weights.
"""

import argparse
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from make_hard_sample_study import summarize
from matplotlib.figure import Figure
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupShuffleSplit

from sklearn_shortcuts import ExplanationRegularizedClassifier, ImageBunch, NeuralImageClassifier
from sklearn_shortcuts.audit import SpectralRelevanceAnalysis, shortcut_report
from sklearn_shortcuts.datasets import ArtifactInjector, load_study
from sklearn_shortcuts.latent import ConceptLocalizer, ConceptVector, LayerFeatures
from sklearn_shortcuts.mitigation import PClArC, RRClArCClassifier
from sklearn_shortcuts.neural import ECGResNet, SmallCNN
from sklearn_shortcuts.review import ConceptAnnotator

_EPOCHS = 5  # of training with a penalty
_N_CONFIRMED = 10
_MEASURES = {
    "accuracy_clean": "clean",
    "accuracy_attacked": "attacked",
    "flip_rate": "flip rate",
    "recovery": "recovery",
}


def read_radiographs(folder):
    """Read radiographs of children with and without pneumonia."""
    study = load_study(folder / "cxr_age", query="source == 'kermany'", size=48)
    pneumonia = (np.asarray(study.target) == "pneumonia").astype(np.int64)
    return ImageBunch(np.clip(np.asarray(study), 0, 1), target=pneumonia, groups=study.groups)


def read_ecgs(folder):
    """Read the first five seconds of ECGs, normal or not."""
    study = load_study(
        folder / "ecg_ptbxl500",
        array="ptbxl_100hz_500.npz",
        array_key="signal_uV",
        index="npz_index",
        axes="NTC",
        scale=1e-3,
        target=False,
    )
    abnormal = (study.metadata["superclass"] != "NORM").to_numpy().astype(np.int64)
    return ImageBunch(np.asarray(study)[:, :, :500], target=abnormal, groups=study.groups, signal=True)


@dataclass(frozen=True)
class Study:
    """What is read, planted and trained.

    Attributes
    ----------
    read : callable
        ``read(folder)`` gives the rows.
    artifact : dict
        Parameters of the injector.
    share : float
        Share of the rows of class 1 that get the artifact in training.
    module : ModuleSpec
        Network.
    training : dict
        Parameters of the classifier.
    found_in, repaired_in : str
        Layers in which the artifact is looked for, and corrected.
    """

    read: object
    artifact: dict
    share: float
    module: object
    training: dict
    found_in: str
    repaired_in: str


STUDIES = {
    "radiographs, date": Study(
        read_radiographs,
        {"artifact": "timestamp", "scale": 2.0},
        0.7,
        SmallCNN(width=8),
        {"lr": 3e-3, "max_epochs": 15},
        "features.2",
        "last",
    ),
    "PTB-XL, defective lead": Study(
        read_ecgs,
        {"artifact": "lead_noise", "sampling_rate": 100},
        0.5,
        ECGResNet((1, 1, 1), width=24, expansion=1),
        {"optimizer": "adam", "lr": 1e-3, "max_epochs": 15},
        "stage3",
        "pool",
    ),
}


def run_seed(study, rows, seed):
    """Go through the life cycle once.

    Parameters
    ----------
    study : Study
        What is planted and trained.
    rows : ImageBunch
        Rows without the artifact.
    seed : int
        Decides everything.

    Returns
    -------
    found : dict
        How well the artifact was found, retrieved and localized.
    repaired : DataFrame
        One row per model.
    shown : tuple of ndarray
        Some rows with the artifact, and their masks.
    """
    learn, test = next(GroupShuffleSplit(1, test_size=1 / 3, random_state=seed).split(rows, groups=rows.groups))
    train, clean = rows[learn], rows[test]
    planted = ArtifactInjector(**study.artifact, probability={0: 0.0, 1: study.share}, random_state=2 * seed)
    train = planted.inject(train, train.target)
    attacked = ArtifactInjector(**study.artifact, random_state=2 * seed + 1).fit(clean).attack(clean)
    network = NeuralImageClassifier(
        study.module, batch_size=32, normalize="channel", random_state=seed, **study.training
    ).fit(train)

    activations = LayerFeatures(network, study.found_in, pool="max").fit_transform(train)
    analysis = SpectralRelevanceAnalysis(random_state=seed).fit(activations, train.target)
    truth, ill = np.asarray(train.artifact).astype(int), train.target == 1
    share = pd.Series(truth).groupby(analysis.labels_).mean().reindex(analysis.clusters_["cluster"])
    places = np.flatnonzero(share.to_numpy() > 0.5)
    seeds = np.full(len(truth), -1)
    seeds[np.random.default_rng(seed).permutation(np.flatnonzero(truth))[:_N_CONFIRMED]] = 1
    annotator = ConceptAnnotator(random_state=seed).fit(activations, seeds, groups=train.groups)
    annotator.run(lambda asked: truth[asked], max_rounds=5)
    retrieved = annotator.evaluate(truth)
    labeled = train.with_fields(artifact=annotator.transduction_)
    localizer = ConceptLocalizer(network, ConceptVector("svm", C=0.01), layer=study.found_in, method="lrp")
    outlines = localizer.fit(labeled).predict(labeled)
    found = {
        "average precision": average_precision_score(truth[ill], analysis.outlier_scores_[ill]),
        "place of the first artifact cluster": places[0] + 1 if len(places) else np.nan,
        "called suspicious": float(analysis.verdicts_.loc[1, "suspicious"]),
        "recall": retrieved["recall"],
        "precision": retrieved["precision"],
        "IoU of masks": localizer.score(train),
    }

    fitted, concept = FrozenEstimator(network), ConceptVector("pattern", scope=1)
    trained = {"layer": study.repaired_in, "concept": concept, "refine_epochs": _EPOCHS}
    models = {
        "P-ClArC": PClArC(fitted, study.repaired_in, concept=concept),
        "reactive P-ClArC": PClArC(fitted, study.repaired_in, concept=concept, condition="concept", random_state=seed),
        "lambda = 0": RRClArCClassifier(fitted, lambda_=0.0, **trained),
        "RR-ClArC": RRClArCClassifier(fitted, lambda_=10.0, **trained),
        "localized masks": ExplanationRegularizedClassifier(
            warm_start_from=network, mask_field="artifact_masks", refine_epochs=_EPOCHS
        ),
    }
    masked = labeled.with_fields(artifact_masks=outlines)
    fits = {name: model.fit(masked) for name, model in models.items()}
    report = shortcut_report(
        {"before": network, **fits},
        clean,
        X_clean=clean,
        X_attacked=attacked,
        artifact=np.zeros(len(clean), dtype=int),
        baseline="before",
        n_resamples=100,
        random_state=seed,
    )
    repaired = report[list(_MEASURES)].rename(columns=_MEASURES).rename_axis("method").reset_index()
    some = np.flatnonzero(truth)[:4]
    return found, repaired.assign(seed=seed), (np.asarray(train)[some], outlines[some])


def draw(shown):
    """Draw rows with the outlines that were found."""
    figure = Figure(figsize=(9, 2.2 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), 4, squeeze=False)
    for line, (name, (images, outlines)) in zip(axes, shown.items()):
        line[0].set_ylabel(name)
        for axis, image, outline in zip(line, images, outlines):
            axis.set(xticks=[], yticks=[])
            if outline.ndim == 1:
                axis.plot(image[1], linewidth=0.8)
                limits = axis.get_xaxis_transform()
                axis.fill_between(np.arange(len(outline)), 0, 1, where=outline, transform=limits, color="0.8")
            else:
                axis.imshow(np.squeeze(image), cmap="gray", vmin=0, vmax=1)
                if outline.any():
                    axis.contour(outline, levels=[0.5], colors="tab:orange")
    return figure


def main():
    """Run all seeds; write tables and figure."""
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0, help="first seed")
    parser.add_argument("--studies", nargs="+", choices=list(STUDIES), default=list(STUDIES), help="which studies")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "images", help="folder for the results")
    options = parser.parse_args()
    if "SKLEARN_SHORTCUTS_DATA" not in os.environ:
        parser.error("the environment variable SKLEARN_SHORTCUTS_DATA must name a folder that holds the studies")
    folder, started = Path(os.environ["SKLEARN_SHORTCUTS_DATA"]), time.perf_counter()
    records, cells, shown = [], [], {}
    for name in options.studies:
        rows = STUDIES[name].read(folder)
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of rows whose relevance is not conserved
                found, repaired, some = run_seed(STUDIES[name], rows, seed)
            records.append({"method": name, "seed": seed, **found})
            cells.append(repaired.assign(study=name))
            shown.setdefault(name, some)
            print(f"{time.perf_counter() - started:5.0f} s: {name}, seed {seed}", flush=True)
    columns = list(records[0])[2:]
    cells = pd.concat(cells)
    repairs = {name: summarize(part, list(_MEASURES.values())) for name, part in cells.groupby("study", sort=False)}
    tables = {
        "life_cycle_study_found": summarize(pd.DataFrame(records), columns).rename_axis("study"),
        "life_cycle_study": pd.concat(repairs, names=["study"]),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(options.output / f"{name}.csv")
        print(f"{table.to_string()}\n")
    draw(shown).savefig(options.output / "life_cycle_study.png", dpi=100)
    print(f"{time.perf_counter() - started:.0f} seconds; results are in {options.output}")


if __name__ == "__main__":
    main()
