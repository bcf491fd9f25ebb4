"""The formulas of class activation maps, as differentiable functions of activation and gradient.

Activations and gradients have shape (n, C, h, w) or, for signals, (n, C, t); maps (n, h, w) or (n, t). Nothing is
detached, so that the maps can be part of a loss.
"""

from itertools import product

import torch
import torch.nn.functional as F

_MAX_EXTRA_TOKENS = 8  # a class token, one for distillation, registers


def as_map(values, spatial):
    """Arrange a layer's output as channels over positions.

    Parameters
    ----------
    values : Tensor of shape (n, C, h, w), (n, h, w, C), (n, C, t) or (n, n_tokens, C)
        Output of a layer, or a gradient of that shape. Tokens are those of a vision transformer, those of the class
        or of registers first.
    spatial : tuple of int
        Size of the image, ``(H, W)``, or of the signal, ``(T,)``; it tells tokens from maps and gives the shape of
        the grid.

    Returns
    -------
    Tensor of shape (n, C, h, w) or (n, C, t)
        The same values, without the tokens that stand for no part of the image.

    Raises
    ------
    ValueError
        If the output is no map of an image of this size.
    """
    spatial = tuple(spatial)
    if values.ndim == len(spatial) + 2:
        if len(spatial) == 2 and not _is_grid(values.shape[2:], spatial) and _is_grid(values.shape[1:3], spatial):
            return values.permute(0, 3, 1, 2)
        return values
    if values.ndim == 3 and len(spatial) == 2:
        extras = range(min(_MAX_EXTRA_TOKENS, values.shape[1]))
        # Patches that leave no rest come first: tokens without a place of their own could fill up another grid.
        for exact, n_extra in product((True, False), extras):
            grid = _token_grid(values.shape[1] - n_extra, spatial, exact)
            if grid is not None:
                return values[:, n_extra:].transpose(1, 2).unflatten(2, grid)
    raise ValueError(f"layer: an output of shape {tuple(values.shape)} is no map of an image of size {spatial}")


def _token_grid(n_tokens, spatial, exact):
    """Rows and columns of so many square patches of an image, without a rest if exact; None if there are none."""
    for patch in range(1, max(spatial) + 1):
        (rows, rest_of_rows), (columns, rest_of_columns) = (divmod(size, patch) for size in spatial)
        if rows * columns == n_tokens and not (exact and (rest_of_rows or rest_of_columns)):
            return rows, columns
    return None


def _is_grid(shape, spatial):
    """Whether one patch size, rounded up or down at the border, gives this grid for an image of this size."""
    rows, columns = shape
    if min(shape) == 0 or rows > spatial[0] or columns > spatial[1]:
        return False
    smallest = max(spatial[0] / (rows + 1), spatial[1] / (columns + 1))
    largest = min(spatial[0] / max(rows - 1, 0.5), spatial[1] / max(columns - 1, 0.5))
    return smallest < largest


def grad_cam_map(activation, gradient, *, relu=True):
    """Weigh every channel by its mean gradient: Grad-CAM.

    Parameters
    ----------
    activation, gradient : Tensor of shape (n, C, h, w) or (n, C, t)
        Output of a layer, and the gradient of the score with respect to it.
    relu : bool, default=True
        Whether negative values become 0, as published.

    Returns
    -------
    Tensor of shape (n, h, w) or (n, t)
        Maps.

    References
    ----------
    R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV
    (2017), equations 1 and 2.
    """
    weights = gradient.flatten(2).mean(2)
    return _rectified(torch.einsum("nc,nc...->n...", weights, activation), relu)


def grad_cam_plus_plus_map(activation, gradient, *, relu=True, eps=1e-6):
    """Weigh every channel by its positive gradients, so that all occurrences of a class count: Grad-CAM++.

    Parameters
    ----------
    activation, gradient : Tensor of shape (n, C, h, w) or (n, C, t)
        Output of a layer, and the gradient of the score with respect to it.
    relu : bool, default=True
        Whether negative values become 0, as published.
    eps : float, default=1e-6
        Added to the denominator of the weights. Squared gradients below it hardly count.

    Returns
    -------
    Tensor of shape (n, h, w) or (n, t)
        Maps.

    References
    ----------
    A. Chattopadhay et al., "Grad-CAM++: Generalized Gradient-Based Visual Explanations for Deep Convolutional
    Networks", WACV (2018), equations 10 and 19.
    """
    axes = tuple(range(2, activation.ndim))
    squared = gradient.square()
    total = activation.sum(axes, keepdim=True)
    alpha = squared / (2 * squared + total * squared * gradient + eps)
    weights = (gradient.relu() * alpha).sum(axes)
    return _rectified(torch.einsum("nc,nc...->n...", weights, activation), relu)


def hires_cam_map(activation, gradient, *, relu=True):
    """Sum over channels the product of activation and gradient at every position: HiResCAM.

    Parameters
    ----------
    activation, gradient : Tensor of shape (n, C, h, w) or (n, C, t)
        Output of a layer, and the gradient of the score with respect to it.
    relu : bool, default=True
        Whether negative values become 0.

    Returns
    -------
    Tensor of shape (n, h, w) or (n, t)
        Maps.

    References
    ----------
    R. L. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural
    networks", arXiv:2011.08891 (2020), equation 4.
    """
    return _rectified((activation * gradient).sum(1), relu)


def absolute_map(activation, gradient):
    """Sum over channels the absolute product of activation and gradient: evidence for and against alike.

    Channels of opposite sign cannot cancel, and no row has a map of zeros as long as the score depends on the layer,
    which makes this the map to penalize in training.

    Parameters
    ----------
    activation, gradient : Tensor of shape (n, C, h, w) or (n, C, t)
        Output of a layer, and the gradient of the score with respect to it.

    Returns
    -------
    Tensor of shape (n, h, w) or (n, t)
        Maps, not negative.
    """
    return (activation * gradient).abs().sum(1)


def upsample(maps, spatial):
    """Interpolate maps linearly to the size of the images.

    Parameters
    ----------
    maps : Tensor of shape (n, h, w) or (n, t)
        Maps.
    spatial : tuple of int
        Size to give them, ``(H, W)`` or ``(T,)``.

    Returns
    -------
    Tensor of shape (n, H, W) or (n, T)
        Maps.
    """
    mode = "bilinear" if len(spatial) == 2 else "linear"
    return F.interpolate(maps[:, None], size=tuple(spatial), mode=mode, align_corners=False)[:, 0]


def _rectified(maps, relu):
    return maps.relu() if relu else maps
