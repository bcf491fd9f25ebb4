"""Scores with their uncertainty: areas under ROC curves, comparisons and corrections for many tests."""

from ._auc_interval import AUCInterval, auc_interval
from ._corrected_t_test import CorrectedTResult, corrected_t_test
from ._delong import DeLongResult, auc_covariance, delong_roc_test
from ._multiple_testing import holm_correction

__all__ = [
    "AUCInterval",
    "CorrectedTResult",
    "DeLongResult",
    "auc_covariance",
    "auc_interval",
    "corrected_t_test",
    "delong_roc_test",
    "holm_correction",
]
