"""Where the masks of the rows come from when they do not come with a bunch."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from ..images._array_rows import spatial_shapes
from ._regions import as_boolean


class Segmentation:
    """Function that asks a segmenter for the masks of a batch.

    Parameters
    ----------
    segmenter : callable or estimator with ``predict``
        Makes masks from images.
    spatial : tuple of int, default=None
        Shape every mask must have; by default whatever fits the images.
    """

    def __init__(self, segmenter, spatial=None):
        self.segmenter = segmenter
        self.spatial = spatial

    def __call__(self, images):
        masks = np.asarray(
            self.segmenter.predict(images) if hasattr(self.segmenter, "predict") else self.segmenter(images)
        )
        accepted = [self.spatial] if self.spatial else spatial_shapes(images.shape)
        for spatial in accepted:
            if masks.shape in ((len(images), *spatial), (len(images), 1, *spatial)):
                return as_boolean(masks.reshape(len(images), *spatial), np.arange(len(images)))
        wanted = " or ".join(str((len(images), *spatial)) for spatial in accepted)
        raise ValueError(f"the segmenter gave masks of shape {masks.shape} for images {images.shape}, not {wanted}")


def check_segmenter(segmenter):
    """Raise if a segmenter is a scikit-learn estimator that is not fitted, as after cloning."""
    if isinstance(segmenter, BaseEstimator):
        try:
            check_is_fitted(segmenter)
        except NotFittedError as error:
            raise NotFittedError(
                f"the segmenter {type(segmenter).__name__} is not fitted; fit it and pass "
                "sklearn.frozen.FrozenEstimator(segmenter), which stays fitted when a pipeline or a search clones it"
            ) from error
