"""Training on of the layers behind the one in which a concept lives."""

import copy

from ..latent import ConceptVector, LayerFeatures
from ..neural._layer_names import resolve_layer
from ..neural._structure import find_head
from ..neural._training import objective_fields, renew_network
from ._concept_labels import check_artifact, directions, fit_concept, is_fitted
from ._network_meta import NetworkMetaEstimator, given_or_field
from ._refinement import history_table, train_with_penalty, training_weights
from ._regularization import Regularization
from ._training_cache import Training, fit_once


class ConceptRefinement(NetworkMetaEstimator):
    """Base of classifiers that train the layers behind a concept's layer on; not public.

    A subclass has the parameters ``estimator``, ``layer``, ``concept``, ``pool``, ``channel_axis``, ``refine_epochs``,
    ``refine_lr``, ``gradient_clip`` and ``memory``.
    """

    _goes_on = True

    def __sklearn_clone__(self):
        again = super().__sklearn_clone__()
        if is_fitted(self.concept):
            again.concept = self.concept  # it would no longer be what it is
        return again

    def _check_criterion(self, classifier):
        """Any criterion will do."""

    def _forget(self):
        super()._forget()
        for name in ("unrefined_", "concept_"):
            if hasattr(self, name):
                delattr(self, name)

    def _refine(self, X, y, artifact, sample_weight, groups):
        """Train, fit the concept, and train on.

        Parameters
        ----------
        X, y, artifact, sample_weight, groups : array-like
            As in ``fit``.
        """
        rows = self._start(X, y, sample_weight, groups)
        self._check_classifier(rows.classifier)
        artifact = given_or_field(rows.bunch, "artifact", artifact)
        artifact, _ = check_artifact(artifact, len(rows.labels))
        unrefined = self._unrefined(rows)
        features = LayerFeatures(
            unrefined, self.layer, pool=self.pool, channel_axis=self.channel_axis, batch_size=unrefined.batch_size
        )
        features.fit(rows.bunch[:1])
        frozen = last_frozen(unrefined.module_, self.layer, unrefined.freeze)
        self.concept_ = self._fitted_concept(rows, features, artifact)
        basis = directions(self.concept_, features.n_features_out_)
        model, own = copy.deepcopy(unrefined), unrefined.freeze
        counts = training_weights(rows.weights, unrefined.class_weight, rows.encoding, rows.labels)
        penalty, strength, balance = self._objective(basis, rows, features, artifact, counts)
        regularization = Regularization(penalty, strength=strength, first_epoch=len(unrefined.net_.history))
        regularization.annotated_share = self._share(artifact, counts)
        model.set_params(freeze=frozen)
        term = train_with_penalty(
            model,
            regularization,
            (rows.bunch, rows.y, rows.options()),
            gradient_clip=self.gradient_clip,
            epochs=self.refine_epochs,
            lr=self.refine_lr,
            balance=balance,
        )
        model.set_params(freeze=own)
        renew_network(model.net_, model)
        self.history_ = history_table(model, term)
        self.estimator_, self.unrefined_ = self._finish(rows, model, unrefined)
        return term

    def _check_classifier(self, classifier):
        if classifier.penalty is not None:
            raise ValueError(
                f"the classifier has a penalty of its own, {type(classifier.penalty).__name__}, which "
                f"{type(self).__name__} takes the place of; leave it out"
            )

    def _unrefined(self, rows):
        """The network to go on with; that of the user is not touched."""
        if hasattr(rows.classifier, "net_"):
            return copy.deepcopy(rows.classifier)
        fields = objective_fields(rows.classifier)
        return fit_once(Training(rows.classifier, rows.bunch, rows.y, rows.options(), fields), self.memory)

    def _fitted_concept(self, rows, features, artifact):
        concept = ConceptVector("pattern", layer=self.layer) if self.concept is None else self.concept
        layer = getattr(concept, "layer_", None)
        if layer is not None and layer != self.layer:
            raise ValueError(f"concept was fitted on layer {layer!r}, but layer={self.layer!r}; give layer={layer!r}")
        return fit_concept(
            concept,
            lambda used: features.transform(rows.bunch[used]),
            artifact,
            y=rows.labels,
            sample_weight=rows.weights.sample_weight,
        )

    def _objective(self, basis, rows, features, artifact, counts):
        """Penalty, its strength, and what sets that if it is None."""
        raise NotImplementedError

    def _share(self, artifact, counts):
        """Share of the rows that the penalty is a mean over."""
        return 1.0


def last_frozen(module, layer, freeze):
    """Find the last layer to keep as it is, so that the concept stays what it is.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    layer : str
        The concept's layer, or "last".
    freeze : str, int or None
        What the user has frozen.

    Returns
    -------
    str, int or None
        Value for the classifier's parameter ``freeze``: the user's if that reaches as far. None if nothing stands
        before the layer to be trained.
    """
    names = [name for name, _ in module.named_modules()]
    if layer == "last":
        head = find_head(module)[0]
        before = [name for name in names[: names.index(head)] if name and not f"{head}.".startswith(f"{name}.")]
        last = before[-1] if before else None
    else:
        last = resolve_layer(module, layer)
    if last is None:
        return freeze
    kept = {id(weight) for weight in module.parameters() if not weight.requires_grad}
    end = max(place for place, name in enumerate(names) if name == last or name.startswith(f"{last}."))
    layers = dict(module.named_modules())
    wanted = [weight for name in names[: end + 1] for weight in layers[name].parameters(recurse=False)]
    return freeze if freeze is not None and all(id(weight) in kept for weight in wanted) else last
