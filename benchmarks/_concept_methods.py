"""Ways of repairing a network that rests on an artifact, all from the same unrefined network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sklearn.frozen import FrozenEstimator

from sklearn_shortcuts.latent import ConceptSubspace, ConceptVector
from sklearn_shortcuts.mitigation import (
    AClArCClassifier,
    ExplanationRegularizedClassifier,
    InputGradientPenalty,
    PClArC,
    RRClArCClassifier,
)

EPOCHS = 5
UNREFINED = "unrefined"
_EARLY, _MIDDLE, _LATE = range(3)


@dataclass(frozen=True)
class Method:
    """A repair.

    Attributes
    ----------
    candidates : list of callable
        ``candidate(unrefined, layers)`` gives an estimator, not fitted. Of several the best on clean and attacked
        validation rows is taken.
    control : str or None
        Name of the method that trains in the same way without repairing anything.
    """

    candidates: list[Callable]
    control: str | None = None

    def fit(self, study, unrefined, layers):
        """Repair a network.

        Parameters
        ----------
        study : ConceptStudy
            Rows.
        unrefined : NeuralImageClassifier
            Fitted; not changed.
        layers : tuple of str
            Layers in which the concept can be corrected.

        Returns
        -------
        model : estimator
            Fitted.
        chosen : int
            Number of the candidate that was taken.
        """
        models = [make(unrefined, layers).fit(study.train, study.train.target) for make in self.candidates]
        if len(models) == 1:
            return models[0], 0
        copies = study.validation, study.attacked_validation
        scores = [sum(model.score(rows, rows.target) for rows in copies) for model in models]
        chosen = scores.index(max(scores))
        return models[chosen], chosen


def _as_it_is(unrefined, layers):
    return FrozenEstimator(unrefined)


def _penalized(unrefined, layers, **options):
    return ExplanationRegularizedClassifier(
        warm_start_from=unrefined, mask_field="artifact_masks", refine_epochs=EPOCHS, **options
    )


def _trained_on(unrefined, layers, *, kind, place, concept, pool="max", **options):
    return kind(
        FrozenEstimator(unrefined), layers[place], concept=concept(), pool=pool, refine_epochs=EPOCHS, **options
    )


def _projected(unrefined, layers, *, place, concept, pool, **options):
    return PClArC(FrozenEstimator(unrefined), layers[place], concept=concept(), pool=pool, random_state=0, **options)


# Of rows of the attacked class only, so that the direction does not become that of the class.
_WITHIN_CLASS = partial(ConceptVector, "pattern", scope=1)
_OF_ALL = partial(ConceptVector, "pattern")
_SUBSPACE = partial(ConceptSubspace, "logistic", rank=2)
_EDITS = [
    {"place": place, "concept": concept, "pool": pool}
    for place in (_EARLY, _MIDDLE, _LATE)
    for concept, pool in ((_WITHIN_CLASS, "max"), (_OF_ALL, "mean"), (_SUBSPACE, "mean"))
]
_corrected = partial(_trained_on, kind=RRClArCClassifier, concept=_WITHIN_CLASS)
_augmented = partial(_trained_on, kind=AClArCClassifier, concept=_WITHIN_CLASS, level="artifact")
_cosine = InputGradientPenalty("max", distance="cosine")

METHODS = {
    UNREFINED: Method([_as_it_is]),
    "lambda = 0": Method([partial(_corrected, place=_MIDDLE, lambda_=0.0)]),
    "RR-ClArC": Method(
        [
            partial(_corrected, place=place, lambda_=strength)
            for place, strength in ((_LATE, 10.0), (_LATE, 100.0), (_MIDDLE, 100.0), (_EARLY, 100.0))
        ],
        control="lambda = 0",
    ),
    "A-ClArC": Method([partial(_augmented, place=place) for place in (_EARLY, _MIDDLE)], control="lambda = 0"),
    "P-ClArC": Method([partial(_projected, **edit) for edit in _EDITS], control="lambda = 0"),
    "reactive P-ClArC": Method(
        [partial(_projected, condition="concept", **edit) for edit in _EDITS], control="lambda = 0"
    ),
    "lambda = 0, whole network": Method([partial(_penalized, penalty="rrr", lambda_=0.0)]),
    "RRR": Method(
        [partial(_penalized, penalty="rrr"), partial(_penalized, penalty=_cosine, lambda_=10.0)],
        control="lambda = 0, whole network",
    ),
    "counterexamples": Method([partial(_penalized, penalty="counterexamples")], control="lambda = 0, whole network"),
}
