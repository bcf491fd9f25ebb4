"""Networks as scikit-learn estimators, and the descriptions they are built from."""

from ._ecg import ECGResNet
from ._freeze import apply_freeze
from ._manufacturer_cnn import ManufacturerCNN
from ._mobilenet import MobileNetV2
from ._small_cnn import SmallCNN
from ._spec import ModuleSpec
from ._torchvision import TorchvisionModule
from ._weights import WeightsReport, load_weights

__all__ = [
    "ECGResNet",
    "ManufacturerCNN",
    "MobileNetV2",
    "ModuleSpec",
    "SmallCNN",
    "TorchvisionModule",
    "WeightsReport",
    "apply_freeze",
    "load_weights",
]
