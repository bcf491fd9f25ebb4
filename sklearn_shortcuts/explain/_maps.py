"""What every explanation gives: one map per row."""

import numpy as np


class SaliencyMaps(np.ndarray):
    """Array of saliency maps that knows how they were made.

    An ordinary float32 array, one map per row, which keeps the name of the method and of the explained layer when it
    is sliced, copied or pickled. Given a memory map it is a view of it and holds nothing in memory.

    Parameters
    ----------
    maps : array-like of shape (n, H, W) or (n, T)
        Maps; an array of another type than float32 is converted.
    method : str
        Name of the function that made them.
    layer : str, default=None
        Name of the explained layer; None for methods that explain the whole network.

    Attributes
    ----------
    method : str
        As given.
    layer : str or None
        As given.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_shortcuts.explain import SaliencyMaps
    >>> maps = SaliencyMaps(np.eye(3)[:, None] * np.ones((4, 1)), method="grad_cam", layer="features")
    >>> maps[1:].shape, maps[1:].layer
    ((2, 4, 3), 'features')
    >>> SaliencyMaps(np.zeros((2, 4, 4)), method="grad_cam").zero_maps
    array([ True,  True])
    """

    def __new__(cls, maps, *, method, layer=None):
        maps = np.asarray(maps, dtype=np.float32).view(cls)
        maps.method, maps.layer = method, layer
        return maps

    def __array_finalize__(self, source):
        self.method = getattr(source, "method", None)
        self.layer = getattr(source, "layer", None)

    def __array_wrap__(self, array, context=None, return_scalar=False):
        # A mean over all maps is a number, not a map without axes.
        return array[()] if return_scalar else super().__array_wrap__(array, context, return_scalar)

    def __reduce__(self):
        function, arguments, state = super().__reduce__()
        return function, arguments, (state, self.method, self.layer)

    def __setstate__(self, state):
        state, self.method, self.layer = state
        super().__setstate__(state)

    @property
    def zero_maps(self):
        """Which rows have a map that is zero everywhere and so says nothing; bool of shape (n,)."""
        return np.fromiter((not np.any(row) for row in np.asarray(self)), dtype=bool, count=len(self))
