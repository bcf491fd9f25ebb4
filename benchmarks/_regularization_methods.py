"""The ways of training that the benchmark of explanation regularization compares."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts.mitigation import (
    ExemplarTripletPenalty,
    ExplanationRegularizedClassifier,
    GradCAMPenalty,
    suggest_exemplars,
)
from sklearn_shortcuts.preprocessing import ROIMasker

from ._decoy_networks import FlatCNN

DEFAULT = "counterexamples (default)"
FEW_EXEMPLARS = ("eXBL repaired, 1 pair", "eXBL repaired, 5 pairs")


@dataclass(frozen=True)
class Method:
    """A way of training.

    Attributes
    ----------
    make : callable
        ``make(study)`` gives the estimator, not fitted.
    refines : bool
        Whether it goes on from the unrefined network.
    clean : bool
        Whether it learns from rows without the shortcut.
    n_pairs : int
        Pairs of exemplars that it takes in place of masks.
    suits : callable
        ``suits(study)`` gives None, or why the method cannot be used there. By default it always can.
    """

    make: Callable
    refines: bool = True
    clean: bool = False
    n_pairs: int = 0
    suits: Callable | None = None

    def fit(self, study, unrefined):
        """Train on a study, from the unrefined network if the method refines."""
        estimator = self.make(study)
        if self.refines:
            estimator.set_params(warm_start_from=unrefined)
        if self.n_pairs:
            marked = np.flatnonzero(np.asarray(study.train.masks).any(axis=(1, 2)))
            # Both forms learn from the same rows, as if one person had chosen them.
            found = suggest_exemplars(unrefined, study.train[marked], k=self.n_pairs, mask_role=study.mask_role)
            estimator.set_params(exemplars=(marked[found.good], marked[found.bad]))
        rows = study.clean_train if self.clean else study.train
        return estimator.fit(rows, rows.target)


def _with_penalty(penalty, **settings):
    def make(study):
        return ExplanationRegularizedClassifier(
            study.network,
            penalty=penalty if isinstance(penalty, str) else clone(penalty),
            mask_role=study.mask_role,
            refine_epochs=study.refine_epochs,
            refine_lr=study.refine_lr,
            **settings,
        )

    return make


def _longer(study):
    """The network alone, for as many epochs as the refined ones have seen in all."""
    return clone(study.network).set_params(max_epochs=study.network.max_epochs + study.refine_epochs)


def _from_scratch(study):
    return ExplanationRegularizedClassifier(_longer(study), penalty="rrr", mask_role=study.mask_role, refine=False)


def _masked(study):
    select = FunctionTransformer(_see_roi, check_inverse=False)
    return make_pipeline(select, ROIMasker(on_missing="fill"), _longer(study))


def _see_roi(bunch):
    return bunch.with_fields(masks=bunch.roi)


def _plain_relu_network(study):
    if isinstance(study.network.module, FlatCNN):
        return None
    return "the network has normalization layers, which contextual decomposition has no rule for"


def _small_rows(study):
    return None if np.prod(study.train.image_shape) <= 28 * 28 else "three derivatives take too long at this size"


METHODS = {
    "unrefined": Method(lambda study: clone(study.network), refines=False),
    "clean data": Method(_longer, refines=False, clean=True),
    "lambda = 0": Method(_with_penalty("rrr", lambda_=0)),
    DEFAULT: Method(_with_penalty("counterexamples")),
    "RRR": Method(_with_penalty("rrr")),
    "RRR from scratch": Method(_from_scratch, refines=False),
    "ROIMasker": Method(_masked, refines=False),
    "RRR Grad-CAM published": Method(_with_penalty(GradCAMPenalty("published"))),
    "RRR Grad-CAM repaired": Method(_with_penalty("rrr_grad_cam")),
    "eXBL published, 1 pair": Method(_with_penalty(ExemplarTripletPenalty("published")), n_pairs=1),
    "eXBL published, 5 pairs": Method(_with_penalty(ExemplarTripletPenalty("published")), n_pairs=5),
    "eXBL repaired, 1 pair": Method(_with_penalty(ExemplarTripletPenalty()), n_pairs=1),
    "eXBL repaired, 5 pairs": Method(_with_penalty(ExemplarTripletPenalty()), n_pairs=5),
    "HINT": Method(_with_penalty("hint")),
    "distance": Method(_with_penalty("distance")),
    "CDEP": Method(_with_penalty("cdep"), suits=_plain_relu_network),
    "RBR": Method(_with_penalty("rbr", lambda_=0.01), suits=_small_rows),
}
