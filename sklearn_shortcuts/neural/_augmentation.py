"""Random changes of geometry and brightness that do not change what an image shows."""

import math
from numbers import Real

import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

_GEOMETRIC_FIELDS = ("masks", "artifact_masks", "class_masks")


class RandomGeometry(BaseEstimator):
    """Rotate, mirror, scale and brighten training images at random, masks alike.

    Applied to whole batches on the network's device, before normalization, anew in every epoch. Masks follow the
    geometry of their image, with the nearest pixel instead of interpolation, and not its brightness. What comes from
    outside an image is 0.

    Parameters
    ----------
    rotation : float, default=0.0
        Largest angle in degrees, in either direction.
    hflip : float, default=0.0
        Probability of mirroring left and right, in [0, 1]. Anatomy is not symmetric: for chest radiographs leave it.
    vflip : float, default=0.0
        Probability of mirroring top and bottom, in [0, 1].
    scale : float, default=0.0
        Largest relative change of size, in [0, 1): 0.1 draws factors from 0.9 to 1.1.
    brightness : float, default=0.0
        Largest relative change of brightness, in [0, 1]: 0.2 draws factors from 0.8 to 1.2.

    Examples
    --------
    >>> from sklearn_shortcuts.neural import NeuralImageClassifier, RandomGeometry
    >>> NeuralImageClassifier(augmentation=RandomGeometry(rotation=10)).get_params()["augmentation__rotation"]
    10
    """

    _parameter_constraints: dict = {
        "rotation": [Interval(Real, 0, None, closed="left")],
        "hflip": [Interval(Real, 0, 1, closed="both")],
        "vflip": [Interval(Real, 0, 1, closed="both")],
        "scale": [Interval(Real, 0, 1, closed="left")],
        "brightness": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, rotation=0.0, *, hflip=0.0, vflip=0.0, scale=0.0, brightness=0.0):
        self.rotation = rotation
        self.hflip = hflip
        self.vflip = vflip
        self.scale = scale
        self.brightness = brightness

    def check(self, image_shape):
        """Check the parameters, also against the images they are meant for.

        Parameters
        ----------
        image_shape : tuple of int
            ``(C, H, W)`` or ``(C, T)``.

        Raises
        ------
        ValueError
            If a parameter is out of its range, or signals should change their geometry.
        """
        self._validate_params()
        if len(image_shape) == 2 and self._moves:
            raise ValueError(
                "augmentation: signals have no geometry; of RandomGeometry only brightness applies to them"
            )

    def apply(self, X, batch, rng):
        """Change a batch.

        Parameters
        ----------
        X : Tensor of shape (n, C, H, W) or (n, C, T)
            Images.
        batch : dict
            Fields; ``"masks"`` and ``"artifact_masks"`` of shape (n, H, W) and ``"class_masks"`` of shape (n, K, H, W)
            are changed along.
        rng : numpy.random.Generator
            Source of randomness; the draws are the same on every device.

        Returns
        -------
        X : Tensor
            Changed images, in the shape given.
        batch : dict
            Changed fields.
        """
        if self._moves:
            transforms = self._draw_transforms(len(X), rng).to(X)
            X = _transform(X, transforms, "bilinear")
            moved = {name: batch[name] for name in _GEOMETRIC_FIELDS if name in batch}
            batch = {**batch, **{name: _transform_masks(masks, transforms) for name, masks in moved.items()}}
        if self.brightness:
            factors = torch.from_numpy(1 + self.brightness * rng.uniform(-1, 1, len(X))).to(X)
            X = X * factors.reshape(-1, *[1] * (X.ndim - 1))
        return X, batch

    @property
    def _moves(self):
        return bool(self.rotation or self.hflip or self.vflip or self.scale)

    def _draw_transforms(self, n, rng):
        """Matrices (n, 2, 2) that take places in the new image to places in the old one, in pixels."""
        angle = math.radians(self.rotation) * torch.from_numpy(rng.uniform(-1, 1, n))
        size = 1 + self.scale * torch.from_numpy(rng.uniform(-1, 1, n))
        mirror_x = torch.from_numpy(1.0 - 2.0 * (rng.random(n) < self.hflip))
        mirror_y = torch.from_numpy(1.0 - 2.0 * (rng.random(n) < self.vflip))
        cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
        return torch.stack([mirror_x * cos, mirror_x * sin, -mirror_y * sin, mirror_y * cos], dim=1).reshape(n, 2, 2)


def _transform(X, transforms, mode):
    height, width = X.shape[-2:]
    # affine_grid counts in half image sizes, which differ between the axes: angles would shear oblong images.
    aspect = torch.tensor([[1.0, height / width], [width / height, 1.0]]).to(transforms)
    linear = transforms * aspect
    theta = torch.cat([linear, torch.zeros_like(linear[:, :, :1])], dim=2)
    grid = F.affine_grid(theta, X.shape, align_corners=False)
    return F.grid_sample(X, grid, mode=mode, padding_mode="zeros", align_corners=False)


def _transform_masks(masks, transforms):
    planes = masks.to(transforms).reshape(len(masks), -1, *masks.shape[-2:])  # one per class, or one
    return _transform(planes, transforms, "nearest").to(masks.dtype).reshape(masks.shape)
