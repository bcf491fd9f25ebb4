"""What meta-estimators that train one network have in common."""

import copy
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_consistent_length, get_tags

from ..images import ImageBunch
from ..neural import NeuralImageClassifier
from ..neural._targets import TargetEncoding, check_target
from ..neural._training import Weights, build_net, check_weights
from ._delegated_prediction import DelegatedPredictionMixin
from ._steps import as_bunch, join_steps, split_steps, unwrap

_FEATURES = ("n_features_in_", "feature_names_in_")


@dataclass(frozen=True)
class TrainingRows:
    """What ``fit`` was given, checked.

    Attributes
    ----------
    template : NeuralImageClassifier or Pipeline
        Copy of the given estimator, or what a FrozenEstimator holds.
    before : Pipeline or None
        Fitted transformers.
    classifier : NeuralImageClassifier
        To be trained; the fitted one of a FrozenEstimator, which must not be changed.
    bunch : ImageBunch
        Rows as the classifier gets them.
    image_shape : tuple of int
        Shape of one of them.
    y : array-like
        Labels as they were given.
    labels : ndarray of shape (n,), (n, n_labels), or None
        Labels, checked; None if there are none and they are not needed.
    encoding : TargetEncoding
        Classes.
    weights : Weights
        Weights of the rows.
    groups : array-like of shape (n,) or None
        Patients.
    """

    template: object
    before: object
    classifier: NeuralImageClassifier
    bunch: ImageBunch
    image_shape: tuple
    y: object
    labels: np.ndarray
    encoding: TargetEncoding
    weights: Weights
    groups: object

    def codes(self):
        """Encoded labels, shape (n, n_decisions); 0 for rows of weight 0."""
        return self.encoding.encode_rows(self.labels, self.weights.used).reshape(len(self.labels), -1).astype(np.int64)

    def options(self):
        """Further arguments of the classifier's ``fit``."""
        return {"sample_weight": self.weights.sample_weight, "groups": self.groups}


class NetworkMetaEstimator(DelegatedPredictionMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Base of classifiers with a parameter ``estimator`` that ends in a network; not public.

    Attributes
    ----------
    _goes_on : bool
        Class attribute: whether a fitted estimator in a FrozenEstimator can be taken as it is.
    _needs_labels : bool
        Class attribute: whether that needs labels.
    """

    _goes_on = False
    _needs_labels = True

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")  # a fit that failed may leave other attributes

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(NeuralImageClassifier() if self.estimator is None else self.estimator)
        tags.input_tags = inner.input_tags
        tags.classifier_tags = inner.classifier_tags
        return tags

    def _start(self, X, y, sample_weight, groups):
        """Check what ``fit`` was given and transform the rows.

        Parameters
        ----------
        X, y, sample_weight, groups : array-like
            As in ``fit``.

        Returns
        -------
        TrainingRows
            All of it.
        """
        self._forget()
        template = clone(NeuralImageClassifier() if self.estimator is None else self.estimator)
        fitted = self._goes_on and isinstance(template, FrozenEstimator)
        template = unwrap(template) if fitted else template
        before, classifier = split_steps(template)
        if not fitted:
            self._check_criterion(classifier)
        if before is not None:
            X = before.transform(X) if fitted else before.fit_transform(X, y)
            for name in _FEATURES:
                if hasattr(before, name):
                    setattr(self, name, getattr(before, name))
        recorder = self if before is None else clone(classifier)
        bunch = as_bunch(recorder, classifier, X)
        y = given_or_field(bunch, "target", y)
        labels, names = None, None
        if y is not None or self._needs_labels or not fitted:
            labels, names = check_target(y, type(self).__name__)
            check_consistent_length(bunch.images, labels)
        weights = check_weights(given_or_field(bunch, "sample_weight", sample_weight), bunch)
        groups = given_or_field(bunch, "groups", groups)
        encoding = classifier._encoding if fitted else TargetEncoding.learn(labels[weights.used], names)
        if fitted and names is not None and names != encoding.label_names.tolist():
            raise ValueError(f"y has the labels {names}, but the classifier knows {encoding.label_names.tolist()}")
        shape = recorder.image_shape_
        return TrainingRows(template, before, classifier, bunch, shape, y, labels, encoding, weights, groups)

    def _forget(self):
        """Should anything fail from here on, the classifier is not fitted."""
        for name in ("estimator_", *_FEATURES):
            if hasattr(self, name):
                delattr(self, name)

    def _check_criterion(self, classifier):
        if classifier.criterion is not None:
            raise ValueError(
                f"the classifier has a criterion of its own, {type(classifier.criterion).__name__}: "
                f"{type(self).__name__} chooses it; leave it out"
            )

    def _finish(self, rows, *models):
        """Set what every fitted classifier has, and give the models the form of the given estimator.

        Parameters
        ----------
        rows : TrainingRows
            What :meth:`_start` gave.
        *models : NeuralImageClassifier
            Fitted networks.

        Returns
        -------
        list of NeuralImageClassifier or Pipeline
            The same behind their transformers.
        """
        self.classes_, self.label_names_ = models[0].classes_, models[0].label_names_
        if rows.before is None and hasattr(self, "feature_names_in_"):
            for model in models:
                model.feature_names_in_ = self.feature_names_in_
        return [join_steps(rows.template, rows.before, model) for model in models]


def given_or_field(bunch, name, given):
    """An argument of ``fit``, or the bunch's field in its place."""
    return bunch.get(name) if given is None and name in bunch.fields else given


def plain_classifier(model, parameters, module=None):
    """Make an ordinary classifier of one that was trained in a special way.

    Parameters
    ----------
    model : NeuralImageClassifier
        Fitted.
    parameters : dict
        Parameters that the result shall have.
    module : torch.nn.Module, default=None
        Network that takes the place of the trained one.

    Returns
    -------
    NeuralImageClassifier
        Of its training only the network and the history are left; the network is not copied.
    """
    plain = copy.copy(model).set_params(**parameters)
    plain._seeds = copy.deepcopy(model._seeds)
    trained = model.net_
    module = trained.module_ if module is None else module
    net = build_net(plain, module, plain._n_logits, trained.n_samples, plain._encoding.kind)
    net.history, net.n_threads, net.interrupted = copy.deepcopy(trained.history), plain.n_threads, trained.interrupted
    net.network_choices, net.freeze = trained.network_choices, trained.freeze
    plain.net_ = net
    return plain
