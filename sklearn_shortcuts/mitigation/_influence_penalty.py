"""Right for better reasons: pixels of the wrong region without influence on the weights."""

import contextlib

import torch
from sklearn.utils._param_validation import StrOptions
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ..neural import Penalty
from ..neural._second_derivatives import fast_second_derivatives
from ..neural._structure import main_output
from ._batch_statistics import running_statistics
from ._decision_losses import decision_losses
from ._log_probabilities import SCORES, masked_scores


class InfluencePenalty(Penalty):
    """Penalize pixels of the wrong region by their influence on the weights (RBR).

    The penalty of a row is the sum over its pixels and channels of the squared product of mask, input gradient and
    influence. The influence of a pixel says how the gradient of the cross-entropy with respect to the weights changes
    with it; as in the authors' code, the Hessian of the influence function is replaced by the identity and the
    gradient is summed over all weights.

    Parameters
    ----------
    scores : {"sum_log_prob", "true", "max"}, default="sum_log_prob"
        Whose input gradient is taken: the sum of the log-probabilities of all classes, or the log-probability of the
        true or of the predicted class.
    statistics : {"training", "evaluation"}, default="training"
        ``"training"`` differentiates the forward pass that training is in. Third derivatives do not exist there
        through normalization by statistics of the batch. ``"evaluation"`` differentiates a forward pass of its own in
        which batch normalization uses its running statistics.

    Attributes
    ----------
    fields : tuple of str
        The batch must have ``"masks"``, shape (n, H, W) or (n, T), and ``"has_mask"``, shape (n,). Of masks per class,
        shape (n, K, H, W) or (n, K, T), each is compared with the gradient of its own class or label; a mask of NaN
        counts as missing.
    mask_role : str
        ``"avoid"``: masks are 1 in the wrong region.
    needs_input_grad : bool
        True: the images must allow gradients.

    See Also
    --------
    InputGradientPenalty : Without the influence; works with any normalization and costs half as much.

    Notes
    -----
    The values are products of two gradients, squared, and change by orders of magnitude in training, so that their size
    at the start tells no strength: ``lambda_="auto"`` means 0.01 for this penalty, which was chosen on digits with a
    decoy patch and served on MNIST as well.

    References
    ----------
    X. Shao, A. Skryagin, W. Stammer, P. Schramowski and K. Kersting, "Right for Better Reasons: Training
    Differentiable Models by Constraining their Influence Functions", AAAI (2021).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.mitigation import InfluencePenalty
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(20, 16, 16)), np.arange(20) % 2
    >>> masks = np.zeros((20, 16, 16))
    >>> masks[:, :4, :4] = 1
    >>> module, penalty = SmallCNN(4, norm="batch"), InfluencePenalty(statistics="evaluation")
    >>> classifier = NeuralImageClassifier(module, penalty=penalty, max_epochs=1, random_state=0)
    >>> classifier.fit(X, y, masks=masks).predict(X).shape
    (20,)
    """

    needs_input_grad = True
    fields = ("masks", "has_mask")
    mask_role = "avoid"
    natural_lambda = 0.01

    _parameter_constraints: dict = {
        "scores": [StrOptions(set(SCORES))],
        "statistics": [StrOptions({"training", "evaluation"})],
    }

    def __init__(self, scores="sum_log_prob", *, statistics="training"):
        self.scores = scores
        self.statistics = statistics

    def build(self, n_samples, n_outputs, kind):
        """Make the callable that computes the penalties.

        Parameters
        ----------
        n_samples : int
            Not needed here.
        n_outputs : int
            Not needed here.
        kind : {"binary", "multiclass", "multilabel"}
            What is predicted.

        Returns
        -------
        callable
            Called as ``penalty(module, batch)`` after a forward pass, best under its ``watch(module)``; gives one
            value per row, shape (n,), 0 for rows without a mask. Raises ValueError if the network normalizes by
            statistics of the batch or of the row's own channels.
        """
        self._validate_params()
        return _SmallInfluence(self.scores, self.statistics, kind)


class _SmallInfluence:
    def __init__(self, scores, statistics, kind):
        self.scores = scores
        self.statistics = statistics
        self.kind = kind

    def watch(self, module):
        """Raise before the forward pass if it could not be differentiated three times."""
        self._check(module)
        return contextlib.nullcontext()

    def __call__(self, module, batch):
        self._check(module)
        X, logits = batch["X"], batch["logits"]
        values = logits.new_zeros(len(X))
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        if not batch["has_mask"].any() or not weights:
            return values
        if self.statistics == "evaluation":
            with running_statistics(module), fast_second_derivatives():
                logits = module(X)
            logits = main_output(logits).to(X.dtype)
        losses = decision_losses(logits, batch["y"]).mean(1)
        gradients = torch.autograd.grad(losses.sum(), weights, create_graph=True, allow_unused=True)
        total = sum(gradient.sum() for gradient in gradients if gradient is not None)
        (influence,) = torch.autograd.grad(total, X, create_graph=True)
        for scores, masks, annotated in masked_scores(batch, logits, self.kind, self.scores):
            (gradient,) = torch.autograd.grad(scores.sum(), X, create_graph=True)
            value = (masks * influence * gradient).square().flatten(1).sum(1)
            values = values + torch.where(annotated, value, 0)
        return values

    def _check(self, module):
        for name, layer in module.named_modules():
            if not isinstance(layer, (_BatchNorm, _InstanceNorm)):
                continue
            remedy = "use group normalization, as SmallCNN() does, or InputGradientPenalty"
            if isinstance(layer, _BatchNorm) and layer.running_mean is not None:
                if self.statistics == "evaluation" or not layer.training:
                    continue
                remedy = f"set statistics='evaluation', or {remedy}"
            elif isinstance(layer, _InstanceNorm) and layer.track_running_stats and not layer.training:
                continue
            raise ValueError(
                f"InfluencePenalty differentiates three times, which torch cannot do through the layer {name!r} "
                f"({type(layer).__name__}), which normalizes by statistics of the batch or row; {remedy}"
            )
