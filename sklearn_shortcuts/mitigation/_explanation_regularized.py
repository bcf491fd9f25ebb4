"""Meta-estimator that trains a network to obey explanations."""

import copy
from numbers import Integral, Real

from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, _fit_context, clone
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from ..neural import NeuralImageClassifier
from ..neural._targets import TargetEncoding, check_target
from ..neural._training import check_weights, objective_fields
from ._annotations import check_number_of_masks, gather_annotations
from ._counterfactuals import counterfactual_table
from ._exemplars import freeze_exemplars
from ._network_meta import given_or_field
from ._penalty_names import PENALTY_NAMES, resolve_penalty
from ._refined_prediction import RefinedPredictionMixin
from ._refinement import history_table, train_with_penalty, training_weights
from ._regularization import Regularization
from ._steps import as_bunch, join_steps, split_steps, unwrap
from ._training_cache import Training, fit_once

_FEATURES = ("n_features_in_", "feature_names_in_")
_NETWORK = ("module", "image_shape", "weights", "normalize")


class ExplanationRegularizedClassifier(RefinedPredictionMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Train a network so that its predictions do not rest on wrong regions.

    Masks say for some or all training rows where the network must not look (or where it should). A network is trained
    as usual, then refined with a penalty on looking at the wrong place; at prediction time no masks are needed.
    Whether it worked is told by :attr:`counterfactuals_`, not by prettier saliency maps.

    Parameters
    ----------
    estimator : NeuralImageClassifier or Pipeline that ends in one, default=None
        What is trained; a copy is used. By default ``NeuralImageClassifier()``.
    penalty : str or Penalty, default="counterexamples"
        What is added to the loss: an object, or a name that stands for one with its defaults. Names are
        "counterexamples" (:class:`CounterexampleAugmentation`), "rrr" (:class:`InputGradientPenalty`), "rrr_grad_cam"
        (:class:`GradCAMPenalty`), "exbl" (:class:`ExemplarTripletPenalty`), "hint" (:class:`HINTPenalty`), "cdep"
        (:class:`ContextualDecompositionPenalty`), "rbr" (:class:`InfluencePenalty`) and "distance"
        (:class:`DistancePenalty`). One of your own may say what its masks mean by a class attribute ``mask_role``.
    lambda_ : float or "auto", default="auto"
        Strength of the penalty, which is a mean over the rows with a mask. 0 is training under the same budget with
        the same random numbers but without penalty: what a mitigation must be compared with. "auto" is the penalty's
        own ``natural_lambda`` if it has one and otherwise balances penalty and loss, see Notes.
    mask_role : {"avoid", "attend"}, default="avoid"
        What the masks show: "avoid" where not to look, such as a tube, or "attend" where to look, such as lungs. They
        are inverted for penalties that expect the other.
    mask_field : str, default="masks"
        Field of an :class:`~sklearn_shortcuts.images.ImageBunch` that holds the masks, such as "artifact_masks".
    refine : bool, default=True
        Train without penalty first and go on from there with it; otherwise train with it from scratch, for the
        ``max_epochs`` of the estimator and without early stopping.
    refine_epochs : int, default=None
        Epochs with the penalty; by default the ``max_epochs`` of the estimator. Early stopping is off meanwhile: the
        held-out loss knows nothing of the shortcut.
    refine_lr : float, default=None
        Learning rate of these epochs; by default that of the estimator.
    warmup_epochs : int, default=0
        Epochs before the penalty counts, of those it is trained for.
    ramp_epochs : int, default=0
        Epochs after these in which its strength rises linearly to the full one.
    gradient_clip : float or None, default=1.0
        Largest norm of the gradient of all weights in training with the penalty. At first the penalty can be a
        thousand times larger than the loss, and without clipping the outcome hangs on ``lambda_``.
    warm_start_from : fitted estimator, default=None
        Classifier, or pipeline, to refine in place of training one; not changed. Other training parameters than its
        own are taken from ``estimator`` if that is given. In cross-validation it must not have seen the test rows.
    exemplars : "suggest" or pair (good, bad), default="suggest"
        For penalties that learn from exemplars: numbers of rows of the X given to ``fit`` whose explanations are good
        and bad, or these rows themselves as bunches or arrays (in cross-validation, where numbers change). "suggest"
        takes those that :func:`suggest_exemplars` finds by the masks, five pairs or as many as there are.
    memory : str, path-like or joblib.Memory, default=None
        Where trained networks without penalty are kept, so that a search over penalties and strengths trains one per
        fold. What is kept is found again by a hash of parameters, rows, labels and weights (of files: path, size and
        time). Without a ``random_state`` of the estimator all candidates then get the same network.

    Attributes
    ----------
    estimator_ : NeuralImageClassifier or Pipeline
        What predicts, with the parameters of ``estimator``; can be saved and explained like any other.
    unrefined_ : NeuralImageClassifier or Pipeline
        The network before the penalty; only if it was refined.
    history_ : DataFrame
        One row per epoch: ``epoch``, ``phase`` ("unrefined", "refined" or, from scratch, "regularized"),
        ``train_loss``, ``train_criterion``, ``train_penalty`` (weighted), ``strength`` and ``seconds``.
    lambda_value_ : float
        Strength that was used; NaN if "auto" could not be found because the penalty never counted.
    counterfactuals_ : DataFrame or None
        Per model ("unrefined" and "refined", or "regularized"): ``accuracy``, ``region_swap_accuracy`` with the wrong
        regions exchanged between classes (also with their absence, see
        :func:`~sklearn_shortcuts.metrics.swap_regions`), ``flip_rate`` of predictions in this, and
        ``noise_fill_accuracy`` with noise in their place, on ``n_rows`` training rows that have a mask, at most 500.
        None without masks, or if these leave no wrong region.
    classes_ : ndarray of shape (n_classes,) or (n_labels, 2)
        Classes.
    label_names_ : ndarray of shape (n_labels,) or None
        Names of several labels.
    n_features_in_ : int
        Values per row.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Column names, if ``X`` was a DataFrame.

    See Also
    --------
    sklearn_shortcuts.metrics.region_swap_accuracy : The score to select models by; on rows that were not trained on.
    CounterexampleAugmentation : The penalty that needs no gradient of the images.

    Notes
    -----
    The loss of an epoch is ``mean(loss) + strength * mean over annotated rows(penalty)``: with few masks each counts
    the more. Rows without a mask have no penalty. Nor have those with an empty one, except where the penalty says
    otherwise (``uses_empty_masks``, as :class:`CounterexampleAugmentation` does).

    ``lambda_="auto"`` sets ``strength = 1000 * max(loss, 0.05 * chance) / penalty`` from means over up to 512 rows with
    a mask, before the first step with the penalty; ``chance`` is the loss of a network that knows nothing. A network
    that fits has hardly any loss left, so that equal parts would be far too weak, and the clipped gradient bears the
    excess until the penalty has fallen. From scratch, nothing can be balanced at first: most penalties are nearly 0 for
    a network that gives all classes the same probability. It learns without penalty until its loss is below half of
    ``chance``, or for a third of its epochs.

    Which penalty: gradients are small wherever the network is flat, also at both states of a mark that is either there
    or not. Input gradients suit wrong regions whose content varies continuously. "counterexamples" suit these and marks
    that rows show or do not show, with empty masks for the rows without.

    Published recipes often give prettier maps and the same network: Grad-CAM penalties at the last layer, HINT, and
    exemplars compared by maps that are not normalized leave the accuracy without the association where it was. Their
    repaired forms are the defaults here; the user guide has the table of a benchmark. Penalties on gradients need the
    gradient clipping.

    Do not select ``lambda_`` by accuracy on rows that have the shortcut: the best is then 0. Use
    ``make_counterfactual_scorer("region_swap_accuracy")``.

    References
    ----------
    A. S. Ross, M. C. Hughes and F. Doshi-Velez, "Right for the Right Reasons: Training Differentiable Models by
    Constraining their Explanations", IJCAI (2017), Eq. 1.
    M. T. Hagos, K. M. Curran and B. Mac Namee, "Learning from Exemplary Explanations", arXiv:2307.06026 (2023).

    Examples
    --------
    Dark squares go with one class; masks show where they are.

    >>> import numpy as np
    >>> from sklearn_shortcuts import ImageBunch
    >>> from sklearn_shortcuts.mitigation import ExplanationRegularizedClassifier
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 32)
    >>> images, masks = rng.normal(size=(64, 16, 16)), np.zeros((64, 16, 16), dtype=bool)
    >>> images[y == 1, 8:14, 8:14] += 1
    >>> masks[:, :4, :4] = True
    >>> images[y == 1, :4, :4] = -3
    >>> network = NeuralImageClassifier(SmallCNN(4), lr=0.01, batch_size=16, random_state=0)
    >>> model = ExplanationRegularizedClassifier(network, penalty="counterexamples")
    >>> model.fit(ImageBunch(images, masks=masks), y).counterfactuals_["region_swap_accuracy"]
    model
    unrefined    0.0...
    refined      0.9...
    Name: region_swap_accuracy, dtype: float64
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "get_params"]), None],
        "penalty": [StrOptions(set(PENALTY_NAMES)), HasMethods(["build"])],
        "lambda_": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "mask_role": [StrOptions({"avoid", "attend"})],
        "mask_field": [str],
        "refine": ["boolean"],
        "refine_epochs": [Interval(Integral, 1, None, closed="left"), None],
        "refine_lr": [Interval(Real, 0, None, closed="neither"), None],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "ramp_epochs": [Interval(Integral, 0, None, closed="left")],
        "gradient_clip": [Interval(Real, 0, None, closed="neither"), None],
        "warm_start_from": [HasMethods(["predict"]), None],
        "exemplars": [StrOptions({"suggest"}), tuple, list],
        "memory": [str, HasMethods(["cache"]), HasMethods(["__fspath__"]), None],
    }

    def __init__(
        self,
        estimator=None,
        *,
        penalty="counterexamples",
        lambda_="auto",
        mask_role="avoid",
        mask_field="masks",
        refine=True,
        refine_epochs=None,
        refine_lr=None,
        warmup_epochs=0,
        ramp_epochs=0,
        gradient_clip=1.0,
        warm_start_from=None,
        exemplars="suggest",
        memory=None,
    ):
        self.estimator = estimator
        self.penalty = penalty
        self.lambda_ = lambda_
        self.mask_role = mask_role
        self.mask_field = mask_field
        self.refine = refine
        self.refine_epochs = refine_epochs
        self.refine_lr = refine_lr
        self.warmup_epochs = warmup_epochs
        self.ramp_epochs = ramp_epochs
        self.gradient_clip = gradient_clip
        self.warm_start_from = warm_start_from
        self.exemplars = exemplars
        self.memory = memory

    def __sklearn_clone__(self):
        again = super().__sklearn_clone__()
        again.warm_start_from = self.warm_start_from  # a copy that is not fitted would be of no use
        return again

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")  # the parameter lambda_ has the look of a fitted attribute

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(NeuralImageClassifier() if self.estimator is None else self.estimator)
        tags.input_tags = inner.input_tags
        tags.classifier_tags = inner.classifier_tags
        return tags

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None, masks=None, class_masks=None, groups=None):
        """Train the network, then refine it.

        Parameters
        ----------
        X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
            Images, or whatever the first step of a pipeline takes.
        y : array-like of shape (n,), or array-like or DataFrame of shape (n, n_labels), default=None
            Classes, or one 0/1 column per label; by default the bunch's field ``target``.
        sample_weight : array-like of shape (n,), default=None
            Weights, not negative; a row of weight 0 counts as absent. By default the bunch's field.
        masks : array-like of shape (n, H, W) or (n, T), or list with ``None`` entries, default=None
            Masks, 1 inside the region; by default the bunch's field that ``mask_field`` names.
        class_masks : array-like of shape (n, K, H, W) or (n, K, T), or list with ``None`` entries, default=None
            In their place one mask per class, in the order of ``classes_``, or label; by default the bunch's field, if
            it has no ``masks``. An empty one says nothing of its class.
        groups : array-like of shape (n,), default=None
            Patients; early stopping holds out whole groups. By default the bunch's field.

        Returns
        -------
        ExplanationRegularizedClassifier
            The fitted classifier itself.

        Raises
        ------
        ValueError
            If the penalty needs masks and there are none, the input does not fit together, or parameters contradict
            each other.
        FloatingPointError
            If the loss becomes infinite or NaN.
        """
        self._forget()
        penalty = resolve_penalty(self.penalty)
        self._check_choices(penalty)
        template, before, classifier, rows = self._start(X, y, penalty)
        y = given_or_field(rows, "target", y)
        labels, names = check_target(y, type(self).__name__)
        check_consistent_length(rows.images, labels)
        annotations = gather_annotations(
            rows,
            masks=masks,
            class_masks=class_masks,
            mask_field=self.mask_field,
            needed_by=type(penalty).__name__ if "masks" in penalty.fields else None,
        )
        rows = rows if masks is None else rows.with_fields(masks=masks)
        weights = check_weights(given_or_field(rows, "sample_weight", sample_weight), rows)
        refined = self.warm_start_from is not None
        encoding = classifier._encoding if refined else TargetEncoding.learn(labels[weights.used], names)
        check_number_of_masks(annotations, encoding.n_outputs)
        counts = training_weights(weights, classifier.class_weight, encoding, labels)
        options = {"sample_weight": sample_weight, "groups": groups}
        options = {name: value for name, value in options.items() if value is not None}

        unrefined = self._unrefined(classifier, rows, y, options)
        if _lacks_exemplars(penalty):
            penalty = freeze_exemplars(
                penalty, self.exemplars, unrefined, annotations, labels, self.mask_role, weights.used, before
            )
        model = copy.deepcopy(classifier if unrefined is None else unrefined)
        n_before = 0 if unrefined is None else len(unrefined.net_.history)
        penalty = self._regularization(penalty, annotations, counts, n_before)
        term = train_with_penalty(
            model,
            penalty,
            (annotations.bunch, y, options),
            gradient_clip=self.gradient_clip,
            epochs=self.refine_epochs,
            lr=self.refine_lr,
        )
        self.lambda_value_ = float("nan") if term.strength is None else float(term.strength)
        self.history_ = history_table(model, term)
        models = {"refined": model} if unrefined is not None else {"regularized": model}
        if unrefined is not None:
            self.unrefined_ = join_steps(template, before, unrefined)
            models = {"unrefined": unrefined, **models}
        self.counterfactuals_ = None
        if annotations.annotated[weights.used].any():
            self.counterfactuals_ = counterfactual_table(models, annotations, labels, self.mask_role, weights.used)
        self.classes_ = model.classes_
        self.label_names_ = model.label_names_
        if before is None and hasattr(self, "feature_names_in_"):
            for fitted in models.values():
                fitted.feature_names_in_ = self.feature_names_in_
        self.estimator_ = join_steps(template, before, model)
        return self

    # -- inside ----------------------------------------------------------------------------------------------------
    def _forget(self):
        """Should anything fail from here on, the classifier is not fitted."""
        for name in ("estimator_", "unrefined_", *_FEATURES):
            if hasattr(self, name):
                delattr(self, name)

    def _check_choices(self, penalty):
        if self.refine:
            return
        if self.warm_start_from is not None:
            raise ValueError("refine=False trains from scratch and cannot start from warm_start_from; leave out one")
        if _lacks_exemplars(penalty):
            raise ValueError(
                f"{type(penalty).__name__} compares with explanations of a trained network: refine it (refine=True)"
            )

    def _start(self, X, y, penalty):
        """Whose form the result has, transformers (fitted), classifier (fitted if training goes on), and rows."""
        if self.warm_start_from is None:
            template = clone(NeuralImageClassifier() if self.estimator is None else self.estimator)
            before, classifier = split_steps(template)
            X = X if before is None else before.fit_transform(X, y)
        else:
            template = unwrap(self.warm_start_from)
            before, classifier = split_steps(template, "warm_start_from")
            check_is_fitted(classifier)
            X = X if before is None else before.transform(X)
            classifier = self._renewed(classifier)
        if getattr(penalty, "needs_other_rows", False) and classifier.batch_size == 1:
            raise ValueError(
                f"{penalty!r} takes what it shows from other rows of the batch, but batch_size is 1: raise it, or "
                f"choose another fill, such as 'noise'"
            )
        if classifier.penalty is not None:
            raise ValueError(
                f"the classifier has a penalty of its own, {type(classifier.penalty).__name__}: give it to "
                f"{type(self).__name__}, and none to the classifier"
            )
        for name in () if before is None else _FEATURES:
            if hasattr(before, name):
                setattr(self, name, getattr(before, name))
        return template, before, classifier, as_bunch(self if before is None else clone(classifier), classifier, X)

    def _renewed(self, classifier):
        """A copy of a fitted classifier that trains as ``estimator`` says, if that is given."""
        classifier = copy.deepcopy(classifier)
        if self.estimator is not None:
            parameters = split_steps(clone(self.estimator))[1].get_params(deep=False)
            classifier.set_params(**{name: value for name, value in parameters.items() if name not in _NETWORK})
        return classifier

    def _unrefined(self, classifier, rows, y, options):
        if self.warm_start_from is not None:
            return classifier
        if not self.refine:
            return None
        fields = objective_fields(classifier)
        return fit_once(Training(classifier, rows, y, options, fields), self.memory)

    def _regularization(self, penalty, annotations, counts, n_before):
        strength = self.lambda_ if isinstance(self.lambda_, Real) else getattr(penalty, "natural_lambda", None)
        regularization = Regularization(
            penalty,
            strength=strength,
            mask_role=self.mask_role,
            mask_fields=annotations.mask_fields,
            warmup_epochs=self.warmup_epochs,
            ramp_epochs=self.ramp_epochs,
            first_epoch=n_before,
        )
        if "masks" in penalty.fields:
            counted = annotations.known if regularization.uses_empty_masks else annotations.annotated
            regularization.annotated_share = counts[counted].sum() / counts.sum()
            if regularization.annotated_share == 0:
                raise ValueError("all rows with a mask have the weight 0")
        return regularization


def _lacks_exemplars(penalty):
    return getattr(penalty, "needs_exemplars", False) and penalty.good_explanations is None
