"""Is there a shortcut, where, and in which rows?"""

from ._region_display import RegionSensitivityDisplay
from ._region_sensitivity import RegionSensitivity

__all__ = ["RegionSensitivity", "RegionSensitivityDisplay"]
