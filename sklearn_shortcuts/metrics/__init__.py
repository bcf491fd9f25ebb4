"""Scores with their uncertainty: areas under ROC curves, saliency maps against regions, counterfactuals."""

from ._association import AssociationInterval, cramers_v
from ._auc_interval import AUCInterval, auc_interval
from ._calibration_error import expected_calibration_error
from ._corrected_t_test import CorrectedTResult, corrected_t_test
from ._counterfactual import CounterfactualScore, flip_rate, region_removal_auc, region_swap_accuracy
from ._counterfactual_scorer import make_counterfactual_scorer
from ._delong import DeLongResult, auc_covariance, delong_roc_test
from ._group_scorer import make_group_scorer
from ._multiple_testing import holm_correction
from ._paired_recovery import GapClosed, PairedRecovery, gap_closed, paired_recovery
from ._region_swap import swap_regions
from ._relevance import artifact_relevance, relevance_mass_accuracy, relevance_rank_accuracy
from ._saliency import activation_precision, pointing_game, saliency_iou, wrong_reason_score
from ._saliency_rows import SaliencyScore
from ._subgroup_scores import (
    class_difference,
    make_subgroups,
    subgroup_accuracy,
    subgroup_scores,
    worst_class_accuracy,
)

__all__ = [
    "AUCInterval",
    "AssociationInterval",
    "CorrectedTResult",
    "CounterfactualScore",
    "DeLongResult",
    "GapClosed",
    "PairedRecovery",
    "SaliencyScore",
    "activation_precision",
    "artifact_relevance",
    "auc_covariance",
    "auc_interval",
    "class_difference",
    "corrected_t_test",
    "cramers_v",
    "delong_roc_test",
    "expected_calibration_error",
    "flip_rate",
    "gap_closed",
    "holm_correction",
    "make_counterfactual_scorer",
    "make_group_scorer",
    "make_subgroups",
    "paired_recovery",
    "pointing_game",
    "region_removal_auc",
    "region_swap_accuracy",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "saliency_iou",
    "subgroup_accuracy",
    "subgroup_scores",
    "swap_regions",
    "worst_class_accuracy",
    "wrong_reason_score",
]
