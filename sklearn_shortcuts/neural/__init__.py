"""Networks as scikit-learn estimators, and the descriptions they are built from."""

from ._augmentation import RandomGeometry
from ._classifier import NeuralImageClassifier
from ._criteria import Criterion, CrossEntropy
from ._ecg import ECGResNet
from ._freeze import apply_freeze
from ._manufacturer_cnn import ManufacturerCNN
from ._mobilenet import MobileNetV2
from ._penalties import Penalty
from ._small_cnn import SmallCNN
from ._spec import ModuleSpec
from ._torchvision import TorchvisionModule
from ._weights import WeightsReport, load_weights

__all__ = [
    "Criterion",
    "CrossEntropy",
    "ECGResNet",
    "ManufacturerCNN",
    "MobileNetV2",
    "ModuleSpec",
    "NeuralImageClassifier",
    "Penalty",
    "RandomGeometry",
    "SmallCNN",
    "TorchvisionModule",
    "WeightsReport",
    "apply_freeze",
    "load_weights",
]
