"""Find, show, remove and re-check shortcuts in medical-image classifiers."""

from ._version import __version__
from .images import ImageBunch

__all__ = ["ImageBunch", "__version__"]
