"""Is there a shortcut, where, and in which rows?"""

from ._acquisition_display import AcquisitionProbeDisplay
from ._acquisition_probe import AcquisitionProbe
from ._balance_display import BalanceDisplay
from ._cross_acquisition import CrossAcquisition, cross_acquisition_matrix
from ._enrichment import enrichment_table
from ._hard_sample_display import HardSampleDisplay
from ._model_comparison import ModelComparison, compare_models
from ._model_comparison_display import ModelComparisonDisplay
from ._region_display import RegionSensitivityDisplay
from ._region_sensitivity import RegionSensitivity
from ._spectral_display import SpectralRelevanceDisplay
from ._spectral_relevance import SpectralRelevanceAnalysis

__all__ = [
    "AcquisitionProbe",
    "AcquisitionProbeDisplay",
    "BalanceDisplay",
    "CrossAcquisition",
    "HardSampleDisplay",
    "ModelComparison",
    "ModelComparisonDisplay",
    "RegionSensitivity",
    "RegionSensitivityDisplay",
    "SpectralRelevanceAnalysis",
    "SpectralRelevanceDisplay",
    "compare_models",
    "cross_acquisition_matrix",
    "enrichment_table",
]
