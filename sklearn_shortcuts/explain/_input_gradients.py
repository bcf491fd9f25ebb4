"""Gradient of a score with respect to the image."""

from sklearn.utils._param_validation import validate_params

from ._collect import collect_maps
from ._gradients import REDUCTION_CONSTRAINT, reduce_channels, score_gradients
from ._subject import resolve_subject


@validate_params({"multiply_by_input": ["boolean"], **REDUCTION_CONSTRAINT}, prefer_skip_nested_validation=True)
def input_gradients(
    estimator,
    X,
    target="predicted",
    *,
    y=None,
    multiply_by_input=False,
    reduction="sum",
    batch_size=None,
    precision=None,
    out=None,
):
    """Show how the score of a class changes with every pixel.

    The oldest explanation, and the one that training by right reasons penalizes: what a small change of each pixel
    does to the score [1]_, [2]_. One forward and one backward pass.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted classifier, something fitted that ends in one, or a network.
    X : ImageBunch, Tensor or array-like of shape (n, H, W), (n, C, H, W) or (n, C, T)
        Images or signals.
    target : {"predicted", "true", "sum_log_prob"}, class, or array-like of shape (n,), default="predicted"
        Whose score is explained: the logit of the predicted or the true class, of a given class (name of a label;
        position of an output for a bare network), of one class per row, or the sum of all log-probabilities, which
        shows evidence against other classes too. With a single logit the score of the first class is minus that.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    multiply_by_input : bool, default=False
        Multiply the gradient by the image. The score is then explained relative to an image that is zero everywhere,
        to first order.
    reduction : {"sum", "abs_sum", "abs_max", "l2"}, default="sum"
        How the channels of a pixel are combined: sum, sum or maximum of absolute values, or Euclidean norm. Only
        ``"sum"`` keeps the sign.
    batch_size : int, default=None
        Rows per pass; by default the estimator's, 32 for a bare network.
    precision : {"float32", "bfloat16"}, default=None
        Numbers that the network computes with; by default the estimator's. ``"bfloat16"`` is faster on many devices
        and changes the maps by a few percent.
    out : ndarray of shape (n, H, W) or (n, T), dtype float32, default=None
        Where to write the maps, for instance a memory map.

    Returns
    -------
    SaliencyMaps of shape (n, H, W) or (n, T)
        Logits per unit of the images as the network gets them, scaled and normalized; logits with
        ``multiply_by_input``.

    Raises
    ------
    ValueError
        If rows, target or another parameter do not fit.

    See Also
    --------
    smooth_grad : The same, averaged over noisy copies of the image.
    integrated_gradients : Adds up to the score.

    References
    ----------
    .. [1] Simonyan, Vedaldi and Zisserman (2014). Deep inside convolutional networks: visualising image classification
       models and saliency maps. arXiv:1312.6034, section 3.
    .. [2] Ross, Hughes and Doshi-Velez (2017). Right for the right reasons: training differentiable models by
       constraining their explanations. arXiv:1703.03717.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_shortcuts.explain import input_gradients
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
    >>> with torch.no_grad():
    ...     network[1].weight.copy_(torch.tensor([[0.0, 0, 0, 0], [1, 2, 3, 4]]))
    Parameter containing:
    ...
    >>> input_gradients(network, np.ones((1, 2, 2)))[0]
    SaliencyMaps([[1., 2.],
                  [3., 4.]], dtype=float32)
    """
    subject = resolve_subject(estimator, X, batch_size=batch_size, precision=precision)

    def explain(batch):
        _, gradients = score_gradients(subject, batch["X"], batch["target"])
        return reduce_channels(gradients * batch["X"] if multiply_by_input else gradients, reduction)

    return collect_maps(subject, explain, target=target, method="input_gradients", y=y, out=out)
