"""Is there a shortcut, where, and in which rows?"""

from ._acquisition_probe import AcquisitionProbe
from ._enrichment import enrichment_table
from ._hard_sample_display import HardSampleDisplay
from ._model_comparison import ModelComparison, compare_models
from ._model_comparison_display import ModelComparisonDisplay
from ._region_display import RegionSensitivityDisplay
from ._region_sensitivity import RegionSensitivity

__all__ = [
    "AcquisitionProbe",
    "HardSampleDisplay",
    "ModelComparison",
    "ModelComparisonDisplay",
    "RegionSensitivity",
    "RegionSensitivityDisplay",
    "compare_models",
    "enrichment_table",
]
