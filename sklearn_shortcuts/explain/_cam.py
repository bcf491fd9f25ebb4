"""Class activation maps of any number of rows."""

import torch
from sklearn.utils._param_validation import StrOptions, validate_params
from torch import nn

from ..neural._layer_names import resolve_layer
from ._capture import LayerRecorder
from ._collect import collect_maps
from ._formulas import as_map, grad_cam_map, grad_cam_plus_plus_map, hires_cam_map, upsample
from ._layers import find_layer
from ._subject import resolve_subject
from ._targets import select_scores
from ._working_copy import working_copy

_MANY_ROWS = 64  # preparing the network takes about the time that it saves on half as many
_CONSTRAINTS = {"layer": [str, nn.Module], "signed": ["boolean"], "size": [StrOptions({"image", "layer"})]}


@validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
def grad_cam(
    estimator,
    X,
    target="predicted",
    *,
    y=None,
    layer="auto",
    signed=False,
    size="image",
    batch_size=None,
    precision=None,
    out=None,
):
    """Show by Grad-CAM which parts of the images speak for a class.

    One forward pass per batch, without gradients below the layer, and a backward pass from the score to the layer
    only. The network is left as it was.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        Fitted classifier, something fitted that contains one, or a bare network.
    X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
        Images.
    target : str, class, label name, int or array-like of shape (n,), default="predicted"
        Whose logit is explained: ``"predicted"``, the class (of several labels the label) with the largest logit;
        ``"true"``, the class of ``y``, or the sum of the logits of all labels present; ``"sum_log_prob"``, the sum of
        the log-probabilities of all classes; a class or label by name, of a bare network by the position of its
        output; or one per row. With a single logit the first class has minus that logit.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    layer : str or torch.nn.Module, default="auto"
        Layer by name or itself; ``"auto"`` takes the last layer before the head whose output is a map with more than
        one position: ``layer4`` of ResNets, ``features`` of VGG, DenseNet and MobileNet, the first normalization
        of a vision transformer's last block. The result names it. Of signals a layer must give channels before
        positions.
    signed : bool, default=False
        Keep evidence against the class as negative values, which the published method sets to 0.
    size : {"image", "layer"}, default="image"
        Whether maps are interpolated linearly to the size of the images or stay at that of the layer.
    batch_size : int, default=None
        Rows per batch; by default the classifier's, 32 for a bare network.
    precision : {"float32", "bfloat16"}, default=None
        Numbers that the network computes with; by default the classifier's.
    out : ndarray of shape (n, H, W) or (n, T), dtype float32, default=None
        Array or memory map to write the maps into.

    Returns
    -------
    SaliencyMaps of shape (n, H, W) or (n, T)
        Maps in units of the logit; nothing is normalized.

    Raises
    ------
    ValueError
        If an argument does not fit the rows or the network, or a map is not finite.
    TypeError
        If there is no network in the estimator.

    See Also
    --------
    grad_cam_plus_plus : Counts every occurrence of a class.
    hires_cam : Weighs every position by its own gradient.
    differentiable_cam : The same maps as part of a loss.

    References
    ----------
    R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV
    (2017), equations 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.explain import grad_cam
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
    >>> rng = np.random.default_rng(0)
    >>> images, y = rng.normal(size=(32, 16, 16)), np.arange(32) % 2
    >>> images[y == 1, 4:8, 4:8] += 3
    >>> model = NeuralImageClassifier(SmallCNN(width=4, depth=2), max_epochs=2, random_state=0).fit(images, y)
    >>> maps = grad_cam(model, images[y == 1], target=1)
    >>> maps.shape, maps.layer
    ((16, 16, 16), 'features')
    """
    return _explain("grad_cam", grad_cam_map, layer, estimator, X, target, y, signed, size, batch_size, precision, out)


@validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
def grad_cam_plus_plus(
    estimator,
    X,
    target="predicted",
    *,
    y=None,
    layer="auto",
    signed=False,
    size="image",
    batch_size=None,
    precision=None,
    out=None,
):
    """Show by Grad-CAM++ which parts of the images speak for a class, however often it occurs.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        As in :func:`grad_cam`.
    X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
        Images.
    target : str, class, label name, int or array-like of shape (n,), default="predicted"
        As in :func:`grad_cam`.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    layer : str or torch.nn.Module, default="auto"
        As in :func:`grad_cam`.
    signed : bool, default=False
        Keep negative values, which the published method sets to 0.
    size : {"image", "layer"}, default="image"
        Whether maps are interpolated linearly to the size of the images or stay at that of the layer.
    batch_size : int, default=None
        Rows per batch; by default the classifier's, 32 for a bare network.
    precision : {"float32", "bfloat16"}, default=None
        Numbers that the network computes with; by default the classifier's.
    out : ndarray of shape (n, H, W) or (n, T), dtype float32, default=None
        Array or memory map to write the maps into.

    Returns
    -------
    SaliencyMaps of shape (n, H, W) or (n, T)
        Maps; nothing is normalized.

    Raises
    ------
    ValueError
        If an argument does not fit the rows or the network, or a map is not finite.
    TypeError
        If there is no network in the estimator.

    Notes
    -----
    The score is the logit, and 1e-6 is added to the denominator of equation 19, as in pytorch-grad-cam. The weights
    of channels whose gradients are far below 1e-3 are therefore smaller than the equation says.

    References
    ----------
    A. Chattopadhay et al., "Grad-CAM++: Generalized Gradient-Based Visual Explanations for Deep Convolutional
    Networks", WACV (2018), equations 10 and 19.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_shortcuts.explain import grad_cam_plus_plus
    >>> from sklearn_shortcuts.neural import SmallCNN
    >>> with torch.random.fork_rng(devices=[]):
    ...     network = SmallCNN(width=4).build((1, 32, 32), 2)
    >>> grad_cam_plus_plus(network, np.ones((3, 32, 32)), target=1, size="layer").shape
    (3, 4, 4)
    """
    formula = grad_cam_plus_plus_map
    return _explain(
        "grad_cam_plus_plus", formula, layer, estimator, X, target, y, signed, size, batch_size, precision, out
    )


@validate_params(_CONSTRAINTS, prefer_skip_nested_validation=True)
def hires_cam(
    estimator,
    X,
    target="predicted",
    *,
    y=None,
    layer="auto",
    signed=False,
    size="image",
    batch_size=None,
    precision=None,
    out=None,
):
    """Show by HiResCAM which parts of the images speak for a class, every position weighed by its own gradient.

    Unlike Grad-CAM it stays true to networks whose head sees where something is, such as those that flatten their
    last map.

    Parameters
    ----------
    estimator : NeuralImageClassifier, Pipeline, meta-estimator or torch.nn.Module
        As in :func:`grad_cam`.
    X : ImageBunch, Tensor or array-like of shape (n, n_features), (n, H, W), (n, C, T) or (n, C, H, W)
        Images.
    target : str, class, label name, int or array-like of shape (n,), default="predicted"
        As in :func:`grad_cam`.
    y : array-like of shape (n,) or (n, n_labels), default=None
        True classes for ``target="true"``; by default the bunch's field ``target``.
    layer : str or torch.nn.Module, default="auto"
        As in :func:`grad_cam`.
    signed : bool, default=False
        Keep evidence against the class as negative values, which are set to 0 otherwise.
    size : {"image", "layer"}, default="image"
        Whether maps are interpolated linearly to the size of the images or stay at that of the layer.
    batch_size : int, default=None
        Rows per batch; by default the classifier's, 32 for a bare network.
    precision : {"float32", "bfloat16"}, default=None
        Numbers that the network computes with; by default the classifier's.
    out : ndarray of shape (n, H, W) or (n, T), dtype float32, default=None
        Array or memory map to write the maps into.

    Returns
    -------
    SaliencyMaps of shape (n, H, W) or (n, T)
        Maps in units of the logit. Signed and at the layer's size, those of a network whose head is linear sum to
        the logit without its bias.

    Raises
    ------
    ValueError
        If an argument does not fit the rows or the network, or a map is not finite.
    TypeError
        If there is no network in the estimator.

    References
    ----------
    R. L. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
    networks", arXiv:2011.08891 (2020), equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_shortcuts.explain import hires_cam
    >>> network = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16, 2, bias=False))
    >>> images = np.ones((1, 4, 4), dtype=np.float32)
    >>> maps = hires_cam(network, images, target=0, layer="0", signed=True)
    >>> bool(np.isclose(maps.sum(), network(torch.ones(1, 1, 4, 4))[0, 0].item()))
    True
    """
    return _explain(
        "hires_cam", hires_cam_map, layer, estimator, X, target, y, signed, size, batch_size, precision, out
    )


def _explain(method, formula, layer, estimator, X, target, y, signed, size, batch_size, precision, out):
    subject = resolve_subject(estimator, X, batch_size=batch_size, precision=precision)
    explain = _Explainer(subject, formula, layer, signed=signed, upsampled=size == "image")
    return collect_maps(subject, explain, target=target, method=method, y=y, layer=lambda: explain.layer, out=out)


class _Explainer:
    """Explains one batch after the other; the first decides on the layer."""

    def __init__(self, subject, formula, layer, *, signed, upsampled):
        self.subject = subject
        self.formula = formula
        self.layer = layer
        self.signed = signed
        self.upsampled = upsampled
        self._network = None

    def __call__(self, batch):
        subject = self.subject
        if self._network is None:
            self._network = self._prepare(batch["X"])
        recorder = LayerRecorder(self.layer, cut=True)
        with torch.enable_grad(), recorder.watch(self._network):
            logits = subject.infer(batch["X"].clone(), self._network)  # some networks overwrite their input
            score = select_scores(logits, batch["target"], subject.kind).sum()
            gradient = recorder.gradient(score)  # checkpointed networks run once more for it
        with torch.no_grad():
            parts = (as_map(part, subject.spatial).float() for part in (recorder.activation, gradient))
            maps = self.formula(*parts, relu=not self.signed)
            return upsample(maps, subject.spatial) if self.upsampled else maps

    def _prepare(self, X):
        module = self.subject.module
        auto = isinstance(self.layer, str) and self.layer == "auto"
        self.layer = find_layer(module, X) if auto else resolve_layer(module, self.layer)
        if self.subject.n_rows < _MANY_ROWS or X.ndim != 4:
            return module
        return working_copy(module, X, self.layer)
