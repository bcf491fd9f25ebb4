"""Which statistics batch normalization uses in a forward pass."""

import contextlib

from torch.nn.modules.batchnorm import _BatchNorm


@contextlib.contextmanager
def running_statistics(module):
    """Have batch normalization use its running statistics in this block, and leave them as they are.

    Parameters
    ----------
    module : torch.nn.Module
        Network.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.training]
    for layer in layers:
        layer.training = False
    try:
        yield
    finally:
        for layer in layers:
            layer.training = True
