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
    details : dict of str to array-like of shape (n, ...), default=None
        What the method found out about every row besides its map.

    Attributes
    ----------
    method : str
        As given.
    layer : str or None
        As given.
    details : dict of str to ndarray of shape (n, ...)
        As given, for instance ``"completeness_gap"`` of :func:`integrated_gradients`. Kept when rows are selected and
        in a pickle; the result of any other operation has none, for its rows may be others.

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

    def __new__(cls, maps, *, method, layer=None, details=None):
        maps = np.asarray(maps, dtype=np.float32).view(cls)
        maps.method, maps.layer = method, layer
        maps.details = {name: np.asarray(values) for name, values in (details or {}).items()}
        return maps

    def __array_finalize__(self, source):
        self.method = getattr(source, "method", None)
        self.layer = getattr(source, "layer", None)
        self.details = {}

    def __getitem__(self, key):
        part = super().__getitem__(key)
        rows = key[0] if isinstance(key, tuple) and key else key
        selects_rows = isinstance(rows, (slice, list, np.ndarray)) and getattr(part, "ndim", 0) == self.ndim
        if self.details and selects_rows:
            part.details = {name: values[rows] for name, values in self.details.items()}
        return part

    def __array_wrap__(self, array, context=None, return_scalar=False):
        # A mean over all maps is a number, not a map without axes.
        return array[()] if return_scalar else super().__array_wrap__(array, context, return_scalar)

    def __reduce__(self):
        function, arguments, state = super().__reduce__()
        return function, arguments, (state, self.method, self.layer, self.details)

    def __setstate__(self, state):
        state, self.method, self.layer, self.details = state
        super().__setstate__(state)

    @property
    def zero_maps(self):
        """Which rows have a map that is zero everywhere and so says nothing; bool of shape (n,)."""
        return np.fromiter((not np.any(row) for row in np.asarray(self)), dtype=bool, count=len(self))
