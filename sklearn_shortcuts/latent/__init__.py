"""What the layers of a network hold: activations, and the directions of concepts in them."""

from ._concept_localizer import ConceptLocalizer
from ._concept_subspace import ConceptSubspace
from ._concept_vector import ConceptVector
from ._layer_features import LayerFeatures

__all__ = ["ConceptLocalizer", "ConceptSubspace", "ConceptVector", "LayerFeatures"]
