"""Find, show, remove and re-check shortcuts in medical-image classifiers."""

from ._show_versions import show_versions
from ._version import __version__
from .images import ImageBunch

__all__ = ["ImageBunch", "__version__", "show_versions"]
