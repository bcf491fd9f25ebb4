"""Class activation maps as part of a loss."""

import torch
from sklearn.utils._param_validation import StrOptions, validate_params
from torch import nn

from ..neural._structure import main_output
from ._capture import LayerRecorder
from ._formulas import absolute_map, as_map, grad_cam_map, grad_cam_plus_plus_map, hires_cam_map, upsample
from ._targets import check_logits, select_scores

_FORMULAS = {
    "grad_cam": grad_cam_map,
    "grad_cam_plus_plus": grad_cam_plus_plus_map,
    "hires_cam": hires_cam_map,
    "absolute": absolute_map,
}


@validate_params(
    {
        "method": [StrOptions(set(_FORMULAS))],
        "layer": [str, nn.Module],
        "kind": [StrOptions({"binary", "multiclass", "multilabel"})],
        "signed": ["boolean"],
        "size": [StrOptions({"image", "layer"})],
    },
    prefer_skip_nested_validation=True,
)
def differentiable_cam(
    module,
    X,
    target="predicted",
    *,
    method="grad_cam",
    layer="auto",
    kind="multiclass",
    signed=True,
    size="layer",
):
    """Run a network and give, besides its logits, class activation maps that a loss can be made of.

    The network runs as it is, in training mode with its dropout and batch statistics, and once only: the maps belong
    to the same forward pass as the logits, and their gradient reaches all parameters, those above the layer by second
    derivatives. For the gradient below the layer, which a penalty on the last layers does not need, nothing extra is
    computed.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    X : Tensor of shape (n, C, H, W) or (n, C, T)
        Images as the network takes them.
    target : {"predicted", "sum_log_prob"}, int or Tensor of shape (n,) or (n, n_outputs), default="predicted"
        Score that is explained: the largest logit, the sum of the log-probabilities of all classes, the logit at a
        position, or the sum of the logits where a table of 0 and 1 has a 1.
    method : {"grad_cam", "grad_cam_plus_plus", "hires_cam", "absolute"}, default="grad_cam"
        Formula. ``"absolute"`` sums the absolute product of activation and gradient over the channels: evidence
        cannot cancel in it, nor hide by changing sign.
    layer : str or torch.nn.Module, default="auto"
        As in :func:`grad_cam`; ``"auto"`` costs a forward pass of one row each time, so name it in a training loop.
    kind : {"binary", "multiclass", "multilabel"}, default="multiclass"
        What is predicted; it says what ``target`` means for networks with one output or several labels.
    signed : bool, default=True
        Keep negative values. Setting them to 0 takes away the gradient of maps that are negative everywhere.
    size : {"layer", "image"}, default="layer"
        Whether maps have the layer's size or are interpolated linearly to that of the images.

    Returns
    -------
    maps : Tensor of shape (n, h, w) or (n, t)
        Maps, at least float32.
    logits : Tensor of shape (n, n_outputs)
        Outputs of the network.

    Raises
    ------
    ValueError
        If a parameter is none of its values, there is no such layer, or the network gives something else than logits.

    See Also
    --------
    grad_cam : Maps of any number of rows, without graph.

    Examples
    --------
    >>> import torch
    >>> from sklearn_shortcuts.explain import differentiable_cam
    >>> from sklearn_shortcuts.neural import SmallCNN
    >>> with torch.random.fork_rng(devices=[]):
    ...     network = SmallCNN(width=4).build((1, 32, 32), 2)
    >>> maps, logits = differentiable_cam(network, torch.ones(3, 1, 32, 32), "sum_log_prob", method="absolute")
    >>> loss = logits.logsumexp(1).mean() + maps[:, :2].sum((1, 2)).mean()
    >>> loss.backward()
    >>> maps.shape, bool(network.head.weight.grad.any())
    (torch.Size([3, 4, 4]), True)
    """
    if method == "absolute" and not signed:
        raise ValueError("method='absolute' has no negative values that signed=False could set to 0; leave it out")
    recorder = LayerRecorder(layer)
    with torch.enable_grad():
        with recorder.watch(module):
            logits = module(X)
        logits = check_logits(main_output(logits), len(X))
        gradient = recorder.gradient(select_scores(logits, target, kind).sum(), create_graph=True)
        with torch.autocast(X.device.type, enabled=False):  # products of gradients need float32
            parts = [_at_least_float32(as_map(part, X.shape[2:])) for part in (recorder.activation, gradient)]
            maps = _FORMULAS[method](*parts, **({} if method == "absolute" else {"relu": not signed}))
            return upsample(maps, X.shape[2:]) if size == "image" else maps, logits


def _at_least_float32(values):
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
