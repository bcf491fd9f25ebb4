"""Relevance of the pixels for a score, by any method that distributes the score over them."""

import contextlib

from sklearn.utils._param_validation import StrOptions, validate_params

from ._collect import collect_maps
from ._gradients import REDUCTION_CONSTRAINT, reduce_channels, score_gradients
from ._subject import resolve_subject
from ._zennit import zennit_relevance


@contextlib.contextmanager
def _gradient_x_input(subject, example):
    def propagate(X, target):
        scores, gradients = score_gradients(subject, X, target)
        return scores, gradients * X

    yield propagate


# A method is a context manager, method(subject, example), which gives propagate(X, target) -> (scores, relevances).
# The example is part of the first batch. Relevances have the shape of X and should add up to the scores.
_METHODS = {"gradient_x_input": _gradient_x_input, "zennit": zennit_relevance}


@validate_params({"method": [StrOptions(set(_METHODS))], **REDUCTION_CONSTRAINT}, prefer_skip_nested_validation=True)
def relevance(
    estimator,
    X,
    target="predicted",
    *,
    y=None,
    method="gradient_x_input",
    reduction="sum",
    batch_size=None,
    precision=None,
    out=None,
):
    """Distribute the score of a class over the pixels by propagating it back through the network.

    Relevance propagation hands the score down from layer to layer, each neuron's share going to those that made it up
    [1]_. How far the sum of what arrives at the pixels is from the score is part of the result: no rule keeps it on
    every network.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted classifier, something fitted that ends in one, or a network.
    X : ImageBunch, Tensor or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Images or signals.
    target : {"predicted", "true", "sum_log_prob"}, class, or array-like of shape (n,), default="predicted"
        Whose score is explained: the logit of the predicted or the true class, of a given class (name of a label;
        position of an output for a bare network), of one class per row, or, with ``"gradient_x_input"``, the sum of
        all log-probabilities.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    method : {"gradient_x_input", "zennit"}, default="gradient_x_input"
        How the score is propagated:

        - ``"gradient_x_input"``: gradient times image, as the network gets it. On networks of linear layers, ReLU and
          max-pooling this is what the basic rule LRP-0 gives [2]_.
        - ``"zennit"``: the rule epsilon for linear layers, z+ for convolutions and flat for the first layer, by the
          package zennit (``pip install sklearn-shortcuts[lrp]``) on a copy of the network. Batch normalization is
          merged into convolutions where that is possible. It has no rules for attention.
    reduction : {"sum", "abs_sum", "abs_max", "l2"}, default="sum"
        How the channels of a pixel are combined: sum, sum or maximum of absolute values, or Euclidean norm. Only
        ``"sum"`` keeps the sign, and the total.
    batch_size : int, default=None
        Rows per pass; by default the estimator's, 32 for a bare network.
    precision : {"float32", "bfloat16"}, default=None
        Numbers that the network computes with; by default the estimator's. ``method="zennit"`` never computes in
        bfloat16.
    out : ndarray of shape (n, H, W) or (n, T), dtype float32, default=None
        Where to write the maps, for instance a memory map.

    Returns
    -------
    SaliencyMaps of shape (n, H, W) or (n, T)
        Relevances in logits. ``details["conservation_ratio"]``, of shape (n,), is the sum of a row's relevances (of all
        channels) divided by its score: 1 if nothing was lost or made up.

    Raises
    ------
    ImportError
        If ``method="zennit"`` and zennit is not installed.
    ValueError
        If rows, target or another parameter do not fit.

    See Also
    --------
    integrated_gradients : Adds up to the difference in score from a baseline on any network.

    References
    ----------
    .. [1] Bach et al. (2015). On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance
       propagation. PLOS ONE 10, e0130140, equations 2 and 3.
    .. [2] Montavon et al. (2019). Layer-wise relevance propagation: an overview. In: Explainable AI: interpreting,
       explaining and visualizing deep learning, section 10.2.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_shortcuts.explain import relevance
    >>> with torch.random.fork_rng(devices=[]):
    ...     network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
    >>> maps = relevance(network, np.ones((3, 2, 2)))
    >>> maps.details["conservation_ratio"]
    array([1., 1., 1.], dtype=float32)
    """
    if method == "zennit" and precision == "bfloat16":
        raise ValueError("method='zennit' does not compute in bfloat16; leave precision out")
    subject = resolve_subject(estimator, X, batch_size=batch_size, precision=precision)
    details = {"conservation_ratio": []}
    propagate = None

    def explain(batch):
        nonlocal propagate
        if propagate is None:
            propagate = stack.enter_context(_METHODS[method](subject, batch["X"][:1]))
        scores, relevances = propagate(batch["X"], batch["target"])
        result = reduce_channels(relevances, reduction)
        details["conservation_ratio"].append(relevances.flatten(1).sum(1) / scores)
        return result

    with contextlib.ExitStack() as stack:
        return collect_maps(subject, explain, target=target, method="relevance", y=y, details=details, out=out)
