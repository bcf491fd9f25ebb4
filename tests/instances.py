"""One cheap instance (or more) of every public estimator, and the checks that cannot pass, each with its reason."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklearn_shortcuts.audit import RegionSensitivity
from sklearn_shortcuts.images import ImageLoader
from sklearn_shortcuts.neural import NeuralImageClassifier, SmallCNN
from sklearn_shortcuts.preprocessing import ROIMasker


def first_half(images):
    """Mask the first half of every row, whatever its rank."""
    images = np.asarray(images)
    masks = np.zeros((len(images), *images.shape[-2:]) if images.ndim > 2 else images.shape, dtype=bool)
    masks[..., : max(1, masks.shape[-1] // 2)] = True
    return masks


def flatten(X):
    """Give one row of numbers per image."""
    X = np.asarray(X)
    return X.reshape(len(X), -1)


def instances():
    """Instances to check, by class name."""
    small = SmallCNN(width=4, depth=1)
    return {
        "NeuralImageClassifier": [
            NeuralImageClassifier(small, precision="float64", max_epochs=25, lr=0.03, batch_size=64, random_state=0),
            NeuralImageClassifier(small, max_epochs=25, lr=0.03, batch_size=64, random_state=0),
        ],
        "ROIMasker": [ROIMasker(segmenter=first_half), ROIMasker(on_missing="keep")],
        "RegionSensitivity": [
            RegionSensitivity(
                make_pipeline(FunctionTransformer(flatten), LogisticRegression()),
                masker=ROIMasker(segmenter=first_half),
                cv=2,
                random_state=0,
            )
        ],
        "ImageLoader": [ImageLoader()],
    }


def expected_failures(estimator):
    """Checks that cannot pass, with the reason."""
    return EXPECTED_FAILURES.get(type(estimator).__name__, {})


EXPECTED_FAILURES: dict[str, dict[str, str]] = {}
