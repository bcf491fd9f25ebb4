"""MobileNetV2 as used for explanation-based learning."""

from numbers import Integral, Real

from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from ._spec import ModuleSpec
from ._torchvision import build_torchvision


class MobileNetV2(ModuleSpec):
    """MobileNetV2 with a hidden layer before the outputs, the network of the eXBL chest X-ray study.

    The features are torchvision's ``mobilenet_v2``; its single linear layer is replaced by a hidden layer with ReLU,
    dropout and the outputs. The study starts from ImageNet weights and does not train the first 50 layers (as Keras
    counts them): give the estimator a local file as ``weights`` and ``freeze="features.6.conv.1"``.

    Parameters
    ----------
    hidden : int, default=256
        Units of the hidden layer. At least 1.
    dropout : float, default=0.5
        Share of the hidden units left out during training, in [0, 1).
    width_mult : float, default=1.0
        Factor on the channels of every layer. Published weights fit 1.0 only.
    stem : {"adapt", "repeat"}, default="adapt"
        What becomes of the first convolution when images do not have three channels, see
        :class:`TorchvisionModule`.

    References
    ----------
    M. T. Hagos, K. M. Curran and B. Mac Namee, "Learning from Exemplary Explanations",
    arXiv:2307.06026 (2023).

    Examples
    --------
    >>> from sklearn_shortcuts.neural import MobileNetV2
    >>> MobileNetV2(hidden=64)
    MobileNetV2(hidden=64)
    """

    _n_axes = (3,)
    _parameter_constraints: dict = {
        "hidden": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "width_mult": [Interval(Real, 0, None, closed="neither")],
        "stem": [StrOptions({"adapt", "repeat"})],
    }

    def __init__(self, hidden=256, *, dropout=0.5, width_mult=1.0, stem="adapt"):
        self.hidden = hidden
        self.dropout = dropout
        self.width_mult = width_mult
        self.stem = stem

    def _build(self, input_shape, n_outputs):
        options = {"width_mult": self.width_mult}
        network = build_torchvision("mobilenet_v2", input_shape, n_outputs, self.stem, options)
        network.classifier = nn.Sequential(
            nn.Linear(network.last_channel, self.hidden),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden, n_outputs),
        )
        return network
