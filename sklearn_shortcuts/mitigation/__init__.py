"""Train or edit the network so that it stops using a shortcut."""

from ._augmentive_correction import AClArCClassifier
from ._concept_correction import RRClArCClassifier
from ._concept_logistic import ConceptRegularizedLogisticRegression
from ._concept_projection import PClArC
from ._concept_projector import ConceptProjector
from ._contextual_decomposition_penalty import ContextualDecompositionPenalty
from ._counterexamples import CounterexampleAugmentation
from ._distance_penalty import DistancePenalty
from ._exemplar_triplet_penalty import ExemplarTripletPenalty
from ._explanation_regularized import ExplanationRegularizedClassifier
from ._grad_cam_penalty import GradCAMPenalty
from ._group_dro import GroupDROClassifier
from ._hard_samples import BAMHardSampleMiner
from ._hint_penalty import HINTPenalty
from ._influence_penalty import InfluencePenalty
from ._input_gradient_penalty import InputGradientPenalty
from ._jtt import JTTClassifier
from ._label_quality import label_quality
from ._last_layer import LastLayerRetraining
from ._lff import LfFClassifier
from ._selector import HardSampleSelector
from ._suggest_exemplars import suggest_exemplars

__all__ = [
    "AClArCClassifier",
    "BAMHardSampleMiner",
    "ConceptProjector",
    "ConceptRegularizedLogisticRegression",
    "ContextualDecompositionPenalty",
    "CounterexampleAugmentation",
    "DistancePenalty",
    "ExemplarTripletPenalty",
    "ExplanationRegularizedClassifier",
    "GradCAMPenalty",
    "GroupDROClassifier",
    "HINTPenalty",
    "HardSampleSelector",
    "InfluencePenalty",
    "InputGradientPenalty",
    "JTTClassifier",
    "LastLayerRetraining",
    "LfFClassifier",
    "PClArC",
    "RRClArCClassifier",
    "label_quality",
    "suggest_exemplars",
]
