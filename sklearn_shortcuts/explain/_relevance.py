"""Relevance of the pixels for a score, by any method that distributes the score over them."""

import contextlib
import warnings
from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from ._collect import collect_maps
from ._gradients import REDUCTION_CONSTRAINT, reduce_channels, score_gradients
from ._propagation import propagated_relevance
from ._subject import resolve_subject
from ._zennit import zennit_relevance


@contextlib.contextmanager
def _gradient_x_input(subject, example):
    def propagate(X, target):
        scores, gradients = score_gradients(subject, X, target)
        return scores, gradients * X, None

    yield propagate


# A method is a context manager, method(subject, example), which gives propagate(X, target) -> (scores, relevances,
# taken). The example is part of the first batch. Relevances have the shape of X and should add up to the scores, with
# what biases took where that is known; otherwise it is None.
_METHODS = {"gradient_x_input": _gradient_x_input, "lrp": propagated_relevance, "zennit": zennit_relevance}
TOLERANCE = 0.05


@validate_params(
    {
        "method": [StrOptions(set(_METHODS))],
        **REDUCTION_CONSTRAINT,
        "conservation_tol": [Interval(Real, 0, None, closed="both"), None],
    },
    prefer_skip_nested_validation=True,
)
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
    conservation_tol=None,
    out=None,
):
    r"""Distribute the score of a class over the pixels by propagating it back through the network.

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
        all log-probabilities. Of a binary classifier with one logit the score of the first class is minus the logit.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    method : {"gradient_x_input", "lrp", "zennit"}, default="gradient_x_input"
        How the score is propagated:

        - ``"gradient_x_input"``: gradient times image, as the network gets it. On networks of linear layers, ReLU and
          max-pooling this is what the basic rule LRP-0 gives [2]_.
        - ``"lrp"``: the rule epsilon for linear layers, z+ for convolutions, flat for the first of either that is
          run [3]_, and those of AttnLRP for attention [4]_; see Notes. Any network made of the usual layers but
          recurrence.
        - ``"zennit"``: the same rules by the package zennit (``pip install sklearn-shortcuts[lrp]``) on a copy of the
          network. It knows the residual sums of torchvision's ResNets only, and takes batch normalizations and layers
          for neighbors that are defined one after the other; elsewhere relevance is duplicated or passes by. It has
          no rules for attention.
    reduction : {"sum", "abs_sum", "abs_max", "l2"}, default="sum"
        How the channels of a pixel are combined: sum, sum or maximum of absolute values, or Euclidean norm. Only
        ``"sum"`` keeps the sign, and the total.
    batch_size : int, default=None
        Rows per pass; by default the estimator's, 32 for a bare network.
    precision : {"float32", "bfloat16"}, default=None
        Numbers that the network computes with; by default the estimator's. ``"lrp"`` and ``"zennit"`` never compute
        in bfloat16.
    conservation_tol : float, default=None
        Warn if the sum of a row's relevances, together with what biases took where that is known, is further from its
        score than this share of it. By default no check, but 0.05 with ``"lrp"``: there relevance is lost only to the
        stabilizers of divisions (1e-6), which tiny activations notice, and in convolutions whose inputs contribute
        nothing positive. ``inf`` never warns.
    out : ndarray of shape (n, H, W) or (n, T), dtype float32, default=None
        Where to write the maps, for instance a memory map.

    Returns
    -------
    SaliencyMaps of shape (n, H, W) or (n, T)
        Relevances in logits. ``details["conservation_ratio"]``, of shape (n,), is the sum of a row's relevances (of all
        channels) divided by its score: 1 if nothing was lost or made up. With ``method="lrp"`` there is also
        ``details["bias_ratio"]``: the relevance that biases and constants took, divided by the score. Both add up to 1.

    Raises
    ------
    ImportError
        If ``method="zennit"`` and zennit is not installed.
    ValueError
        If rows, target or another parameter do not fit, or ``method="lrp"`` has no rule for a layer.

    Warns
    -----
    UserWarning
        If relevance is not conserved, see ``conservation_tol``.

    See Also
    --------
    integrated_gradients : Adds up to the difference in score from a baseline on any network.

    Notes
    -----
    With inputs :math:`x_i`, weights :math:`w_{ij}`, bias :math:`b_j` and relevances :math:`R_j` of the outputs,
    ``method="lrp"`` gives the inputs

    .. math::

        \text{epsilon:} \quad R_i = \sum_j \frac{x_i w_{ij}}{z_j + \epsilon \operatorname{sign}(z_j)} R_j, \qquad
        \text{z+:} \quad R_i = \sum_j \frac{(x_i w_{ij})^+}{\sum_k (x_k w_{kj})^+ + b_j^+} R_j, \qquad
        \text{flat:} \quad R_i = \sum_j \frac{1}{n_j} R_j,

    where :math:`z_j = \sum_k x_k w_{kj} + b_j`, :math:`\epsilon = 10^{-6}`, and :math:`n_j` counts the inputs of an
    output [1]_ [2]_. Batch and group normalization are affine maps whose statistics are held fixed. Directly
    after a convolution or linear layer, or directly before it, they are part of it; elsewhere relevance passes
    unchanged. It also passes through layer normalization, activation
    functions and constants; sums and averages share it in proportion to what they are made of; max-pooling gives it
    to the largest value; a product of maps and a gate per channel gives it to the maps.

    Attention is taken apart into products of matrices and softmax, also where torch computes it in one function
    [4]_ (propositions 3.1 to 3.4):

    .. math::

        O = A V: \quad R^A_{ik} = \sum_j \frac{A_{ik} V_{kj}}{2 O_{ij} + 2 \epsilon \operatorname{sign}(O_{ij})}
        R_{ij}, \quad \text{and} \ R^V_{kj} \ \text{alike}, \qquad
        s = \operatorname{softmax}(x): \quad R_i = x_i \Big(R^s_i - s_i \sum_j R^s_j\Big).

    The rule of softmax is a first-order expansion, whose constant term takes relevance as a bias does; so does what is
    joined to the tokens of the image, such as the token of the class. Both are counted in ``"bias_ratio"``, which is
    therefore large with attention: positive and negative relevance of many times the score may cancel. Of five small
    vision transformers that were trained to tell the direction of a bar in one of 64 patches, ``"lrp"`` gave the
    patch of the bar the most relevance in 83 % of images (48 to 96 %), and ``"gradient_x_input"`` in 26 %.

    References
    ----------
    .. [1] Bach et al. (2015). On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance
       propagation. PLOS ONE 10, e0130140, equations 2 and 3.
    .. [2] Montavon et al. (2019). Layer-wise relevance propagation: an overview. In: Explainable AI: interpreting,
       explaining and visualizing deep learning, section 10.2.
    .. [3] Kohlbrenner et al. (2020). Towards best practice in explaining neural network decisions with LRP. IJCNN.
    .. [4] Achtibat et al. (2024). AttnLRP: attention-aware layer-wise relevance propagation for transformers. ICML.
       arXiv:2402.05602, section 3.

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
    if method != "gradient_x_input" and precision == "bfloat16":
        raise ValueError(f"method={method!r} does not compute in bfloat16; leave precision out")
    subject = resolve_subject(estimator, X, batch_size=batch_size, precision=precision)
    details = {"conservation_ratio": []} | ({"bias_ratio": []} if method == "lrp" else {})
    propagate = None

    def explain(batch):
        nonlocal propagate
        if propagate is None:
            propagate = stack.enter_context(_METHODS[method](subject, batch["X"][:1]))
        scores, relevances, taken = propagate(batch["X"], batch["target"])
        result = reduce_channels(relevances, reduction)
        details["conservation_ratio"].append(relevances.flatten(1).sum(1) / scores)
        if taken is not None:
            details["bias_ratio"].append(taken / scores)
        return result

    with contextlib.ExitStack() as stack:
        maps = collect_maps(subject, explain, target=target, method="relevance", y=y, details=details, out=out)
    error = np.abs(maps.details["conservation_ratio"] + maps.details.get("bias_ratio", 0) - 1)
    check_conservation(error, TOLERANCE if conservation_tol is None and method == "lrp" else conservation_tol)
    return maps


def check_conservation(error, tolerance, *, first=0, stacklevel=4):
    """Warn of rows whose relevances do not add up.

    Parameters
    ----------
    error : ndarray of shape (n,)
        Relevance that was lost or made up, as a share of the score.
    tolerance : float or None
        What is tolerated; None checks nothing.
    first : int, default=0
        Number of the first of the rows.
    stacklevel : int, default=4
        Of the warning, seen from here.

    Warns
    -----
    UserWarning
        If more was lost.
    """
    if tolerance is None:
        return
    lost = np.flatnonzero(~(error <= tolerance))
    if len(lost):
        warnings.warn(
            f"the relevances of {len(lost)} of {len(error)} rows do not add up to their scores: they are off by up to "
            f"{error[lost].max():.3g} times the score (first row: {first + lost[0]}). Do not read them as shares of "
            f"the score; conservation_tol sets what is tolerated",
            UserWarning,
            stacklevel=stacklevel,
        )
