"""Is there a shortcut, where, and in which rows?"""

from ._acquisition_display import AcquisitionProbeDisplay
from ._acquisition_probe import AcquisitionProbe
from ._balance_display import BalanceDisplay
from ._concept_decodability import concept_decodability
from ._concept_prototypes import ConceptPrototypes
from ._cross_acquisition import CrossAcquisition, cross_acquisition_matrix
from ._enrichment import enrichment_table
from ._extreme_activations import extreme_activation_matrix, extreme_activations
from ._hard_sample_display import HardSampleDisplay
from ._model_comparison import ModelComparison, compare_models
from ._model_comparison_display import ModelComparisonDisplay
from ._neuron_outliers import NeuronOutlierDetector
from ._prototypes_display import ConceptPrototypesDisplay
from ._reference_display import ReferenceSamplesDisplay
from ._reference_samples import ReferenceSamples, top_reference_samples
from ._region_display import RegionSensitivityDisplay
from ._region_sensitivity import RegionSensitivity
from ._shortcut_report import shortcut_report
from ._shortcut_report_display import ShortcutReportDisplay
from ._spectral_display import SpectralRelevanceDisplay
from ._spectral_relevance import SpectralRelevanceAnalysis
from ._tcav import TCAVScore, tcav_score

__all__ = [
    "AcquisitionProbe",
    "AcquisitionProbeDisplay",
    "BalanceDisplay",
    "ConceptPrototypes",
    "ConceptPrototypesDisplay",
    "CrossAcquisition",
    "HardSampleDisplay",
    "ModelComparison",
    "ModelComparisonDisplay",
    "NeuronOutlierDetector",
    "ReferenceSamples",
    "ReferenceSamplesDisplay",
    "RegionSensitivity",
    "RegionSensitivityDisplay",
    "ShortcutReportDisplay",
    "SpectralRelevanceAnalysis",
    "SpectralRelevanceDisplay",
    "TCAVScore",
    "compare_models",
    "concept_decodability",
    "cross_acquisition_matrix",
    "enrichment_table",
    "extreme_activation_matrix",
    "extreme_activations",
    "shortcut_report",
    "tcav_score",
    "top_reference_samples",
]
