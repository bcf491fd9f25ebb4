"""Training objectives as descriptions; ``build`` gives the torch module that computes them."""

from numbers import Real

import torch.nn.functional as F
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval
from torch import nn


class Criterion(BaseEstimator):
    """Base of the descriptions of training objectives, the estimators' parameter ``criterion``.

    A criterion turns the logits of a batch into one loss per row; the estimator weights and averages them. Derive
    from this class, store parameters in ``__init__`` and implement :meth:`build`. What it builds is trained along:
    its ``torch.nn.Parameter`` are given to the optimizer, and it is rebuilt whenever a fit has other rows.

    Attributes
    ----------
    fields : tuple of str
        Class attribute: fields of the rows that the batch must contain, such as ``("masks", "has_mask")``.

    Notes
    -----
    The module that ``build`` gives is called as ``forward(logits, batch, training)`` and returns a tensor of shape
    (n,). ``logits`` is a floating-point tensor of shape (n, n_outputs), also under ``precision="bfloat16"``;
    ``training`` is False for held-out rows. ``batch`` holds tensors on the network's device:

    - ``"X"``: images as the network got them, shape (n, C, H, W) or (n, C, T);
    - ``"y"``: class positions, int64 of shape (n,), or 0/1 of shape (n, n_labels);
    - ``"index"``: row numbers within the X given to ``fit``, int64 of shape (n,);
    - ``"sample_weight"``: weights with mean 1 over the training rows, only if there are any;
    - ``"label_weight"``: shape (n, n_labels), only for several labels with ``class_weight``;
    - the named ``fields``.

    If the module has a method ``watch(module)`` that gives a context manager, the network's forward passes in training
    take place inside it.

    Examples
    --------
    >>> import torch
    >>> from sklearn_shortcuts.neural import Criterion, NeuralImageClassifier
    >>> class SquaredLoss(Criterion):
    ...     def build(self, n_samples, n_outputs, kind):
    ...         return _Squared()
    >>> class _Squared(torch.nn.Module):
    ...     def forward(self, logits, batch, training):
    ...         wanted = torch.nn.functional.one_hot(batch["y"], logits.shape[1])
    ...         return (logits - wanted).square().sum(1)
    >>> NeuralImageClassifier(criterion=SquaredLoss())
    NeuralImageClassifier(criterion=SquaredLoss())
    """

    fields: tuple = ()

    def build(self, n_samples, n_outputs, kind):
        """Make the module that computes the losses.

        Parameters
        ----------
        n_samples : int
            Number of rows of the X given to ``fit``; ``batch["index"]`` is below it.
        n_outputs : int
            Number of logits per row.
        kind : {"binary", "multiclass", "multilabel"}
            What is predicted.

        Returns
        -------
        torch.nn.Module
            Called as ``forward(logits, batch, training)``; gives one loss per row, shape (n,).
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how its losses are computed: implement build")


class CrossEntropy(Criterion):
    """Cross-entropy of the classes, or the mean over labels of their binary cross-entropies.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Share of the target's weight that is spread evenly over all classes, in [0, 1).

    Examples
    --------
    >>> from sklearn_shortcuts.neural import CrossEntropy, NeuralImageClassifier
    >>> NeuralImageClassifier(criterion=CrossEntropy(label_smoothing=0.1)).get_params()["criterion__label_smoothing"]
    0.1
    """

    _parameter_constraints: dict = {"label_smoothing": [Interval(Real, 0, 1, closed="left")]}

    def __init__(self, label_smoothing=0.0):
        self.label_smoothing = label_smoothing

    def build(self, n_samples, n_outputs, kind):
        """Make the module that computes the losses.

        Parameters
        ----------
        n_samples : int
            Not needed here.
        n_outputs : int
            Number of logits per row; a binary target may have 1 or 2.
        kind : {"binary", "multiclass", "multilabel"}
            What is predicted.

        Returns
        -------
        torch.nn.Module
            Called as ``forward(logits, batch, training)``.
        """
        self._validate_params()
        if kind == "multilabel" or n_outputs == 1:
            return _SigmoidCrossEntropy(self.label_smoothing)
        return _SoftmaxCrossEntropy(self.label_smoothing)


class _SoftmaxCrossEntropy(nn.Module):
    def __init__(self, label_smoothing):
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits, batch, training):
        return F.cross_entropy(logits, batch["y"], reduction="none", label_smoothing=self.label_smoothing)


class _SigmoidCrossEntropy(nn.Module):
    def __init__(self, label_smoothing):
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits, batch, training):
        wanted = batch["y"].to(logits.dtype).reshape(len(logits), -1)
        wanted = wanted * (1 - self.label_smoothing) + self.label_smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, wanted, weight=batch.get("label_weight"), reduction="none")
        return losses.mean(dim=1)
