"""What do people say about these rows?"""

from ._annotator import ConceptAnnotator
from ._sheet import read_review_sheet, write_review_sheet

__all__ = ["ConceptAnnotator", "read_review_sheet", "write_review_sheet"]
