"""Sphinx configuration."""

import importlib
import inspect
import os
import sys
import warnings
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from api_reference import ROOMS  # noqa: E402

import sklearn_shortcuts  # noqa: E402
from benchmarks import _concept_tables as concept_tables  # noqa: E402
from benchmarks import _regularization_tables as regularization_tables  # noqa: E402
from benchmarks import hard_samples  # noqa: E402
from benchmarks.region_sensitivity_calibration import summarize  # noqa: E402

project = "sklearn-shortcuts"
author = "the sklearn-shortcuts developers"
project_copyright = "2026, the sklearn-shortcuts developers"
version = release = sklearn_shortcuts.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
INCLUDED = (  # by pages of the user guide
    *("calibration", "explanation_regularization", "covid_age_study"),
    *("hard_samples", "hard_sample_study"),
    *("acquisition_study", "acquisition_probe_calibration"),
    *("reveal2revise", "blind_discovery", "concept_retrieval", "spectral_scale", "life_cycle_study"),
)
MISSING = "The results are not part of this build."
exclude_patterns = ["_build", "examples", "templates", *(f"generated/{name}.rst" for name in INCLUDED)]
suppress_warnings = ["config.cache"]  # the gallery keeps a function in its configuration
templates_path = ["templates"]
html_theme = "pydata_sphinx_theme"
html_title = "sklearn-shortcuts"
html_static_path = ["static"]
html_css_files = ["custom.css"]
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_show_sourcelink = False
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/\d+_",
    "within_subsection_order": "FileNameSortKey",
    "backreferences_dir": None,
    "abort_on_example_error": True,
    "plot_gallery": "True",
    "remove_config_comments": True,
    "show_memory": False,
    "image_srcset": ["2x"],
    "min_reported_time": 1,
    # Figures that stand on the disk of whoever builds the pages must not differ from what a reader gets.
    "reset_modules": ("matplotlib", "seaborn"),
}
os.environ.setdefault("PYTHONHASHSEED", "0")
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive", category=UserWarning)


def write_api_pages():
    """Write one page per room from what the room exports."""
    generated = HERE / "generated"
    generated.mkdir(exist_ok=True)
    index = ["API reference", "=============", "", ".. toctree::", "   :maxdepth: 2", ""]
    for module_name, (title, purpose) in ROOMS.items():
        module = importlib.import_module(module_name)
        classes = [name for name in module.__all__ if inspect.isclass(getattr(module, name))]
        functions = [name for name in module.__all__ if inspect.isfunction(getattr(module, name))]
        lines = [title, "=" * len(title), "", f".. currentmodule:: {module_name}", "", purpose, ""]
        for template, names in (("class.rst", classes), ("function.rst", functions)):
            if names:
                lines += [".. autosummary::", "   :toctree: .", f"   :template: {template}", "   :nosignatures:", ""]
                lines += [f"   {name}" for name in names] + [""]
        page = module_name.rsplit(".", 1)[1]
        _write(generated / f"{page}.rst", lines)
        index.append(f"   {page}")
    _write(generated / "index.rst", [*index, ""])


def write_calibration():
    """Write what the page on region sensitivity shows of the calibration benchmark, if its results are there."""
    table, figure = (HERE / "images" / f"region_sensitivity_calibration.{kind}" for kind in ("csv", "png"))
    lines = [MISSING]
    if table.exists() and figure.exists():
        summary = summarize(pd.read_csv(table)).round(2)
        summary.to_csv(HERE / "generated" / "calibration_summary.csv")
        lines = [
            ".. csv-table:: Verdicts by kind of study. *rate* is the share of studies in which a shortcut is called, "
            "*low* to *high* its 95 % interval (Clopper and Pearson).",
            "   :file: ../generated/calibration_summary.csv",
            "   :header-rows: 1",
            "",
            f".. figure:: ../images/{figure.name}",
            "   :alt: One interval of the AUC without the lungs per study, colored by the verdict",
            "",
            "   AUC of the model that was trained and tested without the lungs, with its 95 % interval. "
            "One line is one study.",
            "",
            ".. dropdown:: All studies",
            "",
            "   .. csv-table::",
            f"      :file: ../images/{table.name}",
            "      :header-rows: 1",
        ]
    _write(HERE / "generated" / "calibration.rst", [*lines, ""])


def write_explanation_regularization():
    """Write the tables of the benchmark of explanation regularization, if its results are there."""
    generated, results = HERE / "generated", HERE / "images" / "explanation_regularization.csv"
    lines = [MISSING]
    if results.exists():
        cells = pd.read_csv(results)
        regularization_tables.bars(cells).to_csv(generated / "explanation_regularization_bars.csv", index=False)
        lines = [
            ".. csv-table:: What is promised of the default and of few exemplars, and whether it holds. Studies "
            "without decoys are shown beside, their verdicts in brackets.",
            "   :file: ../generated/explanation_regularization_bars.csv",
            "   :header-rows: 1",
            "",
        ]
        for number, (study, table) in enumerate(regularization_tables.summarize(cells).groupby("study", sort=False)):
            name = f"explanation_regularization_{study}.csv"
            table.drop(columns="study").to_csv(generated / name, index=False)
            n_seeds = cells.loc[cells["study"] == study, "seed"].nunique()
            lines += [
                f".. dropdown:: {study}, {n_seeds} seed{'s' * (n_seeds > 1)}",
                *["   :open:"] * (number == 0),
                "",
                "   .. csv-table::",
                f"      :file: ../generated/{name}",
                "      :header-rows: 1",
                "",
            ]
    _write(generated / "explanation_regularization.rst", [*lines, ""])


def write_covid_age_study():
    """Write table and figure of the Covid/age study on real radiographs, if they are there."""
    table, figure = (HERE / "images" / f"covid_age_study.{kind}" for kind in ("csv", "png"))
    lines = [MISSING]
    if table.exists() and figure.exists():
        lines = [
            ".. csv-table:: Real radiographs, mean and standard deviation over seeds.",
            f"   :file: ../images/{table.name}",
            "   :header-rows: 1",
            "",
            f".. figure:: ../images/{figure.name}",
            "   :alt: Activation precision, accuracy with exchanged surroundings and AUC of flipped groups per model",
            "",
            "   One point per seed, their mean as a bar.",
        ]
    _write(HERE / "generated" / "covid_age_study.rst", [*lines, ""])


def write_hard_samples():
    """Write the tables of the benchmark of hard samples, if its results are there."""
    generated, results = HERE / "generated", HERE / "images" / "hard_samples.csv"
    lines = [MISSING]
    if results.exists():
        cells = pd.read_csv(results)
        hard_samples.thresholds(cells).to_csv(generated / "hard_samples_thresholds.csv", index=False)
        lines = [
            ".. csv-table:: What is promised of the miner, and whether it holds. *T* is the number of epochs of the "
            "first training.",
            "   :file: ../generated/hard_samples_thresholds.csv",
            "   :header-rows: 1",
            "",
        ]
        for number, (task, table) in enumerate(hard_samples.summarize(cells).groupby("task", sort=False)):
            name = f"hard_samples_{task}.csv"
            table = table.drop(columns="task")
            table.loc[:, (table != "").any()].to_csv(generated / name, index=False)
            n_seeds = cells.loc[cells["task"] == task, "seed"].nunique()
            lines += [
                f".. dropdown:: Task {task}, {n_seeds} seed{'s' * (n_seeds > 1)}",
                *["   :open:"] * (number == 0),
                "",
                "   .. csv-table::",
                f"      :file: ../generated/{name}",
                "      :header-rows: 1",
                "",
            ]
    _write(generated / "hard_samples.rst", [*lines, ""])


def write_study(page, captions):
    """Write the tables of a study on real data, as far as they are there.

    Parameters
    ----------
    page : str
        What a page of the user guide includes.
    captions : dict of str to str
        Captions of the tables, by the names of their files.
    """
    lines = []
    for name, caption in captions.items():
        if (HERE / "images" / f"{name}.csv").exists():
            lines += [f".. csv-table:: {caption}", f"   :file: ../images/{name}.csv", "   :header-rows: 1", ""]
    _write(HERE / "generated" / f"{page}.rst", [*(lines or [MISSING]), ""])


def write_reveal2revise():
    """Write which repairs worked in the benchmark of concept removal, and its figures, if its results are there."""
    generated, results = HERE / "generated", HERE.parent / "benchmarks" / "results"
    cells, verdicts = (results / f"reveal2revise{ending}.csv" for ending in ("", "_verdicts"))
    lines = [MISSING]
    if cells.exists() and verdicts.exists():
        table = pd.read_csv(verdicts).fillna("")
        table.to_csv(generated / "reveal2revise_verdicts.csv", index=False)
        lines = [
            ".. csv-table:: Which repairs work. *gap* is clean minus attacked accuracy of the network before; where it "
            "is below 0.2 there is nothing to repair.",
            "   :file: ../generated/reveal2revise_verdicts.csv",
            "   :header-rows: 1",
            "",
        ]
        measured = pd.read_csv(cells)
        for study, part in concept_tables.summarize(measured).groupby("study", sort=False):
            name = f"reveal2revise_{study}.csv"
            part.drop(columns="study").to_csv(generated / name, index=False)
            n_seeds = measured.loc[measured["study"] == study, "seed"].nunique()
            lines += [
                f".. dropdown:: {study}, {n_seeds} seed{'s' * (n_seeds > 1)}, mean and standard deviation",
                "",
                "   .. csv-table::",
                f"      :file: ../generated/{name}",
                "      :header-rows: 1",
                "",
            ]
    _write(generated / "reveal2revise.rst", [*lines, ""])


def write_acquisition_calibration():
    """Write table and figure of the calibration of the acquisition probe, if they are there."""
    table, figure = (HERE / "images" / f"acquisition_probe_calibration.{kind}" for kind in ("csv", "png"))
    lines = [MISSING]
    if table.exists() and figure.exists():
        lines = [
            ".. csv-table:: Share of the studies in which the p-value is 0.05 or less, with its 95 % interval (Clopper "
            "and Pearson). In all but those that are not balanced it should be 0.05.",
            f"   :file: ../images/{table.name}",
            "   :header-rows: 1",
            "",
            f".. figure:: ../images/{figure.name}",
            "   :alt: Distribution functions of the p-values by kind of study",
            "",
            "   Distribution of the p-values. On the dotted line they are uniform.",
        ]
    _write(HERE / "generated" / "acquisition_probe_calibration.rst", [*lines, ""])


def _write(path, lines):
    text = "\n".join(lines)
    if not path.exists() or path.read_text() != text:  # an unchanged page is not built again
        path.write_text(text)


write_api_pages()
write_calibration()
write_explanation_regularization()
write_covid_age_study()
write_hard_samples()
write_study(
    "hard_sample_study",
    {
        "hard_sample_study": "Real radiographs, mean and standard deviation over seeds: scores on patients of all four "
        "groups.",
        "hard_sample_study_found": "What was found among the training rows, mean and standard deviation over seeds.",
    },
)
write_study(
    "acquisition_study",
    {
        "acquisition_probe_study": "What the fast probe tells, with 95 % intervals. *risk* is (2 AUC - 1) V.",
        "acquisition_balancer_study": "A network trained on radiographs in which the hospital goes with pneumonia in "
        "95 % of the rows, tested on patients of both hospitals; mean and standard deviation over seeds.",
    },
)
write_acquisition_calibration()
write_reveal2revise()
write_study(
    "blind_discovery", {"blind_discovery": "Average precision, and verdicts, by share of rows with the artifact."}
)
write_study(
    "concept_retrieval",
    {
        "concept_retrieval": "Means over seeds. *reached* is the round after which 90 % of the artifact rows were "
        "found, *goal* whether that was so with a precision of 0.9 in all seeds.",
    },
)
write_study(
    "life_cycle_study",
    {
        "life_cycle_study_found": "What was found, mean and standard deviation over seeds.",
        "life_cycle_study": "What repairs do to test rows without (*clean*) and with the artifact (*attacked*), mean "
        "and standard deviation over seeds.",
    },
)
write_study("spectral_scale", {"spectral_scale": "Memory in MiB beside that of the rows; *recall* is of neighbors."})
