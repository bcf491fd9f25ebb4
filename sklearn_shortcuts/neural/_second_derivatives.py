"""Forward passes whose second derivatives are cheap: what a loss on gradients of the images needs.

torch takes the second derivative of a normalization apart into many passes over the activations, and that of a
convolution into a convolution with one group per row. Both have short closed forms.
"""

import contextlib

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ._convolution_derivatives import convolution
from ._norm_derivatives import batch_norm, group_norm
from ._plain_attention import plain_attention


@contextlib.contextmanager
def fast_second_derivatives():
    """Make forward passes in this block cheap to differentiate twice.

    Batch normalization, group normalization and convolutions compute what they always do, running statistics
    included, but their second derivatives are written by hand. Derivatives of any order stay exact. Attention is
    computed by the one kernel of torch that can be differentiated twice.

    Only the thread that enters the block is concerned (but for the choice of attention's kernel, which torch makes for
    the whole process), and no module is changed.

    See Also
    --------
    Penalty : Sets ``needs_input_grad`` to have its forward passes run in this block.

    Examples
    --------
    >>> import torch
    >>> from sklearn_shortcuts.neural._second_derivatives import fast_second_derivatives
    >>> layer = torch.nn.BatchNorm2d(3)
    >>> images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    >>> with fast_second_derivatives():
    ...     scores = layer(images).square().mean((1, 2, 3))
    >>> (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    >>> gradient.square().sum().backward()
    >>> layer.weight.grad.shape
    torch.Size([3])
    """
    with _Replacing(), plain_attention():
        yield


class _Replacing(TorchFunctionMode):
    """Calls other functions in the place of torch's."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return _REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))


_REPLACEMENTS = {
    F.batch_norm: batch_norm,
    F.group_norm: group_norm,
    torch.conv1d: convolution,
    torch.conv2d: convolution,
    torch.conv3d: convolution,
}
