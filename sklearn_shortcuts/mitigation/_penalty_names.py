"""Penalties by the names they are published under."""

from sklearn.base import clone

from ._contextual_decomposition_penalty import ContextualDecompositionPenalty
from ._counterexamples import CounterexampleAugmentation
from ._distance_penalty import DistancePenalty
from ._exemplar_triplet_penalty import ExemplarTripletPenalty
from ._grad_cam_penalty import GradCAMPenalty
from ._hint_penalty import HINTPenalty
from ._influence_penalty import InfluencePenalty
from ._input_gradient_penalty import InputGradientPenalty

_PENALTIES = {
    "cdep": ContextualDecompositionPenalty,
    "counterexamples": CounterexampleAugmentation,
    "distance": DistancePenalty,
    "exbl": ExemplarTripletPenalty,
    "hint": HINTPenalty,
    "rbr": InfluencePenalty,
    "rrr": InputGradientPenalty,
    "rrr_grad_cam": GradCAMPenalty,
}
PENALTY_NAMES = tuple(_PENALTIES)


def resolve_penalty(penalty):
    """Give the penalty that a name stands for, in the form that works, or a copy of the one given.

    Parameters
    ----------
    penalty : str or Penalty
        Name or description.

    Returns
    -------
    Penalty
        Description of its own.

    Raises
    ------
    ValueError
        If there is no penalty of that name.
    """
    if not isinstance(penalty, str):
        return clone(penalty)
    if penalty not in _PENALTIES:
        raise ValueError(f"penalty={penalty!r} is not known; there are {sorted(_PENALTIES)}, or give an object")
    return _PENALTIES[penalty]()
