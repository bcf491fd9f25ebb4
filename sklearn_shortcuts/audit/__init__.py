"""Is there a shortcut, where, and in which rows?"""

from ._balance_display import BalanceDisplay
from ._enrichment import enrichment_table
from ._hard_sample_display import HardSampleDisplay
from ._model_comparison import ModelComparison, compare_models
from ._model_comparison_display import ModelComparisonDisplay
from ._region_display import RegionSensitivityDisplay
from ._region_sensitivity import RegionSensitivity

__all__ = [
    "BalanceDisplay",
    "HardSampleDisplay",
    "ModelComparison",
    "ModelComparisonDisplay",
    "RegionSensitivity",
    "RegionSensitivityDisplay",
    "compare_models",
    "enrichment_table",
]
