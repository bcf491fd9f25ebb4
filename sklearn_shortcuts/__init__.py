"""Find, show, remove and re-check shortcuts in medical-image classifiers."""

from importlib import import_module as _import_module

from ._show_versions import show_versions
from ._version import __version__
from .images import ImageBunch

# The networks bring torch along, which takes seconds to import: these names are looked up when they are asked for.
_HOMES = {
    "AcquisitionBalancer": "preprocessing",
    "AcquisitionProbe": "audit",
    "AcquisitionProbeDisplay": "audit",
    "ArtifactInjector": "datasets",
    "BAMHardSampleMiner": "mitigation",
    "ExplanationRegularizedClassifier": "mitigation",
    "NeuralImageClassifier": "neural",
    "ROIMasker": "preprocessing",
    "RegionSensitivity": "audit",
    "RegionSensitivityDisplay": "audit",
    "SaliencyDisplay": "explain",
    "compare_models": "audit",
    "grad_cam": "explain",
    "make_chest_phantoms": "datasets",
}

__all__ = ["ImageBunch", "__version__", "show_versions", *_HOMES]


def __getattr__(name):
    if name in _HOMES:
        return getattr(_import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_HOMES])
